use super::{centiseconds, priority, virtual_addresses, vrid};
use crate::proto::vrrp::packet::{GROUP_V4, GROUP_V6, HOPS};
use crate::proto::vrrp::{
    Addresses, Advert, ChecksumForm, Claim, Ends, Interval, MixedFamilies, Refusal, Vrid,
};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// keepalived's, 192.0.2.1 to 224.0.0.18: VRID 51, priority 200, every 10 cs, for 192.0.2.100.
const WITH_PSEUDO_HEADER: [u8; 12] = *b"\x31\x33\xc8\x01\x00\x0a\xa1\xcb\xc0\x00\x02\x64";
/// The same, with the sum of the message only.
const MESSAGE: [u8; 12] = *b"\x31\x33\xc8\x01\x00\x0a\x44\x5c\xc0\x00\x02\x64";
/// The same to 192.0.2.2, with the pseudo-header.
const UNICAST: [u8; 12] = *b"\x31\x33\xc8\x01\x00\x0a\xbf\xdb\xc0\x00\x02\x64";
/// fe80::1 to ff02::12: VRID 51, priority 100, every second. The checksum was computed
/// independently.
const V6: [u8; 40] = *b"\x31\x33\x64\x02\x00\x64\x3c\x9f\
    \xfe\x80\0\0\0\0\0\0\0\0\0\0\0\x5e\x02\x00\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\x01\x00";

const ENDS: Ends = Ends::V4 {
    source: Ipv4Addr::new(192, 0, 2, 1),
    destination: GROUP_V4,
};
const ENDS_UNICAST: Ends = Ends::V4 {
    source: Ipv4Addr::new(192, 0, 2, 1),
    destination: Ipv4Addr::new(192, 0, 2, 2),
};
const ENDS_V6: Ends = Ends::V6 {
    source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    destination: GROUP_V6,
};

fn advert() -> Advert {
    Advert {
        vrid: vrid(51),
        claim: Claim::Lead(priority(200)),
        interval: centiseconds(10),
        addresses: virtual_addresses(),
    }
}

fn advert_v6() -> Advert {
    let addresses = vec![
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x5e, 0x200),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100),
    ];
    Advert {
        vrid: vrid(51),
        claim: Claim::Lead(priority(100)),
        interval: centiseconds(100),
        addresses: Addresses::v6(addresses).expect("two addresses"),
    }
}

#[test]
fn golden_packets_are_read() {
    for (bytes, ends, expected) in [
        (WITH_PSEUDO_HEADER.as_slice(), ENDS, advert()),
        (&MESSAGE, ENDS, advert()),
        (&UNICAST, ENDS_UNICAST, advert()),
        (&MESSAGE, ENDS_UNICAST, advert()),
        (&V6, ENDS_V6, advert_v6()),
    ] {
        assert_eq!(Advert::decode(bytes, ends, HOPS), Ok(expected));
    }
}

#[test]
fn golden_packets_are_written() {
    use ChecksumForm::{Message, WithPseudoHeader};
    for (advert, ends, form, expected) in [
        (
            advert(),
            ENDS,
            WithPseudoHeader,
            WITH_PSEUDO_HEADER.as_slice(),
        ),
        (advert(), ENDS, Message, &MESSAGE),
        (advert(), ENDS_UNICAST, WithPseudoHeader, &UNICAST),
        (advert(), ENDS_UNICAST, Message, &MESSAGE),
        (advert_v6(), ENDS_V6, WithPseudoHeader, &V6),
        (advert_v6(), ENDS_V6, Message, &V6),
    ] {
        assert_eq!(advert.encode(ends, form).as_deref(), Ok(expected));
    }
}

#[test]
fn a_release_has_priority_0() {
    let release = Advert {
        claim: Claim::Release,
        ..advert()
    };
    let bytes = release.encode(ENDS, ChecksumForm::Message).expect("IPv4");
    assert_eq!(bytes[2], 0);
    assert_eq!(Advert::decode(&bytes, ENDS, HOPS), Ok(release));
}

#[test]
fn families_do_not_mix() {
    let form = ChecksumForm::Message;
    assert_eq!(advert().encode(ENDS_V6, form), Err(MixedFamilies));
    assert_eq!(advert_v6().encode(ENDS, form), Err(MixedFamilies));
}

