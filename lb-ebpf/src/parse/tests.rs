use super::{Kind, Network, Packet as Parsed, Part, first_fragment, network, parse};
use crate::abi::{Addr, Family, Feature, Features};
use crate::reason::Reason;
use crate::tests::packet::{
    ACK, DESTINATION_OPTIONS, Endpoint, FIN, FRAGMENT, HOP_BY_HOP, Packet, ROUTING, RST, SYN, TCP,
    UDP, v4, v6,
};
use proptest::prelude::*;

const CLIENT: Endpoint = v4([198, 51, 100, 10], 40_000);
const SERVICE: Endpoint = v4([192, 0, 2, 10], 80);
const CLIENT6: Endpoint = v6([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10], 40_000);
const SERVICE6: Endpoint = v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10], 80);

fn packet() -> Packet {
    Packet::new(CLIENT, SERVICE)
}

fn packet6() -> Packet {
    Packet::new(CLIENT6, SERVICE6)
}

/// A packet of each family and protocol.
fn each() -> [Packet; 4] {
    [
        packet(),
        packet6(),
        Packet::udp(CLIENT, SERVICE),
        Packet::udp(CLIENT6, SERVICE6),
    ]
}

fn all(frame: &mut [u8]) -> Result<Parsed, Reason> {
    parse(frame, Features::ALL)
}

fn reason(frame: &mut [u8]) -> Option<Reason> {
    all(frame).err()
}

fn ip(frame: &mut [u8]) -> Network {
    network(frame, Features::ALL).unwrap()
}

/// An extension header of eight bytes or more.
fn extension(number: u8, words: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![words];
    rest.resize(7 + 8 * usize::from(words), 0);
    (number, rest)
}

/// A fragment header, with an offset in units of eight bytes.
fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let field = offset << 3 | u16::from(more);
    let [a, b] = field.to_be_bytes();
    (FRAGMENT, vec![0, a, b, 0xde, 0xad, 0xbe, 0xef])
}

const TAGS: [&[(u16, u16)]; 4] = [
    &[],
    &[(0x8100, 0x2064)],
    &[(0x88a8, 10), (0x8100, 20)],
    &[(0x8100, 10), (0x8100, 20)],
];

#[test]
fn finds_the_packet() {
    for packet in each() {
        for tags in TAGS {
            for options in [0, 4, 20, 40] {
                let packet = Packet {
                    tags: tags.to_vec(),
                    ip_options: vec![1; options],
                    extensions: vec![extension(HOP_BY_HOP, options as u8); options / 20],
                    payload: b"GET / HTTP/1.1\r\n".to_vec(),
                    tos: 0xb9,
                    ..packet.clone()
                };
                let mut frame = packet.bytes();
                let found = all(&mut frame).unwrap();
                let (from, to) = (packet.from, packet.to);
                let family = match from.0.is_ipv4() {
                    true => Family::V4,
                    false => Family::V6,
                };
                let expected = Network {
                    family,
                    l3: packet.ip_offset(),
                    l4: packet.l4_offset(),
                    source: from.0.into(),
                    destination: to.0.into(),
                    proto: packet.protocol,
                    part: Part::Whole,
                    bytes: (frame.len() - packet.ip_offset()) as u16,
                    ttl: 64,
                    tos: 0xb9,
                };
                assert_eq!(found.ip, expected);
                assert_eq!(found.source_port, from.1.to_be_bytes());
                assert_eq!(found.destination_port, to.1.to_be_bytes());
                let opens = packet.protocol == TCP;
                assert_eq!(found.kind, if opens { Kind::Open } else { Kind::Data });
            }
        }
    }
}

#[test]
fn flags_say_what_a_segment_means() {
    for (flags, kind) in [
        (SYN, Kind::Open),
        (SYN | 0xc0, Kind::Open), // offers ECN
        (SYN | ACK, Kind::Data),
        (ACK, Kind::Data),
        (0, Kind::Data),
        (FIN | ACK, Kind::Data),
        (RST, Kind::Data),
        (SYN | FIN, Kind::Data),
        (SYN | RST, Kind::Data),
        (SYN | RST | FIN, Kind::Data),
    ] {
        for packet in [packet(), packet6()] {
            let packet = Packet { flags, ..packet };
            let found = all(&mut packet.bytes()).unwrap();
            assert_eq!(found.kind, kind, "flags {flags:02x}");
        }
    }
}

