//! Hosts on one virtual clock, for tests of machines that are told the time: what they send each
//! other is lost, delayed, doubled and overtaken, and each host has a clock of its own.

#[path = "../../../tests/src/random.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the crate of tests")]
mod random;

pub(crate) use random::Random;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A clock that began at another time and runs a little faster or slower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
    nanoseconds_per_ms: u64,
}

impl Clock {
    /// Clocks that run true to `ppm` parts in a million.
    pub(crate) fn some<const COUNT: usize>(ppm: usize, random: &mut Random) -> [Self; COUNT] {
        let now = Instant::now();
        [(); COUNT].map(|()| Self {
            began: now + Duration::from_millis(random.below(1_000_000) as u64),
            nanoseconds_per_ms: (1_000_000 - ppm + random.below(2 * ppm + 1)) as u64,
        })
    }

    pub(crate) fn read(self, now: Duration) -> Instant {
        let elapsed = now.as_nanos() as u64 * self.nanoseconds_per_ms / 1_000_000;
        self.began + Duration::from_nanos(elapsed)
    }

    /// When it will show this moment.
    pub(crate) fn shows(self, moment: Instant) -> Duration {
        let elapsed = moment.saturating_duration_since(self.began).as_nanos() as u64;
        let mut now = Duration::from_nanos(elapsed * 1_000_000 / self.nanoseconds_per_ms);
        while self.read(now) < moment {
            now += Duration::from_nanos(1);
        }
        now
    }
}

/// What becomes of what is sent.
#[derive(Clone, Debug)]
pub(crate) struct Quality {
    pub(crate) lost_percent: usize,
    pub(crate) doubled_percent: usize,
    pub(crate) delay: Range<Duration>,
}

impl Quality {
    /// Nothing is lost, and everything arrives within this time.
    pub(crate) const fn good(longest_delay: Duration) -> Self {
        Self {
            lost_percent: 0,
            doubled_percent: 0,
            delay: Duration::ZERO..longest_delay,
        }
    }

    /// How long something is under way.
    pub(crate) fn some_delay(&self, random: &mut Random) -> Duration {
        let Range { start, end } = self.delay;
        let spread = (end - start).as_micros() as usize;
        start + Duration::from_micros(random.below(spread + 1) as u64)
    }
}

/// What is under way. The earliest arrives first, of those the first sent.
pub(crate) struct Wire<T> {
    flying: BTreeMap<(Duration, u64), T>,
    sent: u64,
}

impl<T: Clone> Wire<T> {
    pub(crate) const fn new() -> Self {
        Self {
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Sends something, of which nothing, one or two arrive.
    pub(crate) fn send(&mut self, now: Duration, what: &T, quality: &Quality, random: &mut Random) {
        if random.below(100) < quality.lost_percent {
            return;
        }
        let copies = 1 + usize::from(random.below(100) < quality.doubled_percent);
        for _ in 0..copies {
            self.send_at(now + quality.some_delay(random), what.clone());
        }
    }

    /// Has something arrive at this moment.
    pub(crate) fn send_at(&mut self, arrival: Duration, what: T) {
        self.sent += 1;
        self.flying.insert((arrival, self.sent), what);
    }

    /// When the next one arrives.
    pub(crate) fn arrival(&self) -> Option<Duration> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    /// The next one.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.flying.pop_first().map(|(_, what)| what)
    }
}
