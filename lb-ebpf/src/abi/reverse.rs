//! `REVERSE`: whose answer a backend's packet is.

use super::{Addr4, BackendId, Port};
use bytemuck::{Pod, Zeroable};

/// What a backend's packet is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct ReverseKey {
    /// The backend's address.
    pub addr: Addr4,
    /// The port it answers from.
    pub port: Port,
    /// The protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}

impl ReverseKey {
    /// The key of a TCP backend.
    #[must_use]
    pub const fn tcp(addr: Addr4, port: Port) -> Self {
        Self {
            addr,
            port,
            proto: super::proto::TCP,
            pad: 0,
        }
    }
}

/// What the client knows the backend as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Reverse {
    /// The virtual IP address.
    pub vip: Addr4,
    /// The service's port.
    pub port: Port,
    /// The backend, for the interface that it answers by, and for its counters.
    pub backend: BackendId,
}
