//! Neighbour discovery over IPv6 (RFC 4861): as much of it as asks for an address.

use super::field;

/// The fixed part of a neighbour solicitation.
pub struct NeighbourSolicitation<'a>(pub &'a mut [u8; NeighbourSolicitation::LEN]);

impl NeighbourSolicitation<'_> {
    /// Bytes of the fixed part.
    pub const LEN: usize = 24;
    const TYPE: usize = 0;
    const CODE: usize = 1;
    const TARGET: usize = 8;

    const SOLICITATION: u8 = 135;

    /// Whether it is one, and no other message of ICMPv6.
    #[inline(always)]
    #[must_use]
    pub fn is_solicitation(&self) -> bool {
        self.0[Self::TYPE] == Self::SOLICITATION && self.0[Self::CODE] == 0
    }

    /// The address that is asked for.
    #[inline(always)]
    #[must_use]
    pub fn target(&self) -> [u8; 16] {
        field(self.0, Self::TARGET)
    }
}
