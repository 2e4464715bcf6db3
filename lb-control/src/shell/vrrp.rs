//! Runs a virtual router: sockets, timers and addresses for [`crate::proto::vrrp`].
//!
//! It has a thread of its own, which the kernel prefers to all others: whoever advertises late is
//! taken for dead. That thread neither logs nor waits for anybody: it tells the daemon what
//! happens, and is told by it what to share, and whether it may lead.

mod addresses;
mod announcer;
mod driver;
mod link;
mod monitor;
mod seals;
mod socket;
mod strangers;
mod teller;

pub use teller::{LINKS, Teller};

use crate::config::{Config, OwnedAddress, VirtualRouter};
use crate::proto::vrrp::State;
use crate::proto::vrrp::seal;
use crate::proto::vrrp::{
    ChecksumForm, Counters, Disagreement, Family, Interval, LeadReason, Leader, Preempt, Priority,
    Vrid, YieldReason,
};
use anyhow::Context as _;
use driver::Driver;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc as commands;
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;

#[cfg(doc)]
use crate::proto::vrrp::Machine;

/// What a router is, as long as it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    interface: String,
    family: Family,
    vrid: Vrid,
    interval: Interval,
    preempt: Preempt,
    /// To whom alone it advertises. Over IPv6, always to the group.
    peer: Option<Ipv4Addr>,
    checksum: ChecksumForm,
    /// What this host's routers share: none of it is an address to advertise from.
    shared: BTreeSet<IpAddr>,
}

impl Settings {
    /// Those of a router of this configuration. `None`: there is no `[ha]`.
    #[must_use]
    pub fn of(router: &VirtualRouter, config: &Config) -> Option<Self> {
        let ha = config.ha.as_ref()?;
        let all = config.virtual_routers();
        let shared = all.iter().flat_map(|each| config.shared_by(each));
        Some(Self {
            interface: ha.interface.clone(),
            family: router.family,
            vrid: router.vrid,
            interval: ha.interval,
            preempt: ha.preempt,
            peer: ha.peer.filter(|_| router.family == Family::V4),
            checksum: ha.checksum,
            shared: shared.map(|each| each.address).collect(),
        })
    }
}

/// What the daemon wants of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What whoever leads has.
    pub addresses: BTreeSet<OwnedAddress>,
    /// Its priority: the configured one, less what is wrong on this host.
    pub priority: Priority,
    /// Whether it may lead, or why it may not.
    pub eligible: Result<(), String>,
    /// Whether it may begin to, or why it may not. Once it leads this does not matter: by the time it
    /// is told, it may have begun.
    pub may_begin: Result<(), String>,
    /// Whether it may all the same if an earlier one on this host led.
    pub may_resume: bool,
}

impl Wanted {
    /// Whether a router in this state may lead, or why it may not.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn leave(&self, state: State) -> Result<(), String> {
        self.eligible.clone()?;
        match state {
            State::Active => Ok(()),
            State::Initialize | State::Backup => self.may_begin.clone(),
        }
    }
}

/// What happened. Events come in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there, and somebody else leads, or may be about to.
    StandsBy,
    /// It leads.
    Leads(LeadReason),
    /// It no longer leads.
    Yields(YieldReason),
    /// Somebody else led, too.
    SecondActive(IpAddr),
    /// Nobody leads, and this one may not, for this reason.
    Withheld(String),
    /// All that is wrong now. Empty when nothing is any more.
    Faults(Vec<String>),
    /// Something for the log.
    Notice(String),
    /// How things are: after each change, and every now and then.
    Report(Report),
    /// It runs no longer, and nobody told it to end.
    Ended,
}

/// Where a router's events go, with its number among those of this host.
#[derive(Debug)]
pub struct Events {
    number: usize,
    sender: mpsc::UnboundedSender<(usize, Event)>,
}

impl Events {
    /// Those of the router of this number.
    #[must_use]
    pub const fn of(number: usize, sender: mpsc::UnboundedSender<(usize, Event)>) -> Self {
        Self { number, sender }
    }

    fn tell(&self, event: Event) {
        // A daemon that is gone is noticed by the channel of commands.
        let _ = self.sender.send((self.number, event));
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.tell(Event::Ended);
    }
}

/// What a router knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The address that it advertises from, once there is one.
    pub address: Option<IpAddr>,
    /// The other one, if that leads.
    pub leader: Option<Leader>,
    /// Its own priority.
    pub priority: Option<Priority>,
    /// How a peer differs in what it was told.
    pub disagreement: Option<Disagreement>,
    /// Who sent, since the last report, advertisements that should be the other host's and are not.
    pub forger: Option<IpAddr>,
    /// Who else advertised with this number since the last report, where there is one peer.
    pub stranger: Option<Stranger>,
    /// What was sent and heard.
    pub counters: Counters,
}

/// A router of the same number that is not the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Where it advertises from.
    pub address: Ipv4Addr,
    /// Where the peer should be.
    pub peer: Ipv4Addr,
}

enum Command {
    Follow(Wanted),
    Seal(seal::Key, bool),
    TakeOver,
    AnnounceAgain,
    Release,
}

/// Why a router may not lead that needs a lease, and has none.
pub const LAPSED: &str = "it stood still, and its lease lapsed";

/// A virtual router that runs. When it is dropped, its addresses stay where they are.
#[derive(Debug)]
pub struct Router {
    commands: commands::Sender<Command>,
    teller: Teller,
    thread: JoinHandle<()>,
}

impl Router {
    /// Starts a router, which does nothing until it is told what to share. Those who keep a lease,
    /// or know whether the peer lives, have `teller`, too.
    ///
    /// # Errors
    ///
    /// If there is no thread or no descriptor left for it.
    pub fn spawn(settings: Settings, teller: Teller, events: Events) -> anyhow::Result<Self> {
        let (sender, commands) = commands::channel();
        let driver = Driver::new(settings, teller.clone(), commands, events)?;
        let thread = thread::Builder::new()
            .name("vrrp".to_owned())
            .spawn(move || driver.run())
            .context("failed to start the thread of the virtual router")?;
        Ok(Self {
            commands: sender,
            teller,
            thread,
        })
    }

    /// Says what is wanted from now on.
    pub fn follow(&self, wanted: Wanted) {
        self.tell(Command::Follow(wanted));
    }

    /// Seals what it sends with this key from now on. `demanded`: the other host has it, too, and
    /// what bears no seal of it is not heeded, or soon.
    pub fn seal(&self, key: seal::Key, demanded: bool) {
        self.tell(Command::Seal(key, demanded));
    }

    /// Leads at once, if it may and another host does: see [`Machine::take_over`].
    pub fn take_over(&self) {
        self.tell(Command::TakeOver);
    }

    /// Neighbours may have missed whose the addresses are.
    pub fn announce_again(&self) {
        self.tell(Command::AnnounceAgain);
    }

    /// Gives up leadership, and the addresses with it, and waits until that is done.
    pub fn release(self) {
        self.tell(Command::Release);
        // A thread that panicked has said so.
        let _ = self.thread.join();
    }

    fn tell(&self, command: Command) {
        // A router that is gone has closed the channel of its events.
        let _ = self.commands.send(command);
        self.teller.wake();
    }
}
