//! The program on its interfaces: putting it there, seeing that it stays, taking it away.

use super::object::{PROGRAM, program_mut};
use super::pins::{Mode, Pins};
use super::{Error, bpf};
use aya::Ebpf;
use aya::programs::Xdp;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use nix::net::if_::if_nametoindex;
use std::collections::BTreeSet;
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
    /// Where this program was put, and not an earlier lbd's.
    attached: BTreeSet<String>,
}

impl Attacher {
    /// Nothing is attached yet.
    #[must_use]
    pub fn new(object: Ebpf, pins: &Pins, interfaces: &[String]) -> Self {
        Self {
            object,
            pins: pins.clone(),
            interfaces: interfaces.to_owned(),
            attached: BTreeSet::new(),
        }
    }

    /// Whether an earlier lbd's program is in place, and this one is nowhere.
    pub fn takes_over(&self) -> bool {
        let pinned = self.pins.attached();
        self.attached.is_empty() && pinned.is_ok_and(|pinned| !pinned.is_empty())
    }

    /// Whether this program is still wherever it was put. Cheaper to ask than [`Self::attach`].
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.attached.iter().all(|interface| {
            let ifindex = if_nametoindex(interface.as_str()).unwrap_or(0);
            self.mode(interface, ifindex).is_some()
        })
    }

    /// From now on this program, in place of the one before wherever that is.
    ///
    /// # Errors
    ///
    /// Where it could not be put. [`Self::attach`] tries again.
    pub fn replace(&mut self, object: Ebpf) -> Result<(), String> {
        self.object = object;
        if std::mem::take(&mut self.attached).is_empty() {
            return Ok(());
        }
        match self.attach() {
            (_, failures) if failures.is_empty() => Ok(()),
            (_, failures) => Err(failures.join("; ")),
        }
    }

    /// Attaches the program everywhere, in place of the one that an earlier lbd attached, and
    /// again where somebody took it away, or where the interface is another one by the same name.
    /// Returns where it is now, and what went wrong.
    pub fn attach(&mut self) -> (Vec<Attachment>, Vec<String>) {
        let mut attachments = Vec::new();
        let mut failures = Vec::new();
        for interface in self.interfaces.clone() {
            let ifindex = if_nametoindex(interface.as_str()).unwrap_or(0);
            if ifindex == 0 {
                failures.push(format!("there is no interface {interface} any more"));
            } else if let Err(error) = self.attach_to(&interface, ifindex) {
                failures.push(format!("{:#}", anyhow::Error::new(error)));
            }
            let mode = self.mode(&interface, ifindex);
            attachments.push(Attachment {
                interface,
                ifindex,
                mode,
            });
        }
        failures.extend(self.detach_others().err().map(|error| error.to_string()));
        (attachments, failures)
    }

    /// Takes an earlier lbd's program from interfaces that are no longer configured.
    fn detach_others(&self) -> Result<(), Error> {
        for (interface, mode) in self.pins.attached()? {
            if !self.interfaces.contains(&interface) {
                detach_interface(&self.pins, &interface, mode)?;
                tracing::info!(interface, "detached: it is no longer configured");
            }
        }
        Ok(())
    }

    /// How the program is attached to the interface of this name and index.
    fn mode(&self, interface: &str, ifindex: u32) -> Option<Mode> {
        Mode::ALL.into_iter().find(|&mode| {
            let link = bpf::link_ifindex(&self.pins.link(mode, interface));
            ifindex != 0 && link.is_ok_and(|found| found == ifindex)
        })
    }

    fn attach_to(&mut self, interface: &str, ifindex: u32) -> Result<(), Error> {
        let present = self.mode(interface, ifindex);
        let ours = self.attached.contains(interface);
        if ours && present.is_some() {
            return Ok(());
        }
        let program = program_mut(&mut self.object, PROGRAM)?;
        let adopted =
            present.filter(|&mode| adopt(program, &self.pins.link(mode, interface)).is_ok());
        let mode = match adopted {
            Some(mode) => mode,
            None => {
                // Links that lead nowhere, or to an interface that had this name.
                for mode in Mode::ALL {
                    if self.pins.link(mode, interface).exists() {
                        detach_interface(&self.pins, interface, mode)?;
                    }
                }
                attach_anew(program, &self.pins, interface)?
            }
        };
        if ours {
            tracing::error!(interface, %mode, "the program was no longer attached: attached it again");
        } else {
            tracing::info!(interface, %mode, taken_over = adopted.is_some(), "attached");
        }
        if mode == Mode::Generic {
            tracing::warn!(
                interface,
                "its driver has no native XDP: generic mode is slower"
            );
        }
        self.attached.insert(interface.to_owned());
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
