use super::*;
use lb_ebpf::abi::{Addr, BackendState, Reverse, ReverseKey, ServiceKey};

const IDLE_MS: u32 = 300_000;
const NOW_MS: u32 = 1_000;

const A: BackendId = 1;
const B: BackendId = 2;
const DEAD: BackendId = 3;

const SERVICE: Service = Service {
    hash_key: [1, 2],
    first_slot: 0,
    slot_count: 7,
    id: 5,
    mode: 0,
    flags: 0,
    pad: [0; 4],
};

const FLOW: FlowKey = FlowKey::new(Addr::v4([198, 51, 100, 10]), [0x9c, 0x40], SERVICE.id);

/// A service all of whose slots are `slot`.
fn tables(slot: Slot) -> Tables {
    let mut tables = Tables::default();
    let key = ServiceKey::tcp(Addr::v4([192, 0, 2, 10]), [0, 80]);
    tables.services.insert(key, SERVICE);
    for id in [A, B, DEAD] {
        let state = if id == DEAD {
            BackendState::Dead
        } else {
            BackendState::Alive
        };
        let backend = Backend {
            addr: Addr::v4([10, 0, 0, id as u8]),
            port: [0, 80],
            service: SERVICE.id,
            state: state as u8,
            ..Backend::default()
        };
        tables.backends.insert(id, backend);
        let reverse = Reverse::new(key.vip, key.port, id);
        let key = ReverseKey::tcp(backend.addr, backend.port);
        tables.reverse.insert(key, reverse);
    }
    tables.slots.insert(SERVICE.id, vec![slot; 7]);
    tables
}

fn slot(current: BackendId, previous: BackendId) -> Slot {
    Slot { current, previous }
}

/// A flow that was last seen so long ago.
fn flow(backend: BackendId, phase: FlowPhase, idle_ms: u32) -> Flow {
    Flow {
        last_seen_ms: NOW_MS.wrapping_sub(idle_ms),
        backend,
        phase: phase as u16,
    }
}

fn idle() -> IdleTimes {
    IdleTimes {
        usual: IDLE_MS,
        ..IdleTimes::default()
    }
}

/// Sweeps tables whose dirty slots have been so for a while.
fn swept(tables: &Tables, flows: &[(FlowKey, Flow)], dirty_ms: u32) -> Swept {
    let mut dirty = DirtySince::default();
    dirty.update(tables, NOW_MS.wrapping_sub(dirty_ms), false);
    let configured = BTreeSet::from([A, B, DEAD]);
    sweep(tables, flows, &dirty, &configured, (NOW_MS, &idle()))
}

/// The slots after a sweep, of which only the one of [`FLOW`] may differ from the others.
fn slots_after(before: Slot, flows: &[(FlowKey, Flow)], dirty_ms: u32) -> (Slot, Slot) {
    let slots = &swept(&tables(before), flows, dirty_ms).tables.slots[&SERVICE.id];
    let index = hash::slot_of(FLOW.hash(SERVICE.hash_key), 7) as usize;
    let other = slots[(index + 1) % 7];
    let others = slots.iter().enumerate().filter(|(at, _)| *at != index);
    assert!(others.clone().all(|(_, slot)| *slot == other));
    (slots[index], other)
}

#[test]
fn flows_expire_when_they_have_been_silent_for_the_idle_time() {
    for (phase, lifetime) in [(FlowPhase::Opening, 70_000), (FlowPhase::Open, IDLE_MS)] {
        let expired = |idle_ms| {
            let flows = [(FLOW, flow(A, phase, idle_ms))];
            swept(&tables(slot(B, A)), &flows, 0).expired
        };
        assert_eq!(expired(lifetime - 1), [], "{phase:?}");
        assert_eq!(expired(lifetime), [FLOW], "{phase:?}");
        // Seen by another CPU after the sweep began.
        assert_eq!(expired(0u32.wrapping_sub(5)), [], "{phase:?}");
    }
}

#[test]
fn flows_of_the_dead_and_of_services_that_are_gone_expire_at_once() {
    let gone = FlowKey { service: 6, ..FLOW };
    let flows = [
        (FLOW, flow(DEAD, FlowPhase::Open, 0)),
        (gone, flow(A, FlowPhase::Open, 0)),
    ];
    let swept = swept(&tables(Slot::clean(A)), &flows, 0);
    assert_eq!(swept.expired, [FLOW, gone]);
    assert_eq!(swept.recorded, BTreeMap::new());
}

