//! What is peculiar to UDP.

use super::{DIRTY, DRAINING, NOBODYS, SETTLED, data};
use crate::case::{Case, to_web1};
use crate::dialect::{Dialect, UDP4, UDP6};
use crate::outcome::Xdp;
use crate::packet::Packet;
use crate::world::{CLIENT, CLIENT_MAC, CLIENTS_MAC, SERVERS, VIP, WEB1, WEB1_AT};
use lb_ebpf::abi::{Feature, Features, FlowPhase, Slot};
use lb_ebpf::reason::Reason;

pub(super) fn datagrams() -> Vec<Case> {
    let without = |packet: Packet| Packet {
        has_checksum: false,
        ..packet
    };
    let question = without(data());
    let answer = without(Packet::udp(WEB1_AT, CLIENT));
    let answered = Packet {
        macs: (CLIENT_MAC, CLIENTS_MAC),
        from: VIP,
        ttl: 63,
        ..answer.clone()
    };
    let empty = Packet {
        payload: Vec::new(),
        ..data()
    };
    let mut cases = vec![
        UDP4.case("without a checksum", &question)
            .goes_to_web1(&question),
        UDP4.case("an answer without a checksum", &answer)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&answered)
            .counts_out(WEB1, &answer)
            .ingress(SERVERS),
        // There is no such thing, and what made it did not know how to send it.
        UDP6.case("without a checksum", &question)
            .is(Reason::BadUdp, Xdp::Drop),
    ];
    for d in [UDP4, UDP6] {
        let l4 = d.packet(&data()).l4_offset();
        let broken = |name: &str, offset, value| {
            d.case(name, &data())
                .edit(l4 + offset, value)
                .is(Reason::BadUdp, Xdp::Drop)
        };
        // Longer than the packet by one, and shorter by all but the header.
        let longer = 8 + data().payload.len() as u8 + 1;
        let short = d.case("shorter than its packet", &data()).edit(l4 + 5, 8);
        let mut expected = d.packet(&to_web1(&data())).bytes();
        // The checksum was not computed of what the datagram claims to be; it stays as wrong.
        expected[l4 + 5] = 8;
        let mut short = short
            .is(Reason::ToBackend, Xdp::Redirect)
            .counts_in(WEB1, &data());
        short.expected.frame = expected;
        cases.extend([
            d.case("that carries nothing", &empty).goes_to_web1(&empty),
            broken("shorter than its header", 5, 7),
            broken("of no length", 5, 0),
            broken("longer than its packet", 5, longer),
            broken("much longer than its packet", 4, 0x80),
            short,
        ]);
    }
    let tcp_only = Features::NONE.with(Feature::Ipv6);
    cases.extend([UDP4, UDP6].map(|d| {
        d.case("where no service speaks it", &data())
            .features(tcp_only)
            .is(Reason::OtherProtocol, Xdp::Pass)
    }));
    cases
}

/// Of services that keep nothing in mind: where a datagram goes follows from the slot alone.
pub(super) fn untracked(d: Dialect) -> Vec<Case> {
    let question = Packet {
        to: (VIP.0, 53),
        ..data()
    };
    let nobody = |name: &str, slot| {
        d.case(name, &question)
            .slot(slot)
            .is(Reason::NoBackend, Xdp::Drop)
    };
    vec![
        d.case("clean", &question).goes_to_web1(&question),
        d.case("dirty: the new owner answers", &question)
            .slot(DIRTY)
            .goes_to_web2(&question),
        d.case("dirty: what is recorded does not matter", &question)
            .slot(DIRTY)
            .known(WEB1, FlowPhase::Open)
            .goes_to_web2(&question),
        d.case("settled", &question)
            .slot(SETTLED)
            .goes_to_web2(&question),
        d.case(
            "draining: the old owner answers as long as nobody else does",
            &question,
        )
        .slot(DRAINING)
        .goes_to_web1(&question),
        nobody("nobody's", NOBODYS),
        nobody("empty", Slot::EMPTY),
    ]
}
