//! The specification, by example.

use crate::outcome::{Outcome, Recorded, Xdp};
use crate::packet::{ACK, FIN, Packet, RST, SYN};
use crate::world::{
    CLIENT, CLIENT_MAC, CLIENTS, CLIENTS_MAC, DEAD, DEAD_AT, Endpoint, FLOW, NEW_CLIENT, NOWHERE,
    ONE_ARM, ONE_ARM_AT, ONE_ARM_MAC, OURSELVES, SERVERS, SERVERS_MAC, SERVICE, VIP, WEB1, WEB1_AT,
    WEB1_MAC, WEB2, WEB2_AT, WEB2_MAC,
};
use lb_ebpf::abi::FlowPhase::{Open, Opening};
use lb_ebpf::abi::Tracking::{self, Hit, Miss, RefusedFull, RefusedRate};
use lb_ebpf::abi::{BackendId, FlowKey, FlowPhase, Slot, Traffic};
use lb_ebpf::hash;
use lb_ebpf::reason::Reason;

/// A packet, the world it meets, and what becomes of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What every slot of the service is, but for `exception`.
    pub(crate) slot: Slot,
    /// A slot that is another one.
    pub(crate) exception: Option<(u32, Slot)>,
    /// What is recorded for the client's connection.
    pub(crate) flow: Option<Recorded>,
    /// Whether there is no room for another record.
    pub(crate) table_is_full: bool,
    /// Whether as many flows were recorded in a second as may be.
    pub(crate) budget: Budget,
    pub(crate) lease: Lease,
    /// Whether somebody is to be told of flows.
    pub(crate) listens: bool,
    /// The interface that the frame comes in by.
    pub(crate) ingress: u32,
    pub(crate) frame: Vec<u8>,
    pub(crate) expected: Outcome,
}

/// How many flows were recorded lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    /// One of each kind less than may be in this second.
    Left,
    /// As many as may be in this second.
    Spent,
    /// As many as may be, but in the second before.
    SpentBefore,
}

/// Whether this host may act as owner of the service's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// It needs no lease for that.
    NotNeeded,
    /// It has one.
    Held,
    /// It had one.
    Lapsed,
}

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
    let mut all = forwarded();
    all.extend(slot_by_slot());
    all.extend(answered());
    all.extend(tracked());
    all.extend(passed());
    all.extend(dropped());
    all.extend(leased());
    all.extend(fenced());
    all
}

/// A client's packet, as it goes to a backend.
fn to_web1(packet: &Packet) -> Packet {
    Packet {
        macs: (WEB1_MAC, SERVERS_MAC),
        to: WEB1_AT,
        ttl: packet.ttl - 1,
        ..packet.clone()
    }
}

fn to_web2(packet: &Packet) -> Packet {
    Packet {
        macs: (WEB2_MAC, SERVERS_MAC),
        to: WEB2_AT,
        ttl: packet.ttl - 1,
        ..packet.clone()
    }
}

fn syn() -> Packet {
    Packet {
        tcp_options: vec![2, 4, 0x05, 0xb4],
        ..Packet::new(CLIENT, VIP)
    }
}

fn data() -> Packet {
    Packet {
        flags: ACK,
        payload: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ..Packet::new(CLIENT, VIP)
    }
}

/// A case on a clean slot of WEB1.
fn case(name: &'static str, packet: &Packet) -> Case {
    framed(name, packet.bytes())
}

/// A case of something that a [`Packet`] cannot be.
fn framed(name: &'static str, frame: Vec<u8>) -> Case {
    Case {
        name,
        slot: Slot::clean(WEB1),
        exception: None,
        flow: None,
        table_is_full: false,
        budget: Budget::Left,
        lease: Lease::NotNeeded,
        listens: true,
        ingress: CLIENTS,
        expected: Outcome {
            reason: Reason::NotOurs,
            action: Xdp::Pass,
            frame: frame.clone(),
            flow: None,
            told: Vec::new(),
            tracked: Vec::new(),
            traffic: Vec::new(),
        },
        frame,
    }
}

impl Case {
    fn slot(mut self, slot: Slot) -> Self {
        self.slot = slot;
        self
    }

    /// Only the slot at `index` is this one.
    fn slot_at(mut self, index: u32, slot: Slot) -> Self {
        self.exception = Some((index, slot));
        self
    }

