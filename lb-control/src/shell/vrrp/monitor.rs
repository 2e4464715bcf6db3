//! Hears that links or addresses of this host changed.

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

/// What changed is asked for then: so it does not matter what is said.
pub(super) struct Monitor {
    socket: Socket,
}

impl Monitor {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR;
        socket.bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket })
    }

    /// Whether something changed since this was asked last.
    pub(super) fn take(&self) -> bool {
        let mut changed = false;
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return changed,
                // News were lost.
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }
}
