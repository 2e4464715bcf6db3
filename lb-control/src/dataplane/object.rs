//! The compiled program: loading it, attaching it to interfaces, taking it away.

use super::Error;
use super::pins::{Mode, Pins};
use crate::config::Limits;
use aya::maps::MapInfo;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpMode;
use aya::programs::{Xdp, xdp::XdpLink};
use aya::{Ebpf, EbpfLoader};
use lb_ebpf::abi::{self, slot_pairs};
use lb_ebpf::reason::Reason;
use std::path::Path;

/// The object, as `build.rs` made it. Empty if it was built before set-up.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-xdp.o"));

/// The name of the program in the object.
const PROGRAM: &str = "headgate";

/// What is decided when the program is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sizes of the maps.
    pub limits: Limits,
    /// Whether the program logs each verdict.
    pub log_verdicts: bool,
}

/// A map: its name, the sizes of a key and a value, and how many entries it has.
type MapShape = (&'static str, usize, usize, u32);

fn shapes(limits: &Limits) -> [MapShape; 10] {
    use abi::{
        Backend, Budget, Flow, FlowKey, Reverse, ReverseKey, Service, ServiceKey, Slot, Tracking,
        Traffic,
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
    let log_verdicts = u8::from(options.log_verdicts);
    loader
        .override_global(
            "RECORDS_PER_SECOND",
            &options.limits.records_per_second,
            true,
        )
        .override_global("LOG_VERDICTS", &log_verdicts, true);
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
fn program_mut<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut Xdp, Error> {
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
            "it has keys of {} bytes, values of {} bytes and {} entries, not {key}, {value} and \
             {entries}: set [limits] back to what it was, or run `lbd detach` first (this drops \
             the connections that only the flow table knows)",
            found.0, found.1, found.2
        ),
    ))
}

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// How.
    pub mode: Mode,
    /// Whether a program was there already, and was replaced.
    pub adopted: bool,
}

/// Attaches the loaded program to an interface, or replaces the one that an earlier lbd attached.
pub fn attach(object: &mut Ebpf, pins: &Pins, interface: &str) -> Result<Attachment, Error> {
    let program = program_mut(object, PROGRAM)?;
    for mode in Mode::ALL {
        let pin = pins.link(mode, interface);
        if pin.exists() {
            if adopt(program, &pin).is_ok() {
                return Ok(Attachment {
                    interface: interface.to_owned(),
                    mode,
                    adopted: true,
                });
            }
            // The interface went away and came back: the link leads nowhere.
            detach_interface(pins, interface, mode)?;
        }
    }
    let (link, mode) = match program.attach(interface, XdpMode::Driver) {
        Ok(link) => (link, Mode::Native),
        Err(native) => match program.attach(interface, XdpMode::Skb) {
            Ok(link) => (link, Mode::Generic),
            Err(generic) => {
                return Err(Error::new(
                    format!("attach the XDP program to {interface}"),
                    format!(
                        "natively: {}; generically: {}",
                        chain(&native),
                        chain(&generic)
                    ),
                ));
            }
        },
    };
    let action = || format!("pin the link on {interface}");
    let link: XdpLink = program
        .take_link(link)
        .map_err(|error| Error::new(action(), error))?;
    let link = FdLink::try_from(link).map_err(|error| Error::new(action(), error))?;
    link.pin(pins.link(mode, interface))
        .map_err(|error| Error::new(action(), error))?;
    Ok(Attachment {
        interface: interface.to_owned(),
        mode,
        adopted: false,
    })
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Puts the program on a pinned link, in place of the one that is there.
fn adopt(program: &mut Xdp, pin: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let link = FdLink::from(PinnedLink::from_pin(pin)?);
    let id = program.attach_to_link(XdpLink::try_from(link)?)?;
    // The pin keeps the link; this handle on it may go.
    drop(program.take_link(id)?);
    Ok(())
}

/// Takes the program from an interface.
pub fn detach_interface(pins: &Pins, interface: &str, mode: Mode) -> Result<(), Error> {
    let pin = pins.link(mode, interface);
    let action = || format!("detach from {interface}");
    let link = PinnedLink::from_pin(&pin).map_err(|error| Error::new(action(), error))?;
    link.unpin().map_err(|error| Error::new(action(), error))?;
    Ok(())
}

/// Takes the program from every interface and removes all pins. Returns the interfaces.
pub fn detach(pins: &Pins) -> Result<Vec<String>, Error> {
    if !pins.exist() {
        return Ok(Vec::new());
    }
    let _lock = pins.lock()?;
    let attached = pins.attached()?;
    for (interface, mode) in &attached {
        detach_interface(pins, interface, *mode)?;
    }
    pins.remove()?;
    let interfaces = attached.into_iter().map(|(interface, _)| interface);
    Ok(interfaces.collect())
}
