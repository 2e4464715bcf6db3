//! Over IPv4. A raw socket is given whole packets.

use super::{BUFFER, Received};
use crate::proto::vrrp::packet::{self, Ends};
use lb_ebpf::wire::Ipv4;
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockFilter, Type};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

pub(in super::super) struct Socket {
    socket: socket2::Socket,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    /// What others sent may have come before the filter was there.
    only_from: Option<Ipv4Addr>,
    buffer: [u8; BUFFER],
}

impl Socket {
    pub(super) fn open(
        interface: &str,
        ifindex: u32,
        source: Ipv4Addr,
        peer: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(packet::PROTOCOL));
        let socket = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_tos_v4(u32::from(packet::TRAFFIC_CLASS))?;
        match peer {
            Some(peer) => {
                // Before anything else: what strangers send wakes nobody, and is not read.
                socket.attach_filter(&only_from(peer))?;
                // Only what is sent to this host, though it listens for others to the group, too.
                socket.set_multicast_all_v4(false)?;
                socket.set_ttl_v4(u32::from(packet::HOPS))?;
                socket.bind(&address(source))?;
            }
            None => {
                socket.set_multicast_ttl_v4(u32::from(packet::HOPS))?;
                socket.set_multicast_loop_v4(false)?;
                socket.set_multicast_if_v4(&source)?;
                let interface = InterfaceIndexOrAddress::Index(ifindex);
                socket.join_multicast_v4_n(&packet::GROUP_V4, &interface)?;
            }
        }
        Ok(Self {
            socket,
            source,
            destination: peer.unwrap_or(packet::GROUP_V4),
            only_from: peer,
            buffer: [0; BUFFER],
        })
    }

    pub(super) const fn ends(&self) -> Ends {
        Ends::V4 {
            source: self.source,
            destination: self.destination,
        }
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(payload, &address(self.destination))
            .map(drop)
    }

    pub(super) fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let length = loop {
            match self.socket.read(&mut self.buffer) {
                Ok(length) if self.is_from_stranger(length) => {}
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let whole = self.buffer.get_mut(..length).unwrap_or_default();
        Ok(split(whole))
    }

    fn is_from_stranger(&mut self, length: usize) -> bool {
        let received = self.buffer.get_mut(..length).and_then(split);
        let Some(received) = received else {
            return true;
        };
        self.only_from
            .is_some_and(|peer| received.ends.source() != peer)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lets the packets of this source through, and no others: classic BPF, which sees them from their
/// header on.
fn only_from(source: Ipv4Addr) -> [SockFilter; 4] {
    /// Where the header has it (RFC 791, section 3.1).
    const SOURCE: u32 = 12;
    const WHOLE: u32 = u32::MAX;
    let code = |parts: u32| parts as u16;
    [
        SockFilter::new(code(BPF_LD | BPF_W | BPF_ABS), 0, 0, SOURCE),
        SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, source.to_bits()),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, WHOLE),
        SockFilter::new(code(BPF_RET | BPF_K), 0, 0, 0),
    ]
}

fn address(address: Ipv4Addr) -> SockAddr {
    SockAddr::from(SocketAddrV4::new(address, 0))
}

/// Divides a packet into what its header says and what follows. The kernel has seen that it is
/// sound.
pub(in super::super) fn split(packet: &mut [u8]) -> Option<Received<'_>> {
    let header = Ipv4(packet.first_chunk_mut::<{ Ipv4::LEN }>()?);
    let (length, hops) = (header.header_len(), header.ttl());
    let ends = Ends::V4 {
        source: header.source().into(),
        destination: header.destination().into(),
    };
    Some(Received {
        ends,
        hops,
        payload: packet.get(length..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_divided_after_their_options() {
        let mut packet = [0; 29];
        packet[0] = 0x47;
        packet[8] = 255;
        packet[12..20].copy_from_slice(&[192, 0, 2, 1, 224, 0, 0, 18]);
        packet[28] = 0x31;
        let received = split(&mut packet).unwrap();
        assert_eq!(received.hops, 255);
        assert_eq!(received.payload, [0x31]);
        let ends = Ends::V4 {
            source: Ipv4Addr::new(192, 0, 2, 1),
            destination: packet::GROUP_V4,
        };
        assert_eq!(received.ends, ends);
    }

    #[test]
    fn packets_of_strangers_are_not_queued() {
        let (here, there) = std::os::unix::net::UnixDatagram::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let peer = Ipv4Addr::new(192, 0, 2, 1);
        let socket = socket2::SockRef::from(&here);
        socket.attach_filter(&only_from(peer)).unwrap();
        let packet = |last| {
            let mut packet = [0; 28];
            packet[0] = 0x45;
            packet[12..16].copy_from_slice(&[192, 0, 2, last]);
            packet
        };
        for last in [2, 129, 1, 0] {
            there.send(&packet(last)).unwrap();
        }
        there.send(&[0x45; 15]).unwrap();
        let mut buffer = [0; BUFFER];
        assert_eq!(here.recv(&mut buffer).unwrap(), 28);
        assert_eq!(buffer[..28], packet(1));
        let nothing = here.recv(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_too_short_is_no_packet() {
        assert!(split(&mut [0x45; 19]).is_none());
        // Its header would be of 60 bytes.
        assert!(split(&mut [0x4f; 20]).is_none());
    }
}
