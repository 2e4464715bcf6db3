//! Two hosts on one virtual clock, with links between them that lose, delay, double and reorder
//! heartbeats, and with somebody who records and repeats them.

use super::{ends, ms, random::Random};
use crate::proto::heartbeat::packet::{HOPS, LEN};
use crate::proto::heartbeat::{Effect, Key, LinkId, Peer, Refusal, Timing};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::{Duration, Instant};

pub(super) const LINKS: usize = 2;

pub(super) struct Network {
    /// Since the beginning.
    pub(super) now: Duration,
    pub(super) hosts: [Host; 2],
    pub(super) quality: Quality,
    pub(super) random: Random,
    /// What the hosts' effects were, but for what they sent: when, whose, what.
    pub(super) log: Vec<(Duration, usize, Effect)>,
    /// All that was ever sent.
    pub(super) tape: Vec<Datagram>,
    /// By link and sender: nothing passes.
    pub(super) cut: [[bool; 2]; LINKS],
    links: usize,
    flying: BinaryHeap<Reverse<(Duration, u64, Datagram)>>,
    sent: u64,
    key: Key,
    timing: Timing,
}

/// What links do to heartbeats.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    pub(super) lost_percent: usize,
    pub(super) doubled_percent: usize,
    pub(super) delay: Range<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Datagram {
    pub(super) to: usize,
    pub(super) link: LinkId,
    pub(super) payload: [u8; LEN],
}

pub(super) struct Host {
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

/// A clock that began at another time and runs a little faster or slower.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    nanoseconds_per_ms: u64,
}

impl Clock {
    fn read(self, now: Duration) -> Instant {
        let elapsed = now.as_nanos() as u64 * self.nanoseconds_per_ms / 1_000_000;
        self.began + Duration::from_nanos(elapsed)
    }

    /// When it will show this moment.
    fn shows(self, moment: Instant) -> Duration {
        let elapsed = moment.saturating_duration_since(self.began).as_nanos() as u64;
        let mut now = Duration::from_nanos(elapsed * 1_000_000 / self.nanoseconds_per_ms);
        while self.read(now) < moment {
            now += Duration::from_nanos(1);
        }
        now
    }
}

impl Network {
    /// Two living hosts with clocks that run true to `clock_ppm`.
    pub(super) fn new(timing: Timing, links: usize, clock_ppm: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let began = Instant::now();
        let mut host = || Host {
            peer: None,
            frozen: false,
            woke: Duration::ZERO,
            died: Some(Duration::ZERO),
            refused: Vec::new(),
            clock: Clock {
                began: began + Duration::from_millis(random.below(1_000_000) as u64),
                nanoseconds_per_ms: (1_000_000 - clock_ppm + random.below(2 * clock_ppm + 1))
                    as u64,
            },
            inbox: Vec::new(),
        };
        let hosts = [host(), host()];
        let mut network = Self {
            now: Duration::ZERO,
            hosts,
            quality: Quality {
                lost_percent: 0,
                doubled_percent: 0,
                delay: Duration::ZERO..ms(1),
            },
            random,
            log: Vec::new(),
            tape: Vec::new(),
            cut: [[false; 2]; LINKS],
            links,
            flying: BinaryHeap::new(),
            sent: 0,
            key: Key::from_secret(&seed.to_be_bytes()),
            timing,
        };
        network.boot(0);
        network.boot(1);
        network
    }

    pub(super) fn boot(&mut self, host: usize) {
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

    pub(super) fn kill(&mut self, host: usize) {
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

    pub(super) fn is_up(&self, host: usize) -> bool {
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
            let due = [0, 1].map(|host| {
                let it = &self.hosts[host];
                let deadline = it.peer.as_ref().filter(|_| !it.frozen)?.deadline()?;
                Some((it.clock.shows(deadline).max(self.now), host))
            });
            let due = due.into_iter().flatten().min();
            let arrival = self.flying.peek().map(|Reverse((at, ..))| *at);
            let next = due.map(|(at, _)| at).into_iter().chain(arrival).min();
            if next.is_none_or(|next| next > end) {
                self.now = end;
                return None;
            }
            if arrival == next {
                let Reverse((at, _, datagram)) = self.flying.pop().expect("it was there");
                self.now = at;
                self.deliver(datagram);
            } else if let Some((at, host)) = due {
                self.now = at;
                self.with(host, Peer::on_timeout);
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
        if self.cut[link][from] || self.random.below(100) < self.quality.lost_percent {
            return;
        }
        let copies = 1 + usize::from(self.random.below(100) < self.quality.doubled_percent);
        for _ in 0..copies {
            let Range { start, end } = self.quality.delay;
            let spread = (end - start).as_micros() as usize;
            let delay = start + Duration::from_micros(self.random.below(spread + 1) as u64);
            self.sent += 1;
            let flying = (self.now + delay, self.sent, datagram);
            self.flying.push(Reverse(flying));
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
