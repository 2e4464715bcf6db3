//! The offloads of a veth that matter to XDP, set as `ethtool -K` would, without needing it.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;

use crate::netns::Namespace;

const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// An offload, by its ethtool command (`linux/ethtool.h`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Offload {
    /// Leave the checksums of what is sent to the device. An end of a veth with this on sends
    /// frames with unfinished checksums, which an XDP program on the way would forward as such.
    TxChecksum = 0x17,
    /// Join what is received. It lets the peer's XDP program redirect out of the veth: without
    /// it, or an XDP program on this side, such frames vanish uncounted.
    Gro = 0x2c,
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns an offload of `device` in `namespace` on or off.
pub(crate) fn set(namespace: &Namespace, device: &str, offload: Offload, on: bool) -> Result<()> {
    let name = device.to_owned();
    namespace
        .run(move || set_here(&name, offload, on))?
        .with_context(|| {
            format!(
                "failed to set {offload:?} of {device} in {}",
                namespace.name()
            )
        })
}

fn set_here(device: &str, offload: Offload, on: bool) -> Result<()> {
    // SAFETY: an ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero, to end the name.
    if device.len() >= request.ifr_name.len() {
        bail!("the name is too long");
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *slot = byte as libc::c_char;
    }
    let mut value = EthtoolValue {
        command: offload as u32,
        data: on.into(),
    };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();

    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request and the value it points to live until the call returns, and have the
    // layouts that SIOCETHTOOL expects for these two commands.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok(())
}
