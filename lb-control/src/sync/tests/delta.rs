//! Differences of tables, there and back, and what cannot be one.

use super::tables;
use crate::dataplane::Tables;
use crate::sync::delta::{Delta, Fault, digest, shared};
use lb_ebpf::abi::{Addr, ServiceId, ServiceKey, capacity};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Few addresses and ids, so that two of these have much in common, and ids that are another
/// service's.
fn some_tables() -> impl Strategy<Value = Tables> {
    let service = (0..6u16, vec((0..4u16, 0..4u16), 0..24));
    let services = proptest::collection::btree_map(0..5u8, service, 0..5);
    (services, 1..3u8).prop_map(|(services, host)| {
        // An id belongs to one service.
        let by_id: BTreeMap<_, _> = services
            .iter()
            .map(|(number, (id, slots))| (*id, (*number, slots)))
            .collect();
        let sketch: Vec<_> = by_id
            .iter()
            .map(|(id, (number, slots))| (*number, *id, slots.as_slice()))
            .collect();
        tables(&sketch, host)
    })
}

fn encoded(delta: &Delta) -> Vec<u8> {
    let mut bytes = Vec::new();
    delta.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn what_is_encoded_decoded_and_applied_is_what_was_to_be(
        before in some_tables(),
        after in some_tables(),
    ) {
        let (mut before, after) = (shared(&before), shared(&after));
        let delta = Delta::between(&before, &after);
        prop_assert_eq!(delta.is_empty(), before == after);
        let bytes = encoded(&delta);
        let read = Delta::decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&delta));
        prop_assert_eq!(read?.apply(&mut before), Ok(()));
        prop_assert_eq!(before, after);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_refused_or_a_beginning(
        before in some_tables(),
        after in some_tables(),
    ) {
        let delta = Delta::between(&shared(&before), &shared(&after));
        let bytes = encoded(&delta);
        for length in 0..bytes.len() {
            match Delta::decode(&bytes[..length]) {
                Ok(part) => prop_assert_eq!(encoded(&part), &bytes[..length]),
                Err(fault) => prop_assert_eq!(fault, Fault::Length),
            }
        }
    }

    /// And what can be read either fits or leaves the tables as they were.
    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), before in some_tables()) {
        check_any(&bytes, &before)?;
    }

    /// Nearly right ones go deeper.
    #[test]
    fn no_damage_panics(
        before in some_tables(),
        after in some_tables(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (before, after) = (shared(&before), shared(&after));
        let mut bytes = encoded(&Delta::between(&before, &after));
        for (index, byte) in damage {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        check_any(&bytes, &before)?;
    }

    #[test]
    fn digests_are_the_same_exactly_when_shared_tables_are(
        one in some_tables(),
        other in some_tables(),
    ) {
        let (one, other) = (shared(&one), shared(&other));
        prop_assert_eq!(digest(&one) == digest(&other), one == other);
    }
}

fn check_any(bytes: &[u8], before: &Tables) -> Result<(), TestCaseError> {
    let Ok(delta) = Delta::decode(bytes) else {
        return Ok(());
    };
    let mut tables = before.clone();
    if delta.apply(&mut tables).is_err() {
        prop_assert_eq!(&tables, before);
        return Ok(());
    }
    for service in tables.services.values() {
        let slots = tables.slots.get(&service.id).map(Vec::len);
        prop_assert_eq!(slots, Some(service.slot_count as usize));
        prop_assert!(service.first_slot.checked_add(service.slot_count).is_some());
    }
    prop_assert_eq!(tables.slots.len(), tables.services.len());
    Ok(())
}

#[test]
fn next_hops_are_not_shared() {
    let sketch: &[super::Sketch<'_>] = &[(1, 1, &[(1, 1), (2, 1)])];
    let (one, other) = (tables(sketch, 1), tables(sketch, 2));
    assert_ne!(one, other);
    assert_eq!(shared(&one), shared(&other));
    assert_eq!(digest(&shared(&one)), digest(&shared(&other)));
}

#[test]
fn an_id_goes_from_one_service_to_another() {
    let one: &[(u16, u16)] = &[(1, 1), (1, 1), (1, 1)];
    let other: &[(u16, u16)] = &[(2, 2), (2, 2)];
    let before = tables(&[(1, 1, one), (2, 2, other)], 0);
    for after in [
        tables(&[(1, 2, one), (2, 1, other)], 0),
        tables(&[(2, 1, other)], 0),
        tables(&[(3, 1, one)], 0),
        tables(&[(1, 3, one), (3, 1, other)], 0),
        tables(&[], 0),
    ] {
        let mut tables = before.clone();
        let bytes = encoded(&Delta::between(&before, &after));
        let delta = Delta::decode(&bytes).expect("what was encoded");
        assert_eq!(delta.apply(&mut tables), Ok(()));
        assert_eq!(tables, after);
    }
}

#[test]
fn few_changes_are_short() {
    let slots = vec![(1, 1); capacity::SLOTS_PER_SERVICE];
    let before = tables(&[(1, 1, &slots)], 0);
    let mut after = before.clone();
    let changed = after.slots.get_mut(&1).expect("a service");
    for slot in changed.iter_mut().step_by(1_000) {
        slot.current = 2;
    }
    // A kind, an id, a place, a length and a slot each.
    let bytes = encoded(&Delta::between(&before, &after));
    assert_eq!(bytes.len(), 66 * (1 + 2 + 4 + 4 + 4));

    // Where every other slot changes, what is between is sent, too.
    let changed = after.slots.get_mut(&1).expect("a service");
    for slot in changed.iter_mut().step_by(2) {
        slot.current = 3;
    }
    let bytes = encoded(&Delta::between(&before, &after));
    assert_eq!(bytes.len(), 11 + 4 * capacity::SLOTS_PER_SERVICE);

    // A backend that went down.
    let mut after = before.clone();
    after.backends.get_mut(&1).expect("a backend").state = 2;
    assert!(encoded(&Delta::between(&before, &after)).len() < 30);
}

#[test]
fn empty_slots_of_a_new_service_are_not_sent() {
    let slots = vec![(0, 0); capacity::SLOTS_PER_SERVICE];
    let after = tables(&[(1, 1, &slots)], 0);
    let bytes = encoded(&Delta::between(&Tables::default(), &after));
    assert!(bytes.len() < 60, "{}", bytes.len());
}

#[test]
fn a_length_is_not_believed() {
    let claim = [
        &[4, 0, 1, 0, 0, 0, 0][..],
        &u32::MAX.to_be_bytes(),
        &[0; 400],
    ]
    .concat();
    assert_eq!(Delta::decode(&claim), Err(Fault::Length));
}

#[test]
fn room_for_slots_is_not_made_for_more_services_than_can_be_sent() {
    let service = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut entry = vec![1];
        entry.extend(Addr::v4([192, 0, high, low]).octets());
        entry.extend([0, 80, 6]);
        entry.extend([0; 20]);
        entry.extend(65_537u32.to_be_bytes());
        entry.extend(number.to_be_bytes());
        entry.extend([0, 0]);
        entry
    };
    let many: Vec<u8> = (0..4_096).flat_map(service).collect();
    let delta = Delta::decode(&many).expect("well-formed");
    let mut tables = Tables::default();
    assert_eq!(delta.apply(&mut tables), Err(Fault::TooLong));
    assert_eq!(tables, Tables::default());
}

#[test]
fn what_does_not_fit_says_why_and_changes_nothing() {
    let before = tables(&[(1, 1, &[(1, 1), (1, 1)])], 0);
    let with = |change: &dyn Fn(&mut Delta)| {
        let mut delta = Delta::default();
        delta.backends.insert(1, None);
        change(&mut delta);
        let mut tables = before.clone();
        let fault = delta.apply(&mut tables).expect_err("it does not fit");
        assert_eq!(tables, before, "{fault}");
        fault
    };
    let key = ServiceKey::tcp(Addr::v4([192, 0, 2, 1]), [0, 80]);
    let service = before.services[&key];
    let slot = before.slots[&1][0];

    assert_eq!(
        with(&|delta| delta.slots.push((2, 0, vec![slot]))),
        Fault::NoService(2)
    );
    for (first, count) in [(0, 3), (1, 2), (2, 1), (u32::MAX, 1)] {
        let run = vec![slot; count];
        assert_eq!(
            with(&|delta| delta.slots.push((1, first, run.clone()))),
            Fault::TooMany(1, count as u32),
            "{count} from {first} on"
        );
    }
    let with_service = |id: ServiceId, first_slot, slot_count| {
        with(&|delta| {
            let service = lb_ebpf::abi::Service {
                first_slot,
                slot_count,
                id,
                ..service
            };
            let other = ServiceKey::tcp(Addr::v4([192, 0, 2, 9]), [0, 80]);
            delta.services.insert(other, Some(service));
        })
    };
    assert_eq!(with_service(2, 0, 65_538), Fault::TooMany(2, 65_538));
    assert_eq!(with_service(2, u32::MAX, 2), Fault::TooMany(2, 2));
    assert_eq!(with_service(1, 0, 2), Fault::Twice(1));
}

#[test]
fn unknown_kinds_are_named() {
    for kind in [0, 5, 0x80, 0x84, 0x7f] {
        let found = Delta::decode(&[kind, 0, 0]);
        assert_eq!(found, Err(Fault::Kind(kind)));
    }
}
