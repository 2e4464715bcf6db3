//! What a backup knows of the active router, and what it waits for.

use super::effect::LeadReason;
use super::values::{Interval, Priority};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Who leads, as its last advertisement said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The address that it was sent from.
    pub address: IpAddr,
    /// The sender's priority.
    pub priority: Priority,
    /// The time to its next one.
    pub interval: Interval,
    /// When it was heard.
    pub heard: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Backup {
    leader: Option<Leader>,
    /// `Active_Adver_Interval`: that of the leader, or ours before one was heard.
    interval: Interval,
    wait: Wait,
    /// When a leader of lower priority is relieved.
    preempt_at: Option<Instant>,
}

/// What a backup waits for. Moments are kept as when they began, because a change of priority
/// changes when they end.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// An advertisement. If none comes for the active-down interval, the active router is down.
    Advert { since: Instant },
    /// Those of higher priority, which go first, for the skew time.
    Turn { since: Instant },
    /// Leave to lead, as the active router is gone.
    Leave(LeadReason),
}

impl Backup {
    /// Nobody was heard yet.
    pub(super) const fn begin(interval: Interval, now: Instant) -> Self {
        Self {
            leader: None,
            interval,
            wait: Wait::Advert { since: now },
            preempt_at: None,
        }
    }

    /// Somebody else leads.
    pub(super) const fn under(leader: Leader) -> Self {
        Self {
            leader: Some(leader),
            interval: leader.interval,
            wait: Wait::Advert {
                since: leader.heard,
            },
            preempt_at: None,
        }
    }

    pub(super) const fn leader(&self) -> Option<Leader> {
        self.leader
    }

    /// When [`Self::due`] has a reason to lead.
    pub(super) fn deadline(&self, own: Priority) -> Option<Instant> {
        let moments = [self.wait_ends(own), self.preempt_at];
        moments.into_iter().flatten().min()
    }

    /// Why it is time to lead, if it is.
    pub(super) fn due(&self, now: Instant, own: Priority) -> Option<LeadReason> {
        let has_come = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if has_come(self.wait_ends(own)) {
            return match self.wait {
                Wait::Advert { .. } => Some(LeadReason::ActiveDown),
                Wait::Turn { .. } => Some(LeadReason::Released),
                Wait::Leave(_) => None,
            };
        }
        let leader = self.leader.filter(|_| has_come(self.preempt_at))?;
        Some(LeadReason::Preempts {
            peer: leader.address,
            priority: leader.priority,
        })
    }

    /// It is time to lead, but it is not allowed.
    pub(super) fn wait_for_leave(&mut self, reason: LeadReason) {
        self.wait = Wait::Leave(reason);
        self.leader = None;
    }

    /// Why it would lead already, had it been allowed.
    pub(super) const fn only_lacks_leave(&self) -> Option<LeadReason> {
        match self.wait {
            Wait::Leave(reason) => Some(reason),
            Wait::Advert { .. } | Wait::Turn { .. } => None,
        }
    }

    /// Whether time passes until it is clear that this one leads no longer.
    pub(super) fn waits_for(&self, peer: IpAddr) -> bool {
        match self.wait {
            Wait::Advert { .. } | Wait::Turn { .. } => {
                self.leader.is_none_or(|leader| leader.address == peer)
            }
            Wait::Leave(_) => false,
        }
    }

    /// Whoever led gave up.
    pub(super) fn on_release(&mut self, now: Instant) {
        self.leader = None;
        self.preempt_at = None;
        match self.wait {
            Wait::Advert { .. } => self.wait = Wait::Turn { since: now },
            // A second release does not put off what the first one began.
            Wait::Turn { .. } | Wait::Leave(_) => {}
        }
    }

    /// Somebody leads. If it has a lower priority and `preempt` is given, it is relieved after so
    /// much time, but not before the wait that it interrupts would have ended: with no delay that
    /// is when the RFC's router, which ignores such advertisements, takes over.
    pub(super) fn on_leader(&mut self, leader: Leader, own: Priority, preempt: Option<Duration>) {
        self.preempt_at = match preempt {
            Some(delay) if leader.priority < own => {
                let earliest = Some(leader.heard + delay).max(self.wait_ends(own));
                self.preempt_at.or(earliest)
            }
            _ => None,
        };
        self.leader = Some(leader);
        self.interval = leader.interval;
        self.wait = Wait::Advert {
            since: leader.heard,
        };
    }

    /// Our own priority is another from now on.
    pub(super) fn on_priority(&mut self, own: Priority) {
        if self.leader.is_none_or(|leader| leader.priority >= own) {
            self.preempt_at = None;
        }
    }

    /// We may not lead for now.
    pub(super) fn on_hold(&mut self) {
        self.preempt_at = None;
    }

    fn wait_ends(&self, own: Priority) -> Option<Instant> {
        match self.wait {
            Wait::Advert { since } => Some(since + self.interval.active_down(own)),
            Wait::Turn { since } => Some(since + self.interval.skew(own)),
            Wait::Leave(_) => None,
        }
    }
}
