//! `SERVICES`: which address, port and protocol belong to which service.

use super::{Addr, Port, proto};
use bytemuck::{Pod, Zeroable};

/// The number of a service: its place in the per-service counters, and part of a flow's key.
pub type ServiceId = u16;

/// What a client's packet is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ServiceKey {
    /// The virtual IP address.
    pub vip: Addr,
    /// The port clients connect to.
    pub port: Port,
    /// The protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 5],
}

impl ServiceKey {
    /// The key of a service.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: Addr, port: Port, proto: u8) -> Self {
        Self {
            vip,
            port,
            proto,
            pad: [0; 5],
        }
    }

    /// The key of a TCP service.
    #[must_use]
    pub const fn tcp(vip: Addr, port: Port) -> Self {
        Self::new(vip, port, proto::TCP)
    }

    /// The key of a UDP service.
    #[must_use]
    pub const fn udp(vip: Addr, port: Port) -> Self {
        Self::new(vip, port, proto::UDP)
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
    /// A [`Mode`].
    pub mode: u8,
    /// What is special about it: [`Service::UNTRACKED`].
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 4],
}

impl Service {
    /// A flag: connections need not stay where they are. Each packet goes to whomever its slot
    /// belongs to; nothing is looked up, and nothing recorded.
    pub const UNTRACKED: u8 = 1 << 0;

    /// Whether [`Self::UNTRACKED`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn is_untracked(&self) -> bool {
        self.flags & Self::UNTRACKED != 0
    }
}

/// How a service's packets get to its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// With the backend's address and port in place of the service's. Answers come back through
    /// here.
    Nat = 0,
}
