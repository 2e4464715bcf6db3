//! The compiled program, and loading it.

use super::Error;
use super::pins::Pins;
use crate::config::Limits;
use aya::maps::MapInfo;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lb_ebpf::abi::{self, Features, slot_pairs};
use lb_ebpf::reason::Reason;
use std::path::Path;

/// The object, as `build.rs` made it. Empty if it was built before set-up.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-xdp.o"));

/// The name of the program in the object.
pub(super) const PROGRAM: &str = "headgate";

/// What is decided when the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sizes of the maps.
    pub limits: Limits,
    /// The parts of the program that some service uses. The others are left out.
    pub features: Features,
    /// Whether the program logs each verdict.
    pub log_verdicts: bool,
    /// Whether leases are in force: the program lets nobody new in while this host has none (see
    /// [`Dataplane::renew_lease`](super::Dataplane::renew_lease)). For one of a pair. A program
    /// with leases is to be attached after the first one was given.
    pub fenced: bool,
    /// Whether the program tells of each flow that it records, to the reader of
    /// [`NewFlows`](super::NewFlows). There should be one: what nobody reads fills the buffer, and
    /// is counted as untold from then on.
    pub tells_flows: bool,
}

/// A map: its name, the sizes of a key and a value, and how many entries it has.
type MapShape = (&'static str, usize, usize, u32);

fn shapes(limits: &Limits) -> [MapShape; 13] {
    use abi::{
        Addr, Backend, Budget, Flow, FlowKey, IsVip, LeaseUntil, Reverse, ReverseKey, Service,
        ServiceKey, Slot, Tracking, Traffic,
    };
    let pairs = slot_pairs(abi::capacity::SLOTS_PER_SERVICE) as u32;
    let Limits {
        services,
        backends,
        flows,
        ..
    } = *limits;
    let index = size_of::<u32>();
    [
        (
            "SERVICES",
            size_of::<ServiceKey>(),
            size_of::<Service>(),
            services,
        ),
        (
            "REVERSE",
            size_of::<ReverseKey>(),
            size_of::<Reverse>(),
            backends,
        ),
        ("BACKENDS", index, size_of::<Backend>(), backends),
        ("SLOTS", index, size_of::<[Slot; 2]>(), services * pairs),
        ("FLOWS", size_of::<FlowKey>(), size_of::<Flow>(), flows),
        ("BACKEND_TRAFFIC", index, size_of::<Traffic>(), backends),
        ("RETIRED_TRAFFIC", index, size_of::<Traffic>(), services),
        ("REASONS", index, size_of::<u64>(), Reason::ALL.len() as u32),
        (
            "TRACKING",
            index,
            size_of::<u64>(),
            Tracking::ALL.len() as u32,
        ),
        ("BUDGETS", index, size_of::<Budget>(), 2),
        ("LEASE", index, size_of::<LeaseUntil>(), 1),
        ("VIPS", size_of::<Addr>(), size_of::<IsVip>(), services),
        // Of a ring buffer, the kernel knows only how many bytes it takes.
        ("NEW_FLOWS", 0, 0, abi::capacity::NEW_FLOWS as u32),
    ]
}

/// Loads the program. Maps that are pinned already are used as they are, the others are made.
pub fn load(pins: &Pins, options: &Options) -> Result<Ebpf, Error> {
    if OBJECT.is_empty() {
        return Err(Error::new(
            "load the XDP program",
            "this lbd was built without it; run `cargo xtask setup`, then build again",
        ));
    }
    pins.create()?;
    let shapes = shapes(&options.limits);
    let paths: Vec<_> = shapes
        .iter()
        .map(|&(name, ..)| (name, pins.map(name)))
        .collect();
    for &(name, key, value, entries) in &shapes {
        check_pinned(&pins.map(name), name, (key, value, entries))?;
    }

    let mut loader = EbpfLoader::new();
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    for &(name, _, _, entries) in &shapes {
        loader.map_max_entries(name, entries);
    }
    let features = options.features.bits();
    let log_verdicts = u8::from(options.log_verdicts);
    let leases = u8::from(options.fenced);
    let tells_flows = u8::from(options.tells_flows);
    loader
        .override_global(
            "RECORDS_PER_SECOND",
            &options.limits.records_per_second,
            true,
        )
        .override_global("FEATURES", &features, true)
        .override_global("LOG_VERDICTS", &log_verdicts, true)
        .override_global("LEASES", &leases, true)
        .override_global("TELLS_FLOWS", &tells_flows, true);
    let mut object = loader
        .load(OBJECT)
        .map_err(|error| Error::new("load the XDP program's maps", error))?;
    let program = program_mut(&mut object, PROGRAM)?;
    program
        .load()
        .map_err(|error| Error::new("load the XDP program", error))?;
    Ok(object)
}

/// A program of the loaded object.
pub(super) fn program_mut<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp, Error> {
    let action = || format!("find the program {name} in the object");
    let program = object
        .program_mut(name)
        .ok_or_else(|| Error::new(action(), "it is missing"))?;
    program
        .try_into()
        .map_err(|error: aya::programs::ProgramError| Error::new(action(), error))
}

/// A pin that exists is reused by the loader without any check, so check it first.
fn check_pinned(
    path: &Path,
    name: &str,
    (key, value, entries): (usize, usize, u32),
) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let action = || format!("reuse the pinned map {name}");
    let info = MapInfo::from_pin(path).map_err(|error| Error::new(action(), error))?;
    let found = (
        info.key_size() as usize,
        info.value_size() as usize,
        info.max_entries(),
    );
    if found == (key, value, entries) {
        return Ok(());
    }
    Err(Error::new(
        action(),
        format!(
            "it has {} entries of {} + {} bytes, not {entries} of {key} + {value}: set [limits] back \
             to what it was, or run `lbd detach` first, which interrupts all services until lbd is \
             up again",
            found.2, found.0, found.1
        ),
    ))
}
