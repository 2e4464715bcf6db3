//! `FLOWS`: the connections that the slots alone cannot answer for.

use super::{Addr4, BackendId, Port, ServiceId};
use bytemuck::{Pod, Zeroable};

/// A client's connection to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// The client's address.
    pub client: Addr4,
    /// The client's port.
    pub client_port: Port,
    /// The service it talks to.
    pub service: ServiceId,
}

impl FlowKey {
    /// The flow as the one word that is hashed ([`crate::hash`]). The service is left out: each
    /// has a key of its own.
    #[must_use]
    pub const fn word(&self) -> u64 {
        let [a, b, c, d] = self.client;
        let [p, q] = self.client_port;
        u64::from_ne_bytes([a, b, c, d, p, q, 0, 0])
    }
}

/// Which backend a recorded connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Flow {
    /// When it was last seen: milliseconds since boot, modulo 2³².
    pub last_seen_ms: u32,
    /// Its backend.
    pub backend: BackendId,
    /// A [`FlowPhase`].
    pub phase: u16,
}

/// What the client's packets say about the life of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum FlowPhase {
    /// Nothing but SYNs was seen: perhaps a flood's, so such a record does not live long.
    Opening = 0,
    /// Another packet was seen. When such a connection ends, its record is left to expire: what ends
    /// it can be made up by anybody, and only the two ends would notice.
    Open = 1,
}

impl Flow {
    /// How long ago the flow was last seen, in milliseconds. A packet that was seen after `now_ms`
    /// was read counts as seen now.
    #[must_use]
    pub const fn idle_ms(&self, now_ms: u32) -> u32 {
        let idle = now_ms.wrapping_sub(self.last_seen_ms);
        if idle > u32::MAX / 2 { 0 } else { idle }
    }
}
