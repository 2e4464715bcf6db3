//! One virtual router (RFC 9568, section 6.4).
//!
//! ```text
//!                      +---------------+
//!           +--------->|               |<-------------+
//!           |          |  Initialize   |              |
//!           |   +------|               |----------+   |
//!  shutdown |   |      +---------------+          |   | shutdown
//!           |   | start, owner              start |   |
//!           |   V                                 V   |
//!      +---------------+                   +---------------+
//!      |               |------------------>|               |
//!      |    Active     |   outranked,      |    Backup     |
//!      |               |   held            |               |
//!      |               |<------------------|               |
//!      +---------------+   timeout,        +---------------+
//!                          leave, told to
//! ```
//!
//! | event | Initialize | Backup | Active |
//! |---|---|---|---|
//! | start | an owner leads; others become Backup and wait the active-down interval | – | – |
//! | resume | leads | – | – |
//! | shutdown | – | Initialize | release, yield; Initialize |
//! | a release is heard | – | wait the skew time; when waiting for leave, go on | answer and announce at once |
//! | heard: higher priority | – | follow it: wait the active-down interval from now | advertise once more, yield; Backup, following it |
//! | heard: same, higher address | – | follow it | advertise once more, yield; Backup, following it |
//! | heard: same, lower address | – | follow it | answer and announce at once |
//! | heard: lower priority | – | follow it; where preemption is allowed, only until its time has come | answer and announce at once |
//! | timeout: the wait is over | – | lead; if held, say so and wait for leave | – |
//! | timeout: time to preempt | – | lead | – |
//! | timeout: advertisement | – | – | advertise |
//! | timeout: announcement | – | – | announce |
//! | own priority changes | kept | waits end by the new one; a new owner leads | advertise at once |
//! | held | kept | do not preempt | release, yield; Backup |
//! | leave | kept | lead if only leave was lacking, or as owner | – |
//! | announce again | – | – | announce at once |
//! | peer lost: it leads, or nobody is known to | – | lead; if held, say so and wait for leave | – |
//! | peer lost: another leads, or only leave is lacking | – | – | – |
//! | told to take over | – | lead; if held, nothing | – |
//!
//! Not in the RFC:
//! - When two lead, as after a partition, the winner announces the addresses again, since the
//!   neighbours of the other one know only that. So that the winner learns that there was one,
//!   whoever yields says once more that it led.
//! - Answers to a second leader are limited to two in an interval, and what is announced because of
//!   it to the rate of the repeats.
//! - Announcements are repeated, and made every now and then.
//! - A change of priority is advertised at once.
//! - A router that is made anew on a host that has the addresses still goes on leading.
//! - A peer that heartbeats have lost is not waited for.
//! - A router that is told to takes over from a leader that expects it: that one has lowered its
//!   priority before, and yields when it hears of the new one.
//! - The hold, and the preemption delay. Without a delay, whoever has a lower priority is relieved
//!   at the moment at which the RFC's router would do it.

use super::active::Active;
use super::addresses::Addresses;
use super::backup::{Backup, Leader};
use super::counters::Counters;
use super::effect::{Effect, LeadReason, YieldReason};
use super::packet::{Advert, Ends};
use super::params::{Params, Preempt};
use super::refusal::Refusal;
use super::values::{Claim, Priority};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

/// The states of the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Initialize,
    /// Somebody else leads, or may be about to.
    Backup,
    /// This router leads.
    Active,
}

/// One virtual router.
///
/// After each input, take [`Self::next_effect`] until there is none, and then wait until
/// [`Self::deadline`] at most.
#[derive(Clone, Debug)]
pub struct Machine {
    params: Params,
    priority: Priority,
    hold: Option<String>,
    phase: Phase,
    effects: VecDeque<Effect>,
    counters: Counters,
    disagreement: Option<Disagreement>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Initialize,
    Backup(Backup),
    Active(Active),
}

/// How the last one that was not configured as we are differs from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Its address.
    pub peer: IpAddr,
    /// It has other virtual addresses.
    pub addresses: bool,
    /// It has another interval.
    pub interval: bool,
}

impl Machine {
    /// A router that is not started, and may lead.
    #[must_use]
    pub fn new(params: Params) -> Self {
        Self {
            priority: params.priority,
            params,
            hold: None,
            phase: Phase::Initialize,
            effects: VecDeque::new(),
            counters: Counters::default(),
            disagreement: None,
        }
    }

