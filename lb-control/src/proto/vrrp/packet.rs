//! Advertisements on the wire (RFC 9568, section 5.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Version| Type  |     VRID      |   Priority    |     Count     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Reserve|       Interval        |           Checksum            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                 addresses, of 4 or 16 bytes                   |
//! ```

use super::addresses::Addresses;
use super::checksum::Sum;
use super::refusal::Refusal;
use super::values::{Claim, Interval, Vrid};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IP protocol number (RFC 9568, section 5.1.1.4).
pub const PROTOCOL: u8 = 112;
/// The TTL or hop limit that is sent, and without which nothing is heeded (RFC 9568, section
/// 5.1.1.3).
pub const HOPS: u8 = 255;
/// The DSCP and ECN byte of what is sent: network control, CS6 (RFC 4594, section 3.1).
pub const TRAFFIC_CLASS: u8 = 0xc0;
/// Where advertisements go over IPv4 if no peers are named (RFC 9568, section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where advertisements go over IPv6 if no peers are named (RFC 9568, section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const VERSION: u8 = 3;
const TYPE_ADVERTISEMENT: u8 = 1;
const HEADER_LEN: usize = 8;

/// An advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Which virtual router it is of.
    pub vrid: Vrid,
    /// What its sender says of itself.
    pub claim: Claim,
    /// The time to its next one.
    pub interval: Interval,
    /// The addresses of the virtual router.
    pub addresses: Addresses,
}

/// From where to where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Over IPv4.
    V4 {
        /// The sender's address.
        source: Ipv4Addr,
        /// The group's address, or in unicast the receiver's.
        destination: Ipv4Addr,
    },
    /// Over IPv6.
    V6 {
        /// The sender's address.
        source: Ipv6Addr,
        /// The group's address, or in unicast the receiver's.
        destination: Ipv6Addr,
    },
}

impl Ends {
    /// The sender's address.
    #[must_use]
    pub const fn source(self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => IpAddr::V4(source),
            Self::V6 { source, .. } => IpAddr::V6(source),
        }
    }

    /// Where it goes.
    #[must_use]
    pub const fn destination(self) -> IpAddr {
        match self {
            Self::V4 { destination, .. } => IpAddr::V4(destination),
            Self::V6 { destination, .. } => IpAddr::V6(destination),
        }
    }

    const fn is_ipv6(self) -> bool {
        matches!(self, Self::V6 { .. })
    }

    const fn address_len(self) -> usize {
        if self.is_ipv6() { 16 } else { 4 }
    }
}

/// What the checksum of an advertisement over IPv4 covers. Both forms are understood; over IPv6
/// it always covers the pseudo-header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumForm {
    /// Only the message, as RFC 9568 says in section 5.2.8.
    #[default]
    Message,
    /// The pseudo-header too, as keepalived does unless it is told otherwise.
    WithPseudoHeader,
}

/// Addresses of one family cannot be advertised over the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the virtual addresses and those of the packet are not of the same family")]
pub struct MixedFamilies;

impl Advert {
    /// Reads the payload of an IP packet that arrived with this TTL or hop limit.
    ///
    /// # Errors
    ///
    /// If it is anything but a sound advertisement from this link.
    pub fn decode(payload: &[u8], ends: Ends, hops: u8) -> Result<Self, Refusal> {
        if hops != HOPS {
            return Err(Refusal::Hops { hops });
        }
        let truncated = |needed| Refusal::Truncated {
            length: payload.len(),
            needed,
        };
        // An older version has another header: it is named before anything else is judged.
        let first = *payload.first().ok_or_else(|| truncated(HEADER_LEN))?;
        let (version, kind) = (first >> 4, first & 0x0f);
        if version != VERSION {
            return Err(Refusal::Version { version });
        }
        if kind != TYPE_ADVERTISEMENT {
            return Err(Refusal::Type { kind });
        }
        let (header, list) = payload
            .split_first_chunk::<HEADER_LEN>()
            .ok_or_else(|| truncated(HEADER_LEN))?;
        let [_, vrid, priority, count, interval @ .., _, _] = *header;

        let needed = HEADER_LEN + usize::from(count) * ends.address_len();
        if payload.len() < needed {
            return Err(truncated(needed));
        }
        if payload.len() > needed {
            let length = payload.len();
            return Err(Refusal::TooLong { length, needed });
        }
        if !is_intact(payload, ends) {
            return Err(Refusal::Checksum);
        }
        // The upper four bits are reserved, and ignored (section 5.2.6).
        let interval = u16::from_be_bytes(interval) & Interval::MAX_CENTISECONDS;
        Ok(Self {
            vrid: Vrid::new(vrid).ok_or(Refusal::NoVrid)?,
            claim: Claim::from_wire(priority),
            interval: Interval::from_centiseconds(interval).ok_or(Refusal::NoInterval)?,
            addresses: addresses(list, ends).ok_or(Refusal::NoAddresses)?,
        })
    }

    /// Writes the payload of an IP packet. It is to be sent with TTL or hop limit [`HOPS`]. In
    /// unicast the checksum is of the peer's address, so each peer has its own.
    ///
    /// # Errors
    ///
    /// If the virtual addresses are of the other family.
    pub fn encode(&self, ends: Ends, form: ChecksumForm) -> Result<Vec<u8>, MixedFamilies> {
        if self.addresses.is_ipv6() != ends.is_ipv6() {
            return Err(MixedFamilies);
        }
        let mut head = [0; HEADER_LEN - 2];
        head[0] = VERSION << 4 | TYPE_ADVERTISEMENT;
        head[1] = self.vrid.get();
        head[2] = self.claim.to_wire();
        head[3] = self.addresses.count();
        head[4..].copy_from_slice(&self.interval.centiseconds().to_be_bytes());
        let list: Vec<u8> = self.addresses.iter().flat_map(octets).collect();

        let message = Sum::default().add(&head).add(&list);
        let sum = match (ends, form) {
            (Ends::V4 { .. }, ChecksumForm::Message) => message,
            (Ends::V4 { .. }, ChecksumForm::WithPseudoHeader) | (Ends::V6 { .. }, _) => {
                message.add_pseudo_header(ends, PROTOCOL, HEADER_LEN + list.len())
            }
        };
        Ok([&head, sum.checksum().0.as_slice(), &list].concat())
    }
}

/// Divides what arrived after the last address that its header counts.
pub(super) fn split_after_message(payload: &[u8], ends: Ends) -> Option<(&[u8], &[u8])> {
    let count = usize::from(*payload.get(3)?);
    payload.split_at_checked(HEADER_LEN + count * ends.address_len())
}

/// Which virtual router what arrived is of.
pub(super) fn vrid_of(payload: &[u8]) -> Option<Vrid> {
    Vrid::new(*payload.get(1)?)
}

fn is_intact(payload: &[u8], ends: Ends) -> bool {
    let message = Sum::default().add(payload);
    let whole = message.add_pseudo_header(ends, PROTOCOL, payload.len());
    whole.is_intact() || (!ends.is_ipv6() && message.is_intact())
}

fn addresses(list: &[u8], ends: Ends) -> Option<Addresses> {
    match ends {
        Ends::V4 { .. } => {
            let (each, _) = list.as_chunks::<4>();
            Addresses::v4(each.iter().copied().map(Ipv4Addr::from).collect())
        }
        Ends::V6 { .. } => {
            let (each, _) = list.as_chunks::<16>();
            Addresses::v6(each.iter().copied().map(Ipv6Addr::from).collect())
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
