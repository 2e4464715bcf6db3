//! Gives numbers to services and backends, and room for slots.

use super::Full;
use crate::config::Limits;
use crate::dataplane::Tables;
use lb_ebpf::abi::{Addr, BackendId, Port, Service, ServiceId, capacity, slot_pairs};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The numbers that are in use. Numbers are given in turn, so that one that became free is used
/// again as late as can be.
pub(super) struct Ids {
    limits: Limits,
    backends: BTreeMap<(ServiceId, Addr, Port), BackendId>,
    used_backends: BTreeSet<BackendId>,
    used_services: BTreeSet<ServiceId>,
    /// First slots and ends of the ranges in use.
    ranges: BTreeMap<u32, u32>,
    last_backend: BackendId,
    last_service: ServiceId,
}

impl Ids {
    pub(super) fn new(now: &Tables, limits: Limits, last: (BackendId, ServiceId)) -> Self {
        let backends = now.backends.iter();
        Self {
            limits,
            backends: backends
                .clone()
                .map(|(&id, b)| ((b.service, b.addr, b.port), id))
                .collect(),
            used_backends: backends.map(|(&id, _)| id).collect(),
            used_services: now.services.values().map(|service| service.id).collect(),
            ranges: now.services.values().map(range).collect(),
            last_backend: last.0,
            last_service: last.1,
        }
    }

    pub(super) const fn last(&self) -> (BackendId, ServiceId) {
        (self.last_backend, self.last_service)
    }

    /// The number of a backend: the one it has, or a free one.
    pub(super) fn backend(
        &mut self,
        service: ServiceId,
        address: SocketAddr,
    ) -> Result<BackendId, Full> {
        let identity = (
            service,
            Addr::from(address.ip()),
            address.port().to_be_bytes(),
        );
        if let Some(&id) = self.backends.get(&identity) {
            return Ok(id);
        }
        let count = self.limits.backends;
        // 0 means "none", so ids go from 1.
        let free = (0..count - 1)
            .map(|step| ((u32::from(self.last_backend) + step) % (count - 1) + 1) as BackendId)
            .find(|id| !self.used_backends.contains(id))
            .ok_or(Full::Backends(count - 1))?;
        self.last_backend = free;
        self.used_backends.insert(free);
        self.backends.insert(identity, free);
        Ok(free)
    }

    /// A free number for a service, and room for its slots.
    pub(super) fn service(&mut self, slots: u32) -> Result<(ServiceId, u32), Full> {
        let count = self.limits.services;
        let id = (1..=count)
            .map(|step| ((u32::from(self.last_service) + step) % count) as ServiceId)
            .find(|id| !self.used_services.contains(id))
            .ok_or(Full::Services(count))?;
        let room = room(self.limits);
        let mut first = 0;
        for (&start, &end) in &self.ranges {
            if start.saturating_sub(first) >= slots {
                break;
            }
            first = first.max(end);
        }
        if room.saturating_sub(first) < slots {
            return Err(Full::Slots(slots));
        }
        self.last_service = id;
        self.used_services.insert(id);
        let (start, end) = range_of(first, slots);
        self.ranges.insert(start, end);
        Ok((id, first))
    }
}

/// How many slots there are for all services together.
pub(super) const fn room(limits: Limits) -> u32 {
    limits.services * slot_pairs(capacity::SLOTS_PER_SERVICE) as u32 * 2
}

pub(super) const fn range(service: &Service) -> (u32, u32) {
    range_of(service.first_slot, service.slot_count)
}

/// From the first slot to the next even one after the last: services begin at even slots.
const fn range_of(first: u32, slots: u32) -> (u32, u32) {
    let end = first.saturating_add(slots);
    (first, end.saturating_add(end % 2))
}
