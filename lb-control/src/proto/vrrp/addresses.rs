//! The virtual addresses of a router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The virtual addresses of a router, in the order of its advertisements: 1 to 255, of one family.
///
/// Of IPv6 the first is to be the link-local one (RFC 9568, section 5.2.9). That is for whoever
/// configures them to see to: from others, any order is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(List);

#[derive(Clone, Debug, PartialEq, Eq)]
enum List {
    V4(Vec<Ipv4Addr>),
    V6(Vec<Ipv6Addr>),
}

impl Addresses {
    /// IPv4 addresses, unless there are none, or more than 255.
    #[must_use]
    pub fn v4(addresses: Vec<Ipv4Addr>) -> Option<Self> {
        is_countable(addresses.len()).then_some(Self(List::V4(addresses)))
    }

    /// IPv6 addresses, unless there are none, or more than 255.
    #[must_use]
    pub fn v6(addresses: Vec<Ipv6Addr>) -> Option<Self> {
        is_countable(addresses.len()).then_some(Self(List::V6(addresses)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u8 {
        let count = match &self.0 {
            List::V4(addresses) => addresses.len(),
            List::V6(addresses) => addresses.len(),
        };
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    /// Whether they are of IPv6, and not of IPv4.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.0, List::V6(_))
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let (v4, v6) = match &self.0 {
            List::V4(addresses) => (addresses.as_slice(), [].as_slice()),
            List::V6(addresses) => ([].as_slice(), addresses.as_slice()),
        };
        let v4 = v4.iter().copied().map(IpAddr::V4);
        v4.chain(v6.iter().copied().map(IpAddr::V6))
    }

    /// Whether both hold the same addresses, in whatever order.
    #[must_use]
    pub fn same_set(&self, other: &Self) -> bool {
        let sorted = |addresses: &Self| {
            let mut sorted: Vec<_> = addresses.iter().collect();
            sorted.sort_unstable();
            sorted
        };
        self == other || sorted(self) == sorted(other)
    }
}

const fn is_countable(count: usize) -> bool {
    0 < count && count <= u8::MAX as usize
}
