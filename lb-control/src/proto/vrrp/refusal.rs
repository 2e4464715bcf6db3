//! Why an advertisement is not heeded.

use super::values::Vrid;
use std::net::IpAddr;

/// Why an advertisement is not heeded (RFC 9568, section 7.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was forwarded, so it may come from anywhere.
    #[error("its TTL or hop limit is {hops} and not 255: it does not come from this link")]
    Hops {
        /// The TTL or hop limit that it arrived with.
        hops: u8,
    },
    /// Another version of the protocol.
    #[error("it is of VRRP version {version}, and only version 3 is spoken here")]
    Version {
        /// The version that it gives.
        version: u8,
    },
    /// Not an advertisement, the only type there is.
    #[error("it is of the unknown type {kind}")]
    Type {
        /// The type that it gives.
        kind: u8,
    },
    /// Shorter than its header, or than its count of addresses asks for.
    #[error("it has {length} bytes, where {needed} are needed")]
    Truncated {
        /// Bytes that there are.
        length: usize,
        /// Bytes that there should be.
        needed: usize,
    },
    /// Something follows the last address.
    #[error("it has {length} bytes, where its addresses end after {needed}")]
    TooLong {
        /// Bytes that there are.
        length: usize,
        /// Bytes that there should be.
        needed: usize,
    },
    /// Damaged on its way, or summed in neither of the known forms.
    #[error("its checksum is wrong")]
    Checksum,
    /// It names the router 0.
    #[error("its VRID is 0")]
    NoVrid,
    /// It holds no address.
    #[error("it names no address")]
    NoAddresses,
    /// Its interval is 0.
    #[error("its interval is 0")]
    NoInterval,
    /// It is of another virtual router.
    #[error("it is of VRID {theirs}, and this is {ours}")]
    OtherVrid {
        /// The VRID that it names.
        theirs: Vrid,
        /// The VRID of this router.
        ours: Vrid,
    },
    /// It is of the virtual router of the other address family.
    #[error("it is of the other address family")]
    OtherFamily,
    /// It comes from an address of our own.
    #[error("it comes from our own address {address}: looped back, or another host has it too")]
    OwnAddress {
        /// The address.
        address: IpAddr,
    },
    /// It comes from another host than the one that is the peer.
    #[error("it comes from {address}, which is not the peer")]
    Stranger {
        /// The address.
        address: IpAddr,
    },
    /// It bears no seal, or one that was not made with the pair's key.
    #[error("it is not sealed with the pair's key: the other host did not send it")]
    Forged,
    /// It is no newer than one that was heard.
    #[error("it is a recording: one as new was heard before")]
    Replayed,
    /// Its session is not one in which heartbeats are exchanged: it is a recording, or was sent while
    /// a session began.
    #[error("it is of a session in which no heartbeats are exchanged")]
    OtherSession,
}

impl Refusal {
    /// A short name, for counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hops { .. } => "hops",
            Self::Version { .. } => "version",
            Self::Type { .. } => "type",
            Self::Truncated { .. } => "truncated",
            Self::TooLong { .. } => "too_long",
            Self::Checksum => "checksum",
            Self::NoVrid => "no_vrid",
            Self::NoAddresses => "no_addresses",
            Self::NoInterval => "no_interval",
            Self::OtherVrid { .. } => "other_vrid",
            Self::OtherFamily => "other_family",
            Self::OwnAddress { .. } => "own_address",
            Self::Stranger { .. } => "stranger",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::OtherSession => "other_session",
        }
    }
}