    fn ingress(mut self, ingress: u32) -> Self {
        self.ingress = ingress;
        self
    }

    fn full(mut self) -> Self {
        self.table_is_full = true;
        self
    }

    fn spent(mut self) -> Self {
        self.budget = Budget::Spent;
        self
    }

    fn spent_before(mut self) -> Self {
        self.budget = Budget::SpentBefore;
        self
    }

    fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// What is recorded before, and stays unless [`records`](Self::records) says otherwise.
    fn known(mut self, backend: BackendId, phase: FlowPhase) -> Self {
        self.flow = Some(Recorded::new(backend, phase));
        self.expected.flow = self.flow;
        self
    }

    /// What is recorded afterwards, and told.
    fn records(mut self, backend: BackendId, phase: FlowPhase) -> Self {
        let record = Recorded::new(backend, phase);
        self.expected.flow = Some(record);
        self.expected.told = vec![(FLOW, record)];
        self
    }

    /// Nobody listens, so nothing is told.
    fn unheard(mut self) -> Self {
        self.listens = false;
        self.expected.told.clear();
        self
    }

    /// What is counted of the flow table.
    fn tracks(mut self, tracked: &[Tracking]) -> Self {
        self.expected.tracked = tracked.to_vec();
        self
    }

    fn is(mut self, reason: Reason, action: Xdp) -> Self {
        self.expected.reason = reason;
        self.expected.action = action;
        self
    }

    fn becomes(mut self, packet: &Packet) -> Self {
        self.expected.frame = packet.bytes();
        self
    }

    /// The backend counts `packet`, from a client.
    fn counts_in(mut self, backend: BackendId, packet: &Packet) -> Self {
        let traffic = Traffic {
            packets_in: 1,
            bytes_in: packet.len() as u64,
            connections: u64::from(packet.flags == SYN),
            ..Traffic::default()
        };
        self.expected.traffic = vec![(backend, traffic)];
        self
    }

    /// The backend counts `packet`, to a client.
    fn counts_out(mut self, backend: BackendId, packet: &Packet) -> Self {
        let traffic = Traffic {
            packets_out: 1,
            bytes_out: packet.len() as u64,
            ..Traffic::default()
        };
        self.expected.traffic = vec![(backend, traffic)];
        self
    }

    fn goes_to_web1(self, packet: &Packet) -> Self {
        self.is(Reason::ToBackend, Xdp::Redirect)
            .becomes(&to_web1(packet))
            .counts_in(WEB1, packet)
    }

    fn goes_to_web2(self, packet: &Packet) -> Self {
        self.is(Reason::ToBackend, Xdp::Redirect)
            .becomes(&to_web2(packet))
            .counts_in(WEB2, packet)
    }

    /// Changes a byte of the frame, which otherwise stays as it is.
    fn with(mut self, offset: usize, value: u8) -> Self {
        self.frame[offset] = value;
        self.expected.frame[offset] = value;
        self
    }
}

/// From a client to a backend.
fn forwarded() -> Vec<Case> {
    let simple = |name, packet: Packet| case(name, &packet).goes_to_web1(&packet);
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
                payload: vec![0xa5; 3458],
                ..data()
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
    // A payload that makes the TCP checksum 0x0000, before and after the rewrite.
    for (name, packet) in [
        ("a TCP checksum of zero", zero_checksum(data())),
        ("a TCP checksum that becomes zero", becomes_zero(data())),
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
        case("out of the interface it came in by", &packet)
            .slot(Slot::clean(ONE_ARM))
            .is(Reason::ToBackend, Xdp::Tx)
            .becomes(&one_arm)
            .counts_in(ONE_ARM, &packet),
    );
    cases
}

/// Slots are kept two and two: whichever one a connection belongs to, it is not the other.
fn slot_by_slot() -> Vec<Case> {
    let cases = [
        ("only an even slot is WEB2's", 0),
        ("only an odd slot is", 1),
    ];
    let case = |(name, parity)| {
        let (from, index) = client_of(parity);
        let packet = Packet { from, ..data() };
        case(name, &packet)
            .slot_at(index, Slot::clean(WEB2))
            .goes_to_web2(&packet)
    };
    cases.map(case).into()
}

