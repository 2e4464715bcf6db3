//! What changes in a packet on its way through: addresses, ports, checksums, time to live.
//!
//! Each function returns `None`, having changed nothing, if the frame is shorter than
//! [`crate::parse`] found it; that cannot happen, but the verifier does not know.

use crate::abi::{Addr4, Backend, Mac, Port};
use crate::checksum::Delta;
use crate::frame::Frame;
use crate::parse::Segment;
use crate::wire::{Ethernet, Ipv4, Tcp};

/// Sends a client's segment to a backend: destination NAT.
#[inline(always)]
pub fn to_backend<F: Frame + ?Sized>(
    frame: &mut F,
    segment: &Segment,
    backend: &Backend,
) -> Option<()> {
    let delta = Delta::NONE.replace4(segment.destination, backend.addr);
    Tcp(frame.bytes(segment.tcp_offset)?).set_destination(backend.port, delta);
    Ipv4(frame.bytes(Ethernet::LEN)?).forward_to(backend.addr);
    Ethernet(frame.bytes(0)?).set_addresses(backend.next_hop, backend.source);
    Some(())
}

/// Sends a backend's segment to its client, as the service the client knows: source NAT.
#[inline(always)]
pub fn to_client<F: Frame + ?Sized>(
    frame: &mut F,
    segment: &Segment,
    (vip, port): (Addr4, Port),
    (next_hop, source): (Mac, Mac),
) -> Option<()> {
    let delta = Delta::NONE.replace4(segment.source, vip);
    Tcp(frame.bytes(segment.tcp_offset)?).set_source(port, delta);
    Ipv4(frame.bytes(Ethernet::LEN)?).forward_from(vip);
    Ethernet(frame.bytes(0)?).set_addresses(next_hop, source);
    Some(())
}

/// Like [`to_client`], but leaves it to the stack to forward the packet.
#[inline(always)]
pub fn to_client_by_stack<F: Frame + ?Sized>(
    frame: &mut F,
    segment: &Segment,
    (vip, port): (Addr4, Port),
) -> Option<()> {
    let delta = Delta::NONE.replace4(segment.source, vip);
    Tcp(frame.bytes(segment.tcp_offset)?).set_source(port, delta);
    Ipv4(frame.bytes(Ethernet::LEN)?).set_source(vip);
    Some(())
}

#[cfg(test)]
mod tests;
