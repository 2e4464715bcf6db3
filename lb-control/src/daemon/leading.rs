//! Whether this host leads, and what the virtual router says of it.

use super::peer::{Consequence, Peer};
use super::tracking::{self, Lowering};
use super::{Daemon, PATIENCE};
use crate::api::types;
use crate::config::{Admin, BackendRef, Ha, Name};
use crate::dataplane::{Dataplane, boot_ns};
use crate::proto::vrrp::{LeadReason, Priority};
use crate::shell::heartbeat;
use crate::shell::tracking::Missing;
use crate::shell::vrrp::{self, Event, Report, Router, Wanted};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long a second leader is an alarm after it was last heard.
const SECOND_LEADER_SHOWN: Duration = Duration::from_secs(10);

/// For how long what still arrives is forwarded after lbd gave up leadership and ended, in
/// nanoseconds.
const FAREWELL_NS: u64 = 5_000_000_000;

/// What this host is to the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Not known yet.
    Starting,
    /// It has them.
    Leader,
    /// It is ready to take them.
    Standby,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leader => "leader",
            Self::Standby => "standby",
        }
    }
}

/// The virtual router of this host, and what it said last.
pub(super) struct Leading {
    ha: Ha,
    /// Nobody is there to be told anything once it was released.
    router: Option<Router>,
    /// Where heartbeats are sent.
    peer: Option<Peer>,
    told: Option<Wanted>,
    missing: Missing,
    lowerings: Vec<Lowering>,
    role: Role,
    since: Instant,
    reason: String,
    report: Report,
    second: Option<(IpAddr, Instant)>,
    withheld: Option<String>,
    faults: Vec<String>,
    /// Once there were tables fit for packets, it does not matter if a backend is down.
    ready: bool,
}

impl Leading {
    pub(super) fn new(ha: Ha, router: Router, peer: Option<Peer>) -> Self {
        Self {
            ha,
            router: Some(router),
            peer,
            told: None,
            missing: Missing::default(),
            lowerings: Vec::new(),
            role: Role::Starting,
            since: Instant::now(),
            reason: "lbd was started".to_owned(),
            report: Report::default(),
            second: None,
            withheld: None,
            faults: Vec::new(),
            ready: false,
        }
    }

    /// For tests, which say what a router would.
    #[cfg(test)]
    pub(super) fn without_router(ha: Ha) -> Self {
        Self {
            router: None,
            peer: None,
            told: None,
            missing: Missing::default(),
            lowerings: Vec::new(),
            role: Role::Starting,
            since: Instant::now(),
            reason: String::new(),
            report: Report::default(),
            second: None,
            withheld: None,
            faults: Vec::new(),
            ready: false,
            ha,
        }
    }

    fn becomes(&mut self, role: Role, reason: String) {
        self.role = role;
        self.reason = reason;
        self.since = Instant::now();
        self.withheld = None;
    }

    /// What is wrong that is tracked.
    fn becomes_less_fit(&mut self, lowerings: Vec<Lowering>) {
        if lowerings == self.lowerings {
            return;
        }
        self.lowerings = lowerings;
        let (configured, priority) = (self.ha.priority, self.priority());
        let why = self.lowered_by().join(", ");
        if why.is_empty() {
            tracing::info!(%priority, "nothing lowers the priority any more");
        } else {
            tracing::warn!(%configured, %priority, why, "the priority is lowered");
        }
    }

    /// What is left of the configured priority.
    fn priority(&self) -> Priority {
        tracking::effective(self.ha.priority, &self.lowerings)
    }

    fn lowered_by(&self) -> Vec<String> {
        let lowerings = self.lowerings.iter();
        lowerings.map(ToString::to_string).collect()
    }

