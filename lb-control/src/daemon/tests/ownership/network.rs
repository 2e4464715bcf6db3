//! Two hosts of a pair as they are: routers that advertise, heartbeats, the channel, and of each
//! daemon what connects them, which is who may lead. The three ways between the two fail each for
//! itself.

use crate::config::VirtualRouter;
use crate::daemon::duty::{Circumstances, Duty, Role};
use crate::dataplane::Tables;
use crate::proto::heartbeat::tests::network as lives;
use crate::proto::heartbeat::{self, Timing};
use crate::proto::simulation::{Clock, Quality, Random, Wire};
use crate::proto::vrrp::tests::host as address;
use crate::proto::vrrp::{self, Family, LeadReason, Machine, Params, Priority};
use crate::proto::{vrrp::Leader, vrrp::tests::network as routers};
use crate::shell::vrrp::Wanted;
use crate::shell::vrrp::{Event, Report};
use crate::sync::delta::shared;
use crate::sync::leave::{GRACE, Leave};
use crate::sync::tests::network as channel;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// How often a daemon looks at what nobody tells it of.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// After how long a silence the channel is given up.
const SILENCE: Duration = Duration::from_secs(3);
/// How often a channel is tried to be made.
pub(super) const REDIAL: Duration = Duration::from_millis(500);
/// The longest that a daemon and its router take to hear of each other.
pub(super) const LAG: Duration = Duration::from_millis(3);
/// The longest that anything is under way where nothing is wrong.
pub(super) const DELAY: Duration = Duration::from_millis(2);

/// For so long a standby may not know that the channel is broken, or does, and may lead nevertheless.
const UNAWARE: Duration = SILENCE
    .saturating_add(LOOK)
    .saturating_add(GRACE)
    .saturating_add(LOOK);
/// What is younger may be on its way still, where nothing is wrong.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// For so long a router may have leave that its daemon would not give it any more.
const STALE_LEAVE: Duration = Duration::from_millis(20);

pub(super) struct Network {
    pub(super) now: Duration,
    pub(super) random: Random,
    pub(super) routers: routers::Network,
    pub(super) heartbeats: lives::Network,
    pub(super) channel: channel::Network,
    pub(super) hosts: [Host; 2],
    /// What the channel does to a frame: it is late.
    pub(super) frames: Quality,
    channel_is_cut: bool,
    /// Since when the channel is whole, and both have it.
    connected_since: Option<Duration>,
    agenda: Wire<(usize, u32, Task)>,
    /// When frames arrive.
    due: [VecDeque<Duration>; 2],
}

pub(super) struct Host {
    pub(super) alive: bool,
    clock: Clock,
    lag: Duration,
    /// How often it was started.
    life: u32,
    duty: Duty,
    leave: Leave,
    /// What its router is being told: whether it may begin to lead.
    told: Result<(), String>,
    /// What its router was told.
    may_begin: Result<(), String>,
    reported: Option<(IpAddr, Priority)>,
    /// When something came by the channel.
    heard: Duration,
    /// When it last knew of nobody that leads.
    leaderless: Duration,
    /// The tables with which it leads, and since when.
    leads_with: Vec<(Duration, Tables)>,
}

/// What is to be done on a host.
#[derive(Clone)]
enum Task {
    /// The daemon hears what its router did.
    Hear(Event),
    /// The router is told whether it may begin to lead.
    Tell(Result<(), String>),
    /// The daemon hears that the other host lives, or is lost.
    Notice { gone: bool },
    /// The channel is found to be broken.
    HangUp,
    /// Time has passed.
    Look,
    /// The channel is made if there is none.
    Dial,
}

fn duty(priority: Priority) -> Duty {
    let params = vrrp::tests::params();
    let is = VirtualRouter {
        group: None,
        family: Family::V4,
        vrid: params.vrid,
        priority,
    };
    Duty::new(is, None)
}

