//! The control plane: what `lbd` does to the tables, in the same order, on a virtual clock.

use crate::plane::Plane;
use lb_control::config::{self, Admin, Backend, BackendRef, Config, Name};
use lb_control::dataplane::{Dataplane as _, Tables};
use lb_control::desired::sweep::{DirtySince, IdleTimes, sweep};
use lb_control::desired::{World, desired};
use lb_control::proto::next_hop::NextHop;
use lb_control::reconcile::{apply, plan};
use lb_ebpf::abi::{Addr, BackendId, ServiceKey, Tracking};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// Where clients connect to.
pub(crate) const SERVICE: ServiceKey = ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), [0, 80]);

/// Configuration, world and tables, and the steps between them.
pub(crate) struct Control {
    config: Config,
    world: World,
    tables: Tables,
    ids: BTreeMap<BackendRef, BackendId>,
    dirty: DirtySince,
    refused: u64,
}

/// The address of a server.
pub(crate) const fn address(server: usize) -> [u8; 4] {
    [10, 0, 2, 1 + server as u8]
}

/// The server of an address.
pub(crate) fn server([.., last]: [u8; 4]) -> usize {
    usize::from(last) - 1
}

fn name(server: usize) -> BackendRef {
    format!("www/web{server}").parse().expect("a name")
}

fn www() -> Name {
    name(0).service
}

impl Control {
    /// A service with this many servers, all of them ready and up.
    pub(crate) fn new(servers: usize, slots: u32, idle_s: u32) -> Self {
        let mut file = format!(
            "interfaces = [\"eth0\"]\nidle_timeout = \"{idle_s}s\"\n\
             [[service]]\nname = \"www\"\nvip = \"192.0.2.10:80\"\nslots = {slots}\n"
        );
        for server in 0..servers {
            let address = Ipv4Addr::from(address(server));
            file += &format!(
                "[[service.backend]]\nname = \"web{server}\"\naddress = \"{address}:80\"\n"
            );
        }
        let config = config::parse(&file, Path::new("lbd.toml")).expect("a configuration");
        let mut world = World {
            secret: [1, 2],
            ..World::default()
        };
        for server in 0..servers {
            let next_hop = NextHop {
                ifindex: 2,
                source: [2, 0, 0, 0, 0, 1],
                destination: [2, 0, 0, 0, 1, server as u8],
            };
            world.up.insert(name(server), true);
            world.next_hops.insert(address(server).into(), next_hop);
        }
        Self {
            config,
            world,
            tables: Tables::default(),
            ids: BTreeMap::new(),
            dirty: DirtySince::default(),
            refused: 0,
        }
    }

    fn backends(&mut self) -> &mut BTreeMap<Name, Backend> {
        let service = self.config.services.get_mut(&www());
        &mut service.expect("the service").backends
    }

    fn backend(&mut self, server: usize) -> &mut Backend {
        let backend = self.backends().get_mut(&name(server).backend);
        backend.expect("a configured server")
    }

    /// The operator drains a server, or takes it back.
    pub(crate) fn set_ready(&mut self, server: usize, ready: bool) {
        self.backend(server).admin = if ready { Admin::Ready } else { Admin::Drain };
    }

    /// The operator changes a server's share.
    pub(crate) fn set_weight(&mut self, server: usize, weight: u16) {
        self.backend(server).weight = weight;
    }

    /// The operator takes a server out of the configuration. Its connections go on.
    pub(crate) fn remove(&mut self, server: usize) -> Backend {
        let backend = self.backends().remove(&name(server).backend);
        backend.expect("a configured server")
    }

    /// The operator adds a server that was removed.
    pub(crate) fn add(&mut self, server: usize, backend: Backend) {
        self.backends().insert(name(server).backend, backend);
    }

    /// A server's checks find out that it died, or that it is back.
    pub(crate) fn set_up(&mut self, server: usize, up: bool) {
        self.world.up.insert(name(server), up);
    }

    /// Makes the tables follow.
    pub(crate) fn follow(&mut self, plane: &mut Plane) {
        let desired = desired(&self.config, &self.world, &self.tables).expect("room");
        self.ids = desired.ids;
        self.world.last_ids = desired.last_ids;
        self.apply(plane, desired.tables);
    }

    fn apply(&mut self, plane: &mut Plane, wanted: Tables) {
        apply(plane, &plan(&self.tables, &wanted)).expect("memory does not fail");
        self.tables = wanted;
        self.dirty.update(&self.tables, plane.memory.now_ms, false);
    }

    /// How often [`sweep`](Self::sweep) is due, in milliseconds.
    pub(crate) fn sweep_every_ms(&self) -> u64 {
        let tenth = self.config.idle_timeout.as_millis() as u64 / 10;
        tenth.clamp(100, 10_000)
    }

    /// Lets flows expire and slots come to rest.
    pub(crate) fn sweep(&mut self, plane: &mut Plane) {
        assert_eq!(plane.read().expect("memory does not fail"), self.tables);
        self.follow(plane);
        let now_ms = plane.memory.now_ms;
        let refused = plane.memory.tracked(Tracking::RefusedRate)
            + plane.memory.tracked(Tracking::RefusedFull);
        self.dirty
            .update(&self.tables, now_ms, refused != self.refused);
        self.refused = refused;

        let flows = plane.flows().expect("memory does not fail");
        let configured = self.ids.values().copied().collect();
        let idle = IdleTimes::new(&self.config, &self.tables);
        let times = (now_ms, &idle);
        let swept = sweep(&self.tables, &flows, &self.dirty, &configured, times);
        plane
            .remove_flows(&swept.expired)
            .expect("memory does not fail");
        self.apply(plane, swept.tables);
    }

    /// Whether every slot is at rest, with nothing recorded.
    pub(crate) fn is_at_rest(&self, plane: &Plane) -> bool {
        let mut slots = self.tables.slots.values().flatten();
        slots.all(|slot| slot.current == slot.previous) && plane.memory.flows.borrow().is_empty()
    }
}
