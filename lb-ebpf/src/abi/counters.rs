//! `BACKEND_TRAFFIC`, `RETIRED_TRAFFIC`, `REASONS` and `TRACKING`: counters that only ever grow.
//!
//! The program counts per CPU; whoever reads sums. A service's traffic is that of its backends,
//! plus `RETIRED_TRAFFIC`, in which userspace keeps what backends had counted when they left.
//! So the path pays for one traffic counter, and totals never go back.

use bytemuck::{Pod, Zeroable};
use core::ops::AddAssign;

/// What went through. Bytes are those of the IP packets, without Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// SYNs from clients: connection attempts, retransmissions included.
    pub connections: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.packets_in = self.packets_in.wrapping_add(other.packets_in);
        self.bytes_in = self.bytes_in.wrapping_add(other.bytes_in);
        self.packets_out = self.packets_out.wrapping_add(other.packets_out);
        self.bytes_out = self.bytes_out.wrapping_add(other.bytes_out);
        self.connections = self.connections.wrapping_add(other.connections);
    }
}

/// What was done with the flow table: indices of `TRACKING`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tracking {
    /// A look-up found the flow.
    Hit = 0,
    /// A look-up did not.
    Miss = 1,
    /// A flow was recorded.
    Recorded = 2,
    /// A flow was not recorded, because too many were in this second.
    RefusedRate = 3,
    /// A flow was not recorded, because the table is full.
    RefusedFull = 4,
    /// A flow was recorded without being told: whoever listens to `NEW_FLOWS` was too slow.
    Untold = 5,
}

impl Tracking {
    /// Every member, in the order of its index.
    pub const ALL: [Self; 6] = [
        Self::Hit,
        Self::Miss,
        Self::Recorded,
        Self::RefusedRate,
        Self::RefusedFull,
        Self::Untold,
    ];

    /// The counter's name in status, metrics and documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Recorded => "recorded",
            Self::RefusedRate => "refused_rate",
            Self::RefusedFull => "refused_full",
            Self::Untold => "untold",
        }
    }
}

/// The budget of one CPU for recording flows: how many were recorded in the running second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Budget {
    /// The second, since boot.
    pub second: u32,
    /// Flows recorded in it.
    pub used: u32,
}
