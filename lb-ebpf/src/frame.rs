//! Access to the bytes of one Ethernet frame.

/// A frame that can be read and written in place.
///
/// The implementation checks bounds, so that nothing behind it can read or write outside of the
/// frame, in the kernel (where the verifier insists on it) or on the host.
pub trait Frame {
    /// The `N` bytes at `offset`, unless the frame is shorter than that.
    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// The length of the frame.
    fn len(&self) -> usize;

    /// An offset as it is. Nothing is known of it from here on but what it is: where ways through the
    /// code that lead to different offsets come together, the verifier would else follow what comes
    /// behind once for each.
    fn opaque(&self, offset: usize) -> usize {
        offset
    }

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Frame for [u8] {
    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.get_mut(offset..)?.first_chunk_mut()
    }

    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
}
