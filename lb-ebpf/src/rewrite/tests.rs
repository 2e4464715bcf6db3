use super::{to_backend, to_client, to_client_by_stack};
use crate::abi::{Backend, Features};
use crate::parse::{self, Packet as Parsed};
use crate::tests::packet::{DESTINATION_OPTIONS, Endpoint, HOP_BY_HOP, Packet, TCP, UDP};
use proptest::prelude::*;
use std::net::IpAddr;

/// Ends of the range are where carries go wrong.
fn byte() -> impl Strategy<Value = u8> {
    any::<(u8, u8)>().prop_map(|(value, which)| match which % 3 {
        0 => 0x00,
        1 => 0xff,
        _ => value,
    })
}

/// An address of 16 bytes, and a port.
fn octets() -> impl Strategy<Value = ([u8; 16], [u8; 2])> {
    (prop::array::uniform16(byte()), [byte(), byte()])
}

fn endpoint((mut octets, port): ([u8; 16], [u8; 2]), is_ipv6: bool) -> Endpoint {
    let [.., a, b, c, d] = octets;
    // No IPv4-mapped one.
    octets[0] |= 0x20;
    let address = match is_ipv6 {
        true => IpAddr::from(octets),
        false => IpAddr::from([a, b, c, d]),
    };
    (address, u16::from_be_bytes(port))
}

fn tags() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![(0x8100, 0x2064)]),
        Just(vec![(0x88a8, 0x0fff), (0x8100, 0x0001)]),
    ]
}

/// A packet, and another endpoint of the same family.
fn packets() -> impl Strategy<Value = (Packet, Endpoint)> {
    (
        (any::<bool>(), [octets(), octets(), octets()]),
        (prop_oneof![Just(TCP), Just(UDP)], 2u8..=255, tags()),
        any::<(u8, u16, u8, bool)>(),
        (0usize..=10, 0usize..=10, 0usize..=9, 0usize..=2),
        prop::collection::vec(byte(), 0..40),
    )
        .prop_map(|((is_ipv6, ends), network, fields, lengths, payload)| {
            let [from, to, other] = ends.map(|end| endpoint(end, is_ipv6));
            let (protocol, ttl, tags) = network;
            let (tos, id, flags, has_checksum) = fields;
            let (ip_words, tcp_words, padding, extensions) = lengths;
            // An option that is only padding.
            let options =
                [HOP_BY_HOP, DESTINATION_OPTIONS].map(|number| (number, vec![0, 1, 4, 0, 0, 0, 0]));
            let packet = Packet {
                protocol,
                ttl,
                tags,
                tos,
                id,
                flags,
                has_checksum: has_checksum || is_ipv6,
                ip_options: vec![1; ip_words * 4],
                extensions: options[..extensions].to_vec(),
                tcp_options: vec![1; tcp_words * 4],
                padding: vec![0xaa; padding],
                payload,
                ..Packet::new(from, to)
            };
            (packet, other)
        })
}

const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 1, 1];
const OURS: [u8; 6] = [2, 0, 0, 0, 1, 2];

fn parsed(frame: &mut [u8]) -> Parsed {
    parse::parse(frame, Features::ALL).unwrap()
}

fn backend((address, port): Endpoint) -> Backend {
    Backend {
        addr: address.into(),
        port: port.to_be_bytes(),
        next_hop: NEXT_HOP,
        source: OURS,
        ..Backend::default()
    }
}

/// Zero says that there is no checksum: one that becomes zero is written as the other zero.
#[test]
fn the_two_zeros_of_udp() {
    let v4 = |n| (IpAddr::from([192, 0, 2, n]), 53);
    let v6 = |n| (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]), 53);
    for (from, to, other) in [(v4(1), v4(2), v4(3)), (v6(1), v6(2), v6(3))] {
        // The sum of what goes to the backend, as its last two bytes, makes it zero.
        let mut expected = Packet::udp(from, other);
        expected.payload.extend([0, 0]);
        let at = expected.checksum_offset();
        let filler = expected.bytes()[at..at + 2].to_vec();
        let payload = [b"question", &filler[..]].concat();
        let packet = Packet {
            payload,
            ..Packet::udp(from, to)
        };
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        assert!(to_backend(frame.as_mut_slice(), &found, &backend(other)).is_some());
        assert_eq!(frame[at..at + 2], [0xff, 0xff]);
        // And back: from the other zero to what it was.
        let found = parsed(&mut frame);
        assert!(to_backend(frame.as_mut_slice(), &found, &backend(to)).is_some());
        assert_eq!(frame[at..], packet.bytes()[at..]);
    }
}

proptest! {
    /// The rewritten frame is what the same packet to the backend would have been: checksums verified,
    /// and nothing changed that should not.
    #[test]
    fn to_a_backend((packet, to) in packets()) {
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        prop_assert!(to_backend(frame.as_mut_slice(), &found, &backend(to)).is_some());
        let expected = Packet {
            macs: (NEXT_HOP, OURS),
            to,
            ttl: packet.ttl - 1,
            ..packet
        };
        prop_assert_eq!(frame, expected.bytes());
    }

    #[test]
    fn to_a_client((packet, from) in packets()) {
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        let seen_as = (from.0.into(), from.1.to_be_bytes());
        let done = to_client(frame.as_mut_slice(), &found, seen_as, (NEXT_HOP, OURS));
        prop_assert!(done.is_some());
        let expected = Packet {
            macs: (NEXT_HOP, OURS),
            from,
            ttl: packet.ttl - 1,
            ..packet
        };
        prop_assert_eq!(frame, expected.bytes());
    }

    /// The stack counts the hop and addresses the frame.
    #[test]
    fn to_a_client_by_the_stack((packet, from) in packets()) {
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        let seen_as = (from.0.into(), from.1.to_be_bytes());
        prop_assert!(to_client_by_stack(frame.as_mut_slice(), &found, seen_as).is_some());
        let expected = Packet { from, ..packet };
        prop_assert_eq!(frame, expected.bytes());
    }

    /// Through the load balancer and back, an answer comes from where the question went.
    #[test]
    fn there_and_back((packet, to) in packets()) {
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        prop_assert!(to_backend(frame.as_mut_slice(), &found, &backend(to)).is_some());
        let arrived = parsed(&mut frame);
        let reached = (arrived.ip.destination, arrived.destination_port);
        prop_assert_eq!(reached, (to.0.into(), to.1.to_be_bytes()));

        let mut answer = Packet { from: packet.to, to: packet.from, ..packet.clone() };
        let expected = answer.bytes();
        answer.from = to;
        let mut frame = answer.bytes();
        let found = parsed(&mut frame);
        let seen_as = (packet.to.0.into(), packet.to.1.to_be_bytes());
        prop_assert!(to_client_by_stack(frame.as_mut_slice(), &found, seen_as).is_some());
        prop_assert_eq!(frame, expected);
    }

    /// Frames that were cut after they were parsed are left as they are.
    #[test]
    fn a_cut_frame_is_left_alone((packet, to) in packets(), len in 0usize..120) {
        let mut frame = packet.bytes();
        let found = parsed(&mut frame);
        let header = if packet.protocol == UDP { 8 } else { 20 };
        frame.truncate(len.min(found.ip.l4 + header - 1));
        let before = frame.clone();
        prop_assert!(to_backend(frame.as_mut_slice(), &found, &backend(to)).is_none());
        prop_assert_eq!(frame, before);
    }
}
