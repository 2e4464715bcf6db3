//! One packet and what becomes of it: how cases are told.

use crate::dialect::{Dialect, PLAIN};
use crate::outcome::{Outcome, Recorded, Xdp};
use crate::packet::{Packet, SYN, TCP};
use crate::world::{CLIENTS, SERVERS_MAC, WEB1, WEB1_AT, WEB1_MAC, WEB2, WEB2_AT, WEB2_MAC};
use lb_ebpf::abi::{BackendId, Features, FlowPhase, Slot, Tracking, Traffic};
use lb_ebpf::reason::Reason;

/// A packet, the world it meets, and what becomes of it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    /// Whether it can be told in its dialect.
    pub(crate) makes_sense: bool,
    /// The parts of the program that are used.
    pub(crate) features: Features,
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

/// A client's packet, as it goes to a backend.
pub(crate) fn to_web1(packet: &Packet) -> Packet {
    Packet {
        macs: (WEB1_MAC, SERVERS_MAC),
        to: WEB1_AT,
        ttl: packet.ttl - 1,
        ..packet.clone()
    }
}

pub(crate) fn to_web2(packet: &Packet) -> Packet {
    Packet {
        macs: (WEB2_MAC, SERVERS_MAC),
        to: WEB2_AT,
        ttl: packet.ttl - 1,
        ..packet.clone()
    }
}

impl Case {
    pub(crate) fn new(dialect: Dialect, name: &str, packet: &Packet) -> Self {
        let case = Self::framed(dialect, name, dialect.packet(packet).bytes());
        Self {
            makes_sense: dialect.knows(packet),
            ..case
        }
    }

    pub(crate) fn framed(dialect: Dialect, name: &str, frame: Vec<u8>) -> Self {
        Self {
            name: format!("{dialect}{name}"),
            dialect,
            makes_sense: true,
            features: Features::ALL,
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

    pub(crate) fn slot(mut self, slot: Slot) -> Self {
        self.slot = slot;
        self
    }

    /// Only the slot at `index` is this one.
    pub(crate) fn slot_at(mut self, index: u32, slot: Slot) -> Self {
        self.exception = Some((index, slot));
        self
    }

    pub(crate) fn ingress(mut self, ingress: u32) -> Self {
        self.ingress = ingress;
        self
    }

    pub(crate) fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    pub(crate) fn full(mut self) -> Self {
        self.table_is_full = true;
        self
    }

    pub(crate) fn spent(mut self) -> Self {
        self.budget = Budget::Spent;
        self
    }

    pub(crate) fn spent_before(mut self) -> Self {
        self.budget = Budget::SpentBefore;
        self
    }

    pub(crate) fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// What is recorded before, and stays unless [`records`](Self::records) says otherwise.
    pub(crate) fn known(mut self, backend: BackendId, phase: FlowPhase) -> Self {
        self.flow = Some(Recorded::new(backend, phase));
        self.expected.flow = self.flow;
        self
    }

    /// What is recorded afterwards, and told.
    pub(crate) fn records(mut self, backend: BackendId, phase: FlowPhase) -> Self {
        let record = Recorded::new(backend, phase);
        self.expected.flow = Some(record);
        self.expected.told = vec![(self.dialect.flow_key(), record)];
        self
    }

    /// Nobody listens, so nothing is told.
    pub(crate) fn unheard(mut self) -> Self {
        self.listens = false;
        self.expected.told.clear();
        self
    }

    /// What is counted of the flow table.
    pub(crate) fn tracks(mut self, tracked: &[Tracking]) -> Self {
        self.expected.tracked = tracked.to_vec();
        self
    }

    pub(crate) fn is(mut self, reason: Reason, action: Xdp) -> Self {
        self.expected.reason = reason;
        self.expected.action = action;
        self
    }

    pub(crate) fn becomes(mut self, packet: &Packet) -> Self {
        self.expected.frame = self.dialect.packet(packet).bytes();
        self
    }

    /// The backend counts `packet`, from a client.
    pub(crate) fn counts_in(mut self, backend: BackendId, packet: &Packet) -> Self {
        let packet = self.dialect.packet(packet);
        let opens = packet.protocol == TCP && packet.flags == SYN;
        let traffic = Traffic {
            packets_in: 1,
            bytes_in: packet.len() as u64,
            connections: u64::from(opens),
            ..Traffic::default()
        };
        self.expected.traffic = vec![(backend, traffic)];
        self
    }

    /// The backend counts `packet`, to a client.
    pub(crate) fn counts_out(mut self, backend: BackendId, packet: &Packet) -> Self {
        let traffic = Traffic {
            packets_out: 1,
            bytes_out: self.dialect.packet(packet).len() as u64,
            ..Traffic::default()
        };
        self.expected.traffic = vec![(backend, traffic)];
        self
    }

    pub(crate) fn goes_to_web1(self, packet: &Packet) -> Self {
        self.is(Reason::ToBackend, Xdp::Redirect)
            .becomes(&to_web1(packet))
            .counts_in(WEB1, packet)
    }

    pub(crate) fn goes_to_web2(self, packet: &Packet) -> Self {
        self.is(Reason::ToBackend, Xdp::Redirect)
            .becomes(&to_web2(packet))
            .counts_in(WEB2, packet)
    }

    /// Changes a byte of the frame, which otherwise stays as it is. Which one it is, is known of TCP
    /// over IPv4.
    pub(crate) fn with(mut self, offset: usize, value: u8) -> Self {
        self.makes_sense &= self.dialect == PLAIN;
        if self.makes_sense {
            self.edit(offset, value)
        } else {
            self
        }
    }

    /// Changes a byte of the frame, which otherwise stays as it is.
    pub(crate) fn edit(mut self, offset: usize, value: u8) -> Self {
        self.frame[offset] = value;
        self.expected.frame[offset] = value;
        self
    }
}