impl Network {
    /// Two hosts that are started.
    pub(super) fn new(params: [Params; 2], timing: Timing, clock_ppm: usize, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let clocks = Clock::some::<2>(clock_ppm, &mut random);
        let mut next = || Random::seeded(random.bits());
        let (mut lag, adverts, hearts) = (next(), next(), next());
        let mut host = |clock: Clock, priority| Host {
            alive: false,
            clock,
            lag: Duration::from_micros(lag.below(LAG.as_micros() as usize) as u64),
            life: 0,
            duty: duty(priority),
            leave: Leave::new(clock.read(Duration::ZERO)),
            told: Ok(()),
            may_begin: Ok(()),
            reported: None,
            heard: Duration::ZERO,
            leaderless: Duration::ZERO,
            leads_with: Vec::new(),
        };
        let hosts = [0, 1].map(|it| host(clocks[it], params[it].priority));
        let nodes = params.into_iter().zip(clocks).collect();
        let mut network = Self {
            now: Duration::ZERO,
            routers: routers::Network::with_clocks(nodes, adverts),
            heartbeats: lives::Network::with_clocks(timing, 1, clocks, hearts),
            channel: channel::Network::new(seed),
            hosts,
            frames: Quality::good(DELAY),
            channel_is_cut: false,
            connected_since: None,
            agenda: Wire::new(),
            due: [VecDeque::new(), VecDeque::new()],
            random,
        };
        for host in [0, 1] {
            network.heartbeats.kill(host);
            network.boot(host);
        }
        network.agenda.send_at(REDIAL, (0, 0, Task::Dial));
        network
    }

    /// Its lbd is started.
    pub(super) fn boot(&mut self, host: usize) {
        if std::mem::replace(&mut self.hosts[host].alive, true) {
            return;
        }
        self.heartbeats.boot(host);
        self.channel.restart(host);
        self.channel.lead(host, false);
        let it = &mut self.hosts[host];
        it.life += 1;
        let now = it.clock.read(self.now);
        it.duty = duty(it.duty.is.priority);
        it.leave = Leave::new(now);
        it.reported = None;
        it.leaderless = self.now;
        it.leads_with.clear();
        let told = self.eligible(host);
        self.hosts[host].told.clone_from(&told);
        self.hosts[host].may_begin.clone_from(&told);
        self.routers.with(host, |machine, now| {
            machine.set_eligible(now, told);
            machine.start(now);
        });
        self.later(host, Task::Hear(Event::StandsBy));
        let phase = self.random.below(LOOK.as_micros() as usize) as u64;
        self.at(self.now + Duration::from_micros(phase), host, Task::Look);
        self.follow();
    }

    /// Its lbd is gone, and nobody is told.
    pub(super) fn kill(&mut self, host: usize) {
        if std::mem::replace(&mut self.hosts[host].alive, false) {
            self.hosts[host].life += 1;
            self.routers.crash(host);
            self.heartbeats.kill(host);
            self.hang_up(host);
            self.follow();
        }
    }

    pub(super) fn cut_channel(&mut self) {
        self.channel_is_cut = true;
        self.connected_since = None;
    }

    /// What was on its way is late.
    pub(super) fn mend_channel(&mut self) {
        if std::mem::replace(&mut self.channel_is_cut, false) {
            for due in self.due.iter_mut().flatten() {
                *due = (*due).max(self.now);
            }
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.pass_to(next);
            self.step();
            self.follow();
        }
        self.pass_to(end);
    }

    fn pass_to(&mut self, now: Duration) {
        self.now = now;
        self.routers.now = now;
        self.heartbeats.now = now;
    }

    fn next_event(&self) -> Option<Duration> {
        let next = [
            self.routers.next_event(),
            self.heartbeats.next_event(),
            self.agenda.arrival(),
            self.next_frame().map(|(at, _)| at),
        ];
        // What was late is due now.
        next.into_iter().flatten().min().map(|at| at.max(self.now))
    }

    fn next_frame(&self) -> Option<(Duration, usize)> {
        let due = |host: usize| Some((*self.due[host].front()?, host));
        let due = [0, 1].into_iter().filter_map(due);
        due.min().filter(|_| !self.channel_is_cut)
    }

    /// Has happen what is due now.
    fn step(&mut self) {
        let now = self.now;
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_due(self.heartbeats.next_event()) {
            self.heartbeats.step();
        } else if is_due(self.routers.next_event()) {
            self.routers.step();
        } else if let Some((_, host)) = self.next_frame().filter(|(at, _)| *at <= now) {
            self.due[host].pop_front();
            self.hosts[host].heard = self.now;
            assert!(self.channel.deliver(host), "it was on its way");
            self.after_channel(host);
        } else if let Some((host, life, task)) = self.agenda.take() {
            match task {
                Task::Dial => self.dial(),
                task if self.hosts[host].life == life => self.perform(host, task),
                _ => {}
            }
        }
    }