    /// When [`Self::on_timeout`] is to be called, if at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Initialize => None,
            Phase::Backup(backup) => backup.deadline(self.priority),
            Phase::Active(active) => Some(active.deadline()),
        }
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The RFC's startup event. It also comes when the links are up again: what was not heard while
    /// they were down says nothing.
    pub fn start(&mut self, now: Instant) {
        match self.phase {
            Phase::Initialize => {
                self.phase = Phase::Backup(Backup::begin(self.params.interval, now));
                self.lead_as_owner(now);
            }
            Phase::Backup(_) | Phase::Active(_) => {}
        }
    }

    /// Starts, and leads at once: for a router of which an earlier one led on this host and did not
    /// end in order, so that the addresses are here still. Whoever took over meanwhile and ranks
    /// higher answers, and is then followed.
    pub fn resume(&mut self, now: Instant) {
        match (self.phase, &self.hold) {
            (Phase::Initialize, None) => self.lead(now, LeadReason::Resumed),
            (Phase::Initialize, Some(_)) => self.start(now),
            (Phase::Backup(_) | Phase::Active(_), _) => {}
        }
    }

    /// The RFC's shutdown event, for this reason. Whoever leads gives up first, so that the next one
    /// does not wait for longer than its skew time.
    pub fn shutdown(&mut self, reason: YieldReason) {
        match self.phase {
            Phase::Initialize => {}
            Phase::Backup(_) => self.phase = Phase::Initialize,
            Phase::Active(_) => {
                self.give_up(reason);
                self.phase = Phase::Initialize;
            }
        }
    }

    /// Takes what arrived from `ends`, with this TTL or hop limit.
    ///
    /// # Errors
    ///
    /// If it is not heeded. It is then counted, and nothing else happens.
    pub fn on_packet(
        &mut self,
        now: Instant,
        payload: &[u8],
        ends: Ends,
        hops: u8,
    ) -> Result<(), Refusal> {
        match Advert::decode(payload, ends, hops) {
            Ok(advert) => self.on_advert(now, ends.source(), &advert),
            Err(refusal) => {
                self.counters.count_refused(&refusal);
                Err(refusal)
            }
        }
    }

    /// Counts what was refused before it came here.
    pub fn count_refused(&mut self, refusal: &Refusal) {
        self.counters.count_refused(refusal);
    }

    /// Takes an advertisement that was sent from `peer`.
    ///
    /// # Errors
    ///
    /// If it is not heeded. It is then counted, and nothing else happens.
    pub fn on_advert(
        &mut self,
        now: Instant,
        peer: IpAddr,
        advert: &Advert,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.is_for_us(peer, advert) {
            self.counters.count_refused(&refusal);
            return Err(refusal);
        }
        self.counters.count_heard(advert.claim);
        self.compare(peer, advert);
        match advert.claim {
            Claim::Release => self.on_release(now, peer),
            Claim::Lead(priority) => self.on_leader(
                now,
                Leader {
                    address: peer,
                    priority,
                    interval: advert.interval,
                    heard: now,
                },
            ),
        }
        Ok(())
    }

    /// Does what is due. Give it what has arrived until now before: a router that slept must not
    /// take its own sleep for the silence of others.
    pub fn on_timeout(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Initialize => {}
            Phase::Backup(backup) => match (backup.due(now, self.priority), &self.hold) {
                (None, _) => {}
                (Some(reason), None) => self.lead(now, reason),
                (Some(reason), Some(hold)) => {
                    backup.wait_for_leave(reason);
                    let hold = hold.clone();
                    self.effects.push_back(Effect::Withheld { hold });
                }
            },
            Phase::Active(active) => {
                let advert = active.take_due_advert(now);
                let announcement = active.take_due_announcement(now);
                if advert {
                    self.send(Claim::Lead(self.priority));
                }
                if announcement {
                    self.effects.push_back(Effect::Announce);
                }
            }
        }
    }

    /// Changes the priority: tracking lowers it when something that leading needs is gone.
    pub fn set_priority(&mut self, now: Instant, priority: Priority) {
        if priority == self.priority {
            return;
        }
        self.priority = priority;
        match &mut self.phase {
            Phase::Initialize => {}
            Phase::Backup(backup) => {
                backup.on_priority(priority);
                self.lead_as_owner(now);
            }
            // Those who now rank higher learn of it at once.
            Phase::Active(_) => self.advertise(now),
        }
    }

    /// Says whether this router may lead, or why it may not: because it does not know yet what
    /// the leader knows, for example. Until told otherwise, it may.
    pub fn set_eligible(&mut self, now: Instant, eligible: Result<(), String>) {
        self.hold = eligible.err();
        match (&mut self.phase, &self.hold) {
            (Phase::Initialize, _) | (Phase::Active(_), None) => {}
            (Phase::Backup(backup), Some(_)) => backup.on_hold(),
            (Phase::Backup(backup), None) => match backup.only_lacks_leave() {
                Some(reason) => self.lead(now, reason),
                None => self.lead_as_owner(now),
            },
            (Phase::Active(_), Some(hold)) => {
                let reason = YieldReason::Held(hold.clone());
                self.give_up(reason);
                self.phase = Phase::Backup(Backup::begin(self.params.interval, now));
            }
        }
    }

    /// Changes the virtual addresses. Whoever leads answers for them from now on, and says so.
    pub fn set_addresses(&mut self, now: Instant, addresses: Addresses) {
        if addresses == self.params.addresses {
            return;
        }
        self.params.addresses = addresses;
        self.disagreement = None;
        if let Phase::Active(_) = self.phase {
            self.advertise(now);
            self.announce_again(now);
        }
    }

    /// Announces the addresses again, with all repeats, if this router leads: for whoever learns
    /// that the neighbours may have missed something, as when the link was down.
    pub fn announce_again(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Initialize | Phase::Backup(_) => {}
            Phase::Active(active) => {
                active.announced(now);
                self.effects.push_back(Effect::Announce);
            }
        }
    }

    /// Somebody who knows better than advertisements tell says that `peer` acts as owner no longer.
    /// If it was the leader, or nobody is known to lead, nothing is waited for.
    pub fn on_peer_lost(&mut self, now: Instant, peer: IpAddr) {
        match (&mut self.phase, &self.hold) {
            (Phase::Initialize | Phase::Active(_), _) => {}
            (Phase::Backup(backup), _) if !backup.waits_for(peer) => {}
            (Phase::Backup(_), None) => self.lead(now, LeadReason::PeerLost),
            (Phase::Backup(backup), Some(hold)) => {
                backup.wait_for_leave(LeadReason::PeerLost);
                let hold = hold.clone();
                self.effects.push_back(Effect::Withheld { hold });
            }
        }
    }

    /// Leads at once, if it may and somebody else does: for a planned switchover. Whoever leads is
    /// to have a lower priority by then, and yields when it hears of this one; otherwise it answers,
    /// and this one yields.
    pub fn take_over(&mut self, now: Instant) {
        match (&self.phase, &self.hold) {
            (Phase::Backup(_), None) => self.lead(now, LeadReason::Switched),
            (Phase::Backup(_), Some(_)) | (Phase::Initialize | Phase::Active(_), _) => {}
        }
    }

    /// The advertisement that makes this claim.
    #[must_use]
    pub fn advert(&self, claim: Claim) -> Advert {
        Advert {
            vrid: self.params.vrid,
            claim,
            interval: self.params.interval,
            addresses: self.params.addresses.clone(),
        }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Initialize => State::Initialize,
            Phase::Backup(_) => State::Backup,
            Phase::Active(_) => State::Active,
        }
    }

    /// The other router that leads, if one is known to.
    #[must_use]
    pub const fn leader(&self) -> Option<Leader> {
        match &self.phase {
            Phase::Initialize | Phase::Active(_) => None,
            Phase::Backup(backup) => backup.leader(),
        }
    }

    /// Its priority at this time.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Why it may not lead, if it may not.
    #[must_use]
    pub fn hold(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// How the last peer that was heard differs in what it was told, if it does.
    #[must_use]
    pub const fn disagreement(&self) -> Option<Disagreement> {
        self.disagreement
    }

    /// What it was told.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// What happened to it.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_for_us(&self, peer: IpAddr, advert: &Advert) -> Result<(), Refusal> {
        let (theirs, ours) = (advert.vrid, self.params.vrid);
        if theirs != ours {
            return Err(Refusal::OtherVrid { theirs, ours });
        }
        if advert.addresses.is_ipv6() != self.params.addresses.is_ipv6() {
            return Err(Refusal::OtherFamily);
        }
        if peer == self.params.address {
            return Err(Refusal::OwnAddress { address: peer });
        }
        Ok(())
    }

    /// Counts and reports what the sender of an advertisement was told otherwise than we. It is
    /// heeded nevertheless (RFC 9568, section 7.1): two that lead would be worse.
    fn compare(&mut self, peer: IpAddr, advert: &Advert) {
        let found = Disagreement {
            peer,
            addresses: !advert.addresses.same_set(&self.params.addresses),
            interval: advert.interval != self.params.interval,
        };
        self.counters.other_addresses_heard += u64::from(found.addresses);
        self.counters.other_intervals_heard += u64::from(found.interval);
        if found.addresses || found.interval {
            if self.disagreement.replace(found) != Some(found) {
                self.effects.push_back(Effect::Disagrees {
                    peer,
                    addresses: found.addresses,
                    interval: found.interval,
                });
            }
        } else if self.disagreement.is_some_and(|known| known.peer == peer) {
            self.disagreement = None;
        }
    }

    fn on_release(&mut self, now: Instant, peer: IpAddr) {
        match &mut self.phase {
            Phase::Initialize => {}
            Phase::Backup(backup) => backup.on_release(now),
            // Whoever gave up led, too. Others must not think that now nobody does.
            Phase::Active(_) => {
                self.advertise(now);
                self.defend(now, peer);
            }
        }
    }

    fn on_leader(&mut self, now: Instant, leader: Leader) {
        match &mut self.phase {
            Phase::Initialize => {}
            Phase::Backup(backup) => {
                let preempt = match (&self.hold, self.params.preempt) {
                    (None, Preempt::After(delay)) => Some(delay),
                    (Some(_), _) | (None, Preempt::Never) => None,
                };
                backup.on_leader(leader, self.priority, preempt);
            }
            Phase::Active(_) => match self.outranked_by(leader) {
                Some(reason) => {
                    // Without this the winner may never learn that somebody else led.
                    self.send(Claim::Lead(self.priority));
                    self.stop(reason);
                    self.phase = Phase::Backup(Backup::under(leader));
                }
                None => {
                    self.answer(now);
                    self.defend(now, leader.address);
                }
            },
        }
    }

    /// Why to yield to somebody else that leads, if so.
    fn outranked_by(&self, leader: Leader) -> Option<YieldReason> {
        let peer = leader.address;
        if leader.priority > self.priority {
            let priority = leader.priority;
            return Some(YieldReason::HigherPriority { peer, priority });
        }
        let tie_lost = leader.priority == self.priority && peer > self.params.address;
        tie_lost.then_some(YieldReason::HigherAddress { peer })
    }

    /// Tells somebody else that leads that it has to yield.
    fn answer(&mut self, now: Instant) {
        if let Phase::Active(active) = &mut self.phase
            && active.take_answer(now)
        {
            self.advertise(now);
        }
    }

    /// Somebody else led until now: its neighbours may know it as the owner of the addresses.
    fn defend(&mut self, now: Instant, peer: IpAddr) {
        if let Phase::Active(active) = &mut self.phase {
            // Whoever makes way at this moment speaks once more before it hears of it.
            let is_news = !active.has_just_relieved(peer, now);
            self.counters.second_actives_heard += u64::from(is_news);
            if active.take_defence(now) {
                self.effects.push_back(Effect::Announce);
                if is_news {
                    self.effects.push_back(Effect::SecondActive { peer });
                }
            }
        }
    }

    fn lead_as_owner(&mut self, now: Instant) {
        if self.priority == Priority::OWNER && self.hold.is_none() {
            self.lead(now, LeadReason::Owner);
        }
    }

    fn lead(&mut self, now: Instant, reason: LeadReason) {
        self.counters.led += 1;
        let (interval, repeats) = (self.params.interval, self.params.repeats);
        let relieved = match reason {
            LeadReason::Preempts { peer, .. } => Some(peer),
            LeadReason::Switched => self.leader().map(|leader| leader.address),
            LeadReason::Owner
            | LeadReason::ActiveDown
            | LeadReason::PeerLost
            | LeadReason::Released
            | LeadReason::Resumed => None,
        };
        self.phase = Phase::Active(Active::begin(interval, repeats, relieved, now));
        // Whoever leads still yields only when it hears of us: answer before it stops.
        self.effects.push_back(Effect::Lead { reason });
        self.send(Claim::Lead(self.priority));
        self.effects.push_back(Effect::Announce);
    }

    fn give_up(&mut self, reason: YieldReason) {
        self.send(Claim::Release);
        self.stop(reason);
    }

    fn stop(&mut self, reason: YieldReason) {
        self.counters.yielded += 1;
        self.effects.push_back(Effect::Yield { reason });
    }

    /// Says out of turn that we lead.
    fn advertise(&mut self, now: Instant) {
        if let Phase::Active(active) = &mut self.phase {
            active.advertised(now);
            self.send(Claim::Lead(self.priority));
        }
    }

    fn send(&mut self, claim: Claim) {
        self.counters.count_sent(claim);
        self.effects.push_back(Effect::SendAdvert { claim });
    }
}
