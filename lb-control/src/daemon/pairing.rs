//! The other host of a pair: it is told of what happens here, and what it tells is done. What is said
//! is decided by [`crate::sync`].

use super::agreeing::{PATIENCE, Pending};
use super::leading::Role;
use super::{Daemon, chain, sweeping};
use crate::config::{BackendRef, Config, Name, Refusal, Service};
use crate::dataplane::{Dataplane, Tables};
use crate::proto::vrrp::Priority;
use crate::shell::channel::{Channel, Event};
use crate::sync::leave::SEARCH;
use crate::sync::{Effect, Leave, Message, Session, Situation, Snapshot, Status, Version};
use crate::types;
use bytes::Bytes;
use lb_ebpf::abi::{Flow, FlowKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Flows that were seen so shortly before may be news to the other host.
const JUST_NOW_MS: u32 = 2_000;

/// For how long it is an alarm that somebody was turned away.
const REFUSAL_SHOWN: Duration = Duration::from_secs(60);

/// Sends frames to the other host.
pub trait Wire: Send {
    /// Sends a frame, if there is a connection.
    fn send(&self, frame: Bytes) -> bool;
    /// Ends the connection. Another is made.
    fn disconnect(&self, reason: &str);
    /// Whether it is known who the other host is.
    fn is_paired(&self) -> bool;
}

impl Wire for Channel {
    fn send(&self, frame: Bytes) -> bool {
        Self::send(self, frame)
    }

    fn disconnect(&self, reason: &str) {
        Self::disconnect(self, reason);
    }

    fn is_paired(&self) -> bool {
        Self::is_paired(self)
    }
}

/// What this host knows of the other one.
pub(super) struct Pairing {
    pub(super) session: Session,
    wire: Box<dyn Wire>,
    pub(super) pending: Pending,
    next_id: u64,
    /// Flows that were here before the leader's came.
    stale: Option<BTreeSet<FlowKey>>,
    pub(super) connected: Option<Instant>,
    /// Why the channel is down.
    pub(super) reason: String,
    pub(super) leave: Leave,
    /// What was changed here while the other host was away, and is dropped.
    pub(super) dropped: Vec<String>,
    /// What the other host dropped in the same way, for a configuration of this one.
    pub(super) dropped_there: Vec<String>,
    /// Both hosts' files have the same priority.
    tie: Option<String>,
    /// What both had when they had the same last.
    pub(super) common: Option<Config>,
    /// This host joined the other one, whose configuration it takes over.
    pub(super) joined: bool,
    /// Where the other host should be.
    places: Vec<IpAddr>,
    /// Where it is, if that is elsewhere.
    misplaced: Option<IpAddr>,
    /// What is to be mended on this host.
    fault: Option<String>,
    /// Who was turned away last, or turned us away.
    refused: Option<(String, Instant)>,
}

impl Pairing {
    /// With a host at one of `places`.
    pub(super) fn new(
        host: String,
        wire: Box<dyn Wire>,
        places: Vec<IpAddr>,
        snapshot: Snapshot,
    ) -> Self {
        Self {
            session: Session::new(host, snapshot),
            wire,
            pending: Pending::default(),
            next_id: 0,
            stale: None,
            connected: None,
            reason: "it was not there yet".to_owned(),
            leave: Leave::new(Instant::now()),
            dropped: Vec::new(),
            dropped_there: Vec::new(),
            tie: None,
            common: None,
            joined: false,
            places,
            misplaced: None,
            fault: None,
            refused: None,
        }
    }

    pub(super) fn is_paired(&self) -> bool {
        self.wire.is_paired()
    }

    /// Whether there was a channel already `shortly` before now, if there is to be one.
    pub(super) fn was_connected(&self, shortly: Duration) -> bool {
        !self.is_paired() || self.connected.is_some_and(|at| at.elapsed() >= shortly)
    }

    /// Tells the other host what was dropped here. It may not have heard.
    pub(super) fn tell_dropped(&mut self) {
        /// More of them nobody reads.
        const MANY: usize = 50;
        if self.dropped.is_empty() || self.joined {
            return;
        }
        let mut what: Vec<String> = self.dropped.iter().take(MANY).cloned().collect();
        let more = self.dropped.len() - what.len();
        if more > 0 {
            what.push(format!("and {more} more"));
        }
        self.session.say(&Message::Dropped { what });
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Whether this host may lead as far as the other one is concerned, or why not.
    pub(super) fn may_lead(&self, now: Instant, situation: Situation) -> Result<(), String> {
        if !self.is_paired() {
            return Ok(());
        }
        let synchronised = self.session.is_synchronised();
        self.leave.to_lead(now, synchronised, situation)
    }

    /// What one of the two has not of the other, if there is anything.
    fn lacks(&self) -> Option<String> {
        let reason = self.session.is_synchronised().err();
        reason.or_else(|| self.session.is_held().err())
    }

    pub(super) fn status(&self) -> types::HaPair {
        let now = Instant::now();
        let lacks = self.lacks();
        types::HaPair {
            paired: self.is_paired(),
            connected: self.connected.is_some(),
            since_s: self.connected.map(|at| at.elapsed().as_secs()),
            down: self.connected.is_none().then(|| self.reason.clone()),
            synchronised: lacks.is_none(),
            lacks,
            lag_ms: self.session.lag(now).as_millis() as u64,
            version: version(self.session.version()),
            host: self
                .session
                .peer()
                .map(|(hello, status)| types::HaPairHost {
                    name: hello.host.clone(),
                    release: hello.release.clone(),
                    leads: status.leads,
                    ready: status.ready,
                    priority: status.priority,
                    version: version(&status.version),
                }),
        }
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms: Vec<String> = self.fault.iter().cloned().collect();
        let refused = self.refused.iter();
        let refused = refused.filter(|(_, at)| at.elapsed() < REFUSAL_SHOWN);
        alarms.extend(refused.map(|(reason, _)| reason.clone()));
        if !self.is_paired() {
            alarms.push(
                "not paired: the two hosts do not share changes and connections: `lbctl pair init` \
                 on one of them"
                    .to_owned(),
            );
        } else if self.connected.is_none() && self.leave.has_searched(Instant::now()) {
            alarms.push(format!("the pair's channel is down: {}", self.reason));
        } else if let Some(reason) = self.lacks()
            && self.connected.is_some_and(|at| at.elapsed() > SEARCH)
        {
            alarms.push(format!("not synchronised: {reason}"));
        }
        if let (Some(remote), Some(_)) = (self.misplaced, self.connected) {
            alarms.push(misplaced(remote, &self.places));
        }
        if !self.dropped.is_empty() {
            alarms.push(format!(
                "this host had another configuration than the other one, whose stays; dropped here: \
                 {}",
                self.dropped.join("; ")
            ));
        }
        if !self.dropped_there.is_empty() {
            alarms.push(dropped_there(&self.dropped_there));
        }
        alarms.extend(self.tie.clone());
        alarms
    }
}

fn dropped_there(what: &[String]) -> String {
    format!(
        "the other host was changed while the two were apart, and has dropped that for this host's \
         configuration: {}; make it again where it is still wanted (the next change ends this alarm)",
        what.join("; ")
    )
}

/// That the other host is not where it should be.
fn misplaced(remote: IpAddr, places: &[IpAddr]) -> String {
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    let places = places.join(" and ");
    format!(
        "the other host connects from {remote}, and [ha] here says that it is at {places}: name \
         {remote} in this host's configuration file, and start lbd again; heartbeats and \
         advertisements from there are not heeded"
    )
}

fn version(version: &Version) -> types::HaVersion {
    types::HaVersion {
        term: version.term,
        epoch: version.epoch,
        hash: version.hash.clone(),
    }
}

impl<D: Dataplane> Daemon<D> {
    /// Takes what the channel says.
    pub(super) fn on_channel(&mut self, event: Event) {
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        match event {
            Event::Up { local, remote } => {
                tracing::info!(%local, %remote, "the pair's channel is up");
                let elsewhere = !pairing.places.contains(&remote);
                pairing.misplaced = elsewhere.then_some(remote);
                if elsewhere {
                    tracing::warn!("{}", misplaced(remote, &pairing.places));
                }
                self.on_connected();
            }
            Event::Down { reason } => self.on_disconnected(reason),
            Event::Frame(frame) => self.on_frame(&frame),
            Event::Refused { from, reason } => {
                tracing::warn!(%from, reason, "no channel");
                let text = format!("the pair's channel: {from}: {reason}");
                pairing.refused = Some((text, Instant::now()));
            }
            Event::Fault(fault) => {
                if let Some(fault) = fault.as_ref().filter(|_| fault != pairing.fault) {
                    tracing::error!("{fault}");
                }
                pairing.fault = fault;
            }
            Event::Paired { secret } => self.on_paired(secret.map(|secret| secret.0)),
        }
    }

    /// There is another host, or a new one. One that joined has its secret from the other, and its
    /// configuration, too.
    fn on_paired(&mut self, secret: Option<[u64; 2]>) {
        tracing::info!(joined = secret.is_some(), "paired");
        if let Some(secret) = secret {
            self.world.secret = secret;
            self.version = Version {
                author: self.host_id.clone(),
                hash: self.version.hash.clone(),
                ..Version::default()
            };
            self.keep_running();
            self.restart_heartbeats(secret);
            if let Some(pairing) = &mut self.pairing {
                pairing.joined = true;
                pairing.common = None;
            }
        }
        let snapshot = Snapshot::of(&self.running, self.version.clone());
        if let Some(pairing) = &mut self.pairing {
            pairing.leave = Leave::new(Instant::now());
            pairing.session = Session::new(self.host_id.clone(), snapshot);
        }
        self.publish();
        self.tell_peer(true);
        self.tell_router();
    }

    /// The channel is there.
    fn on_connected(&mut self) {
        if let Some(pairing) = &mut self.pairing {
            pairing.connected = Some(Instant::now());
            pairing.session.connected();
            pairing.tell_dropped();
        }
        self.carry_out();
        self.tell_peer(true);
    }

    /// Heartbeats know sooner than the channel that the other host is lost.
    pub(super) fn on_peer_lost(&mut self, reason: &str) {
        let reason = format!("the other host is lost: {reason}");
        if let Some(pairing) = self.pairing.as_ref().filter(|it| it.connected.is_some()) {
            pairing.wire.disconnect(&reason);
            self.on_disconnected(reason);
        }
    }

    /// The channel is gone.
    fn on_disconnected(&mut self, reason: String) {
        let leads = self.leads();
        let Some(pairing) = self.pairing.as_mut().filter(|it| it.connected.is_some()) else {
            return;
        };
        tracing::warn!(reason, "the pair's channel is down");
        if !leads && pairing.session.is_synchronised().is_ok() {
            pairing.leave.broke_synchronised(Instant::now());
        }
        pairing.connected = None;
        pairing.reason.clone_from(&reason);
        pairing.stale = None;
        pairing.session.disconnected();
        self.settle_without_answer();
        self.end_switch(Err("the pair's channel broke".to_owned()));
        self.carry_out();
        self.tell_router();
    }

    /// Takes what the other host sent.
    fn on_frame(&mut self, frame: &[u8]) {
        let now_ms = sweeping::now_ms().unwrap_or_default();
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        if let Err(reason) = pairing.session.on_frame(Instant::now(), frame, now_ms) {
            tracing::error!(reason, "the other host makes no sense");
            pairing.wire.disconnect(&reason);
            return self.on_disconnected(reason);
        }
        self.carry_out();
    }

    /// Flows that the program has just recorded: the other host is told.
    pub(super) fn on_new_flows(&mut self, flows: &[(FlowKey, Flow)]) {
        if let (Some(pairing), Ok(now_ms)) = (&mut self.pairing, sweeping::now_ms()) {
            pairing.session.send_flows(flows, now_ms);
        }
        self.carry_out();
    }

    /// Tells the other host how things are here; if nothing changed only if `anyway`.
    pub(super) fn tell_peer(&mut self, anyway: bool) {
        let up = self.count_up();
        let leads = self.leads();
        let (ready, priority) = self.readiness();
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        let status = Status {
            leads,
            ready,
            priority,
            configured: self.filed_priority.map_or(0, Priority::get),
            up,
            version: Version::default(),
            lacks: None,
        };
        pairing.session.set_status(Instant::now(), status, anyway);
        self.carry_out();
    }

    /// Sees whether the priorities of the two files say who is to lead.
    fn look_for_tie(&mut self) {
        let own = self.filed_priority.map(Priority::get);
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        let peer = pairing.session.peer();
        let both = own.filter(|own| peer.is_some_and(|(_, status)| status.configured == *own));
        let tie = both.map(|priority| {
            format!(
                "both hosts' files have the priority {priority} in [ha]: of two that start together, \
                 the one with the higher address leads. Give each another `priority`, and start its \
                 lbd again"
            )
        });
        if let Some(tie) = tie.as_ref().filter(|_| tie != pairing.tie) {
            tracing::warn!("{tie}");
        }
        pairing.tie = tie;
    }

    /// Looks at what has waited for too long.
    pub(super) fn on_pair_tick(&mut self) {
        if std::mem::take(&mut self.flows_unread) {
            self.send_all_flows();
        }
        self.tell_peer(true);
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        if pairing.pending.is_late() {
            let reason = format!("the other host did not answer within {PATIENCE:?}");
            pairing.wire.disconnect(&reason);
            self.on_disconnected(reason);
        }
        self.look_for_tie();
        self.share_file();
        self.weigh_backends();
    }

    /// Does what the session says.
    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self
            .pairing
            .as_mut()
            .and_then(|it| it.session.next_effect())
        {
            self.do_effect(effect);
        }
    }

    fn do_effect(&mut self, effect: Effect) {
        let Some(pairing) = &mut self.pairing else {
            return;
        };
        match effect {
            // That it broke is heard as an event.
            Effect::Send(frame) => drop(pairing.wire.send(frame)),
            Effect::Adopt { snapshot, diverged } => self.adopt(snapshot, diverged),
            Effect::Taken(version) if pairing.pending.offers(&version) => self.settle_offer(Ok(())),
            Effect::NotTaken(version, reason) if pairing.pending.offers(&version) => {
                let refusal = format!("refused by the other host: {reason}");
                self.settle_offer(Err(Refusal::Invalid(refusal)));
            }
            // What was offered is offered no longer.
            Effect::Taken(_) | Effect::NotTaken(..) => {}
            Effect::ReadFlows => self.send_all_flows(),
            Effect::FlowsBegin => {
                let flows = self.dataplane.flows().unwrap_or_default();
                let now_ms = sweeping::now_ms().unwrap_or_default();
                // The leader may not have heard yet of those that were recorded here just now.
                let stale = flows
                    .into_iter()
                    .filter(|(_, flow)| flow.idle_ms(now_ms) > JUST_NOW_MS);
                pairing.stale = Some(stale.map(|(key, _)| key).collect());
            }
            Effect::Flows(flows) => {
                if let Some(stale) = &mut pairing.stale {
                    for (key, _) in &flows {
                        stale.remove(key);
                    }
                }
                let entered = self.dataplane.set_flows(&flows);
                self.note(entered.map_err(anyhow::Error::new));
            }
            Effect::FlowsGone(keys) => {
                let removed = self.dataplane.remove_flows(&keys);
                self.note(removed.map_err(anyhow::Error::new));
            }
            Effect::FlowsEnd => {
                let stale = pairing.stale.take().unwrap_or_default();
                let stale: Vec<FlowKey> = stale.into_iter().collect();
                let removed = self.dataplane.remove_flows(&stale);
                self.note(removed.map_err(anyhow::Error::new));
            }
            Effect::Mirror => {
                // Addresses may have come that need a next hop.
                self.watch();
                self.follow();
            }
            Effect::Reached(mark) => self.on_reached(mark),
            Effect::Dropped(what) => {
                tracing::warn!("{}", dropped_there(&what));
                pairing.dropped_there = what;
            }
            Effect::Proposed(proposal) => self.on_proposed(proposal),
            Effect::Answered(id, result) => self.on_answered(id, result),
            Effect::TakeOver => self.take_over(),
            Effect::SwitchAsked(id) => self.switch(super::switching::Reply::Peer(id)),
            Effect::Switched(id, result) => self.on_switched(id, result),
            Effect::Peer => {
                self.note_common();
                self.end_standing_behind();
                self.tell_router();
                self.tell_peer(false);
                self.go_on_switching();
                self.share_file();
            }
        }
    }

    fn note(&mut self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            let error = chain(&error);
            tracing::error!(error, "could not enter what the other host has recorded");
            self.failure = Some(error);
        }
    }

    fn send_all_flows(&mut self) {
        let flows = match self.dataplane.flows() {
            Ok(flows) => flows,
            Err(error) => {
                // The standby waits for them: they are read again with the next look.
                self.flows_unread = true;
                return self.note(Err(error.into()));
            }
        };
        if let (Some(pairing), Ok(now_ms)) = (&mut self.pairing, sweeping::now_ms()) {
            pairing
                .session
                .send_all_flows(Instant::now(), &flows, now_ms);
        }
    }

    /// Whether the tables are those of the leader, or why not: until they are, this host does not
    /// take over from it.
    pub(super) fn tell_held(&mut self, result: Result<(), String>) {
        if let Some(pairing) = &mut self.pairing {
            if let Err(reason) = &result
                && pairing.session.lacks() != Some(reason)
            {
                tracing::error!(reason, "cannot hold the leader's tables");
            }
            pairing.session.held(result);
        }
        self.carry_out();
    }

    /// The leader's tables, if this host holds them.
    pub(super) fn mirror(&self) -> Option<&Tables> {
        let pairing = self.pairing.as_ref()?;
        pairing.session.mirror().filter(|_| !self.leads())
    }

    pub(super) fn peer_leads(&self) -> bool {
        let pairing = self.pairing.as_ref();
        pairing.is_some_and(|pairing| pairing.session.peer_leads())
    }

    /// Backends that are up, per service.
    pub(super) fn count_up(&self) -> BTreeMap<Name, u32> {
        let services = self.running.services.iter();
        let count = |name, service: &Service| {
            let backends = service.backends.keys();
            let up = backends.filter(|backend| {
                self.world.up.get(&BackendRef::new(name, backend)) == Some(&true)
            });
            up.count() as u32
        };
        services
            .map(|(name, service)| (name.clone(), count(name, service)))
            .collect()
    }

    pub(super) fn leads(&self) -> bool {
        self.role() == Role::Leader
    }
}
