//! Somebody asks who has an address: by ARP, or by neighbour discovery.

use crate::case::{Case, Lease};
use crate::dialect::{Dialect, PLAIN, TCP6, six};
use crate::outcome::Xdp;
use crate::world::{CLIENT, CLIENT_MAC, OURSELVES, VIP};
use lb_ebpf::abi::{Feature, Features};
use lb_ebpf::reason::Reason;
use std::net::IpAddr;

/// A question for the service's address, while this host may not answer.
pub(crate) fn while_fenced(d: Dialect) -> Case {
    d.framed("asked for the address, fenced", question(d, VIP.0))
        .is(Reason::Fenced, Xdp::Drop)
        .lease(Lease::Lapsed)
}

pub(super) fn asked() -> Vec<Case> {
    let mut cases = Vec::new();
    for d in [PLAIN, TCP6] {
        let pass = |name: &str, frame| {
            d.framed(name, frame)
                .is(passed(d, Features::ALL), Xdp::Pass)
        };
        let tagged = |frame: Vec<u8>| {
            let mut tagged = frame[..12].to_vec();
            tagged.extend([0x81, 0x00, 0x00, 0x64]);
            tagged.extend(&frame[12..]);
            tagged
        };
        let ours = question(d, OURSELVES.0);
        cases.extend([
            pass("asked for the address", question(d, VIP.0)),
            pass("asked for the address, with a lease", question(d, VIP.0)).lease(Lease::Held),
            while_fenced(d),
            pass("asked for the host itself, fenced", ours).lease(Lease::Lapsed),
            d.framed(
                "asked for the address in a virtual network, fenced",
                tagged(question(d, VIP.0)),
            )
            .is(Reason::Fenced, Xdp::Drop)
            .lease(Lease::Lapsed),
        ]);
        let what_else: &[(&str, usize, u8)] = match d {
            PLAIN => &[
                ("an ARP reply, fenced", 21, 2),
                ("ARP over other hardware, fenced", 15, 6),
                ("ARP for another protocol, fenced", 16, 0x86),
                ("ARP with longer hardware addresses, fenced", 18, 8),
                ("ARP with longer addresses, fenced", 19, 16),
            ],
            _ => &[
                ("an advertisement of a neighbour, fenced", 54, 136),
                ("an echo request, fenced", 54, 128),
                ("a solicitation of another kind, fenced", 55, 1),
            ],
        };
        cases.extend(what_else.iter().map(|&(name, offset, value)| {
            pass(name, question(d, VIP.0))
                .edit(offset, value)
                .lease(Lease::Lapsed)
        }));
    }
    // Asked directly, by somebody who knows the answer, and wants to hear it again.
    let directly = |name: &str| {
        TCP6.framed(name, question(TCP6, VIP.0))
            .edit(0, 2)
            .is(Reason::OtherProtocol, Xdp::Pass)
    };
    cases.extend([
        directly("asked directly"),
        directly("asked directly, fenced")
            .lease(Lease::Lapsed)
            .is(Reason::Fenced, Xdp::Drop),
    ]);
    // The kernel answers for addresses of IPv6 whatever services there are.
    let solicitation = TCP6.framed("asked, without services of IPv6", question(TCP6, VIP.0));
    let none = Features::NONE.with(Feature::Udp);
    cases.push(
        solicitation
            .features(none)
            .is(passed(TCP6, none), Xdp::Pass),
    );
    cases
}

/// What a question is, if nobody minds.
fn passed(d: Dialect, features: Features) -> Reason {
    match d.is_ipv6 {
        false => Reason::NotIp,
        true if features.has(Feature::Ipv6) => Reason::NotOurs,
        true => Reason::NotIp,
    }
}

/// Who has this address? Asked of all.
fn question(d: Dialect, address: IpAddr) -> Vec<u8> {
    if d.is_ipv6 {
        return solicitation(six(address));
    }
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!("ARP is for IPv4"),
    };
    let mut frame = vec![0xff; 6];
    frame.extend(CLIENT_MAC);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(CLIENT_MAC);
    frame.extend(octets(CLIENT.0));
    frame.extend([0; 6]);
    frame.extend(octets(address));
    frame
}

/// To the group of those whose addresses end like this one.
fn solicitation(address: IpAddr) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(_) => unreachable!("neighbour discovery is for IPv6"),
        IpAddr::V6(address) => address.octets(),
    };
    let target = octets(address);
    let end = &target[13..];
    let mut frame = vec![0x33, 0x33, 0xff];
    frame.extend(end);
    frame.extend(CLIENT_MAC);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(octets(six(CLIENT.0)));
    frame.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]);
    frame.extend(end);
    // Nobody here looks at the checksum.
    frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(target);
    // The source's hardware address.
    frame.extend([1, 1]);
    frame.extend(CLIENT_MAC);
    frame
}
