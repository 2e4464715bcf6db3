//! TCP (RFC 9293).

use super::{field, set_field};
use crate::abi::Port;
use crate::checksum::{Checksum, Delta};

/// The beginning of a TCP or UDP header: all of it that the first fragment of a packet must have.
pub struct Ports<'a>(pub &'a mut [u8; Ports::LEN]);

impl Ports<'_> {
    /// Bytes of the ports.
    pub const LEN: usize = 4;

    /// The port the packet goes to.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Port {
        field::<2>(self.0, Tcp::DESTINATION)
    }
}

/// The fixed part of a TCP header. Options, if any, follow it.
pub struct Tcp<'a>(pub &'a mut [u8; Tcp::LEN]);

impl Tcp<'_> {
    /// Bytes of a header without options.
    pub const LEN: usize = 20;
    const SOURCE: usize = 0;
    const DESTINATION: usize = 2;
    const DATA_OFFSET: usize = 12;
    const FLAGS: usize = 13;
    const CHECKSUM: usize = 16;

    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// The port the segment comes from.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Port {
        field::<2>(self.0, Self::SOURCE)
    }

    /// The port the segment goes to.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Port {
        field::<2>(self.0, Self::DESTINATION)
    }

    /// Bytes of the header with its options: 0 to 60, correct from 20.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        (self.0[Self::DATA_OFFSET] >> 4) as usize * 4
    }

    /// Whether the segment opens a connection: SYN without ACK, and without RST or FIN, with which
    /// it would open none (RFC 9293, section 3.10.7.2).
    #[inline(always)]
    #[must_use]
    pub fn opens(&self) -> bool {
        self.0[Self::FLAGS] & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Gives the segment another source port. `delta` is what changed in the pseudo-header.
    #[inline(always)]
    pub fn set_source(&mut self, source: Port, delta: Delta) {
        let delta = delta.replace2(self.source(), source);
        set_field(self.0, Self::SOURCE, source);
        self.update_checksum(delta);
    }

    /// Gives the segment another destination port. `delta` is what changed in the pseudo-header.
    #[inline(always)]
    pub fn set_destination(&mut self, destination: Port, delta: Delta) {
        let delta = delta.replace2(self.destination(), destination);
        set_field(self.0, Self::DESTINATION, destination);
        self.update_checksum(delta);
    }

    #[inline(always)]
    fn update_checksum(&mut self, delta: Delta) {
        let Checksum(value) = Checksum(field::<2>(self.0, Self::CHECKSUM)).update(delta);
        set_field(self.0, Self::CHECKSUM, value);
    }
}
