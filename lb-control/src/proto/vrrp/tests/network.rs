//! Routers on a link, on one virtual clock. Advertisements are lost, delayed, doubled and cut off;
//! routers freeze, crash and have clocks of their own.

use super::random::Random;
use crate::proto::vrrp::packet::{GROUP_V4, HOPS};
use crate::proto::vrrp::{ChecksumForm, Claim, Effect, Ends, Machine, Params, State};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(super) struct Network {
    /// Since the beginning.
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    /// When somebody began or ceased to lead.
    pub(super) changes: Vec<Change>,
    pub(super) quality: Quality,
    pub(super) random: Random,
    /// From whom to whom nothing passes.
    cut: Vec<(usize, usize)>,
    flying: BinaryHeap<Reverse<Flying>>,
    sent: u64,
}

/// What the link does to an advertisement.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    pub(super) lost_percent: usize,
    pub(super) doubled_percent: usize,
    pub(super) delay: Range<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) at: Duration,
    pub(super) leads: bool,
}

pub(super) struct Node {
    pub(super) machine: Machine,
    pub(super) leads: bool,
    pub(super) yielded: Option<Duration>,
    pub(super) announced: Option<Duration>,
    pub(super) second_actives: usize,
    clock: Clock,
    frozen: bool,
    inbox: Vec<(usize, Rc<[u8]>)>,
    wake: Option<Duration>,
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

/// An advertisement on its way. The earliest arrives first, of those the first sent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Duration,
    number: u64,
    from: usize,
    to: usize,
    payload: Rc<[u8]>,
}

impl Network {
    /// Routers that are not started. Their clocks run true to `clock_ppm`.
    pub(super) fn new(params: Vec<Params>, clock_ppm: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let began = Instant::now();
        let mut node = |params| Node {
            machine: Machine::new(params),
            leads: false,
            yielded: None,
            announced: None,
            second_actives: 0,
            clock: Clock {
                began: began + Duration::from_millis(random.below(1_000_000) as u64),
                nanoseconds_per_ms: (1_000_000 - clock_ppm + random.below(2 * clock_ppm + 1))
                    as u64,
            },
            frozen: false,
            inbox: Vec::new(),
            wake: None,
        };
        Self {
            now: Duration::ZERO,
            nodes: params.into_iter().map(&mut node).collect(),
            changes: Vec::new(),
            quality: Quality {
                lost_percent: 0,
                doubled_percent: 0,
                delay: Duration::ZERO..Duration::from_millis(1),
            },
            random,
            cut: Vec::new(),
            flying: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// Does something to a router, in its own time, and what it wants done thereupon.
    pub(super) fn with(&mut self, node: usize, event: impl FnOnce(&mut Machine, Instant)) {
        let it = &mut self.nodes[node];
        let local = it.clock.read(self.now);
        event(&mut it.machine, local);
        while let Some(effect) = self.nodes[node].machine.next_effect() {
            self.carry_out(node, &effect);
        }
        let it = &mut self.nodes[node];
        let state = it.machine.state();
        assert_eq!(it.leads, state == State::Active, "every change is told");
        assert!(
            !it.leads || it.machine.hold().is_none(),
            "leads though held"
        );
        let deadline = it.machine.deadline();
        it.wake = deadline.map(|moment| it.clock.shows(moment).max(self.now));
    }

    pub(super) fn start_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.with(node, Machine::start);
        }
    }