/// A client whose connection belongs to an even slot (0), or to an odd one (1), and which.
fn client_of(parity: u32) -> (Endpoint, u32) {
    let clients = (1_024..=u16::MAX).map(|port| {
        let flow = FlowKey {
            client_port: port.to_be_bytes(),
            ..FLOW
        };
        let hash = hash::keyed(SERVICE.hash_key, flow.word());
        let index = hash::slot_of(hash, SERVICE.slot_count);
        ((CLIENT.0, port), index)
    });
    let mut fitting = clients.filter(|(_, index)| index % 2 == parity);
    fitting.next().expect("half of the ports")
}

/// `packet` with two more bytes that make its TCP checksum 0x0000.
fn zero_checksum(mut packet: Packet) -> Packet {
    packet.payload.extend([0, 0]);
    let at = packet.tcp_offset() + 16;
    let frame = packet.bytes();
    let filler = [frame[at], frame[at + 1]];
    let end = packet.payload.len() - 2;
    packet.payload[end..].copy_from_slice(&filler);
    packet
}

/// `packet` with two more bytes that make its TCP checksum 0x0000 on the way to WEB1.
fn becomes_zero(packet: Packet) -> Packet {
    let payload = zero_checksum(to_web1(&packet)).payload;
    Packet { payload, ..packet }
}

/// From a backend to a client.
fn answered() -> Vec<Case> {
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
        case("an answer", &answer)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&answer))
            .counts_out(WEB1, &answer),
        case("an answer with options", &options)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&options))
            .counts_out(WEB1, &options),
        case("an answer of a backend that is dead by now", &drained)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&seen(&drained))
            .counts_out(DEAD, &drained),
        case(
            "an answer to a client without a neighbour entry",
            &to(NEW_CLIENT),
        )
        .is(Reason::ToClientByStack, Xdp::Pass)
        .becomes(&by_stack(&to(NEW_CLIENT)))
        .counts_out(WEB1, &answer),
        case("an answer larger than the client's link takes", &large)
            .is(Reason::ToClientByStack, Xdp::Pass)
            .becomes(&by_stack(&large))
            .counts_out(WEB1, &large),
        // The stack counts the hop, and says so to the backend.
        case("an answer for the stack that may go no further", &last_hop)
            .is(Reason::ToClientByStack, Xdp::Pass)
            .becomes(&by_stack(&last_hop))
            .counts_out(WEB1, &last_hop),
        case("an answer to ourselves", &to(OURSELVES)).is(Reason::NotForwarded, Xdp::Pass),
        case("an answer to nowhere", &to(NOWHERE)).is(Reason::NotForwarded, Xdp::Pass),
        case(
            "an answer that may go no further",
            &Packet {
                ttl: 1,
                ..answer.clone()
            },
        )
        .is(Reason::TtlExceeded, Xdp::Drop),
        case(
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
        case("an answer that a client made up", &answer).is(Reason::NotOurs, Xdp::Pass),
        case("an answer by another interface than requests go", &one_arm)
            .is(Reason::NotOurs, Xdp::Pass)
            .ingress(SERVERS),
        case("an answer out of the interface it came in by", &one_arm)
            .is(Reason::ToClient, Xdp::Tx)
            .becomes(&seen(&one_arm))
            .counts_out(ONE_ARM, &one_arm),
    ])
    .collect()
}

