//! A TCP segment or UDP datagram in an IP packet in an Ethernet frame, built field by field.
//! Checksums are computed from scratch, by other code than the one that is tested.

use std::net::IpAddr;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// Extension headers of IPv6.
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

const ETHERNET: usize = 14;
const TAG: usize = 4;

/// An address and a port.
pub(crate) type Endpoint = (IpAddr, u16);

/// An endpoint of IPv4.
pub(crate) const fn v4(address: [u8; 4], port: u16) -> Endpoint {
    let [a, b, c, d] = address;
    (IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)), port)
}

/// An endpoint of IPv6.
pub(crate) const fn v6(address: [u16; 8], port: u16) -> Endpoint {
    let [a, b, c, d, e, f, g, h] = address;
    let address = std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h);
    (IpAddr::V6(address), port)
}

/// Start from [`Packet::new`] and change what matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Hardware addresses: to, from.
    pub(crate) macs: ([u8; 6], [u8; 6]),
    /// Tags of virtual networks: their types, and what they say.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) ethertype: u16,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Of IPv4.
    pub(crate) id: u16,
    /// Flags and offset of IPv4.
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    /// Of IPv4: a multiple of four bytes.
    pub(crate) ip_options: Vec<u8>,
    /// Of IPv6: numbers and contents of extension headers, without the number of the next one, which
    /// is their first byte. A multiple of eight bytes with it.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) flags: u8,
    /// A multiple of four bytes.
    pub(crate) tcp_options: Vec<u8>,
    /// Whether a UDP datagram has one.
    pub(crate) has_checksum: bool,
    pub(crate) payload: Vec<u8>,
    /// What follows the packet in the frame.
    pub(crate) padding: Vec<u8>,
}

impl Packet {
    /// A SYN.
    pub(crate) fn new(from: Endpoint, to: Endpoint) -> Self {
        Self {
            macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            tags: Vec::new(),
            ethertype: if to.0.is_ipv4() { 0x0800 } else { 0x86dd },
            tos: 0,
            id: 0x1234,
            fragment: 0x4000,
            ttl: 64,
            protocol: TCP,
            from,
            to,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            flags: SYN,
            tcp_options: Vec::new(),
            has_checksum: true,
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// A datagram.
    pub(crate) fn udp(from: Endpoint, to: Endpoint) -> Self {
        Self {
            protocol: UDP,
            payload: b"question".to_vec(),
            ..Self::new(from, to)
        }
    }

    /// Bytes of the IP packet.
    pub(crate) fn len(&self) -> usize {
        self.ip_header_len() + self.transport().len()
    }

    /// Bytes of the frame before the IP header.
    pub(crate) fn ip_offset(&self) -> usize {
        ETHERNET + self.tags.len() * TAG
    }

    /// Bytes of the frame before the TCP or UDP header.
    pub(crate) fn l4_offset(&self) -> usize {
        self.ip_offset() + self.ip_header_len()
    }

    /// Bytes of the frame before the checksum of TCP or UDP.
    pub(crate) fn checksum_offset(&self) -> usize {
        self.l4_offset() + if self.protocol == UDP { 6 } else { 16 }
    }

    /// With the options or extension headers.
    fn ip_header_len(&self) -> usize {
        if self.to.0.is_ipv4() {
            return 20 + self.ip_options.len();
        }
        let extensions = self.extensions.iter();
        40 + extensions.map(|(_, rest)| 1 + rest.len()).sum::<usize>()
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.macs.0);
        frame.extend(self.macs.1);
        for (kind, tag) in &self.tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        if self.to.0.is_ipv4() {
            frame.extend(self.ipv4_header());
        } else {
            frame.extend(self.ipv6_headers());
        }
        frame.extend(self.transport());
        frame.extend(&self.padding);
        frame
    }

    fn ipv4_header(&self) -> Vec<u8> {
        let header = self.ip_header_len();
        let mut ip = vec![0x40 | (header / 4) as u8, self.tos];
        ip.extend((self.len() as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(octets(self.from.0));
        ip.extend(octets(self.to.0));
        ip.extend(&self.ip_options);
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        ip
    }

    fn ipv6_headers(&self) -> Vec<u8> {
        const FLOW_LABEL: u32 = 0x54321;
        let mut numbers: Vec<u8> = self.extensions.iter().map(|(number, _)| *number).collect();
        numbers.push(self.protocol);
        let first = 6 << 28 | u32::from(self.tos) << 20 | FLOW_LABEL;
        let mut ip = first.to_be_bytes().to_vec();
        ip.extend((self.len() as u16 - 40).to_be_bytes());
        ip.extend([numbers[0], self.ttl]);
        ip.extend(octets(self.from.0));
        ip.extend(octets(self.to.0));
        for ((_, rest), next) in self.extensions.iter().zip(&numbers[1..]) {
            ip.push(*next);
            ip.extend(rest);
        }
        ip
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.from.1.to_be_bytes());
        bytes.extend(self.to.1.to_be_bytes());
        if self.protocol == UDP {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        } else {
            bytes.extend([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08]);
            let header = 20 + self.tcp_options.len();
            bytes.extend([((header / 4) << 4) as u8, self.flags]);
            bytes.extend([0xfa, 0xf0, 0, 0, 0, 0]);
            bytes.extend(&self.tcp_options);
        }
        bytes.extend(&self.payload);
        let sum = self.transport_checksum(&bytes);
        match self.protocol {
            UDP if !self.has_checksum => {}
            // Zero is for a datagram without a checksum.
            UDP if sum == 0 => bytes[6..8].fill(0xff),
            UDP => bytes[6..8].copy_from_slice(&sum.to_be_bytes()),
            _ => bytes[16..18].copy_from_slice(&sum.to_be_bytes()),
        }
        bytes
    }

    /// Over the pseudo-header, too.
    fn transport_checksum(&self, bytes: &[u8]) -> u16 {
        let mut summed = octets(self.from.0);
        summed.extend(octets(self.to.0));
        summed.extend((bytes.len() as u32).to_be_bytes());
        summed.extend([0, 0, 0, self.protocol]);
        summed.extend(bytes);
        checksum(&summed)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum as RFC 1071 explains it: big-endian words, carries added back in.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
