//! What the maps hold: the contract between the XDP program and lb-control.
//!
//! Every type is plain old data without padding (the `bytemuck` derives refuse it otherwise), and
//! its size is asserted here. Addresses and ports are kept as the bytes on the wire. Change a
//! layout only together with [`VERSION`]: it names the directory in which the maps are pinned, so
//! that an older daemon's maps are never read with a newer layout.

mod backend;
mod counters;
mod flow;
mod lease;
mod reverse;
mod service;
mod slot;

pub use backend::{Backend, BackendId, BackendState};
pub use counters::{Budget, Tracking, Traffic};
pub use flow::{Flow, FlowKey, FlowPhase, NewFlow};
pub use lease::{IsVip, LeaseUntil};
pub use reverse::{Reverse, ReverseKey};
pub use service::{Service, ServiceId, ServiceKey};
pub use slot::{Slot, SlotState};

/// The layout of everything in this module. Part of the path under which the maps are pinned.
pub const VERSION: u32 = 3;

/// An IPv4 address as it is on the wire.
pub type Addr4 = [u8; 4];

/// A port as it is on the wire: big endian.
pub type Port = [u8; 2];

/// A hardware address.
pub type Mac = [u8; 6];

/// Protocol numbers, as assigned by IANA.
pub mod proto {
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
}

/// Sizes of the maps unless the configuration says otherwise. All can be overridden at load.
pub mod capacity {
    /// Services.
    pub const SERVICES: usize = 64;
    /// Slots of one service in the default table: Maglev's "small" prime.
    pub const SLOTS_PER_SERVICE: usize = 65_537;
    /// Backends of all services together; id 0 is never used.
    pub const BACKENDS: usize = 1_024;
    /// Recorded flows.
    pub const FLOWS: usize = 262_144;
    /// Bytes of the ring buffer of new flows. Each takes 24, so there is room for 43,690. A power of
    /// two, and a multiple of any page size.
    pub const NEW_FLOWS: usize = 1 << 20;
}

/// How many map elements of two slots each hold `slots` slots.
#[must_use]
pub const fn slot_pairs(slots: usize) -> usize {
    slots.div_ceil(2)
}

const _: () = {
    assert!(size_of::<Backend>() == 32);
    assert!(size_of::<Flow>() == 8);
    assert!(size_of::<FlowKey>() == 8);
    assert!(size_of::<NewFlow>() == 16);
    assert!(size_of::<Reverse>() == 8);
    assert!(size_of::<ReverseKey>() == 8);
    assert!(size_of::<Service>() == 32);
    assert!(size_of::<ServiceKey>() == 8);
    assert!(size_of::<Slot>() == 4);
    assert!(size_of::<Traffic>() == 40);
};
