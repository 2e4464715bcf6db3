//! What a frame carries, as far as its treatment depends on it.

use crate::abi::{Addr4, Port, proto};
use crate::frame::Frame;
use crate::reason::Reason;
use crate::wire::{Ethernet, Ipv4, Ports, Tcp, ethertype};

/// A TCP segment in an IPv4 packet in an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where the packet comes from.
    pub source: Addr4,
    /// Where it goes.
    pub destination: Addr4,
    /// The port it comes from.
    pub source_port: Port,
    /// The port it goes to.
    pub destination_port: Port,
    /// Where the TCP header begins in the frame.
    pub tcp_offset: usize,
    /// Bytes of the IP packet.
    pub bytes: u16,
    /// How many more hosts may forward it.
    pub ttl: u8,
    /// What it means for its connection.
    pub kind: SegmentKind,
}

/// What a segment means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Opens it: SYN without ACK, RST or FIN.
    Open,
    /// Belongs to it, or claims to: only the two ends can tell. So its end means nothing here: a
    /// RST or FIN is made up as easily as it is sent.
    Data,
}

/// Finds the TCP segment in a frame, or says why there is none to balance.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &mut F) -> Result<Segment, Reason> {
    let ethernet = Ethernet(frame.bytes(0).ok_or(Reason::Runt)?);
    if ethernet.ethertype() != ethertype::IPV4 {
        return Err(Reason::NotIpv4);
    }
    if ethernet.is_group() {
        return Err(Reason::NotOurs);
    }

    let frame_len = frame.len();
    let ip = Ipv4(frame.bytes(Ethernet::LEN).ok_or(Reason::BadIpv4)?);
    let (header_len, bytes) = (ip.header_len(), ip.total_len());
    if ip.version() != 4
        || header_len < Ipv4::LEN
        || (bytes as usize) < header_len
        || Ethernet::LEN + bytes as usize > frame_len
    {
        return Err(Reason::BadIpv4);
    }
    if ip.protocol() != proto::TCP {
        return Err(Reason::NotTcp);
    }
    if ip.is_fragment() {
        return Err(Reason::Fragment);
    }
    let (source, destination, ttl) = (ip.source(), ip.destination(), ip.ttl());

    let tcp_offset = Ethernet::LEN + header_len;
    let tcp = Tcp(frame.bytes(tcp_offset).ok_or(Reason::BadTcp)?);
    if tcp.header_len() < Tcp::LEN || header_len + tcp.header_len() > bytes as usize {
        return Err(Reason::BadTcp);
    }
    let kind = if tcp.opens() {
        SegmentKind::Open
    } else {
        SegmentKind::Data
    };
    Ok(Segment {
        source,
        destination,
        source_port: tcp.source(),
        destination_port: tcp.destination(),
        tcp_offset,
        bytes,
        ttl,
        kind,
    })
}

/// Where the first fragment of a segment goes, which [`parse`] refused as a [`Reason::Fragment`].
/// `None` for any other fragment, and for one without ports, of which no host makes a packet.
#[inline(always)]
pub fn first_fragment<F: Frame + ?Sized>(frame: &mut F) -> Option<(Addr4, Port)> {
    let ip = Ipv4(frame.bytes(Ethernet::LEN)?);
    let (destination, header_len) = (ip.destination(), ip.header_len());
    if !ip.is_first_fragment() || header_len + Ports::LEN > ip.total_len() as usize {
        return None;
    }
    let ports = Ports(frame.bytes(Ethernet::LEN + header_len)?);
    Some((destination, ports.destination()))
}

#[cfg(test)]
mod tests;
