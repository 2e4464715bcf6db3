//! Other routers of the same number, where there is one peer: they are not heeded, but told of.
//!
//! They have a socket of their own, which wakes nobody, is looked into now and then, and holds a few
//! packets: a flood of them costs no more than a few do.

use super::socket::v4;
use crate::proto::vrrp::Vrid;
use crate::proto::vrrp::packet::{self, Advert, Ends};
use libc::{
    BPF_ABS, BPF_B, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, BPF_W,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Type};
use std::io::{self, Read as _};
use std::net::Ipv4Addr;

/// The kernel raises it to what two packets or three take.
const QUEUE: usize = 1;

/// How many are looked at in one go.
const AT_ONCE: usize = 8;

/// Longer than an advertisement of 255 addresses with the longest IP header.
const BUFFER: usize = 1_100;

pub(super) struct Strangers {
    socket: socket2::Socket,
}

impl Strangers {
    /// Those of this number on the interface that are neither this host nor the peer.
    pub(super) fn open(
        interface: &str,
        ifindex: u32,
        own: Ipv4Addr,
        peer: Ipv4Addr,
        vrid: Vrid,
    ) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(packet::PROTOCOL));
        let socket = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.attach_filter(&others(own, peer, vrid))?;
        socket.set_recv_buffer_size(QUEUE)?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        // Most routers advertise to all.
        let index = InterfaceIndexOrAddress::Index(ifindex);
        socket.join_multicast_v4_n(&packet::GROUP_V4, &index)?;
        let mut strangers = Self { socket };
        // What came before the filter was there.
        strangers.take();
        Ok(strangers)
    }

    /// Those who advertised since this was last asked, as many as were kept.
    pub(super) fn take(&mut self) -> Vec<Ipv4Addr> {
        let mut found = Vec::new();
        let mut buffer = [0; BUFFER];
        for _ in 0..AT_ONCE {
            // An error is told where advertisements of the peer are heard.
            let Ok(length) = self.socket.read(&mut buffer) else {
                break;
            };
            let received = buffer.get_mut(..length).and_then(v4::split);
            if let Some(received) = received
                && Advert::decode(received.payload, received.ends, received.hops).is_ok()
                && let Ends::V4 { source, .. } = received.ends
            {
                found.push(source);
            }
        }
        found
    }
}

/// Lets sound-looking advertisements of this number through that come from others than these two.
fn others(own: Ipv4Addr, peer: Ipv4Addr, vrid: Vrid) -> [SockFilter; 10] {
    /// Where the header has them (RFC 791, section 3.1).
    const HOPS: u32 = 8;
    const SOURCE: u32 = 12;
    /// Where an advertisement has it (RFC 9568, section 5.2).
    const VRID: u32 = 1;
    let code = |parts: u32| parts as u16;
    let equals =
        |value, then, or| SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), then, or, value);
    let load = |what, at| SockFilter::new(code(BPF_LD | what), 0, 0, at);
    [
        load(BPF_B | BPF_ABS, HOPS),
        equals(u32::from(packet::HOPS), 0, 7),
        load(BPF_W | BPF_ABS, SOURCE),
        equals(own.to_bits(), 5, 0),
        equals(peer.to_bits(), 4, 0),
        // The header's length, which its first byte has.
        SockFilter::new(code(BPF_LDX | BPF_B | BPF_MSH), 0, 0, 0),
        load(BPF_B | BPF_IND, VRID),
        equals(u32::from(vrid.get()), 0, 1),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, u32::MAX),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::vrrp::{Addresses, ChecksumForm, Claim, Interval, Priority};

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

    /// An advertisement of this sender and this number, in a packet with so many options.
    fn packet(source: Ipv4Addr, number: u8, hops: u8, options: usize) -> Vec<u8> {
        let ends = Ends::V4 {
            source,
            destination: packet::GROUP_V4,
        };
        let advert = Advert {
            vrid: Vrid::new(number).unwrap(),
            claim: Claim::Lead(Priority::new(150).unwrap()),
            interval: Interval::from_centiseconds(10).unwrap(),
            addresses: Addresses::v4(vec![Ipv4Addr::new(192, 0, 2, 10)]).unwrap(),
        };
        let mut packet = vec![0; 20 + 4 * options];
        packet[0] = 0x45 + options as u8;
        packet[8] = hops;
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&packet::GROUP_V4.octets());
        packet.extend(advert.encode(ends, ChecksumForm::Message).unwrap());
        packet
    }

    #[test]
    fn others_of_the_same_number_are_found_and_a_flood_is_not_kept() {
        let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let filter = others(OWN, PEER, Vrid::new(51).unwrap());
        socket2::SockRef::from(&here)
            .attach_filter(&filter)
            .unwrap();
        let socket = socket2::Socket::from(std::os::fd::OwnedFd::from(here));
        let mut strangers = Strangers { socket };
        for packet in [
            packet(OWN, 51, 255, 0),
            packet(PEER, 51, 255, 0),
            packet(OTHER, 52, 255, 0),
            packet(OTHER, 51, 254, 0),
            vec![0x45; 19],
        ] {
            there.send(&packet).unwrap();
        }
        assert_eq!(strangers.take(), Vec::<Ipv4Addr>::new());
        let mut damaged = packet(OTHER, 51, 255, 0);
        *damaged.last_mut().unwrap() ^= 1;
        for packet in [
            packet(OTHER, 51, 255, 0),
            damaged,
            packet(OTHER, 51, 255, 2),
        ] {
            there.send(&packet).unwrap();
        }
        assert_eq!(strangers.take(), [OTHER, OTHER]);
        assert_eq!(strangers.take(), Vec::<Ipv4Addr>::new());
    }
}
