//! What time does to the tables: recorded flows expire, changed slots come to rest, and ids of
//! backends that left become free. Pure: told the flows and the time, it says what to do.

use super::slots;
use crate::config::Config;
use crate::dataplane::Tables;
use lb_ebpf::abi::{
    Backend, BackendId, Flow, FlowKey, FlowPhase, Service, ServiceId, Slot, SlotState,
};
use lb_ebpf::hash;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How long a connection that was only asked for is remembered: a little longer than the longest
/// pause between retransmissions of a SYN (64 s on Linux).
const OPENING_MS: u32 = 70_000;

/// Since when slots are dirty, in the program's milliseconds.
#[derive(Clone, Debug, Default)]
pub struct DirtySince(HashMap<(ServiceId, u32), u32>);

/// How long connections may be silent before they may be forgotten, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleTimes {
    /// Those of most services.
    pub usual: u32,
    /// Those of services that have another time-out.
    pub others: BTreeMap<ServiceId, u32>,
}

impl IdleTimes {
    /// As the configuration says. Services are known by what the tables say of them.
    #[must_use]
    pub fn new(config: &Config, tables: &Tables) -> Self {
        let ms = |it: Duration| u32::try_from(it.as_millis()).unwrap_or(u32::MAX);
        let others = config.services.values().filter_map(|service| {
            let known = tables.services.get(&super::service_key(&service.vip))?;
            Some((known.id, ms(service.idle_timeout?)))
        });
        Self {
            usual: ms(config.idle_timeout),
            others: others.collect(),
        }
    }

    fn of(&self, service: ServiceId) -> u32 {
        self.others.get(&service).copied().unwrap_or(self.usual)
    }

    /// After this long, a flow of any service that was silent is forgotten.
    #[must_use]
    pub fn longest(&self) -> u32 {
        let others = self.others.values().copied();
        others.max().unwrap_or(0).max(self.usual)
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Flows to forget.
    pub expired: Vec<FlowKey>,
    /// The tables, with slots at rest and without backends that nothing names any more.
    pub tables: Tables,
    /// Backends that nothing names any more, and their services.
    pub free: Vec<(BackendId, ServiceId)>,
    /// Living recorded flows per backend.
    pub recorded: BTreeMap<BackendId, u64>,
}

impl DirtySince {
    /// Notes which slots are dirty now; to be called whenever slots changed. Those that were dirty
    /// keep their time, unless `restart`: when flows could not be recorded, nobody knows whether
    /// every living one is.
    pub fn update(&mut self, tables: &Tables, now_ms: u32, restart: bool) {
        let mut next = HashMap::new();
        for (&service, slots) in &tables.slots {
            for (index, slot) in (0u32..).zip(slots) {
                if matches!(slot.state(), SlotState::Dirty { .. }) {
                    let since = self.0.get(&(service, index)).filter(|_| !restart);
                    next.insert((service, index), since.copied().unwrap_or(now_ms));
                }
            }
        }
        self.0 = next;
    }

    /// How many slots are dirty.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn since(&self, service: ServiceId, index: u32) -> Option<u32> {
        self.0.get(&(service, index)).copied()
    }
}

/// Works out what to do. `configured` are the backends that stay even if nothing names them.
#[must_use]
pub fn sweep(
    tables: &Tables,
    flows: &[(FlowKey, Flow)],
    dirty: &DirtySince,
    configured: &BTreeSet<BackendId>,
    (now_ms, idle): (u32, &IdleTimes),
) -> Swept {
    let services: BTreeMap<ServiceId, &Service> = tables
        .services
        .values()
        .map(|service| (service.id, service))
        .collect();
    let is_alive = |id: BackendId| tables.backends.get(&id).is_some_and(Backend::is_alive);
    let mut swept = Swept::default();
    // Slots with a recorded flow that belongs to someone else than the slot's owner.
    let mut foreign = BTreeSet::new();
    for (key, flow) in flows {
        let Some(service) = services.get(&key.service) else {
            swept.expired.push(*key);
            continue;
        };
        let lifetime = lifetime(flow, idle.of(key.service));
        if !is_alive(flow.backend) || flow.idle_ms(now_ms) >= lifetime {
            swept.expired.push(*key);
            continue;
        }
        *swept.recorded.entry(flow.backend).or_default() += 1;
        let hash = key.hash(service.hash_key);
        let index = hash::slot_of(hash, service.slot_count);
        let slot = tables
            .slots
            .get(&service.id)
            .and_then(|slots| slots.get(index as usize));
        if slot.is_some_and(|slot| slot.current != flow.backend) {
            foreign.insert((service.id, index));
        }
    }

    swept.tables = tables.clone();
    for (&service, slots) in &mut swept.tables.slots {
        for (index, slot) in (0u32..).zip(slots) {
            *slot = rest(
                *slot,
                dirty.since(service, index),
                (now_ms, idle.of(service)),
                || foreign.contains(&(service, index)),
                is_alive,
            );
        }
    }
    swept.free = unnamed(&swept, configured);
    for (id, _) in &swept.free {
        swept.tables.backends.remove(id);
    }
    let gone: BTreeSet<BackendId> = swept.free.iter().map(|(id, _)| *id).collect();
    swept
        .tables
        .reverse
        .retain(|_, reverse| !gone.contains(&reverse.backend));
    swept
}

const fn lifetime(flow: &Flow, idle_ms: u32) -> u32 {
    if flow.phase == FlowPhase::Opening as u16 && OPENING_MS < idle_ms {
        OPENING_MS
    } else {
        idle_ms
    }
}

/// One state at a time: between reading the flows and settling a slot another may be recorded, so
/// a slot that settles now is not cleaned before the next sweep has seen all of them.
fn rest(
    slot: Slot,
    since: Option<u32>,
    (now_ms, idle_ms): (u32, u32),
    has_foreign: impl Fn() -> bool,
    is_alive: impl Fn(BackendId) -> bool,
) -> Slot {
    let rested = since.is_some_and(|since| now_ms.wrapping_sub(since) > idle_ms);
    match slot.state() {
        // Nobody's, kept for connections of which there are none left: those of a living owner
        // are all recorded by now, a dead one's are lost.
        SlotState::Dirty {
            current: 0,
            previous,
        } if (rested || !is_alive(previous)) && !has_foreign() => Slot::EMPTY,
        SlotState::Dirty { .. } if rested => slots::settle(slot),
        SlotState::Dirty { .. } => slot,
        SlotState::Settled(_) if !has_foreign() => slots::clean(slot),
        SlotState::Empty | SlotState::Clean(_) | SlotState::Settled(_) => slot,
    }
}

/// Backends that are not configured, and that no slot and no living flow names.
fn unnamed(swept: &Swept, configured: &BTreeSet<BackendId>) -> Vec<(BackendId, ServiceId)> {
    let mut named: BTreeSet<BackendId> = swept.recorded.keys().copied().collect();
    for slot in swept.tables.slots.values().flatten() {
        named.insert(slot.current);
        named.insert(slot.previous);
    }
    let backends = swept.tables.backends.iter();
    backends
        .filter(|(id, _)| !configured.contains(id) && !named.contains(id))
        .map(|(id, backend)| (*id, backend.service))
        .collect()
}

#[cfg(test)]
mod tests;
