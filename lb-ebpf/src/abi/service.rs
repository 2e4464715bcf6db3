//! `SERVICES`: which address, port and protocol belong to which service.

use super::{Addr4, Port};
use bytemuck::{Pod, Zeroable};

/// The number of a service: its place in the per-service counters, and part of a flow's key.
pub type ServiceId = u16;

/// What a client's packet is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ServiceKey {
    /// The virtual IP address.
    pub vip: Addr4,
    /// The port clients connect to.
    pub port: Port,
    /// The protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

impl ServiceKey {
    /// The key of a TCP service.
    #[must_use]
    pub const fn tcp(vip: Addr4, port: Port) -> Self {
        Self {
            vip,
            port,
            proto: super::proto::TCP,
            pad: 0,
        }
    }
}

/// One service, as the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Service {
    /// The key of the flow hash ([`crate::hash`]): secret, so that a client cannot aim.
    pub hash_key: [u64; 2],
    /// Index of the service's first slot in `SLOTS`, counted in slots. Always even.
    pub first_slot: u32,
    /// How many slots its table has.
    pub slot_count: u32,
    /// The service's number.
    pub id: ServiceId,
    /// Zero.
    pub pad: [u16; 3],
}
