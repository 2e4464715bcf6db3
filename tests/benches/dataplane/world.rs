//! The loaded program, and the tables that it is measured with.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData, RingBuf};
use aya::programs::Xdp;
use aya::{Ebpf, Pod};
use bytemuck::Zeroable as _;
use kit::lab::Lab;
use kit::layout::{CLIENT, VIP, web_ip};
use lb_control::config::Limits;
use lb_control::dataplane::{self, Dataplane as _, Kernel, Options, Pins, Tables, TestRun};
use lb_control::desired::maglev::{self, Member};
use lb_control::desired::reverse_key;
use lb_control::reconcile;
use lb_ebpf::abi::{
    self, Addr, Backend, BackendId, BackendState, Family, Features, Flow, FlowKey, FlowPhase, Port,
    Reverse, ServiceId, ServiceKey, Slot, Tracking, capacity, proto,
};

use crate::frames::Frame;

/// Backends of each service.
pub(crate) const BACKENDS: usize = 10;

/// The services. Each has as many backends, and a table of the usual size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Nothing has changed for long.
    Clean,
    /// All owners have changed, and every connection is recorded.
    Dirty,
    /// Nothing has changed for long, over IPv6.
    CleanV6,
    /// Nothing has changed for long, and it speaks UDP.
    CleanUdp,
}

impl Service {
    const ALL: [Self; 4] = [Self::Clean, Self::Dirty, Self::CleanV6, Self::CleanUdp];

    fn id(self) -> ServiceId {
        match self {
            Self::Clean => 1,
            Self::Dirty => 2,
            Self::CleanV6 => 3,
            Self::CleanUdp => 4,
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Clean | Self::Dirty | Self::CleanUdp => Family::V4,
            Self::CleanV6 => Family::V6,
        }
    }

    pub(crate) fn proto(self) -> u8 {
        match self {
            Self::Clean | Self::Dirty | Self::CleanV6 => proto::TCP,
            Self::CleanUdp => proto::UDP,
        }
    }

    /// The ids of its backends: those of the other services are others.
    fn backend_id(self, index: usize) -> BackendId {
        self.id() * 100 + index as BackendId
    }
}

/// Where clients reach a service.
pub(crate) fn address(service: Service) -> (Addr, Port) {
    let address = of_family(service.family(), VIP);
    (address, (80 + service.id()).to_be_bytes())
}

/// Where a backend of a service listens.
pub(crate) fn backend(service: Service, index: usize) -> (Addr, Port) {
    let address = of_family(service.family(), web_ip(index as u8 + 1));
    (address, (8080 + service.id()).to_be_bytes())
}

/// An address of this family that goes with one of IPv4.
pub(crate) fn of_family(family: Family, address: Ipv4Addr) -> Addr {
    let [a, b, c, d] = address.octets();
    match family {
        Family::V4 => Addr::v4([a, b, c, d]),
        Family::V6 => Addr::v6([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]),
    }
}

/// The client's end of a flow. Clients have addresses for benchmarks (RFC 2544), behind a router.
pub(crate) fn client(family: Family, flow: u32) -> (Addr, Port) {
    const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
    const ADDRESSES: u32 = 1 << 16;
    let port = 1024 + (flow / ADDRESSES) as u16;
    let address = Ipv4Addr::from(FIRST + flow % ADDRESSES);
    (of_family(family, address), port.to_be_bytes())
}

/// Lets the load balancer's namespace know the way to the clients.
pub(crate) fn prepare(lab: &Lab) -> Result<()> {
    let router = IpAddr::from(of_family(Family::V6, CLIENT));
    let ours = IpAddr::from(of_family(Family::V6, VIP));
    let clients = IpAddr::from(of_family(Family::V6, Ipv4Addr::new(198, 18, 0, 0)));
    lab.lb().ip_batch(&format!(
        "route add 198.18.0.0/15 via {CLIENT}\n\
         neighbour replace {CLIENT} dev eth0 lladdr 02:00:00:00:00:64 nud permanent\n\
         address add {ours}/64 dev eth0 nodad\n\
         route add {clients}/111 via {router}\n\
         neighbour replace {router} dev eth0 lladdr 02:00:00:00:00:64 nud permanent\n"
    ))?;
    let forwarding = "/proc/sys/net/ipv6/conf/all/forwarding";
    lab.lb()
        .run(move || std::fs::write(forwarding, "1"))?
        .context("failed to allow forwarding of IPv6")
}

