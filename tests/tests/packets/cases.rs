//! The specification, by example. Packets are written as TCP over IPv4, and told in each dialect that
//! knows them.

mod asked;
mod datagrams;
mod headers;

use crate::case::{Case, Lease, to_web1};
use crate::dialect::{Dialect, QUESTIONS, QUESTIONS6, TCP6, TRACKED, UDP6};
use crate::outcome::Xdp;
use crate::packet::{ACK, Endpoint, FIN, Packet, RST, SYN};
use crate::world::{
    CLIENT, CLIENT_MAC, CLIENTS_MAC, DEAD, DEAD_AT, NEW_CLIENT, NOWHERE, ONE_ARM, ONE_ARM_AT,
    ONE_ARM_MAC, OURSELVES, SERVERS, SERVICE, VIP, WEB1, WEB1_AT, WEB2,
};
use asked::asked;
pub(crate) use asked::while_fenced;
use datagrams::{datagrams, untracked};
use headers::{broken, extended, passed_as_they_are, tagged};
use lb_ebpf::abi::FlowPhase::{Open, Opening};
use lb_ebpf::abi::Tracking::{self, Hit, Miss, RefusedFull, RefusedRate};
use lb_ebpf::abi::{FlowKey, Slot};
use lb_ebpf::hash;
use lb_ebpf::reason::Reason;

/// WEB2 took over from WEB1.
const DIRTY: Slot = Slot {
    current: WEB2,
    previous: WEB1,
};
/// WEB1 drains, and nobody takes over.
const DRAINING: Slot = Slot {
    current: 0,
    previous: WEB1,
};
/// DEAD drained, too, and died.
const NOBODYS: Slot = Slot {
    current: 0,
    previous: DEAD,
};
const SETTLED: Slot = Slot::settled(WEB2);

pub(crate) fn all() -> Vec<Case> {
    let mut all = passed_as_they_are();
    for dialect in TRACKED {
        all.extend(forwarded(dialect));
        all.extend(slot_by_slot(dialect));
        all.extend(answered(dialect));
        all.extend(tracked(dialect));
        all.extend(passed(dialect));
        all.extend(dropped(dialect));
        all.extend(leased(dialect));
        all.extend(fenced(dialect));
        all.extend(tagged(dialect));
    }
    all.extend(broken());
    all.extend(datagrams());
    all.extend(asked());
    for dialect in [TCP6, UDP6] {
        all.extend(extended(dialect));
    }
    for dialect in [QUESTIONS, QUESTIONS6] {
        all.extend(untracked(dialect));
    }
    all.retain(|case| case.makes_sense);
    all
}

pub(crate) fn syn() -> Packet {
    Packet {
        tcp_options: vec![2, 4, 0x05, 0xb4],
        ..Packet::new(CLIENT, VIP)
    }
}

/// A segment that carries nothing.
fn ack() -> Packet {
    Packet {
        flags: ACK,
        ..Packet::new(CLIENT, VIP)
    }
}

pub(crate) fn data() -> Packet {
    Packet {
        flags: ACK,
        payload: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ..Packet::new(CLIENT, VIP)
    }
}

