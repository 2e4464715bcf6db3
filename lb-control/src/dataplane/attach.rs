//! The program on its interfaces: putting it there, seeing that it stays, taking it away.

use super::object::{PROGRAM, program_mut};
use super::pins::{Mode, Pins};
use super::{Error, bpf};
use aya::Ebpf;
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use nix::net::if_::if_nametoindex;
use std::path::Path;

/// An interface that the program should be attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Its index, or 0 if there is none.
    pub ifindex: u32,
    /// How the program is attached, if it is.
    pub mode: Option<Mode>,
}

/// Keeps the loaded program on the configured interfaces.
pub struct Attacher {
    object: Ebpf,
    pins: Pins,
    interfaces: Vec<String>,
    /// Whether links are of this program, not of an earlier lbd's.
    adopted: bool,
}

impl Attacher {
    /// Nothing is attached yet.
    #[must_use]
    pub fn new(object: Ebpf, pins: &Pins, interfaces: &[String]) -> Self {
        Self {
            object,
            pins: pins.clone(),
            interfaces: interfaces.to_owned(),
            adopted: false,
        }
    }

    /// Whether an earlier lbd's program is in place.
    pub fn takes_over(&self) -> bool {
        let attached = self.pins.attached();
        !self.adopted && attached.is_ok_and(|attached| !attached.is_empty())
    }

    /// Attaches the program everywhere, in place of the one that an earlier lbd attached, and
    /// takes that from interfaces that are no longer configured.
    pub fn attach(&mut self) -> Result<(), Error> {
        for interface in self.interfaces.clone() {
            self.attach_to(&interface)?;
        }
        for (interface, mode) in self.pins.attached()? {
            if !self.interfaces.contains(&interface) {
                detach_interface(&self.pins, &interface, mode)?;
                tracing::info!(interface, "detached: it is no longer configured");
            }
        }
        self.adopted = true;
        Ok(())
    }

    /// Puts the program back where somebody took it away, or where the interface is another one by
    /// the same name. Returns where it is now, and what went wrong.
    pub fn mend(&mut self) -> (Vec<Attachment>, Vec<String>) {
        let mut attachments = Vec::new();
        let mut failures = Vec::new();
        for interface in self.interfaces.clone() {
            let ifindex = if_nametoindex(interface.as_str()).unwrap_or(0);
            let mut mode = self.mode(&interface, ifindex);
            if ifindex == 0 {
                failures.push(format!("there is no interface {interface} any more"));
            } else if mode.is_none() {
                tracing::error!(
                    interface,
                    "the program is no longer attached: attaching it again"
                );
                match self.attach_to(&interface) {
                    Ok(()) => mode = self.mode(&interface, ifindex),
                    Err(error) => failures.push(error.to_string()),
                }
            }
            attachments.push(Attachment {
                interface,
                ifindex,
                mode,
            });
        }
        (attachments, failures)
    }

    /// How the program is attached to the interface of this name and index.
    fn mode(&self, interface: &str, ifindex: u32) -> Option<Mode> {
        Mode::ALL.into_iter().find(|&mode| {
            let link = bpf::link_ifindex(&self.pins.link(mode, interface));
            ifindex != 0 && link.is_ok_and(|found| found == ifindex)
        })
    }

    fn attach_to(&mut self, interface: &str) -> Result<(), Error> {
        let program = program_mut(&mut self.object, PROGRAM)?;
        for mode in Mode::ALL {
            let pin = self.pins.link(mode, interface);
            if pin.exists() {
                if adopt(program, &pin).is_ok() {
                    tracing::info!(interface, %mode, "attached in place of an earlier one");
                    return Ok(());
                }
                // The interface went away and came back: the link leads nowhere.
                detach_interface(&self.pins, interface, mode)?;
            }
        }
        let mode = attach_anew(program, &self.pins, interface)?;
        tracing::info!(interface, %mode, "attached");
        if mode == Mode::Generic {
            tracing::warn!(
                interface,
                "its driver has no native XDP: generic mode is slower"
            );
        }
        Ok(())
    }
}

fn attach_anew(program: &mut Xdp, pins: &Pins, interface: &str) -> Result<Mode, Error> {
    let (link, mode) = match program.attach(interface, XdpMode::Driver) {
        Ok(link) => (link, Mode::Native),
        Err(native) => match program.attach(interface, XdpMode::Skb) {
            Ok(link) => (link, Mode::Generic),
            Err(generic) => {
                let [native, generic] = [native, generic].map(anyhow::Error::new);
                return Err(Error::new(
                    format!("attach the XDP program to {interface}"),
                    format!("natively: {native:#}; generically: {generic:#}"),
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
    Ok(mode)
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
fn detach_interface(pins: &Pins, interface: &str, mode: Mode) -> Result<(), Error> {
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
