//! One session: this host and the peer over one link (RFC 5880, section 6.2).
//!
//! ```text
//!                              +--+
//!                              |  | Up, AdminDown
//!                              |  V
//!                      Down  +------+  Init
//!               +------------|      |------------+
//!               |            | Down |            |
//!               |  +-------->|      |<--------+  |
//!               |  |         +------+         |  |
//!               |  | AdminDown,   AdminDown,  |  |
//!               |  | silence      Down,       |  |
//!               |  |              silence     |  |
//!               V  |                          |  V
//!             +------+                      +------+
//!        +----|      |                      |      |----+
//!    Down|    | Init |--------------------->|  Up  |    |Init, Up
//!        +--->|      |       Init, Up       |      |<---+
//!             +------+                      +------+
//! ```
//!
//! | event | AdminDown | Down | Init | Up |
//! |---|---|---|---|---|
//! | heard: AdminDown | – | – | Down | Down |
//! | heard: Down | – | Init | – | Down |
//! | heard: Init | – | Up | Up | – |
//! | heard: Up | – | – | Up | – |
//! | heard: another session of the peer | – | Down | Down | Down |
//! | heard: what does not quote our session | – | answer at once; quote it, unless the peer's is known | answer at once | answer at once |
//! | silence for the detection time | – | – | Down | Down |
//! | disabled | – | AdminDown | AdminDown | AdminDown |
//! | enabled | Down | – | – | – |
//!
//! Whenever a session becomes Down, it takes another discriminator, and the peer's is to be learned
//! anew: what either side sent before is history.

use super::packet::{Diagnostic, Packet, Refusal, State};
use super::timing::Timing;
use std::fmt;
use std::time::{Duration, Instant};

/// The peer can be heard and hears us, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session is up.
    Up,
    /// It was up, and fell.
    Down(LostReason),
}

/// Why a session fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// Nothing was heard for the detection time.
    Silent,
    /// The peer began anew, and had not said farewell.
    Restarted,
    /// The peer said that its session fell, and why.
    PeerDown(Diagnostic),
    /// It was disabled here.
    Disabled(Diagnostic),
}

impl LostReason {
    /// Whether the peer acts as owner no longer, so that this host may: its lease has lapsed by
    /// now, or it has given it up. Where it lives and merely does not hear us, or where it is we
    /// who are not to be counted on, that is not so.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        match self {
            Self::Silent | Self::PeerDown(Diagnostic::AdminDown | Diagnostic::Hung) => true,
            Self::Restarted | Self::PeerDown(_) | Self::Disabled(_) => false,
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("nothing was heard of it"),
            Self::Restarted => f.write_str("it began anew"),
            Self::PeerDown(why) => write!(f, "it said that the link is down: {why}"),
            Self::Disabled(why) => write!(f, "this host said so: {why}"),
        }
    }
}

/// What a session has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Heartbeats sent.
    pub sent: u64,
    /// Heartbeats heard that quoted our session.
    pub heard: u64,
    /// Genuine ones that did not: at the beginning of a session, or recorded.
    pub unproven: u64,
    /// How often the session came up.
    pub ups: u64,
    /// Packets that were not heeded, in the order of [`Refusal::NAMES`].
    pub refused: [u64; Refusal::NAMES.len()],
}

/// One session. It is Down, and wants to be up.
///
/// Call [`Self::on_timeout`] and then [`Self::transmit`] when [`Self::deadline`] has passed, and
/// [`Self::transmit`] after each packet.
#[derive(Clone, Debug)]
pub struct Session {
    timing: Timing,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    local: u64,
    remote: Option<Remote>,
    /// What to quote while the peer's session is not known: the last that was heard of.
    candidate: u64,
    sequence: u64,
    next_transmit: Instant,
    jitter: u64,
    counters: Counters,
}

/// The peer's session, which quoted ours.
#[derive(Clone, Copy, Debug)]
struct Remote {
    discriminator: u64,
    sequence: u64,
    timing: Timing,
    heard: Instant,
}