/// From a client to a backend.
fn forwarded(d: Dialect) -> Vec<Case> {
    let simple = |name, packet: Packet| d.case(name, &packet).goes_to_web1(&packet);
    let mut cases = vec![
        simple("a SYN", syn()),
        simple("data", data()),
        simple(
            "the end",
            Packet {
                flags: FIN | ACK,
                ..data()
            },
        ),
        simple(
            "a reset",
            Packet {
                flags: RST,
                ..Packet::new(CLIENT, VIP)
            },
        ),
        simple(
            "the type of service stays",
            Packet {
                tos: 0xb9,
                ..data()
            },
        ),
        simple(
            "an odd number of bytes",
            Packet {
                payload: vec![0xff; 3],
                ..data()
            },
        ),
        simple(
            "IP options",
            Packet {
                ip_options: vec![1; 8],
                ..data()
            },
        ),
        simple(
            "all the IP options there can be",
            Packet {
                ip_options: vec![1; 40],
                ..data()
            },
        ),
        simple(
            "all options there can be, of IP and TCP",
            Packet {
                ip_options: vec![1; 40],
                tcp_options: vec![1; 40],
                ..data()
            },
        ),
        simple(
            "padding up to the shortest Ethernet frame",
            Packet {
                flags: ACK,
                padding: vec![0; 6],
                ..Packet::new(CLIENT, VIP)
            },
        ),
        simple(
            "may be fragmented",
            Packet {
                fragment: 0,
                ..data()
            },
        ),
        simple(
            "the reserved bit",
            Packet {
                fragment: 0x8000,
                ..data()
            },
        ),
        simple("its last hop", Packet { ttl: 2, ..data() }),
        simple(
            "from a client nobody routes to",
            Packet {
                from: NOWHERE,
                ..data()
            },
        ),
        simple(
            "the longest frame that XDP takes in one buffer",
            Packet {
                payload: vec![0xa5; 3_512 - d.packet(&ack()).bytes().len()],
                ..ack()
            },
        ),
        simple(
            "a full Ethernet frame",
            Packet {
                payload: vec![0x5a; 1460],
                ..data()
            },
        ),
    ];
    // A payload that makes the checksum 0x0000, before and after the rewrite. UDP writes that as
    // 0xffff.
    for (name, packet) in [
        ("a checksum of zero", zero_checksum(d.packet(&data()))),
        ("a checksum that becomes zero", becomes_zero(d, data())),
    ] {
        cases.push(simple(name, packet));
    }
    let packet = data();
    let one_arm = Packet {
        macs: (ONE_ARM_MAC, CLIENTS_MAC),
        to: ONE_ARM_AT,
        ttl: 63,
        ..data()
    };
    cases.push(
        d.case("out of the interface it came in by", &packet)
            .slot(Slot::clean(ONE_ARM))
            .is(Reason::ToBackend, Xdp::Tx)
            .becomes(&one_arm)
            .counts_in(ONE_ARM, &packet),
    );
    cases
}

/// Slots are kept two and two: whichever one a connection belongs to, it is not the other.
fn slot_by_slot(d: Dialect) -> Vec<Case> {
    let cases = [
        ("only an even slot is WEB2's", 0),
        ("only an odd slot is", 1),
    ];
    let case = |(name, parity)| {
        let (from, index) = client_of(d, parity);
        let packet = Packet { from, ..data() };
        d.case(name, &packet)
            .slot_at(index, Slot::clean(WEB2))
            .goes_to_web2(&packet)
    };
    cases.map(case).into()
}

/// A client whose connection belongs to an even slot (0), or to an odd one (1), and which.
fn client_of(d: Dialect, parity: u32) -> (Endpoint, u32) {
    let clients = (1_024..=u16::MAX).map(|port| {
        let flow = FlowKey {
            client_port: port.to_be_bytes(),
            ..d.flow_key()
        };
        let hash = flow.hash(SERVICE.hash_key);
        let index = hash::slot_of(hash, SERVICE.slot_count);
        ((CLIENT.0, port), index)
    });
    let mut fitting = clients.filter(|(_, index)| index % 2 == parity);
    fitting.next().expect("half of the ports")
}

/// `packet` with two more bytes that make its checksum 0x0000.
fn zero_checksum(mut packet: Packet) -> Packet {
    packet.payload.extend([0, 0]);
    let at = packet.checksum_offset();
    let frame = packet.bytes();
    let filler = [frame[at], frame[at + 1]];
    let end = packet.payload.len() - 2;
    packet.payload[end..].copy_from_slice(&filler);
    packet
}

/// `packet` with two more bytes that make its checksum 0x0000 on the way to WEB1.
fn becomes_zero(d: Dialect, packet: Packet) -> Packet {
    let payload = zero_checksum(d.packet(&to_web1(&packet))).payload;
    Packet { payload, ..packet }
}

