//! Ethernet II.

use super::{field, set_field};
use crate::abi::Mac;

/// Values of the EtherType field.
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// The Address Resolution Protocol (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// A tag of a virtual network (IEEE 802.1Q), or of a customer's inside of a provider's.
    pub const VLAN: u16 = 0x8100;
    /// A tag of a provider's virtual network (IEEE 802.1ad).
    pub const PROVIDER_VLAN: u16 = 0x88a8;
}

/// An Ethernet header.
pub struct Ethernet<'a>(pub &'a mut [u8; Ethernet::LEN]);

impl Ethernet<'_> {
    /// Bytes of the header.
    pub const LEN: usize = 14;
    const DESTINATION: usize = 0;
    const SOURCE: usize = 6;
    const TYPE: usize = 12;

    /// What the frame carries.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::TYPE))
    }

    /// Whether the frame is for a group of hosts, or for all.
    #[inline(always)]
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.0[Self::DESTINATION] & 1 != 0
    }

    /// Addresses the frame.
    #[inline(always)]
    pub fn set_addresses(&mut self, destination: Mac, source: Mac) {
        set_field(self.0, Self::DESTINATION, destination);
        set_field(self.0, Self::SOURCE, source);
    }
}

/// The tag of a virtual network: it follows the addresses, and another EtherType follows it.
pub struct Tag<'a>(pub &'a mut [u8; Tag::LEN]);

impl Tag<'_> {
    /// Bytes of what lies between two EtherTypes, and of the second one.
    pub const LEN: usize = 4;
    const TYPE: usize = 2;

    /// Whether a tag follows such an EtherType.
    #[inline(always)]
    #[must_use]
    pub const fn follows(ethertype: u16) -> bool {
        matches!(ethertype, ethertype::VLAN | ethertype::PROVIDER_VLAN)
    }

    /// What the frame carries behind the tag.
    #[inline(always)]
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes(field::<2>(self.0, Self::TYPE))
    }
}
