//! The two secrets. Neither can be printed.

use std::fmt;
use std::hint::black_box;

/// Shows that whoever asks was given the token.
#[derive(Clone)]
pub struct OneTimeSecret([u8; Self::LEN]);

impl OneTimeSecret {
    /// Bytes of it: nobody finds it by trying.
    pub const LEN: usize = 32;

    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Whether both are the same. Takes as long wherever they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        // Without the black box, a compiler may stop where the outcome is clear.
        pairs.fold(0, |sum, (a, b)| black_box(sum | (a ^ b))) == 0
    }

    pub(super) const fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret(..)")
    }
}

/// What both hosts of a pair make their keys from: [`crate::state::secret`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PairSecret(pub [u64; 2]);

impl fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairSecret(..)")
    }
}
