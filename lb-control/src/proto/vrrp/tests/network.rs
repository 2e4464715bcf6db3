//! Routers on a link, on one virtual clock. Advertisements are lost, delayed, doubled and cut off;
//! routers freeze, crash and have clocks of their own.

use crate::proto::simulation::{Clock, Quality, Random, Wire};
use crate::proto::vrrp::packet::{GROUP_V4, HOPS};
use crate::proto::vrrp::{ChecksumForm, Claim, Effect, Ends, Machine, Params, State};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) struct Network {
    /// Since the beginning.
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    /// When somebody began or ceased to lead.
    pub(super) changes: Vec<Change>,
    /// What else the routers said, but for what they sent: who, and what.
    pub(crate) log: Vec<(usize, Effect)>,
    pub(crate) quality: Quality,
    pub(super) random: Random,
    /// From whom to whom nothing passes.
    cut: Vec<(usize, usize)>,
    wire: Wire<Flying>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) at: Duration,
    pub(crate) leads: bool,
}

pub(crate) struct Node {
    pub(crate) machine: Machine,
    pub(crate) leads: bool,
    pub(super) yielded: Option<Duration>,
    pub(super) announced: Option<Duration>,
    pub(super) second_actives: usize,
    clock: Clock,
    frozen: bool,
    inbox: Vec<(usize, Rc<[u8]>)>,
    wake: Option<Duration>,
}

/// An advertisement on its way.
#[derive(Clone)]
struct Flying {
    from: usize,
    to: usize,
    payload: Rc<[u8]>,
}

impl Network {
    /// Routers that are not started. Their clocks run true to `clock_ppm`.
    pub(super) fn new(params: Vec<Params>, clock_ppm: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let clock = |params| (params, Clock::some::<1>(clock_ppm, &mut random)[0]);
        let nodes = params.into_iter().map(clock).collect();
        Self::with_clocks(nodes, random)
    }

    /// Routers that are not started, with these clocks.
    pub(crate) fn with_clocks(nodes: Vec<(Params, Clock)>, random: Random) -> Self {
        let node = |(params, clock)| Node {
            machine: Machine::new(params),
            leads: false,
            yielded: None,
            announced: None,
            second_actives: 0,
            clock,
            frozen: false,
            inbox: Vec::new(),
            wake: None,
        };
        Self {
            now: Duration::ZERO,
            nodes: nodes.into_iter().map(node).collect(),
            changes: Vec::new(),
            log: Vec::new(),
            quality: Quality::good(Duration::from_millis(1)),
            random,
            cut: Vec::new(),
            wire: Wire::new(),
        }
    }

    /// Does something to a router, in its own time, and what it wants done thereupon.
    pub(crate) fn with(&mut self, node: usize, event: impl FnOnce(&mut Machine, Instant)) {
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
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut.push((from, to));
    }

    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    /// The router's process is gone, and so is what it knew. Nobody is told.
    pub(crate) fn crash(&mut self, node: usize) {
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
        while self.next_event().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        let awake = self.nodes.iter().filter(|node| !node.frozen);
        let timers = awake.filter_map(|it| it.wake);
        timers.chain(self.wire.arrival()).min()
    }

    /// Has it happen.
    pub(crate) fn step(&mut self) {
        let Some(next) = self.next_event() else {
            return;
        };
        self.now = self.now.max(next);
        // Arrivals first, as Machine::on_timeout asks for.
        if self.wire.arrival() == Some(next) {
            if let Some(it) = self.wire.take() {
                self.deliver(it.from, it.to, it.payload);
            }
            return;
        }
        for node in 0..self.nodes.len() {
            let it = &self.nodes[node];
            if !it.frozen && it.wake.is_some_and(|wake| wake <= self.now) {
                self.with(node, Machine::on_timeout);
            }
        }
    }

    /// Those that lead.
    pub(crate) fn leading(&self) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, it)| it.leads)
            .map(|(node, _)| node)
            .collect()
    }

    /// How many led, and from when to when, after `begin`.
    pub(crate) fn spans(&self, begin: Duration) -> Vec<(usize, Range<Duration>)> {
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
        if !matches!(effect, Effect::SendAdvert { .. } | Effect::Announce) {
            self.log.push((node, effect.clone()));
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
            let payload = Rc::clone(&payload);
            let flying = Flying { from, to, payload };
            self.wire
                .send(self.now, &flying, &self.quality, &mut self.random);
        }
    }
}