impl Session {
    /// `seed` is a random number: the discriminators follow from it, and must never come again with
    /// the same key.
    #[must_use]
    pub fn new(timing: Timing, now: Instant, seed: u64) -> Self {
        Self {
            timing,
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::None,
            local: seed.max(1),
            remote: None,
            candidate: 0,
            sequence: 0,
            next_transmit: now,
            jitter: seed,
            counters: Counters::default(),
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Why it fell the last time.
    #[must_use]
    pub const fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// Our discriminator: the number of this session.
    #[must_use]
    pub const fn discriminator(&self) -> u64 {
        self.local
    }

    /// The peer's, which is not an earlier one of it, while the session is up.
    #[must_use]
    pub fn proven(&self) -> Option<u64> {
        let remote = self.remote.filter(|_| self.state == State::Up)?;
        Some(remote.discriminator)
    }

    /// What the peer wants, if it is heard.
    #[must_use]
    pub fn peer_timing(&self) -> Option<Timing> {
        self.remote.map(|remote| remote.timing)
    }

    /// After how long a silence the peer is lost, if it is heard (RFC 5880, section 6.8.4).
    #[must_use]
    pub fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote?;
        Some(remote.timing.detection_by(&self.timing))
    }

    /// What it has done.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn count_refused(&mut self, refusal: &Refusal) {
        if let Some(count) = self.counters.refused.get_mut(refusal.index()) {
            *count += 1;
        }
    }

