//! How often something may be tried, in memory that does not grow.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

/// Entries that share a place; the one that is free first makes room when all are taken.
const WAYS: usize = 8;

/// Places. With the entries of each: half a megabyte.
const PLACES: usize = 4096;

/// So many at once, and one more each so often: a token bucket, kept as the time at which it is
/// full again (the generic cell rate algorithm, ITU-T I.371).
///
/// Who is watched is found by a keyed hash, so nobody can aim at the place of another. Someone
/// with very many addresses can push entries out; they then start afresh.
pub(crate) struct Rate {
    burst: u32,
    every: Duration,
    hasher: RandomState,
    places: Box<[[Entry; WAYS]]>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    tag: u64,
    /// Full again at this time; an entry of the past is free.
    full: Duration,
}

/// How long to wait before it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) Duration);

impl Rate {
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst: burst.max(1),
            every,
            hasher: RandomState::new(),
            places: vec![[Entry::default(); WAYS]; PLACES].into_boxed_slice(),
        }
    }

    /// Counts an attempt of `who`, unless there were too many. Times are since any fixed moment.
    pub(crate) fn take(&mut self, now: Duration, who: impl Hash) -> Result<(), TooMany> {
        let most = self.every.saturating_mul(self.burst - 1);
        let every = self.every;
        let entry = self.entry(now, who);
        let full = entry.full.max(now);
        let ahead = full.saturating_sub(now);
        if ahead > most {
            return Err(TooMany(ahead - most));
        }
        entry.full = full.saturating_add(every);
        Ok(())
    }

    /// Forgets the attempts of `who`: the last one was right.
    pub(crate) fn forgive(&mut self, now: Duration, who: impl Hash) {
        self.entry(now, who).full = Duration::ZERO;
    }

    fn entry(&mut self, now: Duration, who: impl Hash) -> &mut Entry {
        let tag = self.hasher.hash_one(who);
        // The remainder is below the number of places.
        let place = &mut self.places[(tag % PLACES as u64) as usize];
        let found = place
            .iter()
            .position(|entry| entry.tag == tag && entry.full > now);
        let index = found.unwrap_or_else(|| {
            let first_free = (0..WAYS).min_by_key(|&way| place[way].full);
            let way = first_free.unwrap_or_default();
            place[way] = Entry {
                tag,
                full: Duration::ZERO,
            };
            way
        });
        &mut place[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let mut rate = Rate::new(3, EVERY);
        for _ in 0..3 {
            assert_eq!(rate.take(at(0), "alice"), Ok(()));
        }
        assert_eq!(rate.take(at(0), "alice"), Err(TooMany(EVERY)));
        assert_eq!(
            rate.take(at(29), "alice"),
            Err(TooMany(Duration::from_secs(1)))
        );
        assert_eq!(rate.take(at(30), "alice"), Ok(()));
        assert_eq!(rate.take(at(31), "alice"), Err(TooMany(at(60) - at(31))));
        // Long after, the whole burst is there again, and no more than it.
        for _ in 0..3 {
            assert_eq!(rate.take(at(1000), "alice"), Ok(()));
        }
        assert!(rate.take(at(1000), "alice").is_err());
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let mut rate = Rate::new(1, EVERY);
        assert_eq!(rate.take(at(0), "alice"), Ok(()));
        for second in 1..30 {
            assert!(rate.take(at(second), "alice").is_err());
        }
        assert_eq!(rate.take(at(30), "alice"), Ok(()));
    }

    #[test]
    fn one_does_not_use_up_what_another_has() {
        let mut rate = Rate::new(1, EVERY);
        assert_eq!(rate.take(at(0), ("alice", 1)), Ok(()));
        assert_eq!(rate.take(at(0), ("alice", 2)), Ok(()));
        assert_eq!(rate.take(at(0), ("bob", 1)), Ok(()));
        assert!(rate.take(at(0), ("bob", 1)).is_err());
    }

    #[test]
    fn who_was_right_starts_afresh() {
        let mut rate = Rate::new(2, EVERY);
        assert!(rate.take(at(0), "alice").is_ok());
        assert!(rate.take(at(0), "alice").is_ok());
        rate.forgive(at(1), "alice");
        assert!(rate.take(at(1), "alice").is_ok());
    }

    #[test]
    fn a_flood_of_others_takes_no_memory_and_the_newest_stay() {
        let mut rate = Rate::new(1, EVERY);
        let before = std::mem::size_of_val(&*rate.places);
        for other in 0..200_000u32 {
            // Later ones are free later, so they push the early ones out.
            let _ = rate.take(at(u64::from(other / 10_000)), other);
        }
        assert_eq!(std::mem::size_of_val(&*rate.places), before);
        assert!(rate.take(at(20), 199_999u32).is_err());
        assert!(rate.take(at(20), 0u32).is_ok());
    }
}
