//! When the addresses are announced: at once, soon again, and every now and then.

use std::time::{Duration, Instant};

/// How often a leader announces its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// How often the first announcement is repeated, as a frame may be lost.
    pub times: u32,
    /// The time between repeats. Also the shortest between announcements because of a second
    /// leader.
    pub spacing: Duration,
    /// The time between announcements after that, which mend whatever a neighbour was told by
    /// others. `None`: none are made.
    pub refresh: Option<Duration>,
}

impl Default for Repeats {
    /// Five times at 100 ms, and then every 30 s.
    fn default() -> Self {
        Self {
            times: 5,
            spacing: Duration::from_millis(100),
            refresh: Some(Duration::from_secs(30)),
        }
    }
}

/// The announcements that are still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcements {
    repeats: Repeats,
    left: u32,
    next: Option<Instant>,
}

impl Announcements {
    /// Those that follow the first one, made now.
    pub(super) fn after_first(repeats: Repeats, now: Instant) -> Self {
        let mut announcements = Self {
            repeats,
            left: repeats.times,
            next: None,
        };
        announcements.plan(now);
        announcements
    }

    /// When the next one is due.
    pub(super) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether one is to be made now. The next is then planned.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.plan(now);
        }
        due
    }

    fn plan(&mut self, now: Instant) {
        self.next = if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            Some(now + self.repeats.spacing)
        } else {
            self.repeats.refresh.map(|refresh| now + refresh)
        };
    }
}
