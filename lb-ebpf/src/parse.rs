//! What a frame carries, as far as its treatment depends on it.

use crate::abi::{Addr, Family, Feature, Features, Port, proto};
use crate::frame::Frame;
use crate::reason::Reason;
use crate::wire::{Ethernet, Extension, Ipv4, Ipv6, Ports, Tag, Tcp, Udp, ethertype};

/// How many tags of virtual networks a frame may have: a provider's, and its customer's.
const TAGS: usize = 2;

/// How many extension headers are walked past. Packets of hosts have one, if any; with more than
/// this, what they carry is not found.
const EXTENSIONS: usize = 6;

/// An IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The version of IP.
    pub family: Family,
    /// Where the IP header begins in the frame: behind Ethernet and the tags of virtual networks.
    pub l3: usize,
    /// Where what the packet carries begins in the frame.
    pub l4: usize,
    /// Where the packet comes from.
    pub source: Addr,
    /// Where it goes.
    pub destination: Addr,
    /// What it carries: a number of [`proto`].
    pub proto: u8,
    /// Whether that is all of it.
    pub part: Part,
    /// Bytes of the IP packet, header included.
    pub bytes: u16,
    /// How many more hosts may forward it.
    pub ttl: u8,
    /// Type of service, or traffic class: DSCP and ECN.
    pub tos: u8,
}

/// Of a packet that may have been fragmented, what this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: the one with the ports.
    First,
    /// Another fragment.
    Later,
}

/// A TCP segment or a UDP datagram in an IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The IP packet.
    pub ip: Network,
    /// The port it comes from.
    pub source_port: Port,
    /// The port it goes to.
    pub destination_port: Port,
    /// What it means for its connection.
    pub kind: Kind,
}

/// What a packet means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens it: SYN without ACK, RST or FIN.
    Open,
    /// Belongs to it, or claims to: only the two ends can tell. So its end means nothing here: a
    /// RST or FIN is made up as easily as it is sent. Of a datagram there is no more to say.
    Data,
}

/// Finds the TCP segment or UDP datagram in a frame, or says why there is none to balance.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &mut F, features: Features) -> Result<Packet, Reason> {
    let ip = network(frame, features)?;
    transport(frame, &ip, features)
}

/// Finds the IP packet in a frame.
#[inline(always)]
pub fn network<F: Frame + ?Sized>(frame: &mut F, features: Features) -> Result<Network, Reason> {
    let is_group = Ethernet(frame.bytes(0).ok_or(Reason::Runt)?).is_group();
    let (l3, kind) = link(frame).ok_or(Reason::Runt)?;
    let is_ipv6 = kind == ethertype::IPV6 && features.has(Feature::Ipv6);
    if kind != ethertype::IPV4 && !is_ipv6 {
        return Err(Reason::NotIp);
    }
    if is_group {
        return Err(Reason::NotOurs);
    }
    let l3 = frame.opaque(l3);
    if is_ipv6 {
        ipv6(frame, l3)
    } else {
        ipv4(frame, l3)
    }
}

