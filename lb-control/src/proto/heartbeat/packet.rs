//! Heartbeats on the wire, in UDP. The fields are those of RFC 5880, section 4.1, unless said
//! otherwise.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |    Version    |     State     |  Diagnostic   |  Detect Mult  |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |              Desired Min TX Interval, microseconds            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             Required Min RX Interval, microseconds            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  My Discriminator, 8 bytes                    |
//! |                  Your Discriminator, 8 bytes                  |
//! |                  Sequence, 8 bytes                            |
//! |                  Code, 16 bytes                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::key::{CODE_LEN, Ends, Key};
use super::timing::{Micros, Multiplier, Timing};
use std::fmt;

/// The UDP port, unless the configuration says otherwise.
pub const PORT: u16 = 4785;
/// The TTL or hop limit that is sent, and without which nothing is heeded: no router was passed
/// (RFC 5082, section 3; RFC 5881, section 5).
pub const HOPS: u8 = 255;
/// The DSCP and ECN byte of what is sent: network control, CS6 (RFC 4594, section 3.1).
pub const TRAFFIC_CLASS: u8 = 0xc0;
/// Bytes of a heartbeat.
pub const LEN: usize = MESSAGE_LEN + CODE_LEN;

const VERSION: u8 = 1;
const MESSAGE_LEN: usize = 36;

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender's state.
    pub state: State,
    /// Why the sender's session fell the last time.
    pub diagnostic: Diagnostic,
    /// What the sender wants.
    pub timing: Timing,
    /// Names the sender's session; never 0.
    pub my_discriminator: u64,
    /// The receiver's session as far as the sender knows it; 0 if it does not.
    pub your_discriminator: u64,
    /// Greater than that of every earlier packet of the sender's session (RFC 5880 has this in its
    /// authentication section: 4.3).
    pub sequence: u64,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// Not wanted now.
    AdminDown = 0,
    /// The peer is not heard, or does not hear us.
    Down = 1,
    /// The peer is heard, and not known to hear us.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// Its name in status and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "admin_down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }
}

/// Why a session fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Diagnostic {
    /// It never did.
    None,
    /// The other side was silent for too long.
    Expired,
    /// The other side said that it had fallen.
    NeighbourDown,
    /// Somebody wanted it so.
    AdminDown,
    /// The sender's daemon does not answer, and its lease has lapsed. Not in the RFC.
    Hung,
    /// Something that this version does not know.
    Other(u8),
}

impl Diagnostic {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Expired => 1,
            Self::NeighbourDown => 3,
            Self::AdminDown => 7,
            Self::Hung => 0x80,
            Self::Other(number) => number,
        }
    }

    /// What the number on the wire means.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Expired,
            3 => Self::NeighbourDown,
            7 => Self::AdminDown,
            0x80 => Self::Hung,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no reason"),
            Self::Expired => f.write_str("it did not hear us"),
            Self::NeighbourDown => f.write_str("we had said so"),
            Self::AdminDown => f.write_str("it was told to stop"),
            Self::Hung => f.write_str("its daemon does not answer"),
            Self::Other(number) => write!(f, "reason {number}"),
        }
    }
}

/// Why a packet is not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was forwarded, so it may come from anywhere.
    #[error("its TTL or hop limit is {hops} and not 255: it does not come from this link")]
    Hops {
        /// The TTL or hop limit that it arrived with.
        hops: u8,
    },
    /// Not as long as a heartbeat.
    #[error("it has {length} bytes, where a heartbeat has {LEN}")]
    Length {
        /// Bytes that there are.
        length: usize,
    },
    /// Another version of the protocol.
    #[error("it is a heartbeat of version {version}, and only version 1 is understood")]
    Version {
        /// The version that it gives.
        version: u8,
    },
    /// Not from the peer, or not for us, or damaged.
    #[error("its code is wrong: forged, or made with another key")]
    Forged,
    /// The peer says what nobody can mean.
    #[error("its {field} is {value}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// Not newer than the last one: repeated, overtaken, or recorded and sent again.
    #[error("it is number {sequence}, after number {heard}")]
    Old {
        /// Its number.
        sequence: u64,
        /// The greatest that was heard.
        heard: u64,
    },
}

