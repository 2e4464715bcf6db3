//! Addresses of both families, in one form.

use bytemuck::{Pod, Zeroable};
use core::cmp::Ordering;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of IP that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An IP address as it is on the wire, in 16 bytes: one of IPv4 as an IPv4-mapped one (RFC 4291,
/// section 2.5.5.2), which never is on the wire as such. So both families have the same maps and the
/// same code.
///
/// The bytes are kept as two words: registers hold them better so.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Addr([u64; 2]);

/// The third word of 32 bits of every IPv4-mapped address.
const MAPPED: [u8; 4] = [0, 0, 0xff, 0xff];

impl Addr {
    /// An IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4([a, b, c, d]: [u8; 4]) -> Self {
        let [m, n, o, p] = MAPPED;
        Self([0, u64::from_ne_bytes([m, n, o, p, a, b, c, d])])
    }

    /// An IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// All of it.
    #[inline(always)]
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The last four bytes: of an IPv4 address, all there is.
    #[inline(always)]
    #[must_use]
    pub const fn octets_v4(self) -> [u8; 4] {
        let [_, _, _, _, a, b, c, d] = self.0[1].to_ne_bytes();
        [a, b, c, d]
    }

    /// All of it, as two words in the host's byte order.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    /// The family it belongs to.
    #[inline(always)]
    #[must_use]
    pub const fn family(self) -> Family {
        let mapped = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        let mask = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        if self.0[0] == 0 && self.0[1] & mask == mapped {
            Family::V4
        } else {
            Family::V6
        }
    }
}

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As numbers: all of IPv4 lies together.
impl Ord for Addr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(&other.octets())
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(address.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(address: Ipv6Addr) -> Self {
        Self::v6(address.octets())
    }
}

impl From<IpAddr> for Addr {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(address: Addr) -> Self {
        match address.family() {
            Family::V4 => Self::V4(address.octets_v4().into()),
            Family::V6 => Self::V6(address.octets().into()),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Addr, Family};
    use std::net::IpAddr;

    #[test]
    fn what_goes_in_comes_out() {
        for (text, family) in [
            ("0.0.0.0", Family::V4),
            ("192.0.2.10", Family::V4),
            ("255.255.255.255", Family::V4),
            ("::", Family::V6),
            ("::1", Family::V6),
            ("2001:db8::1", Family::V6),
            ("fe80::ff:fe00:1", Family::V6),
            // All but one bit of what is IPv4.
            ("::fffe:192.0.2.10", Family::V6),
            ("::1:ffff:192.0.2.10", Family::V6),
            ("8000::ffff:192.0.2.10", Family::V6),
        ] {
            let address: IpAddr = text.parse().unwrap();
            let addr = Addr::from(address);
            assert_eq!(addr.family(), family, "{text}");
            assert_eq!(IpAddr::from(addr), address);
            let octets = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            assert_eq!(addr.octets(), octets, "{text}");
            assert_eq!(addr.octets_v4(), octets[12..], "{text}");
            assert_eq!(bytemuck::bytes_of(&addr), octets, "{text}");
            assert_eq!(addr.to_string(), address.to_string());
        }
    }

    #[test]
    fn addresses_are_in_the_order_of_their_numbers() {
        let mut addresses = ["::1", "9.0.0.1", "10.0.0.0", "10.0.0.255", "2001:db8::"]
            .map(|text| Addr::from(text.parse::<IpAddr>().unwrap()));
        let sorted = addresses;
        addresses.reverse();
        addresses.sort();
        assert_eq!(addresses, sorted);
    }
}