/// The golden message with a byte changed, and its sum set right.
fn changed(offset: usize, value: u8) -> [u8; 12] {
    let mut bytes = MESSAGE;
    bytes[offset] = value;
    bytes[6..8].fill(0);
    let sum: u32 = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn everything_wrong_has_a_name() {
    let truncated = |length, needed| Refusal::Truncated { length, needed };
    let long = [MESSAGE.as_slice(), &[0]].concat();
    for (bytes, hops, refusal) in [
        (MESSAGE.as_slice(), 254, Refusal::Hops { hops: 254 }),
        (&MESSAGE, 0, Refusal::Hops { hops: 0 }),
        (&[], 255, truncated(0, 8)),
        (&MESSAGE[..1], 255, truncated(1, 8)),
        (&MESSAGE[..7], 255, truncated(7, 8)),
        (&MESSAGE[..8], 255, truncated(8, 12)),
        (&MESSAGE[..11], 255, truncated(11, 12)),
        (&changed(3, 2), 255, truncated(12, 16)),
        (&changed(3, 255), 255, truncated(12, 1_028)),
        (
            &long,
            255,
            Refusal::TooLong {
                length: 13,
                needed: 12,
            },
        ),
        (&changed(0, 0x21), 255, Refusal::Version { version: 2 }),
        // The other version is named even where its header ends elsewhere.
        (&[0x21], 255, Refusal::Version { version: 2 }),
        (&changed(0, 0x32), 255, Refusal::Type { kind: 2 }),
        (&changed(1, 0), 255, Refusal::NoVrid),
        (&changed(5, 0), 255, Refusal::NoInterval),
    ] {
        let decoded = Advert::decode(bytes, ENDS, hops);
        assert_eq!(decoded, Err(refusal), "{bytes:02x?}");
    }

    for hops in [0, 64, 254] {
        let decoded = Advert::decode(&V6, ENDS_V6, hops);
        assert_eq!(decoded, Err(Refusal::Hops { hops }), "over IPv6");
    }

    let none: [u8; 8] = *b"\x31\x33\xc8\0\0\x0a\x06\xc2";
    let decoded = Advert::decode(&none, ENDS, HOPS);
    assert_eq!(decoded, Err(Refusal::NoAddresses));
}

#[test]
fn any_damaged_byte_is_noticed() {
    for offset in 4..MESSAGE.len() {
        let mut bytes = MESSAGE;
        bytes[offset] ^= 0x10;
        let decoded = Advert::decode(&bytes, ENDS, HOPS);
        assert_eq!(decoded, Err(Refusal::Checksum), "{offset}");
    }
}

#[test]
fn the_sum_of_the_message_only_is_not_for_ipv6() {
    let mut bytes = V6;
    bytes[6..8].copy_from_slice(&[0x3a, 0xce]);
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "a sound sum");
    let decoded = Advert::decode(&bytes, ENDS_V6, HOPS);
    assert_eq!(decoded, Err(Refusal::Checksum));
}

#[test]
fn reserved_bits_are_ignored() {
    let decoded = Advert::decode(&changed(4, 0xf0), ENDS, HOPS);
    assert_eq!(decoded, Ok(advert()));
}

fn some_addresses() -> impl Strategy<Value = Addresses> {
    let v4 = proptest::collection::vec(any::<Ipv4Addr>(), 1..=255);
    let v6 = proptest::collection::vec(any::<Ipv6Addr>(), 1..=255);
    prop_oneof![
        v4.prop_map(|list| Addresses::v4(list).expect("1 to 255")),
        v6.prop_map(|list| Addresses::v6(list).expect("1 to 255")),
    ]
}

fn some_advert() -> impl Strategy<Value = Advert> {
    let interval = 1..=Interval::MAX_CENTISECONDS;
    (1..=u8::MAX, any::<u8>(), interval, some_addresses()).prop_map(
        |(number, claim, interval, addresses)| Advert {
            vrid: Vrid::new(number).expect("not 0"),
            claim: Claim::from_wire(claim),
            interval: centiseconds(interval),
            addresses,
        },
    )
}

fn ends_like(advert: &Advert, v4: [Ipv4Addr; 2], v6: [Ipv6Addr; 2]) -> Ends {
    if advert.addresses.is_ipv6() {
        let [source, destination] = v6;
        Ends::V6 {
            source,
            destination,
        }
    } else {
        let [source, destination] = v4;
        Ends::V4 {
            source,
            destination,
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        advert in some_advert(),
        v4 in any::<[Ipv4Addr; 2]>(),
        v6 in any::<[Ipv6Addr; 2]>(),
        pseudo_header in any::<bool>(),
    ) {
        let ends = ends_like(&advert, v4, v6);
        let form = if pseudo_header {
            ChecksumForm::WithPseudoHeader
        } else {
            ChecksumForm::Message
        };
        let bytes = advert.encode(ends, form).expect("one family");
        prop_assert_eq!(Advert::decode(&bytes, ends, HOPS), Ok(advert));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        hops in any::<u8>(),
    ) {
        for ends in [ENDS, ENDS_V6] {
            let _ = Advert::decode(&bytes, ends, hops);
        }
    }

    #[test]
    fn damaged_packets_are_read_without_a_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        for (golden, ends) in [(MESSAGE.as_slice(), ENDS), (&V6, ENDS_V6)] {
            let mut bytes = golden.to_vec();
            for (offset, value) in &damage {
                let offset = offset.index(bytes.len());
                bytes[offset] = *value;
            }
            bytes.truncate(length.index(golden.len() + 1));
            let _ = Advert::decode(&bytes, ends, HOPS);
        }
    }
}
