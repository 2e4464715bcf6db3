//! What this host's interfaces are, and which addresses they have.

use crate::config::OwnedAddress;
use lb_ebpf::abi::Mac;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) mac: Mac,
    /// Whether it is up and has a carrier.
    pub(super) runs: bool,
    /// In the order in which the kernel has them.
    pub(super) addresses: Vec<Ipv4Addr>,
}

/// All interfaces, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links(BTreeMap<String, Link>);

impl Links {
    /// Asks the kernel.
    pub(super) fn look() -> io::Result<Self> {
        let mut links: BTreeMap<String, Link> = BTreeMap::new();
        for each in getifaddrs()? {
            let link = links.entry(each.interface_name.clone()).or_default();
            let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            link.runs = each.flags.contains(up);
            let Some(address) = each.address else {
                continue;
            };
            if let Some(address) = address.as_link_addr() {
                link.ifindex = u32::try_from(address.ifindex()).unwrap_or(0);
                link.mac = address.addr().unwrap_or_default();
            } else if let Some(address) = address.as_sockaddr_in() {
                link.addresses.push(address.ip());
            }
        }
        Ok(Self(links))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Link> {
        self.0.get(name).filter(|link| link.ifindex != 0)
    }

    /// Whether the interface has the address.
    pub(super) fn has(&self, owned: &OwnedAddress) -> bool {
        let link = self.get(&owned.interface);
        link.is_some_and(|link| link.addresses.contains(&owned.address))
    }

    /// The interface's first address that is its own.
    pub(super) fn own_address(
        &self,
        name: &str,
        shared: &BTreeSet<OwnedAddress>,
    ) -> Option<Ipv4Addr> {
        let is_shared = |address| shared.iter().any(|each| each.address == address);
        let mut addresses = self.get(name)?.addresses.iter().copied();
        addresses.find(|address| !is_shared(*address))
    }
}
