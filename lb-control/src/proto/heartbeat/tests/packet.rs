use super::{ends, packet};
use crate::proto::heartbeat::packet::{HOPS, LEN};
use crate::proto::heartbeat::{
    Diagnostic, Ends, Key, Micros, Multiplier, Packet, Refusal, State, Timing,
};
use proptest::prelude::*;
use std::net::IpAddr;

const ENDS: Ends = ends(1, 1, 2);

fn key() -> Key {
    Key::from_secret(b"a secret of the pair")
}

/// A payload with this byte changed, and the code made right again.
fn with(offset: usize, value: &[u8]) -> Vec<u8> {
    let mut payload = packet(State::Up, 9).encode(&key(), ENDS).to_vec();
    payload[offset..offset + value.len()].copy_from_slice(value);
    let code = key().code(ENDS, &payload[..36]);
    payload[36..].copy_from_slice(&code);
    payload
}

#[test]
fn every_byte_is_where_it_is_said_to_be() {
    let packet = Packet {
        diagnostic: Diagnostic::Expired,
        my_discriminator: 0x0102_0304_0506_0708,
        your_discriminator: 0x1112_1314_1516_1718,
        sequence: 0x2122_2324_2526_2728,
        ..packet(State::Up, 0)
    };
    let payload = packet.encode(&key(), ENDS);
    #[rustfmt::skip]
    let expected = [
        1, 3, 1, 3,
        0x00, 0x00, 0xc3, 0x50,
        0x00, 0x00, 0xc3, 0x50,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
    ];
    assert_eq!(payload[..36], expected);
    assert_eq!(Packet::decode(&payload, &key(), ENDS, HOPS), Ok(packet));
}

/// Computed with Python's hmac and hashlib.
#[test]
fn the_code_is_hmac_sha_256() {
    let payload = packet(State::Up, 9).encode(&key(), ENDS);
    let code = [
        0x3c, 0xbb, 0xbd, 0x1b, 0x98, 0x20, 0x66, 0x3f, 0x39, 0x3a, 0x19, 0x03, 0x74, 0x94, 0x30,
        0x85,
    ];
    assert_eq!(payload[36..], code);
}

#[test]
fn what_is_wrong_is_named() {
    let good = packet(State::Up, 9).encode(&key(), ENDS).to_vec();
    let cut = |len: usize| good[..len].to_vec();
    let mut longer = good.clone();
    longer.push(0);
    let value = |field, value| Refusal::Value { field, value };
    for (payload, refusal) in [
        (cut(0), Refusal::Length { length: 0 }),
        (cut(1), Refusal::Length { length: 1 }),
        (cut(LEN - 1), Refusal::Length { length: LEN - 1 }),
        (longer, Refusal::Length { length: LEN + 1 }),
        (with(0, &[2]), Refusal::Version { version: 2 }),
        (with(1, &[4]), value("state", 4)),
        (with(3, &[0]), value("multiplier", 0)),
        (with(4, &[0; 4]), value("desired interval", 0)),
        (with(8, &[0; 4]), value("required interval", 0)),
        (with(12, &[0; 8]), value("discriminator", 0)),
    ] {
        assert_eq!(
            Packet::decode(&payload, &key(), ENDS, HOPS),
            Err(refusal),
            "{payload:02x?}"
        );
    }
    for hops in [0, 1, 64, 254] {
        assert_eq!(
            Packet::decode(&good, &key(), ENDS, hops),
            Err(Refusal::Hops { hops })
        );
    }
}

#[test]
fn what_is_not_from_the_peer_is_forged() {
    let good = packet(State::Up, 9).encode(&key(), ENDS);
    let sent_back = ENDS.reversed();
    let by_another_link = ends(2, 1, 2);
    for other in [sent_back, by_another_link, ends(1, 3, 2)] {
        let heard = Packet::decode(&good, &key(), other, HOPS);
        assert_eq!(heard, Err(Refusal::Forged), "{other:?}");
    }
    for other in [
        Key::unprotected(),
        Key::from_secret(b"another"),
        Key::from_secret(&[0; 100]),
    ] {
        let heard = Packet::decode(&good, &other, ENDS, HOPS);
        assert_eq!(heard, Err(Refusal::Forged));
    }
    // Any single bit, but those of the version, which is named.
    for bit in 8..LEN * 8 {
        let mut spoilt = good;
        spoilt[bit / 8] ^= 1 << (bit % 8);
        let heard = Packet::decode(&spoilt, &key(), ENDS, HOPS);
        assert_eq!(heard, Err(Refusal::Forged), "bit {bit}");
    }
}

#[test]
fn the_key_is_not_told() {
    assert_eq!(format!("{:?}", key()), "Key(…)");
}

#[test]
fn each_refusal_has_its_name() {
    let named = [
        (Refusal::Hops { hops: 1 }, "hops"),
        (Refusal::Length { length: 1 }, "length"),
        (Refusal::Version { version: 2 }, "version"),
        (Refusal::Forged, "forged"),
        (
            Refusal::Value {
                field: "state",
                value: 9,
            },
            "value",
        ),
        (
            Refusal::Old {
                sequence: 1,
                heard: 1,
            },
            "old",
        ),
    ];
    for (refusal, name) in named {
        assert_eq!(Refusal::NAMES[refusal.index()], name);
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let state = prop::sample::select(State::ALL.to_vec());
    let micros = || (1u32..).prop_map(|micros| Micros::new(micros).expect("not 0"));
    let timing =
        (micros(), micros(), 1u8..).prop_map(|(desired_min_tx, required_min_rx, times)| Timing {
            desired_min_tx,
            required_min_rx,
            multiplier: Multiplier::new(times).expect("not 0"),
        });
    let numbers = (1u64.., any::<u64>(), any::<u64>());
    (state, any::<u8>(), timing, numbers).prop_map(|(state, diagnostic, timing, numbers)| Packet {
        state,
        diagnostic: Diagnostic::from_wire(diagnostic),
        timing,
        my_discriminator: numbers.0,
        your_discriminator: numbers.1,
        sequence: numbers.2,
    })
}

fn any_ends() -> impl Strategy<Value = Ends> {
    (any::<IpAddr>(), any::<IpAddr>()).prop_map(|(source, destination)| Ends {
        source,
        destination,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(packet in any_packet(), ends in any_ends()) {
        let payload = packet.encode(&key(), ends);
        prop_assert_eq!(Packet::decode(&payload, &key(), ends, HOPS), Ok(packet));
    }

    #[test]
    fn nothing_panics(payload in prop::collection::vec(any::<u8>(), 0..80), hops: u8) {
        prop_assert!(Packet::decode(&payload, &key(), ENDS, hops).is_err());
    }

    #[test]
    fn nothing_genuine_panics(mut message in prop::collection::vec(any::<u8>(), 36), timely: bool) {
        if timely {
            message[0] = 1;
            message[1] %= 4;
        }
        let code = key().code(ENDS, &message);
        message.extend(code);
        if let Ok(packet) = Packet::decode(&message, &key(), ENDS, HOPS) {
            prop_assert_eq!(packet.encode(&key(), ENDS).to_vec(), message);
        }
    }

    #[test]
    fn diagnostics_are_kept(number: u8) {
        prop_assert_eq!(Diagnostic::from_wire(number).to_wire(), number);
    }
}
