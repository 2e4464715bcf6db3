//! Over IPv6. A raw socket is given no headers: what they say comes beside the payload.

use super::{BUFFER, Received};
use crate::proto::vrrp::packet::{self, Ends};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt as set, sockopt,
};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

pub(in super::super) struct Socket {
    socket: socket2::Socket,
    source: Ipv6Addr,
    ifindex: u32,
    /// For the hop limit and the destination of what arrives.
    control: Vec<u8>,
    buffer: [u8; BUFFER],
}

impl Socket {
    pub(super) fn open(interface: &str, ifindex: u32, source: Ipv6Addr) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(packet::PROTOCOL));
        let socket = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_tclass_v6(u32::from(packet::TRAFFIC_CLASS))?;
        socket.set_multicast_hops_v6(u32::from(packet::HOPS))?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(ifindex)?;
        set(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        set(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        // Refused while the kernel still asks whether somebody else has the address.
        socket.bind(&address(source, ifindex))?;
        socket.join_multicast_v6(&packet::GROUP_V6, ifindex)?;
        Ok(Self {
            socket,
            source,
            ifindex,
            control: cmsg_space!(libc::c_int, libc::in6_pktinfo),
            buffer: [0; BUFFER],
        })
    }

    pub(super) const fn ends(&self) -> Ends {
        Ends::V6 {
            source: self.source,
            destination: packet::GROUP_V6,
        }
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        let group = address(packet::GROUP_V6, self.ifindex);
        self.socket.send_to(payload, &group).map(drop)
    }

    pub(super) fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let fd = self.socket.as_raw_fd();
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let (mut hops, mut destination) = (0, Ipv6Addr::UNSPECIFIED);
        let (source, length) = loop {
            let control = Some(self.control.as_mut_slice());
            match recvmsg::<SockaddrIn6>(fd, &mut slices, control, MsgFlags::empty()) {
                Ok(message) => {
                    for each in message.cmsgs()? {
                        match each {
                            ControlMessageOwned::Ipv6HopLimit(limit) => {
                                hops = u8::try_from(limit).unwrap_or(0);
                            }
                            ControlMessageOwned::Ipv6PacketInfo(info) => {
                                destination = info.ipi6_addr.s6_addr.into();
                            }
                            _ => {}
                        }
                    }
                    let source = message.address.map(|from| from.ip());
                    break (source.unwrap_or(Ipv6Addr::UNSPECIFIED), message.bytes);
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Some(Received {
            ends: Ends::V6 {
                source,
                destination,
            },
            hops,
            payload: self.buffer.get(..length).unwrap_or_default(),
        }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn address(address: Ipv6Addr, ifindex: u32) -> SockAddr {
    SockAddr::from(SocketAddrV6::new(address, 0, 0, ifindex))
}
