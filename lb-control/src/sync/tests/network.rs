//! Two hosts, and a channel between them that keeps the order, lags, and is cut at any moment. Of a
//! daemon, a host has as much as the channel is about: a configuration, which is a set of changes,
//! tables, recorded flows, and whether it leads.

use super::tables;
use crate::config::{Overlay, Refusal};
use crate::dataplane::Tables;
use crate::proto::simulation::Random;
use crate::sync::delta::shared;
use crate::sync::{Effect, Message, Proposal, Relation, Session, Snapshot, Status, Version};
use bytes::Bytes;
use lb_ebpf::abi::{Addr, Backend, Flow, FlowKey};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub(crate) struct Network {
    pub(crate) hosts: [Host; 2],
    pub(super) random: Random,
    /// How many frames there were.
    pub(super) frames: usize,
    /// Who believes that there is a channel.
    connected: [bool; 2],
    /// What became of each change.
    pub(super) fates: Vec<Fate>,
    /// Flows that a host recorded while it did not lead.
    pub(super) late: BTreeSet<FlowKey>,
    /// On their way to each.
    flying: [VecDeque<Bytes>; 2],
    now: Instant,
    flows: u32,
}

pub(crate) struct Host {
    pub(crate) session: Session,
    pub(super) snapshot: Snapshot,
    pub(crate) tables: Tables,
    pub(super) flows: BTreeMap<FlowKey, Flow>,
    pub(crate) leads: bool,
    /// Whether its disk is full.
    pub(super) refuses: bool,
    pub(super) pending: Option<Pending>,
    /// How often all flows were asked for, and are not handed over yet.
    pub(super) reads: usize,
    /// What this host was when it sent each mark to the one that it is connected to.
    marks: Vec<(Tables, BTreeSet<FlowKey>)>,
    /// Whether the leader's tables are not written yet.
    unheld: bool,
    /// The last mark that came from whoever leads.
    marked: Option<u64>,
    /// Flows that were here when all were about to come.
    before: BTreeSet<FlowKey>,
    /// The proposal that is not answered yet, and its change.
    proposed: Option<(u64, usize)>,
    proposals: u64,
    clock_ms: u32,
}

/// A change that was offered to the other and is not this host's yet.
pub(super) struct Pending {
    change: usize,
    snapshot: Snapshot,
    proposal: Option<u64>,
}

/// What whoever asked for a change was told, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing, or that it is not done, or that nobody knows.
    NotDone,
    /// That it is done, on one host or on both.
    Done,
    /// And later that it is dropped.
    Dropped,
}

const NAMES: [&str; 2] = ["a", "b"];

fn services(changes: &BTreeSet<usize>) -> Overlay {
    let names: Vec<_> = changes.iter().map(|it| format!("c{it}")).collect();
    serde_json::from_value(json!({ "removed_services": names })).expect("an overlay")
}

pub(super) fn changes(snapshot: &Snapshot) -> BTreeSet<usize> {
    let services = serde_json::to_value(&snapshot.services).expect("a value");
    let names = services["removed_services"].as_array().expect("names");
    let number = |name: &str| name.trim_start_matches('c').parse().expect("a number");
    let names = names.iter().filter_map(|name| name.as_str());
    names.map(number).collect()
}

/// What follows on this, by this change.
fn following(snapshot: &Snapshot, author: usize, change: usize) -> Snapshot {
    let mut changes = changes(snapshot);
    changes.insert(change);
    Snapshot {
        version: snapshot.version.next(NAMES[author], format!("{changes:?}")),
        services: services(&changes),
    }
}

