//! What changes in a packet on its way through: addresses, ports, checksums, time to live.
//!
//! Each function returns `None`, having changed nothing, if the frame is shorter than
//! [`crate::parse`] found it; that cannot happen, but the verifier does not know.

use crate::abi::{Addr, Backend, Family, Mac, Port, proto};
use crate::checksum::Delta;
use crate::frame::Frame;
use crate::parse::{Network, Packet};
use crate::wire::{Ethernet, Ipv4, Ipv6, Tcp, Udp};

/// Sends a client's packet to a backend: destination NAT.
#[inline(always)]
pub fn to_backend<F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    backend: &Backend,
) -> Option<()> {
    let ip = &packet.ip;
    let delta = replaced(ip, ip.destination, backend.addr);
    if ip.proto == proto::UDP {
        Udp(frame.bytes(ip.l4)?).set_destination(backend.port, delta);
    } else {
        Tcp(frame.bytes(ip.l4)?).set_destination(backend.port, delta);
    }
    match ip.family {
        Family::V4 => Ipv4(frame.bytes(ip.l3)?).forward_to(backend.addr.octets_v4()),
        Family::V6 => Ipv6(frame.bytes(ip.l3)?).forward_to(backend.addr.octets()),
    }
    Ethernet(frame.bytes(0)?).set_addresses(backend.next_hop, backend.source);
    Some(())
}

/// Sends a backend's packet to its client, as the service the client knows: source NAT.
#[inline(always)]
pub fn to_client<F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    (vip, port): (Addr, Port),
    (next_hop, source): (Mac, Mac),
) -> Option<()> {
    let ip = &packet.ip;
    set_source_port(frame, packet, port, vip)?;
    match ip.family {
        Family::V4 => Ipv4(frame.bytes(ip.l3)?).forward_from(vip.octets_v4()),
        Family::V6 => Ipv6(frame.bytes(ip.l3)?).forward_from(vip.octets()),
    }
    Ethernet(frame.bytes(0)?).set_addresses(next_hop, source);
    Some(())
}

/// Like [`to_client`], but leaves it to the stack to forward the packet.
#[inline(always)]
pub fn to_client_by_stack<F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    (vip, port): (Addr, Port),
) -> Option<()> {
    let ip = &packet.ip;
    set_source_port(frame, packet, port, vip)?;
    match ip.family {
        Family::V4 => Ipv4(frame.bytes(ip.l3)?).set_source(vip.octets_v4()),
        Family::V6 => Ipv6(frame.bytes(ip.l3)?).set_source(vip.octets()),
    }
    Some(())
}

#[inline(always)]
fn set_source_port<F: Frame + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    port: Port,
    vip: Addr,
) -> Option<()> {
    let ip = &packet.ip;
    let delta = replaced(ip, ip.source, vip);
    if ip.proto == proto::UDP {
        Udp(frame.bytes(ip.l4)?).set_source(port, delta);
    } else {
        Tcp(frame.bytes(ip.l4)?).set_source(port, delta);
    }
    Some(())
}

/// What another address changes in the pseudo-header.
#[inline(always)]
fn replaced(ip: &Network, old: Addr, new: Addr) -> Delta {
    match ip.family {
        Family::V4 => Delta::NONE.replace4(old.octets_v4(), new.octets_v4()),
        Family::V6 => Delta::NONE.replace16(old, new),
    }
}

#[cfg(test)]
mod tests;
