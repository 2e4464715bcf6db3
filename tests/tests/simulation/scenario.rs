//! One run: connections while the set of servers changes.

use crate::clients::{Clients, Connection};
use crate::control::{Control, SERVICE, server};
use crate::plane::Plane;
use kit::random::Random;
use lb_control::config::Backend;
use lb_ebpf::abi::{BackendId, FlowKey, Service, Tracking};
use lb_ebpf::hash;
use lb_ebpf::parse::Kind;
use lb_ebpf::select::select;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Slots of the table: a prime.
const SLOTS: u32 = 4_093;
/// Connections of ten servers.
const PER_SECOND: f64 = 20.0;
const LENGTH_MS: u64 = 1_200_000;
const SERVERS: usize = 12;
/// Servers that are ready at the beginning, and the fewest there ever are.
const READY: usize = 10;
const FEWEST: usize = 8;

/// From a client's SYN to its next packet.
const HANDSHAKE_MS: u64 = 40;

/// The program's clock at the beginning. It wraps on the way.
const BOOT_MS: u32 = u32::MAX - 500_000;

/// What happens to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// One is drained, or taken back.
    Drains,
    /// Also: they die and return, leave the configuration and return, and get other weights, up to
    /// three at a time.
    Everything,
}

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) changes: Changes,
    pub(crate) every_s: u32,
    pub(crate) idle_s: u32,
    /// The longest pause between two packets of a connection.
    pub(crate) longest_pause_s: f64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) connections: usize,
    pub(crate) packets: u64,
    /// Connections that plain hashing would have broken.
    pub(crate) broken_by_hashing: usize,
    /// Connections that a table of all of them would have broken.
    pub(crate) broken_by_full_table: usize,
    /// Connections that we broke.
    pub(crate) broken_by_us: usize,
    /// Packets for which we asked the flow table.
    pub(crate) looked_up: u64,
    /// The most flows that we had recorded at a time.
    pub(crate) recorded: usize,
    /// The most that a table of all connections held.
    pub(crate) full_table: usize,
    /// Whether everything was clean at last, when nothing changed any more.
    pub(crate) at_rest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Packet(usize),
    Change,
    Sweep,
}

/// A connection, and where its packets belong.
struct Followed {
    connection: Connection,
    /// The server that has it, and how often that one had died before.
    ours: (usize, u32),
    /// The same, had plain hashing, or a table of all connections, sent its SYN.
    theirs: (usize, u32),
    broken_by_hashing: bool,
    broken_by_full_table: bool,
    broken_by_us: bool,
}

/// A server, as it is in the world.
#[derive(Default)]
struct Server {
    deaths: u32,
    is_dead: bool,
    is_draining: bool,
    /// What its entry in the configuration was, if it is not there now.
    removed: Option<Backend>,
}

struct Run {
    scenario: Scenario,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Keeps events of the same time in order.
    number: u64,
    random: Random,
    clients: Clients,
    control: Control,
    plane: Plane,
    servers: Vec<Server>,
    connections: Vec<Followed>,
    /// The rival: every connection is in it, with the time of its last packet.
    full_table: HashMap<FlowKey, (BackendId, u64)>,
    figures: Figures,
}

impl Scenario {
    /// Plays it. The same in every run.
    pub(crate) fn play(self) -> Figures {
        let mut run = Run {
            scenario: self,
            now_ms: 0,
            events: BinaryHeap::new(),
            number: 0,
            random: Random::seeded(1),
            clients: Clients::new(2, PER_SECOND, self.longest_pause_s),
            control: Control::new(SERVERS, SLOTS, self.idle_s),
            plane: Plane::default(),
            servers: (0..SERVERS).map(|_| Server::default()).collect(),
            connections: Vec::new(),
            full_table: HashMap::new(),
            figures: Figures::default(),
        };
        run.play();
        run.figures
    }
}