/// On slots whose owner changed.
fn tracked() -> Vec<Case> {
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
        case("dirty: a SYN goes to the new owner", &syn)
            .slot(DIRTY)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        case("dirty: unknown data goes to the old owner", &data)
            .slot(DIRTY)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: an unknown end goes to the old owner", &end)
            .slot(DIRTY)
            .goes_to_web1(&end)
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: a known SYN is a retransmission", &syn)
            .slot(DIRTY)
            .known(WEB1, Opening)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        told(),
        case("dirty: a known end", &end)
            .slot(DIRTY)
            .known(WEB1, Open)
            .goes_to_web1(&end)
            .tracks(&[Hit]),
        case("dirty: a SYN on a known connection", &syn)
            .slot(DIRTY)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        case("dirty: a SYN that resets opens nothing", &syn_and(RST))
            .slot(DIRTY)
            .goes_to_web1(&syn_and(RST))
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: a SYN that ends opens nothing", &syn_and(FIN))
            .slot(DIRTY)
            .goes_to_web1(&syn_and(FIN))
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: known data in a full table", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .full()
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .tracks(&[Hit]),
        case("dirty: a SYN in a full table goes to the old owner", &syn)
            .slot(DIRTY)
            .full()
            .goes_to_web1(&syn)
            .tracks(&[Miss, RefusedFull]),
        case("dirty: data in a full table goes to the old owner", &data)
            .slot(DIRTY)
            .full()
            .goes_to_web1(&data)
            .tracks(&[Miss, RefusedFull]),
        case("dirty: a SYN beyond the budget goes to the old owner", &syn)
            .slot(DIRTY)
            .spent()
            .goes_to_web1(&syn)
            .tracks(&[Miss, RefusedRate]),
        case("dirty: data beyond the budget goes to the old owner", &data)
            .slot(DIRTY)
            .spent()
            .goes_to_web1(&data)
            .tracks(&[Miss, RefusedRate]),
        case("dirty: another second brings another budget for SYNs", &syn)
            .slot(DIRTY)
            .spent_before()
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        case("dirty: and one for old connections", &data)
            .slot(DIRTY)
            .spent_before()
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: known data beyond the budget", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .spent()
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .tracks(&[Hit]),
        case("dirty: data known at a dead backend", &data)
            .slot(DIRTY)
            .known(DEAD, Open)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        case("dirty: a SYN known at a dead backend", &syn)
            .slot(DIRTY)
            .known(DEAD, Open)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        case("dirty: one known at a dead backend, in a full table", &syn)
            .slot(DIRTY)
            .known(DEAD, Open)
            .full()
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        case(
            "dirty: one known at a dead backend, beyond the budget",
            &syn,
        )
        .slot(DIRTY)
        .known(DEAD, Open)
        .spent()
        .goes_to_web2(&syn)
        .records(WEB2, Opening)
        .tracks(new),
        case("dirty: a SYN that nobody wants to hear of", &syn)
            .slot(DIRTY)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .unheard()
            .tracks(new),
        case("dirty: known data that nobody wants to hear of", &data)
            .slot(DIRTY)
            .known(WEB2, Opening)
            .goes_to_web2(&data)
            .records(WEB2, Open)
            .unheard()
            .tracks(&[Hit]),
        case("settled: a SYN goes to the owner", &syn)
            .slot(SETTLED)
            .goes_to_web2(&syn)
            .tracks(&[Miss]),
        case("settled: unknown data goes to the owner", &data)
            .slot(SETTLED)
            .goes_to_web2(&data)
            .tracks(&[Miss]),
        case("settled: known data goes where it is known", &data)
            .slot(SETTLED)
            .known(WEB1, Open)
            .goes_to_web1(&data)
            .tracks(&[Hit]),
        case("settled: a SYN on a known connection", &syn)
            .slot(SETTLED)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        case("settled: data known at a dead backend", &data)
            .slot(SETTLED)
            .known(DEAD, Open)
            .goes_to_web2(&data)
            .tracks(&[Miss]),
        case("settled: a SYN known at a dead backend", &syn)
            .slot(SETTLED)
            .known(DEAD, Open)
            .goes_to_web2(&syn)
            .records(WEB2, Opening)
            .tracks(new),
        case("clean: what is known does not matter", &data)
            .known(WEB2, Open)
            .goes_to_web1(&data),
        case("draining: unknown data goes to the old owner", &data)
            .slot(DRAINING)
            .goes_to_web1(&data)
            .records(WEB1, Open)
            .tracks(new),
        case("draining: nobody takes a SYN", &syn)
            .slot(DRAINING)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        case("draining: a known SYN is a retransmission", &syn)
            .slot(DRAINING)
            .known(WEB1, Opening)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        case("draining: a SYN on a known connection", &syn)
            .slot(DRAINING)
            .known(WEB1, Open)
            .goes_to_web1(&syn)
            .tracks(&[Hit]),
        case("draining: nobody takes a SYN known at a dead backend", &syn)
            .slot(DRAINING)
            .known(DEAD, Open)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        case("nobody's: known data goes where it is known", &data)
            .slot(NOBODYS)
            .known(WEB1, Open)
            .goes_to_web1(&data)
            .tracks(&[Hit]),
        case("nobody's: nobody takes unknown data", &data)
            .slot(NOBODYS)
            .is(Reason::NoBackend, Xdp::Drop)
            .tracks(&[Miss]),
        case("empty: nobody takes a SYN", &syn)
            .slot(Slot::EMPTY)
            .is(Reason::NoBackend, Xdp::Drop),
        case("empty: nobody takes data", &data)
            .slot(Slot::EMPTY)
            .is(Reason::NoBackend, Xdp::Drop),
    ]
}

