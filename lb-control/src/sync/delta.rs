//! What became different in the tables, and how it is sent.
//!
//! Next hops are left out: each host finds its own. The rest of the tables must be the same on
//! both, or the two would send a connection to different backends.

use crate::dataplane::Tables;
use bytes::{Buf, BufMut};
use lb_ebpf::abi::{
    Addr, Backend, BackendId, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot, capacity,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// From one state of the tables to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Services that came, changed or, without a value, went.
    pub services: BTreeMap<ServiceKey, Option<Service>>,
    /// Backends.
    pub backends: BTreeMap<BackendId, Option<Backend>>,
    /// The ways back.
    pub reverse: BTreeMap<ReverseKey, Option<Reverse>>,
    /// Slots that changed, from this one of the service on.
    pub slots: Vec<(ServiceId, u32, Vec<Slot>)>,
}

/// Why a delta cannot be read, or does not fit the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too early, or too late.
    #[error("what was sent of the tables is cut off")]
    Length,
    /// Unknown kind of entry.
    #[error(
        "what was sent of the tables holds an entry of kind {0}, which this release does not know"
    )]
    Kind(u8),
    /// There is no such service.
    #[error("slots were sent of service {0}, which was not")]
    NoService(ServiceId),
    /// A service has not so many slots.
    #[error("{1} slots of service {0} were sent, which are more than it can have")]
    TooMany(ServiceId, u32),
    /// Two services have the same number.
    #[error("two services were sent that have the number {0}")]
    Twice(ServiceId),
    /// All of it together is more than is sent.
    #[error("the tables that were sent are longer than {MAX} bytes")]
    TooLong,
}

/// How long all tables together may be.
pub(super) const MAX: usize = 64 << 20;

/// Unchanged slots that are sent along, rather than to begin anew.
const GAP: usize = 4;

/// The tables without what each host finds out by itself.
#[must_use]
pub fn shared(tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    for backend in tables.backends.values_mut() {
        *backend = Backend {
            ifindex: 0,
            next_hop: [0; 6],
            source: [0; 6],
            ..*backend
        };
    }
    tables
}

