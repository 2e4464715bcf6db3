//! Which backend a connection belongs to: the stateless-first rule.
//!
//! On a clean slot nothing is looked up and nothing is recorded: the cost does not depend on how
//! many connections exist, and a SYN flood leaves no trace. Only the slots whose owner changed ask
//! the flow table, and only until every connection of the old owner is known or gone.
//!
//! | slot            | recorded flow | SYN                       | anything else               |
//! |-----------------|---------------|---------------------------|-----------------------------|
//! | clean `{a, a}`  | not looked up | a                         | a                           |
//! | dirty `{b, a}`  | its backend   | b, recorded; if refused a | a, recorded at a bounded rate |
//! | settled `{b, –}`| its backend   | b                         | b                           |
//! | empty           | not looked up | none                      | none                        |
//!
//! A SYN that cannot be recorded goes to the *old* owner, whose connections need no record. So a
//! flood that fills the table delays a change; it breaks nothing.
//!
//! How slots move from state to state is userspace's part (`lb_control::desired::slots`). The idea
//! is known as JET, "just enough tracking" (CoNEXT 2021, doi 10.1145/3485983.3494851).

use crate::abi::{
    Backend, BackendId, Flow, FlowKey, FlowPhase, Service, Slot, SlotState, Tracking,
};
use crate::hash;
use crate::parse::SegmentKind;
use crate::tables::{RecordKind, Tables};

/// How old a record's time stamp may grow before a packet renews it. Small against any idle
/// time-out, large against the rate of packets of one flow.
pub const RENEW_MS: u32 = 100;

/// The backend that a client's segment goes to, if the service has one.
#[inline(always)]
pub fn select<'t, T: Tables>(
    tables: &'t T,
    service: &Service,
    flow: &FlowKey,
    kind: SegmentKind,
) -> Option<(BackendId, &'t Backend)> {
    let hash = hash::keyed(service.hash_key, flow.word());
    let index = service.first_slot + hash::slot_of(hash, service.slot_count);
    let slot = tables.slot(index).unwrap_or(Slot::EMPTY);
    let id = match slot.state() {
        SlotState::Empty => return None,
        SlotState::Clean(owner) => owner,
        SlotState::Settled(owner) => recorded(tables, flow, kind).unwrap_or(owner),
        SlotState::Dirty { current, previous } => match recorded(tables, flow, kind) {
            Some(backend) => backend,
            None if current == 0 && matches!(kind, SegmentKind::Open) => return None,
            None => assign(tables, flow, kind, current, previous),
        },
    };
    Some((id, tables.backend(id)?))
}

/// The backend that is recorded for a flow, if that backend lives. Keeps the record fresh.
#[inline(always)]
fn recorded<T: Tables>(tables: &T, key: &FlowKey, kind: SegmentKind) -> Option<BackendId> {
    let found = tables.flow(key).filter(|flow| !is_over(tables, flow, kind));
    tables.track(if found.is_some() {
        Tracking::Hit
    } else {
        Tracking::Miss
    });
    let flow = found?;
    let phase = match kind {
        SegmentKind::Open => flow.phase,
        SegmentKind::Data => flow.phase.max(FlowPhase::Open as u16),
        SegmentKind::Close => FlowPhase::Closing as u16,
    };
    let now = tables.now_ms();
    if phase != flow.phase || flow.idle_ms(now) >= RENEW_MS {
        // An existing record is replaced in place: this needs no room.
        tables.record(
            key,
            Flow {
                last_seen_ms: now,
                phase,
                ..flow
            },
        );
    }
    Some(flow.backend)
}

/// Whether a record says nothing about this segment: its backend is gone, or its client has closed
/// it and now opens another connection from the same port. A SYN on a flow that is *not* closed is
/// a retransmission, and stays where the first one went.
#[inline(always)]
fn is_over<T: Tables>(tables: &T, flow: &Flow, kind: SegmentKind) -> bool {
    let reopened = matches!(kind, SegmentKind::Open) && flow.phase == FlowPhase::Closing as u16;
    reopened || !tables.backend(flow.backend).is_some_and(Backend::is_alive)
}

/// Assigns a flow that nothing is known about on a slot whose owner changed.
#[inline(always)]
fn assign<T: Tables>(
    tables: &T,
    key: &FlowKey,
    kind: SegmentKind,
    current: BackendId,
    previous: BackendId,
) -> BackendId {
    let (backend, record, phase) = match kind {
        SegmentKind::Open => (current, RecordKind::New, FlowPhase::Opening),
        SegmentKind::Data => (previous, RecordKind::Old, FlowPhase::Open),
        SegmentKind::Close => (previous, RecordKind::Old, FlowPhase::Closing),
    };
    let flow = Flow {
        last_seen_ms: tables.now_ms(),
        backend,
        phase: phase as u16,
    };
    if !tables.may_record(record) {
        tables.track(Tracking::RefusedRate);
    } else if !tables.record(key, flow) {
        tables.track(Tracking::RefusedFull);
    } else {
        tables.track(Tracking::Recorded);
        return backend;
    }
    previous
}
