//! Frames as they are, past the network stack.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// A packet socket that sends on one interface.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    address: libc::sockaddr_ll,
}

impl Socket {
    /// Opens one in the namespace of the calling thread.
    pub fn open(interface: &str) -> Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            // Nothing is to be received.
            None::<SockProtocol>,
        )
        .context("failed to open a packet socket")?;
        let index = if_nametoindex(interface)
            .with_context(|| format!("there is no interface {interface}"))?;
        // SAFETY: all zeroes is a valid value of this plain C structure.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_ifindex = i32::try_from(index)?;
        Ok(Self { socket, address })
    }

    /// Sends a frame, from its Ethernet header on.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: both pointers are to live memory of the sizes that are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const self.address).cast(),
                size_of_val(&self.address) as libc::socklen_t,
            )
        };
        ensure!(
            usize::try_from(sent) == Ok(frame.len()),
            "failed to send a frame: {}",
            std::io::Error::last_os_error()
        );
        Ok(())
    }
}
