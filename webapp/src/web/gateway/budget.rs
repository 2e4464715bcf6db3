//! How many requests may be repeated: a share of all, so that app servers in trouble do not get
//! more to do for being in trouble. A machine that is told the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The share of requests that may be repeated, one in so many.
const ONE_IN: f64 = 10.0;

/// So many a second may be in any case: a site with few visitors is no reason to show them errors.
const EACH_SECOND: f64 = 5.0;

/// What can be saved up.
const MOST: f64 = 50.0;

#[derive(Debug)]
pub(super) struct Budget {
    /// Requests since the saved were last counted.
    requests: AtomicU64,
    saved: Mutex<Saved>,
}

#[derive(Debug)]
struct Saved {
    repeats: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: AtomicU64::new(0),
            saved: Mutex::new(Saved {
                repeats: EACH_SECOND,
                at: now,
            }),
        }
    }

    /// A request has come.
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one may be repeated, which uses up what is saved.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = self.requests.swap(0, Ordering::Relaxed);
        let elapsed = now.saturating_duration_since(saved.at).as_secs_f64();
        let earned = requests as f64 / ONE_IN + elapsed * EACH_SECOND;
        saved.repeats = (saved.repeats + earned).min(MOST);
        saved.at = now;
        let enough = saved.repeats >= 1.0;
        if enough {
            saved.repeats -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn spent(budget: &Budget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_tenth_of_the_requests_may_be_repeated() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert_eq!(spent(&budget, now), 5);
        assert_eq!(spent(&budget, now), 0);
        (0..100).for_each(|_| budget.request());
        assert_eq!(spent(&budget, now), 10);
    }

    #[test]
    fn time_earns_a_few_and_nothing_is_saved_for_ever() {
        let now = Instant::now();
        let budget = Budget::new(now);
        spent(&budget, now);
        assert_eq!(spent(&budget, now + Duration::from_secs(2)), 10);
        assert_eq!(spent(&budget, now + Duration::from_secs(3600)), 50);
    }
}
