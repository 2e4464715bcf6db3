//! Views of protocol headers: the only home of offsets.
//!
//! A view borrows the bytes of a header of fixed length. Values come out as they are on the wire,
//! or as numbers where they are counted with.

mod arp;
mod ethernet;
mod icmpv6;
mod ipv4;
mod ipv6;
mod tcp;
mod udp;

pub use arp::Arp;
pub use ethernet::{Ethernet, Tag, ethertype};
pub use icmpv6::NeighbourSolicitation;
pub use ipv4::Ipv4;
pub use ipv6::{Extension, Ipv6};
pub use tcp::{Ports, Tcp};
pub use udp::Udp;

/// The `N` bytes at `offset`. Offsets are constants inside of the header: nothing is left to check
/// once this is inlined.
#[inline(always)]
pub(crate) fn field<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&header[offset..offset + N]);
    value
}

/// Writes `value` at `offset`.
#[inline(always)]
pub(crate) fn set_field<const N: usize>(header: &mut [u8], offset: usize, value: [u8; N]) {
    header[offset..offset + N].copy_from_slice(&value);
}