#[test]
fn every_truncation_has_a_reason() {
    for packet in each() {
        for tags in TAGS {
            for options in [0, 40] {
                let packet = Packet {
                    tags: tags.to_vec(),
                    ip_options: vec![1; options],
                    extensions: vec![extension(HOP_BY_HOP, 1); options / 20],
                    tcp_options: vec![1; options],
                    payload: vec![0; 3],
                    ..packet.clone()
                };
                let frame = packet.bytes();
                for len in 0..frame.len() {
                    let expected = match packet.to.0.is_ipv4() {
                        _ if len < packet.ip_offset() => Reason::Runt,
                        true => Reason::BadIpv4,
                        false => Reason::BadIpv6,
                    };
                    let mut cut = frame[..len].to_vec();
                    assert_eq!(reason(&mut cut), Some(expected), "{len} bytes");
                }
            }
        }
    }
}

/// The frame is cut, and the packet says so: now what it carries is what is too short.
#[test]
fn a_packet_too_short_for_what_it_carries() {
    let with_options = |packet| Packet {
        tcp_options: vec![1; 12],
        ..packet
    };
    for (packet, header, expected) in [
        (with_options(packet()), 32, Reason::BadTcp),
        (with_options(packet6()), 32, Reason::BadTcp),
        (Packet::udp(CLIENT, SERVICE), 16, Reason::BadUdp),
        (Packet::udp(CLIENT6, SERVICE6), 16, Reason::BadUdp),
    ] {
        let mut frame = packet.bytes();
        for len in 0..header {
            let (at, bytes): (usize, u16) = match packet.to.0.is_ipv4() {
                true => (16, 20 + len),
                false => (18, len),
            };
            frame[at..at + 2].copy_from_slice(&bytes.to_be_bytes());
            let mut cut = frame[..packet.l4_offset() + usize::from(len)].to_vec();
            assert_eq!(reason(&mut cut), Some(expected), "{len} bytes");
            // What follows in the frame does not count.
            assert_eq!(reason(&mut frame.clone()), Some(expected));
        }
    }
}

#[test]
fn headers_that_contradict_themselves() {
    let packets = each();
    let [tcp4, tcp6, udp4, udp6] = &packets;
    for (packet, offset, value, expected) in [
        (tcp4, 14, 0x65, Reason::BadIpv4), // version 6
        (tcp4, 14, 0x05, Reason::BadIpv4), // version 0
        (tcp4, 14, 0x44, Reason::BadIpv4), // a header of 16 bytes
        (tcp4, 14, 0x40, Reason::BadIpv4), // of none
        (tcp4, 14, 0x4f, Reason::BadIpv4), // of 60, in a packet of 40
        (tcp4, 17, 19, Reason::BadIpv4),   // a packet shorter than its header
        (tcp4, 17, 41, Reason::BadIpv4),   // longer than the frame
        (tcp4, 16, 0xff, Reason::BadIpv4),
        (tcp4, 46, 0x40, Reason::BadTcp), // a TCP header of 16 bytes
        (tcp4, 46, 0x00, Reason::BadTcp),
        (tcp4, 46, 0x60, Reason::BadTcp), // of 24, in a packet that ends before
        (tcp4, 46, 0xf0, Reason::BadTcp),
        (tcp4, 23, 1, Reason::OtherProtocol),
        (tcp4, 23, 0, Reason::OtherProtocol), // in IPv4, no header of options
        (tcp6, 14, 0x40, Reason::BadIpv6),    // version 4
        (tcp6, 14, 0x00, Reason::BadIpv6),
        (tcp6, 19, 21, Reason::BadIpv6), // longer than the frame
        (tcp6, 18, 0xff, Reason::BadIpv6),
        (tcp6, 66, 0x40, Reason::BadTcp), // a TCP header of 16 bytes
        (tcp6, 66, 0x60, Reason::BadTcp), // of 24
        (tcp6, 20, 58, Reason::OtherProtocol),
        (tcp6, 20, 59, Reason::OtherProtocol), // nothing
        (tcp6, 20, 51, Reason::OtherProtocol), // authenticated: no address can be changed
        (tcp6, 20, 50, Reason::OtherProtocol), // encrypted
        (udp4, 39, 7, Reason::BadUdp),         // shorter than its header
        (udp4, 39, 0, Reason::BadUdp),
        (udp4, 39, 17, Reason::BadUdp), // longer than the packet
        (udp4, 38, 1, Reason::BadUdp),
        (udp6, 59, 7, Reason::BadUdp),
        (udp6, 59, 17, Reason::BadUdp),
    ] {
        let mut frame = packet.bytes();
        frame[offset] = value;
        assert_eq!(reason(&mut frame), Some(expected), "{offset}: {value:02x}");
    }
}

