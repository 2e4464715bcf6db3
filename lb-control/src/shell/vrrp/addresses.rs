//! Gives addresses to interfaces, and takes them away.

use crate::config::OwnedAddress;
use nix::errno::Errno;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;

/// By what `ip address` shows who made an address: the number of VRRP.
const MADE_BY: AddressProtocol = AddressProtocol::Other(crate::proto::vrrp::packet::PROTOCOL);

/// A connection to the kernel. Questions are answered before the call returns, so that an address
/// is there when it is announced.
pub(super) struct Addresses {
    socket: Socket,
}

impl Addresses {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Gives an address to an interface. Says whether it did not have it.
    pub(super) fn add(&self, ifindex: u32, owned: &OwnedAddress) -> io::Result<bool> {
        let mut message = message(ifindex, owned);
        let address = AddressAttribute::Address(owned.address);
        message.attributes.push(address);
        if owned.address.is_ipv6() {
            // The other host may have it for a moment longer, and nobody else has.
            let usable_at_once = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(usable_at_once);
        }
        message.attributes.push(AddressAttribute::Protocol(MADE_BY));
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.ask(RouteNetlinkMessage::NewAddress(message), flags) {
            Err(error) if is(&error, Errno::EEXIST) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Takes an address from an interface. Says whether it had it.
    pub(super) fn remove(&self, ifindex: u32, owned: &OwnedAddress) -> io::Result<bool> {
        // Without more than this in it, the kernel does not mind the length of the prefix of an
        // IPv4 address, which is another one where somebody else gave it.
        let message = RouteNetlinkMessage::DelAddress(message(ifindex, owned));
        match self.ask(message, NLM_F_REQUEST | NLM_F_ACK) {
            Err(error) if is(&error, Errno::EADDRNOTAVAIL) => Ok(false),
            result => result.map(|()| true),
        }
    }

    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer);
        match answer.map_err(io::Error::other)?.payload {
            NetlinkPayload::Error(message) if message.code.is_none() => Ok(()),
            NetlinkPayload::Error(message) => Err(message.to_io()),
            _ => Err(io::Error::other("the kernel answered something else")),
        }
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

fn message(ifindex: u32, owned: &OwnedAddress) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = match owned.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = owned.prefix;
    message.header.index = ifindex;
    message.attributes = vec![AddressAttribute::Local(owned.address)];
    message
}
