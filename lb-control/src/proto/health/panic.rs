//! When failing checks are not believed.
//!
//! If all backends of a service fail at about the same time, it is more likely the check, or the way
//! to them, than all of them: then those that failed together go on serving. The panic ends when all
//! of these are up again, or when the others have had enough time since the first of them was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Watches the backends of one service, whose names are of type `K`.
#[derive(Clone, Debug)]
pub struct Panic<K> {
    window: Duration,
    up: BTreeSet<K>,
    /// Those that were up, and since when they are not.
    failed: BTreeMap<K, Instant>,
    going_on: Option<GoingOn<K>>,
}

#[derive(Clone, Debug)]
struct GoingOn<K> {
    backends: BTreeSet<K>,
    first_up: Option<Instant>,
}

impl<K: Clone + Ord> Panic<K> {
    /// Nothing is known yet. Failures at most `window` apart are at the same time.
    #[must_use]
    pub const fn new(window: Duration) -> Self {
        Self {
            window,
            up: BTreeSet::new(),
            failed: BTreeMap::new(),
            going_on: None,
        }
    }

    /// The backends that go on serving whatever their checks say, if that is so.
    #[must_use]
    pub fn going_on(&self) -> Option<&BTreeSet<K>> {
        self.going_on.as_ref().map(|going_on| &going_on.backends)
    }

    /// A backend is up, or is not.
    pub fn on_health(&mut self, now: Instant, backend: &K, up: bool) {
        if up {
            self.failed.remove(backend);
            self.up.insert(backend.clone());
        } else if self.up.remove(backend) {
            self.failed.insert(backend.clone(), now);
            if self.up.is_empty() && self.going_on.is_none() {
                let together = self.failed.iter();
                let together = together.filter(|(_, since)| now - **since <= self.window);
                self.going_on = Some(GoingOn {
                    backends: together.map(|(backend, _)| backend.clone()).collect(),
                    first_up: None,
                });
            }
        }
        self.on_time(now);
    }

    /// Only these backends are left, and failures at most `window` apart are at the same time.
    pub fn retain(&mut self, window: Duration, backends: &BTreeSet<K>) {
        self.window = window;
        self.up.retain(|backend| backends.contains(backend));
        self.failed.retain(|backend, _| backends.contains(backend));
        if let Some(going_on) = &mut self.going_on {
            going_on
                .backends
                .retain(|backend| backends.contains(backend));
        }
    }

    /// Time has passed. To be called now and then.
    pub fn on_time(&mut self, now: Instant) {
        let Some(going_on) = &mut self.going_on else {
            return;
        };
        if self.up.is_empty() {
            return;
        }
        let first_up = *going_on.first_up.get_or_insert(now);
        if going_on.backends.is_subset(&self.up) || now - first_up > self.window {
            self.going_on = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Panic;
    use std::time::{Duration, Instant};

    const WINDOW: Duration = Duration::from_secs(5);

    fn all_up(now: Instant) -> Panic<&'static str> {
        let mut panic = Panic::new(WINDOW);
        for backend in ["a", "b", "c"] {
            panic.on_health(now, &backend, true);
        }
        panic
    }

    fn going_on(panic: &Panic<&'static str>) -> Option<Vec<&'static str>> {
        let backends = panic.going_on()?;
        Some(backends.iter().copied().collect())
    }

    #[test]
    fn those_that_fail_together_go_on_until_all_are_back() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut panic = all_up(begin);
        panic.on_health(at(10), &"a", false);
        panic.on_health(at(11), &"b", false);
        assert_eq!(going_on(&panic), None);
        panic.on_health(at(12), &"c", false);
        assert_eq!(going_on(&panic), Some(vec!["a", "b", "c"]));
        panic.on_health(at(60), &"b", true);
        panic.on_health(at(61), &"a", true);
        assert_eq!(going_on(&panic), Some(vec!["a", "b", "c"]));
        panic.on_health(at(62), &"c", true);
        assert_eq!(going_on(&panic), None);
    }

    #[test]
    fn those_that_do_not_come_back_are_given_up() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut panic = all_up(begin);
        for backend in ["a", "b", "c"] {
            panic.on_health(at(10), &backend, false);
        }
        panic.on_health(at(20), &"a", true);
        panic.on_time(at(25));
        assert!(panic.going_on().is_some());
        panic.on_time(at(26));
        assert_eq!(going_on(&panic), None);
    }

    #[test]
    fn the_long_dead_and_those_that_never_were_do_not_go_on() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut panic = all_up(begin);
        panic.on_health(at(10), &"a", false);
        panic.on_health(at(10), &"d", false);
        panic.on_health(at(100), &"b", false);
        panic.on_health(at(101), &"c", false);
        assert_eq!(going_on(&panic), Some(vec!["b", "c"]));
    }

    /// Nor does one that comes and goes keep the others in service.
    #[test]
    fn time_does_not_start_anew_for_one_that_flaps() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut panic = all_up(begin);
        for backend in ["a", "b", "c"] {
            panic.on_health(at(10), &backend, false);
        }
        panic.on_health(at(20), &"c", true);
        panic.on_health(at(23), &"c", false);
        // Nobody is better than those.
        panic.on_time(at(30));
        assert_eq!(going_on(&panic), Some(vec!["a", "b", "c"]));
        panic.on_health(at(31), &"c", true);
        assert_eq!(going_on(&panic), None);
        panic.on_health(at(33), &"c", false);
        assert_eq!(going_on(&panic), Some(vec!["c"]));
    }

    #[test]
    fn nothing_that_was_never_up_panics() {
        let mut panic = Panic::new(WINDOW);
        panic.on_health(Instant::now(), &"a", false);
        assert_eq!(going_on(&panic), None);
    }
}
