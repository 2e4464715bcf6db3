use super::maglev::{Built, Member, build};
use super::slots::{assign, clean, settle};
use super::{World, desired, features};
use crate::config;
use crate::dataplane::Tables;
use crate::reconcile::{Step, plan};
use lb_ebpf::abi::{Addr, Feature, Features, Service, ServiceKey, Slot, proto};
use proptest::prelude::*;
use std::path::Path;

fn members(weights: &[u16]) -> Vec<Member> {
    (1u16..)
        .zip(weights)
        .map(|(id, &weight)| Member {
            id,
            identity: u64::from(id) << 16 | 8080,
            weight,
        })
        .collect()
}

fn count(table: &[u16], id: u16) -> usize {
    table.iter().filter(|&&owner| owner == id).count()
}

#[test]
fn equal_weights_get_equal_shares() {
    let members = members(&[1; 10]);
    let table = build(65_537, &members);
    for member in &members {
        // A member takes one slot a round, so shares differ by one at most.
        assert!((6553..=6554).contains(&count(&table, member.id)));
    }
}

#[test]
fn weights_are_shares() {
    let members = members(&[1, 2, 3, 4]);
    let table = build(65_537, &members);
    for member in &members {
        let share = count(&table, member.id) as f64 / 65_537.0;
        let fair = f64::from(member.weight) / 10.0;
        assert!((share - fair).abs() < 0.001, "{share} instead of {fair}");
    }
}

/// Per cent of the slots that changed hands, although neither hand was that of `member`.
fn disrupted(before: &[u16], after: &[u16], member: u16) -> f64 {
    let changed = before.iter().zip(after).filter(|&(b, a)| b != a);
    let needless = changed.filter(|&(b, a)| *b != member && *a != member);
    100.0 * needless.count() as f64 / before.len() as f64
}

/// Figure 12 of the paper: about 1 % with 100 slots a backend, less with more of them.
#[test]
fn losing_a_member_moves_few_slots_of_others() {
    for (count, heavy) in [
        (2, 1),
        (10, 1),
        (10, 3),
        (100, 1),
        (100, 2),
        (655, 1),
        (655, 2),
    ] {
        let mut weights = vec![1; count];
        weights.iter_mut().step_by(2).for_each(|w| *w = heavy);
        let members = members(&weights);
        let before = build(65_537, &members);
        for leaving in [0, 1, count / 2, count - 1] {
            let mut rest = members.clone();
            let leaving = rest.remove(leaving);
            let moved = disrupted(&before, &build(65_537, &rest), leaving.id);
            assert!(
                moved < 1.0,
                "{count}, {heavy}: {moved} % of the slots moved"
            );
        }
    }
}

#[test]
fn another_weight_moves_few_slots_of_others() {
    let members = members(&[2; 10]);
    let before = build(65_537, &members);
    let mut heavier = members;
    heavier[3].weight = 3;
    let after = build(65_537, &heavier);
    assert!(count(&after, 4) > count(&before, 4));
    let moved = disrupted(&before, &after, 4);
    assert!(moved < 1.0, "{moved} % of the slots moved");
}

#[test]
fn nobody_owns_anything_without_members() {
    assert!(build(251, &[]).iter().all(|&owner| owner == 0));
}

#[test]
fn a_table_that_was_built_is_used_until_its_members_change() {
    let (few, many) = (members(&[1, 2]), members(&[1, 2, 3]));
    let mut built = Built::default();
    let first = built.table(1, 251, &few).as_ptr();
    assert_eq!(built.table(1, 251, &few).as_ptr(), first, "built again");
    assert_eq!(built.table(1, 251, &many), build(251, &many));
    assert_eq!(built.table(2, 251, &few), build(251, &few));
    assert_eq!(built.table(1, 257, &many), build(257, &many));
    assert_eq!(built.table(1, 257, &[]), build(257, &[]));
    built.retain(|service| service == 2);
    assert_eq!(built.table(1, 251, &few), build(251, &few));
}

proptest! {
    /// All slots are owned, and shares are as near to the weights as whole rounds can bring them.
    #[test]
    fn shares_follow_any_weights(
        weights in prop::collection::vec(1u16..=1_000, 1..30),
        slots in prop::sample::select(vec![251u32, 4_093, 65_537]),
    ) {
        let members = members(&weights);
        let table = build(slots, &members);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for member in &members {
            let share = f64::from(member.weight) / total;
            let fair = f64::from(slots) * share;
            let found = count(&table, member.id) as f64;
            let round = 2.0 + weights.len() as f64 * share;
            prop_assert!((found - fair).abs() <= round, "{found} instead of {fair}");
        }
        prop_assert_eq!(count(&table, 0), 0);
    }

    #[test]
    fn order_does_not_matter(weights in prop::collection::vec(1u16..50, 1..20), seed: u64) {
        let mut members = members(&weights);
        let table = build(251, &members);
        let n = members.len();
        members.rotate_left((seed as usize) % n);
        members.reverse();
        prop_assert_eq!(build(251, &members), table);
    }
}

const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;

fn slot(current: u16, previous: u16) -> Slot {
    Slot { current, previous }
}

