//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// How long to sleep between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Polls `condition` until it holds, for at most `limit`. `what` completes "waited for …".
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(limit, what, || {
        if condition() {
            Ok(())
        } else {
            bail!("not yet")
        }
    })
}

/// Polls `attempt` until it succeeds, for at most `limit`. When time is up, the error says why
/// the last attempt failed. A [caught](interrupt::catch) signal ends the wait.
pub fn wait_for<T>(limit: Duration, what: &str, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    poll(limit, what, interrupt::arrived, attempt)
}

/// Like [`wait_for`], for what has to be done even after a signal: cleaning up.
pub(crate) fn wait_regardless<T>(
    limit: Duration,
    what: &str,
    attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    poll(limit, what, || false, attempt)
}

fn poll<T>(
    limit: Duration,
    what: &str,
    give_up: impl Fn() -> bool,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if give_up() {
            return Err(error.context(format!("interrupted while waiting for {what}")));
        }
        if Instant::now() >= deadline {
            return Err(error.context(format!("waited {limit:?} for {what}, in vain")));
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_polled_until_it_holds() {
        let mut looks = 0;
        wait_until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            looks == 3
        })
        .unwrap();
        assert_eq!(looks, 3);
    }

    #[test]
    fn the_error_says_what_was_waited_for_and_why() {
        let error = wait_for(Duration::ZERO, "the moon", || -> Result<()> {
            bail!("clouds")
        })
        .unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "waited 0ns for the moon, in vain: clouds"
        );
    }
}
