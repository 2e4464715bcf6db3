use super::{RENEW_MS, select};
use crate::abi::{
    Addr, BackendId, BackendState, Flow, FlowKey, FlowPhase, Mode, Service, Slot, Tracking,
};
use crate::hash;
use crate::parse::Kind::{Data, Open};
use crate::tables::RecordKind;
use crate::tests::memory::Memory;

const FLOW: FlowKey = FlowKey::new(Addr::v4([198, 51, 100, 10]), [0x9c, 0x40], 1);

/// The slot's owner, its old owner, and somebody else.
const B: BackendId = 2;
const A: BackendId = 1;
const C: BackendId = 3;

const DIRTY: Slot = Slot {
    current: B,
    previous: A,
};
const DRAINING: Slot = Slot {
    current: 0,
    previous: A,
};

fn service() -> Service {
    Service {
        hash_key: [1, 2],
        first_slot: 2,
        slot_count: 7,
        id: 1,
        mode: Mode::Nat as u8,
        flags: 0,
        pad: [0; 4],
    }
}

/// A world in which every slot of the service is `slot`, and A, B and C live.
fn world(slot: Slot) -> Memory {
    let mut world = Memory {
        slots: vec![Slot::EMPTY; 2],
        ..Memory::default()
    };
    world.slots.extend([slot; 7]);
    for id in [A, B, C] {
        world.set_state(id, BackendState::Alive);
    }
    // So that they can be told apart.
    for (id, backend) in (0..).zip(&mut world.backends) {
        backend.ifindex = id;
    }
    world
}

fn known(world: Memory, backend: BackendId, phase: FlowPhase) -> Memory {
    let flow = Flow {
        last_seen_ms: world.now_ms,
        backend,
        phase: phase as u16,
    };
    world.flows.borrow_mut().insert(FLOW, flow);
    world
}

fn chosen(world: &Memory, kind: crate::parse::Kind) -> Option<BackendId> {
    let (id, backend) = select(world, &service(), &FLOW, kind)?;
    assert_eq!(
        backend.ifindex,
        u32::from(id),
        "the backend is the one of the id"
    );
    Some(id)
}

/// What is recorded for the flow.
fn record(world: &Memory) -> Option<(BackendId, u16)> {
    let flow = world.flows.borrow().get(&FLOW).copied();
    flow.map(|flow| (flow.backend, flow.phase))
}

/// The backends and phases that were told.
fn told(world: &Memory) -> Vec<(BackendId, u16)> {
    let told = world.told.borrow();
    told.iter()
        .map(|(_, flow)| (flow.backend, flow.phase))
        .collect()
}

#[test]
fn a_clean_slot_asks_and_records_nothing() {
    for kind in [Open, Data] {
        let world = world(Slot::clean(A));
        assert_eq!(chosen(&world, kind), Some(A));
        assert_eq!(record(&world), None);
        for what in Tracking::ALL {
            assert_eq!(world.tracked(what), 0);
        }
    }
    // Not even what is known.
    let world = known(world(Slot::clean(A)), C, FlowPhase::Open);
    assert_eq!(chosen(&world, Data), Some(A));
}

#[test]
fn an_empty_slot_has_nobody() {
    for kind in [Open, Data] {
        let world = known(world(Slot::EMPTY), A, FlowPhase::Open);
        assert_eq!(chosen(&world, kind), None);
        assert_eq!(world.tracked(Tracking::Hit), 0);
    }
}

#[test]
fn a_dirty_slot_sends_new_connections_to_the_new_owner() {
    let world = world(DIRTY);
    assert_eq!(chosen(&world, Open), Some(B));
    assert_eq!(record(&world), Some((B, FlowPhase::Opening as u16)));
    assert_eq!(world.tracked(Tracking::Miss), 1);
    assert_eq!(world.tracked(Tracking::Recorded), 1);
    // And keeps them there.
    for (kind, phase) in [
        (Open, FlowPhase::Opening),
        (Data, FlowPhase::Open),
        (Open, FlowPhase::Open),
        (Data, FlowPhase::Open),
    ] {
        assert_eq!(chosen(&world, kind), Some(B), "{kind:?}");
        assert_eq!(record(&world), Some((B, phase as u16)), "{kind:?}");
    }
    assert_eq!(world.tracked(Tracking::Hit), 4);
    assert_eq!(world.tracked(Tracking::Recorded), 1);
}

#[test]
fn a_dirty_slot_keeps_old_connections_at_the_old_owner() {
    let world = world(DIRTY);
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(record(&world), Some((A, FlowPhase::Open as u16)));
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(world.tracked(Tracking::Hit), 1);
}

