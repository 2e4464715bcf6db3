//! A packet in the kernel's memory.

use aya_ebpf::bindings::xdp_md;
use lb_ebpf::frame::Frame;

/// The longest offset that is ever asked for: Ethernet, the largest IPv4 header, and a margin.
/// Known to the verifier by the mask, so that a variable offset is provably small.
const MAX_OFFSET: usize = 0x7f;

/// The frame that the program was called for.
pub(crate) struct XdpFrame {
    context: *mut xdp_md,
}

impl XdpFrame {
    /// # Safety
    ///
    /// `context` must be what the kernel passed to the program.
    pub(crate) const unsafe fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    fn data(&self) -> usize {
        // SAFETY: `context` is the kernel's; see `new`.
        unsafe { (*self.context).data as usize }
    }

    fn data_end(&self) -> usize {
        // SAFETY: `context` is the kernel's; see `new`.
        unsafe { (*self.context).data_end as usize }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        let start = self.data() + (offset & MAX_OFFSET);
        if start + N > self.data_end() {
            return None;
        }
        // SAFETY: `start` to `start + N` was just shown to be inside of the packet, which lives as
        // long as the program runs; `&mut self` keeps the views from overlapping in time.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.data_end() - self.data()
    }
}
