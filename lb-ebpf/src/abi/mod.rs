//! What the maps hold: the contract between the XDP program and lb-control.
//!
//! Every type is plain old data without padding (the `bytemuck` derives refuse it otherwise), and
//! its size is asserted here. Addresses and ports are kept as the bytes on the wire. What holds an
//! address is a whole number of words of 64 bits, because the program's stack takes them only where
//! they are aligned. Change a layout only together with [`VERSION`]: it names the directory in which the maps are pinned, so
//! that an older daemon's maps are never read with a newer layout.

mod addr;
mod backend;
mod counters;
mod features;
mod flow;
mod lease;
mod reverse;
mod service;
mod slot;

pub use addr::{Addr, Family};
pub use backend::{Backend, BackendId, BackendState};
pub use counters::{Budget, Tracking, Traffic};
pub use features::{Feature, Features};
pub use flow::{Flow, FlowKey, FlowPhase, NewFlow};
pub use lease::{IsVip, LeaseUntil};
pub use reverse::{Reverse, ReverseKey};
pub use service::{Mode, Service, ServiceId, ServiceKey};
pub use slot::{Slot, SlotState};

/// The layout of everything in this module. Part of the path under which the maps are pinned.
pub const VERSION: u32 = 4;

/// A port as it is on the wire: big endian.
pub type Port = [u8; 2];

/// A hardware address.
pub type Mac = [u8; 6];

/// Protocol numbers, as assigned by IANA.
pub mod proto {
    /// Hop-by-hop options of IPv6 (RFC 8200, section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// The routing header of IPv6 (RFC 8200, section 4.4).
    pub const ROUTING: u8 = 43;
    /// The fragment header of IPv6 (RFC 8200, section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Internet Control Message Protocol for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Destination options of IPv6 (RFC 8200, section 4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
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
    /// Bytes of the ring buffer of new flows. Each takes 40, so there is room for 52,428. A power of
    /// two, and a multiple of any page size.
    pub const NEW_FLOWS: usize = 1 << 21;
}

/// How many map elements of two slots each hold `slots` slots.
#[must_use]
pub const fn slot_pairs(slots: usize) -> usize {
    slots.div_ceil(2)
}

const _: () = {
    assert!(size_of::<Addr>() == 16);
    assert!(size_of::<Backend>() == 64);
    assert!(size_of::<Flow>() == 8);
    assert!(size_of::<FlowKey>() == 24);
    assert!(size_of::<NewFlow>() == 32);
    assert!(size_of::<Reverse>() == 24);
    assert!(size_of::<ReverseKey>() == 24);
    assert!(size_of::<Service>() == 32);
    assert!(size_of::<ServiceKey>() == 24);
    assert!(size_of::<Slot>() == 4);
    assert!(size_of::<Traffic>() == 40);
};
