//! A case in the kernel: the loaded program, over its maps, in namespaces of its own.

use crate::case::{self, Case, Lease};
use crate::dialect::{self, TRACKED, six};
use crate::outcome::{Outcome, Recorded, Xdp};
use crate::world::{self, CLIENT, OURSELVES, SERVICE, SLOTS};
use anyhow::{Context as _, Error, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::Xdp as XdpProgram;
use kit::netns::ip_batch;
use lb_control::config::Limits;
use lb_control::dataplane::{
    Dataplane, Kernel, NewFlows, Options, Pins, TestRun, boot_ns, load, test_run,
};
use lb_ebpf::abi::{Budget, Features, Flow, FlowKey, NewFlow, Slot, Tracking, Traffic, capacity};
use lb_ebpf::reason::Reason;
use lb_ebpf::tables::RecordKind;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::future::{Future, poll_fn};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Small, so that the flow table can be filled and the budget spent.
pub(crate) const LIMITS: Limits = Limits {
    services: 8,
    backends: 64,
    flows: 16,
    records_per_second: 100,
};

/// How long a reader may wait for what was told.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, its maps, and the world around it.
pub(crate) struct Rig {
    object: Ebpf,
    /// The program as it is with leases in force.
    fenced: Ebpf,
    /// The program as it is when nobody wants to hear of flows.
    silent: Ebpf,
    pins: Pins,
    maps: Kernel,
    /// `FLOWS`, to write records to.
    flows: HashMap<MapData, [u8; 24], [u8; 8]>,
    /// `BUDGETS`, to spend them.
    budgets: PerCpuArray<MapData, [u8; 8]>,
    /// `NEW_FLOWS`, to read.
    told: RingBuf<MapData>,
    /// The program as it is with fewer features, loaded when first asked for.
    others: Vec<(Features, Ebpf)>,
    /// What every slot is now.
    slots: Vec<Slot>,
    /// Whether the backends have addresses of IPv6 now.
    is_ipv6: Option<bool>,
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

        let object = load(&pins, &options(Features::ALL, false, true))?;
        let fenced = load(&pins, &options(Features::ALL, true, true))?;
        let silent = load(&pins, &options(Features::ALL, false, false))?;
        let mut maps = Kernel::open(&pins)?;
        for d in dialect::ALL {
            maps.set_service(&d.service_key(), Some(&d.service()))?;
        }
        for (_, _, key, reverse) in TRACKED.into_iter().flat_map(world::backends) {
            maps.set_reverse(&key, Some(&reverse))?;
        }
        let map = |name| open(&pins, name);
        Ok(Self {
            object,
            fenced,
            silent,
            maps,
            flows: HashMap::try_from(map("FLOWS")?)?,
            budgets: PerCpuArray::try_from(map("BUDGETS")?)?,
            told: RingBuf::try_from(map("NEW_FLOWS")?)?,
            pins,
            others: Vec::new(),
            slots: vec![Slot::EMPTY; SLOTS as usize],
            is_ipv6: None,
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
            if case.budget != case::Budget::Spent || now_ms()? / 1_000 == second {
                return Ok(outcome);
            }
        }
    }

    /// The services of an address go one after the other, and come back. `asked` asks for the address,
    /// and is heard by the stack when there is no service.
    pub(crate) fn services_come_and_go(&mut self, asked: &Case) -> Result<()> {
        let of_address = |d: &dialect::Dialect| d.is_ipv6 == asked.dialect.is_ipv6;
        let services: Vec<_> = dialect::ALL.into_iter().filter(of_address).collect();
        let mut left = services.len();
        for (comes, d) in [false, true]
            .into_iter()
            .flat_map(|comes| services.iter().map(move |d| (comes, d)))
        {
            self.maps
                .set_service(&d.service_key(), comes.then_some(&d.service()))?;
            left = if comes { left + 1 } else { left - 1 };
            let found = self.run(asked, &asked.frame)?.reason;
            let fenced = found == Reason::Fenced;
            ensure!(fenced == (left > 0), "{left} services: {found:?}");
        }
        Ok(())
    }

    /// Nobody reads what is told, until there is no room for more: then it is not told, and counted.
    /// `case` is told of every time.
    pub(crate) fn too_much_to_tell(&mut self, case: &Case) -> Result<()> {
        // Each takes a header of 8 bytes in the buffer, and the last byte is never used.
        let room = (capacity::NEW_FLOWS - 1) / (8 + size_of::<NewFlow>());
        self.tell(case, room)?;
        self.prepare(case)?;
        let before = self.maps.tracking()?;
        let program = self.test_run(case, &case.frame)?;
        let tracked = Outcome::tracked(grown(&before, &self.maps.tracking()?));
        ensure!(tracked == [Tracking::Hit, Tracking::Untold], "{tracked:?}");
        ensure!(
            program.frame == case.expected.frame,
            "the packet did not go on"
        );
        ensure!(
            self.recorded(&case.dialect.flow_key())? == case.expected.flow,
            "not recorded"
        );
        ensure!(self.told().len() == room, "not everything before was told");
        // And now there is room again.
        let found = self.run(case, &case.frame)?;
        found.must_be(&case.expected).map_err(Error::msg)
    }

    /// A reader waits until something is told, is woken, and gets all of it, batch by batch. `case`
    /// is told of every time.
    pub(crate) fn told_to_a_reader(&mut self, case: &Case) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let result = runtime.block_on(async {
            let read = self.read_what_is_told(case);
            tokio::time::timeout(PATIENCE, read).await
        });
        // It moved on without our own reader.
        self.told = RingBuf::try_from(open(&self.pins, "NEW_FLOWS")?)?;
        result.context("the reader was not woken")?
    }

    async fn read_what_is_told(&mut self, case: &Case) -> Result<()> {
        const MOST: usize = 4_096;
        self.tell(case, 3)?;
        let mut reader = NewFlows::open(&self.pins)?;
        let mut told = Vec::new();
        reader.next_batch(&mut told).await?;
        ensure!(told.len() == 3, "what was told before: {told:?}");
        for batch in [1, 2, MOST, MOST + 1, 2 * MOST + 5, 1] {
            told.clear();
            {
                let mut next = pin!(reader.next_batch(&mut told));
                ensure!(is_pending(next.as_mut()).await, "nothing was told");
                self.tell(case, batch)?;
                next.await?;
            }
            while told.len() < batch {
                ensure!(told.len() % MOST == 0, "not all at once: {}", told.len());
                reader.next_batch(&mut told).await?;
            }
            for (key, flow) in &told {
                let idle = flow.idle_ms(now_ms()?);
                let found = (*key, Recorded::from(*flow));
                ensure!(case.expected.told == [found], "{found:?}");
                ensure!(idle < 60_000, "seen {idle} ms ago");
            }
            ensure!(told.len() == batch, "{} instead of {batch}", told.len());
        }
        Ok(())
    }

    /// Runs a case that is told of so many times.
    fn tell(&mut self, case: &Case, times: usize) -> Result<()> {
        self.prepare(case)?;
        let known = case.flow.context("nothing is known")?;
        for _ in 0..times {
            self.record(case.dialect.flow_key(), known)?;
            self.test_run(case, &case.frame)?;
        }
        Ok(())
    }

    fn run_once(&mut self, case: &Case, frame: &[u8]) -> Result<Outcome> {
        let (reasons, tracking) = (self.maps.reasons()?, self.maps.tracking()?);
        let run = self.test_run(case, frame)?;
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
        for (id, ..) in world::backends(case.dialect) {
            let counted = self.maps.traffic(id)?;
            if counted != Traffic::default() {
                traffic.push((id, counted));
            }
        }
        Ok(Outcome {
            reason,
            action: action.with_context(|| format!("returned {}", run.action))?,
            frame: run.frame,
            flow: self.recorded(&case.dialect.flow_key())?,
            told: self.told(),
            tracked: Outcome::tracked(tracking),
            traffic,
        })
    }

    /// Runs the program that `case` wants once, whatever the maps hold.
    fn test_run(&mut self, case: &Case, frame: &[u8]) -> Result<TestRun> {
        let all = case.features == Features::ALL;
        let object = match (case.lease, case.listens) {
            (Lease::NotNeeded, true) if all => &self.object,
            (Lease::NotNeeded, true) => self.with_features(case.features)?,
            (Lease::NotNeeded, false) if all => &self.silent,
            (Lease::Held | Lease::Lapsed, true) if all => &self.fenced,
            _ => bail!("there is no such program"),
        };
        let program = object.program("headgate").context("no program")?;
        let program: &XdpProgram = program.try_into()?;
        Ok(test_run(program.fd()?.as_fd(), frame, case.ingress)?)
    }

    fn with_features(&mut self, features: Features) -> Result<&Ebpf> {
        let known = self.others.iter().position(|(has, _)| *has == features);
        let index = match known {
            Some(index) => index,
            None => {
                let object = load(&self.pins, &options(features, false, true))?;
                self.others.push((features, object));
                self.others.len() - 1
            }
        };
        Ok(&self.others[index].1)
    }

    /// How many instructions the kernel runs a program of, with these parts of it.
    pub(crate) fn instructions(&mut self, features: Features) -> Result<u32> {
        let program = self.with_features(features)?.program("headgate");
        let program: &XdpProgram = program.context("no program")?.try_into()?;
        let bytes = program.info()?.size_translated();
        Ok(bytes.context("the kernel does not say")? / 8)
    }

    /// Takes what was told.
    fn told(&mut self) -> Vec<(FlowKey, Recorded)> {
        let mut told = Vec::new();
        while let Some(record) = self.told.next() {
            let NewFlow { key, flow } = bytemuck::pod_read_unaligned(&record);
            told.push((key, flow.into()));
        }
        told
    }

    fn prepare(&mut self, case: &Case) -> Result<()> {
        if self.is_ipv6 != Some(case.dialect.is_ipv6) {
            for (id, backend, ..) in world::backends(case.dialect) {
                self.maps.set_backend(id, Some(&backend))?;
            }
            self.is_ipv6 = Some(case.dialect.is_ipv6);
        }
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
        for (id, ..) in world::backends(case.dialect) {
            if self.maps.traffic(id)? != Traffic::default() {
                self.maps.retire(id, None)?;
            }
        }
        self.maps.renew_lease(match case.lease {
            Lease::NotNeeded => 0,
            Lease::Held => boot_ns() + 60_000_000_000,
            Lease::Lapsed => boot_ns(),
        })?;
        self.without_flows()?;
        if let Some(flow) = case.flow {
            self.record(case.dialect.flow_key(), flow)?;
        }
        if case.table_is_full {
            let others = (1u16..).map(|port| FlowKey {
                client_port: port.to_be_bytes(),
                ..case.dialect.flow_key()
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

    /// The tables, with no flow recorded.
    pub(crate) fn without_flows(&mut self) -> Result<&mut Kernel> {
        let flows: Vec<_> = self.flows.keys().collect::<Result<_, _>>()?;
        for key in flows {
            self.flows.remove(&key)?;
        }
        Ok(&mut self.maps)
    }

    /// Leaves of the budgets of `second` just enough for one record of each kind, or nothing, there or
    /// in the second before.
    fn set_budgets(&mut self, second: u32, budget: case::Budget) -> Result<()> {
        let all = LIMITS.records_per_second;
        let (second, used) = match budget {
            case::Budget::Left => (second, all - 1),
            case::Budget::Spent => (second, all),
            case::Budget::SpentBefore => (second.wrapping_sub(1), all),
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
                Ok(Some(flow.into()))
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
        let (key, flow): ([u8; 24], [u8; 8]) = (bytemuck::cast(key), bytemuck::cast(flow));
        Ok(self.flows.insert(key, flow, 0)?)
    }
}

fn options(features: Features, fenced: bool, tells_flows: bool) -> Options {
    Options {
        limits: LIMITS,
        features,
        log_verdicts: false,
        fenced,
        tells_flows,
    }
}

/// Whether a future has to wait.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

fn open(pins: &Pins, name: &str) -> Result<Map, MapError> {
    MapData::from_pin(pins.map(name)).and_then(Map::from_map_data)
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
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{setting}"), "1")
            .context("failed to allow forwarding")?;
    }
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
         address add {ourselves6}/120 dev clients nodad
         neigh add {client} lladdr {client_mac} dev clients nud permanent
         neigh add {client6} lladdr {client_mac} dev clients nud permanent
        ",
        ourselves6 = six(OURSELVES.0),
        client6 = six(CLIENT.0),
        clients_mac = mac(world::CLIENTS_MAC),
        servers_mac = mac(world::SERVERS_MAC),
        client_mac = mac(world::CLIENT_MAC),
        ourselves = OURSELVES.0,
        client = CLIENT.0,
    ))
}
