//! UDP (RFC 768).

use super::{field, set_field};
use crate::abi::Port;
use crate::checksum::{Checksum, Delta};

/// A UDP header.
pub struct Udp<'a>(pub &'a mut [u8; Udp::LEN]);

impl Udp<'_> {
    /// Bytes of the header.
    pub const LEN: usize = 8;
    const SOURCE: usize = 0;
    const DESTINATION: usize = 2;
    const LENGTH: usize = 4;
    const CHECKSUM: usize = 6;

    /// The port the datagram comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Port {
        field::<2>(self.0, Self::SOURCE)
    }

    /// The port the datagram goes to.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Port {
        field::<2>(self.0, Self::DESTINATION)
    }

    /// Bytes of the datagram, header included.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::LENGTH))
    }

    /// Whether the datagram claims to have no bytes at all, which is wrong: it has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the sender computed a checksum.
    #[inline(always)]
    #[must_use]
    pub fn has_checksum(&self) -> bool {
        field::<2>(self.0, Self::CHECKSUM) != [0; 2]
    }

    /// Gives the datagram another source port. `delta` is what changed in the pseudo-header.
    #[inline(always)]
    pub fn set_source(&mut self, source: Port, delta: Delta) {
        let delta = delta.replace2(self.source(), source);
        set_field(self.0, Self::SOURCE, source);
        self.update_checksum(delta);
    }

    /// Gives the datagram another destination port. `delta` is what changed in the pseudo-header.
    #[inline(always)]
    pub fn set_destination(&mut self, destination: Port, delta: Delta) {
        let delta = delta.replace2(self.destination(), destination);
        set_field(self.0, Self::DESTINATION, destination);
        self.update_checksum(delta);
    }

    /// Zero says that there is no checksum, and stays. A checksum that becomes zero is written as
    /// the other zero.
    #[inline(always)]
    fn update_checksum(&mut self, delta: Delta) {
        if !self.has_checksum() {
            return;
        }
        let Checksum(value) = Checksum(field::<2>(self.0, Self::CHECKSUM)).update(delta);
        let value = if value == [0; 2] { [0xff; 2] } else { value };
        set_field(self.0, Self::CHECKSUM, value);
    }
}
