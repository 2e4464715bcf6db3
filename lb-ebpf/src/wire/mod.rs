//! Views of protocol headers: the only home of offsets.
//!
//! A view borrows the bytes of a header of fixed length. Values come out as they are on the wire,
//! or as numbers where they are counted with.

mod arp;
mod ethernet;
mod ipv4;
mod tcp;

pub use arp::Arp;
pub use ethernet::{Ethernet, ethertype};
pub use ipv4::Ipv4;
pub use tcp::{Ports, Tcp};

/// The `N` bytes at `offset`. Offsets are constants inside of the header: nothing is left to check
/// once this is inlined.
#[inline(always)]
pub(crate) fn field<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    core::array::from_fn(|i| header[offset + i])
}

/// Writes `value` at `offset`.
#[inline(always)]
pub(crate) fn set_field<const N: usize>(header: &mut [u8], offset: usize, value: [u8; N]) {
    header[offset..offset + N].copy_from_slice(&value);
}
