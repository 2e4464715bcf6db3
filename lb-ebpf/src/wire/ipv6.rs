//! IPv6 (RFC 8200).

use super::{field, set_field};

/// The header. Extension headers, if any, follow it.
pub struct Ipv6<'a>(pub &'a mut [u8; Ipv6::LEN]);

impl Ipv6<'_> {
    /// Bytes of the header.
    pub const LEN: usize = 40;
    const VERSION_CLASS: usize = 0;
    const PAYLOAD_LENGTH: usize = 4;
    const NEXT_HEADER: usize = 6;
    const HOP_LIMIT: usize = 7;
    const SOURCE: usize = 8;
    const DESTINATION: usize = 24;

    /// The version; 6 if this is IPv6.
    #[inline(always)]
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[Self::VERSION_CLASS] >> 4
    }

    /// The traffic class: how it is to be treated (DSCP), and congestion (ECN).
    #[inline(always)]
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (u16::from_be_bytes(field::<2>(self.0, Self::VERSION_CLASS)) >> 4) as u8
    }

    /// Bytes of what follows the header.
    #[inline(always)]
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::PAYLOAD_LENGTH))
    }

    /// What follows the header: a number of [`crate::abi::proto`].
    #[inline(always)]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[Self::NEXT_HEADER]
    }

    /// How many more hosts may forward the packet.
    #[inline(always)]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[Self::HOP_LIMIT]
    }

    /// Where the packet comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u8; 16] {
        field(self.0, Self::SOURCE)
    }

    /// Where the packet goes.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> [u8; 16] {
        field(self.0, Self::DESTINATION)
    }

    /// Gives the packet another source.
    #[inline(always)]
    pub fn set_source(&mut self, source: [u8; 16]) {
        set_field(self.0, Self::SOURCE, source);
    }

    /// Gives the packet another source, as a host that forwards it. The hop limit must not be 0.
    #[inline(always)]
    pub fn forward_from(&mut self, source: [u8; 16]) {
        self.set_source(source);
        self.decrement_hop_limit();
    }

    /// Gives the packet another destination, as a host that forwards it. The hop limit must not be 0.
    #[inline(always)]
    pub fn forward_to(&mut self, destination: [u8; 16]) {
        set_field(self.0, Self::DESTINATION, destination);
        self.decrement_hop_limit();
    }

    #[inline(always)]
    fn decrement_hop_limit(&mut self) {
        self.0[Self::HOP_LIMIT] = self.hop_limit().wrapping_sub(1);
    }
}

/// The beginning of an extension header, as long as the shortest one.
pub struct Extension<'a>(pub &'a mut [u8; Extension::LEN]);

impl Extension<'_> {
    /// Bytes of the beginning.
    pub const LEN: usize = 8;
    const NEXT_HEADER: usize = 0;
    const LENGTH: usize = 1;
    const FRAGMENT: usize = 2;
    const SEGMENTS_LEFT: usize = 3;

    /// The offset, in units of eight bytes: all but three bits.
    const OFFSET: u16 = 0xfff8;
    /// More fragments.
    const MORE: u16 = 0x0001;

    /// What follows it.
    #[inline(always)]
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0[Self::NEXT_HEADER]
    }

    /// Bytes of the whole header: 8 to 2048. Not of a fragment header, which is as long as the
    /// beginning, and has no such field.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        (self.0[Self::LENGTH] as usize + 1) * Self::LEN
    }

    /// Of a routing header: how many more hosts are to be visited before the last one.
    #[inline(always)]
    #[must_use]
    pub fn segments_left(&self) -> u8 {
        self.0[Self::SEGMENTS_LEFT]
    }

    /// Of a fragment header: whether the packet is really in parts (RFC 6946).
    #[inline(always)]
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment() & (Self::OFFSET | Self::MORE) != 0
    }

    /// Of a fragment header: whether this is not the first part.
    #[inline(always)]
    #[must_use]
    pub fn has_offset(&self) -> bool {
        self.fragment() & Self::OFFSET != 0
    }

    #[inline(always)]
    fn fragment(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::FRAGMENT))
    }
}
