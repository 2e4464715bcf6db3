//! The byte pattern of `/stream`.

/// The byte at `offset` of a `/stream` response: `(offset * 31 + 7)` modulo 256.
///
/// A client can check each byte of a transfer from its offset alone, without having a copy.
pub(super) fn byte_at(offset: u64) -> u8 {
    // The low byte of a product depends only on the low bytes of its factors.
    (offset as u8).wrapping_mul(31).wrapping_add(7)
}

/// `length` bytes of the pattern, from `offset`.
pub(super) fn chunk(offset: u64, length: usize) -> Vec<u8> {
    (offset..).take(length).map(byte_at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_follows_the_formula_at_large_offsets() {
        for offset in [0u64, 1, 8, 255, 256, 65_537, 1 << 40] {
            assert_eq!(u64::from(byte_at(offset)), (offset * 31 + 7) & 0xff);
        }
    }

    #[test]
    fn chunks_join_without_a_seam() {
        let whole = chunk(0, 1000);
        assert_eq!([chunk(0, 300), chunk(300, 700)].concat(), whole);
    }
}
