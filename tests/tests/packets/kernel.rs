//! A case in the kernel: the loaded program, over its maps, in namespaces of its own.

use crate::cases::{self, Case, Lease};
use crate::outcome::{Outcome, Recorded, Xdp};
use crate::world::{self, CLIENT, FLOW, OURSELVES, SERVICE, SLOTS};
use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::programs::Xdp as XdpProgram;
use kit::netns::ip_batch;
use lb_control::config::Limits;
use lb_control::dataplane::{Dataplane, Kernel, Options, Pins, boot_ns, load, test_run};
use lb_ebpf::abi::{Budget, Flow, FlowKey, ServiceKey, Slot, Traffic};
use lb_ebpf::reason::Reason;
use lb_ebpf::tables::RecordKind;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// Small, so that the flow table can be filled and the budget spent.
const LIMITS: Limits = Limits {
    services: 2,
    backends: 64,
    flows: 16,
    records_per_second: 100,
};

/// The program, its maps, and the world around it.
pub(crate) struct Rig {
    object: Ebpf,
    /// The program as it is with leases in force.
    fenced: Ebpf,
    maps: Kernel,
    /// `FLOWS`, to write records to.
    flows: HashMap<MapData, [u8; 8], [u8; 8]>,
    /// `BUDGETS`, to spend them.
    budgets: PerCpuArray<MapData, [u8; 8]>,
    /// What every slot is now.
    slots: Vec<Slot>,
}

impl Rig {
    /// Moves the calling thread into new namespaces, and loads the program. The namespaces hold
    /// all that is made: links, neighbours, and the file system with the pins. So everything is
    /// gone with the process, however it ends.
    pub(crate) fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
            .context("failed to make namespaces")?;
        network().context("failed to make a network to route in")?;
        let pins = Pins::new(&file_system().context("failed to make a BPF file system")?);