impl Run {
    fn play(&mut self) {
        for server in READY..SERVERS {
            self.servers[server].is_draining = true;
            self.control.set_ready(server, false);
        }
        self.set_clock();
        self.control.follow(&mut self.plane);
        self.push(0, Event::Arrival);
        self.push(u64::from(self.scenario.every_s) * 1_000, Event::Change);
        self.push(self.control.sweep_every_ms(), Event::Sweep);
        // Then nothing changes any more, connections end, and all should come to rest.
        let rest_ms = LENGTH_MS * 2 + u64::from(self.scenario.idle_s) * 3_000;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now_ms = at;
            self.set_clock();
            match event {
                Event::Arrival if at < LENGTH_MS => self.arrive(),
                Event::Change if at < LENGTH_MS => self.change(),
                Event::Arrival | Event::Change => {}
                Event::Packet(which) => self.packet(which),
                Event::Sweep if at < rest_ms => self.sweep(),
                Event::Sweep => {}
            }
        }
        self.figures.connections = self.connections.len();
        let broken = |is: fn(&Followed) -> bool| self.connections.iter().filter(|c| is(c)).count();
        self.figures.broken_by_hashing = broken(|c| c.broken_by_hashing);
        self.figures.broken_by_full_table = broken(|c| c.broken_by_full_table);
        self.figures.broken_by_us = broken(|c| c.broken_by_us);
        let memory = &self.plane.memory;
        self.figures.looked_up = memory.tracked(Tracking::Hit) + memory.tracked(Tracking::Miss);
        self.figures.at_rest = self.control.is_at_rest(&self.plane);
    }

    fn set_clock(&mut self) {
        self.plane.memory.now_ms = BOOT_MS.wrapping_add(self.now_ms as u32);
    }

    fn push(&mut self, in_ms: u64, event: Event) {
        self.number += 1;
        self.events
            .push(Reverse((self.now_ms + in_ms, self.number, event)));
    }

    fn service(&self) -> Service {
        self.plane.memory.services[&SERVICE]
    }

    /// Where the program sends a segment.
    fn ours(&mut self, flow: &FlowKey, kind: Kind) -> Option<usize> {
        self.figures.packets += 1;
        let (_, backend) = select(&self.plane.memory, &self.service(), flow, kind)?;
        Some(server(backend.addr.octets_v4()))
    }

    /// The owner of a connection's slot: all that plain hashing knows.
    fn owner(&self, flow: &FlowKey) -> BackendId {
        let service = self.service();
        let hash = flow.hash(service.hash_key);
        let slot = service.first_slot + hash::slot_of(hash, service.slot_count);
        self.plane.memory.slots[slot as usize].current
    }

    /// Where a table of all connections sends a segment, or the hash, where it knows nothing.
    fn full_table(&mut self, flow: &FlowKey, kind: Kind) -> BackendId {
        let owner = self.owner(flow);
        let known = self.full_table.get(flow).map(|(backend, _)| *backend);
        let backend = match kind {
            Kind::Open => owner,
            Kind::Data => known.unwrap_or(owner),
        };
        self.full_table.insert(*flow, (backend, self.now_ms));
        self.figures.full_table = self.figures.full_table.max(self.full_table.len());
        backend
    }

    fn at(&self, backend: BackendId) -> usize {
        server(
            self.plane.memory.backends[usize::from(backend)]
                .addr
                .octets_v4(),
        )
    }

    fn arrive(&mut self) {
        let next = self.clients.next_in_ms();
        self.push(next, Event::Arrival);
        let mut connection = self.clients.connect(self.now_ms);
        connection.flow.service = self.service().id;
        let flow = connection.flow;
        let ours = self.ours(&flow, Kind::Open).expect("a server");
        let theirs = self.full_table(&flow, Kind::Open);
        let theirs = self.at(theirs);
        self.push(HANDSHAKE_MS, Event::Packet(self.connections.len()));
        self.connections.push(Followed {
            connection,
            ours: (ours, self.servers[ours].deaths),
            theirs: (theirs, self.servers[theirs].deaths),
            broken_by_hashing: false,
            broken_by_full_table: false,
            broken_by_us: false,
        });
    }

    fn packet(&mut self, which: usize) {
        let connection = self.connections[which].connection;
        let (ours, deaths) = self.connections[which].ours;
        if self.servers[ours].deaths != deaths {
            // It ended with its server, and nobody could have saved it.
            return;
        }
        let chosen = self.ours(&connection.flow, Kind::Data);
        self.connections[which].broken_by_us |= chosen != Some(ours);

        let owner = self.at(self.owner(&connection.flow));
        let known = self.full_table(&connection.flow, Kind::Data);
        let known = self.at(known);
        let followed = &mut self.connections[which];
        let (theirs, deaths) = followed.theirs;
        if self.servers[theirs].deaths == deaths {
            followed.broken_by_hashing |= owner != theirs;
            followed.broken_by_full_table |= known != theirs;
        }
        if self.now_ms >= connection.end_ms {
            self.clients.closed(&connection);
        } else {
            let pause = self.clients.pause_ms(&connection);
            self.push(pause, Event::Packet(which));
        }
    }

    fn sweep(&mut self) {
        self.push(self.control.sweep_every_ms(), Event::Sweep);
        let recorded = self.plane.memory.flows.borrow().len();
        self.figures.recorded = self.figures.recorded.max(recorded);
        self.control.sweep(&mut self.plane);
        let (now, idle) = (self.now_ms, u64::from(self.scenario.idle_s) * 1_000);
        self.full_table.retain(|_, (_, seen)| now - *seen < idle);
    }

    fn change(&mut self) {
        self.push(u64::from(self.scenario.every_s) * 1_000, Event::Change);
        let times = match self.scenario.changes {
            Changes::Drains => 1,
            Changes::Everything => 1 + self.random.below(3),
        };
        for _ in 0..times {
            match self.scenario.changes {
                Changes::Drains => self.drain_or_take_back(),
                Changes::Everything => match self.random.below(5) {
                    0 | 1 => self.drain_or_take_back(),
                    2 => self.die_or_return(),
                    3 => self.remove_or_add(),
                    _ => self.weigh(),
                },
            }
            self.control.follow(&mut self.plane);
        }
    }

    /// One of the servers that `is` accepts.
    fn any(&mut self, is: fn(&Server) -> bool) -> Option<usize> {
        let fit: Vec<usize> = (0..SERVERS).filter(|&s| is(&self.servers[s])).collect();
        (!fit.is_empty()).then(|| fit[self.random.below(fit.len())])
    }

    fn serving(&self) -> usize {
        self.servers.iter().filter(|server| server.serves()).count()
    }

    /// Whether to take a server away, rather than to bring one back.
    fn takes(&mut self, can_bring: bool) -> bool {
        self.serving() > FEWEST && (!can_bring || self.random.below(2) == 0)
    }

    fn drain_or_take_back(&mut self) {
        let drained = self.any(|server| server.is_draining && server.removed.is_none());
        if self.takes(drained.is_some()) {
            if let Some(server) = self.any(Server::serves) {
                self.servers[server].is_draining = true;
                self.control.set_ready(server, false);
            }
        } else if let Some(server) = drained {
            self.servers[server].is_draining = false;
            self.control.set_ready(server, true);
        }
    }

    fn die_or_return(&mut self) {
        let dead = self.any(|server| server.is_dead && server.removed.is_none());
        if self.takes(dead.is_some()) {
            // Servers die while they drain, too.
            if let Some(server) = self.any(|server| !server.is_dead && server.removed.is_none()) {
                self.servers[server].is_dead = true;
                self.servers[server].deaths += 1;
                self.control.set_up(server, false);
            }
        } else if let Some(server) = dead {
            self.servers[server].is_dead = false;
            self.control.set_up(server, true);
        }
    }

    fn remove_or_add(&mut self) {
        let removed = self.any(|server| server.removed.is_some());
        if self.takes(removed.is_some()) {
            if let Some(server) = self.any(Server::serves) {
                self.servers[server].removed = Some(self.control.remove(server));
            }
        } else if let Some(server) = removed
            && let Some(backend) = self.servers[server].removed.take()
        {
            self.control.add(server, backend);
        }
    }

    fn weigh(&mut self) {
        if let Some(server) = self.any(Server::serves) {
            let weight = 1 + self.random.below(4) as u16;
            self.control.set_weight(server, weight);
        }
    }
}

impl Server {
    const fn serves(&self) -> bool {
        !self.is_dead && !self.is_draining && self.removed.is_none()
    }
}