fn message(frame: &[u8]) -> Option<Message> {
    let (1, payload) = frame.split_first()? else {
        return None;
    };
    serde_json::from_slice(payload).ok()
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let snapshot = Snapshot {
            version: Version::default(),
            services: Overlay::default(),
        };
        let mut host = |name: &str| Host {
            session: Session::new(name.to_owned(), snapshot.clone()),
            snapshot: snapshot.clone(),
            tables: Tables::default(),
            flows: BTreeMap::new(),
            leads: false,
            refuses: false,
            pending: None,
            reads: 0,
            marks: Vec::new(),
            unheld: false,
            marked: None,
            before: BTreeSet::new(),
            proposed: None,
            proposals: 0,
            clock_ms: random.bits() as u32,
        };
        let hosts = NAMES.map(&mut host);
        Self {
            hosts,
            random,
            connected: [false; 2],
            frames: 0,
            fates: Vec::new(),
            late: BTreeSet::new(),
            flying: [VecDeque::new(), VecDeque::new()],
            now: Instant::now(),
            flows: 0,
        }
    }

    /// Connects them, unless they are. Whoever still believes in the last channel hears of its end.
    pub(crate) fn connect(&mut self) {
        if self.connected == [true; 2] {
            return;
        }
        self.cut();
        self.connected = [true; 2];
        for host in [0, 1] {
            self.hosts[host].marks.clear();
            self.hosts[host].marked = None;
            self.with(host, |session, _| session.connected());
        }
    }

    pub(crate) const fn is_connected(&self, host: usize) -> bool {
        self.connected[host]
    }

    /// What is on its way is lost.
    pub(super) fn cut(&mut self) {
        self.hang_up(0);
        self.hang_up(1);
    }

    /// One of them takes the channel for broken: what is on its way to it is lost. The other does
    /// not know.
    pub(crate) fn hang_up(&mut self, host: usize) {
        if std::mem::replace(&mut self.connected[host], false) {
            self.flying[host].clear();
            self.with(host, |session, _| session.disconnected());
            self.hosts[host].proposed = None;
            // Alone, a change is made at once. Or whoever asked for it is told that nobody knows.
            if let Some(pending) = self.hosts[host].pending.take()
                && self.random.below(2) == 0
            {
                self.finish(host, pending);
            }
        }
    }

    /// It keeps its configuration, and the kernel its tables and flows. Nobody is told.
    pub(crate) fn restart(&mut self, host: usize) {
        self.hosts[host].pending = None;
        self.hang_up(host);
        let it = &mut self.hosts[host];
        it.session = Session::new(NAMES[host].to_owned(), it.snapshot.clone());
        it.reads = 0;
        let tables = it.tables.clone();
        self.with(host, |session, now| session.publish(now, &tables));
        self.tell(host);
    }

    pub(crate) fn lead(&mut self, host: usize, leads: bool) {
        self.hosts[host].leads = leads;
        self.tell(host);
    }

    /// Tells how things are, whether it is news or not.
    pub(crate) fn tell(&mut self, host: usize) {
        let status = Status {
            leads: self.hosts[host].leads,
            ready: true,
            priority: 100,
            ..Status::default()
        };
        self.with(host, |session, now| session.set_status(now, status, true));
    }

    /// A change is asked for at this host.
    pub(crate) fn change(&mut self, host: usize) {
        let it = &self.hosts[host];
        if it.leads && it.pending.is_none() {
            let change = self.new_change();
            let snapshot = following(&self.hosts[host].snapshot, host, change);
            let proposal = None;
            self.make(
                host,
                Pending {
                    change,
                    snapshot,
                    proposal,
                },
            );
        } else if it.session.peer_leads() && it.proposed.is_none() {
            let change = self.new_change();
            let it = &mut self.hosts[host];
            it.proposals += 1;
            it.proposed = Some((it.proposals, change));
            let proposal = Proposal {
                id: it.proposals,
                from: it.snapshot.version.clone(),
                services: following(&it.snapshot, host, change).services,
                cut: Vec::new(),
                what: String::new(),
            };
            self.say(host, &Message::Propose(proposal));
        }
    }

    fn new_change(&mut self) -> usize {
        self.fates.push(Fate::NotDone);
        self.fates.len() - 1
    }

    /// Offers it to the other first, if there is one.
    fn make(&mut self, host: usize, pending: Pending) {
        if self.hosts[host].session.is_spoken() {
            let snapshot = pending.snapshot.clone();
            self.hosts[host].pending = Some(pending);
            self.with(host, |session, _| session.offer(snapshot));
        } else {
            self.finish(host, pending);
        }
    }

    fn finish(&mut self, host: usize, pending: Pending) {
        let Pending {
            change,
            snapshot,
            proposal,
        } = pending;
        self.fates[change] = Fate::Done;
        let revision = snapshot.version.epoch;
        self.hosts[host].snapshot = snapshot.clone();
        self.with(host, |session, _| session.set_config(snapshot));
        self.answer(host, proposal, Ok(revision));
        self.change_tables(host);
    }

    fn fail(&mut self, host: usize, pending: &Pending) {
        let refusal = Refusal::Failed("the other would not".to_owned());
        self.answer(host, pending.proposal, Err(refusal));
    }

    fn answer(&mut self, host: usize, proposal: Option<u64>, result: Result<u64, Refusal>) {
        if let Some(id) = proposal {
            self.say(host, &Message::Answer { id, result });
        }
    }

    fn say(&mut self, host: usize, message: &Message) {
        self.with(host, |session, _| session.say(message));
    }

    /// The leader's backends come and go.
    pub(crate) fn change_tables(&mut self, host: usize) {
        if !self.hosts[host].leads {
            return;
        }
        let mut slots = Vec::new();
        for _ in 0..self.random.below(4) {
            let owner = |random: &mut Random| random.below(5) as u16;
            let count = self.random.below(12);
            let slot = |_| (owner(&mut self.random), owner(&mut self.random));
            slots.push((0..count).map(slot).collect::<Vec<_>>());
        }
        let shift = self.random.below(3) as u16;
        let sketch = (0..).zip(&slots);
        let sketch: Vec<_> = sketch
            .map(|(number, slots)| (number, u16::from(number) + shift, slots.as_slice()))
            .collect();
        self.hosts[host].tables = tables(&sketch, host as u8 + 1);
        self.publish(host);
    }

    fn publish(&mut self, host: usize) {
        let tables = self.hosts[host].tables.clone();
        self.with(host, |session, now| session.publish(now, &tables));
    }

    /// A connection that is to be remembered.
    pub(crate) fn record(&mut self, host: usize, told: bool) {
        self.flows += 1;
        let key = FlowKey::new(Addr::v4(self.flows.to_be_bytes()), [1, 2], 1);
        let now_ms = self.hosts[host].clock_ms;
        let flow = Flow {
            last_seen_ms: now_ms,
            backend: self.random.below(5) as u16,
            phase: 1,
        };
        let it = &mut self.hosts[host];
        it.flows.insert(key, flow);
        if !it.leads {
            self.late.insert(key);
        }
        self.with(host, |session, now| {
            if told {
                session.send_flows(&[(key, flow)], now_ms);
            } else {
                session.begin_again(now);
            }
        });
    }

    pub(crate) fn forget(&mut self, host: usize) {
        let count = self.hosts[host].flows.len();
        if count > 0 && self.hosts[host].leads {
            let index = self.random.below(count);
            let mut keys = self.hosts[host].flows.keys();
            let key = *keys.nth(index).expect("one of them");
            self.hosts[host].flows.remove(&key);
            self.with(host, |session, _| session.send_flows_gone(&[key]));
        }
    }

    /// Hands over all flows, as often as that was asked for.
    pub(crate) fn read_flows(&mut self, host: usize) {
        for _ in 0..std::mem::take(&mut self.hosts[host].reads) {
            let it = &self.hosts[host];
            let flows: Vec<_> = it.flows.iter().map(|(key, flow)| (*key, *flow)).collect();
            let now_ms = it.clock_ms;
            self.with(host, |session, now| {
                session.send_all_flows(now, &flows, now_ms);
            });
        }
    }

    /// How much is on its way to a host.
    pub(crate) fn on_its_way(&self, host: usize) -> usize {
        self.flying[host].len()
    }

    /// Brings a host what was sent to it first. Returns whether there was anything.
    pub(crate) fn deliver(&mut self, host: usize) -> bool {
        let Some(frame) = self.flying[host].pop_front() else {
            return false;
        };
        self.frames += 1;
        self.now += Duration::from_millis(1);
        for it in &mut self.hosts {
            it.clock_ms = it.clock_ms.wrapping_add(1);
        }
        let it = &mut self.hosts[host];
        match message(&frame) {
            Some(Message::Mark { number }) => it.marked = Some(number),
            Some(Message::Status(status)) if !status.leads => it.marked = None,
            _ => {}
        }
        let result = it.session.on_frame(self.now, &frame, it.clock_ms);
        assert_eq!(result, Ok(()));
        self.carry_out(host);
        true
    }

    /// Until nothing is on its way, and all that was asked for was handed over.
    pub(super) fn settle(&mut self, at_most: usize) {
        let frames = self.frames;
        loop {
            let delivered = [0, 1].map(|host| {
                self.read_flows(host);
                self.hold(host);
                self.deliver(host)
            });
            self.check();
            let count = self.frames - frames;
            assert!(count <= at_most, "{count} frames, and no end");
            if delivered == [false; 2] && self.hosts.iter().all(|it| it.reads == 0) {
                return;
            }
        }
    }

    fn with(&mut self, host: usize, input: impl FnOnce(&mut Session, Instant)) {
        input(&mut self.hosts[host].session, self.now);
        self.carry_out(host);
    }

    fn carry_out(&mut self, host: usize) {
        while let Some(effect) = self.hosts[host].session.next_effect() {
            self.take(host, effect);
        }
    }

    fn take(&mut self, host: usize, effect: Effect) {
        let it = &mut self.hosts[host];
        match effect {
            Effect::Send(frame) => {
                assert!(self.connected[host], "nobody is there");
                if let Some(Message::Mark { number }) = message(&frame) {
                    let keys = it.flows.keys().copied().collect();
                    it.marks.push((shared(&it.tables), keys));
                    assert_eq!(it.marks.len() as u64, number);
                }
                if self.connected[1 - host] {
                    self.flying[1 - host].push_back(frame);
                }
            }
            Effect::Adopt { snapshot, diverged } => self.adopt(host, snapshot, diverged),
            Effect::Taken(version) => {
                let is = |pending: &mut Pending| pending.snapshot.version == version;
                if let Some(pending) = it.pending.take_if(is) {
                    self.finish(host, pending);
                }
            }
            Effect::NotTaken(version, _) => {
                let is = |pending: &mut Pending| pending.snapshot.version == version;
                if let Some(pending) = it.pending.take_if(is) {
                    self.fail(host, &pending);
                }
            }
            Effect::Dropped(_) => {}
            Effect::ReadFlows => it.reads += 1,
            Effect::FlowsBegin => it.before = it.flows.keys().copied().collect(),
            Effect::Flows(flows) => {
                for (key, flow) in flows {
                    it.before.remove(&key);
                    it.flows.insert(key, flow);
                }
            }
            Effect::FlowsGone(keys) => {
                for key in keys {
                    it.flows.remove(&key);
                }
            }
            Effect::FlowsEnd => {
                for key in std::mem::take(&mut it.before) {
                    it.flows.remove(&key);
                }
            }
            Effect::Mirror => {
                it.unheld = true;
                // Now and then it cannot be written at once.
                if self.random.below(8) == 0 {
                    let failed = Err("the map is full".to_owned());
                    self.with(host, |session, _| session.held(failed));
                } else {
                    self.hold(host);
                }
            }
            Effect::Proposed(proposal) => self.proposed(host, proposal),
            Effect::Answered(id, result) => {
                if let Some((_, change)) = it.proposed.take_if(|(asked, _)| *asked == id) {
                    let done = self.fates[change] != Fate::NotDone;
                    assert!(done || result.is_err(), "{change} was answered as done");
                }
            }
            Effect::Reached(_) | Effect::Peer => {}
            Effect::TakeOver | Effect::SwitchAsked(_) | Effect::Switched(..) => {
                unreachable!("nobody switches")
            }
        }
    }

    /// Writes what the leader has, if that was not written yet.
    pub(crate) fn hold(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if !std::mem::take(&mut it.unheld) {
            return;
        }
        let Some(mut tables) = it.session.mirror().cloned() else {
            return;
        };
        for backend in tables.backends.values_mut() {
            *backend = Backend {
                ifindex: host as u32 + 1,
                ..*backend
            };
        }
        it.tables = tables;
        self.publish(host);
        self.with(host, |session, _| session.held(Ok(())));
    }

    fn adopt(&mut self, host: usize, snapshot: Snapshot, diverged: bool) {
        let it = &mut self.hosts[host];
        let (old, new) = (&it.snapshot.version, &snapshot.version);
        let is_newer = match new.relation(old) {
            Relation::Ahead => !diverged,
            Relation::Diverged { stays: true } => diverged,
            _ => false,
        };
        assert!(is_newer, "{new:?} is adopted over {old:?}");
        if it.refuses {
            let version = new.clone();
            self.with(host, |session, _| {
                session.not_taken(version, "the disk is full".to_owned());
            });
            return;
        }
        let (had, has) = (changes(&it.snapshot), changes(&snapshot));
        for change in had.difference(&has) {
            let fate = &mut self.fates[*change];
            if *fate == Fate::Done {
                assert!(
                    diverged,
                    "{change} is lost: {new:?} is adopted over {old:?}"
                );
                *fate = Fate::Dropped;
            }
        }
        it.snapshot = snapshot.clone();
        let other = |pending: &mut Pending| pending.snapshot.version != snapshot.version;
        if let Some(pending) = it.pending.take_if(other) {
            self.fail(host, &pending);
        }
        self.with(host, |session, _| session.taken(snapshot));
        self.change_tables(host);
    }

    fn proposed(&mut self, host: usize, proposal: Proposal) {
        let it = &self.hosts[host];
        let version = &it.snapshot.version;
        if it.leads && it.pending.is_none() && proposal.from == *version {
            let mut snapshot = Snapshot {
                version: version.clone(),
                services: proposal.services,
            };
            let changes = changes(&snapshot);
            let change = *changes.last().expect("the last one asked for");
            snapshot.version = version.next(NAMES[host], format!("{changes:?}"));
            let proposal = Some(proposal.id);
            self.make(
                host,
                Pending {
                    change,
                    snapshot,
                    proposal,
                },
            );
        } else {
            let refusal = Refusal::Conflict {
                expected: proposal.from.epoch,
                actual: version.epoch,
            };
            self.answer(host, Some(proposal.id), Err(refusal));
        }
    }

    /// What holds at any moment.
    pub(crate) fn check(&self) {
        for host in [0, 1] {
            let (it, other) = (&self.hosts[host], &self.hosts[1 - host]);
            if it.session.is_synchronised().is_ok() && it.session.peer_leads() && !it.leads {
                let marked = it.marked.expect("nothing came of this leader's tables") as usize;
                let mirror = it.session.mirror();
                assert_eq!(mirror, Some(&shared(&it.tables)), "not written");
                // The mark of the last change may be on its way still.
                let marks = other.marks.iter().skip(marked - 1).take(2);
                let mut tables = marks.map(|(tables, _)| tables);
                assert!(
                    tables.any(|tables| Some(tables) == mirror),
                    "{mirror:?} after mark {marked}"
                );
                self.check_flows(it, other, marked);
            }
            let nothing_flies = self.connected == [true; 2] && self.flying[host].is_empty();
            if it.leads && it.session.is_followed().is_ok() && nothing_flies {
                assert!(!other.leads);
                assert_eq!(shared(&other.tables), shared(&it.tables));
                self.check_flows(other, it, it.marks.len());
            }
        }
    }

    /// That the standby knows what the leader knew at its mark, and still knows.
    fn check_flows(&self, standby: &Host, leader: &Host, mark: usize) {
        let (_, flows) = &leader.marks[mark - 1];
        let mut flows = flows.iter().filter(|key| !self.late.contains(key));
        let missing =
            flows.find(|key| leader.flows.contains_key(key) && !standby.flows.contains_key(key));
        assert_eq!(missing, None, "after mark {mark}");
    }
}