/// To the stack, untouched.
fn passed() -> Vec<Case> {
    let pass = |name, packet: Packet, reason| case(name, &packet).is(reason, Xdp::Pass);
    let not_ipv4 = |name, frame| framed(name, frame).is(Reason::NotIpv4, Xdp::Pass);
    let fragment = |fragment| Packet { fragment, ..data() };
    vec![
        not_ipv4("ARP", arp()),
        not_ipv4("IPv6", ipv6()),
        not_ipv4("VLAN", tagged(&[0x8100])),
        not_ipv4("VLAN in VLAN", tagged(&[0x88a8, 0x8100])),
        pass(
            "UDP",
            Packet {
                protocol: 17,
                ..data()
            },
            Reason::NotTcp,
        ),
        pass(
            "ICMP",
            Packet {
                protocol: 1,
                ..data()
            },
            Reason::NotTcp,
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
                ..syn()
            },
            Reason::Fragment,
        )
        .with(17, 23),
        pass(
            "another address",
            Packet {
                to: OURSELVES,
                ..syn()
            },
            Reason::NotOurs,
        ),
        pass(
            "another port",
            Packet {
                to: (VIP.0, 443),
                ..syn()
            },
            Reason::NotOurs,
        ),
        pass(
            "for a group",
            Packet {
                macs: ([1, 0, 0x5e, 0, 0, 1], [2; 6]),
                ..syn()
            },
            Reason::NotOurs,
        ),
        pass(
            "for all",
            Packet {
                macs: ([0xff; 6], [2; 6]),
                ..syn()
            },
            Reason::NotOurs,
        ),
    ]
}

/// The load balancer is asked for the address of its service.
fn arp() -> Vec<u8> {
    arp_for(VIP.0)
}

fn arp_for(address: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(CLIENT_MAC);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend(CLIENT_MAC);
    frame.extend(CLIENT.0);
    frame.extend([0; 6]);
    frame.extend(address);
    frame
}

/// A SYN over IPv6.
fn ipv6() -> Vec<u8> {
    let over_ipv4 = syn();
    let tcp = &over_ipv4.bytes()[over_ipv4.tcp_offset()..];
    let mut frame = over_ipv4.bytes()[..12].to_vec();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((tcp.len() as u16).to_be_bytes());
    frame.extend([6, 64]);
    for host in [1, 2] {
        frame.extend([
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host,
        ]);
    }
    frame.extend(tcp);
    frame
}

/// A SYN to the service behind VLAN tags of these types.
fn tagged(tags: &[u16]) -> Vec<u8> {
    let untagged = syn().bytes();
    let mut frame = untagged[..12].to_vec();
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(100u16.to_be_bytes());
    }
    frame.extend(&untagged[12..]);
    frame
}