    /// Carries out what the machines said.
    fn follow(&mut self) {
        for (host, effect) in std::mem::take(&mut self.routers.log) {
            let event = match effect {
                vrrp::Effect::Lead { reason } => {
                    self.check_leader(host, reason);
                    Event::Leads(reason)
                }
                vrrp::Effect::Yield { reason } => Event::Yields(reason),
                vrrp::Effect::Withheld { hold } => Event::Withheld(hold),
                vrrp::Effect::SecondActive { peer } => Event::SecondActive(peer),
                vrrp::Effect::SendAdvert { .. }
                | vrrp::Effect::Announce
                | vrrp::Effect::Disagrees { .. } => continue,
            };
            self.later(host, Task::Hear(event));
        }
        for host in [0, 1] {
            self.heed(host);
            self.report(host);
        }
        for (_, host, effect) in std::mem::take(&mut self.heartbeats.log) {
            let gone = match effect {
                heartbeat::Effect::PeerUp => false,
                heartbeat::Effect::PeerLost { reason } => reason.is_gone(),
                _ => continue,
            };
            if gone {
                // The router hears of it at once.
                let other = address(2 - host as u8);
                self.routers
                    .with(host, |machine, now| machine.on_peer_lost(now, other));
            }
            self.later(host, Task::Notice { gone });
        }
        self.heartbeats.tape.clear();
        for host in [0, 1] {
            let count = self.channel.on_its_way(host);
            self.due[host].truncate(count);
            while self.due[host].len() < count {
                let arrival = self.now + self.frames.some_delay(&mut self.random);
                // Nothing overtakes.
                let last = self.due[host].back().copied();
                self.due[host].push_back(last.map_or(arrival, |last| last.max(arrival)));
            }
        }
        if !self.routers.log.is_empty() {
            self.follow();
        }
    }

    /// A router that does not lead goes by whether it may begin to.
    fn heed(&mut self, host: usize) {
        let machine = self.machine(host);
        let wanted = Wanted {
            addresses: BTreeSet::new(),
            priority: machine.priority(),
            eligible: Ok(()),
            may_begin: self.hosts[host].may_begin.clone(),
            may_resume: false,
        };
        let eligible = wanted.leave(machine.state());
        if machine.hold() != eligible.as_ref().err().map(String::as_str) {
            let eligible = |machine: &mut Machine, now| machine.set_eligible(now, eligible);
            self.routers.with(host, eligible);
        }
    }

    /// The daemon is told who leads, when that is news.
    fn report(&mut self, host: usize) {
        let leader: Option<Leader> = self.routers.nodes[host].machine.leader();
        let it = &mut self.hosts[host];
        if leader.is_none() {
            it.leaderless = self.now;
        }
        let known = leader.map(|leader| (leader.address, leader.priority));
        if std::mem::replace(&mut it.reported, known) != known {
            let report = Report {
                leader,
                ..Report::default()
            };
            self.later(host, Task::Hear(Event::Report(report)));
        }
    }

    /// A host's threads hear of each other a little later, in order.
    fn later(&mut self, host: usize, task: Task) {
        self.at(self.now + self.hosts[host].lag, host, task);
    }

    fn at(&mut self, moment: Duration, host: usize, task: Task) {
        let life = self.hosts[host].life;
        self.agenda.send_at(moment, (host, life, task));
    }

    fn perform(&mut self, host: usize, task: Task) {
        match task {
            Task::Tell(may_begin) => {
                self.hosts[host].may_begin = may_begin;
                self.heed(host);
            }
            Task::Hear(event) => {
                let before = self.hosts[host].duty.role;
                self.hosts[host]
                    .duty
                    .on_event(event, &Circumstances::default());
                self.tell_router(host);
                let role = self.hosts[host].duty.role;
                if role != before {
                    if role == Role::Leader {
                        self.hosts[host].leave.led();
                    }
                    self.channel.lead(host, role == Role::Leader);
                    self.after_channel(host);
                }
            }
            Task::Notice { gone } => {
                self.tell_router(host);
                if gone {
                    self.hang_up(host);
                }
            }
            Task::HangUp => self.hang_up(host),
            Task::Look => {
                self.at(self.now + LOOK, host, Task::Look);
                self.channel.hold(host);
                self.channel.tell(host);
                self.after_channel(host);
                if self.now > self.hosts[host].heard + SILENCE {
                    self.hang_up(host);
                }
            }
            Task::Dial => unreachable!("is nobody's own"),
        }
    }

