//! What is not the other host's, or is none of its latest, is refused.

use super::{centiseconds, priority, virtual_addresses, vrid};
use crate::proto::vrrp::seal::{Key, LEN, Sealer, Verifier, strip};
use crate::proto::vrrp::{Advert, ChecksumForm, Claim, Ends, Refusal};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const SESSION: u64 = 0x0102_0304_0506_0708;
const ENDS: Ends = Ends::V4 {
    source: Ipv4Addr::new(192, 0, 2, 1),
    destination: Ipv4Addr::new(192, 0, 2, 2),
};

fn key() -> Key {
    Key::from_secret(b"a secret of the pair")
}

fn verifier() -> Verifier {
    Verifier::new(key(), vrid(51))
}

fn advert() -> Vec<u8> {
    let advert = Advert {
        vrid: vrid(51),
        claim: Claim::Lead(priority(254)),
        interval: centiseconds(10),
        addresses: virtual_addresses(),
    };
    advert.encode(ENDS, ChecksumForm::Message).expect("IPv4")
}

/// Sealed by a host whose clock says so.
fn sealed(session: u64, clock: u64) -> Vec<u8> {
    Sealer::new(key()).seal(advert(), ENDS, session, clock)
}

/// Computed with Python's hmac and hashlib.
#[test]
fn every_byte_is_where_it_is_said_to_be() {
    let sealed = sealed(SESSION, 0x1112_1314_1516_1718);
    let (message, seal) = sealed.split_at(advert().len());
    assert_eq!(message, advert());
    assert_eq!(seal.len(), LEN);
    #[rustfmt::skip]
    let expected = [
        0x48, 1,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
    ];
    assert_eq!(seal[..18], expected);
    let code = [
        0x8f, 0x76, 0xe7, 0x90, 0xa5, 0x2b, 0x1b, 0x29, 0xf2, 0x97, 0x37, 0xc2, 0xac, 0x8e, 0xef,
        0x67,
    ];
    assert_eq!(seal[18..], code);
}

#[test]
fn what_the_other_host_has_sealed_is_heard_once() {
    for proven in [[0, 0], [SESSION, 0], [7, SESSION]] {
        let mut verifier = verifier();
        let (first, second) = (sealed(SESSION, 5), sealed(SESSION, 6));
        let mut open = |payload| verifier.open(payload, ENDS, &proven).map(<[u8]>::to_vec);
        assert_eq!(open(&first), Ok(advert()));
        assert_eq!(open(&first), Err(Refusal::Replayed));
        assert_eq!(open(&second), Ok(advert()));
        assert_eq!(open(&first), Err(Refusal::Replayed), "reordered");
        assert_eq!(open(&second), Err(Refusal::Replayed));
    }
}

#[test]
fn counters_rise_though_the_clock_stands() {
    let (mut sealer, mut verifier) = (Sealer::new(key()), verifier());
    for clock in [9, 9, 3, 10] {
        let sealed = sealer.seal(advert(), ENDS, SESSION, clock);
        assert_eq!(verifier.open(&sealed, ENDS, &[SESSION]), Ok(&*advert()));
    }
}

#[test]
fn of_an_earlier_session_nothing_is_heard_as_long_as_heartbeats_name_the_present_one() {
    let mut verifier = verifier();
    let old = |clock| sealed(SESSION, clock);
    assert!(verifier.open(&old(5), ENDS, &[SESSION, 0]).is_ok());
    let mut open = |payload: &[u8], proven| verifier.open(payload, ENDS, &[proven]).map(drop);
    assert_eq!(open(&old(6), 8), Err(Refusal::OtherSession));
    assert_eq!(open(&old(5), 8), Err(Refusal::Replayed));
    assert_eq!(open(&sealed(8, 1), 8), Ok(()));
    assert_eq!(open(&old(6), 8), Err(Refusal::OtherSession));
    // Nobody knows. What was heard before is known all the same.
    assert_eq!(open(&old(5), 0), Err(Refusal::Replayed));
    assert_eq!(open(&sealed(8, 1), 0), Err(Refusal::Replayed));
    assert_eq!(open(&sealed(8, 2), 0), Ok(()));
    assert_eq!(open(&sealed(9, 1), 0), Ok(()));
}

#[test]
fn what_is_remembered_is_bounded_and_the_session_that_goes_on_is_not_forgotten() {
    let mut verifier = verifier();
    let mut open = |session, clock| verifier.open(&sealed(session, clock), ENDS, &[]).map(drop);
    for other in 100..200 {
        assert_eq!(open(SESSION, other), Ok(()));
        assert_eq!(open(other, 1), Ok(()));
        assert_eq!(open(SESSION, other), Err(Refusal::Replayed));
    }
    assert_eq!(
        verifier.open(&sealed(199, 1), ENDS, &[]),
        Err(Refusal::Replayed)
    );
    assert_eq!(verifier.open(&sealed(100, 1), ENDS, &[]), Ok(&*advert()));
}

