//! ARP (RFC 826), for IPv4 over Ethernet.

use super::{ethertype, field};

/// An ARP packet.
pub struct Arp<'a>(pub &'a mut [u8; Arp::LEN]);

impl Arp<'_> {
    /// Bytes of the packet.
    pub const LEN: usize = 28;
    const HARDWARE: usize = 0;
    const PROTOCOL: usize = 2;
    const HARDWARE_LEN: usize = 4;
    const PROTOCOL_LEN: usize = 5;
    const OPERATION: usize = 6;
    const TARGET: usize = 24;

    const ETHERNET: u16 = 1;
    const REQUEST: u16 = 1;

    /// Whether it asks for the hardware address of an IPv4 address, over Ethernet.
    #[inline(always)]
    #[must_use]
    pub fn is_request(&self) -> bool {
        let number = |offset| u16::from_be_bytes(field::<2>(self.0, offset));
        number(Self::HARDWARE) == Self::ETHERNET
            && number(Self::PROTOCOL) == ethertype::IPV4
            && self.0[Self::HARDWARE_LEN] == 6
            && self.0[Self::PROTOCOL_LEN] == 4
            && number(Self::OPERATION) == Self::REQUEST
    }

    /// The address that is asked for.
    #[inline(always)]
    #[must_use]
    pub fn target(&self) -> [u8; 4] {
        field(self.0, Self::TARGET)
    }
}
