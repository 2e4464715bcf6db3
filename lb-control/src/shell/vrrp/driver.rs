//! The thread of a virtual router: feeds the machine, and does what it says.

use super::addresses::Addresses;
use super::announcer::Announcer;
use super::link::Links;
use super::monitor;
use super::seals::Seals;
use super::socket::AdvertSocket;
use super::strangers::Strangers;
use super::teller::Teller;
use super::{Command, Event, Events, LAPSED, Report, Settings, Stranger, Wanted, commands};
use crate::config::OwnedAddress;
use crate::proto::vrrp::{
    self, Claim, Effect, Family, Machine, Params, Refusal, Repeats, State, YieldReason, announce,
};
use crate::shell::realtime::{self, Urgency};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// How often the daemon is told how things are, if nothing changes.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// How many packets are taken before anything else has its turn. A flood must not stop us from
/// advertising.
const AT_ONCE: usize = 64;

pub(super) struct Driver {
    settings: Settings,
    teller: Teller,
    commands: commands::Receiver<Command>,
    events: Events,
    found: commands::Receiver<io::Result<Links>>,
    addresses: Addresses,
    announcer: Announcer,
    links: Links,
    wanted: Option<Wanted>,
    /// That it led before it was started is leave enough, until the daemon gives it.
    resumes: bool,
    machine: Option<Machine>,
    socket: Option<(u32, AdvertSocket)>,
    strangers: Option<Strangers>,
    seals: Option<Seals>,
    /// Whom the daemon takes for the leader.
    reported: Option<(IpAddr, vrrp::Priority)>,
    faults: Faults,
}

impl Driver {
    pub(super) fn new(
        settings: Settings,
        teller: Teller,
        commands: commands::Receiver<Command>,
        events: Events,
    ) -> io::Result<Self> {
        Ok(Self {
            settings,
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
            strangers: None,
            seals: None,
            reported: None,
            faults: Faults::default(),
        })
    }

    /// Runs until leadership is to be released, or nobody is there to do that.
    pub(super) fn run(mut self) {
        for refused in realtime::ask(Urgency::Router) {
            self.tell(Event::Notice(format!(
                "the virtual router may advertise late when this host is busy, and lose \
                 leadership: {refused}"
            )));
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
            Err(_) => std::thread::sleep(left.min(self.settings.interval.duration() / 2)),
        }
    }

