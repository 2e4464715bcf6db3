//! Advertisements that are nearly right.

use super::{centiseconds, host, params, priority, virtual_addresses, vrid};
use crate::proto::mutation::nearly;
use crate::proto::vrrp::packet::{GROUP_V4, GROUP_V6, HOPS};
use crate::proto::vrrp::seal::{Key, Sealer, Verifier, strip};
use crate::proto::vrrp::{Addresses, Advert, ChecksumForm, Claim, Ends, Machine, State};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const ENDS: Ends = Ends::V4 {
    source: Ipv4Addr::new(192, 0, 2, 1),
    destination: GROUP_V4,
};
const ENDS_V6: Ends = Ends::V6 {
    source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    destination: GROUP_V6,
};

fn adverts(ends: Ends) -> Vec<Vec<u8>> {
    let many = |count: u8| match ends {
        Ends::V4 { .. } => {
            let each = (1..=count).map(|last| Ipv4Addr::new(192, 0, 2, last));
            Addresses::v4(each.collect())
        }
        Ends::V6 { .. } => {
            let each = (1..=count).map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()));
            Addresses::v6(each.collect())
        }
    };
    let mut adverts = Vec::new();
    for claim in [
        Claim::Release,
        Claim::Lead(priority(1)),
        Claim::Lead(priority(200)),
    ] {
        for (interval, count) in [(1, 1), (10, 2), (4_095, 20), (100, 255)] {
            let advert = Advert {
                vrid: vrid(51),
                claim,
                interval: centiseconds(interval),
                addresses: many(count).expect("addresses"),
            };
            for form in [ChecksumForm::Message, ChecksumForm::WithPseudoHeader] {
                adverts.push(advert.encode(ends, form).expect("of one family"));
            }
        }
    }
    adverts
}

/// Has the checksum fit, over the message alone.
fn sum_right(message: &mut [u8]) {
    if message.len() < 8 {
        return;
    }
    message[6..8].fill(0);
    let words = message.chunks(2);
    let mut sum: u64 = words
        .map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[6..8].copy_from_slice(&(!sum as u16).to_be_bytes());
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_meant(
        mut payload in nearly(adverts(ENDS)),
        summed in prop::bool::weighted(0.9),
    ) {
        if summed {
            sum_right(&mut payload);
        }
        if let Ok(advert) = Advert::decode(&payload, ENDS, HOPS) {
            let again = advert.encode(ENDS, ChecksumForm::Message).expect("IPv4");
            // But for the reserved bits, and the form of the sum.
            prop_assert_eq!(again.len(), payload.len());
            prop_assert_eq!(&again[..4], &payload[..4]);
            prop_assert_eq!(&again[8..], &payload[8..]);
            prop_assert_eq!(Advert::decode(&again, ENDS, HOPS), Ok(advert));
        }
    }

    /// Its checksum cannot be without the pseudo-header.
    #[test]
    fn over_ipv6_what_is_read_is_what_was_meant(payload in nearly(adverts(ENDS_V6))) {
        if let Ok(advert) = Advert::decode(&payload, ENDS_V6, HOPS) {
            let again = advert.encode(ENDS_V6, ChecksumForm::Message).expect("IPv6");
            prop_assert_eq!(Advert::decode(&again, ENDS_V6, HOPS), Ok(advert));
        }
    }

    /// Whatever a router hears, it stays in one of its states, and does what follows from it.
    #[test]
    fn a_router_stands_whatever_it_hears(
        payloads in prop::collection::vec(nearly(adverts(ENDS)), 1..8),
        leads: bool,
    ) {
        let mut now = Instant::now();
        let mut machine = Machine::new(params());
        match leads {
            true => machine.resume(now),
            false => machine.start(now),
        }
        let mut led = false;
        for mut payload in payloads {
            sum_right(&mut payload);
            let refused = |machine: &Machine| machine.counters().refused.values().sum::<u64>();
            let before = refused(&machine);
            let heard = machine.on_packet(now, &payload, ENDS, HOPS);
            prop_assert_eq!(refused(&machine) - before, u64::from(heard.is_err()));
            now = machine.deadline().expect("it runs").max(now);
            machine.on_timeout(now);
            while let Some(effect) = machine.next_effect() {
                use crate::proto::vrrp::Effect::{Lead, Yield};
                match effect {
                    Lead { .. } => prop_assert!(!std::mem::replace(&mut led, true)),
                    Yield { .. } => prop_assert!(std::mem::replace(&mut led, false)),
                    _ => {}
                }
            }
            prop_assert_eq!(led, machine.state() == State::Active);
        }
    }

    /// What the other host has sealed is opened, and nothing that is nearly that.
    #[test]
    fn nothing_is_opened_but_what_was_sealed(payload in nearly(sealed())) {
        let mut verifier = Verifier::new(key(), vrid(51));
        let opened = verifier.open(&payload, ENDS, &[7]).map(<[u8]>::to_vec);
        let sealed = sealed();
        let is_genuine = sealed.contains(&payload);
        prop_assert_eq!(opened.is_ok(), is_genuine);
        if let Ok(advert) = opened {
            prop_assert_eq!(strip(&payload, ENDS), advert);
        }
        prop_assert!(!is_genuine || verifier.open(&payload, ENDS, &[7]).is_err());
    }
}

fn key() -> Key {
    Key::from_secret(b"a secret of the pair")
}

fn sealed() -> Vec<Vec<u8>> {
    let mut sealer = Sealer::new(key());
    let seal = |advert| sealer.seal(advert, ENDS, 7, 1);
    adverts(ENDS).into_iter().map(seal).collect()
}

#[test]
fn the_messages_are_right_as_they_are() {
    for ends in [ENDS, ENDS_V6] {
        for payload in adverts(ends) {
            assert!(Advert::decode(&payload, ends, HOPS).is_ok());
        }
    }
    let mut summed = adverts(ENDS);
    for payload in &mut summed {
        sum_right(payload);
        assert!(Advert::decode(payload, ENDS, HOPS).is_ok());
    }
    // They are those of a peer.
    assert_ne!(host(5), IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)));
    assert!(!virtual_addresses().is_ipv6());
}
