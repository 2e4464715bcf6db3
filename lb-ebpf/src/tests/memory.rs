//! The tables as ordinary collections.

use lb_ebpf::abi::{
    Addr, Backend, BackendId, BackendState, Features, Flow, FlowKey, Reverse, ReverseKey, Service,
    ServiceKey, Slot, Tracking, Traffic,
};
use lb_ebpf::parse::Network;
use lb_ebpf::tables::{RecordKind, Route, Tables};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// Tables that begin empty, with room for every flow and without a route anywhere.
pub(crate) struct Memory {
    pub(crate) features: Features,
    pub(crate) services: HashMap<ServiceKey, Service>,
    pub(crate) slots: Vec<Slot>,
    /// By id.
    pub(crate) backends: Vec<Backend>,
    pub(crate) reverse: HashMap<ReverseKey, Reverse>,
    pub(crate) routes: HashMap<Addr, Route>,
    /// The longest packet that a route takes; the stack sees to longer ones.
    pub(crate) mtu: u16,
    pub(crate) flows: RefCell<HashMap<FlowKey, Flow>>,
    /// How many flows there is room for.
    pub(crate) room: usize,
    /// Whether nothing can be recorded at all, not even in place of what is there.
    pub(crate) sealed: bool,
    /// The flows that were told.
    pub(crate) told: RefCell<Vec<(FlowKey, Flow)>>,
    /// How many flows there is room to tell, if anybody listens.
    pub(crate) listener: Option<usize>,
    /// How many flows of each [`RecordKind`] may still be recorded.
    pub(crate) budget: [Cell<u32>; 2],
    pub(crate) now_ms: u32,
    pub(crate) ingress: u32,
    /// Until when the host may act as owner, if it needs a lease for that.
    pub(crate) lease: Option<u64>,
    pub(crate) boot_ns: u64,
    pub(crate) tracking: [Cell<u64>; Tracking::ALL.len()],
    pub(crate) traffic: RefCell<HashMap<BackendId, Traffic>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            features: Features::ALL,
            services: HashMap::new(),
            slots: Vec::new(),
            backends: vec![Backend::default(); 64],
            reverse: HashMap::new(),
            routes: HashMap::new(),
            mtu: 1500,
            flows: RefCell::default(),
            room: usize::MAX,
            sealed: false,
            told: RefCell::default(),
            listener: Some(usize::MAX),
            budget: [Cell::new(u32::MAX), Cell::new(u32::MAX)],
            now_ms: 1_000_000,
            ingress: 0,
            lease: None,
            boot_ns: 2_000_000_000_000,
            tracking: Default::default(),
            traffic: RefCell::default(),
        }
    }
}

impl Memory {
    /// Changes the state of a backend.
    pub(crate) fn set_state(&mut self, id: BackendId, state: BackendState) {
        self.backends[usize::from(id)].state = state as u8;
    }

    /// How often something was done with the flow table.
    pub(crate) fn tracked(&self, what: Tracking) -> u64 {
        self.tracking[what as usize].get()
    }
}

impl Tables for Memory {
    fn features(&self) -> Features {
        self.features
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(usize::from(id))
    }

    fn reverse(&self, key: &ReverseKey) -> Option<Reverse> {
        self.reverse.get(key).copied()
    }

    fn is_vip(&self, address: &Addr) -> bool {
        self.services.keys().any(|key| key.vip == *address)
    }

    fn lease(&self) -> Option<u64> {
        self.lease
    }

    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.borrow().get(key).copied()
    }

    fn record(&self, key: &FlowKey, flow: Flow) -> bool {
        let mut flows = self.flows.borrow_mut();
        let fits = !self.sealed && (flows.contains_key(key) || flows.len() < self.room);
        if fits {
            flows.insert(*key, flow);
        }
        fits
    }

    fn tell(&self, key: &FlowKey, flow: Flow) -> bool {
        let Some(room) = self.listener else {
            return true;
        };
        let mut told = self.told.borrow_mut();
        let fits = told.len() < room;
        if fits {
            told.push((*key, flow));
        }
        fits
    }

    fn may_record(&self, kind: RecordKind) -> bool {
        let budget = &self.budget[kind as usize];
        let left = budget.get().checked_sub(1);
        budget.set(left.unwrap_or(0));
        left.is_some()
    }

    fn track(&self, what: Tracking) {
        let counter = &self.tracking[what as usize];
        counter.set(counter.get() + 1);
    }

    fn now_ms(&self) -> u32 {
        self.now_ms
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn boot_ns(&self) -> u64 {
        self.boot_ns
    }

    fn route(&self, packet: &Network, _: Addr) -> Route {
        match self.routes.get(&packet.destination) {
            Some(Route::Via { .. }) if packet.bytes > self.mtu => Route::Stack,
            Some(route) => *route,
            None => Route::NotForwarded,
        }
    }

    fn count_in(&self, backend: BackendId, bytes: u16, is_syn: bool) {
        *self.traffic.borrow_mut().entry(backend).or_default() += Traffic {
            packets_in: 1,
            bytes_in: u64::from(bytes),
            connections: u64::from(is_syn),
            ..Traffic::default()
        };
    }

    fn count_out(&self, backend: BackendId, bytes: u16) {
        *self.traffic.borrow_mut().entry(backend).or_default() += Traffic {
            packets_out: 1,
            bytes_out: u64::from(bytes),
            ..Traffic::default()
        };
    }
}