/// As far as the header says. What follows is padding of IP, which nobody sends.
#[test]
fn a_datagram_may_be_shorter_than_its_packet() {
    for packet in [Packet::udp(CLIENT, SERVICE), Packet::udp(CLIENT6, SERVICE6)] {
        let mut frame = packet.bytes();
        frame[packet.l4_offset() + 5] = 8;
        assert_eq!(reason(&mut frame), None);
    }
}

#[test]
fn without_a_checksum_there_are_datagrams_of_ipv4_only() {
    let without = |packet| Packet {
        has_checksum: false,
        ..packet
    };
    let of_ipv4 = without(Packet::udp(CLIENT, SERVICE));
    assert_eq!(reason(&mut of_ipv4.bytes()), None);
    let of_ipv6 = without(Packet::udp(CLIENT6, SERVICE6));
    assert_eq!(reason(&mut of_ipv6.bytes()), Some(Reason::BadUdp));
}

#[test]
fn what_is_not_ip_for_one_host_passes() {
    for ethertype in [0x0806, 0x8847, 0x9100, 0x0000, 0x05dc] {
        let packet = Packet {
            ethertype,
            ..packet()
        };
        assert_eq!(reason(&mut packet.bytes()), Some(Reason::NotIp));
    }
    for packet in each() {
        for first in [0x33, 0x01, 0xff] {
            let mut frame = packet.bytes();
            frame[0] = first;
            assert_eq!(reason(&mut frame), Some(Reason::NotOurs));
        }
    }
}

#[test]
fn more_tags_than_two_are_not_looked_behind() {
    for packet in each() {
        let packet = Packet {
            tags: vec![(0x88a8, 1), (0x8100, 2), (0x8100, 3)],
            ..packet
        };
        assert_eq!(reason(&mut packet.bytes()), Some(Reason::NotIp));
    }
}

#[test]
fn what_no_service_uses_is_not_looked_at() {
    for (features, expected) in [
        (
            Features::NONE,
            [
                None,
                Some(Reason::NotIp),
                Some(Reason::OtherProtocol),
                Some(Reason::NotIp),
            ],
        ),
        (
            Features::NONE.with(Feature::Ipv6),
            [
                None,
                None,
                Some(Reason::OtherProtocol),
                Some(Reason::OtherProtocol),
            ],
        ),
        (
            Features::NONE.with(Feature::Udp),
            [None, Some(Reason::NotIp), None, Some(Reason::NotIp)],
        ),
        (Features::ALL, [None; 4]),
    ] {
        let found = each().map(|packet| parse(packet.bytes().as_mut_slice(), features).err());
        assert_eq!(found, expected, "{features:?}");
    }
}

/// They would be taken for addresses of IPv4.
#[test]
fn ipv4_mapped_addresses_are_not_on_the_wire() {
    let mapped = v6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x020a], 80);
    assert_eq!(Addr::from(mapped.0), Addr::from(SERVICE.0));
    for packet in [
        Packet::new(CLIENT6, mapped),
        Packet::new(mapped, SERVICE6),
        Packet::udp(CLIENT6, mapped),
    ] {
        assert_eq!(reason(&mut packet.bytes()), Some(Reason::BadIpv6));
    }
}

