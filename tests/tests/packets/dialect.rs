//! What a case speaks: one and the same case is told over either version of IP, and in either
//! protocol.

use crate::case::Case;
use crate::packet::{Endpoint, FRAGMENT, Packet, SYN, TCP, UDP};
use crate::world::{CLIENT, SERVICE, VIP};
use lb_ebpf::abi::{FlowKey, Service, ServiceKey};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A version of IP, and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) is_ipv6: bool,
    pub(crate) is_udp: bool,
    /// Whether connections stay where they are.
    pub(crate) is_tracked: bool,
}

/// TCP over IPv4: what packets of cases are written in.
pub(crate) const PLAIN: Dialect = Dialect {
    is_ipv6: false,
    is_udp: false,
    is_tracked: true,
};
pub(crate) const TCP6: Dialect = Dialect {
    is_ipv6: true,
    ..PLAIN
};
pub(crate) const UDP4: Dialect = Dialect {
    is_udp: true,
    ..PLAIN
};
pub(crate) const UDP6: Dialect = Dialect {
    is_ipv6: true,
    ..UDP4
};
/// Services whose datagrams are questions, each for itself.
pub(crate) const QUESTIONS: Dialect = Dialect {
    is_tracked: false,
    ..UDP4
};
pub(crate) const QUESTIONS6: Dialect = Dialect {
    is_tracked: false,
    ..UDP6
};

/// Those that a whole set of cases is told in.
pub(crate) const TRACKED: [Dialect; 4] = [PLAIN, TCP6, UDP4, UDP6];

/// All for which there is a service.
pub(crate) const ALL: [Dialect; 6] = [PLAIN, TCP6, UDP4, UDP6, QUESTIONS, QUESTIONS6];

/// The address of IPv6 that stands for one of IPv4.
pub(crate) fn six(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let [high, low] = [[a, b], [c, d]].map(u16::from_be_bytes);
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, high, low).into()
        }
        IpAddr::V6(_) => address,
    }
}

impl Dialect {
    /// A case on a clean slot, that begins with this packet.
    pub(crate) fn case(self, name: &str, packet: &Packet) -> Case {
        Case::new(self, name, packet)
    }

    /// A case of something that a [`Packet`] cannot be.
    pub(crate) fn framed(self, name: &str, frame: Vec<u8>) -> Case {
        Case::framed(self, name, frame)
    }

    /// Whether there is such a packet.
    pub(crate) fn knows(self, packet: &Packet) -> bool {
        let opens = packet.protocol == TCP && packet.flags == SYN;
        let has_options = !packet.ip_options.is_empty();
        !(self.is_udp && opens) && !(self.is_ipv6 && has_options)
    }

    /// The packet, in this dialect.
    pub(crate) fn packet(self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        if self.is_udp && packet.protocol == TCP {
            packet.protocol = UDP;
        }
        if self.is_ipv6 && packet.to.0.is_ipv4() {
            packet.from.0 = six(packet.from.0);
            packet.to.0 = six(packet.to.0);
            if packet.ethertype == 0x0800 {
                packet.ethertype = 0x86dd;
            }
            let (offset, more) = (packet.fragment & 0x1fff, packet.fragment & 0x2000 != 0);
            if offset != 0 || more {
                let [a, b] = (offset << 3 | u16::from(more)).to_be_bytes();
                let fragment = vec![0, a, b, 0xde, 0xad, 0xbe, 0xef];
                packet.extensions.push((FRAGMENT, fragment));
            }
        }
        packet
    }

    pub(crate) fn endpoint(self, (address, port): Endpoint) -> Endpoint {
        (if self.is_ipv6 { six(address) } else { address }, port)
    }

    pub(crate) fn proto(self) -> u8 {
        if self.is_udp { UDP } else { TCP }
    }

    /// The service that speaks it.
    pub(crate) fn service(self) -> Service {
        let (id, flags) = match (self.is_ipv6, self.is_udp, self.is_tracked) {
            (false, false, _) => (1, 0),
            (true, false, _) => (2, 0),
            (false, true, true) => (3, 0),
            (true, true, true) => (4, 0),
            (false, true, false) => (5, Service::UNTRACKED),
            (true, true, false) => (6, Service::UNTRACKED),
        };
        Service {
            id,
            flags,
            ..SERVICE
        }
    }

    pub(crate) fn service_key(self) -> ServiceKey {
        let (address, port) = self.vip();
        ServiceKey::new(address.into(), port.to_be_bytes(), self.proto())
    }

    /// Where its service is.
    pub(crate) fn vip(self) -> Endpoint {
        let (address, port) = self.endpoint(VIP);
        (address, if self.is_tracked { port } else { 53 })
    }

    /// The client's connection.
    pub(crate) fn flow_key(self) -> FlowKey {
        let (address, port) = self.endpoint(CLIENT);
        FlowKey::new(address.into(), port.to_be_bytes(), self.service().id)
    }
}

/// Nothing for the one that cases are written in.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_ipv6, self.is_udp, self.is_tracked) {
            (false, false, _) => "",
            (true, false, _) => "IPv6: ",
            (false, true, true) => "UDP: ",
            (true, true, true) => "UDP over IPv6: ",
            (false, true, false) => "questions: ",
            (true, true, false) => "questions over IPv6: ",
        })
    }
}
