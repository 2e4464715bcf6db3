//! The tables that packets are decided by: what they hold, and one small trait to change them.

mod attach;
mod bpf;
mod kernel;
mod lease;
mod memory;
mod new_flows;
mod object;
mod pins;

pub use attach::{Attacher, Attachment, detach};
pub use bpf::{TestRun, test_run};
pub use kernel::Kernel;
pub use lease::{Lease, Renew, boot_ns};
pub use memory::Memory;
pub use new_flows::NewFlows;
pub use object::{Options, load};
pub use pins::{Lock, Mode, Pins};

use lb_ebpf::abi::{
    Backend, BackendId, Flow, FlowKey, Reverse, ReverseKey, Service, ServiceId, ServiceKey, Slot,
    Traffic,
};
use std::collections::BTreeMap;

/// All that decides about packets, apart from recorded flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Which address and port belong to which service.
    pub services: BTreeMap<ServiceKey, Service>,
    /// The backends in use.
    pub backends: BTreeMap<BackendId, Backend>,
    /// Whose answer a backend's packet is.
    pub reverse: BTreeMap<ReverseKey, Reverse>,
    /// The slots of each service.
    pub slots: BTreeMap<ServiceId, Vec<Slot>>,
}

/// Access to the tables of the running program.
pub trait Dataplane {
    /// Reads everything.
    fn read(&self) -> Result<Tables, Error>;

    /// Sets or removes a service.
    fn set_service(&mut self, key: &ServiceKey, service: Option<&Service>) -> Result<(), Error>;
    /// Sets or clears a backend.
    fn set_backend(&mut self, id: BackendId, backend: Option<&Backend>) -> Result<(), Error>;
    /// Sets or removes a backend's way back.
    fn set_reverse(&mut self, key: &ReverseKey, reverse: Option<&Reverse>) -> Result<(), Error>;
    /// Sets one slot, counted over all services. The program sees all of it or nothing.
    fn set_slot(&mut self, index: u32, slot: Slot) -> Result<(), Error>;

    /// Lets this host act as owner of the services' addresses until then, in nanoseconds of
    /// [`boot_ns`]; 0 takes that away. Without effect unless leases are in force
    /// ([`Options::fenced`]).
    ///
    /// The only thing in the tables that may also be written by another thread, through a
    /// [`Lease`].
    fn renew_lease(&mut self, until: u64) -> Result<(), Error>;

    /// All recorded flows.
    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>, Error>;
    /// Enters flows as another host recorded them, in place of what is recorded here, with time
    /// stamps of this host's clock ([`Flow::with_idle_ms`]). Nobody is told of them. Where there is
    /// no room for all, those that fit are entered, and the error is [`Error::no_room`].
    fn set_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), Error>;
    /// Forgets recorded flows. Some may be gone already.
    fn remove_flows(&mut self, keys: &[FlowKey]) -> Result<(), Error>;

    /// What a backend has counted.
    fn traffic(&self, backend: BackendId) -> Result<Traffic, Error>;
    /// What backends of a service had counted when they left.
    fn retired(&self, service: ServiceId) -> Result<Traffic, Error>;
    /// Moves a backend's counters to its service's retired ones, or discards them.
    fn retire(&mut self, backend: BackendId, service: Option<ServiceId>) -> Result<(), Error>;
    /// Forgets what backends of a service had counted.
    fn forget_retired(&mut self, service: ServiceId) -> Result<(), Error>;
    /// Packets per verdict, in the order of `Reason::ALL`.
    fn reasons(&self) -> Result<Vec<u64>, Error>;
    /// What was done with the flow table, in the order of `Tracking::ALL`.
    fn tracking(&self) -> Result<Vec<u64>, Error>;
}

/// Something the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action}")]
pub struct Error {
    /// What was attempted.
    pub action: String,
    /// What the kernel said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    fn new(
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            action: action.into(),
            source: source.into(),
        }
    }

    /// For some of `flows` that were to be entered, there was no room.
    #[must_use]
    pub fn no_room(refused: usize, flows: usize) -> Self {
        Self::new(
            format!("enter {flows} flows of another host"),
            format!(
                "the flow table is full, {refused} of them did not fit: set limits.flows as high as \
                 on that host, or higher"
            ),
        )
    }
}
