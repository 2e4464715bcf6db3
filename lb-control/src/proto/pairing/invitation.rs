//! Who may still join: an invitation is over after a time, after one use, and after some attempts
//! that were wrong.

use super::OneTimeSecret;
use std::time::{Duration, Instant};

/// How long it is open.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// After so many wrong attempts it is void.
pub const ATTEMPTS: u8 = 5;

/// An invitation, as whoever invites has it.
#[derive(Clone, Debug)]
pub struct Invitation {
    secret: OneTimeSecret,
    until: Instant,
    wrong: u8,
}

/// Somebody may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is too late.
    #[error("the invitation has expired: `lbctl pair init` there makes another")]
    Expired,
    /// The secret is another one.
    #[error("the token is not of the latest `lbctl pair init` there")]
    Wrong,
    /// There were too many wrong ones.
    #[error(
        "the invitation is void after {ATTEMPTS} wrong attempts: `lbctl pair init` there makes another"
    )]
    Void,
}

impl Invitation {
    /// One that is open from now on.
    #[must_use]
    pub fn new(secret: OneTimeSecret, now: Instant) -> Self {
        Self {
            secret,
            until: now + LIFETIME,
            wrong: 0,
        }
    }

    /// For how long it is open yet. `None`: it is over.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (self.wrong < ATTEMPTS && !left.is_zero()).then_some(left)
    }

    /// Somebody asks to join with this secret. Who may ends the invitation.
    ///
    /// # Errors
    ///
    /// If it is not the right one, or the invitation is over.
    pub fn accept(&mut self, secret: &OneTimeSecret, now: Instant) -> Result<(), Refusal> {
        if self.wrong >= ATTEMPTS {
            return Err(Refusal::Void);
        }
        if self.left(now).is_none() {
            return Err(Refusal::Expired);
        }
        if self.secret.is(secret) {
            self.until = now;
            return Ok(());
        }
        self.wrong += 1;
        Err(Refusal::Wrong)
    }
}