    /// Takes what the router says; nothing, if it ended without being told to.
    fn on_event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::StandsBy) => {
                tracing::info!("stands by: another may lead");
                self.becomes(Role::Standby, "lbd was started".to_owned());
            }
            Some(Event::Leads(reason)) => {
                match reason {
                    LeadReason::ActiveDown | LeadReason::PeerLost => {
                        tracing::warn!(%reason, "leads")
                    }
                    _ => tracing::info!(%reason, "leads"),
                }
                self.becomes(Role::Leader, reason.to_string());
            }
            Some(Event::Yields(reason)) => {
                tracing::warn!(%reason, "yields");
                self.becomes(Role::Standby, reason.to_string());
            }
            Some(Event::SecondActive(peer)) => {
                let until = |(_, seen): (_, Instant)| seen + SECOND_LEADER_SHOWN;
                if self
                    .second
                    .is_none_or(|known| until(known) < Instant::now())
                {
                    tracing::warn!(%peer, "a second one led, and was told to yield");
                }
                self.second = Some((peer, Instant::now()));
            }
            Some(Event::Withheld(hold)) => {
                tracing::error!(hold, "nobody leads, and this host may not");
                self.withheld = Some(hold);
            }
            Some(Event::Faults(faults)) => {
                for fault in faults.iter().filter(|it| !self.faults.contains(it)) {
                    tracing::error!("{fault}");
                }
                for fault in self.faults.iter().filter(|it| !faults.contains(it)) {
                    tracing::info!("no longer: {fault}");
                }
                self.faults = faults;
            }
            Some(Event::Notice(notice)) => tracing::warn!("{notice}"),
            Some(Event::Report(report)) => {
                if report.leader.is_some() {
                    self.withheld = None;
                }
                if let Some(found) = report.disagreement
                    && self.report.disagreement != Some(found)
                {
                    tracing::warn!("{}", disagreement(found));
                }
                self.report = report;
            }
            None => {
                self.router = None;
                let fault = "the virtual router ended: start lbd again".to_owned();
                tracing::error!("{fault}");
                self.faults = vec![fault];
            }
        }
    }

    pub(super) const fn leads(&self) -> bool {
        matches!(self.role, Role::Leader)
    }

    /// The leader has made way.
    pub(super) fn take_over(&self) {
        if let Some(router) = &self.router {
            router.take_over();
        }
    }

    /// Whether heartbeats of the other host arrive.
    fn peer_lives(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::lives)
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms = self.faults.clone();
        if let Some((peer, seen)) = self.second
            && seen.elapsed() < SECOND_LEADER_SHOWN
        {
            alarms.push(format!(
                "{peer} led, too, and was told to yield: did the two not hear each other?"
            ));
        }
        if let Some(hold) = &self.withheld {
            alarms.push(format!("nobody leads, and this host may not: {hold}"));
        }
        alarms.extend(self.report.disagreement.map(disagreement));
        alarms.extend(self.peer.iter().flat_map(Peer::alarms));
        alarms
    }

    pub(super) fn status(&self, addresses: impl IntoIterator<Item = String>) -> types::Ha {
        let counters = &self.report.counters;
        let own = [
            ("adverts_sent", counters.sent),
            ("releases_sent", counters.releases_sent),
            ("adverts_heard", counters.heard),
            ("releases_heard", counters.releases_heard),
            ("second_leaders_heard", counters.second_actives_heard),
            ("other_addresses_heard", counters.other_addresses_heard),
            ("other_intervals_heard", counters.other_intervals_heard),
            ("led", counters.led),
            ("yielded", counters.yielded),
        ];
        let mut counted: BTreeMap<String, u64> = own
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        let refused = counters.refused.iter();
        counted.extend(refused.map(|(name, count)| (format!("refused_{name}"), *count)));
        types::Ha {
            role: self.role.name().to_owned(),
            since_s: self.since.elapsed().as_secs(),
            reason: self.reason.clone(),
            interface: Some(self.ha.interface.clone()),
            vrid: Some(self.ha.vrid.get()),
            priority: Some(self.ha.priority.get()),
            effective_priority: Some(self.priority().get()),
            lowered_by: self.lowered_by(),
            interval_ms: Some(u64::from(self.ha.interval.centiseconds()) * 10),
            address: self.report.address.map(|address| address.to_string()),
            addresses: addresses.into_iter().collect(),
            leader: self.report.leader.map(|leader| types::HaLeader {
                address: leader.address.to_string(),
                priority: leader.priority.get(),
                interval_ms: u64::from(leader.interval.centiseconds()) * 10,
            }),
            peer: self.peer.as_ref().map(Peer::status),
            pair: None,
            stands_behind: None,
            counters: counted,
        }
    }
}

