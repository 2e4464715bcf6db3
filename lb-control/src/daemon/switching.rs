//! Planned switchover: leadership is handed to the other host without a gap.
//!
//! The standby first has all that this host has, and says so. Then this host lowers its priority
//! below the standby's and tells it to take over. The standby announces the addresses, and this host
//! yields by the ordinary rule when it hears its advertisement: for a moment both answer, and never
//! nobody. What still arrives here is forwarded all the same, by the same tables.

use super::Daemon;
use super::leading::Leading;
use crate::config::{Ha, Refusal};
use crate::dataplane::Dataplane;
use crate::proto::vrrp::Priority;
use crate::sync::{Message, Session};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a switchover may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who wants it.
pub(super) enum Reply {
    /// Somebody at the API.
    Api(oneshot::Sender<Result<(), Refusal>>),
    /// Somebody at the other host.
    Peer(u64),
    /// This daemon, for this reason.
    Own(String),
}

/// A switchover that goes on.
struct Switch {
    reply: Reply,
    since: Instant,
    stage: Stage,
}

enum Stage {
    /// The standby is not ready yet, for this reason.
    Awaited(String),
    /// The standby has not said yet that it has everything.
    Marked(u64),
    /// It was told to take over.
    Told,
}

/// The switchover that goes on, and those that the leader was asked for.
#[derive(Default)]
pub(super) struct Switching {
    current: Option<Switch>,
    asked: BTreeMap<u64, (Reply, Instant)>,
    /// This host handed over, and stands behind the other since.
    pub(super) stands_behind: Option<Priority>,
    /// When it did.
    pub(super) handed_over: Option<Instant>,
}

impl Switching {
    /// Why this host makes way at this moment, if it does.
    pub(super) fn handing_over(&self) -> Option<String> {
        let told = |it: &&Switch| matches!(it.stage, Stage::Told);
        let switch = self.current.as_ref().filter(told)?;
        Some(match &switch.reply {
            Reply::Api(_) | Reply::Peer(_) => "planned switchover".to_owned(),
            Reply::Own(why) => format!("planned switchover, as {why}"),
        })
    }

    /// Whether none goes on.
    pub(super) const fn is_idle(&self) -> bool {
        self.current.is_none()
    }
}

impl<D: Dataplane> Daemon<D> {
    /// Has a host lead: the one that is named, or the one that does not. Nothing is done where it
    /// leads already.
    pub(super) fn switch_to(&mut self, to: Option<&str>, reply: Reply) {
        let wanted = to.map(|to| self.is_this_host(to)).transpose();
        match wanted {
            Err(refusal) => self.answer_switch(reply, Err(refusal)),
            Ok(Some(here)) if here == self.leads() => {
                let result = match (here, self.peer_leads()) {
                    (true, true) => Err("both hosts lead at the moment: try again"),
                    (false, false) => Err("neither leads: there is nothing to hand over"),
                    _ => Ok(()),
                };
                let result = result.map_err(|reason| Refusal::Failed(reason.to_owned()));
                self.answer_switch(reply, result);
            }
            Ok(_) => self.switch(reply),
        }
    }

    /// Whether this name is this host's, and not the other's.
    fn is_this_host(&self, name: &str) -> Result<bool, Refusal> {
        let pairing = self.pairing.as_ref();
        let peer = pairing.and_then(|it| it.session.peer());
        let there = peer.map(|(hello, _)| hello.host.clone());
        let leading = self.leading.as_ref();
        let address = leading.and_then(Leading::address).map(|it| it.to_string());
        let ha = self.base.ha.as_ref();
        let peers: Vec<String> = ha
            .map(Ha::places)
            .unwrap_or_default()
            .iter()
            .chain(ha.and_then(|ha| ha.peer).map(IpAddr::from).iter())
            .map(ToString::to_string)
            .collect();
        if name == "self" || name == self.host_id || address.as_deref() == Some(name) {
            return Ok(true);
        }
        if name == "peer" || there.as_deref() == Some(name) || peers.iter().any(|it| it == name) {
            return Ok(false);
        }
        let own = [Some("self".to_owned()), Some(self.host_id.clone()), address];
        let other = [Some("peer".to_owned()), there, peers.into_iter().next()];
        let names = |all: [Option<String>; 3]| all.into_iter().flatten().collect::<Vec<_>>();
        Err(Refusal::Invalid(format!(
            "{name:?} is neither of the two hosts: this one is {}, and the other {}",
            names(own).join(" or "),
            names(other).join(" or ")
        )))
    }

