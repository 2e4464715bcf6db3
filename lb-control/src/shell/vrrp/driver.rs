//! The thread of a virtual router: feeds the machine, and does what it says.

use super::addresses::Addresses;
use super::announcer::Announcer;
use super::link::Links;
use super::monitor;
use super::socket::AdvertSocket;
use super::teller::Teller;
use super::{Command, Event, LAPSED, Report, Wanted, commands, realtime};
use crate::config::{Ha, OwnedAddress};
use crate::proto::vrrp::{
    self, Claim, Effect, Machine, Params, Repeats, State, YieldReason, announce,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the daemon is told how things are, if nothing changes.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// How many packets are taken before anything else has its turn. A flood must not stop us from
/// advertising.
const AT_ONCE: usize = 64;

pub(super) struct Driver {
    ha: Ha,
    teller: Teller,
    commands: commands::Receiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    found: commands::Receiver<io::Result<Links>>,
    addresses: Addresses,
    announcer: Announcer,
    links: Links,
    wanted: Option<Wanted>,
    /// That it led before it was started is leave enough, until the daemon gives it.
    resumes: bool,
    machine: Option<Machine>,
    socket: Option<(u32, AdvertSocket)>,
    /// Whom the daemon takes for the leader.
    reported: Option<(IpAddr, vrrp::Priority)>,
    faults: Faults,
}

impl Driver {
    pub(super) fn new(
        ha: Ha,
        teller: Teller,
        commands: commands::Receiver<Command>,
        events: mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        Ok(Self {
            ha,
            found: monitor::spawn(teller.clone())?,
            teller,
            commands,
            events,
            addresses: Addresses::open()?,
            announcer: Announcer::open()?,
            links: Links::default(),
            wanted: None,
            resumes: false,
            machine: None,
            socket: None,
            reported: None,
            faults: Faults::default(),
        })
    }

    /// Runs until leadership is to be released, or nobody is there to do that.
    pub(super) fn run(mut self) {
        for refused in realtime::ask() {
            self.tell(Event::Notice(refused));
        }
        let mut report_at = Instant::now() + REPORT_PERIOD;
        loop {
            // What comes after this moment is not older than what is due at it. What came before
            // is heard first.
            let now = Instant::now();
            self.teller.woken();
            // A host that stood still must not answer as if it had not.
            self.heed_lease(now);
            self.hear(now);
            while let Ok(found) = self.found.try_recv() {
                self.look(now, found);
            }
            if self.obey(now).is_break() {
                return;
            }
            self.heed_peer(now);
            if report_at <= now {
                report_at = now + REPORT_PERIOD;
                self.report();
            }
            if let Some(machine) = &mut self.machine
                && machine.deadline().is_some_and(|deadline| deadline <= now)
            {
                machine.on_timeout(now);
            }
            self.carry_out();
            self.wait(report_at);
        }
    }

    /// Waits until something arrives, or is due.
    fn wait(&mut self, report_at: Instant) {
        let deadline = self.machine.as_ref().and_then(Machine::deadline);
        let until = deadline.map_or(report_at, |deadline| deadline.min(report_at));
        let left = until.saturating_duration_since(Instant::now());
        let mut descriptors = vec![PollFd::new(self.teller.as_fd(), PollFlags::POLLIN)];
        if let Some((_, socket)) = &self.socket {
            descriptors.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        }
        match ppoll(&mut descriptors, Some(TimeSpec::from_duration(left)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory: what is due is done nevertheless.
            Err(_) => std::thread::sleep(left.min(self.ha.interval.duration() / 2)),
        }
    }

    fn hear(&mut self, now: Instant) {
        let Some((_, socket)) = &mut self.socket else {
            return;
        };
        let heard = (0..AT_ONCE).try_for_each(|_| match socket.receive() {
            Ok(Some(received)) => {
                if let Some(machine) = &mut self.machine {
                    // The machine counts what it refuses.
                    let _ = machine.on_packet(now, received.payload, received.ends, received.hops);
                }
                Ok(())
            }
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        });
        if let Err(Some(error)) = heard {
            let interface = &self.ha.interface;
            self.faults.set(
                Topic::Hear,
                Some(format!(
                    "cannot hear advertisements on {interface}: {error}"
                )),
            );
            // Opened again at the next look.
            self.socket = None;
        }
    }

    /// Yields if the lease lapsed, and no longer if there is one again.
    fn heed_lease(&mut self, now: Instant) {
        let eligible = self.eligible();
        if let Some(machine) = &mut self.machine
            && machine.hold() != eligible.as_ref().err().map(String::as_str)
        {
            machine.set_eligible(now, eligible);
        }
    }

    /// Whether the router may lead, or why it may not.
    fn eligible(&self) -> Result<(), String> {
        let wanted = self.wanted.as_ref().filter(|_| !self.resumes);
        wanted.map_or(Ok(()), |wanted| wanted.eligible.clone())?;
        if self.teller.has_lease() {
            Ok(())
        } else {
            Err(LAPSED.to_owned())
        }
    }

    /// Takes over from a peer that heartbeats have lost.
    fn heed_peer(&mut self, now: Instant) {
        if self.teller.take_lost()
            && let (Some(machine), Some(peer)) = (&mut self.machine, self.ha.peer)
        {
            machine.on_peer_lost(now, peer.into());
        }
    }

    /// Does what the daemon says.
    fn obey(&mut self, now: Instant) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        loop {
            match self.commands.try_recv() {
                Ok(Command::Follow(wanted)) => self.follow(now, wanted),
                Ok(Command::TakeOver) => {
                    if let Some(machine) = &mut self.machine {
                        machine.take_over(now);
                    }
                }
                Ok(Command::AnnounceAgain) => {
                    if let Some(machine) = &mut self.machine {
                        machine.announce_again(now);
                    }
                }
                Ok(Command::Release) => {
                    if let Some(machine) = &mut self.machine {
                        machine.shutdown(YieldReason::Shutdown);
                    }
                    self.carry_out();
                    return Break(());
                }
                Err(commands::TryRecvError::Empty) => return Continue(()),
                // The daemon is no more. The addresses stay for the next one.
                Err(commands::TryRecvError::Disconnected) => return Break(()),
            }
        }
    }

    fn follow(&mut self, now: Instant, wanted: Wanted) {
        self.resumes &= wanted.eligible.is_err() && wanted.may_resume;
        let old = self.wanted.replace(wanted);
        self.begin(now);
        self.heed_links(now);
        let (Some(machine), Some(wanted)) = (&mut self.machine, &self.wanted) else {
            return;
        };
        let old = old.map(|old| old.addresses).unwrap_or_default();
        if old != wanted.addresses && machine.state() == State::Active {
            let gone = old.difference(&wanted.addresses).cloned().collect();
            let come = wanted.addresses.clone();
            self.take_away(&gone);
            self.give(&come);
        }
        let (Some(machine), Some(wanted)) = (&mut self.machine, &self.wanted) else {
            return;
        };
        // What is not shared any more leaves the last ones in the advertisements: there must be
        // some.
        if let Some(addresses) = advertised(&wanted.addresses) {
            machine.set_addresses(now, addresses);
        }
        machine.set_priority(now, wanted.priority);
        self.heed_lease(now);
    }

    /// Looks at the host's interfaces, and mends what is not as it was left. What was found may be
    /// older than what was done since.
    fn look(&mut self, now: Instant, found: io::Result<Links>) {
        let fault = found.as_ref().err();
        let fault = fault.map(|error| format!("cannot ask for this host's addresses: {error}"));
        self.faults.set(Topic::Look, fault);
        let Ok(links) = found else {
            return;
        };
        self.links = links;
        self.begin(now);
        self.heed_links(now);
        self.connect();
        let (Some(machine), Some(wanted)) = (&self.machine, &self.wanted) else {
            return;
        };
        let state = machine.state();
        let (held, missing): (BTreeSet<_>, BTreeSet<_>) = wanted
            .addresses
            .iter()
            .cloned()
            .partition(|each| self.links.has(each));
        match state {
            State::Active => {
                let gave = self.give(&missing);
                if let Some(machine) = &mut self.machine
                    && !gave.is_empty()
                {
                    machine.announce_again(now);
                }
            }
            State::Backup | State::Initialize => {
                for each in self.take_away(&held) {
                    self.tell(Event::Notice(format!(
                        "{each} was here, though this host does not lead: taken away"
                    )));
                }
            }
        }
    }

    /// Gives up leadership when an interface is not up, and starts over when all are.
    fn heed_links(&mut self, now: Instant) {
        let down = self.link_down();
        let fault = down
            .as_ref()
            .map(|down| format!("{down}: until it is up, this host does not lead"));
        self.faults.set(Topic::Down, fault);
        let Some(machine) = &mut self.machine else {
            return;
        };
        match (down, machine.state()) {
            (Some(down), State::Backup | State::Active) => {
                machine.shutdown(YieldReason::LinkDown(down));
            }
            (None, State::Initialize) => machine.start(now),
            (Some(_), State::Initialize) | (None, State::Backup | State::Active) => {}
        }
    }

    /// Which interface is not up, of those that whoever leads needs.
    fn link_down(&self) -> Option<String> {
        if self.links == Links::default() {
            // They were not looked at yet.
            return None;
        }
        let addresses = self.wanted.iter().flat_map(|wanted| &wanted.addresses);
        let others = addresses.map(|each| &each.interface);
        let mut all = std::iter::once(&self.ha.interface).chain(others);
        all.find_map(|name| match self.links.get(name) {
            Some(link) if link.runs => None,
            Some(_) => Some(format!("{name} is down")),
            None => Some(format!("{name} is gone")),
        })
    }

    /// Starts the machine, once it is known what it shares, and from which address.
    fn begin(&mut self, now: Instant) {
        let (None, Some(wanted)) = (&self.machine, &self.wanted) else {
            return;
        };
        if self.links == Links::default() {
            // They were not looked at yet.
            return;
        }
        let Some(addresses) = advertised(&wanted.addresses) else {
            let fault = "there is no service, and so nothing to share".to_owned();
            self.faults.set(Topic::Link, Some(fault));
            return;
        };
        let interface = &self.ha.interface;
        let Some(own) = self.links.own_address(interface, &wanted.addresses) else {
            let fault = format!(
                "{interface} has no address of its own to advertise from: `ip addr add … dev \
                 {interface}`"
            );
            self.faults.set(Topic::Link, Some(fault));
            return;
        };
        let down = self.link_down().is_some();
        self.resumes = !down && wanted.addresses.iter().any(|each| self.links.has(each));
        let mut machine = Machine::new(Params {
            vrid: self.ha.vrid,
            priority: wanted.priority,
            interval: self.ha.interval,
            preempt: self.ha.preempt,
            address: IpAddr::V4(own),
            addresses,
            repeats: Repeats::default(),
        });
        machine.set_eligible(now, self.eligible());
        if self.resumes {
            machine.resume(now);
        } else if !down {
            machine.start(now);
        }
        if machine.state() != State::Active {
            self.tell(Event::StandsBy);
        }
        self.machine = Some(machine);
        self.connect();
    }

    /// Opens the socket, if it is not, or is that of an interface that is no more.
    fn connect(&mut self) {
        let Some(IpAddr::V4(own)) = self.machine.as_ref().map(|it| it.params().address) else {
            return;
        };
        let interface = &self.ha.interface;
        let link = self.links.get(interface);
        let link = link.filter(|link| link.addresses.contains(&own));
        let Some(link) = link else {
            self.socket = None;
            let fault = format!(
                "{interface} has no longer the address {own} to advertise from: give it back, or \
                 start lbd again"
            );
            self.faults.set(Topic::Link, Some(fault));
            return;
        };
        let ifindex = link.ifindex;
        if self.socket.as_ref().is_some_and(|(of, _)| *of == ifindex) {
            return;
        }
        let opened = AdvertSocket::open(interface, ifindex, own, self.ha.peer);
        let fault = opened.as_ref().err();
        let fault = fault.map(|error| format!("cannot advertise on {interface}: {error}"));
        self.faults.set(Topic::Link, fault);
        self.faults.set(Topic::Hear, None);
        if self.ha.peer.is_some() {
            // A peer that leads asked for us in vain, and asks again in a second only: until then
            // nothing that it sends would be heard, and it would be taken for dead.
            let hello = announce::gratuitous_arp(link.mac, own);
            let sent = self.announcer.send(ifindex, &hello);
            let fault = sent
                .err()
                .map(|error| format!("cannot announce {own}: {error}"));
            self.faults.set(Topic::Announce, fault);
        }
        self.socket = opened.ok().map(|socket| (ifindex, socket));
    }

    fn carry_out(&mut self) {
        let mut changed = false;
        while let Some(effect) = self.machine.as_mut().and_then(Machine::next_effect) {
            match effect {
                // The lease lapsed a moment ago: the next turn yields.
                Effect::SendAdvert {
                    claim: Claim::Lead(_),
                }
                | Effect::Announce
                    if !self.teller.has_lease() => {}
                Effect::SendAdvert { claim } => self.send(claim),
                Effect::Announce => self.announce(),
                Effect::Lead { reason } => {
                    let wanted = self.shared();
                    self.give(&wanted);
                    self.tell(Event::Leads(reason));
                    changed = true;
                }
                Effect::Yield { reason } => {
                    let wanted = self.shared();
                    self.take_away(&wanted);
                    // Whoever does not lead has nothing to say.
                    self.faults.set(Topic::Send, None);
                    self.faults.set(Topic::Announce, None);
                    self.tell(Event::Yields(reason));
                    changed = true;
                }
                Effect::SecondActive { peer } => self.tell(Event::SecondActive(peer)),
                Effect::Withheld { hold } => self.tell(Event::Withheld(hold)),
                // It is in the report, for as long as it is so.
                Effect::Disagrees { .. } => changed = true,
            }
        }
        if let Some(faults) = self.faults.take_changed() {
            self.tell(Event::Faults(faults));
        }
        let leader = self.machine.as_ref().and_then(Machine::leader);
        if changed || leader.map(|it| (it.address, it.priority)) != self.reported {
            self.report();
        }
    }

    fn shared(&self) -> BTreeSet<OwnedAddress> {
        let wanted = self.wanted.as_ref();
        wanted.map(|it| it.addresses.clone()).unwrap_or_default()
    }

    fn send(&mut self, claim: Claim) {
        let (Some(machine), Some((_, socket))) = (&self.machine, &self.socket) else {
            return;
        };
        let payload = machine
            .advert(claim)
            .encode(socket.ends(), self.ha.checksum);
        let sent = payload
            .map_err(io::Error::other)
            .and_then(|payload| socket.send(&payload));
        let interface = &self.ha.interface;
        let fault = sent.err().map(|error| {
            format!("cannot send advertisements on {interface}, so others may lead too: {error}")
        });
        self.faults.set(Topic::Send, fault);
    }

    fn announce(&mut self) {
        let mut fault = None;
        for owned in &self.shared() {
            let Some(link) = self.links.get(&owned.interface) else {
                continue;
            };
            let frame = announce::gratuitous_arp(link.mac, owned.address);
            if let Err(error) = self.announcer.send(link.ifindex, &frame) {
                fault = Some(format!("cannot announce {owned}: {error}"));
            }
        }
        self.faults.set(Topic::Announce, fault);
    }

    /// Returns those that were not here.
    fn give(&mut self, addresses: &BTreeSet<OwnedAddress>) -> Vec<OwnedAddress> {
        self.change(addresses, "give", Addresses::add)
    }

    /// Returns those that were here.
    fn take_away(&mut self, addresses: &BTreeSet<OwnedAddress>) -> Vec<OwnedAddress> {
        self.change(addresses, "take away", Addresses::remove)
    }

    fn change(
        &mut self,
        addresses: &BTreeSet<OwnedAddress>,
        what: &str,
        how: impl Fn(&Addresses, u32, &OwnedAddress) -> io::Result<bool>,
    ) -> Vec<OwnedAddress> {
        let mut fault = None;
        let mut changed = Vec::new();
        for owned in addresses {
            let result = match self.links.get(&owned.interface) {
                Some(link) => how(&self.addresses, link.ifindex, owned),
                // It has no addresses any more, and another alarm.
                None => Ok(false),
            };
            match result {
                Ok(true) => changed.push(owned.clone()),
                Ok(false) => {}
                Err(error) => fault = Some(format!("cannot {what} {owned}: {error}")),
            }
        }
        self.faults.set(Topic::Addresses, fault);
        changed
    }

    fn report(&mut self) {
        let Some(machine) = &self.machine else {
            return;
        };
        let leader = machine.leader();
        self.reported = leader.map(|it| (it.address, it.priority));
        self.tell(Event::Report(Report {
            address: Some(machine.params().address),
            leader,
            priority: Some(machine.priority()),
            disagreement: machine.disagreement(),
            counters: machine.counters().clone(),
        }));
    }

    fn tell(&self, event: Event) {
        // A daemon that is gone is noticed by the channel of commands.
        let _ = self.events.send(event);
    }
}

fn advertised(addresses: &BTreeSet<OwnedAddress>) -> Option<vrrp::Addresses> {
    let addresses: BTreeSet<Ipv4Addr> = addresses.iter().map(|each| each.address).collect();
    vrrp::Addresses::v4(addresses.into_iter().collect())
}

/// What is wrong, by what it is about. Each attempt says how it went.
#[derive(Default)]
struct Faults {
    faults: BTreeMap<Topic, String>,
    changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Look,
    Down,
    Link,
    Hear,
    Send,
    Announce,
    Addresses,
}

impl Faults {
    fn set(&mut self, topic: Topic, fault: Option<String>) {
        let old = match &fault {
            Some(fault) => self.faults.insert(topic, fault.clone()),
            None => self.faults.remove(&topic),
        };
        self.changed |= old != fault;
    }

    fn take_changed(&mut self) -> Option<Vec<String>> {
        std::mem::take(&mut self.changed).then(|| self.faults.values().cloned().collect())
    }
}