/// How many instructions the kernel runs a program of, with these parts of it.
pub(crate) fn instructions(root: &Path, features: Features) -> Result<u32> {
    let limits = Limits {
        services: 1,
        backends: 2,
        flows: 1,
        records_per_second: 1,
    };
    let options = Options {
        limits,
        features,
        log_verdicts: false,
        fenced: false,
        tells_flows: false,
    };
    let mut object = dataplane::load(&Pins::new(root), &options)?;
    let info = program(&mut object, "headgate")?.info()?;
    // Each takes eight bytes; some take two of those, and count twice.
    let bytes = info.size_translated();
    Ok(bytes.context("the kernel does not say how long the program is")? / 8)
}

/// A program that can be run on a frame.
pub(crate) struct Program {
    fd: OwnedFd,
    /// The interface that frames come by.
    ingress: u32,
}

impl Program {
    pub(crate) fn run(&self, frame: &Frame) -> Result<TestRun> {
        Ok(dataplane::test_run(
            self.fd.as_fd(),
            frame.bytes(),
            self.ingress,
        )?)
    }
}

/// One loaded object with its maps.
pub(crate) struct World {
    /// The program that returns at once.
    pub(crate) nop: Program,
    /// The product, as clients' packets come.
    pub(crate) headgate: Program,
    /// The product, as backends' packets come.
    pub(crate) headgate_back: Program,
    kernel: RefCell<Kernel>,
    /// What the program tells of flows.
    told: RefCell<RingBuf<MapData>>,
}

impl World {
    /// Loads the object, pins its maps below `root`, and fills them, with this many recorded
    /// flows. Whether it tells of those that it records is for the caller to say. Must be called in
    /// the load balancer's namespace.
    pub(crate) fn load(
        root: &Path,
        recorded: u32,
        tells_flows: bool,
        features: Features,
    ) -> Result<Self> {
        let pins = Pins::new(root);
        let limits = Limits {
            services: capacity::SERVICES as u32,
            backends: capacity::BACKENDS as u32,
            flows: capacity::FLOWS as u32,
            records_per_second: u32::MAX,
        };
        let options = Options {
            limits,
            features,
            log_verdicts: false,
            fenced: false,
            tells_flows,
        };
        let mut object = dataplane::load(&pins, &options)?;
        program(&mut object, "nop")?.load()?;

        let [front, back] = ["eth0", "eth1"].map(|name| {
            nix::net::if_::if_nametoindex(name).with_context(|| format!("no interface {name}"))
        });
        let (front, back) = (front?, back?);
        let mut kernel = Kernel::open(&pins)?;
        let steps = reconcile::plan(&kernel.read()?, &tables(back));
        reconcile::apply(&mut kernel, &steps)?;
        record(&pins, recorded)?;
        let told = Map::from_map_data(MapData::from_pin(pins.map("NEW_FLOWS"))?)?;
        let told = RingBuf::try_from(told)?;

        let mut runnable = |name: &str, ingress| -> Result<Program> {
            let fd = program(&mut object, name)?.fd()?.as_fd();
            Ok(Program {
                fd: fd.try_clone_to_owned()?,
                ingress,
            })
        };
        Ok(Self {
            nop: runnable("nop", front)?,
            headgate: runnable("headgate", front)?,
            headgate_back: runnable("headgate", back)?,
            kernel: RefCell::new(kernel),
            told: RefCell::new(told),
        })
    }

