//! Two hosts on one virtual clock, with links between them that lose, delay, double and reorder
//! heartbeats, and with somebody who records and repeats them.

use super::{ends, ms};
use crate::proto::heartbeat::packet::{HOPS, LEN};
use crate::proto::heartbeat::{Effect, Key, LinkId, Peer, Refusal, Timing};
use crate::proto::simulation::{Clock, Quality, Random, Wire};
use std::time::{Duration, Instant};

pub(crate) const LINKS: usize = 2;

pub(crate) struct Network {
    /// Since the beginning.
    pub(crate) now: Duration,
    pub(super) hosts: [Host; 2],
    pub(crate) quality: Quality,
    pub(super) random: Random,
    /// What the hosts' effects were, but for what they sent: when, whose, what.
    pub(crate) log: Vec<(Duration, usize, Effect)>,
    /// All that was ever sent.
    pub(crate) tape: Vec<Datagram>,
    /// By link and sender: nothing passes.
    pub(crate) cut: [[bool; 2]; LINKS],
    links: usize,
    wire: Wire<Datagram>,
    key: Key,
    timing: Timing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    pub(super) to: usize,
    pub(super) link: LinkId,
    pub(super) payload: [u8; LEN],
}

pub(crate) struct Host {
    /// None while it is dead.
    pub(super) peer: Option<Peer>,
    pub(super) frozen: bool,
    /// When it last woke up.
    pub(super) woke: Duration,
    /// Since when it is dead.
    pub(super) died: Option<Duration>,
    pub(super) refused: Vec<Refusal>,
    clock: Clock,
    inbox: Vec<Datagram>,
}

impl Network {
    /// Two living hosts with clocks that run true to `clock_ppm`.
    pub(super) fn new(timing: Timing, links: usize, clock_ppm: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let clocks = Clock::some(clock_ppm, &mut random);
        Self::with_clocks(timing, links, clocks, random)
    }

    /// Two living hosts with these clocks.
    pub(crate) fn with_clocks(
        timing: Timing,
        links: usize,
        clocks: [Clock; 2],
        mut random: Random,
    ) -> Self {
        let key = Key::from_secret(&random.bits().to_be_bytes());
        let hosts = clocks.map(|clock| Host {
            peer: None,
            frozen: false,
            woke: Duration::ZERO,
            died: Some(Duration::ZERO),
            refused: Vec::new(),
            clock,
            inbox: Vec::new(),
        });
        let mut network = Self {
            now: Duration::ZERO,
            hosts,
            quality: Quality::good(ms(1)),
            random,
            log: Vec::new(),
            tape: Vec::new(),
            cut: [[false; 2]; LINKS],
            links,
            wire: Wire::new(),
            key,
            timing,
        };
        network.boot(0);
        network.boot(1);
        network
    }

    pub(crate) fn boot(&mut self, host: usize) {
        let number = |host| host as u8 + 1;
        let links: Vec<_> = (0..self.links)
            .map(|link| {
                let ends = ends(link as u8, number(host), number(1 - host));
                (ends, self.random.bits())
            })
            .collect();
        let it = &mut self.hosts[host];
        let now = it.clock.read(self.now);
        it.peer = Some(Peer::new(self.timing, self.key.clone(), &links, now));
        it.died = None;
        it.frozen = false;
        it.inbox.clear();
    }

    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host].peer = None;
        self.hosts[host].died.get_or_insert(self.now);
    }

    /// It does nothing, but what comes in is kept for it.
    pub(super) fn freeze(&mut self, host: usize) {
        self.hosts[host].frozen = true;
    }

    pub(super) fn thaw(&mut self, host: usize) {
        self.hosts[host].frozen = false;
        self.hosts[host].woke = self.now;
        for datagram in std::mem::take(&mut self.hosts[host].inbox) {
            self.deliver(datagram);
        }
    }

    pub(crate) fn is_up(&self, host: usize) -> bool {
        self.hosts[host].peer.as_ref().is_some_and(Peer::is_up)
    }

    pub(super) fn both_up(&self) -> bool {
        self.is_up(0) && self.is_up(1)
    }

    /// Does something to a living host.
    pub(super) fn with(&mut self, host: usize, input: impl FnOnce(&mut Peer, Instant)) {
        let it = &mut self.hosts[host];
        if let Some(peer) = &mut it.peer {
            input(peer, it.clock.read(self.now));
        }
        self.carry_out(host);
    }

    /// Goes on for so long, or until something holds after an event. Returns how long it took.
    pub(super) fn run(
        &mut self,
        at_most: Duration,
        mut until: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let (begin, end) = (self.now, self.now + at_most);
        loop {
            if until(self) {
                return Some(self.now - begin);
            }
            if self.next().is_none_or(|(at, _)| at > end) {
                self.now = end;
                return None;
            }
            self.step();
        }
    }

    /// When something happens next: to this host, or something arrives.
    fn next(&self) -> Option<(Duration, Option<usize>)> {
        let due = [0, 1].map(|host| {
            let it = &self.hosts[host];
            let deadline = it.peer.as_ref().filter(|_| !it.frozen)?.deadline()?;
            Some((it.clock.shows(deadline).max(self.now), Some(host)))
        });
        let arrival = self.wire.arrival().map(|at| (at, None));
        // What arrives at the same time is heard first.
        due.into_iter().flatten().chain(arrival).min()
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.next().map(|(at, _)| at)
    }

    /// Has it happen.
    pub(crate) fn step(&mut self) {
        let Some((at, due)) = self.next() else {
            return;
        };
        self.now = at;
        match due {
            Some(host) => self.with(host, Peer::on_timeout),
            None => {
                if let Some(datagram) = self.wire.take() {
                    self.deliver(datagram);
                }
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    /// Brings a datagram to its receiver, whoever sent it.
    pub(super) fn deliver(&mut self, datagram: Datagram) {
        let Datagram { to, link, payload } = datagram;
        if self.hosts[to].frozen {
            self.hosts[to].inbox.push(datagram);
            return;
        }
        let mut refused = None;
        self.with(to, |peer, now| {
            refused = peer.on_datagram(now, link, &payload, HOPS).err();
        });
        self.hosts[to].refused.extend(refused);
    }

    fn carry_out(&mut self, host: usize) {
        while let Some(effect) = self.hosts[host].peer.as_mut().and_then(Peer::next_effect) {
            match effect {
                Effect::Send { link, payload } => self.send(host, link, payload),
                other => self.log.push((self.now, host, other)),
            }
        }
    }

    fn send(&mut self, from: usize, link: LinkId, payload: [u8; LEN]) {
        let datagram = Datagram {
            to: 1 - from,
            link,
            payload,
        };
        self.tape.push(datagram);
        if !self.cut[link][from] {
            self.wire
                .send(self.now, &datagram, &self.quality, &mut self.random);
        }
    }

    /// What became of a host's peer and links since a moment, without the times.
    pub(super) fn since(&self, moment: Duration, host: usize) -> Vec<Effect> {
        let log = self.log.iter();
        log.filter(|(at, whose, _)| *at >= moment && *whose == host)
            .map(|(_, _, effect)| *effect)
            .collect()
    }
}