    /// When something is due.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let expires = self.expires();
        expires.map_or(self.next_transmit, |at| at.min(self.next_transmit))
    }

    /// When the peer is lost, if nothing is heard until then.
    fn expires(&self) -> Option<Instant> {
        if !matches!(self.state, State::Init | State::Up) {
            return None;
        }
        Some(self.remote?.heard + self.detection_time()?)
    }

    /// Hears a heartbeat (RFC 5880, section 6.8.6).
    ///
    /// # Errors
    ///
    /// If it is not newer than the last one.
    pub fn on_packet(&mut self, now: Instant, packet: &Packet) -> Result<Option<Change>, Refusal> {
        if self.state == State::AdminDown {
            return Ok(None);
        }
        if packet.your_discriminator != self.local {
            self.counters.unproven += 1;
            // Answered at once, and each one: recordings, however many, do not keep what the living
            // peer says from being quoted, and one that began anew learns what to quote. The peer's
            // own answer to that is proof.
            self.next_transmit = now;
            if self.remote.is_none() {
                self.candidate = packet.my_discriminator;
            }
            return Ok(None);
        }
        if let Some(remote) = self.remote {
            if remote.discriminator != packet.my_discriminator {
                self.counters.heard += 1;
                self.candidate = packet.my_discriminator;
                return Ok(self.fall(now, beginning_anew(packet)));
            }
            if packet.sequence <= remote.sequence {
                return Err(Refusal::Old {
                    sequence: packet.sequence,
                    heard: remote.sequence,
                });
            }
        }
        self.counters.heard += 1;
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            sequence: packet.sequence,
            timing: packet.timing,
            heard: now,
        });
        self.bring_forward(now);
        Ok(match (self.state, packet.state) {
            (State::Down, State::Down) => {
                self.enter(now, State::Init);
                None
            }
            (State::Down | State::Init, State::Init) | (State::Init, State::Up) => {
                self.enter(now, State::Up);
                self.counters.ups += 1;
                Some(Change::Up)
            }
            (State::Init, State::AdminDown) | (State::Up, State::AdminDown | State::Down) => {
                self.candidate = packet.my_discriminator;
                self.fall(now, LostReason::PeerDown(packet.diagnostic))
            }
            (State::AdminDown, _)
            | (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => None,
        })
    }

    /// A peer that wants packets less often than before is served so at once; one that wants them
    /// more often does not wait for what was planned before.
    fn bring_forward(&mut self, now: Instant) {
        self.next_transmit = self.next_transmit.min(now + self.interval());
    }

    /// Sees whether the peer was silent for too long. To be called after what has arrived was heard:
    /// whoever slept for long has not listened.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Change> {
        if self.expires().is_none_or(|expires| now < expires) {
            return None;
        }
        self.fall(now, LostReason::Silent)
    }

    /// Tells the peer that this host is not to be counted on, and heeds it no more (RFC 5880, section
    /// 6.8.16). Goes on telling it.
    pub fn disable(&mut self, now: Instant, diagnostic: Diagnostic) -> Option<Change> {
        if self.state == State::AdminDown {
            return None;
        }
        let was_up = self.state == State::Up;
        self.diagnostic = diagnostic;
        self.enter(now, State::AdminDown);
        was_up.then_some(Change::Down(LostReason::Disabled(diagnostic)))
    }

    /// Begins anew after [`Self::disable`].
    pub fn enable(&mut self, now: Instant) {
        if self.state == State::AdminDown {
            self.forget();
            self.enter(now, State::Down);
        }
    }

    /// The heartbeat that is due, if one is: a change of state is told at once (RFC 5880, section
    /// 6.8.7).
    pub fn transmit(&mut self, now: Instant) -> Option<Packet> {
        if now < self.next_transmit {
            return None;
        }
        // From now, not from when it was due: those that were missed are not made up for.
        self.next_transmit = now + self.jittered();
        self.sequence += 1;
        self.counters.sent += 1;
        let remote = self.remote;
        Some(Packet {
            state: self.state,
            diagnostic: self.diagnostic,
            timing: self.timing,
            my_discriminator: self.local,
            your_discriminator: remote.map_or(self.candidate, |remote| remote.discriminator),
            sequence: self.sequence,
        })
    }

    fn interval(&self) -> Duration {
        match self.remote {
            Some(remote) => self.timing.interval_to(&remote.timing),
            None => self.timing.desired_min_tx.duration(),
        }
    }

    /// 75 to 100 % of the interval; 90 % at most where a single missed heartbeat counts (RFC 5880,
    /// section 6.8.7).
    fn jittered(&mut self) -> Duration {
        // SplitMix64: it is to differ, not to be secret.
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.jitter ^ self.jitter >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let random = (z ^ z >> 27) >> 40;
        let most = if self.timing.multiplier.get() == 1 {
            90
        } else {
            100
        };
        let percent = 75 + u32::try_from(random).unwrap_or(0) % (most - 75 + 1);
        self.interval() * percent / 100
    }

    /// Becomes Down, for this reason.
    fn fall(&mut self, now: Instant, reason: LostReason) -> Option<Change> {
        let was_up = self.state == State::Up;
        self.diagnostic = match reason {
            LostReason::Silent => Diagnostic::Expired,
            LostReason::Restarted | LostReason::PeerDown(_) => Diagnostic::NeighbourDown,
            LostReason::Disabled(diagnostic) => diagnostic,
        };
        if let (LostReason::Silent, Some(remote)) = (reason, self.remote) {
            self.candidate = remote.discriminator;
        }
        self.forget();
        self.enter(now, State::Down);
        was_up.then_some(Change::Down(reason))
    }

    fn forget(&mut self) {
        self.local = self.local.wrapping_add(1).max(1);
        self.remote = None;
        self.sequence = 0;
    }

    fn enter(&mut self, now: Instant, state: State) {
        if self.state != state {
            self.since = now;
        }
        self.state = state;
        self.next_transmit = now;
    }
}

/// What the first packet of another session says about the end of the one before.
fn beginning_anew(packet: &Packet) -> LostReason {
    match packet.diagnostic {
        Diagnostic::None => LostReason::Restarted,
        diagnostic => LostReason::PeerDown(diagnostic),
    }
}
