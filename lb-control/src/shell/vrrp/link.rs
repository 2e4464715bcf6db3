//! What this host's interfaces are, and which addresses they have.

use crate::config::OwnedAddress;
use crate::proto::vrrp::Family;
use crate::proto::vrrp::announce::Node;
use lb_ebpf::abi::Mac;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) mac: Mac,
    /// Whether it is up and has a carrier.
    pub(super) runs: bool,
    /// In the order in which the kernel has them.
    pub(super) addresses: Vec<IpAddr>,
    /// What it is to others on the link, over IPv6.
    pub(super) node: Node,
}

/// All interfaces, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links(BTreeMap<String, Link>);

impl Links {
    /// Asks the kernel.
    pub(super) fn look() -> io::Result<Self> {
        let mut links: BTreeMap<String, Link> = BTreeMap::new();
        for each in getifaddrs()? {
            let name = &each.interface_name;
            let link = links.entry(name.clone()).or_insert_with(|| Link {
                ifindex: 0,
                mac: Mac::default(),
                runs: false,
                addresses: Vec::new(),
                node: node(name),
            });
            let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
            link.runs = each.flags.contains(up);
            let Some(address) = each.address else {
                continue;
            };
            if let Some(address) = address.as_link_addr() {
                link.ifindex = u32::try_from(address.ifindex()).unwrap_or(0);
                link.mac = address.addr().unwrap_or_default();
            } else if let Some(address) = address.as_sockaddr_in() {
                link.addresses.push(IpAddr::V4(address.ip()));
            } else if let Some(address) = address.as_sockaddr_in6() {
                link.addresses.push(IpAddr::V6(address.ip()));
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

    /// The interface's first address that is its own, to advertise from: of IPv6, a link-local one
    /// (RFC 9568, section 5.1.2.1).
    pub(super) fn own_address(
        &self,
        name: &str,
        family: Family,
        is_shared: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let mut addresses = self.get(name)?.addresses.iter().copied();
        addresses.find(|address| {
            let fits = match address {
                IpAddr::V4(_) => family == Family::V4,
                IpAddr::V6(address) => family == Family::V6 && address.is_unicast_link_local(),
            };
            fits && !is_shared(*address)
        })
    }
}

fn node(interface: &str) -> Node {
    let setting = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    match std::fs::read_to_string(setting) {
        Ok(value) if value.trim() != "0" => Node::Router,
        _ => Node::Host,
    }
}
