//! The tables in ordinary memory: for tests and the simulation. Can be told to fail.

use super::{Dataplane, Error, Tables};
use lb_ebpf::abi::{
    Backend, BackendId, Flow, FlowKey, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot,
    Tracking, Traffic,
};
use lb_ebpf::reason::Reason;
use std::collections::BTreeMap;

/// Tables in ordinary memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    services: BTreeMap<ServiceKey, Service>,
    backends: BTreeMap<BackendId, Backend>,
    reverse: BTreeMap<ReverseKey, Reverse>,
    slots: BTreeMap<u32, Slot>,
    /// The recorded flows.
    pub flows: BTreeMap<FlowKey, Flow>,
    /// How many flows there is room for, if not for all.
    pub room: Option<usize>,
    /// What the backends have counted.
    pub traffic: BTreeMap<BackendId, Traffic>,
    retired: BTreeMap<ServiceId, Traffic>,
    /// Until when this host may act as owner.
    pub lease: u64,
    /// What the flow table counted, in the order of `Tracking::ALL`.
    pub tracking: [u64; Tracking::ALL.len()],
    /// How many more writes succeed before one fails, if one is to fail.
    pub writes_until_failure: Option<u32>,
}

impl Memory {
    /// Counts a write; fails it if it is its turn.
    fn write(&mut self) -> Result<(), Error> {
        match &mut self.writes_until_failure {
            Some(0) => {
                self.writes_until_failure = None;
                Err(Error::new("write", "this write was told to fail"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn set<K: Ord + Copy, V: Copy>(map: &mut BTreeMap<K, V>, key: K, value: Option<&V>) {
    match value {
        Some(value) => map.insert(key, *value),
        None => map.remove(&key),
    };
}

impl Dataplane for Memory {
    fn read(&self) -> Result<Tables, Error> {
        let slots = self
            .services
            .values()
            .map(|service| {
                let range = service.first_slot..service.first_slot + service.slot_count;
                let slot = |index| self.slots.get(&index).copied().unwrap_or(Slot::EMPTY);
                (service.id, range.map(slot).collect())
            })
            .collect();
        Ok(Tables {
            services: self.services.clone(),
            backends: self.backends.clone(),
            reverse: self.reverse.clone(),
            slots,
        })
    }

    fn set_service(&mut self, key: &ServiceKey, service: Option<&Service>) -> Result<(), Error> {
        self.write()?;
        set(&mut self.services, *key, service);
        Ok(())
    }

    fn set_backend(&mut self, id: BackendId, backend: Option<&Backend>) -> Result<(), Error> {
        self.write()?;
        set(&mut self.backends, id, backend);
        Ok(())
    }

    fn set_reverse(&mut self, key: &ReverseKey, reverse: Option<&Reverse>) -> Result<(), Error> {
        self.write()?;
        set(&mut self.reverse, *key, reverse);
        Ok(())
    }

    fn set_slot(&mut self, index: u32, slot: Slot) -> Result<(), Error> {
        self.write()?;
        self.slots.insert(index, slot);
        Ok(())
    }

    fn renew_lease(&mut self, until: u64) -> Result<(), Error> {
        self.write()?;
        self.lease = until;
        Ok(())
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error> {
        Ok(self.flows.iter().map(|(key, flow)| (*key, *flow)).collect())
    }

    fn set_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), Error> {
        let mut refused = 0;
        for (key, flow) in flows {
            self.write()?;
            let full = self.room.is_some_and(|room| self.flows.len() >= room);
            if full && !self.flows.contains_key(key) {
                refused += 1;
            } else {
                self.flows.insert(*key, *flow);
            }
        }
        match refused {
            0 => Ok(()),
            refused => Err(Error::no_room(refused, flows.len())),
        }
    }

    fn remove_flows(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        for key in keys {
            self.write()?;
            self.flows.remove(key);
        }
        Ok(())
    }

    fn traffic(&self, backend: BackendId) -> Result<Traffic, Error> {
        Ok(self.traffic.get(&backend).copied().unwrap_or_default())
    }

    fn retired(&self, service: ServiceId) -> Result<Traffic, Error> {
        Ok(self.retired.get(&service).copied().unwrap_or_default())
    }

    fn retire(&mut self, backend: BackendId, service: Option<ServiceId>) -> Result<(), Error> {
        self.write()?;
        let counted = self.traffic.remove(&backend).unwrap_or_default();
        if let Some(service) = service {
            *self.retired.entry(service).or_default() += counted;
        }
        Ok(())
    }

    fn forget_retired(&mut self, service: ServiceId) -> Result<(), Error> {
        self.write()?;
        self.retired.remove(&service);
        Ok(())
    }

    fn reasons(&self) -> Result<Vec<u64>, Error> {
        Ok(vec![0; Reason::ALL.len()])
    }

    fn tracking(&self) -> Result<Vec<u64>, Error> {
        Ok(self.tracking.to_vec())
    }
}