        let options = |fenced| Options {
            limits: LIMITS,
            log_verdicts: false,
            fenced,
        };
        let (object, fenced) = (load(&pins, &options(false))?, load(&pins, &options(true))?);
        let mut maps = Kernel::open(&pins)?;
        maps.set_service(&world::service_key(), Some(&SERVICE))?;
        for (id, backend, key, reverse) in world::backends() {
            maps.set_backend(id, Some(&backend))?;
            maps.set_reverse(&key, Some(&reverse))?;
        }
        let map = |name| MapData::from_pin(pins.map(name)).and_then(Map::from_map_data);
        Ok(Self {
            object,
            fenced,
            maps,
            flows: HashMap::try_from(map("FLOWS")?)?,
            budgets: PerCpuArray::try_from(map("BUDGETS")?)?,
            slots: vec![Slot::EMPTY; SLOTS as usize],
        })
    }

    /// What becomes of `frame` in the world of `case`.
    pub(crate) fn run(&mut self, case: &Case, frame: &[u8]) -> Result<Outcome> {
        loop {
            self.prepare(case)?;
            let second = now_ms()? / 1_000;
            self.set_budgets(second, case.budget)?;
            let outcome = self.run_once(case, frame)?;
            // A new second brings a new budget, perhaps before the packet was there.
            if case.budget != cases::Budget::Spent || now_ms()? / 1_000 == second {
                return Ok(outcome);
            }
        }
    }

    /// Another service of the same address comes, and they go one after the other; the first comes
    /// back. `asked` asks for the address, and is heard by the stack when there is no service.
    pub(crate) fn services_come_and_go(&mut self, asked: &Case) -> Result<()> {
        let first = world::service_key();
        let second = ServiceKey {
            port: 443u16.to_be_bytes(),
            ..first
        };
        for (key, service, expected) in [
            (second, Some(&SERVICE), Reason::Fenced),
            (first, None, Reason::Fenced),
            (second, None, Reason::NotIpv4),
            (first, Some(&SERVICE), Reason::Fenced),
        ] {
            self.maps.set_service(&key, service)?;
            let found = self.run(asked, &asked.frame)?.reason;
            ensure!(found == expected, "expected {expected:?}, found {found:?}");
        }
        Ok(())
    }

    fn run_once(&mut self, case: &Case, frame: &[u8]) -> Result<Outcome> {
        let (reasons, tracking) = (self.maps.reasons()?, self.maps.tracking()?);
        let object = match case.lease {
            Lease::NotNeeded => &self.object,
            Lease::Held | Lease::Lapsed => &self.fenced,
        };
        let program = object.program("headgate").context("no program")?;
        let program: &XdpProgram = program.try_into()?;
        let run = test_run(program.fd()?.as_fd(), frame, case.ingress)?;
        let reasons = grown(&reasons, &self.maps.reasons()?);
        let tracking = grown(&tracking, &self.maps.tracking()?);

        let moved: Vec<(Reason, u64)> = Reason::ALL
            .into_iter()
            .zip(reasons)
            .filter(|&(_, count)| count != 0)
            .collect();
        let &[(reason, 1)] = moved.as_slice() else {
            bail!("one counter should have moved by one: {moved:?}");
        };
        let action = Xdp::from_number(run.action);
        let mut traffic = Vec::new();
        for (id, ..) in world::backends() {
            let counted = self.maps.traffic(id)?;
            if counted != Traffic::default() {
                traffic.push((id, counted));
            }
        }
        Ok(Outcome {
            reason,
            action: action.with_context(|| format!("returned {}", run.action))?,
            frame: run.frame,
            flow: self.recorded(&FLOW)?,
            tracked: Outcome::tracked(tracking),
            traffic,
        })
    }

    fn prepare(&mut self, case: &Case) -> Result<()> {
        for (index, known) in (0u32..).zip(&mut self.slots) {
            let slot = match case.exception {
                Some((exception, slot)) if exception == index => slot,
                _ => case.slot,
            };
            if *known != slot {
                self.maps.set_slot(SERVICE.first_slot + index, slot)?;
                *known = slot;
            }
        }
        for (id, ..) in world::backends() {
            if self.maps.traffic(id)? != Traffic::default() {
                self.maps.retire(id, None)?;
            }
        }
        self.maps.renew_lease(match case.lease {
            Lease::NotNeeded => 0,
            Lease::Held => boot_ns() + 60_000_000_000,
            Lease::Lapsed => boot_ns(),
        })?;
        let flows: Vec<_> = self.flows.keys().collect::<Result<_, _>>()?;
        for key in flows {
            self.flows.remove(&key)?;
        }
        if let Some(flow) = case.flow {
            self.record(FLOW, flow)?;
        }
        if case.table_is_full {
            let others = (1u16..).map(|port| FlowKey {
                client_port: port.to_be_bytes(),
                ..FLOW
            });
            let free = LIMITS.flows as usize - usize::from(case.flow.is_some());
            let other = Recorded {
                backend: world::WEB1,
                phase: 0,
            };
            for key in others.take(free) {
                self.record(key, other)?;
            }
        }
        Ok(())
    }

    /// Leaves of the budgets of `second` just enough for one record of each kind, or nothing, there or
    /// in the second before.
    fn set_budgets(&mut self, second: u32, budget: cases::Budget) -> Result<()> {
        let all = LIMITS.records_per_second;
        let (second, used) = match budget {
            cases::Budget::Left => (second, all - 1),
            cases::Budget::Spent => (second, all),
            cases::Budget::SpentBefore => (second.wrapping_sub(1), all),
        };
        let budget: [u8; 8] = bytemuck::cast(Budget { second, used });
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        for kind in [RecordKind::New, RecordKind::Old] {
            let values = PerCpuValues::try_from(vec![budget; cpus])?;
            self.budgets.set(kind as u32, values, 0)?;
        }
        Ok(())
    }

    fn recorded(&self, key: &FlowKey) -> Result<Option<Recorded>> {
        match self.flows.get(&bytemuck::cast(*key), 0) {
            Ok(bytes) => {
                let flow: Flow = bytemuck::cast(bytes);
                Ok(Some(Recorded {
                    backend: flow.backend,
                    phase: flow.phase,
                }))
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn record(&mut self, key: FlowKey, flow: Recorded) -> Result<()> {
        let flow = Flow {
            last_seen_ms: now_ms()?,
            backend: flow.backend,
            phase: flow.phase,
        };
        let (key, flow): ([u8; 8], [u8; 8]) = (bytemuck::cast(key), bytemuck::cast(flow));
        Ok(self.flows.insert(key, flow, 0)?)
    }
}

/// The program's clock.
fn now_ms() -> Result<u32> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok((now.tv_sec() * 1_000 + now.tv_nsec() / 1_000_000) as u32)
}

fn grown(before: &[u64], after: &[u64]) -> Vec<u64> {
    let pairs = before.iter().zip(after);
    pairs.map(|(before, after)| after - before).collect()
}

/// Mounts a BPF file system where one usually is, seen by nobody else.
fn file_system() -> Result<PathBuf> {
    const USUAL: &str = "/sys/fs/bpf";
    const NOTHING: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NOTHING, "/", NOTHING, private, NOTHING)?;
    mount(Some("bpf"), USUAL, Some("bpf"), MsFlags::empty(), NOTHING)?;
    Ok(Path::new(USUAL).join("packets"))
}

/// Gives the calling thread's namespace a network in which the client of [`world`] is a known
/// neighbour, others on its network are not, and nobody else is reachable.
fn network() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to allow forwarding")?;
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (clients, servers) = (world::CLIENTS, world::SERVERS);
    ip_batch(&format!(
        "link add name clients index {clients} address {clients_mac} type veth peer name client
         link add name servers index {servers} address {servers_mac} type veth peer name server
         link set clients up
         link set client up
         link set servers up
         link set server up
         address add {ourselves}/24 dev clients
         neigh add {client} lladdr {client_mac} dev clients nud permanent
        ",
        clients_mac = mac(world::CLIENTS_MAC),
        servers_mac = mac(world::SERVERS_MAC),
        client_mac = mac(world::CLIENT_MAC),
        ourselves = Ipv4Addr::from(OURSELVES.0),
        client = Ipv4Addr::from(CLIENT.0),
    ))
}