#[test]
fn a_slot_lives() {
    let all = |_| true;
    assert_eq!(assign(Slot::EMPTY, A, all), slot(A, A));
    assert_eq!(assign(slot(A, A), A, all), slot(A, A));
    assert_eq!(assign(slot(A, A), B, all), slot(B, A));
    assert_eq!(assign(slot(B, A), B, all), slot(B, A));
    assert_eq!(
        assign(slot(B, A), C, all),
        slot(C, A),
        "the oldest owner is kept"
    );
    assert_eq!(
        assign(slot(B, A), A, all),
        slot(A, 0),
        "it returned: settled"
    );
    assert_eq!(assign(slot(B, 0), C, all), slot(C, B));
    assert_eq!(assign(slot(B, 0), B, all), slot(B, 0));
    assert_eq!(
        assign(slot(A, A), 0, all),
        slot(0, A),
        "nobody takes over, a drains"
    );
    assert_eq!(assign(slot(0, A), B, all), slot(B, A));
    assert_eq!(assign(slot(0, A), A, all), slot(A, 0));
}

#[test]
fn the_dead_are_not_kept() {
    let but_a = |id| id != A;
    assert_eq!(
        assign(slot(A, A), B, but_a),
        slot(B, B),
        "nothing was recorded"
    );
    assert_eq!(assign(slot(B, A), B, but_a), slot(B, 0));
    assert_eq!(assign(slot(B, A), C, but_a), slot(C, 0));
    assert_eq!(assign(slot(A, 0), B, but_a), slot(B, 0));
    assert_eq!(assign(slot(A, A), 0, but_a), Slot::EMPTY);
    assert_eq!(
        assign(slot(A, A), A, but_a),
        slot(A, A),
        "kept for want of others"
    );
}

/// Recorded connections of those who drain go on, so the slot must not look as if it had none.
#[test]
fn a_slot_that_nobody_owns_remembers_that_something_is_recorded() {
    let nobody = |_| false;
    assert_eq!(assign(slot(B, A), 0, nobody), slot(0, A));
    assert_eq!(assign(slot(A, 0), 0, nobody), slot(0, A));
    assert_eq!(assign(slot(0, A), 0, nobody), slot(0, A));
    assert_eq!(assign(slot(0, A), B, nobody), slot(B, 0));
}

#[test]
fn a_slot_comes_to_rest() {
    assert_eq!(settle(slot(B, A)), slot(B, 0));
    assert_eq!(settle(slot(0, A)), slot(0, A));
    assert_eq!(settle(slot(A, A)), slot(A, A));
    assert_eq!(clean(slot(B, 0)), slot(B, B));
    assert_eq!(clean(slot(B, A)), slot(B, A));
    assert_eq!(clean(Slot::EMPTY), Slot::EMPTY);
}

#[test]
fn services_say_which_parts_of_the_program_they_need() {
    let [four, six] = [Addr::v4([192, 0, 2, 10]), Addr::v6([0x20; 16])];
    let none = Features::NONE;
    for (keys, needed) in [
        (vec![], none),
        (vec![ServiceKey::tcp(four, [0, 80])], none),
        (
            vec![ServiceKey::tcp(six, [0, 80])],
            none.with(Feature::Ipv6),
        ),
        (
            vec![ServiceKey::udp(four, [0, 53])],
            none.with(Feature::Udp),
        ),
        (
            vec![
                ServiceKey::udp(four, [0, 53]),
                ServiceKey::tcp(six, [0, 80]),
            ],
            none.with(Feature::Ipv6).with(Feature::Udp),
        ),
        (vec![ServiceKey::udp(six, [0, 53])], Features::ALL),
    ] {
        assert_eq!(features(&keys), needed, "{keys:?}");
    }
}

/// A service of UDP, tracked or not.
fn dns(tracked: bool) -> config::Config {
    let file = format!(
        "interfaces = [\"eth0\"]\n[[service]]\nname = \"dns\"\nslots = 251\n\
         vip = \"[2001:db8::10]:53/udp\"\ntracked = {tracked}\n\
         [service.check]\ntype = \"none\"\n\
         [[service.backend]]\nname = \"ns1\"\naddress = \"[2001:db8:2::11]:53\"\n"
    );
    config::parse(&file, Path::new("lbd.toml")).unwrap()
}

#[test]
fn a_service_of_ipv6_and_udp_is_in_the_tables() {
    let found = desired(&dns(false), &World::default(), &Tables::default()).unwrap();
    let (key, service) = found.tables.services.iter().next().unwrap();
    assert_eq!(
        (key.vip.to_string(), key.proto),
        ("2001:db8::10".to_owned(), proto::UDP)
    );
    assert_eq!(service.flags, Service::UNTRACKED);
    let (way_back, seen_as) = found.tables.reverse.iter().next().unwrap();
    assert_eq!(
        (way_back.addr.to_string(), way_back.proto),
        ("2001:db8:2::11".to_owned(), proto::UDP)
    );
    assert_eq!((seen_as.vip, seen_as.port), (key.vip, key.port));
}

/// It stays the service that it is, with its slots, and its ids.
#[test]
fn a_service_can_begin_to_be_tracked() {
    let before = desired(&dns(false), &World::default(), &Tables::default()).unwrap();
    let world = World {
        last_ids: before.last_ids,
        ..World::default()
    };
    let after = desired(&dns(true), &world, &before.tables).unwrap();
    assert_eq!(after.ids, before.ids);
    let service = |tables: &Tables| *tables.services.values().next().unwrap();
    let expected = Service {
        flags: 0,
        ..service(&before.tables)
    };
    assert_eq!(service(&after.tables), expected);
    let steps = plan(&before.tables, &after.tables);
    let sets = |step: &Step| matches!(step, Step::SetService(..));
    assert!(steps.iter().any(sets), "{steps:?}");
    assert!(
        steps
            .iter()
            .all(|step| sets(step) || matches!(step, Step::SetSlot(..)))
    );
}
