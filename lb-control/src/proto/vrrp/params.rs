//! What one virtual router is told of itself.

use super::addresses::Addresses;
use super::announcements::Repeats;
use super::values::{Interval, Priority, Vrid};
use std::net::IpAddr;
use std::time::Duration;

/// What one virtual router is told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Its number.
    pub vrid: Vrid,
    /// Its priority, unless it is changed while it runs.
    pub priority: Priority,
    /// The time between its advertisements when it leads.
    pub interval: Interval,
    /// Whether it relieves a leader of lower priority.
    pub preempt: Preempt,
    /// The address that its advertisements are sent from. The higher one wins a tie.
    pub address: IpAddr,
    /// The virtual addresses, of the same family.
    pub addresses: Addresses,
    /// How often it announces them when it leads.
    pub repeats: Repeats,
}

/// Whether a leader of lower priority is relieved (`Preempt_Mode`). An owner always does it, at
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preempt {
    /// Not as long as it leads.
    Never,
    /// So long after it was first heard, but not earlier than the active-down interval after the
    /// start, or after whoever led before it was last heard.
    After(Duration),
}
