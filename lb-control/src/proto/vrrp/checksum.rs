//! The Internet checksum (RFC 1071) of a whole message.

use super::packet::Ends;
use lb_ebpf::checksum::Checksum;

/// A one's complement sum of 16-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes. Only those that come last may be odd in number: they are taken with a zero
    /// after them.
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let (words, odd) = bytes.as_chunks();
        let sum: u64 = words.iter().copied().map(word).sum();
        let last = odd.first().map_or(0, |last| word([*last, 0]));
        Self(self.0 + sum + last)
    }

    /// Adds the pseudo-header of a message of `length` bytes (RFC 9293, section 3.1; RFC 8200,
    /// section 8.1). That of IPv6 has a wider length, which makes no difference to the sum.
    pub(super) fn add_pseudo_header(self, ends: Ends, protocol: u8, length: usize) -> Self {
        let addresses = match ends {
            Ends::V4 {
                source,
                destination,
            } => self.add(&source.octets()).add(&destination.octets()),
            Ends::V6 {
                source,
                destination,
            } => self.add(&source.octets()).add(&destination.octets()),
        };
        Self(addresses.0 + u64::from(protocol) + length as u64)
    }

    /// The value for the checksum field, if the sum was taken with zero in it.
    pub(super) fn checksum(self) -> Checksum {
        Checksum((!self.folded()).to_be_bytes())
    }

    /// Whether the message is as it was sent, if the sum was taken with its checksum in it.
    pub(super) fn is_intact(self) -> bool {
        self.folded() == 0xffff
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

fn word(bytes: [u8; 2]) -> u64 {
    u64::from(u16::from_be_bytes(bytes))
}
