//! Who of the two sends what, and when.
//!
//! The configuration goes from whoever has the newer one to the other, at any time. Tables go from
//! the leader to the standby: all of them once, and from then on what changes. A standby does not
//! work out tables of its own: it holds those of the leader, and so answers like it from the first
//! packet on. Recorded flows go both ways: for a moment after a takeover, packets still arrive at
//! the old leader.
//!
//! | event | what is done |
//! |---|---|
//! | connected | say hello, and how things are |
//! | the other's version is behind ours, or gives way | send our configuration |
//! | the other's version is ahead of ours, or stays | wait for its configuration; adopt it when it comes |
//! | we lead, and the other does not | send all tables, all flows, and a mark |
//! | our tables change | send the difference, and, once all flows were sent, a mark |
//! | a mark is reached with other tables than ours | begin again with all tables |
//! | all tables came, and the mark | mirror them, until we lead |
//! | the mirror is held: it is in this host's tables | answer the mark |
//! | the mirror cannot be held | say why, and leave the mark unanswered until it is |
//! | disconnected | mirror what came last, until we lead |

use super::delta::{self, Delta};
use super::flows;
use super::message::{Hello, Message, PROTOCOLS, Proposal, Snapshot, Status};
use super::version::{Relation, Version};
use crate::config::Refusal;
use crate::dataplane::Tables;
use bytes::{BufMut as _, Bytes, BytesMut};
use lb_ebpf::abi::{Flow, FlowKey};
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a frame holds: its first byte.
mod frame {
    /// A [`super::Message`], as JSON.
    pub(super) const MESSAGE: u8 = 1;
    /// A part of a [`super::Delta`].
    pub(super) const TABLES: u8 = 2;
    /// The last part of one.
    pub(super) const TABLES_END: u8 = 3;
    /// What is to come is all there is: forget what came before.
    pub(super) const ANEW: u8 = 4;
    /// Recorded flows.
    pub(super) const FLOWS: u8 = 5;
    /// Keys of flows that are no more.
    pub(super) const FLOWS_GONE: u8 = 6;
}

/// How many marks are remembered that a standby does not answer: it may hold nothing for long.
const UNREACHED: usize = 1_024;

/// How long a part of the tables may be.
const PART: usize = 1 << 20;

/// Why what was sent is not even looked at.
const NO_HELLO: &str = "the other host did not say hello first";

/// What the daemon has to do. Effects come in the order in which things were said.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a frame.
    Send(Bytes),
    /// Take over a configuration, and say how that went: [`Session::taken`] or
    /// [`Session::not_taken`].
    Adopt {
        /// The configuration.
        snapshot: Snapshot,
        /// Both were changed, and the other's stays: what only this host has is dropped.
        diverged: bool,
    },
    /// The other has taken over this configuration.
    Taken(Version),
    /// The other will not.
    NotTaken(Version, String),
    /// Hand over all recorded flows to [`Session::send_all_flows`].
    ReadFlows,
    /// The flows of the other are about to come, all of them.
    FlowsBegin,
    /// Enter these.
    Flows(Vec<(FlowKey, Flow)>),
    /// Forget these.
    FlowsGone(Vec<FlowKey>),
    /// All of them came. Those that were here before, and did not come, are no more.
    FlowsEnd,
    /// What [`Session::mirror`] returns is another: hold it, and say how that went:
    /// [`Session::held`].
    Mirror,
    /// The other has carried out all that was sent before this mark, and holds the same tables.
    Reached(u64),
    /// The other has dropped this of its own for a configuration of ours.
    Dropped(Vec<String>),
    /// A change was asked for at the other host.
    Proposed(Proposal),
    /// What came of a change that was asked for here.
    Answered(u64, Result<u64, Refusal>),
    /// The leader makes way: take over now.
    TakeOver,
    /// The leader is asked at the other host to hand over.
    SwitchAsked(u64),
    /// What came of it.
    Switched(u64, Result<(), Refusal>),
    /// How things are on the other host is news.
    Peer,
}

/// One end of the pair's channel.
#[derive(Debug)]
pub struct Session {
    host: String,
    own: Status,
    snapshot: Snapshot,
    /// What the tables are here, shared.
    tables: Tables,
    link: Option<Link>,
    mirror: Option<Mirror>,
    effects: VecDeque<Effect>,
}