#[test]
fn a_settled_slot_follows_the_record_or_its_owner() {
    for kind in [Open, Data] {
        let unknown = world(Slot::settled(B));
        assert_eq!(chosen(&unknown, kind), Some(B));
        assert_eq!(record(&unknown), None);
        assert_eq!(unknown.tracked(Tracking::Miss), 1);

        let known = known(world(Slot::settled(B)), A, FlowPhase::Open);
        assert_eq!(chosen(&known, kind), Some(A));
        assert_eq!(known.tracked(Tracking::Hit), 1);
    }
}

#[test]
fn a_recorded_connection_stays_whoever_owns_the_slot() {
    for slot in [DIRTY, DRAINING, Slot::settled(B)] {
        for kind in [Open, Data] {
            let world = known(world(slot), C, FlowPhase::Open);
            assert_eq!(chosen(&world, kind), Some(C), "{slot:?} {kind:?}");
        }
    }
}

#[test]
fn what_cannot_be_recorded_goes_to_the_old_owner() {
    for kind in [Open, Data] {
        let mut full = world(DIRTY);
        full.room = 0;
        assert_eq!(chosen(&full, kind), Some(A));
        assert_eq!(full.tracked(Tracking::RefusedFull), 1);
        assert_eq!(full.tracked(Tracking::Recorded), 0);

        let spent = world(DIRTY);
        spent.budget[0].set(0);
        spent.budget[1].set(0);
        assert_eq!(chosen(&spent, kind), Some(A));
        assert_eq!(record(&spent), None);
        assert_eq!(spent.tracked(Tracking::RefusedRate), 1);
    }
}

#[test]
fn new_and_old_connections_have_budgets_of_their_own() {
    let flooded = world(DIRTY);
    flooded.budget[RecordKind::New as usize].set(0);
    assert_eq!(chosen(&flooded, Open), Some(A));
    assert_eq!(record(&flooded), None);
    assert_eq!(chosen(&flooded, Data), Some(A));
    assert_eq!(record(&flooded), Some((A, FlowPhase::Open as u16)));

    let flooded = world(DIRTY);
    flooded.budget[RecordKind::Old as usize].set(0);
    assert_eq!(chosen(&flooded, Data), Some(A));
    assert_eq!(record(&flooded), None);
    assert_eq!(chosen(&flooded, Open), Some(B));
}

#[test]
fn while_all_drain_connections_finish_and_none_begins() {
    let world = world(DRAINING);
    assert_eq!(chosen(&world, Open), None);
    assert_eq!(record(&world), None);
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(record(&world), Some((A, FlowPhase::Open as u16)));
    // Nor does a port that is used again make a difference: nobody can tell.
    assert_eq!(chosen(&world, Open), Some(A));
}

/// Its old owner died, but what was recorded for others is not over.
#[test]
fn while_nobody_owns_a_slot_recorded_connections_finish() {
    for kind in [Open, Data] {
        let mut unknown = world(DRAINING);
        unknown.set_state(A, BackendState::Dead);
        assert_eq!(chosen(&unknown, kind), None, "{kind:?}");
        assert_eq!(record(&unknown), None);

        let mut known = known(world(DRAINING), C, FlowPhase::Open);
        known.set_state(A, BackendState::Dead);
        assert_eq!(chosen(&known, kind), Some(C), "{kind:?}");
    }
}

/// It may be a client that uses its port again, and it may be somebody who wants to part another
/// one from its backend. Every packet must go where the others go.
#[test]
fn a_syn_does_not_part_a_connection_from_its_backend() {
    for slot in [DIRTY, DRAINING, Slot::settled(B)] {
        for backend in [A, B, C] {
            for phase in [FlowPhase::Opening, FlowPhase::Open] {
                let world = known(world(slot), backend, phase);
                assert_eq!(chosen(&world, Open), Some(backend), "{slot:?}");
                assert_eq!(record(&world), Some((backend, phase as u16)));
                assert_eq!(chosen(&world, Data), Some(backend), "{slot:?}");
                assert_eq!(world.tracked(Tracking::Hit), 2);
                assert_eq!(world.tracked(Tracking::Recorded), 0);
            }
        }
    }
}

/// Replacing a record needs neither room nor budget.
#[test]
fn a_dead_backends_record_is_taken_over_in_a_full_table() {
    for slot in [DIRTY, Slot::settled(B)] {
        let mut world = known(world(slot), C, FlowPhase::Open);
        world.set_state(C, BackendState::Dead);
        world.room = 0;
        world.budget[0].set(0);
        world.budget[1].set(0);
        assert_eq!(chosen(&world, Open), Some(B), "{slot:?}");
        assert_eq!(chosen(&world, Data), Some(B), "{slot:?}");
    }
}

