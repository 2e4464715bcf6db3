//! Where backends' packets go next, as follows from the kernel's links, routes and neighbours.

pub(crate) mod neighbourhood;
#[cfg(test)]
mod tests;

use lb_ebpf::abi::Mac;
use std::fmt;
use std::net::IpAddr;

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

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.destination;
        let ifindex = self.ifindex;
        write!(
            f,
            "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x} by interface {ifindex}"
        )
    }
}

/// What is known of the way to a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct NextHopEvent {
    /// The backend's address.
    pub address: IpAddr,
    /// The way there, or why there is none, in words.
    pub next_hop: Result<NextHop, String>,
}