/// A digest of shared tables.
#[must_use]
pub fn digest(tables: &Tables) -> String {
    let mut bytes = Vec::new();
    Delta::between(&Tables::default(), tables).encode(&mut bytes);
    let digest = Sha256::digest(&bytes);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Delta {
    /// What must be done to `before` to have `after`. Both are [`shared`].
    #[must_use]
    pub fn between(before: &Tables, after: &Tables) -> Self {
        let mut slots = Vec::new();
        for (key, service) in &after.services {
            let old = before.slots.get(&service.id);
            let old = old.filter(|_| before.services.get(key) == Some(service));
            let new = after.slots.get(&service.id).map_or(&[][..], Vec::as_slice);
            let old = old.map_or(&[][..], Vec::as_slice);
            slots.extend(runs(old, new).map(|(first, run)| (service.id, first, run)));
        }
        Self {
            services: differences(&before.services, &after.services),
            backends: differences(&before.backends, &after.backends),
            reverse: differences(&before.reverse, &after.reverse),
            slots,
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Changes `tables`. After a fault they are as they were.
    pub fn apply(self, tables: &mut Tables) -> Result<(), Fault> {
        self.fits(tables)?;
        // An id may have gone from one service to another.
        for key in self.services.keys() {
            if let Some(old) = tables.services.remove(key) {
                tables.slots.remove(&old.id);
            }
        }
        for (key, service) in self.services {
            if let Some(service) = service {
                let empty = vec![Slot::EMPTY; service.slot_count as usize];
                tables.slots.insert(service.id, empty);
                tables.services.insert(key, service);
            }
        }
        merge(&mut tables.backends, self.backends);
        merge(&mut tables.reverse, self.reverse);
        for (service, first, run) in self.slots {
            let slots = tables.slots.get_mut(&service).map(Vec::as_mut_slice);
            let range = slots.and_then(|slots| slots.get_mut(first as usize..));
            if let Some(range) = range.and_then(|range| range.get_mut(..run.len())) {
                range.copy_from_slice(&run);
            }
        }
        Ok(())
    }

    /// Whether it can be applied. Room for slots is not made because somebody claims to have them.
    fn fits(&self, tables: &Tables) -> Result<(), Fault> {
        let kept = tables.services.iter();
        let kept = kept.filter(|(key, _)| !self.services.contains_key(key));
        let kept = kept.map(|(_, service)| service);
        let mut counts = BTreeMap::new();
        for service in kept.chain(self.services.values().flatten()) {
            let count = service.slot_count;
            if count as usize > capacity::SLOTS_PER_SERVICE
                || service.first_slot.checked_add(count).is_none()
            {
                return Err(Fault::TooMany(service.id, count));
            }
            if counts.insert(service.id, count).is_some() {
                return Err(Fault::Twice(service.id));
            }
        }
        let total: u64 = counts.values().map(|count| u64::from(*count)).sum();
        if total > (MAX / size_of::<Slot>()) as u64 {
            return Err(Fault::TooLong);
        }
        for (service, first, run) in &self.slots {
            let count = counts.get(service).ok_or(Fault::NoService(*service))?;
            if u64::from(*first) + run.len() as u64 > u64::from(*count) {
                return Err(Fault::TooMany(*service, run.len() as u32));
            }
        }
        Ok(())
    }

    /// Writes it.
    pub fn encode(&self, to: &mut impl BufMut) {
        for (key, service) in &self.services {
            to.put_u8(kind(SERVICE, service));
            to.put_slice(&key.vip.octets());
            to.put_slice(&key.port);
            to.put_u8(key.proto);
            if let Some(service) = service {
                to.put_u64(service.hash_key[0]);
                to.put_u64(service.hash_key[1]);
                to.put_u32(service.first_slot);
                to.put_u32(service.slot_count);
                to.put_u16(service.id);
                to.put_u8(service.mode);
                to.put_u8(service.flags);
            }
        }
        for (id, backend) in &self.backends {
            to.put_u8(kind(BACKEND, backend));
            to.put_u16(*id);
            if let Some(backend) = backend {
                to.put_slice(&backend.addr.octets());
                to.put_slice(&backend.port);
                to.put_u16(backend.service);
                to.put_u8(backend.state);
            }
        }
        for (key, reverse) in &self.reverse {
            to.put_u8(kind(REVERSE, reverse));
            to.put_slice(&key.addr.octets());
            to.put_slice(&key.port);
            to.put_u8(key.proto);
            if let Some(reverse) = reverse {
                to.put_slice(&reverse.vip.octets());
                to.put_slice(&reverse.port);
                to.put_u16(reverse.backend);
            }
        }
        for (service, first, run) in &self.slots {
            to.put_u8(SLOTS);
            to.put_u16(*service);
            to.put_u32(*first);
            to.put_u32(run.len() as u32);
            for slot in run {
                to.put_u16(slot.current);
                to.put_u16(slot.previous);
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(mut from: &[u8]) -> Result<Self, Fault> {
        let mut delta = Self::default();
        let from = &mut from;
        while from.has_remaining() {
            let tag = from.get_u8();
            let gone = tag & GONE != 0;
            match tag & !GONE {
                SERVICE => {
                    let key = ServiceKey::new(addr(from)?, array(from)?, u8(from)?);
                    let service = present(gone, || {
                        Ok(Service {
                            hash_key: [u64(from)?, u64(from)?],
                            first_slot: u32(from)?,
                            slot_count: u32(from)?,
                            id: u16(from)?,
                            mode: u8(from)?,
                            flags: u8(from)?,
                            pad: [0; 4],
                        })
                    })?;
                    delta.services.insert(key, service);
                }
                BACKEND => {
                    let id = u16(from)?;
                    let backend = present(gone, || {
                        Ok(Backend {
                            addr: addr(from)?,
                            port: array(from)?,
                            service: u16(from)?,
                            state: u8(from)?,
                            ..Backend::default()
                        })
                    })?;
                    delta.backends.insert(id, backend);
                }
                REVERSE => {
                    let key = ReverseKey::new(addr(from)?, array(from)?, u8(from)?);
                    let reverse = present(gone, || {
                        Ok(Reverse::new(addr(from)?, array(from)?, u16(from)?))
                    })?;
                    delta.reverse.insert(key, reverse);
                }
                SLOTS if !gone => {
                    let (service, first, count) = (u16(from)?, u32(from)?, u32(from)?);
                    if count as usize > from.remaining() / size_of::<Slot>() {
                        return Err(Fault::Length);
                    }
                    let slot = |_| {
                        Ok(Slot {
                            current: u16(from)?,
                            previous: u16(from)?,
                        })
                    };
                    let run = (0..count).map(slot).collect::<Result<_, _>>()?;
                    delta.slots.push((service, first, run));
                }
                _ => return Err(Fault::Kind(tag)),
            }
        }
        Ok(delta)
    }
}

const SERVICE: u8 = 1;
const BACKEND: u8 = 2;
const REVERSE: u8 = 3;
const SLOTS: u8 = 4;
/// Beside the kind of an entry: there is no such entry any more.
const GONE: u8 = 0x80;

const fn kind<T>(kind: u8, value: &Option<T>) -> u8 {
    match value {
        Some(_) => kind,
        None => kind | GONE,
    }
}

fn present<T>(gone: bool, read: impl FnOnce() -> Result<T, Fault>) -> Result<Option<T>, Fault> {
    if gone { Ok(None) } else { read().map(Some) }
}

fn array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    from.try_copy_to_slice(&mut bytes)
        .map_err(|_| Fault::Length)?;
    Ok(bytes)
}

fn addr(from: &mut &[u8]) -> Result<Addr, Fault> {
    array(from).map(Addr::v6)
}

fn u8(from: &mut &[u8]) -> Result<u8, Fault> {
    from.try_get_u8().map_err(|_| Fault::Length)
}

fn u16(from: &mut &[u8]) -> Result<u16, Fault> {
    from.try_get_u16().map_err(|_| Fault::Length)
}

fn u32(from: &mut &[u8]) -> Result<u32, Fault> {
    from.try_get_u32().map_err(|_| Fault::Length)
}

fn u64(from: &mut &[u8]) -> Result<u64, Fault> {
    from.try_get_u64().map_err(|_| Fault::Length)
}

fn differences<K: Ord + Copy, V: PartialEq + Copy>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let gone = before.keys().filter(|key| !after.contains_key(key));
    let gone = gone.map(|key| (*key, None));
    let come = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value));
    gone.chain(come.map(|(key, value)| (*key, Some(*value))))
        .collect()
}

fn merge<K: Ord, V>(map: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key, value)),
            None => drop(map.remove(&key)),
        }
    }
}

/// The parts of `new` that differ from `old`, which is empty where there was none: then empty slots
/// need not be sent.
fn runs(old: &[Slot], new: &[Slot]) -> impl Iterator<Item = (u32, Vec<Slot>)> {
    let mut runs: Vec<(u32, Vec<Slot>)> = Vec::new();
    for (index, slot) in new.iter().enumerate() {
        if old.get(index).copied().unwrap_or(Slot::EMPTY) == *slot {
            continue;
        }
        match runs.last_mut() {
            Some((first, run)) if index - (*first as usize + run.len()) < GAP => {
                let next = *first as usize + run.len();
                run.extend_from_slice(new.get(next..=index).unwrap_or_default());
            }
            _ => runs.push((index as u32, vec![*slot])),
        }
    }
    runs.into_iter()
}
