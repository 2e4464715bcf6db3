//! A packet in the kernel's memory.

use aya_ebpf::bindings::xdp_md;
use core::sync::atomic::AtomicU64;
use lb_ebpf::frame::Frame;

/// More than the longest offset that is ever asked for: Ethernet with tags, IPv6, and the longest
/// extension headers. Known to the verifier by the mask, so that a variable offset is provably small.
const MAX_OFFSET: usize = 0x3fff;

/// Nobody writes it, but the verifier does not know: unlike what is set at load, it is in a map that
/// could be written at any time.
#[unsafe(no_mangle)]
static ZERO: AtomicU64 = AtomicU64::new(0);

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

    #[inline(always)]
    fn opaque(&self, offset: usize) -> usize {
        // SAFETY: the pointer is to an aligned word that lives as long as the program.
        offset + unsafe { ZERO.as_ptr().read_volatile() } as usize
    }
}
