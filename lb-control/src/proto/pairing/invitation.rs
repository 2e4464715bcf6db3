//! Who may still join: an invitation is over after a time, and after one use.
//!
//! Wrong attempts are not counted. Nobody guesses a secret of 256 bits, and a count would let anybody
//! who can connect end the invitation.

use super::OneTimeSecret;
use std::time::{Duration, Instant};

/// How long it is open.
pub const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// An invitation, as whoever invites has it.
#[derive(Clone, Debug)]
pub struct Invitation {
    secret: OneTimeSecret,
    until: Instant,
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
}

impl Invitation {
    /// One that is open from now on.
    #[must_use]
    pub fn new(secret: OneTimeSecret, now: Instant) -> Self {
        Self {
            secret,
            until: now + LIFETIME,
        }
    }

    /// For how long it is open yet. `None`: it is over.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Somebody asks to join with this secret. Who may ends the invitation.
    ///
    /// # Errors
    ///
    /// If it is not the right one, or the invitation is over.
    pub fn accept(&mut self, secret: &OneTimeSecret, now: Instant) -> Result<(), Refusal> {
        if self.left(now).is_none() {
            return Err(Refusal::Expired);
        }
        if !self.secret.is(secret) {
            return Err(Refusal::Wrong);
        }
        self.until = now;
        Ok(())
    }
}
