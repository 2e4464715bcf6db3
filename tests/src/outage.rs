//! How long nobody got through.

use std::time::{Duration, Instant};

/// One attempt of many that are begun one shortly after the other.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it was begun.
    pub begun: Instant,
    /// When it succeeded, if it did before `end`.
    pub succeeded: Option<Instant>,
}

/// The longest time from the beginning of an attempt until it or one that was begun after it
/// succeeded, or until `end` if none did.
///
/// So it does not count how long a single attempt takes to be repeated, as TCP does with a lost SYN
/// after a second: whoever comes next gets through. Nor is the client to blame for the time in which
/// it begins nothing. Without an outage, this is the longest that any attempt took.
///
/// The attempts are in the order in which they were begun.
pub fn longest(attempts: &[Attempt], end: Instant) -> Duration {
    let mut through = end;
    let mut longest = Duration::ZERO;
    for attempt in attempts.iter().rev() {
        if let Some(succeeded) = attempt.succeeded {
            through = through.min(succeeded);
        }
        longest = longest.max(through.saturating_duration_since(attempt.begun));
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Attempts by the milliseconds at which they were begun and succeeded.
    fn longest_of(attempts: &[(u32, Option<u32>)], end: u32) -> Duration {
        let start = Instant::now();
        let attempts: Vec<Attempt> = attempts
            .iter()
            .map(|&(begun, succeeded)| Attempt {
                begun: start + MS * begun,
                succeeded: succeeded.map(|at| start + MS * at),
            })
            .collect();
        longest(&attempts, start + MS * end)
    }

    #[test]
    fn an_outage_goes_from_the_first_that_fails_to_the_first_that_does_not() {
        let attempts = [
            (0, Some(1)),
            (10, None),
            (20, None),
            (30, Some(33)),
            (40, Some(41)),
        ];
        assert_eq!(longest_of(&attempts, 50), 23 * MS);
    }

    #[test]
    fn a_lost_packet_that_is_sent_again_is_no_outage() {
        let attempts = [(0, Some(1_000)), (5, Some(6)), (10, Some(11))];
        assert_eq!(longest_of(&attempts, 2_000), 6 * MS);
    }

    #[test]
    fn those_that_are_kept_waiting_count() {
        let attempts = [(0, Some(61)), (20, Some(61)), (60, Some(62))];
        assert_eq!(longest_of(&attempts, 100), 61 * MS);
    }

    #[test]
    fn an_outage_may_have_no_end() {
        assert_eq!(longest_of(&[(0, Some(1)), (10, None)], 500), 490 * MS);
        assert_eq!(longest_of(&[], 500), Duration::ZERO);
    }

    #[test]
    fn a_client_that_sleeps_sees_nothing() {
        assert_eq!(longest_of(&[(0, Some(1)), (400, Some(401))], 500), MS);
    }
}