/// The leader's tables.
#[derive(Debug)]
struct Mirror {
    tables: Tables,
    /// Worked out once for all marks between two changes.
    digest: Option<String>,
    /// Whether this host's tables are these, or why not. `None`: not known yet.
    held: Option<Result<(), String>>,
}

#[derive(Debug, Default)]
struct Link {
    peer: Option<Hello>,
    unspoken: Option<String>,
    status: Option<Status>,
    /// What was offered to the other last, and whether it has taken it.
    offered: Option<Version>,
    refused: Option<String>,
    feed: Option<Feed>,
    marks: u64,
    /// Marks that are not reached yet: when they were sent, and with which tables.
    unreached: VecDeque<(u64, Instant, String)>,
    /// Parts of a difference.
    parts: Vec<u8>,
    /// What comes, until it is whole.
    staged: Option<Tables>,
    /// Whether all came since the other leads.
    whole: bool,
    /// The last mark of the other that is not answered.
    unanswered: Option<u64>,
}

/// What the standby holds.
#[derive(Debug, Default)]
struct Feed {
    sent: Tables,
    /// Whether all flows were sent, too.
    whole: bool,
}

impl Session {
    /// An end that is not connected. `host` names this one.
    #[must_use]
    pub fn new(host: String, snapshot: Snapshot) -> Self {
        let own = Status {
            version: snapshot.version.clone(),
            ..Status::default()
        };
        Self {
            host,
            own,
            snapshot,
            tables: Tables::default(),
            link: None,
            mirror: None,
            effects: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The channel is there.
    pub fn connected(&mut self) {
        self.link = Some(Link::default());
        self.say(&Message::Hello(Hello {
            host: self.host.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            protocols: PROTOCOLS,
        }));
        self.say_status();
    }

    /// The channel is gone.
    pub fn disconnected(&mut self) {
        self.link = None;
        self.effects.push_back(Effect::Peer);
    }

    /// How things are here. It is told to the other if it is news, or if `anyway`.
    pub fn set_status(&mut self, now: Instant, status: Status, anyway: bool) {
        let status = Status {
            version: self.own.version.clone(),
            lacks: self.own.lacks.clone().filter(|_| !status.leads),
            ..status
        };
        let news = status != self.own;
        self.own = status;
        if self.own.leads {
            self.mirror = None;
            if let Some(link) = &mut self.link {
                link.staged = None;
                link.whole = false;
                link.unanswered = None;
            }
        }
        if news || anyway {
            self.say_status();
        }
        self.feed(now);
    }

    /// The configuration here is another.
    pub fn set_config(&mut self, snapshot: Snapshot) {
        self.own.version = snapshot.version.clone();
        self.snapshot = snapshot;
        self.say_status();
        self.compare();
    }

    /// Offers a configuration to the other before it is that of this host.
    pub fn offer(&mut self, snapshot: Snapshot) {
        if let Some(link) = &mut self.link {
            link.offered = Some(snapshot.version.clone());
            link.refused = None;
        }
        self.say(&Message::Config(snapshot));
    }

    /// The configuration that was to be adopted is this host's now.
    pub fn taken(&mut self, snapshot: Snapshot) {
        let version = snapshot.version.clone();
        self.set_config(snapshot);
        self.say(&Message::Taken { version });
    }

    /// The configuration that was to be adopted is not.
    pub fn not_taken(&mut self, version: Version, reason: String) {
        if let Some(link) = &mut self.link {
            link.refused = Some(reason.clone());
        }
        self.say(&Message::NotTaken { version, reason });
    }

    /// What the tables here are now. They are told to the standby if this host leads.
    pub fn publish(&mut self, now: Instant, tables: &Tables) {
        self.tables = delta::shared(tables);
        self.feed(now);
    }

    /// Tells the other of flows that were recorded here.
    pub fn send_flows(&mut self, flows: &[(FlowKey, Flow)], now_ms: u32) {
        if !self.is_spoken() {
            return;
        }
        for flows in flows.chunks(flows::AT_ONCE) {
            let mut frame = BytesMut::from(&[frame::FLOWS][..]);
            flows::encode(flows, now_ms, &mut frame);
            self.effects.push_back(Effect::Send(frame.freeze()));
        }
    }

    /// Tells the other of flows that are no more.
    pub fn send_flows_gone(&mut self, keys: &[FlowKey]) {
        if self.link.as_ref().is_none_or(|link| link.feed.is_none()) {
            return;
        }
        for keys in keys.chunks(flows::AT_ONCE) {
            let mut frame = BytesMut::from(&[frame::FLOWS_GONE][..]);
            flows::encode_keys(keys, &mut frame);
            self.effects.push_back(Effect::Send(frame.freeze()));
        }
    }

    /// Tells the standby of all flows: what [`Effect::ReadFlows`] asked for. If it leads by
    /// now, or this host does not, nothing is sent: to a leader these would be old ones.
    pub fn send_all_flows(&mut self, now: Instant, flows: &[(FlowKey, Flow)], now_ms: u32) {
        let link = self.link.as_mut();
        if let Some(feed) = link.and_then(|link| link.feed.as_mut()) {
            feed.whole = true;
            self.send_flows(flows, now_ms);
            self.mark(now);
        }
    }

    /// Sends everything again: flows were recorded that nobody was told of.
    pub fn begin_again(&mut self, now: Instant) {
        if let Some(link) = &mut self.link
            && link.feed.take().is_some()
        {
            self.feed(now);
        }
    }

    /// Asks for [`Effect::Reached`], with this number, once all of the above is carried out there.
    /// Not before all flows were sent: the mark after them says that this was all.
    pub fn mark(&mut self, now: Instant) -> Option<u64> {
        let link = self.link.as_mut()?;
        let feed = link.feed.as_ref().filter(|feed| feed.whole)?;
        link.marks += 1;
        let number = link.marks;
        let digest = delta::digest(&feed.sent);
        link.unreached.push_back((number, now, digest));
        if link.unreached.len() > UNREACHED {
            // The first one says for how long nothing was answered.
            link.unreached.remove(1);
        }
        self.say(&Message::Mark { number });
        Some(number)
    }

    /// Sends any other message.
    pub fn say(&mut self, message: &Message) {
        if self.link.is_none() {
            return;
        }
        let mut frame = vec![frame::MESSAGE];
        // Plain structs with text keys: this does not fail.
        if serde_json::to_writer(&mut frame, message).is_ok() {
            self.effects.push_back(Effect::Send(frame.into()));
        }
    }

    /// Takes what the other sent.
    ///
    /// # Errors
    ///
    /// If it makes no sense. The channel is to be closed then, with this reason.
    pub fn on_frame(&mut self, now: Instant, frame: &[u8], now_ms: u32) -> Result<(), String> {
        let Some((kind, payload)) = frame.split_first() else {
            return Err("an empty frame was sent".to_owned());
        };
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if link.unspoken.is_some() {
            return Ok(());
        }
        match *kind {
            frame::MESSAGE => match serde_json::from_slice(payload) {
                Ok(message) => self.on_message(now, message),
                // A newer release may say more than this one knows.
                Err(error) if link.peer.is_some() => self.on_unread(payload, &error),
                Err(error) => Err(unreadable(&error)),
            },
            _ if link.peer.is_none() => Err(NO_HELLO.to_owned()),
            frame::ANEW => {
                if !self.own.leads {
                    link.staged = Some(Tables::default());
                    self.effects.push_back(Effect::FlowsBegin);
                }
                Ok(())
            }
            frame::TABLES | frame::TABLES_END => {
                if link.parts.len() + payload.len() > delta::MAX {
                    return Err(delta::Fault::TooLong.to_string());
                }
                link.parts.extend_from_slice(payload);
                if *kind == frame::TABLES_END {
                    let parts = std::mem::take(&mut link.parts);
                    self.on_delta(&parts).map_err(|fault| fault.to_string())?;
                }
                Ok(())
            }
            frame::FLOWS => {
                let flows = flows::decode(payload, now_ms).map_err(|cut| cut.to_string())?;
                self.effects.push_back(Effect::Flows(flows));
                Ok(())
            }
            frame::FLOWS_GONE => {
                let keys = flows::decode_keys(payload).map_err(|cut| cut.to_string())?;
                if !self.own.leads {
                    self.effects.push_back(Effect::FlowsGone(keys));
                }
                Ok(())
            }
            // As above.
            _ => Ok(()),
        }
    }

    /// The leader's tables, if this host is to hold them. Without next hops.
    #[must_use]
    pub fn mirror(&self) -> Option<&Tables> {
        self.mirror.as_ref().map(|mirror| &mirror.tables)
    }

    /// How it went to make this host's tables those of [`Self::mirror`]. It may be tried again at
    /// any time.
    pub fn held(&mut self, result: Result<(), String>) {
        let Some(mirror) = &mut self.mirror else {
            return;
        };
        let lacks = result.as_ref().err().cloned();
        mirror.held = Some(result);
        if self.own.lacks != lacks {
            self.own.lacks = lacks;
            self.say_status();
            self.effects.push_back(Effect::Peer);
        }
        self.answer_mark();
    }

    /// Why this host's tables are not those of [`Self::mirror`], if they could not be.
    #[must_use]
    pub const fn lacks(&self) -> Option<&String> {
        self.own.lacks.as_ref()
    }

    /// Whether the other can be told of changes.
    #[must_use]
    pub fn is_spoken(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.peer.is_some() && link.unspoken.is_none())
    }

    /// What the other said of itself last, while it is connected.
    #[must_use]
    pub fn peer(&self) -> Option<(&Hello, &Status)> {
        let link = self.link.as_ref()?;
        Some((link.peer.as_ref()?, link.status.as_ref()?))
    }

    /// The configuration of this host.
    #[must_use]
    pub const fn version(&self) -> &Version {
        &self.own.version
    }

    /// Whether the other leads.
    #[must_use]
    pub fn peer_leads(&self) -> bool {
        self.peer().is_some_and(|(_, status)| status.leads)
    }

    /// Whether this host has all that the other has, or why not.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn is_synchronised(&self) -> Result<(), String> {
        let Some(link) = &self.link else {
            return Err("the pair's channel is down".to_owned());
        };
        if let Some(reason) = &link.unspoken {
            return Err(reason.clone());
        }
        let Some(status) = &link.status else {
            return Err("the other host has not told its state yet".to_owned());
        };
        if self.own.version != status.version {
            return Err(match &link.refused {
                Some(reason) => format!("the two have different configurations: {reason}"),
                None => "it has not the other's configuration yet".to_owned(),
            });
        }
        if status.leads && !self.own.leads {
            let whole = link.whole && link.staged.is_none();
            let mirror = self.mirror.as_ref().filter(|_| whole);
            return match mirror.and_then(|mirror| mirror.held.as_ref()) {
                None => Err("it has not the leader's tables yet".to_owned()),
                Some(Err(reason)) => Err(format!("it cannot hold the leader's tables: {reason}")),
                Some(Ok(())) => Ok(()),
            };
        }
        Ok(())
    }

