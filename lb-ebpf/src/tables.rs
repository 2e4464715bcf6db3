//! Access to the tables that decide where a packet goes.

use crate::abi::{
    Addr, Backend, BackendId, Features, Flow, FlowKey, Mac, Reverse, ReverseKey, Service,
    ServiceKey, Slot, Tracking,
};
use crate::parse::Network;

/// The tables of [`crate::abi`], the kernel's routes and the clock, as a packet sees them that came
/// in by one of the interfaces.
///
/// In the kernel these are BPF maps and helpers; on the host, ordinary collections.
pub trait Tables {
    /// The parts of the program that are used: known when it is loaded.
    fn features(&self) -> Features;
    /// The service that clients reach by `key`.
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// The slot at `index` of all services' slots.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// The backend `id`, if that id can exist.
    fn backend(&self, id: BackendId) -> Option<&Backend>;
    /// The service that a backend's packet answers for.
    fn reverse(&self, key: &ReverseKey) -> Option<Reverse>;
    /// Whether clients reach any service by this address.
    fn is_vip(&self, address: &Addr) -> bool;
    /// Until when this host may act as owner of the services' addresses, by the clock of
    /// [`boot_ns`](Self::boot_ns). `None` if that needs no lease.
    fn lease(&self) -> Option<u64>;

    /// The recorded flow `key`.
    fn flow(&self, key: &FlowKey) -> Option<Flow>;
    /// Records `flow`, or replaces what is recorded. False if there is no room.
    fn record(&self, key: &FlowKey, flow: Flow) -> bool;
    /// Tells whoever listens that a flow was recorded. False if there is no room to; true if nobody
    /// listens.
    fn tell(&self, key: &FlowKey, flow: Flow) -> bool;
    /// Takes one from this second's budget for recording flows of the given kind.
    fn may_record(&self, kind: RecordKind) -> bool;
    /// Counts what was done with the flow table.
    fn track(&self, what: Tracking);

    /// Milliseconds since boot, modulo 2³².
    fn now_ms(&self) -> u32;
    /// The interface that the packet came in by.
    fn ingress(&self) -> u32;

    /// Nanoseconds since boot, those included in which the host was suspended.
    fn boot_ns(&self) -> u64;
    /// Where the kernel would forward a packet if it came from `source`.
    fn route(&self, packet: &Network, source: Addr) -> Route;

    /// Counts a packet from a client to a backend.
    fn count_in(&self, backend: BackendId, bytes: u16, is_syn: bool);
    /// Counts a packet from a backend to a client.
    fn count_out(&self, backend: BackendId, bytes: u16);
}

/// Why a flow is to be recorded. Each kind has a budget of its own, so that a flood of one does
/// not use up the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A SYN on a dirty slot.
    New = 0,
    /// A packet of a connection that is older than the slot's change.
    Old = 1,
}

/// What the kernel's routes say about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Forward by this interface to this neighbour.
    Via {
        /// The interface.
        ifindex: u32,
        /// The hardware address of the next hop.
        next_hop: Mac,
        /// The hardware address of the interface.
        source: Mac,
    },
    /// There is a route, but the stack has to find the neighbour, or to deal with the size.
    Stack,
    /// The destination is this host, or there is no route.
    NotForwarded,
}
