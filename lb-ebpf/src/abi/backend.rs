//! `BACKENDS`: where a backend is, and how its packets get there.

use super::{Addr, Mac, Port, ServiceId};
use bytemuck::{Pod, Zeroable};

/// The number of a backend of one service: its index in `BACKENDS`. 0 means "none".
pub type BackendId = u16;

/// One backend of one service: a cache line. Its next hop is resolved by userspace and kept here, so that the
/// path to a backend needs no look-up of routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Backend {
    /// The backend's address.
    pub addr: Addr,
    /// The interface that leads to the backend, and by which it answers.
    pub ifindex: u32,
    /// The port it listens on.
    pub port: Port,
    /// Which service it belongs to.
    pub service: ServiceId,
    /// The next hop's hardware address.
    pub next_hop: Mac,
    /// The hardware address of our interface.
    pub source: Mac,
    /// A [`BackendState`].
    pub state: u8,
    /// Zero.
    pub pad: [u8; 27],
}

/// Whether packets may be sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BackendState {
    /// The id is not in use.
    Unused = 0,
    /// Packets are delivered: the backend serves, or drains.
    Alive = 1,
    /// Dead: what was recorded for it counts as unknown.
    Dead = 2,
}

impl Backend {
    /// Whether packets may be delivered to it.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.state == BackendState::Alive as u8
    }
}