    fn hear(&mut self, now: Instant) {
        let Some((_, socket)) = &mut self.socket else {
            return;
        };
        let heard = (0..AT_ONCE).try_for_each(|_| match socket.receive() {
            Ok(Some(received)) => {
                let Some(machine) = &mut self.machine else {
                    return Ok(());
                };
                let (ends, hops) = (received.ends, received.hops);
                let opened = match &mut self.seals {
                    Some(seals) => seals.open(now, received.payload, ends, hops, &self.teller),
                    None => Ok(received.payload),
                };
                match opened {
                    // The machine counts what it refuses.
                    Ok(advert) => drop(machine.on_packet(now, advert, ends, hops)),
                    Err(refusal) => machine.count_refused(&refusal),
                }
                Ok(())
            }
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        });
        if let Err(Some(error)) = heard {
            let interface = &self.settings.interface;
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
        if let Some(wanted) = self.wanted.as_ref().filter(|_| !self.resumes) {
            let machine = self.machine.as_ref();
            wanted.leave(machine.map_or(State::Initialize, Machine::state))?;
        }
        if self.teller.has_lease() {
            Ok(())
        } else {
            Err(LAPSED.to_owned())
        }
    }

    /// Takes over from a peer that heartbeats have lost.
    fn heed_peer(&mut self, now: Instant) {
        if !self.teller.take_lost() {
            return;
        }
        let Some(machine) = &mut self.machine else {
            return;
        };
        // A group may have more members, but a host that has a peer is one of two: whoever leads
        // over IPv6 is it.
        let leader = machine.leader().map(|leader| leader.address);
        let peer = self.settings.peer.map(IpAddr::V4).or(leader);
        machine.on_peer_lost(now, peer.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
    }

    /// Does what the daemon says.
    fn obey(&mut self, now: Instant) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        loop {
            match self.commands.try_recv() {
                Ok(Command::Follow(wanted)) => self.follow(now, wanted),
                Ok(Command::Seal(key, demanded)) => {
                    let (vrid, before) = (self.settings.vrid, self.seals.as_ref());
                    self.seals = Some(Seals::new(key, demanded, vrid, before, now));
                }
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
        let may_lead = wanted.eligible.is_ok() && wanted.may_begin.is_ok();
        self.resumes &= !may_lead && wanted.may_resume;
        let old = self.wanted.replace(wanted);
        self.begin();
        self.connect();
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
        if let Some(addresses) = advertised(self.settings.family, &wanted.addresses) {
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
        self.begin();
        self.connect();
        self.heed_links(now);
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
            // They are its own again as soon as it can advertise.
            State::Initialize if self.resumes => {}
            State::Backup | State::Initialize => {
                for each in self.take_away(&held) {
                    self.tell(Event::Notice(format!(
                        "{each} was here, though this host does not lead: taken away"
                    )));
                }
            }
        }
    }

    /// Gives up leadership when an interface is not up, and starts, or starts over, when all are:
    /// but not deaf.
    fn heed_links(&mut self, now: Instant) {
        let down = self.link_down();
        let Some(machine) = &mut self.machine else {
            return;
        };
        match (down, machine.state()) {
            (Some(down), State::Backup | State::Active) => {
                self.resumes = false;
                machine.shutdown(YieldReason::LinkDown(down));
            }
            (None, State::Initialize) if self.socket.is_some() => {
                if self.resumes {
                    machine.resume(now);
                } else {
                    machine.start(now);
                }
                if machine.state() == State::Backup {
                    self.tell(Event::StandsBy);
                }
            }
            (_, State::Initialize) | (None, State::Backup | State::Active) => {}
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
        let mut all = std::iter::once(&self.settings.interface).chain(others);
        all.find_map(|name| match self.links.get(name) {
            Some(link) if link.runs => None,
            Some(_) => Some(format!("{name} is down")),
            None => Some(format!("{name} is gone")),
        })
    }

    /// Makes the machine, once it is known what it shares, and from which address.
    fn begin(&mut self) {
        let (None, Some(wanted)) = (&self.machine, &self.wanted) else {
            return;
        };
        if self.links == Links::default() {
            // They were not looked at yet.
            return;
        }
        let family = self.settings.family;
        let Some(addresses) = advertised(family, &wanted.addresses) else {
            let fault = "there is no service, and so nothing to share".to_owned();
            self.faults.set(Topic::Link, Some(fault));
            return;
        };
        let interface = &self.settings.interface;
        let is_shared = |address| {
            let mut wanted = wanted.addresses.iter();
            self.settings.shared.contains(&address) || wanted.any(|it| it.address == address)
        };
        let Some(own) = self.links.own_address(interface, family, is_shared) else {
            let fault = match family {
                Family::V4 => format!(
                    "{interface} has no address of its own to advertise from: `ip addr add … dev \
                     {interface}`"
                ),
                Family::V6 => format!(
                    "{interface} has no link-local address to advertise from: is IPv6 switched off \
                     there?"
                ),
            };
            self.faults.set(Topic::Link, Some(fault));
            return;
        };
        let down = self.link_down().is_some();
        self.resumes =
            !down && wanted.may_resume && wanted.addresses.iter().any(|each| self.links.has(each));
        let mut machine = Machine::new(Params {
            vrid: self.settings.vrid,
            priority: wanted.priority,
            interval: self.settings.interval,
            preempt: self.settings.preempt,
            address: own,
            addresses,
            repeats: Repeats::default(),
        });
        machine.set_eligible(Instant::now(), self.eligible());
        self.machine = Some(machine);
    }

    /// Opens the socket, if it is not, or is that of an interface that is no more.
    fn connect(&mut self) {
        let Some(own) = self.machine.as_ref().map(|it| it.params().address) else {
            return;
        };
        let interface = &self.settings.interface;
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
        let opened = AdvertSocket::open(interface, ifindex, own, self.settings.peer);
        let fault = opened.as_ref().err();
        let fault = fault.map(|error| format!("cannot advertise on {interface}: {error}"));
        self.faults.set(Topic::Link, fault);
        self.faults.set(Topic::Hear, None);
        if let (Some(peer), IpAddr::V4(own)) = (self.settings.peer, own) {
            let vrid = self.settings.vrid;
            match Strangers::open(interface, ifindex, own, peer, vrid) {
                Ok(strangers) => self.strangers = Some(strangers),
                Err(error) => self.tell(Event::Notice(format!(
                    "cannot look for other routers of vrid {vrid} on {interface}: {error}"
                ))),
            }
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
        let ends = socket.ends();
        let payload = machine.advert(claim).encode(ends, self.settings.checksum);
        let payload = payload.map(|advert| match &mut self.seals {
            Some(seals) => seals.seal(advert, ends, &self.teller),
            None => advert,
        });
        let sent = payload
            .map_err(io::Error::other)
            .and_then(|payload| socket.send(&payload));
        let interface = &self.settings.interface;
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
            let sent = match owned.address {
                IpAddr::V4(address) => {
                    let frame = announce::gratuitous_arp(link.mac, address);
                    self.announcer.send(link.ifindex, &frame)
                }
                IpAddr::V6(address) => {
                    let frame = announce::neighbour_advertisement(link.mac, address, link.node);
                    self.announcer.send(link.ifindex, &frame)
                }
            };
            if let Err(error) = sent {
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
        let Some(machine) = &mut self.machine else {
            return;
        };
        let strangers = self.strangers.as_mut().map(Strangers::take);
        let strangers = strangers.unwrap_or_default();
        for stranger in &strangers {
            let address = IpAddr::V4(*stranger);
            machine.count_refused(&Refusal::Stranger { address });
        }
        let stranger = strangers.last().zip(self.settings.peer);
        let leader = machine.leader();
        self.reported = leader.map(|it| (it.address, it.priority));
        let forger = self.seals.as_mut().and_then(Seals::take_forger);
        self.events.tell(Event::Report(Report {
            address: Some(machine.params().address),
            leader,
            priority: Some(machine.priority()),
            disagreement: machine.disagreement(),
            forger,
            stranger: stranger.map(|(&address, peer)| Stranger { address, peer }),
            counters: machine.counters().clone(),
        }));
    }

    fn tell(&self, event: Event) {
        self.events.tell(event);
    }
}

/// The addresses in the order of advertisements: of IPv6, a link-local one comes first.
fn advertised(family: Family, addresses: &BTreeSet<OwnedAddress>) -> Option<vrrp::Addresses> {
    match family {
        Family::V4 => {
            let v4 = addresses.iter().filter_map(|each| match each.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            let v4: BTreeSet<Ipv4Addr> = v4.collect();
            vrrp::Addresses::v4(v4.into_iter().collect())
        }
        Family::V6 => {
            let v6 = addresses.iter().filter_map(|each| match each.address {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => Some((!each.is_link_local(), address)),
            });
            let v6: BTreeSet<(bool, Ipv6Addr)> = v6.collect();
            vrrp::Addresses::v6(v6.into_iter().map(|(_, address)| address).collect())
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_advertised_first_and_each_family_for_itself() {
        let owned = |text: &str| OwnedAddress {
            interface: "eth0".to_owned(),
            address: text.parse().unwrap(),
            prefix: 24,
        };
        let all = ["2001:db8::1", "192.0.2.9", "fe80::1", "192.0.2.1"].map(owned);
        let all = BTreeSet::from(all);
        let order = |family| -> Vec<String> {
            let addresses = advertised(family, &all).unwrap();
            addresses.iter().map(|each| each.to_string()).collect()
        };
        assert_eq!(order(Family::V4), ["192.0.2.1", "192.0.2.9"]);
        assert_eq!(order(Family::V6), ["fe80::1", "2001:db8::1"]);
        assert!(advertised(Family::V6, &BTreeSet::new()).is_none());
    }
}