/// Between being found and being replaced, a record may expire, and others take its place.
#[test]
fn a_connection_whose_record_cannot_be_replaced_is_unknown() {
    for (slot, expected) in [
        (DIRTY, Some(A)),
        (Slot::settled(B), Some(B)),
        (DRAINING, None),
    ] {
        let mut world = known(world(slot), C, FlowPhase::Open);
        world.set_state(C, BackendState::Dead);
        world.sealed = true;
        assert_eq!(chosen(&world, Open), expected, "{slot:?}");
        assert_eq!(world.tracked(Tracking::Recorded), 0);
    }
}

#[test]
fn a_record_of_a_dead_backend_says_nothing() {
    for state in [BackendState::Dead, BackendState::Unused] {
        for (slot, kind, expected) in [
            (DIRTY, Open, B),
            (DIRTY, Data, A),
            (Slot::settled(B), Open, B),
            (Slot::settled(B), Data, B),
        ] {
            let mut world = known(world(slot), C, FlowPhase::Open);
            world.set_state(C, state);
            assert_eq!(chosen(&world, kind), Some(expected), "{slot:?} {kind:?}");
            assert_eq!(world.tracked(Tracking::Miss), 1);
            assert_eq!(world.tracked(Tracking::Hit), 0);
        }
        let mut all_drain = known(world(DRAINING), C, FlowPhase::Open);
        all_drain.set_state(C, state);
        assert_eq!(chosen(&all_drain, Open), None);
    }
}

/// The record must not come back to life with its backend: the connection is elsewhere by then.
#[test]
fn a_connection_opened_while_its_backend_was_dead_stays_where_it_went() {
    for slot in [DIRTY, Slot::settled(B)] {
        let mut world = known(world(slot), C, FlowPhase::Open);
        world.set_state(C, BackendState::Dead);
        assert_eq!(chosen(&world, Open), Some(B));
        assert_eq!(record(&world), Some((B, FlowPhase::Opening as u16)));
        assert_eq!(world.tracked(Tracking::Recorded), 1);
        world.set_state(C, BackendState::Alive);
        for kind in [Open, Data] {
            assert_eq!(chosen(&world, kind), Some(B), "{slot:?} {kind:?}");
        }
    }
}

#[test]
fn records_are_renewed_when_they_are_old_enough() {
    let seen = |world: &Memory| world.flows.borrow()[&FLOW].last_seen_ms;
    let mut world = known(world(DIRTY), A, FlowPhase::Open);
    let first = seen(&world);
    world.now_ms += RENEW_MS - 1;
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(seen(&world), first);
    world.now_ms += 1;
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(seen(&world), world.now_ms);
}

#[test]
fn time_stamps_may_wrap() {
    let mut world = world(DIRTY);
    world.now_ms = u32::MAX - 10;
    let mut world = known(world, A, FlowPhase::Open);
    world.now_ms = RENEW_MS;
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(world.flows.borrow()[&FLOW].last_seen_ms, RENEW_MS);
}

/// Another CPU's clock may be ahead.
#[test]
fn time_stamps_do_not_go_back() {
    let mut world = known(world(DIRTY), A, FlowPhase::Open);
    let ahead = world.now_ms;
    world.now_ms -= 1;
    assert_eq!(chosen(&world, Data), Some(A));
    assert_eq!(world.flows.borrow()[&FLOW].last_seen_ms, ahead);
}

#[test]
fn what_becomes_known_is_told_as_it_is_recorded() {
    let mut world = world(DIRTY);
    assert_eq!(chosen(&world, Open), Some(B));
    assert_eq!(told(&world), [(B, FlowPhase::Opening as u16)]);
    // Its first other packet, and nothing after that.
    for _ in 0..3 {
        world.now_ms += RENEW_MS;
        assert_eq!(chosen(&world, Data), Some(B));
    }
    assert_eq!(
        told(&world),
        [(B, FlowPhase::Opening as u16), (B, FlowPhase::Open as u16)]
    );
    let last = world.told.borrow().last().copied();
    assert_eq!(last.map(|(key, _)| key), Some(FLOW));
    assert_eq!(
        last.map(|(_, flow)| flow.last_seen_ms),
        Some(world.now_ms - 2 * RENEW_MS)
    );
    assert_eq!(world.tracked(Tracking::Untold), 0);
}

#[test]
fn an_older_connection_is_told_when_it_is_found() {
    for slot in [DIRTY, DRAINING] {
        let world = world(slot);
        assert_eq!(chosen(&world, Data), Some(A));
        assert_eq!(chosen(&world, Data), Some(A));
        assert_eq!(told(&world), [(A, FlowPhase::Open as u16)], "{slot:?}");
    }
}

#[test]
fn a_record_that_is_taken_over_is_told() {
    for slot in [DIRTY, Slot::settled(B)] {
        let mut world = known(world(slot), C, FlowPhase::Open);
        world.set_state(C, BackendState::Dead);
        assert_eq!(chosen(&world, Open), Some(B));
        assert_eq!(told(&world), [(B, FlowPhase::Opening as u16)], "{slot:?}");
    }
}