#[test]
fn extension_headers_are_walked_past() {
    let atomic = || fragment(0, false);
    for extensions in [
        vec![extension(HOP_BY_HOP, 0)],
        vec![extension(DESTINATION_OPTIONS, 0)],
        vec![extension(ROUTING, 0)],
        vec![extension(ROUTING, 2)],
        vec![atomic()],
        vec![extension(HOP_BY_HOP, 255)],
        vec![
            extension(HOP_BY_HOP, 1),
            extension(DESTINATION_OPTIONS, 0),
            extension(ROUTING, 2),
            atomic(),
            extension(DESTINATION_OPTIONS, 3),
        ],
        vec![extension(DESTINATION_OPTIONS, 0); 6],
        vec![extension(DESTINATION_OPTIONS, 255); 6],
    ] {
        for packet in [packet6(), Packet::udp(CLIENT6, SERVICE6)] {
            let packet = Packet {
                extensions: extensions.clone(),
                ..packet
            };
            let found = all(&mut packet.bytes()).unwrap();
            assert_eq!(found.ip.l4, packet.l4_offset(), "{extensions:?}");
            assert_eq!(found.ip.proto, packet.protocol);
            assert_eq!(found.destination_port, SERVICE6.1.to_be_bytes());
        }
    }
}

#[test]
fn more_headers_than_are_walked_past() {
    for words in [0, 255] {
        let packet = Packet {
            extensions: vec![extension(DESTINATION_OPTIONS, words); 7],
            ..packet6()
        };
        assert_eq!(reason(&mut packet.bytes()), Some(Reason::OtherProtocol));
    }
}

/// Its destination is another host, by way of this one.
#[test]
fn a_packet_that_has_further_to_go_is_left_alone() {
    let mut routing = extension(ROUTING, 2);
    routing.1[2] = 1;
    let packet = Packet {
        extensions: vec![routing],
        ..packet6()
    };
    assert_eq!(reason(&mut packet.bytes()), Some(Reason::OtherProtocol));
}

#[test]
fn an_extension_header_longer_than_its_packet() {
    for number in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
        let packet = Packet {
            extensions: vec![extension(number, 0)],
            ..packet6()
        };
        let mut frame = packet.bytes();
        // 20 bytes of TCP follow.
        for (words, expected) in [
            (2, Reason::BadTcp),
            (3, Reason::BadIpv6),
            (255, Reason::BadIpv6),
        ] {
            frame[55] = words;
            assert_eq!(reason(&mut frame), Some(expected), "{number}: {words}");
        }
    }
    // The packet ends in the middle of the header.
    for number in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, FRAGMENT] {
        for len in 0..8 {
            let mut frame = packet6().bytes();
            frame[19] = len;
            frame[20] = number;
            frame[54..62].fill(0);
            assert_eq!(reason(&mut frame), Some(Reason::BadIpv6), "{number}: {len}");
        }
    }
}

#[test]
fn fragments_of_ipv4() {
    for (fragment, part) in [
        (0x0000, Part::Whole),
        (0x4000, Part::Whole), // don't fragment
        (0x8000, Part::Whole), // reserved
        (0x2000, Part::First),
        (0x2001, Part::Later),
        (0x1000, Part::Later),
        (0x0001, Part::Later), // the last
        (0x1fff, Part::Later),
        (0x3fff, Part::Later),
        (0x6000, Part::First), // must not be one
        (0xa000, Part::First),
    ] {
        let packet = Packet {
            fragment,
            ..packet()
        };
        is_part(&packet, part);
    }
}

#[test]
fn fragments_of_ipv6() {
    for (offset, more, part) in [
        (0, false, Part::Whole),
        (0, true, Part::First),
        (1, true, Part::Later),
        (1, false, Part::Later),
        (0x1fff, false, Part::Later),
        (0x1fff, true, Part::Later),
    ] {
        for before in [vec![], vec![extension(HOP_BY_HOP, 0)]] {
            let mut extensions = before;
            extensions.push(fragment(offset, more));
            let packet = Packet {
                extensions,
                ..packet6()
            };
            is_part(&packet, part);
        }
    }
    // The two bits between offset and "more" say nothing.
    let mut reserved = fragment(0, false);
    reserved.1[2] |= 0x06;
    let packet = Packet {
        extensions: vec![reserved],
        ..packet6()
    };
    is_part(&packet, Part::Whole);
}

