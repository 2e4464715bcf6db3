//! What headers may be, and what contradicts itself.

use super::{data, syn};
use crate::case::Case;
use crate::dialect::{Dialect, PLAIN, TCP6, TRACKED, UDP4, UDP6};
use crate::outcome::Xdp;
use crate::packet::{ACK, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, Packet, ROUTING, v6};
use crate::world::{CLIENT, CLIENT_MAC, CLIENTS_MAC, SERVERS, VIP, WEB1, WEB1_AT};
use lb_ebpf::abi::{Feature, Features};
use lb_ebpf::reason::Reason;

/// Tags of virtual networks: one, a provider's and its customer's, and two of the same kind.
const TAGS: [(&str, &[(u16, u16)]); 3] = [
    ("in a virtual network", &[(0x8100, 0x6064)]),
    (
        "in a customer's virtual network",
        &[(0x88a8, 0x0fff), (0x8100, 0x0001)],
    ),
    (
        "in a virtual network in another",
        &[(0x8100, 10), (0x8100, 20)],
    ),
];

/// Tags stay where they are.
pub(super) fn tagged(d: Dialect) -> Vec<Case> {
    let mut cases = Vec::new();
    for (which, tags) in TAGS {
        let with_tags = |packet| Packet {
            tags: tags.to_vec(),
            ..packet
        };
        let (syn, data) = (with_tags(syn()), with_tags(data()));
        let answer = with_tags(Packet {
            flags: ACK,
            ..Packet::new(WEB1_AT, CLIENT)
        });
        let answered = Packet {
            macs: (CLIENT_MAC, CLIENTS_MAC),
            from: VIP,
            ttl: 63,
            ..answer.clone()
        };
        let elsewhere = Packet {
            to: (VIP.0, 443),
            ..data.clone()
        };
        cases.extend([
            d.case(&format!("a SYN {which}"), &syn).goes_to_web1(&syn),
            d.case(&format!("data {which}"), &data).goes_to_web1(&data),
            d.case(&format!("an answer {which}"), &answer)
                .is(Reason::ToClient, Xdp::Redirect)
                .becomes(&answered)
                .counts_out(WEB1, &answer)
                .ingress(SERVERS),
            d.case(&format!("another port {which}"), &elsewhere),
        ]);
    }
    let third = Packet {
        tags: vec![(0x88a8, 1), (0x8100, 2), (0x8100, 3)],
        ..data()
    };
    cases.push(
        d.case("behind a third tag", &third)
            .is(Reason::NotIp, Xdp::Pass),
    );
    cases
}

/// An extension header of so many words of eight bytes, and one more.
fn extension(number: u8, words: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![words];
    rest.resize(7 + 8 * usize::from(words), 0);
    (number, rest)
}

/// A fragment header of a packet that was not fragmented (RFC 6946).
fn atomic() -> (u8, Vec<u8>) {
    (FRAGMENT, vec![0, 0, 0, 0xde, 0xad, 0xbe, 0xef])
}

/// Extension headers of IPv6 are walked past.
pub(super) fn extended(d: Dialect) -> Vec<Case> {
    let with_extensions = |packet, extensions: &[(u8, Vec<u8>)]| Packet {
        extensions: extensions.to_vec(),
        ..d.packet(&packet)
    };
    let walked = [
        ("hop-by-hop options", vec![extension(HOP_BY_HOP, 0)]),
        ("long hop-by-hop options", vec![extension(HOP_BY_HOP, 150)]),
        (
            "options for the destination",
            vec![extension(DESTINATION_OPTIONS, 2)],
        ),
        ("a route that it came", vec![extension(ROUTING, 2)]),
        ("an atomic fragment header", vec![atomic()]),
        (
            "a header of each kind",
            vec![
                extension(HOP_BY_HOP, 1),
                extension(DESTINATION_OPTIONS, 0),
                extension(ROUTING, 2),
                atomic(),
                extension(DESTINATION_OPTIONS, 3),
            ],
        ),
        ("six headers", vec![extension(DESTINATION_OPTIONS, 0); 6]),
    ];
    let mut cases = Vec::new();
    for (name, extensions) in &walked {
        let packet = with_extensions(data(), extensions);
        let answer = Packet {
            flags: ACK,
            ..Packet::new(WEB1_AT, CLIENT)
        };
        let answer = with_extensions(answer, extensions);
        let answered = Packet {
            macs: (CLIENT_MAC, CLIENTS_MAC),
            from: d.endpoint(VIP),
            ttl: 63,
            ..answer.clone()
        };
        cases.extend([
            d.case(name, &packet).goes_to_web1(&packet),
            d.case(&format!("an answer with {name}"), &answer)
                .is(Reason::ToClient, Xdp::Redirect)
                .becomes(&answered)
                .counts_out(WEB1, &answer)
                .ingress(SERVERS),
        ]);
    }
    let mut further = extension(ROUTING, 2);
    further.1[2] = 1;
    let left_alone = [
        ("seven headers", vec![extension(DESTINATION_OPTIONS, 0); 7]),
        ("a route that goes on", vec![further]),
        // Authenticated, with the addresses: none can be changed.
        ("an authentication header", vec![extension(51, 0)]),
        ("encrypted", vec![extension(50, 0)]),
        ("a header for mobile hosts", vec![extension(135, 0)]),
    ];
    for (name, extensions) in &left_alone {
        let packet = with_extensions(data(), extensions);
        let case = d.case(name, &packet);
        cases.push(case.is(Reason::OtherProtocol, Xdp::Pass));
    }
    for number in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
        let packet = with_extensions(data(), &[extension(number, 0)]);
        let name = format!("header {number}, longer than its packet");
        cases.push(
            d.case(&name, &packet)
                .edit(55, 200)
                .is(Reason::BadIpv6, Xdp::Drop),
        );
    }
    cases
}