    /// Nothing passes from one to the other any more.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut.push((from, to));
    }

    pub(super) fn mend(&mut self) {
        self.cut.clear();
    }

    /// The router's process is gone, and so is what it knew. Nobody is told.
    pub(super) fn crash(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        it.machine = Machine::new(it.machine.params().clone());
        it.inbox.clear();
        it.wake = None;
        it.frozen = false;
        if std::mem::take(&mut it.leads) {
            self.changed(false);
        }
    }

    /// The router's process stands still. What arrives waits.
    pub(super) fn freeze(&mut self, node: usize) {
        self.nodes[node].frozen = true;
    }

    pub(super) fn thaw(&mut self, node: usize) {
        self.nodes[node].frozen = false;
        for (from, payload) in std::mem::take(&mut self.nodes[node].inbox) {
            self.deliver(from, node, payload);
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub(super) fn run_until(&mut self, end: Duration) {
        loop {
            let arrival = self.flying.peek().map(|Reverse(next)| next.at);
            let awake = |node: &&Node| !node.frozen;
            let timer = self
                .nodes
                .iter()
                .filter(awake)
                .filter_map(|it| it.wake)
                .min();
            let Some(next) = arrival.into_iter().chain(timer).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            // Arrivals first, as Machine::on_timeout asks for.
            if arrival == Some(next) {
                if let Some(Reverse(it)) = self.flying.pop() {
                    self.deliver(it.from, it.to, it.payload);
                }
                continue;
            }
            for node in 0..self.nodes.len() {
                let it = &self.nodes[node];
                if !it.frozen && it.wake.is_some_and(|wake| wake <= self.now) {
                    self.with(node, Machine::on_timeout);
                }
            }
        }
        self.now = end;
    }

    /// Those that lead.
    pub(super) fn leading(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, it)| it.leads)
            .map(|(node, _)| node)
            .collect()
    }

    /// How many led, and from when to when, after `begin`.
    pub(super) fn spans(&self, begin: Duration) -> Vec<(usize, Range<Duration>)> {
        let mut spans = Vec::new();
        let (mut from, mut leading) = (begin, 0_usize);
        for change in &self.changes {
            if change.at > from {
                spans.push((leading, from..change.at));
                from = change.at;
            }
            leading = if change.leads {
                leading + 1
            } else {
                leading - 1
            };
        }
        spans.push((leading, from..self.now));
        spans
    }

    fn deliver(&mut self, from: usize, to: usize, payload: Rc<[u8]>) {
        if self.nodes[to].frozen {
            self.nodes[to].inbox.push((from, payload));
            return;
        }
        let ends = self.ends(from);
        self.with(to, |machine, now| {
            let heard = machine.on_packet(now, &payload, ends, HOPS);
            assert_eq!(heard, Ok(()));
        });
    }

    fn ends(&self, from: usize) -> Ends {
        let source = match self.nodes[from].machine.params().address {
            IpAddr::V4(source) => source,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Ends::V4 {
            source,
            destination: GROUP_V4,
        }
    }

    fn carry_out(&mut self, node: usize, effect: &Effect) {
        let it = &mut self.nodes[node];
        match effect {
            Effect::Lead { .. } => {
                assert!(!it.leads, "leads twice");
                it.leads = true;
                self.changed(true);
            }
            Effect::Yield { .. } => {
                assert!(it.leads, "yields what it has not");
                it.leads = false;
                it.yielded = Some(self.now);
                self.changed(false);
            }
            Effect::SendAdvert { claim } => {
                assert!(it.leads, "advertises what it has not");
                self.send(node, *claim);
            }
            Effect::Announce => {
                assert!(it.leads, "announces what it has not");
                it.announced = Some(self.now);
            }
            Effect::SecondActive { .. } => it.second_actives += 1,
            Effect::Withheld { .. } => assert!(it.machine.hold().is_some()),
            Effect::Disagrees { .. } => {}
        }
    }

    fn changed(&mut self, leads: bool) {
        let at = self.now;
        self.changes.push(Change { at, leads });
    }

    fn send(&mut self, from: usize, claim: Claim) {
        let advert = self.nodes[from].machine.advert(claim);
        let payload = advert.encode(self.ends(from), ChecksumForm::WithPseudoHeader);
        let payload: Rc<[u8]> = payload.expect("IPv4").into();
        for to in 0..self.nodes.len() {
            if to == from || self.cut.contains(&(from, to)) {
                continue;
            }
            if self.random.below(100) >= self.quality.lost_percent {
                self.fly(from, to, &payload);
            }
            if self.random.below(100) < self.quality.doubled_percent {
                self.fly(from, to, &payload);
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, payload: &Rc<[u8]>) {
        let Range { start, end } = self.quality.delay;
        let spread =
            Duration::from_micros(self.random.below((end - start).as_micros() as usize) as u64);
        self.sent += 1;
        self.flying.push(Reverse(Flying {
            at: self.now + start + spread,
            number: self.sent,
            from,
            to,
            payload: Rc::clone(payload),
        }));
    }
}
