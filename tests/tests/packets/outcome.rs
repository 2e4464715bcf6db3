//! What became of a packet.

use lb_ebpf::abi::{BackendId, Flow, FlowKey, FlowPhase, Tracking, Traffic};
use lb_ebpf::reason::Reason;
use std::fmt;

/// What XDP is told to do: `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Xdp {
    Drop = 1,
    Pass = 2,
    Tx = 3,
    Redirect = 4,
}

impl Xdp {
    pub(crate) fn from_number(action: u32) -> Option<Self> {
        [Self::Drop, Self::Pass, Self::Tx, Self::Redirect]
            .into_iter()
            .find(|known| *known as u32 == action)
    }
}

/// A recorded flow: its backend, and a [`FlowPhase`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) backend: BackendId,
    pub(crate) phase: u16,
}

impl Recorded {
    pub(crate) const fn new(backend: BackendId, phase: FlowPhase) -> Self {
        Self {
            backend,
            phase: phase as u16,
        }
    }
}

impl From<Flow> for Recorded {
    fn from(flow: Flow) -> Self {
        Self {
            backend: flow.backend,
            phase: flow.phase,
        }
    }
}

/// The verdict, the frame as it was left, the record of its flow, and what was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) reason: Reason,
    pub(crate) action: Xdp,
    pub(crate) frame: Vec<u8>,
    pub(crate) flow: Option<Recorded>,
    /// The flows that were told.
    pub(crate) told: Vec<(FlowKey, Recorded)>,
    /// What was done with the flow table, in the order of `Tracking::ALL`.
    pub(crate) tracked: Vec<Tracking>,
    /// The backends that counted something.
    pub(crate) traffic: Vec<(BackendId, Traffic)>,
}

impl Outcome {
    /// What happened to the flow table, from how often each thing did.
    pub(crate) fn tracked(counts: impl IntoIterator<Item = u64>) -> Vec<Tracking> {
        let times = |(what, count): (Tracking, u64)| vec![what; count as usize];
        Tracking::ALL
            .into_iter()
            .zip(counts)
            .flat_map(times)
            .collect()
    }

    /// Compares, and tells the difference.
    pub(crate) fn must_be(&self, expected: &Self) -> Result<(), String> {
        if self == expected {
            return Ok(());
        }
        Err(format!("expected {expected}\n   found {self}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}, {:?}, ", self.reason, self.action, self.flow)?;
        write!(f, "{:?}, {:?}, ", self.told, self.tracked)?;
        write!(f, "{:?},", self.traffic)?;
        for (offset, byte) in self.frame.iter().enumerate() {
            // Ethernet, IPv4, the rest.
            let separator = if matches!(offset, 14 | 34) { "  " } else { " " };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}
