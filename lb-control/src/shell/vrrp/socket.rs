//! The raw socket that advertisements go through.

pub(super) mod v4;
mod v6;

use crate::proto::vrrp::packet::Ends;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

/// Longer than an advertisement of 255 addresses with the longest IP header.
const BUFFER: usize = 4_200;

/// Where advertisements go, and where they come from.
pub(super) enum AdvertSocket {
    V4(v4::Socket),
    V6(v6::Socket),
}

/// What came in: it may be anything.
pub(super) struct Received<'a> {
    pub(super) ends: Ends,
    pub(super) hops: u8,
    pub(super) payload: &'a [u8],
}

impl AdvertSocket {
    /// Opens a socket on this interface, for `peer` alone or for the group.
    pub(super) fn open(
        interface: &str,
        ifindex: u32,
        source: IpAddr,
        peer: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        match source {
            IpAddr::V4(source) => v4::Socket::open(interface, ifindex, source, peer).map(Self::V4),
            IpAddr::V6(source) => v6::Socket::open(interface, ifindex, source).map(Self::V6),
        }
    }

    /// From where to where what is sent goes.
    pub(super) const fn ends(&self) -> Ends {
        match self {
            Self::V4(socket) => socket.ends(),
            Self::V6(socket) => socket.ends(),
        }
    }

    /// Sends the payload of a packet.
    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::V4(socket) => socket.send(payload),
            Self::V6(socket) => socket.send(payload),
        }
    }

    /// The next packet that has arrived. Those of strangers are passed over, where there is one
    /// peer.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        match self {
            Self::V4(socket) => socket.receive(),
            Self::V6(socket) => socket.receive(),
        }
    }
}

impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V4(socket) => socket.as_fd(),
            Self::V6(socket) => socket.as_fd(),
        }
    }
}
