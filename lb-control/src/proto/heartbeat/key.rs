//! Who a heartbeat is from: a keyed code over it and the addresses that it travels between.

pub(super) use crate::proto::keyed::CODE_LEN;

use crate::proto::keyed::Keyed;
use std::fmt;
use std::net::IpAddr;

/// Names the purpose, so that the secret may serve others, too.
const PURPOSE: &[u8] = b"headgate heartbeat 1";

/// The key that both hosts share.
///
/// It protects against heartbeats that are forged by somebody who does not have it, that are sent
/// back to whom they come from, and, with the discriminators and sequence numbers of a
/// [`Packet`](super::Packet), against recorded ones. It does not protect against somebody between
/// the hosts who holds heartbeats back: losing them ends a session, and delaying those that were
/// sent delays its end by as much.
#[derive(Clone)]
pub struct Key(Keyed);

/// The addresses that a heartbeat travels between. Ports are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The sender's.
    pub source: IpAddr,
    /// The receiver's.
    pub destination: IpAddr,
}

impl Ends {
    /// The way back.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

impl Key {
    /// The key that follows from a secret of both hosts, which should have 16 random bytes or more.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(Keyed::derive(PURPOSE, secret))
    }

    /// A key that everybody knows, for a pair without a secret: whoever can send to the hosts from
    /// their link can forge heartbeats.
    #[must_use]
    pub fn unprotected() -> Self {
        Self::from_secret(b"")
    }

    pub(super) fn code(&self, ends: Ends, message: &[u8]) -> [u8; CODE_LEN] {
        self.0.code([ends.source, ends.destination], &[message])
    }

    pub(super) fn is_genuine(&self, ends: Ends, message: &[u8], code: &[u8; CODE_LEN]) -> bool {
        let ends = [ends.source, ends.destination];
        self.0.is_genuine(ends, &[message], code)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