#[test]
fn what_is_not_recorded_is_not_told() {
    for kind in [Open, Data] {
        for slot in [Slot::clean(A), Slot::EMPTY, Slot::settled(B)] {
            let world = world(slot);
            chosen(&world, kind);
            assert_eq!(told(&world), [], "{slot:?} {kind:?}");
        }
        let mut full = world(DIRTY);
        full.room = 0;
        assert_eq!(chosen(&full, kind), Some(A));
        assert_eq!(told(&full), [], "{kind:?}");

        let mut renewed = known(world(DIRTY), A, FlowPhase::Open);
        renewed.now_ms += RENEW_MS;
        assert_eq!(chosen(&renewed, kind), Some(A));
        assert_eq!(renewed.flows.borrow()[&FLOW].last_seen_ms, renewed.now_ms);
        assert_eq!(told(&renewed), [], "{kind:?}");

        let mut sealed = known(world(DIRTY), A, FlowPhase::Opening);
        sealed.sealed = true;
        assert_eq!(chosen(&sealed, kind), Some(A));
        assert_eq!(told(&sealed), [], "{kind:?}");
    }
}

/// The standby would miss a connection that nobody else loses.
#[test]
fn what_cannot_be_told_is_recorded_and_counted() {
    let mut world = world(DIRTY);
    world.listener = Some(0);
    assert_eq!(chosen(&world, Open), Some(B));
    assert_eq!(record(&world), Some((B, FlowPhase::Opening as u16)));
    assert_eq!(world.tracked(Tracking::Recorded), 1);
    assert_eq!(world.tracked(Tracking::Untold), 1);
    assert_eq!(chosen(&world, Data), Some(B));
    assert_eq!(record(&world), Some((B, FlowPhase::Open as u16)));
    assert_eq!(world.tracked(Tracking::Untold), 2);
    assert_eq!(told(&world), []);
}

#[test]
fn without_a_listener_nothing_is_told_or_missed() {
    let mut world = world(DIRTY);
    world.listener = None;
    assert_eq!(chosen(&world, Open), Some(B));
    assert_eq!(chosen(&world, Data), Some(B));
    assert_eq!(record(&world), Some((B, FlowPhase::Open as u16)));
    assert_eq!(told(&world), []);
    assert_eq!(world.tracked(Tracking::Untold), 0);
}

/// Idle time-outs are seconds: a record's age may be wrong by much less.
const _: () = assert!(RENEW_MS <= 500);

#[test]
fn the_hash_says_which_slot_a_flow_belongs_to() {
    let mut world = world(Slot::EMPTY);
    // Every slot of the service has an owner of its own, and so have those before and after.
    world.slots = (1..=11).map(Slot::clean).collect();
    for service in [
        service(),
        Service {
            hash_key: [3, 4],
            ..service()
        },
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for port in 1..500u16 {
            let flow = FlowKey {
                client_port: port.to_be_bytes(),
                ..FLOW
            };
            let hash = flow.hash(service.hash_key);
            let index = service.first_slot + hash::slot_of(hash, service.slot_count);
            let found = select(&world, &service, &flow, Data).map(|(id, _)| id);
            assert_eq!(found, Some(index as BackendId + 1));
            seen.insert(index);
        }
        assert_eq!(
            seen,
            (2..9).collect(),
            "slots of this service, and all of them"
        );
    }
}

#[test]
fn slots_that_do_not_exist_are_empty() {
    let mut world = world(Slot::clean(A));
    world.slots.clear();
    assert_eq!(chosen(&world, Open), None);
}

/// A service whose connections need not stay where they are.
fn chosen_untracked(world: &Memory, kind: crate::parse::Kind) -> Option<BackendId> {
    let service = Service {
        flags: Service::UNTRACKED,
        ..service()
    };
    select(world, &service, &FLOW, kind).map(|(id, _)| id)
}

#[test]
fn untracked_packets_go_to_the_owner_whatever_is_known() {
    const DEAD: Slot = Slot {
        current: 0,
        previous: C,
    };
    for (slot, expected) in [
        (Slot::clean(A), Some(A)),
        (DIRTY, Some(B)),
        (Slot::settled(B), Some(B)),
        (DRAINING, Some(A)),
        (DEAD, None),
        (Slot::EMPTY, None),
    ] {
        for kind in [Open, Data] {
            let mut world = known(world(slot), C, FlowPhase::Open);
            world.set_state(C, BackendState::Dead);
            let before = world.flows.borrow().clone();
            assert_eq!(chosen_untracked(&world, kind), expected, "{slot:?}");
            assert_eq!(*world.flows.borrow(), before, "nothing is recorded");
            assert!(Tracking::ALL.iter().all(|&what| world.tracked(what) == 0));
        }
    }
}
