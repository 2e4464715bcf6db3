//! Flows that userspace enters and forgets, whatever the tables are.

use crate::kernel::LIMITS;
use crate::world::{SERVICE, WEB1, WEB2};
use lb_control::dataplane::Dataplane;
use lb_ebpf::abi::{Addr, BackendId, Flow, FlowKey, FlowPhase};
use std::collections::BTreeMap;

/// How many flows there is room for.
pub(crate) const ROOM: usize = LIMITS.flows as usize;

/// More than are handed over to the kernel at once.
const MANY: u32 = 40_000;

type Flows = BTreeMap<FlowKey, Flow>;

/// `tables` have room for [`ROOM`] flows, and hold none.
pub(crate) fn come_and_go(tables: &mut impl Dataplane) -> Result<(), String> {
    let mut known = Flows::new();
    must_hold(tables, &known)?;
    enter(tables, &mut known, flows(0..10, WEB1))?;
    enter(tables, &mut known, Flows::new())?;
    // In place of what is there.
    enter(tables, &mut known, flows(8..ROOM as u32, WEB2))?;
    forget(tables, &mut known, flows(0..0, 0))?;
    // In a full table, too.
    enter(tables, &mut known, flows(3..12, WEB1))?;
    // The first, some in between and the last are not there.
    forget(tables, &mut known, flows(4..7, 0))?;
    forget(tables, &mut known, flows(3..9, 0))?;
    forget(tables, &mut known, flows(5..MANY, 0))?;
    must_hold(tables, &flows(0..3, WEB1))?;
    forget(tables, &mut known, flows(0..MANY, 0))
}

/// As before, but more flows come than there is room for: the others are entered.
pub(crate) fn are_too_many(tables: &mut impl Dataplane) -> Result<(), String> {
    let room = ROOM as u32;
    let all = |entries: Flows| entries.into_iter().collect::<Vec<_>>();
    refused(tables, &all(flows(0..room + 4, WEB1)), 4)?;
    must_hold(tables, &flows(0..room, WEB1))?;
    // What is there is replaced, wherever it is among those that do not fit.
    let mut mixed = all(flows(room..room + 2, WEB2));
    mixed.extend(flows(5..6, WEB2));
    mixed.extend(flows(room + 2..MANY, WEB2));
    mixed.extend(flows(7..8, WEB2));
    refused(tables, &mixed, MANY as usize - ROOM)?;
    let mut expected = flows(0..room, WEB1);
    expected.extend(flows(5..6, WEB2));
    expected.extend(flows(7..8, WEB2));
    must_hold(tables, &expected)?;
    forget(tables, &mut expected, flows(0..room, 0))
}

fn flows(numbers: std::ops::Range<u32>, backend: BackendId) -> Flows {
    let flow = |number: u32| {
        let client = Addr::v4((0x0a00_0000 + number).to_be_bytes());
        let key = FlowKey::new(client, [0x9c, 0x40], SERVICE.id);
        let flow = Flow {
            last_seen_ms: number,
            backend,
            phase: FlowPhase::Open as u16,
        };
        (key, flow)
    };
    numbers.map(flow).collect()
}

fn enter(tables: &mut impl Dataplane, known: &mut Flows, flows: Flows) -> Result<(), String> {
    let list: Vec<_> = flows.clone().into_iter().collect();
    tables.set_flows(&list).map_err(|error| told(&error))?;
    known.extend(flows);
    must_hold(tables, known)
}

fn forget(tables: &mut impl Dataplane, known: &mut Flows, flows: Flows) -> Result<(), String> {
    let keys: Vec<_> = flows.into_keys().collect();
    tables.remove_flows(&keys).map_err(|error| told(&error))?;
    known.retain(|key, _| !keys.contains(key));
    must_hold(tables, known)
}

fn refused(
    tables: &mut impl Dataplane,
    flows: &[(FlowKey, Flow)],
    expected: usize,
) -> Result<(), String> {
    let Err(error) = tables.set_flows(flows) else {
        return Err("there was room for all".to_owned());
    };
    let error = told(&error);
    let says = |what: &str| error.contains(what);
    if says(&format!(" {expected} of them")) && says("limits.flows") {
        return Ok(());
    }
    Err(format!("expected {expected} that do not fit: {error}"))
}

fn must_hold(tables: &impl Dataplane, expected: &Flows) -> Result<(), String> {
    let found: Flows = tables
        .flows()
        .map_err(|error| told(&error))?
        .into_iter()
        .collect();
    if found == *expected {
        return Ok(());
    }
    Err(format!("expected {expected:?}\n   found {found:?}"))
}

fn told(error: &lb_control::dataplane::Error) -> String {
    format!("{error}: {}", error.source)
}