/// What follows in later fragments is no header.
#[test]
fn a_later_fragment_is_not_walked_into() {
    let packet = Packet {
        extensions: vec![fragment(1, false), extension(DESTINATION_OPTIONS, 200)],
        ..packet6()
    };
    let found = ip(&mut packet.bytes());
    assert_eq!((found.part, found.l4), (Part::Later, 14 + 40 + 8));
    let packet = Packet {
        extensions: vec![fragment(0, true), extension(DESTINATION_OPTIONS, 0)],
        ..packet6()
    };
    is_part(&packet, Part::First);
}

fn is_part(packet: &Packet, part: Part) {
    let mut frame = packet.bytes();
    let found = ip(&mut frame);
    assert_eq!(found.part, part, "{packet:?}");
    let expected = (part != Part::Whole).then_some(Reason::Fragment);
    assert_eq!(reason(&mut frame), expected);
    let port = first_fragment(frame.as_mut_slice(), &found);
    let expected = (part == Part::First).then_some(packet.to.1.to_be_bytes());
    assert_eq!(port, expected, "{packet:?}");
}

/// What follows the packet in the frame is no part of it.
#[test]
fn a_first_fragment_has_its_ports_or_nothing() {
    for options in [0, 40] {
        let first = [
            Packet {
                fragment: 0x2000,
                ip_options: vec![1; options],
                ..packet()
            },
            Packet {
                extensions: vec![fragment(0, true)],
                ..packet6()
            },
        ];
        for packet in first {
            let mut frame = packet.bytes();
            let headers = packet.l4_offset() - 14;
            for len in 0..=20 {
                let (at, bytes) = match packet.to.0.is_ipv4() {
                    true => (16, headers + len),
                    false => (18, headers + len - 40),
                };
                frame[at..at + 2].copy_from_slice(&(bytes as u16).to_be_bytes());
                assert_eq!(reason(&mut frame), Some(Reason::Fragment));
                let expected = (len >= 4).then_some(SERVICE.1.to_be_bytes());
                let found = ip(&mut frame);
                let port = first_fragment(frame.as_mut_slice(), &found);
                assert_eq!(port, expected, "{len} bytes");
            }
        }
    }
}

#[test]
fn padding_is_no_part_of_the_packet() {
    for (packet, bytes) in each().into_iter().zip([40, 60, 36, 56]) {
        let packet = Packet {
            padding: vec![0xff; 6],
            ..packet
        };
        assert_eq!(all(&mut packet.bytes()).unwrap().ip.bytes, bytes);
    }
}

/// Values by which any bytes are taken for headers.
const LIKELY: [&[(usize, u8)]; 4] = [
    &[],
    &[
        (0, 2),
        (12, 0x08),
        (13, 0x00),
        (14, 0x45),
        (16, 0),
        (23, TCP),
    ],
    &[
        (0, 2),
        (12, 0x86),
        (13, 0xdd),
        (14, 0x60),
        (18, 0),
        (20, UDP),
    ],
    &[
        (0, 2),
        (12, 0x86),
        (13, 0xdd),
        (14, 0x60),
        (18, 0),
        (20, HOP_BY_HOP),
        (54, FRAGMENT),
    ],
];

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(frame in prop::collection::vec(any::<u8>(), 0..192)) {
        for likely in LIKELY {
            let mut frame = frame.clone();
            for &(offset, value) in likely {
                if let Some(byte) = frame.get_mut(offset) {
                    *byte = value;
                }
            }
            let before = frame.clone();
            if let Ok(ip) = network(frame.as_mut_slice(), Features::ALL) {
                prop_assert!(ip.l4 <= ip.l3 + usize::from(ip.bytes));
                prop_assert!(ip.l3 + usize::from(ip.bytes) <= frame.len());
                let _ = first_fragment(frame.as_mut_slice(), &ip);
            }
            if let Ok(found) = all(&mut frame) {
                let header = if found.ip.proto == UDP { 8 } else { 20 };
                prop_assert!(found.ip.l4 + header <= found.ip.l3 + usize::from(found.ip.bytes));
            }
            prop_assert_eq!(frame, before);
        }
    }
}
