//! The tables, as packets and the control plane both see them.

use crate::memory::Memory;
use lb_control::dataplane::{Dataplane, Error, Tables};
use lb_ebpf::abi::{
    Backend, BackendId, Flow, FlowKey, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot,
    Traffic,
};
use lb_ebpf::reason::Reason;
use lb_ebpf::tables::Tables as _;
use std::cell::Cell;
use std::collections::BTreeMap;

/// The packets' tables, with the control plane's way in.
#[derive(Default)]
pub(crate) struct Plane {
    pub(crate) memory: Memory,
}

impl Dataplane for Plane {
    fn read(&self) -> Result<Tables, Error> {
        let memory = &self.memory;
        let services: BTreeMap<_, _> = memory.services.clone().into_iter().collect();
        let slots = services.values().map(|service| {
            let first = service.first_slot as usize;
            let slots = &memory.slots[first..first + service.slot_count as usize];
            (service.id, slots.to_vec())
        });
        let backends = (0..).zip(memory.backends.iter().copied());
        Ok(Tables {
            slots: slots.collect(),
            services,
            backends: backends
                .filter(|(_, backend)| *backend != Backend::default())
                .collect(),
            reverse: memory.reverse.clone().into_iter().collect(),
        })
    }

    fn set_service(&mut self, key: &ServiceKey, service: Option<&Service>) -> Result<(), Error> {
        match service {
            Some(service) => self.memory.services.insert(*key, *service),
            None => self.memory.services.remove(key),
        };
        Ok(())
    }

    fn set_backend(&mut self, id: BackendId, backend: Option<&Backend>) -> Result<(), Error> {
        self.memory.backends[usize::from(id)] = backend.copied().unwrap_or_default();
        Ok(())
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: Option<&Reverse>) -> Result<(), Error> {
        match reverse {
            Some(reverse) => self.memory.reverse.insert(*key, *reverse),
            None => self.memory.reverse.remove(key),
        };
        Ok(())
    }

    fn set_slot(&mut self, index: u32, slot: Slot) -> Result<(), Error> {
        let index = index as usize;
        if self.memory.slots.len() <= index {
            self.memory.slots.resize(index + 1, Slot::EMPTY);
        }
        self.memory.slots[index] = slot;
        Ok(())
    }

    fn renew_lease(&mut self, until: u64) -> Result<(), Error> {
        self.memory.lease = Some(until);
        Ok(())
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        let flows = self.memory.flows.borrow();
        Ok(flows.iter().map(|(key, flow)| (*key, *flow)).collect())
    }

    fn set_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), Error> {
        let fits = |(key, flow): &&(FlowKey, Flow)| self.memory.record(key, *flow);
        match flows.len() - flows.iter().filter(fits).count() {
            0 => Ok(()),
            refused => Err(Error::no_room(refused, flows.len())),
        }
    }

    fn remove_flows(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        let flows = self.memory.flows.get_mut();
        for key in keys {
            flows.remove(key);
        }
        Ok(())
    }

    fn traffic(&self, backend: BackendId) -> Result<Traffic, Error> {
        let traffic = self.memory.traffic.borrow();
        Ok(traffic.get(&backend).copied().unwrap_or_default())
    }

    fn retired(&self, _: ServiceId) -> Result<Traffic, Error> {
        Ok(Traffic::default())
    }

    fn retire(&mut self, backend: BackendId, _: Option<ServiceId>) -> Result<(), Error> {
        self.memory.traffic.get_mut().remove(&backend);
        Ok(())
    }

    fn forget_retired(&mut self, _: ServiceId) -> Result<(), Error> {
        Ok(())
    }

    fn reasons(&self) -> Result<Vec<u64>, Error> {
        Ok(vec![0; Reason::ALL.len()])
    }

    fn tracking(&self) -> Result<Vec<u64>, Error> {
        Ok(self.memory.tracking.iter().map(Cell::get).collect())
    }
}