    /// Hands leadership to the other host, or has it handed over by it.
    pub(super) fn switch(&mut self, reply: Reply) {
        if let Err(reason) = self.try_switch(&reply) {
            return self.answer_switch(reply, Err(Refusal::Failed(reason)));
        }
        if self.leads() {
            self.switching.current = Some(Switch {
                reply,
                since: Instant::now(),
                stage: Stage::Awaited(String::new()),
            });
            self.go_on_switching();
        } else if let Some(pairing) = &mut self.pairing {
            let id = pairing.number();
            pairing.session.say(&Message::Switch { id });
            self.switching.asked.insert(id, (reply, Instant::now()));
        }
        self.carry_out();
    }

    /// Whether a switchover can be begun at all, or why not.
    fn try_switch(&self, reply: &Reply) -> Result<(), String> {
        let Some(pairing) = self.pairing.as_ref().filter(|it| it.is_paired()) else {
            return Err("this host is not paired with another: `lbctl pair init`".to_owned());
        };
        if pairing.connected.is_none() {
            return Err(format!("the pair's channel is down: {}", pairing.reason));
        }
        match (self.leads(), reply, pairing.session.peer_leads()) {
            (true, ..) if self.switching.current.is_some() => {
                Err("a switchover goes on already".to_owned())
            }
            (true, ..) | (false, Reply::Api(_), true) => Ok(()),
            _ => Err("neither leads: there is nothing to hand over".to_owned()),
        }
    }

    /// Begins as soon as the standby is ready.
    pub(super) fn go_on_switching(&mut self) {
        let (Some(switch), Some(pairing)) = (&mut self.switching.current, &mut self.pairing) else {
            return;
        };
        let Stage::Awaited(reason) = &mut switch.stage else {
            return;
        };
        let mark = is_ready(&pairing.session).and_then(|()| {
            let mark = pairing.session.mark(Instant::now());
            mark.ok_or_else(|| "it has not all flows yet".to_owned())
        });
        match mark {
            Ok(mark) => switch.stage = Stage::Marked(mark),
            Err(why) => *reason = why,
        }
    }

    /// The standby has all that was sent before this mark.
    pub(super) fn on_reached(&mut self, mark: u64) {
        let (Some(switch), Some(pairing)) = (&mut self.switching.current, &self.pairing) else {
            return;
        };
        if !matches!(switch.stage, Stage::Marked(awaited) if awaited == mark) {
            return;
        }
        switch.stage = Stage::Told;
        let theirs = pairing
            .session
            .peer()
            .map_or(1, |(_, status)| status.priority);
        self.switching.stands_behind = Priority::new(theirs.saturating_sub(1).max(1));
        self.tell_router();
        if let Some(pairing) = &mut self.pairing {
            pairing.session.say(&Message::TakeOver);
        }
    }

    /// The leader makes way.
    pub(super) fn take_over(&mut self) {
        let ready = self.pairing.as_ref().map(|it| it.session.is_synchronised());
        match (ready, &self.leading) {
            (Some(Ok(())), Some(leading)) if !leading.leads() => leading.take_over(),
            (Some(Err(reason)), _) => {
                tracing::warn!(reason, "was told to take over, and cannot");
            }
            _ => {}
        }
    }

