//! IPv4 (RFC 791).

use super::{field, set_field};
use crate::checksum::{Checksum, Delta};

/// The fixed part of an IPv4 header. Options, if any, follow it.
pub struct Ipv4<'a>(pub &'a mut [u8; Ipv4::LEN]);

impl Ipv4<'_> {
    /// Bytes of a header without options.
    pub const LEN: usize = 20;
    const VERSION_IHL: usize = 0;
    const TYPE_OF_SERVICE: usize = 1;
    const TOTAL_LENGTH: usize = 2;
    const FRAGMENT: usize = 6;
    const TTL: usize = 8;
    const PROTOCOL: usize = 9;
    const CHECKSUM: usize = 10;
    const SOURCE: usize = 12;
    const DESTINATION: usize = 16;

    /// More fragments, or a fragment offset: everything in that word but "don't fragment" and the
    /// reserved bit.
    const IS_FRAGMENT: u16 = 0x3fff;
    /// More fragments.
    const MORE: u16 = 0x2000;

    /// The version; 4 if this is IPv4.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[Self::VERSION_IHL] >> 4
    }

    /// Bytes of the header with its options: 0 to 60, correct from 20.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        (self.0[Self::VERSION_IHL] & 0x0f) as usize * 4
    }

    /// The type of service: how it is to be treated (DSCP), and congestion (ECN).
    #[inline(always)]
    #[must_use]
    pub fn type_of_service(&self) -> u8 {
        self.0[Self::TYPE_OF_SERVICE]
    }

    /// Bytes of the packet, header included.
    #[inline(always)]
    #[must_use]
    pub fn total_len(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::TOTAL_LENGTH))
    }

    /// Whether this is a part of a fragmented packet: the first one, too.
    #[inline(always)]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment() != 0
    }

    /// Whether this is the first part of a fragmented packet: the one with the ports.
    #[inline(always)]
    #[must_use]
    pub fn is_first_fragment(&self) -> bool {
        self.fragment() == Self::MORE
    }

    #[inline(always)]
    fn fragment(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::FRAGMENT)) & Self::IS_FRAGMENT
    }

    /// How many more hosts may forward the packet.
    #[inline(always)]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0[Self::TTL]
    }

    /// What the packet carries: a number of [`crate::abi::proto`].
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[Self::PROTOCOL]
    }

    /// The header's checksum.
    #[inline(always)]
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        Checksum(field::<2>(self.0, Self::CHECKSUM))
    }

    /// Where the packet comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u8; 4] {
        field(self.0, Self::SOURCE)
    }

    /// Where the packet goes.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> [u8; 4] {
        field(self.0, Self::DESTINATION)
    }

    /// Gives the packet another source. The checksum follows.
    #[inline(always)]
    pub fn set_source(&mut self, source: [u8; 4]) {
        let delta = self.replace(Delta::NONE, Self::SOURCE, source);
        self.update_checksum(delta);
    }

    /// Gives the packet another source, as a host that forwards it. The checksum follows.
    /// The time to live must not be 0.
    #[inline(always)]
    pub fn forward_from(&mut self, source: [u8; 4]) {
        let delta = self.decrement_ttl();
        let delta = self.replace(delta, Self::SOURCE, source);
        self.update_checksum(delta);
    }

    /// Gives the packet another destination, as a host that forwards it. The checksum follows.
    /// The time to live must not be 0.
    #[inline(always)]
    pub fn forward_to(&mut self, destination: [u8; 4]) {
        let delta = self.decrement_ttl();
        let delta = self.replace(delta, Self::DESTINATION, destination);
        self.update_checksum(delta);
    }

    /// Writes an address; adds to `delta` what that changes.
    #[inline(always)]
    fn replace(&mut self, delta: Delta, offset: usize, address: [u8; 4]) -> Delta {
        let old = field(self.0, offset);
        set_field(self.0, offset, address);
        delta.replace4(old, address)
    }

    #[inline(always)]
    fn decrement_ttl(&mut self) -> Delta {
        let old = field::<2>(self.0, Self::TTL);
        let new = [old[0].wrapping_sub(1), old[1]];
        set_field(self.0, Self::TTL, new);
        Delta::NONE.replace2(old, new)
    }

    #[inline(always)]
    fn update_checksum(&mut self, delta: Delta) {
        let Checksum(value) = self.checksum().update(delta);
        set_field(self.0, Self::CHECKSUM, value);
    }
}