fn dropped() -> Vec<Case> {
    let first_fragment = |name, packet: Packet| {
        let packet = Packet {
            fragment: 0x2000,
            ..packet
        };
        case(name, &packet).is(Reason::ServiceFragment, Xdp::Drop)
    };
    let broken = |name, offset, value, reason| {
        case(name, &data())
            .with(offset, value)
            .is(reason, Xdp::Drop)
    };
    vec![
        broken("version 6 in IPv4", 14, 0x65, Reason::BadIpv4),
        broken("an IPv4 header of 16 bytes", 14, 0x44, Reason::BadIpv4),
        broken(
            "an IPv4 header longer than its packet",
            14,
            0x4f,
            Reason::BadIpv4,
        ),
        broken("a packet shorter than its header", 17, 19, Reason::BadIpv4),
        broken("a packet longer than its frame", 17, 59, Reason::BadIpv4),
        broken("a TCP header of 16 bytes", 46, 0x40, Reason::BadTcp),
        broken(
            "a TCP header longer than its packet",
            46,
            0xf0,
            Reason::BadTcp,
        ),
        broken(
            "a packet shorter than its TCP header",
            17,
            39,
            Reason::BadTcp,
        ),
        framed(
            "shorter than an Ethernet header",
            syn().bytes()[..13].to_vec(),
        )
        .is(Reason::Runt, Xdp::Drop),
        framed(
            "an Ethernet header, and no more",
            syn().bytes()[..14].to_vec(),
        )
        .is(Reason::BadIpv4, Xdp::Drop),
        first_fragment("a first fragment", data()),
        first_fragment(
            "a first fragment with IP options",
            Packet {
                ip_options: vec![1; 40],
                ..data()
            },
        ),
        first_fragment("the shortest first fragment", data()).with(17, 28),
        case("from the service to itself", &Packet { from: VIP, ..syn() })
            .is(Reason::Spoofed, Xdp::Drop),
        case(
            "from another port of the service's address",
            &Packet {
                from: (VIP.0, 40_000),
                ..data()
            },
        )
        .is(Reason::Spoofed, Xdp::Drop),
        case("may go no further", &Packet { ttl: 1, ..syn() }).is(Reason::TtlExceeded, Xdp::Drop),
        case("should not be here", &Packet { ttl: 0, ..syn() }).is(Reason::TtlExceeded, Xdp::Drop),
    ]
}

/// A packet that is told of, every time.
pub(crate) fn told() -> Case {
    let data = data();
    case("dirty: known data", &data)
        .slot(DIRTY)
        .known(WEB2, Opening)
        .goes_to_web2(&data)
        .records(WEB2, Open)
        .tracks(&[Hit])
}

/// ARP for the service's address, fenced.
pub(crate) fn asked_while_fenced() -> Case {
    framed("ARP, fenced", arp())
        .is(Reason::Fenced, Xdp::Drop)
        .lease(Lease::Lapsed)
}

/// As without leases.
fn leased() -> Vec<Case> {
    let cases = [
        case("a SYN, with a lease", &syn()).goes_to_web1(&syn()),
        case("data, with a lease", &data()).goes_to_web1(&data()),
        framed("ARP, with a lease", arp()).is(Reason::NotIpv4, Xdp::Pass),
    ];
    cases.map(|case| case.lease(Lease::Held)).into()
}

/// The lease has lapsed: nobody new is let in, and those who are in stay.
fn fenced() -> Vec<Case> {
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
    let pass = |name, frame| framed(name, frame).is(Reason::NotIpv4, Xdp::Pass);
    let arp_with = |offset: usize, value| {
        let mut frame = arp();
        frame[14 + offset] = value;
        frame
    };
    let cases = [
        case("a SYN, fenced", &syn()).is(Reason::Fenced, Xdp::Drop),
        case("a SYN on a dirty slot, fenced", &syn())
            .slot(DIRTY)
            .is(Reason::Fenced, Xdp::Drop),
        case("a SYN again, fenced", &syn())
            .slot(DIRTY)
            .known(WEB2, Opening)
            .is(Reason::Fenced, Xdp::Drop),
        case("a SYN that nobody would get, fenced", &syn())
            .slot(Slot::EMPTY)
            .is(Reason::Fenced, Xdp::Drop),
        case("data, fenced", &data()).goes_to_web1(&data()),
        case("data of a recorded connection, fenced", &data())
            .slot(DIRTY)
            .known(WEB2, Open)
            .goes_to_web2(&data())
            .tracks(&[Hit]),
        case("an answer, fenced", &answer)
            .ingress(SERVERS)
            .is(Reason::ToClient, Xdp::Redirect)
            .becomes(&answered)
            .counts_out(WEB1, &answer),
        case(
            "a SYN for somebody else, fenced",
            &Packet {
                to: OURSELVES,
                ..syn()
            },
        ),
        asked_while_fenced(),
        pass("ARP for the host itself, fenced", arp_for(OURSELVES.0)),
        pass("an ARP reply, fenced", arp_with(7, 2)),
        pass("ARP over other hardware, fenced", arp_with(1, 6)),
        pass("ARP for another protocol, fenced", arp_with(2, 0x86)),
        pass("ARP with longer hardware addresses, fenced", arp_with(4, 8)),
        pass("ARP with longer addresses, fenced", arp_with(5, 16)),
        pass("IPv6, fenced", ipv6()),
    ];
    cases.map(|case| case.lease(Lease::Lapsed)).into()
}