/// From a backend to a client.
fn answered(d: Dialect) -> Vec<Case> {
    let answer = Packet {
        flags: SYN | ACK,
        ..Packet::new(WEB1_AT, CLIENT)
    };
    let to = |to| Packet {
        to,
        ..answer.clone()
    };
    let seen = |packet: &Packet| Packet {
        from: VIP,
        macs: (CLIENT_MAC, CLIENTS_MAC),
        ttl: packet.ttl - 1,
        ..packet.clone()
    };
    let large = Packet {
        flags: ACK,
        payload: vec![1; 1600],
        ..answer.clone()
    };
    let options = Packet {
        ip_options: vec![1; 40],
        tcp_options: vec![1; 12],
        payload: b"HTTP/1.1 200 OK\r\n".to_vec(),
        ..answer.clone()
    };
    let one_arm = Packet {
        from: ONE_ARM_AT,
        ..answer.clone()
    };
    let drained = Packet {
        from: DEAD_AT,
        ..answer.clone()
    };
    let last_hop = Packet {
        ttl: 1,
        ..to(NEW_CLIENT)
    };
    let by_stack = |packet: &Packet| Packet {
        from: VIP,
        ..packet.clone()
    };
    [
        d.case("an answer", &answer)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&answer))
            .counts_out(WEB1, &answer),
        d.case("an answer with options", &options)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&options))
            .counts_out(WEB1, &options),
        d.case("an answer of a backend that is dead by now", &drained)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&drained))
            .counts_out(DEAD, &drained),
        d.case(
            "an answer to a client without a neighbour entry",
            &to(NEW_CLIENT),
        )
        .is(Reason::ToClientByStack, Xdp::Pass)
        .becomes(&by_stack(&to(NEW_CLIENT)))
        .counts_out(WEB1, &answer),
        d.case("an answer larger than the client's link takes", &large)
            .is(Reason::ToClientByStack, Xdp::Pass)
            .becomes(&by_stack(&large))
            .counts_out(WEB1, &large),
        // The stack counts the hop, and says so to the backend.
        d.case("an answer for the stack that may go no further", &last_hop)
            .is(Reason::ToClientByStack, Xdp::Pass)
            .becomes(&by_stack(&last_hop))
            .counts_out(WEB1, &last_hop),
        d.case("an answer to ourselves", &to(OURSELVES))
            .is(Reason::NotForwarded, Xdp::Pass),
        d.case("an answer to nowhere", &to(NOWHERE))
            .is(Reason::NotForwarded, Xdp::Pass),
        d.case(
            "an answer that may go no further",
            &Packet {
                ttl: 1,
                ..answer.clone()
            },
        )
        .is(Reason::TtlExceeded, Xdp::Drop),
        d.case(
            "from a backend, but another port",
            &Packet {
                from: (WEB1_AT.0, 22),
                ..answer.clone()
            },
        )
        .is(Reason::NotOurs, Xdp::Pass),
    ]
    .map(|case| case.ingress(SERVERS))
    .into_iter()
    .chain([
        d.case("an answer that a client made up", &answer)
            .is(Reason::NotOurs, Xdp::Pass),
        d.case("an answer by another interface than requests go", &one_arm)
            .is(Reason::NotOurs, Xdp::Pass)
            .ingress(SERVERS),
        d.case("an answer out of the interface it came in by", &one_arm)
            .is(Reason::ToClient, Xdp::Tx)
            .becomes(&seen(&one_arm))
            .counts_out(ONE_ARM, &one_arm),
    ])
    .collect()
}