#[test]
fn a_seal_is_for_one_way_and_one_key() {
    let sealed = sealed(SESSION, 5);
    let back = Ends::V4 {
        source: Ipv4Addr::new(192, 0, 2, 2),
        destination: Ipv4Addr::new(192, 0, 2, 1),
    };
    let other_source = Ends::V4 {
        source: Ipv4Addr::new(192, 0, 2, 3),
        destination: Ipv4Addr::new(192, 0, 2, 2),
    };
    for ends in [back, other_source] {
        assert_eq!(verifier().open(&sealed, ends, &[]), Err(Refusal::Forged));
    }
    let mut stranger = Verifier::new(Key::from_secret(b"another"), vrid(51));
    assert_eq!(stranger.open(&sealed, ENDS, &[]), Err(Refusal::Forged));
    let mut heartbeats = Verifier::new(Key::from_secret(b""), vrid(51));
    assert_eq!(heartbeats.open(&sealed, ENDS, &[]), Err(Refusal::Forged));
}

#[test]
fn another_virtual_router_is_another_matter_and_cannot_lend_its_seal() {
    let mut other = Verifier::new(key(), vrid(52));
    let sealed = sealed(SESSION, 5);
    let refused = Refusal::OtherVrid {
        theirs: vrid(51),
        ours: vrid(52),
    };
    assert_eq!(other.open(&sealed, ENDS, &[]), Err(refused));
    let mut renamed = sealed;
    renamed[1] = 52;
    assert_eq!(other.open(&renamed, ENDS, &[]), Err(Refusal::Forged));
}

#[test]
fn advertisements_over_ipv6_are_sealed_too() {
    let ends = Ends::V6 {
        source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12),
    };
    let mut advert = vec![0x31, 51, 254, 1, 0, 10, 0, 0];
    advert.extend([0xfe; 16]);
    let sealed = Sealer::new(key()).seal(advert.clone(), ends, SESSION, 5);
    assert_eq!(verifier().open(&sealed, ends, &[SESSION]), Ok(&*advert));
    assert_eq!(verifier().open(&advert, ends, &[]), Err(Refusal::Forged));
}

#[test]
fn without_a_pair_seals_are_not_looked_at() {
    assert_eq!(strip(&sealed(SESSION, 5), ENDS), advert());
    assert_eq!(strip(&advert(), ENDS), advert());
    let mut longer = sealed(SESSION, 5);
    longer.push(0);
    assert_eq!(strip(&longer, ENDS), longer);
}

proptest! {
    #[test]
    fn what_is_cut_off_is_refused(keep in 0..advert().len() + LEN) {
        let sealed = sealed(SESSION, 5);
        prop_assert_eq!(verifier().open(&sealed[..keep], ENDS, &[]), Err(Refusal::Forged));
    }

    #[test]
    fn what_has_a_bit_changed_is_refused(at: prop::sample::Index, bit in 0..8) {
        let mut sealed = sealed(SESSION, 5);
        sealed[at.index(advert().len() + LEN)] ^= 1_u8 << bit;
        let refused = verifier().open(&sealed, ENDS, &[SESSION]).map(<[u8]>::to_vec);
        // One bit of the VRID makes it another router's.
        let other = matches!(refused, Err(Refusal::OtherVrid { .. }));
        prop_assert!(other == (sealed[1] != 51) && refused.is_err(), "{:?}", refused);
        prop_assert!(other || refused == Err(Refusal::Forged));
    }

    #[test]
    fn anything_may_arrive(bytes: Vec<u8>) {
        prop_assert!(verifier().open(&bytes, ENDS, &[]).is_err());
        prop_assert!(bytes.starts_with(strip(&bytes, ENDS)));
    }

    #[test]
    fn each_is_heard_at_most_once_in_whatever_order(
        order in proptest::collection::vec((0..3_u64, 0..8_u64), 1..40),
    ) {
        let mut verifier = verifier();
        let mut latest = [None; 3];
        for (session, clock) in order {
            let sealed = sealed(session + 1, clock + 1);
            let news = latest[session as usize].is_none_or(|last| last < clock);
            prop_assert_eq!(verifier.open(&sealed, ENDS, &[]).is_ok(), news);
            if news {
                latest[session as usize] = Some(clock);
            }
        }
    }
}