    /// This host leads, or no longer does.
    pub(super) fn on_role(&mut self) {
        if self.leads() {
            self.switching.stands_behind = None;
            self.switching.handed_over = None;
        } else if self
            .switching
            .current
            .as_ref()
            .is_some_and(|it| matches!(it.stage, Stage::Told))
        {
            self.switching.handed_over = Some(Instant::now());
            self.end_switch(Ok(()));
        }
    }

    /// Whoever stands behind the other need not lower its priority for it once the other ranks higher
    /// anyway.
    pub(super) fn end_standing_behind(&mut self) {
        let Some(own) = self.leading.as_ref().map(Leading::own_priority) else {
            return;
        };
        let pairing = self.pairing.as_ref();
        let outranks = pairing
            .and_then(|it| it.session.peer())
            .is_some_and(|(_, status)| status.leads && status.priority > own.get());
        if outranks && self.switching.is_idle() && self.switching.stands_behind.take().is_some() {
            self.tell_router();
        }
    }

    /// A switchover came to its end.
    pub(super) fn end_switch(&mut self, result: Result<(), String>) {
        if let Some(switch) = self.switching.current.take() {
            if result.is_err() {
                self.switching.stands_behind = None;
                self.tell_router();
            }
            self.answer_switch(switch.reply, result.clone().map_err(Refusal::Failed));
        }
        if let Err(reason) = result {
            for (reply, _) in std::mem::take(&mut self.switching.asked).into_values() {
                self.answer_switch(reply, Err(Refusal::Failed(reason.clone())));
            }
        }
    }

    /// What came of a switchover that the other host was asked for.
    pub(super) fn on_switched(&mut self, id: u64, result: Result<(), Refusal>) {
        if let Some((reply, _)) = self.switching.asked.remove(&id) {
            self.answer_switch(reply, result);
        }
    }

    fn answer_switch(&mut self, reply: Reply, result: Result<(), Refusal>) {
        match reply {
            // Whoever asked may be gone: then the answer goes nowhere.
            Reply::Api(reply) => drop(reply.send(result)),
            Reply::Peer(id) => {
                if let Some(pairing) = &mut self.pairing {
                    pairing.session.say(&Message::Switched { id, result });
                }
            }
            Reply::Own(why) => match result {
                Ok(()) => tracing::info!(why, "handed over"),
                Err(refusal) => tracing::warn!(why, %refusal, "could not hand over"),
            },
        }
    }

    /// Gives up on what takes too long.
    pub(super) fn on_switch_tick(&mut self) {
        let late = |since: &Instant| since.elapsed() > PATIENCE;
        let stuck = self
            .switching
            .current
            .as_ref()
            .is_some_and(|it| late(&it.since));
        let unanswered = self.switching.asked.values().any(|(_, since)| late(since));
        if stuck || unanswered {
            let current = self.switching.current.as_ref();
            let why = match current.map(|it| &it.stage) {
                Some(Stage::Awaited(reason)) => format!(": {reason}"),
                _ => String::new(),
            };
            self.end_switch(Err(format!(
                "the other host did not take over within {PATIENCE:?}{why}"
            )));
        }
        self.carry_out();
    }

    /// Goes back to the configured priority.
    pub(super) fn stop_standing_behind(&mut self) -> Result<(), Refusal> {
        if self.switching.stands_behind.take().is_none() {
            return Err(Refusal::Failed(
                "there is nothing to release: this host did not hand over".to_owned(),
            ));
        }
        self.tell_router();
        Ok(())
    }
}

/// Whether the other host could lead from now on, or why not.
pub(super) fn is_ready(session: &Session) -> Result<(), String> {
    session.is_synchronised()?;
    session.is_held()?;
    let Some((_, status)) = session.peer() else {
        return Err("it has not told its state yet".to_owned());
    };
    match (status.leads, status.ready, status.priority) {
        (true, ..) => Err("both lead at the moment".to_owned()),
        (false, false, _) => Err("it is not ready: ask it for its status".to_owned()),
        (false, true, 0 | 1) => {
            Err("it has the lowest priority that there is, 1: raise it".to_owned())
        }
        _ => Ok(()),
    }
}
