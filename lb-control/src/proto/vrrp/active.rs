//! What an active router has to do next.

use super::announcements::{Announcements, Repeats};
use super::values::Interval;
use std::net::IpAddr;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    interval: Interval,
    repeats: Repeats,
    since: Instant,
    /// Who led until then and is expected to yield.
    relieved: Option<IpAddr>,
    /// `Adver_Timer`.
    advert_at: Instant,
    announcements: Announcements,
    /// When somebody else that leads was last answered.
    answered: Option<Instant>,
    /// When the addresses were last announced because of somebody else that leads.
    defended: Option<Instant>,
}

impl Active {
    /// An advertisement and an announcement are made now.
    pub(super) fn begin(
        interval: Interval,
        repeats: Repeats,
        relieved: Option<IpAddr>,
        now: Instant,
    ) -> Self {
        Self {
            interval,
            repeats,
            since: now,
            relieved,
            advert_at: now + interval.duration(),
            announcements: Announcements::after_first(repeats, now),
            answered: None,
            defended: None,
        }
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Instant {
        match self.announcements.next() {
            Some(announcement) => self.advert_at.min(announcement),
            None => self.advert_at,
        }
    }

    /// Whether to advertise now. They leave an interval apart, however late each one is; those
    /// that were missed are not made up for.
    pub(super) fn take_due_advert(&mut self, now: Instant) -> bool {
        let due = self.advert_at <= now;
        if due {
            let next = self.advert_at + self.interval.duration();
            self.advert_at = if next > now {
                next
            } else {
                now + self.interval.duration()
            };
        }
        due
    }

    /// Whether to announce the addresses now.
    pub(super) fn take_due_announcement(&mut self, now: Instant) -> bool {
        self.announcements.take_due(now)
    }

    /// An advertisement leaves now, out of turn.
    pub(super) fn advertised(&mut self, now: Instant) {
        self.advert_at = now + self.interval.duration();
    }

    /// Whether to answer somebody that leads too. Two that each take the other for the loser, as
    /// when an address on the way is translated, would answer each other without end: twice in an
    /// interval is enough.
    pub(super) fn take_answer(&mut self, now: Instant) -> bool {
        let pause = self.interval.duration() / 2;
        let due = self.answered.is_none_or(|last| now >= last + pause);
        if due {
            self.answered = Some(now);
        }
        due
    }

    /// Whether to announce the addresses, and again with all repeats, because somebody else led.
    pub(super) fn take_defence(&mut self, now: Instant) -> bool {
        let pause = self.repeats.spacing;
        let due = self.defended.is_none_or(|last| now >= last + pause);
        if due {
            self.defended = Some(now);
            self.announced(now);
        }
        due
    }

    /// The addresses are announced now, out of turn, and so again with all repeats.
    pub(super) fn announced(&mut self, now: Instant) {
        self.announcements = Announcements::after_first(self.repeats, now);
    }

    /// Whether `peer` was relieved so lately that its last words are no news.
    pub(super) fn has_just_relieved(&self, peer: IpAddr, now: Instant) -> bool {
        self.relieved == Some(peer) && now < self.since + self.interval.duration()
    }
}
