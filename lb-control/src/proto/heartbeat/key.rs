//! Who a heartbeat is from: a keyed code over it and the addresses that it travels between.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::net::IpAddr;

/// Bytes of the code: HMAC-SHA-256 (RFC 2104), the left half (section 5), which nobody finds by
/// trying.
pub(super) const CODE_LEN: usize = 16;

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
pub struct Key {
    mac: Hmac<Sha256>,
}

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
        // A key longer than a block would be hashed; the two steps make any length do.
        let mut block = [0; 64];
        let mut derive = Hmac::<Sha256>::new(&block.into());
        derive.update(PURPOSE);
        derive.update(secret);
        for (byte, derived) in block.iter_mut().zip(derive.finalize().into_bytes()) {
            *byte = derived;
        }
        Self {
            mac: Hmac::new(&block.into()),
        }
    }

    /// A key that everybody knows, for a pair without a secret: whoever can send to the hosts from
    /// their link can forge heartbeats.
    #[must_use]
    pub fn unprotected() -> Self {
        Self::from_secret(b"")
    }

    pub(super) fn code(&self, ends: Ends, message: &[u8]) -> [u8; CODE_LEN] {
        let whole: [u8; 32] = self.over(ends, message).finalize().into_bytes().into();
        let mut code = [0; CODE_LEN];
        for (byte, whole) in code.iter_mut().zip(whole) {
            *byte = whole;
        }
        code
    }

    /// In constant time, so that nobody learns how much of a guess was right.
    pub(super) fn is_genuine(&self, ends: Ends, message: &[u8], code: &[u8; CODE_LEN]) -> bool {
        self.over(ends, message).verify_truncated_left(code).is_ok()
    }

    fn over(&self, ends: Ends, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for address in [ends.source, ends.destination] {
            match address {
                IpAddr::V4(address) => {
                    mac.update(&[4]);
                    mac.update(&address.octets());
                }
                IpAddr::V6(address) => {
                    mac.update(&[6]);
                    mac.update(&address.octets());
                }
            }
        }
        mac.update(message);
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}
