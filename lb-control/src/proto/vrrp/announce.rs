//! Frames that tell the neighbours who owns an address from now on.
//!
//! They are whole Ethernet frames, from the address that they announce, so that switches learn as
//! well where it is. It is the virtual router's address or the interface's own.

use super::checksum::Sum;
use super::packet::Ends;
use super::values::Vrid;
use lb_ebpf::abi::Mac;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a gratuitous ARP frame, without padding.
pub const ARP_LEN: usize = ETHERNET_LEN + ARP_MESSAGE_LEN;
/// Bytes of a neighbour advertisement's frame.
pub const NEIGHBOUR_ADVERTISEMENT_LEN: usize = ETHERNET_LEN + IPV6_LEN + ADVERTISEMENT_LEN;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: u16 = lb_ebpf::wire::ethertype::IPV4;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const BROADCAST: Mac = [0xff; 6];

/// Of an ARP message (RFC 826).
const ARP_MESSAGE_LEN: usize = 28;
const ARP_HARDWARE_ETHERNET: u16 = 1;
const ARP_REQUEST: u16 = 1;

const IPV6_LEN: usize = 40;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The group's Ethernet address (RFC 2464, section 7).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
/// What RFC 4861 requires in section 7.1.2: proof that it comes from this link.
const HOP_LIMIT: u8 = 255;

/// Of a neighbour advertisement with the option that holds the link-layer address (RFC 4861,
/// sections 4.4 and 4.6.1).
const ADVERTISEMENT_LEN: usize = 32;
const TYPE_ADVERTISEMENT: u8 = 136;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET_LINK_LAYER: u8 = 2;
/// In units of eight bytes.
const OPTION_LEN: u8 = 1;

/// The Ethernet address of a virtual router of IPv4 (RFC 9568, section 7.3).
#[must_use]
pub const fn virtual_mac_v4(vrid: Vrid) -> Mac {
    [0x00, 0x00, 0x5e, 0x00, 0x01, vrid.get()]
}

/// The Ethernet address of a virtual router of IPv6 (RFC 9568, section 7.3).
#[must_use]
pub const fn virtual_mac_v6(vrid: Vrid) -> Mac {
    [0x00, 0x00, 0x5e, 0x00, 0x02, vrid.get()]
}

/// The link-local address that a virtual router of IPv6 has if it was given none: that of its
/// Ethernet address (RFC 4291, appendix A).
#[must_use]
pub const fn virtual_link_local(vrid: Vrid) -> Ipv6Addr {
    let low = 0x0200 | vrid.get() as u16;
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0200, 0x5eff, 0xfe00, low)
}

/// A gratuitous ARP frame (RFC 5227, section 3; RFC 9568, section 6.4.1): a request for `address`
/// from `address`, which makes every neighbour replace what it knew.
#[must_use]
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> [u8; ARP_LEN] {
    let mut frame = Frame::new();
    frame.ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    frame.put(ARP_HARDWARE_ETHERNET.to_be_bytes());
    frame.put(ETHERTYPE_IPV4.to_be_bytes());
    frame.put([6, 4]); // bytes of each kind of address
    frame.put(ARP_REQUEST.to_be_bytes());
    frame.put(mac);
    frame.put(address.octets());
    // Of no meaning in a request (RFC 826). This is what keepalived writes.
    frame.put(BROADCAST);
    frame.put(address.octets());
    frame.bytes
}

/// What the owner of an address is, which an advertisement of it says too. Hosts that have it as
/// their router drop it when it says that it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// It forwards packets of others.
    Router,
    /// It does not.
    Host,
}

/// An unsolicited neighbour advertisement to all nodes (RFC 4861, section 7.2.6; RFC 9568, section
/// 6.4.1): its override flag makes every neighbour replace what it knew.
#[must_use]
pub fn neighbour_advertisement(
    mac: Mac,
    address: Ipv6Addr,
    node: Node,
) -> [u8; NEIGHBOUR_ADVERTISEMENT_LEN] {
    let flags = match node {
        Node::Router => FLAG_ROUTER | FLAG_OVERRIDE,
        Node::Host => FLAG_OVERRIDE,
    };
    let mut rest = Frame::<{ ADVERTISEMENT_LEN - 4 }>::new();
    rest.put([flags, 0, 0, 0]);
    rest.put(address.octets());
    rest.put([OPTION_TARGET_LINK_LAYER, OPTION_LEN]);
    rest.put(mac);

    let type_and_code = [TYPE_ADVERTISEMENT, 0];
    let ends = Ends::V6 {
        source: address,
        destination: ALL_NODES,
    };
    let checksum = Sum::default()
        .add(&type_and_code)
        .add(&rest.bytes)
        .add_pseudo_header(ends, ICMPV6, ADVERTISEMENT_LEN)
        .checksum();

    let mut frame = Frame::new();
    frame.ethernet(ALL_NODES_MAC, mac, ETHERTYPE_IPV6);
    frame.put([0x60, 0, 0, 0]); // version 6, no class, no flow
    frame.put((ADVERTISEMENT_LEN as u16).to_be_bytes());
    frame.put([ICMPV6, HOP_LIMIT]);
    frame.put(address.octets());
    frame.put(ALL_NODES.octets());
    frame.put(type_and_code);
    frame.put(checksum.0);
    frame.put(rest.bytes);
    frame.bytes
}

/// A frame that is written from its beginning to its end.
struct Frame<const LEN: usize> {
    bytes: [u8; LEN],
    written: usize,
}

impl<const LEN: usize> Frame<LEN> {
    const fn new() -> Self {
        Self {
            bytes: [0; LEN],
            written: 0,
        }
    }

    /// Lengths are constants: nothing from the network decides how much is written.
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.written..self.written + N].copy_from_slice(&field);
        self.written += N;
    }

    fn ethernet(&mut self, destination: Mac, source: Mac, ethertype: u16) {
        self.put(destination);
        self.put(source);
        self.put(ethertype.to_be_bytes());
    }
}