fn disagreement(found: crate::proto::vrrp::Disagreement) -> String {
    let what = match (found.addresses, found.interval) {
        (true, true) => "other addresses and another interval",
        (true, false) => "other addresses",
        _ => "another interval",
    };
    format!(
        "{} was told {what} than this host: give both the same services and [ha]",
        found.peer
    )
}

impl<D: Dataplane> Daemon<D> {
    /// Tells the virtual router what to share, and whether it may lead.
    pub(super) fn tell_router(&mut self) {
        let ready = self.has_tables() || self.started.elapsed() > PATIENCE;
        let addresses = self.running.owned_addresses();
        let lowerings = self.lowerings();
        let Some(leading) = &mut self.leading else {
            return;
        };
        leading.becomes_less_fit(lowerings);
        leading.ready |= ready;
        let gives_up = leading.peer.as_ref().is_some_and(Peer::gives_up);
        let pairing = self.pairing.as_ref();
        let synchronised = match (pairing, &leading.withheld) {
            // Nobody leads: one that lags behind is better than none.
            (None, _) | (_, Some(_)) => Ok(()),
            (Some(_), None) if leading.leads() => Ok(()),
            (Some(pairing), None) => pairing.may_lead(leading.peer_lives()),
        };
        let wanted = Wanted {
            addresses,
            priority: match self.switching.stands_behind {
                Some(behind) => leading.priority().min(behind),
                None => leading.priority(),
            },
            eligible: if gives_up {
                Err(vrrp::LAPSED.to_owned())
            } else if let Some(unfit) = &self.host.unfit {
                Err(unfit.clone())
            } else if leading.ready {
                synchronised
            } else {
                Err("its backends are not checked yet".to_owned())
            },
            may_resume: !gives_up && leading.peer.as_ref().is_none_or(Peer::may_resume),
        };
        if leading.told.as_ref() != Some(&wanted) {
            if let Some(router) = &leading.router {
                router.follow(wanted.clone());
            }
            leading.told = Some(wanted);
        }
    }

    pub(super) fn on_missing(&mut self, missing: Missing) {
        if let Some(leading) = &mut self.leading {
            leading.missing = missing;
        }
        self.tell_router();
    }

    fn lowerings(&self) -> Vec<Lowering> {
        let Some(leading) = &self.leading else {
            return Vec::new();
        };
        let has_no_backend = |name: &Name| self.has_no_backend(name);
        tracking::lowerings(&leading.ha.track, &leading.missing, has_no_backend)
    }

    /// Whether none is up of those that should be. Nobody is blamed before being checked.
    fn has_no_backend(&self, name: &Name) -> bool {
        let Some(service) = self.running.services.get(name) else {
            return false;
        };
        let ready = service.backends.iter();
        let mut ready = ready.filter(|(_, it)| it.admin == Admin::Ready).peekable();
        ready.peek().is_some()
            && ready.all(|(backend, it)| {
                let up = self.world.up.get(&BackendRef::new(name, backend));
                up == Some(&false) || self.world.unreachable.contains_key(it.address.ip())
            })
    }

