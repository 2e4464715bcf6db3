//! The UDP socket of one link.

use super::{Error, Link};
use crate::proto::heartbeat::packet::{HOPS, LEN, TRAFFIC_CLASS};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SetSockOpt, SockFlag, SockType, SockaddrStorage,
    bind, recvmsg, sendto, setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// The kernel's name for the queue of what must not wait: `TC_PRIO_CONTROL`.
const PRIORITY: libc::c_int = 7;

pub(super) struct Socket {
    fd: OwnedFd,
    remote: SocketAddr,
    /// For the TTL or hop limit of what arrives.
    control: Vec<u8>,
    buffer: [u8; LEN + 1],
    pub(super) unsent: u64,
    pub(super) strangers: u64,
    /// Who sent the last heartbeat from another address than the peer's, and when.
    pub(super) stranger: Option<(IpAddr, Instant)>,
}

/// What arrived.
pub(super) enum Arrival<'a> {
    /// A datagram from the peer's address.
    Heartbeat {
        /// Its payload, cut off where it is longer than a heartbeat.
        payload: &'a [u8],
        /// The TTL or hop limit that it arrived with; 0 if the kernel did not say.
        hops: u8,
    },
    /// A datagram from elsewhere.
    Stranger,
}

impl Socket {
    pub(super) fn open(link: &Link) -> Result<Self, Error> {
        let Link { local, remote, .. } = *link;
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Error::Families { local, remote });
        }
        let fail = |action| {
            move |errno: Errno| Error::Socket {
                action,
                local,
                source: errno.into(),
            }
        };
        let family = match local {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Datagram, flags, None).map_err(fail("make a socket"))?;
        options(&fd, family).map_err(fail("prepare a socket"))?;
        if let Some(interface) = &link.interface {
            let name = interface.into();
            set(&fd, sockopt::BindToDevice, &name).map_err(fail("bind to the interface"))?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(local)).map_err(fail("bind a socket"))?;
        Ok(Self {
            fd,
            remote,
            control: cmsg_space!(libc::c_int, libc::c_int),
            buffer: [0; LEN + 1],
            unsent: 0,
            strangers: 0,
            stranger: None,
        })
    }

    pub(super) fn send(&mut self, payload: &[u8]) {
        let to = SockaddrStorage::from(self.remote);
        if sendto(self.fd.as_raw_fd(), payload, &to, MsgFlags::empty()).is_err() {
            // Most often there is no route: the link is down. The peer notices by itself.
            self.unsent += 1;
        }
    }

    /// The next datagram, if one is there.
    pub(super) fn receive(&mut self) -> Option<Arrival<'_>> {
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let fd = self.fd.as_raw_fd();
        let (from, hops, length) = loop {
            let control = Some(self.control.as_mut_slice());
            match recvmsg::<SockaddrStorage>(fd, &mut slices, control, MsgFlags::empty()) {
                Ok(message) => {
                    let hops = message.cmsgs().ok().and_then(|mut all| all.find_map(hops));
                    break (message.address, hops, message.bytes);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                // An error of something sent before. It is told once.
                Err(_) => return None,
            }
        };
        let from = from.as_ref().and_then(address);
        if from != Some(self.remote.ip()) {
            self.strangers += 1;
            // Of the same link, and as long as one: not somebody who scans ports.
            if let Some(from) = from.filter(|_| length == LEN && hops == Some(HOPS)) {
                self.stranger = Some((from, Instant::now()));
            }
            return Some(Arrival::Stranger);
        }
        Some(Arrival::Heartbeat {
            payload: self.buffer.get(..length).unwrap_or_default(),
            hops: hops.unwrap_or(0),
        })
    }
}

fn options(fd: &OwnedFd, family: AddressFamily) -> nix::Result<()> {
    let hops = libc::c_int::from(HOPS);
    let class = libc::c_int::from(TRAFFIC_CLASS);
    if family == AddressFamily::Inet {
        set(fd, sockopt::Ipv4Ttl, &hops)?;
        set(fd, sockopt::Ipv4RecvTtl, &true)?;
        set(fd, sockopt::Ipv4Tos, &class)?;
    } else {
        set(fd, sockopt::Ipv6V6Only, &true)?;
        set(fd, sockopt::Ipv6Ttl, &hops)?;
        set(fd, sockopt::Ipv6RecvHopLimit, &true)?;
        set(fd, sockopt::Ipv6TClass, &class)?;
    }
    set(fd, sockopt::Priority, &PRIORITY)?;
    // The daemon may start before the address is there.
    set(fd, sockopt::IpFreebind, &true)
}

fn set<O: SetSockOpt>(fd: &OwnedFd, option: O, value: &O::Val) -> nix::Result<()> {
    setsockopt(fd, option, value)
}

fn hops(message: ControlMessageOwned) -> Option<u8> {
    match message {
        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
            u8::try_from(hops).ok()
        }
        _ => None,
    }
}

fn address(from: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