/// On slots whose owner changed.
fn tracked(d: Dialect) -> Vec<Case> {
    let end = Packet {
        flags: FIN | ACK,
        ..data()
    };
    let (syn, data) = (syn(), data());
    let new = &[Miss, Tracking::Recorded];
    let syn_and = |flag| Packet {
        flags: SYN | flag,
        ..Packet::new(CLIENT, VIP)
    };
    vec![
        d.case("dirty: a SYN goes to the new owner", &syn)
            .slot(DIRTY)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        d.case("dirty: unknown data goes to the old owner", &data)
            .slot(DIRTY)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: an unknown end goes to the old owner", &end)
            .slot(DIRTY)
            .goes_to_web1(&end)
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: a known SYN is a retransmission", &syn)
            .slot(DIRTY)
            .known(WEB1, Opening)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        told(d),
        d.case("dirty: a known end", &end)
            .slot(DIRTY)
            .known(WEB1, Open)
            .goes_to_web1(&end)
            .tracks(&[Hit]),
        d.case("dirty: a SYN on a known connection", &syn)
            .slot(DIRTY)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        d.case("dirty: a SYN that resets opens nothing", &syn_and(RST))
            .slot(DIRTY)
            .goes_to_web1(&syn_and(RST))
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: a SYN that ends opens nothing", &syn_and(FIN))
            .slot(DIRTY)
            .goes_to_web1(&syn_and(FIN))
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: known data in a full table", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .full()
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .tracks(&[Hit]),
        d.case("dirty: a SYN in a full table goes to the old owner", &syn)
            .slot(DIRTY)
            .full()
            .goes_to_web1(&syn)
            .tracks(&[Miss, RefusedFull]),
        d.case("dirty: data in a full table goes to the old owner", &data)
            .slot(DIRTY)
            .full()
            .goes_to_web1(&data)
            .tracks(&[Miss, RefusedFull]),
        d.case("dirty: a SYN beyond the budget goes to the old owner", &syn)
            .slot(DIRTY)
            .spent()
            .goes_to_web1(&syn)
            .tracks(&[Miss, RefusedRate]),
        d.case("dirty: data beyond the budget goes to the old owner", &data)
            .slot(DIRTY)
            .spent()
            .goes_to_web1(&data)
            .tracks(&[Miss, RefusedRate]),
        d.case("dirty: another second brings another budget for SYNs", &syn)
            .slot(DIRTY)
            .spent_before()
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        d.case("dirty: and one for old connections", &data)
            .slot(DIRTY)
            .spent_before()
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: known data beyond the budget", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .spent()
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .tracks(&[Hit]),
        d.case("dirty: data known at a dead backend", &data)
            .slot(DIRTY)
            .known(DEAD, Open)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        d.case("dirty: a SYN known at a dead backend", &syn)
            .slot(DIRTY)
            .known(DEAD, Open)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        d.case("dirty: one known at a dead backend, in a full table", &syn)
            .slot(DIRTY)
            .known(DEAD, Open)
            .full()
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        d.case(
            "dirty: one known at a dead backend, beyond the budget",
            &syn,
        )
        .slot(DIRTY)
        .known(DEAD, Open)
        .spent()
        .goes_to_web2(&syn)
        .records(WEB2, Opening)
        .tracks(new),
        d.case("dirty: a SYN that nobody wants to hear of", &syn)
            .slot(DIRTY)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .unheard()
            .tracks(new),
        d.case("dirty: known data that nobody wants to hear of", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .unheard()
            .tracks(&[Hit]),
        d.case("settled: a SYN goes to the owner", &syn)
            .slot(SETTLED)
            .goes_to_web2(&syn)
            .tracks(&[Miss]),
        d.case("settled: unknown data goes to the owner", &data)
            .slot(SETTLED)
            .goes_to_web2(&data)
            .tracks(&[Miss]),
        d.case("settled: known data goes where it is known", &data)
            .slot(SETTLED)
            .known(WEB1, Open)
            .goes_to_web1(&data)
            .tracks(&[Hit]),
        d.case("settled: a SYN on a known connection", &syn)
            .slot(SETTLED)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        d.case("settled: data known at a dead backend", &data)
            .slot(SETTLED)
            .known(DEAD, Open)
            .goes_to_web2(&data)
            .tracks(&[Miss]),
        d.case("settled: a SYN known at a dead backend", &syn)
            .slot(SETTLED)
            .known(DEAD, Open)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        d.case("clean: what is known does not matter", &data)
            .known(WEB2, Open)
            .goes_to_web1(&data),
        d.case("draining: unknown data goes to the old owner", &data)
            .slot(DRAINING)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        d.case("draining: nobody takes a SYN", &syn)
            .slot(DRAINING)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        d.case("draining: a known SYN is a retransmission", &syn)
            .slot(DRAINING)
            .known(WEB1, Opening)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        d.case("draining: a SYN on a known connection", &syn)
            .slot(DRAINING)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        d.case("draining: nobody takes a SYN known at a dead backend", &syn)
            .slot(DRAINING)
            .known(DEAD, Open)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        d.case("nobody's: known data goes where it is known", &data)
            .slot(NOBODYS)
            .known(WEB1, Open)
            .goes_to_web1(&data)
            .tracks(&[Hit]),
        d.case("nobody's: nobody takes unknown data", &data)
            .slot(NOBODYS)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        d.case("empty: nobody takes a SYN", &syn)
            .slot(Slot::EMPTY)
            .is(Reason::NoBackend, Xdp::Drop),
        d.case("empty: nobody takes data", &data)
            .slot(Slot::EMPTY)
            .is(Reason::NoBackend, Xdp::Drop),
    ]
}

/// To the stack, untouched.
fn passed(d: Dialect) -> Vec<Case> {
    let pass = |name, packet: Packet, reason| d.case(name, &packet).is(reason, Xdp::Pass);
    let fragment = |fragment| Packet { fragment, ..data() };
    vec![
        pass(
            "ICMP",
            Packet {
                protocol: 1,
                ..data()
            },
            Reason::OtherProtocol,
        ),
        pass("a fragment", fragment(0x20b9), Reason::Fragment),
        pass("a last fragment", fragment(0x00b9), Reason::Fragment),
        pass(
            "a first fragment for another port",
            Packet {
                to: (VIP.0, 443),
                ..fragment(0x2000)
            },
            Reason::Fragment,
        ),
        pass(
            "a first fragment from a backend",
            Packet {
                fragment: 0x2000,
                flags: ACK,
                ..Packet::new(WEB1_AT, CLIENT)
            },
            Reason::Fragment,
        )
        .ingress(SERVERS),
        // No host makes a packet of it.
        pass(
            "a first fragment without ports",
            Packet {
                fragment: 0x2000,
                ..data()
            },
            Reason::Fragment,
        )
        .with(17, 23),
        pass(
            "another address",
            Packet {
                to: OURSELVES,
                ..data()
            },
            Reason::NotOurs,
        ),
        pass(
            "another port",
            Packet {
                to: (VIP.0, 443),
                ..data()
            },
            Reason::NotOurs,
        ),
        pass(
            "for a group",
            Packet {
                macs: ([1, 0, 0x5e, 0, 0, 1], [2; 6]),
                ..data()
            },
            Reason::NotOurs,
        ),
        pass(
            "for all",
            Packet {
                macs: ([0xff; 6], [2; 6]),
                ..data()
            },
            Reason::NotOurs,
        ),
    ]
}

fn dropped(d: Dialect) -> Vec<Case> {
    let first_fragment = |name, packet: Packet| {
        let packet = Packet {
            fragment: 0x2000,
            ..packet
        };
        d.case(name, &packet).is(Reason::ServiceFragment, Xdp::Drop)
    };
    vec![
        first_fragment("a first fragment", data()),
        first_fragment(
            "a first fragment with IP options",
            Packet {
                ip_options: vec![1; 40],
                ..data()
            },
        ),
        first_fragment("the shortest first fragment", data()).with(17, 28),
        d.case("from the service to itself", &Packet { from: VIP, ..syn() })
            .is(Reason::Spoofed, Xdp::Drop),
        d.case(
            "from another port of the service's address",
            &Packet {
                from: (VIP.0, 40_000),
                ..data()
            },
        )
        .is(Reason::Spoofed, Xdp::Drop),
        d.case("may go no further", &Packet { ttl: 1, ..syn() })
            .is(Reason::TtlExceeded, Xdp::Drop),
        d.case("should not be here", &Packet { ttl: 0, ..syn() })
            .is(Reason::TtlExceeded, Xdp::Drop),
    ]
}

/// A packet that is told of, every time.
pub(crate) fn told(d: Dialect) -> Case {
    let data = data();
    d.case("dirty: known data", &data)
        .slot(DIRTY)
        .known(WEB2, Opening)
        .goes_to_web2(&data)
        .records(WEB2, Open)
        .tracks(&[Hit])
}

/// As without leases.
fn leased(d: Dialect) -> Vec<Case> {
    let cases = [
        d.case("a SYN, with a lease", &syn()).goes_to_web1(&syn()),
        d.case("data, with a lease", &data()).goes_to_web1(&data()),
    ];
    cases.map(|case| case.lease(Lease::Held)).into()
}

/// The lease has lapsed: nobody new is let in, and those who are in stay.
fn fenced(d: Dialect) -> Vec<Case> {
    let answer = Packet {
        flags: SYN | ACK,
        ..Packet::new(WEB1_AT, CLIENT)
    };
    let answered = Packet {
        macs: (CLIENT_MAC, CLIENTS_MAC),
        from: VIP,
        ttl: 63,
        ..answer.clone()
    };
    let cases = [
        d.case("a SYN, fenced", &syn())
            .is(Reason::Fenced, Xdp::Drop),
        d.case("a SYN on a dirty slot, fenced", &syn())
            .slot(DIRTY)
            .is(Reason::Fenced, Xdp::Drop),
        d.case("a SYN again, fenced", &syn())
            .slot(DIRTY)
            .known(WEB2, Opening)
            .is(Reason::Fenced, Xdp::Drop),
        d.case("a SYN that nobody would get, fenced", &syn())
            .slot(Slot::EMPTY)
            .is(Reason::Fenced, Xdp::Drop),
        d.case("data, fenced", &data()).goes_to_web1(&data()),
        d.case("data of a recorded connection, fenced", &data())
            .slot(DIRTY)
            .known(WEB2, Open)
            .goes_to_web2(&data())
            .tracks(&[Hit]),
        d.case("an answer, fenced", &answer)
            .ingress(SERVERS)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&answered)
            .counts_out(WEB1, &answer),
        d.case(
            "a SYN for somebody else, fenced",
            &Packet {
                to: OURSELVES,
                ..syn()
            },
        ),
    ];
    cases.map(|case| case.lease(Lease::Lapsed)).into()
}