    /// Whether the other does not say that it cannot hold this host's tables.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn is_held(&self) -> Result<(), String> {
        let lacks = self.peer().and_then(|(_, status)| status.lacks.as_ref());
        match lacks.filter(|_| self.own.leads) {
            Some(reason) => Err(format!("the other host cannot hold the tables: {reason}")),
            None => Ok(()),
        }
    }

    /// Whether the standby has all that this host, which leads, has sent.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn is_followed(&self) -> Result<(), String> {
        self.is_synchronised()?;
        let link = self.link.as_ref();
        let feed = link.and_then(|link| link.feed.as_ref());
        if feed.is_none_or(|feed| !feed.whole) || link.is_some_and(|it| !it.unreached.is_empty()) {
            return Err("the standby has not all of the tables yet".to_owned());
        }
        Ok(())
    }

    /// For how long the standby has not confirmed what was sent first of all it did not confirm.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Duration {
        let link = self.link.as_ref();
        let oldest = link.and_then(|link| link.unreached.front());
        oldest.map_or(Duration::ZERO, |(_, sent, _)| {
            now.saturating_duration_since(*sent)
        })
    }

    fn say_status(&mut self) {
        self.say(&Message::Status(self.own.clone()));
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), String> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if let Message::Hello(hello) = message {
            link.unspoken = hello.protocol().err();
            link.peer = Some(hello);
            self.effects.push_back(Effect::Peer);
            return Ok(());
        }
        if link.peer.is_none() {
            return Err(NO_HELLO.to_owned());
        }
        match message {
            Message::Hello(_) => {}
            Message::Status(status) => {
                link.whole &= status.leads;
                link.status = Some(status);
                self.compare();
                self.feed(now);
                self.effects.push_back(Effect::Peer);
            }
            Message::Config(snapshot) => self.on_config(snapshot),
            Message::Taken { version } => {
                link.refused = None;
                self.effects.push_back(Effect::Taken(version));
            }
            Message::NotTaken { version, reason } => {
                link.refused = Some(reason.clone());
                // It is offered again when the other next says how things are.
                link.offered = None;
                self.effects.push_back(Effect::NotTaken(version, reason));
            }
            Message::Dropped { what } => self.effects.push_back(Effect::Dropped(what)),
            Message::Propose(proposal) => self.effects.push_back(Effect::Proposed(proposal)),
            Message::Answer { id, result } => self.effects.push_back(Effect::Answered(id, result)),
            Message::Mark { number } => self.on_mark(number),
            Message::Reached { number, digest } => self.on_reached(now, number, &digest),
            Message::TakeOver => self.effects.push_back(Effect::TakeOver),
            Message::Switch { id } => self.effects.push_back(Effect::SwitchAsked(id)),
            Message::Switched { id, result } => {
                self.effects.push_back(Effect::Switched(id, result));
            }
        }
        Ok(())
    }

    /// Takes a message that holds something that this release does not know. What is asked in it is
    /// refused, and nothing else: the session goes on.
    fn on_unread(&mut self, message: &[u8], error: &serde_json::Error) -> Result<(), String> {
        let ours = env!("CARGO_PKG_VERSION");
        let reason = || {
            format!(
                "lbd {ours} does not know all that is in it: {error}: upgrade the host that runs \
                 {ours}, or do without"
            )
        };
        let theirs = || {
            Refusal::Failed(format!(
                "the other host's answer means nothing to lbd {ours}: {error}: look whether it was \
                 done"
            ))
        };
        match serde_json::from_slice(message).map_err(|_| unreadable(error))? {
            Outline::Config { version } => {
                let reason = reason();
                let link = self.link.as_ref();
                if link.and_then(|link| link.refused.as_ref()) != Some(&reason) {
                    tracing::error!(reason, "cannot take over the other host's configuration");
                }
                self.not_taken(version, reason);
                self.effects.push_back(Effect::Peer);
            }
            Outline::Propose { id } => {
                let result = Err(Refusal::Invalid(reason()));
                self.say(&Message::Answer { id, result });
            }
            Outline::Answer { id } => {
                let answered = Effect::Answered(id, Err(theirs()));
                self.effects.push_back(answered);
            }
            Outline::Switched { id } => {
                let switched = Effect::Switched(id, Err(theirs()));
                self.effects.push_back(switched);
            }
            Outline::Other if is_unknown(message) => {
                tracing::debug!(%error, "a message that this release does not know");
            }
            Outline::Other => return Err(unreadable(error)),
        }
        Ok(())
    }

    /// Sends our configuration where ours is the newer one.
    fn compare(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        let Some(status) = &link.status else {
            return;
        };
        match self.own.version.relation(&status.version) {
            Relation::Same => link.refused = None,
            Relation::Ahead | Relation::Diverged { stays: true }
                if link.offered.as_ref() != Some(&self.own.version) =>
            {
                self.offer(self.snapshot.clone());
            }
            // It was sent, or theirs comes as soon as they know ours.
            Relation::Ahead | Relation::Behind | Relation::Diverged { .. } => {}
        }
    }

    fn on_config(&mut self, snapshot: Snapshot) {
        let relation = self.own.version.relation(&snapshot.version);
        match relation {
            Relation::Same => self.say(&Message::Taken {
                version: snapshot.version,
            }),
            Relation::Behind | Relation::Diverged { stays: false } => {
                match snapshot.version.can_follow(&self.own.version) {
                    Ok(()) => self.effects.push_back(Effect::Adopt {
                        snapshot,
                        diverged: relation != Relation::Behind,
                    }),
                    Err(reason) => self.not_taken(snapshot.version, reason),
                }
            }
            // They will be sent ours.
            Relation::Ahead | Relation::Diverged { stays: true } => self.say_status(),
        }
    }

    /// Tells the standby what it does not have.
    fn feed(&mut self, now: Instant) {
        let Some(link) = &mut self.link else {
            return;
        };
        let follows = link.status.as_ref().is_some_and(|status| !status.leads);
        if !self.own.leads || !follows || link.unspoken.is_some() {
            link.feed = None;
            link.unreached.clear();
            return;
        }
        if let Some(feed) = &mut link.feed {
            let delta = Delta::between(&feed.sent, &self.tables);
            if delta.is_empty() {
                return;
            }
            feed.sent = self.tables.clone();
            self.send_delta(&delta);
            self.mark(now);
        } else {
            link.unreached.clear();
            link.feed = Some(Feed {
                sent: self.tables.clone(),
                whole: false,
            });
            let anew = Bytes::from_static(&[frame::ANEW]);
            self.effects.push_back(Effect::Send(anew));
            let all = Delta::between(&Tables::default(), &self.tables);
            self.send_delta(&all);
            self.effects.push_back(Effect::ReadFlows);
        }
    }

    fn send_delta(&mut self, delta: &Delta) {
        let mut bytes = Vec::new();
        delta.encode(&mut bytes);
        let mut parts = bytes.chunks(PART).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let last = parts.peek().is_none();
            let mut frame = BytesMut::with_capacity(1 + part.len());
            frame.put_u8(if last {
                frame::TABLES_END
            } else {
                frame::TABLES
            });
            frame.put_slice(part);
            self.effects.push_back(Effect::Send(frame.freeze()));
            if last {
                return;
            }
        }
    }

    fn on_delta(&mut self, bytes: &[u8]) -> Result<(), delta::Fault> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let delta = Delta::decode(bytes)?;
        if self.own.leads {
            return Ok(());
        }
        if let Some(staged) = &mut link.staged {
            delta.apply(staged)
        } else if let Some(mirror) = &mut self.mirror {
            delta.apply(&mut mirror.tables)?;
            mirror.digest = None;
            mirror.held = None;
            self.effects.push_back(Effect::Mirror);
            Ok(())
        } else {
            Ok(())
        }
    }

    fn on_mark(&mut self, number: u64) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.unanswered = Some(number);
        if let Some(staged) = link.staged.take() {
            link.whole = true;
            self.mirror = Some(Mirror {
                tables: staged,
                digest: None,
                held: None,
            });
            self.effects.push_back(Effect::Mirror);
            self.effects.push_back(Effect::FlowsEnd);
        }
        self.answer_mark();
    }

    /// Answers the last mark if what was sent before it is held here.
    fn answer_mark(&mut self) {
        let Some(mirror) = self.mirror.as_mut().filter(|it| it.held == Some(Ok(()))) else {
            return;
        };
        let link = self.link.as_mut().filter(|link| link.staged.is_none());
        if let Some(number) = link.and_then(|link| link.unanswered.take()) {
            let digest = mirror
                .digest
                .get_or_insert_with(|| delta::digest(&mirror.tables));
            let digest = digest.clone();
            self.say(&Message::Reached { number, digest });
        }
    }

    fn on_reached(&mut self, now: Instant, number: u64, digest: &str) {
        let Some(link) = &mut self.link else {
            return;
        };
        let mut expected = None;
        while link
            .unreached
            .front()
            .is_some_and(|(mark, ..)| *mark <= number)
        {
            expected = link.unreached.pop_front();
        }
        match expected {
            Some((mark, _, sent)) if mark == number && sent == digest => {
                self.effects.push_back(Effect::Reached(number));
            }
            // One of an earlier feed.
            None => {}
            Some(_) => self.begin_again(now),
        }
        self.effects.push_back(Effect::Peer);
    }
}

/// What was sent makes no sense.
fn unreadable(error: &serde_json::Error) -> String {
    format!("a message cannot be read: {error}")
}

/// Of a message that holds something unknown, what is needed to answer it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Outline {
    Config {
        version: Version,
    },
    Propose {
        id: u64,
    },
    Answer {
        id: u64,
    },
    Switched {
        id: u64,
    },
    #[serde(other)]
    Other,
}

/// The kinds of messages.
pub(super) const KNOWN: [&str; 13] = [
    "hello",
    "status",
    "config",
    "taken",
    "not_taken",
    "dropped",
    "propose",
    "answer",
    "mark",
    "reached",
    "take_over",
    "switch",
    "switched",
];

/// Whether a message is of a kind that this release does not know.
fn is_unknown(message: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    serde_json::from_slice(message).is_ok_and(|Kind { kind }| !KNOWN.contains(&kind.as_str()))
}
