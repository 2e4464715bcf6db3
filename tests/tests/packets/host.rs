//! A case on the host: the pure function, over tables in memory.

use crate::case::{Budget, Case, Lease};
use crate::dialect::{self, TRACKED, six};
use crate::memory::Memory;
use crate::outcome::{Outcome, Recorded, Xdp};
use crate::world::{self, CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, OURSELVES, SLOTS};
use lb_ebpf::abi::Flow;
use lb_ebpf::process::{Verdict, process};
use lb_ebpf::reason::Action;
use lb_ebpf::tables::Route;
use std::cell::Cell;
use std::net::IpAddr;

/// What becomes of `frame` in the world of `case`.
pub(crate) fn run(case: &Case, frame: &[u8]) -> Outcome {
    let tables = tables(case);
    let mut frame = frame.to_vec();
    let verdict = process(frame.as_mut_slice(), &tables);
    let flow = tables.flows.borrow().get(&case.dialect.flow_key()).copied();
    let told = tables.told.take().into_iter();
    Outcome {
        reason: verdict.reason,
        action: action(&verdict, case.ingress),
        frame,
        flow: flow.map(Recorded::from),
        told: told.map(|(key, flow)| (key, flow.into())).collect(),
        tracked: Outcome::tracked(tables.tracking.iter().map(Cell::get)),
        traffic: tables.traffic.take().into_iter().collect(),
    }
}

fn action(verdict: &Verdict, ingress: u32) -> Xdp {
    match verdict.reason.action() {
        Action::Pass => Xdp::Pass,
        Action::Drop => Xdp::Drop,
        Action::Forward if verdict.egress == ingress => Xdp::Tx,
        Action::Forward => Xdp::Redirect,
    }
}

fn tables(case: &Case) -> Memory {
    let mut tables = Memory {
        slots: vec![case.slot; SLOTS as usize],
        ingress: case.ingress,
        features: case.features,
        ..Memory::default()
    };
    if let Some((index, slot)) = case.exception {
        tables.slots[index as usize] = slot;
    }
    for d in dialect::ALL {
        tables.services.insert(d.service_key(), d.service());
    }
    for (_, _, key, reverse) in TRACKED.into_iter().flat_map(world::backends) {
        tables.reverse.insert(key, reverse);
    }
    for (id, backend, ..) in world::backends(case.dialect) {
        tables.backends[usize::from(id)] = backend;
    }
    let via = Route::Via {
        ifindex: CLIENTS,
        next_hop: CLIENT_MAC,
        source: CLIENTS_MAC,
    };
    // The clients' network: all of it but our own address, and the one of all. Of IPv6, that is the
    // first one: of all routers.
    for host in 0..=255 {
        let neighbour = IpAddr::from([198, 51, 100, host]);
        if neighbour != OURSELVES.0 {
            let both = [(neighbour, 255), (six(neighbour), 0)];
            let routes = both.into_iter().filter(|(_, all)| *all != host);
            let routes = routes.map(|(neighbour, _)| (neighbour.into(), Route::Stack));
            tables.routes.extend(routes);
        }
    }
    for client in [CLIENT.0, six(CLIENT.0)] {
        tables.routes.insert(client.into(), via);
    }
    if let Some(flow) = case.flow {
        let flow = Flow {
            last_seen_ms: tables.now_ms,
            backend: flow.backend,
            phase: flow.phase,
        };
        tables
            .flows
            .borrow_mut()
            .insert(case.dialect.flow_key(), flow);
    }
    tables.lease = match case.lease {
        Lease::NotNeeded => None,
        Lease::Held => Some(tables.boot_ns + 1),
        Lease::Lapsed => Some(tables.boot_ns),
    };
    if !case.listens {
        tables.listener = None;
    }
    if case.table_is_full {
        tables.room = 0;
    }
    // Here every second is the first one.
    if case.budget == Budget::Spent {
        tables.budget.iter().for_each(|budget| budget.set(0));
    }
    tables
}
