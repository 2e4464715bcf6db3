//! How often heartbeats are sent, and after how many that were missed the peer is lost.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

/// An interval in microseconds, as RFC 5880 counts them in section 4.1; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(NonZeroU32);

impl Micros {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u16) -> Option<Self> {
        Self::new(millis as u32 * 1_000)
    }

    /// So many microseconds, unless there are none.
    #[must_use]
    pub const fn new(micros: u32) -> Option<Self> {
        match NonZeroU32::new(micros) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0.get() as u64)
    }
}

/// After how many missed heartbeats a peer is lost: `Detect Mult` of RFC 5880, section 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiplier(NonZeroU8);

impl Multiplier {
    /// The multiplier of this number, unless it is 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

/// What one side wants of a session. The slower of the two decides about each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The shortest interval at which it will send: `Desired Min TX Interval`.
    pub desired_min_tx: Micros,
    /// The shortest interval at which it can receive: `Required Min RX Interval`.
    pub required_min_rx: Micros,
    /// After how many missed ones the *other* side is to hold it for lost.
    pub multiplier: Multiplier,
}

impl Timing {
    /// Every 50 ms; lost after 150 ms.
    pub const DEFAULT: Self = Self::constant(50_000, 3);
    /// Every 10 ms; lost after 30 ms. For hosts whose heartbeat gets realtime scheduling.
    pub const FAST: Self = Self::constant(10_000, 3);
    /// The shortest interval that makes sense with a thread that sleeps in between.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

    /// The same interval in both directions. `None` if it is shorter than [`Self::MIN_INTERVAL`] or
    /// longer than 2³² µs, or the multiplier is 0.
    #[must_use]
    pub fn new(interval: Duration, multiplier: u8) -> Option<Self> {
        if interval < Self::MIN_INTERVAL {
            return None;
        }
        let interval = Micros::new(u32::try_from(interval.as_micros()).ok()?)?;
        Some(Self {
            desired_min_tx: interval,
            required_min_rx: interval,
            multiplier: Multiplier::new(multiplier)?,
        })
    }

    const fn constant(micros: u32, multiplier: u8) -> Self {
        let (Some(interval), Some(multiplier)) = (Micros::new(micros), Multiplier::new(multiplier))
        else {
            panic!("neither may be 0");
        };
        Self {
            desired_min_tx: interval,
            required_min_rx: interval,
            multiplier,
        }
    }

    /// The interval at which it sends to `other` before jitter (RFC 5880, section 6.8.7).
    #[must_use]
    pub fn interval_to(&self, other: &Self) -> Duration {
        self.desired_min_tx.max(other.required_min_rx).duration()
    }

    /// After how long a silence `other` holds it for lost (RFC 5880, section 6.8.4).
    #[must_use]
    pub fn detection_by(&self, other: &Self) -> Duration {
        self.interval_to(other) * u32::from(self.multiplier.get())
    }

    /// After how long a silence anybody may hold it for lost, at the earliest. So long after its
    /// last heartbeat a host may act as owner, and no longer.
    #[must_use]
    pub fn earliest_detection(&self) -> Duration {
        self.desired_min_tx.duration() * u32::from(self.multiplier.get())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = humantime::format_duration(self.desired_min_tx.duration());
        write!(f, "{interval} × {}", self.multiplier.get())
    }
}
