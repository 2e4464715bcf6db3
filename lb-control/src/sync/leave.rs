//! Whether a host may begin to lead, as far as the other one of the pair is concerned.
//!
//! One that has not all that the leader has would break connections. It is better than none,
//! though. So it waits while somebody leads, and while the other host lives, which would lead if
//! this one did not claim to; and no longer once nobody does.

use std::time::{Duration, Instant};

/// For how long a standby that was synchronised counts as such after the channel broke: until then
/// it is known whether the other host lives.
pub const GRACE: Duration = Duration::from_secs(1);

/// For how long a host that was started looks for the other one before it believes to be alone.
pub const SEARCH: Duration = Duration::from_secs(1);

/// What is remembered of the other host for that.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    began: Instant,
    synchronised: Option<Instant>,
}

/// How things are with who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// This host leads already.
    pub leads: bool,
    /// Nobody leads, and this host would, had it leave.
    pub only_lacks_leave: bool,
    /// Another host advertises that it leads.
    pub hears_leader: bool,
    /// Heartbeats of the other host arrive.
    pub peer_lives: bool,
}

impl Leave {
    /// The other host is looked for from now on.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            began: now,
            synchronised: None,
        }
    }

    /// The channel broke, and this host, which stands by, had all that the leader has until now.
    pub const fn broke_synchronised(&mut self, now: Instant) {
        self.synchronised = Some(now);
    }

    /// This host leads. From now on its tables are its own, and those of another leader are others.
    pub const fn led(&mut self) {
        self.synchronised = None;
    }

    /// Whether the other host was looked for long enough.
    #[must_use]
    pub fn has_searched(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) > SEARCH
    }

    /// Whether this host may lead, or why not, if this is how it stands with what the other has: see
    /// [`super::Session::is_synchronised`].
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn to_lead(
        &self,
        now: Instant,
        synchronised: Result<(), String>,
        situation: Situation,
    ) -> Result<(), String> {
        let Situation {
            leads,
            only_lacks_leave,
            hears_leader,
            peer_lives,
        } = situation;
        let fresh = |at| now.saturating_duration_since(at) < GRACE;
        if leads || only_lacks_leave || self.synchronised.is_some_and(fresh) {
            return Ok(());
        }
        let alone = !peer_lives && !hears_leader && self.has_searched(now);
        match synchronised {
            Err(reason) if !alone => Err(format!("it is not synchronised: {reason}")),
            _ => Ok(()),
        }
    }
}