    pub(super) fn on_leading(&mut self, event: Option<Event>) {
        let before = self.role();
        if let Some(leading) = &mut self.leading {
            leading.on_event(event);
        }
        self.settle();
        if self.role() != before {
            if self.leads() {
                self.led_since_ms = super::sweeping::now_ms().ok();
            }
            self.on_role();
            // From now on the tables are this host's own, or no longer. They are at hand before the
            // other host hears of it.
            self.follow();
            self.tell_peer(true);
        }
    }

    pub(super) fn role(&self) -> Role {
        self.leading.as_ref().map_or(Role::Leader, |it| it.role)
    }

    /// Whether this host would lead if the other did not, and with which priority.
    pub(super) fn readiness(&self) -> (bool, u8) {
        let told = self.leading.as_ref().and_then(|it| it.told.as_ref());
        told.map_or((false, 0), |told| {
            (told.eligible.is_ok(), told.priority.get())
        })
    }

    pub(super) fn peer_lives(&self) -> bool {
        self.leading.as_ref().is_some_and(Leading::peer_lives)
    }

    /// Whether another host advertises that it leads.
    pub(super) fn hears_leader(&self) -> bool {
        let leading = self.leading.as_ref();
        leading.is_some_and(|it| it.report.leader.is_some())
    }

    pub(super) fn on_heartbeat(&mut self, event: heartbeat::Event) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let Some(peer) = &mut leading.peer else {
            return;
        };
        match (peer.on_event(event), &leading.router) {
            (Consequence::AnnounceAgain, Some(router)) => router.announce_again(),
            (Consequence::None, _) | (_, None) => {}
        }
        self.settle();
    }

    /// After a lapse, leadership is given up, and only then claimed again.
    fn settle(&mut self) {
        if let Some(leading) = &mut self.leading
            && leading.role != Role::Leader
            && let Some(peer) = &mut leading.peer
        {
            peer.gave_up();
        }
        self.tell_router();
        self.pulse();
    }

    /// Tells those who keep the lease that the daemon lives, and whether this host may act.
    pub(super) fn pulse(&self) {
        let Some(leading) = &self.leading else {
            return;
        };
        if let Some(peer) = &leading.peer {
            // One that is starting may have led, and then goes on.
            let may_act = match leading.role {
                Role::Leader | Role::Starting => true,
                Role::Standby => leading.ready,
            };
            peer.refresh(may_act && leading.router.is_some());
        }
    }

    /// Gives up leadership, so that the other one need not wait to take over.
    pub fn release(&mut self) {
        let leading = self.leading.as_mut();
        if let Some(router) = leading.and_then(|leading| leading.router.take()) {
            router.release();
        }
        // The addresses are gone, and so may the lease be. What still arrives, because somebody has
        // not heard yet who has them now, is forwarded for a while: the tables are the same.
        if let Some(leading) = &mut self.leading
            && leading.peer.take().is_some()
            && let Err(error) = self
                .dataplane
                .renew_lease(boot_ns().saturating_add(FAREWELL_NS))
        {
            tracing::warn!(%error, "new connections that still arrive here are dropped");
        }
    }

    /// From now on heartbeats prove themselves by another secret.
    pub(super) fn restart_heartbeats(&mut self, secret: [u64; 2]) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        // The new ones need their sockets.
        leading.peer = None;
        match (self.heartbeats)(secret) {
            Ok(peer) => leading.peer = peer,
            Err(error) => {
                tracing::error!(error = super::chain(&error), "no heartbeats");
                let fault = "there are no heartbeats: start lbd again".to_owned();
                leading.faults.push(fault);
            }
        }
        self.pulse();
    }

    /// lbd is to end: the other host leads from now on, if it can.
    pub(super) fn hand_over_at_the_end(&mut self) {
        if self.leads()
            && self
                .pairing
                .as_ref()
                .is_some_and(|it| it.connected.is_some())
        {
            let why = "lbd was told to end".to_owned();
            self.switch(super::switching::Reply::Own(why));
        }
    }
}
