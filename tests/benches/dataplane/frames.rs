//! The packets that are measured.

use lb_ebpf::abi::proto;
use lb_ebpf::wire::{Ethernet, Ipv4, Tcp, ethertype};

use crate::world::{self, Service};

/// A frame as short as Ethernet allows.
pub(crate) type Frame = [u8; 60];

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
    const SOMEWHERE_ELSE: [u8; 4] = [203, 0, 113, 1];

    let client = world::client(flow);
    let backend = world::backend(service, flow as usize % world::BACKENDS);
    let service = world::address(service);
    let (source, destination) = match kind {
        Kind::Syn | Kind::Data => (client, service),
        Kind::Answer => (backend, client),
        Kind::Other => (client, (SOMEWHERE_ELSE, service.1)),
    };

    let mut frame = [0; 60];
    let mut put = |offset: usize, bytes: &[u8]| {
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    // Hardware addresses do not matter here, but one for a group of hosts would.
    put(0, &[0x02; 12]);
    put(12, &ethertype::IPV4.to_be_bytes());
    let ip = Ethernet::LEN;
    let length = (Ipv4::LEN + Tcp::LEN) as u16;
    put(ip, &[0x45]);
    put(ip + 2, &length.to_be_bytes());
    put(ip + 6, &[DONT_FRAGMENT]);
    put(ip + 8, &[64, proto::TCP]);
    put(ip + 12, &source.0);
    put(ip + 16, &destination.0);
    let tcp = ip + Ipv4::LEN;
    put(tcp, &source.1);
    put(tcp + 2, &destination.1);
    put(tcp + 12, &[0x50]);
    put(tcp + 13, &[if kind == Kind::Syn { SYN } else { ACK }]);
    frame
}