/// What contradicts itself.
pub(super) fn broken() -> Vec<Case> {
    let broken = |d: Dialect, name: &str, offset, value, reason| {
        d.case(name, &data())
            .edit(offset, value)
            .is(reason, Xdp::Drop)
    };
    let ipv4 = |name, offset, value| broken(PLAIN, name, offset, value, Reason::BadIpv4);
    let ipv6 = |name, offset, value| broken(TCP6, name, offset, value, Reason::BadIpv6);
    let mut cases = vec![
        ipv4("version 6 in IPv4", 14, 0x65),
        ipv4("an IPv4 header of 16 bytes", 14, 0x44),
        ipv4("an IPv4 header longer than its packet", 14, 0x4f),
        ipv4("a packet shorter than its header", 17, 19),
        ipv4("a packet longer than its frame", 17, 59),
        ipv6("version 4", 14, 0x45),
        ipv6("version 0", 14, 0x00),
        ipv6("a packet longer than its frame", 19, 39),
        ipv6("a packet much longer than its frame", 18, 0xff),
    ];
    for (d, l4) in [(PLAIN, 34), (TCP6, 54)] {
        cases.extend([
            broken(d, "a TCP header of 16 bytes", l4 + 12, 0x40, Reason::BadTcp),
            broken(
                d,
                "a TCP header longer than its packet",
                l4 + 12,
                0xf0,
                Reason::BadTcp,
            ),
        ]);
    }
    cases.extend([
        broken(
            PLAIN,
            "a packet shorter than its TCP header",
            17,
            39,
            Reason::BadTcp,
        ),
        broken(
            TCP6,
            "a packet shorter than its TCP header",
            19,
            19,
            Reason::BadTcp,
        ),
    ]);
    for d in TRACKED {
        let frame = d.packet(&data()).bytes();
        let cut = |name: &str, len: usize, reason| {
            d.framed(name, frame[..len].to_vec()).is(reason, Xdp::Drop)
        };
        let bad = if d.is_ipv6 {
            Reason::BadIpv6
        } else {
            Reason::BadIpv4
        };
        let mut tagged = frame[..12].to_vec();
        tagged.extend([0x81, 0x00, 0, 1]);
        cases.extend([
            cut("shorter than an Ethernet header", 13, Reason::Runt),
            cut("an Ethernet header, and no more", 14, bad),
            d.framed("a tag, and no more", tagged)
                .is(Reason::Runt, Xdp::Drop),
        ]);
    }
    // It would be taken for the service of IPv4.
    let mapped = v6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x020a], VIP.1);
    let mapped_backend = v6([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x020b], WEB1_AT.1);
    let client = TCP6.endpoint(CLIENT);
    cases.extend(
        [
            TCP6.case("to an IPv4-mapped address", &Packet::new(client, mapped)),
            UDP6.case("to an IPv4-mapped address", &Packet::udp(client, mapped)),
            TCP6.case(
                "from an IPv4-mapped address",
                &Packet::new(mapped_backend, client),
            )
            .ingress(SERVERS),
        ]
        .map(|case| case.is(Reason::BadIpv6, Xdp::Drop)),
    );
    cases
}

/// What is of no interest, if only because no service uses it.
pub(super) fn passed_as_they_are() -> Vec<Case> {
    let none = Features::NONE;
    let six = none.with(Feature::Ipv6);
    let cases = [
        (TCP6, none, Reason::NotIp),
        (UDP6, none, Reason::NotIp),
        (UDP4, none, Reason::OtherProtocol),
        (UDP6, six, Reason::OtherProtocol),
        (TCP6, none.with(Feature::Udp), Reason::NotIp),
    ];
    let cases = cases.map(|(d, features, reason)| {
        let names: Vec<_> = features.iter().map(Feature::name).collect();
        let name = format!("no service of it, but of {names:?}");
        d.case(&name, &data())
            .features(features)
            .is(reason, Xdp::Pass)
    });
    let unknown = Packet {
        ethertype: 0x8847,
        ..data()
    };
    cases
        .into_iter()
        .chain([
            PLAIN.case("MPLS", &unknown).is(Reason::NotIp, Xdp::Pass),
            TCP6.case("nothing behind the header", &data())
                .edit(20, 59)
                .is(Reason::OtherProtocol, Xdp::Pass),
        ])
        .collect()
}
