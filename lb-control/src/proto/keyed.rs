//! Codes that show that a message is from the other host of a pair, and was sent from one address to
//! another.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::net::IpAddr;

/// Bytes of a code: HMAC-SHA-256 (RFC 2104), the left half (section 5), which nobody finds by trying.
pub(super) const CODE_LEN: usize = 16;

/// A key for one purpose.
#[derive(Clone)]
pub(super) struct Keyed {
    mac: Hmac<Sha256>,
}

impl Keyed {
    /// The key that follows for this purpose from a secret, which may serve others, too.
    pub(super) fn derive(purpose: &[u8], secret: &[u8]) -> Self {
        // A key longer than a block would be hashed; the two steps make any length do.
        let mut block = [0; 64];
        let mut derive = Hmac::<Sha256>::new(&block.into());
        derive.update(purpose);
        derive.update(secret);
        for (byte, derived) in block.iter_mut().zip(derive.finalize().into_bytes()) {
            *byte = derived;
        }
        Self {
            mac: Hmac::new(&block.into()),
        }
    }

    /// The code of a message between these addresses, source first.
    pub(super) fn code(&self, ends: [IpAddr; 2], message: &[&[u8]]) -> [u8; CODE_LEN] {
        let whole: [u8; 32] = self.over(ends, message).finalize().into_bytes().into();
        let mut code = [0; CODE_LEN];
        for (byte, whole) in code.iter_mut().zip(whole) {
            *byte = whole;
        }
        code
    }

    /// Whether it is that. In constant time, so that nobody learns how much of a guess was right.
    pub(super) fn is_genuine(
        &self,
        ends: [IpAddr; 2],
        message: &[&[u8]],
        code: &[u8; CODE_LEN],
    ) -> bool {
        self.over(ends, message).verify_truncated_left(code).is_ok()
    }

    fn over(&self, ends: [IpAddr; 2], message: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for address in ends {
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
        for part in message {
            mac.update(part);
        }
        mac
    }
}
