//! Which backend a connection belongs to: the stateless-first rule.
//!
//! On a clean slot nothing is looked up and nothing is recorded: the cost does not depend on how
//! many connections exist, and a SYN flood leaves no trace. Only the slots whose owner changed ask
//! the flow table, and only until every connection of the old owner is known or gone.
//!
//! | slot            | recorded flow | any other SYN             | anything else               |
//! |-----------------|---------------|---------------------------|-----------------------------|
//! | clean `{a, a}`  | not looked up | a                         | a                           |
//! | dirty `{b, a}`  | its backend   | b, recorded; if refused a | a, recorded at a bounded rate |
//! | settled `{b, –}`| its backend   | b                         | b                           |
//! | drained `{0, a}`| its backend   | none                      | a, recorded at a bounded rate; none if a is dead |
//! | empty           | not looked up | none                      | none                        |
//!
//! A SYN on a recorded flow stays with its backend. Most such SYNs are retransmissions. A client that
//! uses a port again before the record expires lands on the same backend once more, even if that one
//! drains. To take the SYN for a new connection because a FIN or RST was seen would be fairer, but
//! those can be made up: two packets from anywhere would then part a connection from its backend.
//!
//! Only where the backend of a record is dead, a SYN goes to the slot's owner, and takes over the
//! record: there is no connection left to break.
//!
//! What can be made up nevertheless is the SYN that a dirty slot sees *before* any packet of an
//! older connection from the same address and port: nothing yet says that there is one.
//!
//! A SYN that cannot be recorded goes to the *old* owner, whose connections need no record. So a
//! flood that fills the table delays a change; it breaks nothing.
//!
//! Some services of UDP are not tracked ([`Service::UNTRACKED`]): a question, an answer, and nothing
//! that would break if the next question went elsewhere. Their packets go to the slot's owner, and
//! to its old owner only while nobody took over.
//!
//! Other datagrams are treated as data of a connection, since nothing tells the first of them: on a
//! dirty slot an unknown flow belongs to the old owner.
//!
//! Whatever becomes known about a flow, its backend or its phase, is told to userspace at once, if
//! anybody listens there: so another load balancer can know it before it has to lead.
//!
//! How slots move from state to state is userspace's part (`lb_control::desired::slots`). The idea
//! is known as JET, "just enough tracking" (CoNEXT 2021, doi 10.1145/3485983.3494851).

use crate::abi::{
    Backend, BackendId, Flow, FlowKey, FlowPhase, Service, Slot, SlotState, Tracking,
};
use crate::hash;
use crate::parse::Kind;
use crate::tables::{RecordKind, Tables};

/// How old a record's time stamp may grow before a packet renews it. Small against any idle
/// time-out, large against the rate of packets of one flow.
pub const RENEW_MS: u32 = 100;

/// The backend that a client's packet goes to, if the service has one.
#[inline(always)]
pub fn select<'t, T: Tables>(
    tables: &'t T,
    service: &Service,
    flow: &FlowKey,
    kind: Kind,
) -> Option<(BackendId, &'t Backend)> {
    let hash = flow.hash(service.hash_key);
    let index = service.first_slot + hash::slot_of(hash, service.slot_count);
    let slot = tables.slot(index).unwrap_or(Slot::EMPTY);
    let is_open = matches!(kind, Kind::Open);
    let id = match slot.state() {
        SlotState::Empty => return None,
        SlotState::Clean(owner) => owner,
        SlotState::Settled(owner) if service.is_untracked() => owner,
        SlotState::Dirty { current, previous } if service.is_untracked() => match current {
            0 if is_alive(tables, previous) => previous,
            0 => return None,
            _ => current,
        },
        SlotState::Settled(owner) => recorded(tables, flow, kind, owner).unwrap_or(owner),
        SlotState::Dirty { current, previous } => match recorded(tables, flow, kind, current) {
            Some(backend) => backend,
            None if current == 0 && (is_open || !is_alive(tables, previous)) => return None,
            None => assign(tables, flow, kind, current, previous),
        },
    };
    Some((id, tables.backend(id)?))
}

/// The backend that is recorded for a flow, if that backend lives. Keeps the record fresh; takes it
/// over for a SYN if its backend is dead.
#[inline(always)]
fn recorded<T: Tables>(
    tables: &T,
    key: &FlowKey,
    kind: Kind,
    current: BackendId,
) -> Option<BackendId> {
    let found = tables.flow(key);
    let Some(flow) = found.filter(|flow| is_alive(tables, flow.backend)) else {
        tables.track(Tracking::Miss);
        return match (kind, found) {
            (Kind::Open, Some(_)) => taken_over(tables, key, current),
            (Kind::Open, None) | (Kind::Data, _) => None,
        };
    };
    tables.track(Tracking::Hit);
    let phase = match kind {
        Kind::Open => flow.phase,
        Kind::Data => FlowPhase::Open as u16,
    };
    let now = tables.now_ms();
    let seen = Flow {
        last_seen_ms: now,
        phase,
        ..flow
    };
    // An existing record is replaced in place: this needs no room.
    if phase != flow.phase {
        note(tables, key, seen);
    } else if flow.idle_ms(now) >= RENEW_MS {
        // That it still lives is no news.
        tables.record(key, seen);
    }
    Some(flow.backend)
}

/// Records what is new about a flow, and tells it to whoever listens. That nobody hears of it is no
/// reason to refuse it.
#[inline(always)]
fn note<T: Tables>(tables: &T, key: &FlowKey, flow: Flow) -> bool {
    let recorded = tables.record(key, flow);
    if recorded && !tables.tell(key, flow) {
        tables.track(Tracking::Untold);
    }
    recorded
}

#[inline(always)]
fn is_alive<T: Tables>(tables: &T, id: BackendId) -> bool {
    tables.backend(id).is_some_and(Backend::is_alive)
}

/// Gives a new connection to the slot's owner where a dead backend's is recorded. That record must
/// not stay as it is: should the backend come back, it would claim the packets that follow the SYN.
/// It is replaced in place, which needs neither room nor budget, on a settled slot, too. That fails
/// only where it has just expired.
#[inline(always)]
fn taken_over<T: Tables>(tables: &T, key: &FlowKey, current: BackendId) -> Option<BackendId> {
    if current == 0 {
        return None;
    }
    let flow = Flow {
        last_seen_ms: tables.now_ms(),
        backend: current,
        phase: FlowPhase::Opening as u16,
    };
    if !note(tables, key, flow) {
        return None;
    }
    tables.track(Tracking::Recorded);
    Some(current)
}

/// Assigns a flow that nothing is known about on a slot whose owner changed.
#[inline(always)]
fn assign<T: Tables>(
    tables: &T,
    key: &FlowKey,
    kind: Kind,
    current: BackendId,
    previous: BackendId,
) -> BackendId {
    let (backend, record, phase) = match kind {
        Kind::Open => (current, RecordKind::New, FlowPhase::Opening),
        Kind::Data => (previous, RecordKind::Old, FlowPhase::Open),
    };
    let flow = Flow {
        last_seen_ms: tables.now_ms(),
        backend,
        phase: phase as u16,
    };
    if !tables.may_record(record) {
        tables.track(Tracking::RefusedRate);
    } else if !note(tables, key, flow) {
        tables.track(Tracking::RefusedFull);
    } else {
        tables.track(Tracking::Recorded);
        return backend;
    }
    previous
}

#[cfg(test)]
mod tests;
