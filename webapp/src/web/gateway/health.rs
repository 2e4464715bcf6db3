//! Whether an app server should get requests: what its `/readyz` says, and what became of the
//! requests that it got. A machine that is told the time.

use std::time::{Duration, Instant};

/// So many probes in a row change what is thought of a server.
const PROBES: u32 = 2;

/// So many requests lost in a row eject one, however its probes go.
const LOSSES: u32 = 3;

/// How long it is ejected, the first time and at most. It doubles from one to the next.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How much a server is wanted. The order is that of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// It gets requests.
    Yes,
    /// It gets them if nobody better is there: it lost some, but its probes go well; or nothing is
    /// known of it yet.
    AtLast,
    /// Its probes fail: it does not serve, or says that it will not for long.
    No,
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// What the probes say, once there was one.
    ready: Option<bool>,
    /// How many probes in a row have said otherwise.
    otherwise: u32,
    /// How many requests in a row were lost.
    losses: u32,
    ejected: Option<Instant>,
    /// For how long the next time.
    next: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            ready: None,
            otherwise: 0,
            losses: 0,
            ejected: None,
            next: FIRST,
        }
    }
}

impl Health {
    /// A probe has ended. Whether that changed what the probes say.
    pub(super) fn probed(&mut self, ready: bool) -> bool {
        if self.ready == Some(ready) {
            self.otherwise = 0;
            return false;
        }
        self.otherwise += 1;
        // Of one that nothing is known of, the first probe tells more than any guess.
        let changes = self.ready.is_none() || self.otherwise >= PROBES;
        if changes {
            self.ready = Some(ready);
            self.otherwise = 0;
        }
        changes
    }

    /// A request was lost: the server could not be reached, or broke off. Whether it is ejected
    /// for that.
    pub(super) fn lost(&mut self, now: Instant) -> bool {
        self.losses += 1;
        let ejects = self.losses >= LOSSES && self.ejected.is_none_or(|until| until <= now);
        if ejects {
            self.ejected = Some(now + self.next);
            self.next = (self.next * 2).min(LONGEST);
        }
        ejects
    }

    /// A request was answered, with whatever status.
    pub(super) fn answered(&mut self) {
        if self.losses > 0 {
            *self = Self {
                ready: self.ready,
                otherwise: self.otherwise,
                ..Self::default()
            };
        }
    }

    /// Whether the probes fail, and so often that it is no accident.
    pub(super) fn is_down(&self) -> bool {
        self.ready == Some(false)
    }

    pub(super) fn wanted(&self, now: Instant) -> Wanted {
        match self.ready {
            Some(false) => Wanted::No,
            None => Wanted::AtLast,
            Some(true) if self.ejected.is_some_and(|until| now < until) => Wanted::AtLast,
            Some(true) => Wanted::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_probe_decides_and_then_two_in_a_row() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.wanted(now), Wanted::AtLast);
        assert!(health.probed(true));
        assert_eq!(health.wanted(now), Wanted::Yes);
        assert!(!health.probed(false));
        assert!(!health.probed(true));
        assert!(!health.probed(false));
        assert_eq!(health.wanted(now), Wanted::Yes);
        assert!(health.probed(false));
        assert_eq!(health.wanted(now), Wanted::No);
        assert!(!health.probed(true));
        assert_eq!(health.wanted(now), Wanted::No);
        assert!(health.probed(true));
        assert_eq!(health.wanted(now), Wanted::Yes);
    }

    #[test]
    fn lost_requests_eject_for_longer_each_time_and_an_answer_ends_that() {
        let mut now = Instant::now();
        let mut health = Health::default();
        health.probed(true);
        assert!(!health.lost(now) && !health.lost(now));
        assert!(health.lost(now));
        assert_eq!(health.wanted(now), Wanted::AtLast);
        // A loss that was under way already does not prolong it.
        assert!(!health.lost(now));
        now += FIRST;
        assert_eq!(health.wanted(now), Wanted::Yes);
        assert!(health.lost(now), "one more is enough until one is answered");
        now += FIRST;
        assert_eq!(health.wanted(now), Wanted::AtLast);
        now += FIRST;
        assert_eq!(health.wanted(now), Wanted::Yes);
        for _ in 0..10 {
            assert!(health.lost(now));
            now += LONGEST;
            assert_eq!(health.wanted(now), Wanted::Yes);
        }
        health.answered();
        assert!(!health.lost(now));
    }

    #[test]
    fn no_answer_makes_up_for_failing_probes() {
        let now = Instant::now();
        let mut health = Health::default();
        health.probed(false);
        health.lost(now);
        health.answered();
        assert_eq!(health.wanted(now), Wanted::No);
    }
}
