//! Resolves backends to interfaces and hardware addresses, by netlink, and follows changes.

use lb_ebpf::abi::Mac;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use tokio::sync::mpsc;

/// Where a backend's packets go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub ifindex: u32,
    /// Its hardware address.
    pub source: Mac,
    /// The hardware address of the backend, or of the router before it.
    pub destination: Mac,
}

/// What is known of the way to a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct NextHopEvent {
    /// The backend's address.
    pub address: Ipv4Addr,
    /// The way there, or why there is none, in words.
    pub next_hop: Result<NextHop, String>,
}

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    targets: tokio::sync::watch::Sender<BTreeSet<Ipv4Addr>>,
}

impl Resolver {
    /// Starts resolving nothing. Must be called inside of a tokio runtime.
    #[must_use]
    pub fn spawn(_events: mpsc::Sender<NextHopEvent>) -> Self {
        Self {
            targets: tokio::sync::watch::Sender::new(BTreeSet::new()),
        }
    }

    /// Says what is to be resolved from now on, and kept so.
    pub fn set_targets(&self, targets: BTreeSet<Ipv4Addr>) {
        self.targets.send_replace(targets);
    }
}
