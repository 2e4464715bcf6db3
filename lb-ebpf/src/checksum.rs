//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! One's complement sums do not care about byte order, so words are taken as they are in memory,
//! and sums are written back the same way.

use crate::abi::Addr;

/// The value of a checksum field: the complement of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum(pub [u8; 2]);

/// What changes in a checksummed range, as a sum: old words taken away, new ones added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing changes.
    pub const NONE: Self = Self(0);

    /// Four bytes change, at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn replace4(self, old: [u8; 4], new: [u8; 4]) -> Self {
        let (old, new) = (u32::from_ne_bytes(old), u32::from_ne_bytes(new));
        Self(self.0 + !old as u64 + new as u64)
    }

    /// An address of IPv6 changes, at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn replace16(self, old: Addr, new: Addr) -> Self {
        let ([old_high, old_low], [new_high, new_low]) = (old.words(), new.words());
        self.take(old_high).take(old_low).put(new_high).put(new_low)
    }

    #[inline(always)]
    const fn take(self, word: u64) -> Self {
        self.put(!word)
    }

    #[inline(always)]
    const fn put(self, word: u64) -> Self {
        Self(self.0 + (word & 0xffff_ffff) + (word >> 32))
    }

    /// Two bytes change, at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn replace2(self, old: [u8; 2], new: [u8; 2]) -> Self {
        let (old, new) = (u16::from_ne_bytes(old), u16::from_ne_bytes(new));
        Self(self.0 + !old as u64 + new as u64)
    }
}

impl Checksum {
    /// The checksum after `delta`: `~(~HC + ~m + m')`, equation 3 of RFC 1624, which never turns
    /// a correct checksum into the other representation of zero.
    #[inline(always)]
    #[must_use]
    pub const fn update(self, delta: Delta) -> Self {
        let sum = !u16::from_ne_bytes(self.0) as u64 + delta.0;
        Self((!fold(sum)).to_ne_bytes())
    }
}

/// Adds a sum's carries back in, down to 16 bits. Three times is enough for the few 32-bit words
/// that a [`Delta`] holds: 2³⁷ folds to 2²¹ + …, to 2¹⁶ + 32, to 16 bits.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests;
