//! Looks at this host's links and addresses: when they change, and every now and then.
//!
//! The kernel answers such questions only when nobody else configures its network, in any
//! namespace, and that may take longer than advertisements can wait: so it is a thread of its own
//! that asks.

use super::link::Links;
use super::teller::Teller;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::mpsc;
use std::thread;

/// How often everything is looked at without being asked, so that drift heals.
const PERIOD_MS: u16 = 1_000;

/// Starts looking. What was found comes over the channel, and whoever waits is woken.
pub(super) fn spawn(waiting: Teller) -> io::Result<mpsc::Receiver<io::Result<Links>>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
    socket.bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
    socket.set_non_blocking(true)?;
    let (sender, found) = mpsc::channel();
    thread::Builder::new()
        .name("vrrp-links".to_owned())
        .spawn(move || {
            // Until nobody wants to know any more.
            while sender.send(Links::look()).is_ok() {
                waiting.wake();
                wait(&socket);
            }
        })?;
    Ok(found)
}

/// Waits until something changed, or the period is over. What changed is asked for then, so it does
/// not matter what is said.
fn wait(socket: &Socket) {
    // SAFETY: the socket is open as long as it is borrowed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    let mut descriptors = [PollFd::new(descriptor, PollFlags::POLLIN)];
    if poll(&mut descriptors, PollTimeout::from(PERIOD_MS)).is_err() {
        // Interrupted, or out of memory.
        thread::sleep(std::time::Duration::from_millis(PERIOD_MS.into()));
    }
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        buffer.clear();
        // There are no more; or some were lost, but everything is looked at anyway.
        if socket.recv(&mut buffer, 0).is_err() {
            return;
        }
    }
}