    fn dial(&mut self) {
        self.agenda.send_at(self.now + REDIAL, (0, 0, Task::Dial));
        if self.channel_is_cut || !self.hosts.iter().all(|host| host.alive) {
            return;
        }
        match [0, 1].map(|host| self.channel.is_connected(host)) {
            [false, false] => {
                self.channel.connect();
                self.connected_since = Some(self.now);
                for host in [0, 1] {
                    self.hosts[host].heard = self.now;
                    self.channel.tell(host);
                    self.after_channel(host);
                }
            }
            // Whoever sends to one that is not there any more hears of that.
            [true, false] => self.hang_up(0),
            [false, true] => self.hang_up(1),
            [true, true] => {}
        }
    }

    /// A host takes the channel for broken. If it can, the other one hears of it.
    fn hang_up(&mut self, host: usize) {
        if !self.channel.is_connected(host) {
            return;
        }
        self.connected_since = None;
        let it = &mut self.hosts[host];
        let session = &self.channel.hosts[host].session;
        if it.duty.role != Role::Leader && session.is_synchronised().is_ok() {
            it.leave.broke_synchronised(it.clock.read(self.now));
        }
        self.channel.hang_up(host);
        self.after_channel(host);
        if !self.channel_is_cut {
            let delay = self.frames.some_delay(&mut self.random);
            self.at(self.now + delay, 1 - host, Task::HangUp);
        }
    }

    /// The leader's backends change, or a configuration is changed, or a flow is recorded.
    pub(super) fn change(&mut self, host: usize) {
        if !self.hosts[host].alive {
            return;
        }
        match self.random.below(4) {
            0 => self.channel.change(host),
            1 => self.channel.record(host, true),
            _ => self.channel.change_tables(host),
        }
        self.after_channel(host);
        self.follow();
    }

    fn after_channel(&mut self, host: usize) {
        self.channel.read_flows(host);
        self.channel.check();
        for (it, has) in self.hosts.iter_mut().zip(&self.channel.hosts) {
            let tables = shared(&has.tables);
            if !has.leads || !it.alive {
                it.leads_with.clear();
            } else if it.leads_with.last().map(|(_, last)| last) != Some(&tables) {
                it.leads_with.push((self.now, tables));
            }
        }
        self.tell_router(host);
    }

    fn eligible(&self, host: usize) -> Result<(), String> {
        let it = &self.hosts[host];
        let situation = it.duty.situation(self.heartbeats.is_up(host));
        let synchronised = self.channel.hosts[host].session.is_synchronised();
        it.leave
            .to_lead(it.clock.read(self.now), synchronised, situation)
    }

    /// Tells the router whether it may lead, if that is news.
    fn tell_router(&mut self, host: usize) {
        let eligible = self.eligible(host);
        let it = &mut self.hosts[host];
        if it.alive && it.told != eligible {
            it.told.clone_from(&eligible);
            self.later(host, Task::Tell(eligible));
        }
    }

    /// Whoever begins to lead knew of nobody that does, or has the tables of whoever did: those of
    /// now, if nothing is wrong with the channel.
    fn check_leader(&self, host: usize, reason: LeadReason) {
        let it = &self.hosts[host];
        let alone = it.reported.is_none() || self.now <= it.leaderless + STALE_LEAVE;
        let leads = self.routers.nodes[1 - host].leads;
        if alone || !leads {
            return;
        }
        let whole = self
            .connected_since
            .is_some_and(|at| self.now > at + UNAWARE);
        let age = if whole { ON_ITS_WAY } else { UNAWARE };
        let other = &self.hosts[1 - host];
        let known_from = self.now.saturating_sub(age);
        let before = other
            .leads_with
            .partition_point(|(at, _)| *at <= known_from);
        let Some(before) = before.checked_sub(1) else {
            // The other did not lead yet, or just began to.
            return;
        };
        let tables = shared(&self.channel.hosts[host].tables);
        let known = other.leads_with[before..].iter().map(|(_, them)| them);
        assert!(
            known.clone().any(|them| *them == tables),
            "at {:?} {host} leads ({reason}) without the tables of the other, which leads: {:?}",
            self.now,
            self.channel.hosts[host].session.is_synchronised()
        );
    }

    /// Nothing is in the way any more, and both are started.
    pub(super) fn mend_all(&mut self) {
        self.routers.mend();
        self.heartbeats.cut = [[false; 2]; lives::LINKS];
        self.mend_channel();
        for quality in [
            &mut self.routers.quality,
            &mut self.heartbeats.quality,
            &mut self.frames,
        ] {
            *quality = Quality::good(DELAY);
        }
        for host in [0, 1] {
            self.boot(host);
        }
    }

    pub(super) fn machine(&self, host: usize) -> &Machine {
        &self.routers.nodes[host].machine
    }
}
