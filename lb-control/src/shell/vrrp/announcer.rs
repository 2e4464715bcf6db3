//! The packet socket that announcements leave by.

use lb_ebpf::abi::Mac;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;

/// Sends frames as they are, on any interface. Nothing is received.
pub(super) struct Announcer {
    socket: Socket,
}

impl Announcer {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a frame, from its Ethernet header on.
    pub(super) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &address(ifindex)?).map(drop)
    }
}

fn address(ifindex: u32) -> io::Result<SockAddr> {
    let ifindex = libc::c_int::try_from(ifindex).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` fits into the storage, and all of its fields may have any value.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = ifindex;
    address.sll_halen = size_of::<Mac>() as libc::c_uchar;
    // SAFETY: it was made a `sockaddr_ll` above, and the length is of that.
    Ok(unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) })
}
