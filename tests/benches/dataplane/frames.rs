//! The packets that are measured.

use lb_ebpf::abi::{Family, proto};
use lb_ebpf::wire::{Ethernet, Ipv4, Ipv6, Tcp, Udp, ethertype};
use std::net::Ipv4Addr;

use crate::world::{self, Service};

/// A frame without a payload, filled up to the shortest that Ethernet allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl Frame {
    const SHORTEST: usize = 60;
    const LONGEST: usize = Ethernet::LEN + Ipv6::LEN + Tcp::LEN;

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The beginning of a connection to the service.
    Syn,
    /// A segment of a connection to the service.
    Data,
    /// A segment from a backend of the service.
    Answer,
    /// A segment that is none of the load balancer's business.
    Other,
}

/// The frames of `flows` flows, one each, in random order, the same each time.
pub(crate) fn shuffled(kind: Kind, service: Service, flows: u32) -> Vec<Frame> {
    let mut frames: Vec<Frame> = (0..flows).map(|flow| frame(kind, service, flow)).collect();
    // Knuth's shuffle, with xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..frames.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        frames.swap(last, (state % (last as u64 + 1)) as usize);
    }
    frames
}

/// Checksums are left zero: the program changes them by what it changes, and looks at none.
fn frame(kind: Kind, service: Service, flow: u32) -> Frame {
    const DONT_FRAGMENT: u8 = 0x40;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const SOMEWHERE_ELSE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

    let family = service.family();
    let client = world::client(family, flow);
    let backend = world::backend(service, flow as usize % world::BACKENDS);
    let address = world::address(service);
    let (source, destination) = match kind {
        Kind::Syn | Kind::Data => (client, address),
        Kind::Answer => (backend, client),
        Kind::Other => (
            client,
            (world::of_family(family, SOMEWHERE_ELSE), address.1),
        ),
    };

    let mut frame = [0; Frame::LONGEST];
    let mut put = |offset: usize, bytes: &[u8]| {
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    // Hardware addresses do not matter here, but one for a group of hosts would.
    put(0, &[0x02; 12]);
    let ip = Ethernet::LEN;
    let length = match service.proto() {
        proto::UDP => Udp::LEN,
        _ => Tcp::LEN,
    };
    let l4 = match family {
        Family::V4 => {
            put(12, &ethertype::IPV4.to_be_bytes());
            put(ip, &[0x45]);
            put(ip + 2, &((Ipv4::LEN + length) as u16).to_be_bytes());
            put(ip + 6, &[DONT_FRAGMENT]);
            put(ip + 8, &[64, service.proto()]);
            put(ip + 12, &source.0.octets_v4());
            put(ip + 16, &destination.0.octets_v4());
            ip + Ipv4::LEN
        }
        Family::V6 => {
            put(12, &ethertype::IPV6.to_be_bytes());
            put(ip, &[0x60]);
            put(ip + 4, &(length as u16).to_be_bytes());
            put(ip + 6, &[service.proto(), 64]);
            put(ip + 8, &source.0.octets());
            put(ip + 24, &destination.0.octets());
            ip + Ipv6::LEN
        }
    };
    put(l4, &source.1);
    put(l4 + 2, &destination.1);
    match service.proto() {
        // A length, and any checksum but none.
        proto::UDP => put(l4 + 4, &[0, Udp::LEN as u8, 0x12, 0x34]),
        _ => put(l4 + 12, &[0x50, if kind == Kind::Syn { SYN } else { ACK }]),
    }
    Frame {
        bytes: frame,
        len: (l4 + length).max(Frame::SHORTEST),
    }
}
