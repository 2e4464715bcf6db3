use super::{SegmentKind, first_fragment, parse};
use crate::reason::Reason;
use crate::tests::packet::{ACK, FIN, Packet, RST, SYN};
use proptest::prelude::*;

const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 10], 40_000);
const SERVICE: ([u8; 4], u16) = ([192, 0, 2, 10], 80);

fn packet() -> Packet {
    Packet::new(CLIENT, SERVICE)
}

fn reason(frame: &mut [u8]) -> Option<Reason> {
    parse(frame).err()
}

/// Changes one byte of a correct frame.
fn with(offset: usize, value: u8) -> Vec<u8> {
    let mut frame = packet().bytes();
    frame[offset] = value;
    frame
}

#[test]
fn finds_the_segment() {
    for options in [0, 4, 20, 40] {
        let packet = Packet {
            ip_options: vec![1; options],
            payload: b"GET / HTTP/1.1\r\n".to_vec(),
            ..packet()
        };
        let mut frame = packet.bytes();
        let segment = parse(frame.as_mut_slice()).unwrap();
        assert_eq!(segment.source, CLIENT.0);
        assert_eq!(segment.destination, SERVICE.0);
        assert_eq!(segment.source_port, CLIENT.1.to_be_bytes());
        assert_eq!(segment.destination_port, SERVICE.1.to_be_bytes());
        assert_eq!(segment.tcp_offset, packet.tcp_offset());
        assert_eq!(usize::from(segment.bytes), frame.len() - 14);
        assert_eq!(segment.ttl, 64);
        assert_eq!(segment.kind, SegmentKind::Open);
    }
}

#[test]
fn flags_say_what_a_segment_means() {
    for (flags, kind) in [
        (SYN, SegmentKind::Open),
        (SYN | 0xc0, SegmentKind::Open), // offers ECN
        (SYN | ACK, SegmentKind::Data),
        (ACK, SegmentKind::Data),
        (0, SegmentKind::Data),
        (FIN | ACK, SegmentKind::Data),
        (RST, SegmentKind::Data),
        (SYN | FIN, SegmentKind::Data),
        (SYN | RST, SegmentKind::Data),
        (SYN | RST | FIN, SegmentKind::Data),
    ] {
        let packet = Packet { flags, ..packet() };
        let segment = parse(packet.bytes().as_mut_slice()).unwrap();
        assert_eq!(segment.kind, kind, "flags {flags:02x}");
    }
}

#[test]
fn every_truncation_has_a_reason() {
    for options in [0, 40] {
        let frame = Packet {
            ip_options: vec![1; options],
            tcp_options: vec![1; options],
            payload: vec![0; 3],
            ..packet()
        }
        .bytes();
        for len in 0..frame.len() {
            let expected = if len < 14 {
                Reason::Runt
            } else {
                Reason::BadIpv4
            };
            let mut cut = frame[..len].to_vec();
            assert_eq!(reason(&mut cut), Some(expected), "{len} bytes");
        }
    }
}

/// The frame is cut, and the packet says so: now the TCP header is what is too short.
#[test]
fn a_packet_too_short_for_its_segment_is_bad_tcp() {
    let mut frame = Packet {
        tcp_options: vec![1; 12],
        ..packet()
    }
    .bytes();
    for len in 20u16..20 + 32 {
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        let mut cut = frame[..14 + usize::from(len)].to_vec();
        assert_eq!(reason(&mut cut), Some(Reason::BadTcp), "{len} bytes");
        // Padding does not count.
        assert_eq!(reason(&mut frame.clone()), Some(Reason::BadTcp));
    }
}