impl Refusal {
    /// The names, in the order of [`Self::index`].
    pub const NAMES: [&'static str; 6] = ["hops", "length", "version", "forged", "value", "old"];

    /// Where its name and its counter are.
    #[must_use]
    pub const fn index(&self) -> usize {
        match self {
            Self::Hops { .. } => 0,
            Self::Length { .. } => 1,
            Self::Version { .. } => 2,
            Self::Forged => 3,
            Self::Value { .. } => 4,
            Self::Old { .. } => 5,
        }
    }
}

impl Packet {
    /// Reads the payload of a datagram that arrived with this TTL or hop limit.
    ///
    /// # Errors
    ///
    /// If it is anything but a sound heartbeat of somebody who has the key, from this link.
    pub fn decode(payload: &[u8], key: &Key, ends: Ends, hops: u8) -> Result<Self, Refusal> {
        if hops != HOPS {
            return Err(Refusal::Hops { hops });
        }
        let length = payload.len();
        // Another version may have another length, so it is named first.
        let version = *payload.first().ok_or(Refusal::Length { length })?;
        if version != VERSION {
            return Err(Refusal::Version { version });
        }
        let (message, code) = payload
            .split_first_chunk::<MESSAGE_LEN>()
            .ok_or(Refusal::Length { length })?;
        let code = code.try_into().map_err(|_| Refusal::Length { length })?;
        if !key.is_genuine(ends, message, code) {
            return Err(Refusal::Forged);
        }

        let [_, state, diagnostic, multiplier, fields @ ..] = *message;
        let mut fields = fields.as_slice();
        let wrong = |field, value| Refusal::Value { field, value };
        let mut micros = |field| {
            let value = u32::from_be_bytes(take(&mut fields).unwrap_or_default());
            Micros::new(value).ok_or(wrong(field, value))
        };
        let timing = Timing {
            desired_min_tx: micros("desired interval")?,
            required_min_rx: micros("required interval")?,
            multiplier: Multiplier::new(multiplier).ok_or(wrong("multiplier", 0))?,
        };
        let mut number = || u64::from_be_bytes(take(&mut fields).unwrap_or_default());
        let my_discriminator = number();
        if my_discriminator == 0 {
            return Err(wrong("discriminator", 0));
        }
        Ok(Self {
            state: State::ALL
                .into_iter()
                .find(|known| *known as u8 == state)
                .ok_or(wrong("state", u32::from(state)))?,
            diagnostic: Diagnostic::from_wire(diagnostic),
            timing,
            my_discriminator,
            your_discriminator: number(),
            sequence: number(),
        })
    }

    /// Writes the payload of a datagram, which is to be sent with TTL or hop limit [`HOPS`].
    #[must_use]
    pub fn encode(&self, key: &Key, ends: Ends) -> [u8; LEN] {
        let Timing {
            desired_min_tx,
            required_min_rx,
            multiplier,
        } = self.timing;
        let head = [
            VERSION,
            self.state as u8,
            self.diagnostic.to_wire(),
            multiplier.get(),
        ];
        let mut message = [0; MESSAGE_LEN];
        let fields = head
            .into_iter()
            .chain(desired_min_tx.get().to_be_bytes())
            .chain(required_min_rx.get().to_be_bytes())
            .chain(self.my_discriminator.to_be_bytes())
            .chain(self.your_discriminator.to_be_bytes())
            .chain(self.sequence.to_be_bytes());
        for (byte, field) in message.iter_mut().zip(fields) {
            *byte = field;
        }
        let code = key.code(ends, &message);
        let mut payload = [0; LEN];
        for (byte, written) in payload.iter_mut().zip(message.into_iter().chain(code)) {
            *byte = written;
        }
        payload
    }
}

/// The next `N` bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}