/// What a frame carries behind the tags of virtual networks: where it begins, and its EtherType.
/// `None` if the frame is too short for what it claims to begin with.
#[inline(always)]
pub fn link<F: Frame + ?Sized>(frame: &mut F) -> Option<(usize, u16)> {
    let mut offset = Ethernet::LEN;
    let mut kind = Ethernet(frame.bytes(0)?).ethertype();
    for _ in 0..TAGS {
        if !Tag::follows(kind) {
            break;
        }
        kind = Tag(frame.bytes(offset)?).ethertype();
        offset += Tag::LEN;
    }
    Some((offset, kind))
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &mut F, l3: usize) -> Result<Network, Reason> {
    let frame_len = frame.len();
    let ip = Ipv4(frame.bytes(l3).ok_or(Reason::BadIpv4)?);
    let (header_len, bytes) = (ip.header_len(), ip.total_len());
    if ip.version() != 4
        || header_len < Ipv4::LEN
        || (bytes as usize) < header_len
        || l3 + bytes as usize > frame_len
    {
        return Err(Reason::BadIpv4);
    }
    let part = match (ip.is_fragment(), ip.is_first_fragment()) {
        (false, _) => Part::Whole,
        (true, true) => Part::First,
        (true, false) => Part::Later,
    };
    Ok(Network {
        family: Family::V4,
        l3,
        l4: l3 + header_len,
        source: Addr::v4(ip.source()),
        destination: Addr::v4(ip.destination()),
        proto: ip.protocol(),
        part,
        bytes,
        ttl: ip.ttl(),
        tos: ip.type_of_service(),
    })
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized>(frame: &mut F, l3: usize) -> Result<Network, Reason> {
    let frame_len = frame.len();
    let ip = Ipv6(frame.bytes(l3).ok_or(Reason::BadIpv6)?);
    let bytes = Ipv6::LEN + ip.payload_len() as usize;
    let (source, destination) = (Addr::v6(ip.source()), Addr::v6(ip.destination()));
    // An IPv4-mapped address is nowhere (RFC 6890). Here it would be taken for one of IPv4.
    let is_mapped = source.family() == Family::V4 || destination.family() == Family::V4;
    if ip.version() != 6 || bytes > u16::MAX as usize || l3 + bytes > frame_len || is_mapped {
        return Err(Reason::BadIpv6);
    }
    let mut network = Network {
        family: Family::V6,
        l3,
        l4: l3 + Ipv6::LEN,
        source,
        destination,
        proto: ip.next_header(),
        part: Part::Whole,
        bytes: bytes as u16,
        ttl: ip.hop_limit(),
        tos: ip.traffic_class(),
    };
    for _ in 0..EXTENSIONS {
        if !walk(frame, &mut network)? {
            break;
        }
    }
    Ok(network)
}

/// Walks past an extension header. False if there is none, or none behind which to look.
#[inline(always)]
fn walk<F: Frame + ?Sized>(frame: &mut F, ip: &mut Network) -> Result<bool, Reason> {
    let is_fragment = ip.proto == proto::FRAGMENT;
    if !is_fragment
        && !matches!(
            ip.proto,
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION_OPTIONS
        )
    {
        return Ok(false);
    }
    let header = Extension(frame.bytes(ip.l4).ok_or(Reason::BadIpv6)?);
    if ip.proto == proto::ROUTING && header.segments_left() != 0 {
        // It is on its way to somebody else, by this host.
        return Ok(false);
    }
    let header_len = if is_fragment {
        Extension::LEN
    } else {
        header.header_len()
    };
    let l4 = ip.l4 + header_len;
    if l4 > ip.l3 + ip.bytes as usize {
        return Err(Reason::BadIpv6);
    }
    if is_fragment && header.is_fragment() {
        ip.part = if header.has_offset() {
            Part::Later
        } else {
            Part::First
        };
    }
    ip.proto = header.next_header();
    ip.l4 = frame.opaque(l4);
    Ok(ip.part != Part::Later)
}

/// Finds the TCP segment or UDP datagram in an IP packet.
#[inline(always)]
pub fn transport<F: Frame + ?Sized>(
    frame: &mut F,
    ip: &Network,
    features: Features,
) -> Result<Packet, Reason> {
    let is_udp = ip.proto == proto::UDP && features.has(Feature::Udp);
    if ip.proto != proto::TCP && !is_udp {
        return Err(Reason::OtherProtocol);
    }
    if ip.part != Part::Whole {
        return Err(Reason::Fragment);
    }
    if is_udp {
        udp(frame, ip)
    } else {
        tcp(frame, ip)
    }
}

#[inline(always)]
fn tcp<F: Frame + ?Sized>(frame: &mut F, ip: &Network) -> Result<Packet, Reason> {
    let tcp = Tcp(frame.bytes(ip.l4).ok_or(Reason::BadTcp)?);
    if tcp.header_len() < Tcp::LEN || !ip.carries(tcp.header_len()) {
        return Err(Reason::BadTcp);
    }
    Ok(Packet {
        ip: *ip,
        source_port: tcp.source(),
        destination_port: tcp.destination(),
        kind: if tcp.opens() { Kind::Open } else { Kind::Data },
    })
}

#[inline(always)]
fn udp<F: Frame + ?Sized>(frame: &mut F, ip: &Network) -> Result<Packet, Reason> {
    let udp = Udp(frame.bytes(ip.l4).ok_or(Reason::BadUdp)?);
    let len = udp.len() as usize;
    // Over IPv6 there is no datagram without a checksum (RFC 8200, section 8.1).
    let lacks_checksum = ip.family == Family::V6 && !udp.has_checksum();
    if len < Udp::LEN || !ip.carries(len) || lacks_checksum {
        return Err(Reason::BadUdp);
    }
    Ok(Packet {
        ip: *ip,
        source_port: udp.source(),
        destination_port: udp.destination(),
        kind: Kind::Data,
    })
}

/// The port that the first fragment of a packet goes to. `None` for any other fragment, and for one
/// without ports, of which no host makes a packet.
#[inline(always)]
pub fn first_fragment<F: Frame + ?Sized>(frame: &mut F, ip: &Network) -> Option<Port> {
    if ip.part != Part::First || !ip.carries(Ports::LEN) {
        return None;
    }
    Some(Ports(frame.bytes(ip.l4)?).destination())
}

impl Network {
    /// Whether there are so many bytes behind the headers of IP.
    #[inline(always)]
    const fn carries(&self, bytes: usize) -> bool {
        self.l4 + bytes <= self.l3 + self.bytes as usize
    }
}

#[cfg(test)]
mod tests;