    /// Forgets all recorded flows, and reads what was told of them.
    pub(crate) fn forget_flows(&self) -> Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        let keys: Vec<FlowKey> = kernel.flows()?.into_iter().map(|(key, _)| key).collect();
        kernel.remove_flows(&keys)?;
        while self.told.borrow_mut().next().is_some() {}
        Ok(())
    }

    /// An error if the flow table was not used as intended: always hit, never written.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = self.kernel.borrow().tracking()?;
        let count = |what: Tracking| counts.get(what as usize).copied().unwrap_or(0);
        ensure!(
            count(Tracking::Hit) > 0 && Tracking::ALL[1..].iter().all(|&what| count(what) == 0),
            "recorded flows were not found, or others were recorded: {counts:?}"
        );
        Ok(())
    }

    /// An error if the flow table was not used as intended: never hit, always written, and told.
    pub(crate) fn check_new(&self) -> Result<()> {
        let counts = self.kernel.borrow().tracking()?;
        let count = |what: Tracking| counts.get(what as usize).copied().unwrap_or(0);
        let recorded = count(Tracking::Recorded);
        ensure!(
            recorded > 0
                && count(Tracking::Miss) == recorded
                && counts.iter().sum::<u64>() == 2 * recorded,
            "flows were not recorded, or not told: {counts:?}"
        );
        Ok(())
    }
}

fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp> {
    let program = object.program_mut(name);
    let program = program.with_context(|| format!("the object has no program {name}"))?;
    Ok(program.try_into()?)
}

fn tables(egress: u32) -> Tables {
    let mut tables = Tables::default();
    for (place, service) in (0u32..).zip(Service::ALL) {
        let (vip, port) = address(service);
        let slot_count = capacity::SLOTS_PER_SERVICE as u32;
        tables.services.insert(
            ServiceKey::new(vip, port, service.proto()),
            abi::Service {
                hash_key: [0x0123_4567_89ab_cdef, u64::from(service.id())],
                first_slot: place * slot_count.next_multiple_of(2),
                slot_count,
                id: service.id(),
                ..abi::Service::zeroed()
            },
        );
        let mut members = Vec::new();
        for index in 0..BACKENDS {
            let id = service.backend_id(index);
            let (addr, backend_port) = backend(service, index);
            let entry = Backend {
                ifindex: egress,
                addr,
                port: backend_port,
                next_hop: [0x02, 0, 0, 0, 1, index as u8],
                source: [0x02, 0, 0, 0, 2, 0],
                service: service.id(),
                state: BackendState::Alive as u8,
                ..Backend::zeroed()
            };
            let reverse = Reverse::new(vip, port, id);
            tables.backends.insert(id, entry);
            tables
                .reverse
                .insert(reverse_key(&entry, service.proto()), reverse);
            members.push(Member {
                id,
                identity: u64::from(id),
                weight: 1,
            });
        }
        let owners = maglev::build(slot_count, &members);
        let slot = |owner| match service {
            Service::Clean | Service::CleanV6 | Service::CleanUdp => Slot::clean(owner),
            Service::Dirty => Slot {
                current: owner,
                previous: if owner == members[0].id {
                    members[1].id
                } else {
                    members[0].id
                },
            },
        };
        let slots = owners.into_iter().map(slot).collect();
        tables.slots.insert(service.id(), slots);
    }
    tables
}

/// Plain old data, for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Raw<T>(T);

// SAFETY: bytemuck's `Pod` promises the same and more: any bytes are a valid value, no padding.
unsafe impl<T: bytemuck::Pod> Pod for Raw<T> {}

/// Records the first `count` flows of the dirty service.
fn record(pins: &Pins, count: u32) -> Result<()> {
    let map = Map::from_map_data(MapData::from_pin(pins.map("FLOWS"))?)?;
    let mut flows: HashMap<MapData, Raw<FlowKey>, Raw<Flow>> = map.try_into()?;
    // Seen in a future that does not come while this runs, so that no packet renews it.
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)?;
    let later = (now.tv_sec() as u32)
        .wrapping_add(3_600)
        .wrapping_mul(1_000);
    for flow in 0..count {
        let (client, client_port) = client(Service::Dirty.family(), flow);
        let key = FlowKey::new(client, client_port, Service::Dirty.id());
        let value = Flow {
            last_seen_ms: later,
            backend: Service::Dirty.backend_id(flow as usize % BACKENDS),
            phase: FlowPhase::Open as u16,
        };
        flows
            .insert(Raw(key), Raw(value), 0)
            .context("failed to record a flow")?;
    }
    Ok(())
}
