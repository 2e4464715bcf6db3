//! `REVERSE`: whose answer a backend's packet is.

use super::{Addr, BackendId, Port, proto};
use bytemuck::{Pod, Zeroable};

/// What a backend's packet is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ReverseKey {
    /// The backend's address.
    pub addr: Addr,
    /// The port it answers from.
    pub port: Port,
    /// The protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 5],
}

impl ReverseKey {
    /// The key of a backend.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: Port, proto: u8) -> Self {
        Self {
            addr,
            port,
            proto,
            pad: [0; 5],
        }
    }

    /// The key of a TCP backend.
    #[must_use]
    pub const fn tcp(addr: Addr, port: Port) -> Self {
        Self::new(addr, port, proto::TCP)
    }

    /// The key of a UDP backend.
    #[must_use]
    pub const fn udp(addr: Addr, port: Port) -> Self {
        Self::new(addr, port, proto::UDP)
    }
}

/// What the client knows the backend as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Reverse {
    /// The virtual IP address.
    pub vip: Addr,
    /// The service's port.
    pub port: Port,
    /// The backend, for the interface that it answers by, and for its counters.
    pub backend: BackendId,
    /// Zero.
    pub pad: [u8; 4],
}

impl Reverse {
    /// What the client knows `backend` as.
    #[must_use]
    pub const fn new(vip: Addr, port: Port, backend: BackendId) -> Self {
        Self {
            vip,
            port,
            backend,
            pad: [0; 4],
        }
    }
}
