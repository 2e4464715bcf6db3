//! How often the same refusal is told.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The same one is told again after this.
const PAUSE: Duration = Duration::from_secs(10);

/// So many are told within it.
const MANY: usize = 32;

/// Those that were told lately.
#[derive(Default)]
pub(super) struct Refusals {
    told: Vec<(Instant, IpAddr, String)>,
}

impl Refusals {
    /// Whether it is to be told.
    pub(super) fn tell(&mut self, now: Instant, from: IpAddr, reason: &str) -> bool {
        self.told
            .retain(|(at, ..)| now.saturating_duration_since(*at) < PAUSE);
        let mut told = self.told.iter();
        if self.told.len() >= MANY || told.any(|(_, ip, text)| *ip == from && text == reason) {
            return false;
        }
        self.told.push((now, from, reason.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        assert!(refusals.tell(start, one, "expired"));
        assert!(!refusals.tell(start, one, "expired"));
        assert!(refusals.tell(start, one, "foreign"));
        assert!(refusals.tell(start, other, "expired"));
        let later = start + PAUSE;
        assert!(refusals.tell(later, one, "expired"));
        let mut told = 0;
        for last in 0..=255 {
            told += usize::from(refusals.tell(later, IpAddr::from([10, 0, 0, last]), "expired"));
        }
        assert_eq!(told, MANY - 1);
    }
}