#[test]
fn a_dirty_slot_settles_after_the_idle_time() {
    let flows = [(FLOW, flow(A, FlowPhase::Open, 0))];
    for dirty_ms in [0, IDLE_MS] {
        let (with, without) = slots_after(slot(B, A), &flows, dirty_ms);
        assert_eq!((with, without), (slot(B, A), slot(B, A)));
    }
    // One step at a time: nothing is clean before another look at the flows.
    let (with, without) = slots_after(slot(B, A), &flows, IDLE_MS + 1);
    assert_eq!((with, without), (slot(B, 0), slot(B, 0)));
    // Nobody takes over: what is recorded stays where it is, and the rest is no more.
    let (with, without) = slots_after(slot(0, A), &flows, IDLE_MS);
    assert_eq!((with, without), (slot(0, A), slot(0, A)));
    let (with, without) = slots_after(slot(0, A), &flows, IDLE_MS + 1);
    assert_eq!((with, without), (slot(0, A), Slot::EMPTY));
}

#[test]
fn a_settled_slot_is_clean_when_nothing_of_others_is_recorded() {
    let of = |backend, idle_ms| [(FLOW, flow(backend, FlowPhase::Open, idle_ms))];
    for (flows, expected) in [
        (of(A, 0), slot(B, 0)),
        (of(A, IDLE_MS), slot(B, B)),
        (of(B, 0), slot(B, B)),
        (of(DEAD, 0), slot(B, B)),
    ] {
        let (with, without) = slots_after(slot(B, 0), &flows, 0);
        assert_eq!((with, without), (expected, slot(B, B)));
    }
}

#[test]
fn nobodys_slot_is_empty_when_nothing_is_recorded() {
    let flows = [(FLOW, flow(B, FlowPhase::Open, 0))];
    let (with, without) = slots_after(slot(0, DEAD), &flows, 0);
    assert_eq!((with, without), (slot(0, DEAD), Slot::EMPTY));
}

#[test]
fn a_slot_keeps_its_time_while_it_is_dirty() {
    let mut dirty = DirtySince::default();
    let since = |dirty: &DirtySince| dirty.since(SERVICE.id, 3);
    dirty.update(&tables(slot(B, A)), 1, false);
    dirty.update(&tables(slot(DEAD, A)), 2, false);
    assert_eq!((since(&dirty), dirty.count()), (Some(1), 7));
    // What could not be recorded may live anywhere.
    dirty.update(&tables(slot(B, A)), 3, true);
    assert_eq!(since(&dirty), Some(3));
    dirty.update(&tables(slot(A, 0)), 4, false);
    assert_eq!(dirty.count(), 0);
    dirty.update(&tables(slot(B, A)), 5, false);
    assert_eq!(since(&dirty), Some(5));
}

#[test]
fn a_backend_is_free_when_nothing_names_it() {
    let none = BTreeSet::new();
    let free = |slot, flows: &[_], configured: &BTreeSet<_>| {
        let (tables, dirty) = (tables(slot), DirtySince::default());
        let swept = sweep(&tables, flows, &dirty, configured, (NOW_MS, &idle()));
        for (id, service) in &swept.free {
            assert!(!swept.tables.backends.contains_key(id) && *service == SERVICE.id);
        }
        let left = swept.tables.reverse.values().map(|reverse| reverse.backend);
        let left: BTreeSet<_> = left.collect();
        assert_eq!(left, swept.tables.backends.keys().copied().collect());
        swept.free.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    assert_eq!(free(Slot::clean(A), &[], &none), [B, DEAD]);
    assert_eq!(free(slot(B, A), &[], &none), [DEAD]);
    assert_eq!(free(Slot::clean(A), &[], &BTreeSet::from([DEAD])), [B]);
    let flows = [(FLOW, flow(B, FlowPhase::Open, 0))];
    assert_eq!(free(Slot::clean(A), &flows, &none), [DEAD]);
}

#[test]
fn a_service_may_have_an_idle_time_of_its_own() {
    let tables = tables(Slot::settled(B));
    let seen = |idle_ms| Flow {
        last_seen_ms: NOW_MS.wrapping_sub(idle_ms),
        backend: B,
        phase: FlowPhase::Open as u16,
    };
    for (others, lifetime) in [
        (BTreeMap::new(), IDLE_MS),
        (BTreeMap::from([(SERVICE.id + 1, 7)]), IDLE_MS),
        (BTreeMap::from([(SERVICE.id, 7)]), 7),
        (BTreeMap::from([(SERVICE.id, IDLE_MS * 2)]), IDLE_MS * 2),
    ] {
        let longest = others.values().copied().max().unwrap_or(0).max(IDLE_MS);
        let idle = IdleTimes {
            usual: IDLE_MS,
            others,
        };
        assert_eq!(idle.longest(), longest);
        for (idle_ms, expires) in [(lifetime - 1, false), (lifetime, true)] {
            let flows = [(FLOW, seen(idle_ms))];
            let nothing = BTreeSet::new();
            let times = (NOW_MS, &idle);
            let swept = sweep(&tables, &flows, &DirtySince::default(), &nothing, times);
            assert_eq!(swept.expired.len(), usize::from(expires), "{idle:?}");
        }
    }
}
