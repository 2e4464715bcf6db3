use super::{to_backend, to_client, to_client_by_stack};
use crate::abi::Backend;
use crate::parse::parse;
use crate::tests::packet::Packet;
use proptest::prelude::*;

/// Ends of the range are where carries go wrong.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0x00), Just(0xff), any::<u8>()]
}

fn endpoint() -> impl Strategy<Value = ([u8; 4], u16)> {
    ([byte(), byte(), byte(), byte()], [byte(), byte()])
        .prop_map(|(addr, port)| (addr, u16::from_be_bytes(port)))
}

fn packets() -> impl Strategy<Value = Packet> {
    (
        endpoint(),
        endpoint(),
        2u8..=255,
        any::<(u8, u16, u8)>(),
        (0usize..=10, 0usize..=10, 0usize..=9),
        prop::collection::vec(byte(), 0..40),
    )
        .prop_map(
            |(from, to, ttl, (tos, id, flags), (ip_words, tcp_words, padding), payload)| Packet {
                ttl,
                tos,
                id,
                flags,
                ip_options: vec![1; ip_words * 4],
                tcp_options: vec![1; tcp_words * 4],
                padding: vec![0xaa; padding],
                payload,
                ..Packet::new(from, to)
            },
        )
}

const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 2, 1];
const OURS: [u8; 6] = [2, 0, 0, 0, 2, 2];

proptest! {
    /// The whole frame is compared with one built from scratch: every checksum is verified, and
    /// nothing changed that should not.
    #[test]
    fn to_a_backend(packet in packets(), (addr, port) in endpoint()) {
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        let backend = Backend {
            addr,
            port: port.to_be_bytes(),
            next_hop: NEXT_HOP,
            source: OURS,
            ..Backend::default()
        };
        prop_assert!(to_backend(frame.as_mut_slice(), &segment, &backend).is_some());
        let expected = Packet {
            macs: (NEXT_HOP, OURS),
            to: (addr, port),
            ttl: packet.ttl - 1,
            ..packet
        };
        prop_assert_eq!(frame, expected.bytes());
    }

    #[test]
    fn to_a_client(packet in packets(), (vip, port) in endpoint()) {
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        let seen_as = (vip, port.to_be_bytes());
        let done = to_client(frame.as_mut_slice(), &segment, seen_as, (NEXT_HOP, OURS));
        prop_assert!(done.is_some());
        let expected = Packet {
            macs: (NEXT_HOP, OURS),
            from: (vip, port),
            ttl: packet.ttl - 1,
            ..packet
        };
        prop_assert_eq!(frame, expected.bytes());
    }

    /// The stack counts the hop and addresses the frame.
    #[test]
    fn to_a_client_by_the_stack(packet in packets(), (vip, port) in endpoint()) {
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        let seen_as = (vip, port.to_be_bytes());
        prop_assert!(to_client_by_stack(frame.as_mut_slice(), &segment, seen_as).is_some());
        let expected = Packet { from: (vip, port), ..packet };
        prop_assert_eq!(frame, expected.bytes());
    }

    /// Through the load balancer and back, an answer comes from where the question went.
    #[test]
    fn there_and_back(packet in packets(), (addr, port) in endpoint()) {
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        let backend = Backend { addr, port: port.to_be_bytes(), ..Backend::default() };
        prop_assert!(to_backend(frame.as_mut_slice(), &segment, &backend).is_some());
        let arrived = parse(frame.as_mut_slice()).unwrap();
        prop_assert_eq!((arrived.destination, arrived.destination_port), (addr, backend.port));

        let mut answer = Packet { from: packet.to, to: packet.from, ..packet.clone() };
        let expected = answer.bytes();
        answer.from = (addr, port);
        let mut frame = answer.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        let seen_as = (packet.to.0, packet.to.1.to_be_bytes());
        prop_assert!(to_client_by_stack(frame.as_mut_slice(), &segment, seen_as).is_some());
        prop_assert_eq!(frame, expected);
    }

    /// Frames that were cut after they were parsed are left as they are.
    #[test]
    fn a_cut_frame_is_left_alone(packet in packets(), len in 0usize..54) {
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        frame.truncate(len.min(segment.tcp_offset + 19));
        let before = frame.clone();
        prop_assert!(to_backend(frame.as_mut_slice(), &segment, &Backend::default()).is_none());
        prop_assert_eq!(frame, before);
    }
}