#[test]
fn headers_that_contradict_themselves() {
    for (offset, value, expected) in [
        (14, 0x65, Reason::BadIpv4), // version 6
        (14, 0x05, Reason::BadIpv4), // version 0
        (14, 0x44, Reason::BadIpv4), // a header of 16 bytes
        (14, 0x40, Reason::BadIpv4), // of none
        (14, 0x4f, Reason::BadIpv4), // of 60, in a packet of 40
        (17, 19, Reason::BadIpv4),   // a packet shorter than its header
        (17, 41, Reason::BadIpv4),   // longer than the frame
        (16, 0xff, Reason::BadIpv4),
        (46, 0x40, Reason::BadTcp), // a TCP header of 16 bytes
        (46, 0x00, Reason::BadTcp),
        (46, 0x60, Reason::BadTcp), // of 24, in a packet that ends before
        (46, 0xf0, Reason::BadTcp),
        (23, 17, Reason::NotTcp),
        (23, 1, Reason::NotTcp),
    ] {
        let mut frame = with(offset, value);
        assert_eq!(reason(&mut frame), Some(expected), "{offset}: {value:02x}");
    }
}

#[test]
fn what_is_not_ipv4_for_one_host_passes() {
    for ethertype in [0x0806, 0x86dd, 0x8100, 0x88a8, 0x0000] {
        let packet = Packet {
            ethertype,
            ..packet()
        };
        assert_eq!(reason(&mut packet.bytes()), Some(Reason::NotIpv4));
    }
    assert_eq!(reason(&mut with(0, 0xff)), Some(Reason::NotOurs));
    assert_eq!(reason(&mut with(0, 0x01)), Some(Reason::NotOurs));
}

#[test]
fn fragments() {
    for (fragment, is_one, is_first) in [
        (0x0000, false, false),
        (0x4000, false, false), // don't fragment
        (0x8000, false, false), // reserved
        (0x2000, true, true),
        (0x2001, true, false),
        (0x1000, true, false),
        (0x0001, true, false), // the last
        (0x1fff, true, false),
        (0x3fff, true, false),
        (0x6000, true, true), // must not be one
        (0xa000, true, true),
    ] {
        let packet = Packet {
            fragment,
            ..packet()
        };
        let expected = is_one.then_some(Reason::Fragment);
        assert_eq!(reason(&mut packet.bytes()), expected, "{fragment:04x}");
        let expected = is_first.then_some((SERVICE.0, SERVICE.1.to_be_bytes()));
        let found = first_fragment(packet.bytes().as_mut_slice());
        assert_eq!(found, expected, "{fragment:04x}");
    }
}

/// What follows the packet in the frame is no part of it.
#[test]
fn a_first_fragment_has_its_ports_or_nothing() {
    for options in [0, 40] {
        let mut frame = Packet {
            fragment: 0x2000,
            ip_options: vec![1; options],
            ..packet()
        }
        .bytes();
        for len in 0..=20 {
            let bytes = (20 + options + len) as u16;
            frame[16..18].copy_from_slice(&bytes.to_be_bytes());
            assert_eq!(reason(&mut frame.clone()), Some(Reason::Fragment));
            let expected = (len >= 4).then_some((SERVICE.0, SERVICE.1.to_be_bytes()));
            let found = first_fragment(frame.as_mut_slice());
            assert_eq!(found, expected, "{len} bytes of the segment");
        }
    }
}

#[test]
fn padding_is_no_part_of_the_packet() {
    let packet = Packet {
        padding: vec![0xff; 6],
        ..packet()
    };
    let segment = parse(packet.bytes().as_mut_slice()).unwrap();
    assert_eq!(segment.bytes, 40);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(mut frame in prop::collection::vec(any::<u8>(), 0..128)) {
        let _ = parse(frame.as_mut_slice());
        // The same, with a better chance to get far.
        for (offset, value) in [(0, 2), (12, 0x08), (13, 0x00), (14, 0x45), (16, 0), (23, 6)] {
            if let Some(byte) = frame.get_mut(offset) {
                *byte = value;
            }
        }
        let before = frame.clone();
        let _ = first_fragment(frame.as_mut_slice());
        if let Ok(segment) = parse(frame.as_mut_slice()) {
            prop_assert!(segment.tcp_offset + 20 <= 14 + usize::from(segment.bytes));
            prop_assert!(14 + usize::from(segment.bytes) <= frame.len());
        }
        prop_assert_eq!(frame, before);
    }
}
