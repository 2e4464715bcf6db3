//! Whether this host leads, and for what.

pub(super) use super::duty::Role;
use super::duty::{Circumstances, Duty};
use super::pairing::Pairing;
use super::peer::{Consequence, Peer};
use super::tracking::{self, Lowering};
use super::{Daemon, PATIENCE};
use crate::config::{Admin, BackendRef, Config, Ha, Name, Service, VirtualRouter};
use crate::dataplane::Dataplane;
use crate::proto::vrrp::{Priority, seal};
use crate::shell::heartbeat;
use crate::shell::tracking::Missing;
use crate::shell::vrrp::{self, Event, Router, Wanted};
use crate::types;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

/// The virtual routers of this host, and what they need to know.
pub(super) struct Leading {
    ha: Ha,
    /// It decides what this host is.
    main: Duty,
    others: Vec<Duty>,
    /// Where heartbeats are sent.
    pub(super) peer: Option<Peer>,
    missing: Missing,
    lowerings: Vec<Lowering>,
    /// Whether the witness answers, if there is one.
    witnessed: Option<bool>,
    /// Once there were tables fit for packets, it does not matter if a backend is down.
    ready: bool,
    /// Why there are no heartbeats, if there should be.
    heartbeat_fault: Option<String>,
    /// The secret that the routers seal with, and whether they demand seals.
    sealing: Option<([u64; 2], bool)>,
}

impl Leading {
    /// With these routers, of which the first decides what this host is. `None`: there are none.
    pub(super) fn new(
        ha: Ha,
        routers: Vec<(VirtualRouter, Router)>,
        peer: Option<Peer>,
    ) -> Option<Self> {
        let routers = routers.into_iter();
        Self::of(
            ha,
            routers.map(|(is, router)| Duty::new(is, Some(router))),
            peer,
        )
    }

    /// For tests, which say what routers would.
    #[cfg(test)]
    pub(super) fn without_router(config: &Config) -> Option<Self> {
        let routers = config.virtual_routers().into_iter();
        Self::of(
            config.ha.clone()?,
            routers.map(|is| Duty::new(is, None)),
            None,
        )
    }

    fn of(ha: Ha, mut duties: impl Iterator<Item = Duty>, peer: Option<Peer>) -> Option<Self> {
        Some(Self {
            ha,
            main: duties.next()?,
            others: duties.collect(),
            peer,
            missing: Missing::default(),
            lowerings: Vec::new(),
            witnessed: None,
            ready: false,
            heartbeat_fault: None,
            sealing: None,
        })
    }

    /// For tests: whether the main router was told that it may lead.
    #[cfg(test)]
    pub(super) fn told(&self) -> Option<Result<(), String>> {
        self.main.told.as_ref().map(|told| told.eligible.clone())
    }

    fn duties(&self) -> impl Iterator<Item = &Duty> {
        std::iter::once(&self.main).chain(&self.others)
    }

    pub(super) fn duties_mut(&mut self) -> impl Iterator<Item = &mut Duty> {
        std::iter::once(&mut self.main).chain(&mut self.others)
    }

    /// Advertisements to a host that is sent heartbeats are sealed: it is no other router. If the two
    /// are paired, they have the same secret, and what that one sends must be sealed, too.
    fn seal(&mut self, secret: [u64; 2], paired: bool) {
        let sealing = Some((secret, paired));
        if self.ha.heartbeats.is_none() || self.sealing == sealing {
            return;
        }
        self.sealing = sealing;
        let secret: Vec<u8> = secret.iter().flat_map(|half| half.to_ne_bytes()).collect();
        let key = seal::Key::from_secret(&secret);
        for router in self.duties().filter_map(|duty| duty.router.as_ref()) {
            router.seal(key.clone(), paired);
        }
    }

    /// What is wrong that is tracked.
    fn becomes_less_fit(&mut self, lowerings: Vec<Lowering>) {
        if lowerings == self.lowerings {
            return;
        }
        self.lowerings = lowerings;
        let (configured, priority) = (self.main.is.priority, self.priority(&self.main));
        let why = self.lowered_by().join(", ");
        if why.is_empty() {
            tracing::info!(%priority, "nothing lowers the priority any more");
        } else {
            tracing::warn!(%configured, %priority, why, "the priority is lowered");
        }
    }

    /// What is left of a router's configured priority.
    fn priority(&self, duty: &Duty) -> Priority {
        tracking::effective(duty.is.priority, &self.lowerings)
    }

    fn lowered_by(&self) -> Vec<String> {
        let lowerings = self.lowerings.iter();
        lowerings.map(ToString::to_string).collect()
    }

    pub(super) const fn leads(&self) -> bool {
        matches!(self.main.role, Role::Leader)
    }

    /// Where this host advertises from.
    pub(super) const fn address(&self) -> Option<IpAddr> {
        self.main.report.address
    }

    /// What the main group's priority is but for switchovers.
    pub(super) fn own_priority(&self) -> Priority {
        self.priority(&self.main)
    }

    /// The leader has made way, in the main group.
    pub(super) fn take_over(&self) {
        let main = self.duties().filter(|duty| duty.is.group.is_none());
        let routers = main.filter_map(|duty| duty.router.as_ref());
        routers.for_each(Router::take_over);
    }

    /// Whether heartbeats of the other host arrive.
    fn peer_lives(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::lives)
    }

    /// Why this host may be the one that is cut off, if it may. Where it leads, it goes on as long as
    /// the other host is heard.
    fn is_cut_off(&self, duty: &Duty) -> Option<String> {
        let witness = self.ha.witness?;
        let alone = duty.role != Role::Leader || !self.peer_lives();
        (self.witnessed == Some(false) && alone).then(|| {
            format!(
                "the witness {witness} does not answer: this host may be the one that is cut off"
            )
        })
    }

    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms: Vec<String> = self.duties().flat_map(Duty::alarms).collect();
        if let Some(witness) = self.ha.witness.filter(|_| self.witnessed == Some(false)) {
            alarms.push(format!("the witness {witness} does not answer"));
        }
        alarms.extend(self.heartbeat_fault.clone());
        alarms.extend(self.peer.iter().flat_map(Peer::alarms));
        alarms
    }

    /// For people, where the routers share what `running` says.
    pub(super) fn status(&self, running: &Config) -> types::Ha {
        let main = &self.main;
        types::Ha {
            role: main.role.name().to_owned(),
            since_s: main.since.elapsed().as_secs(),
            reason: main.reason(),
            interface: Some(self.ha.interface.clone()),
            vrid: Some(main.is.vrid.get()),
            priority: Some(main.is.priority.get()),
            effective_priority: Some(self.priority(main).get()),
            lowered_by: self.lowered_by(),
            interval_ms: Some(u64::from(self.ha.interval.centiseconds()) * 10),
            address: main.report.address.map(|address| address.to_string()),
            addresses: addresses(running, main),
            leader: leader(main),
            groups: self
                .others
                .iter()
                .map(|it| self.group(running, it))
                .collect(),
            peer: self.peer.as_ref().map(Peer::status),
            pair: None,
            stands_behind: None,
            counters: counted(main),
        }
    }

    fn group(&self, running: &Config, duty: &Duty) -> types::HaGroup {
        types::HaGroup {
            name: duty.is.group.as_ref().map(ToString::to_string),
            family: duty.is.family.to_string(),
            role: duty.role.name().to_owned(),
            since_s: duty.since.elapsed().as_secs(),
            reason: duty.reason(),
            vrid: duty.is.vrid.get(),
            priority: duty.is.priority.get(),
            effective_priority: self.priority(duty).get(),
            address: duty.report.address.map(|address| address.to_string()),
            addresses: addresses(running, duty),
            leader: leader(duty),
            counters: counted(duty),
        }
    }
}

fn addresses(running: &Config, duty: &Duty) -> Vec<String> {
    let shared = running.shared_by(&duty.is);
    shared.iter().map(ToString::to_string).collect()
}

/// What was sent, heard and refused.
fn counted(duty: &Duty) -> BTreeMap<String, u64> {
    let counters = &duty.report.counters;
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
    let own = own.map(|(name, count)| (name.to_owned(), count));
    let refused = counters.refused.iter();
    let refused = refused.map(|(name, count)| (format!("refused_{name}"), *count));
    own.into_iter().chain(refused).collect()
}

fn leader(duty: &Duty) -> Option<types::HaLeader> {
    duty.report.leader.map(|leader| types::HaLeader {
        address: leader.address.to_string(),
        priority: leader.priority.get(),
        interval_ms: u64::from(leader.interval.centiseconds()) * 10,
    })
}

impl Leading {
    /// Services of `config` whose addresses no virtual router of this host shares, and what to do.
    /// Routers are started with lbd: for each group, those of the families that the file names.
    pub(super) fn unshared(&self, config: &Config) -> Vec<String> {
        let shared: BTreeSet<IpAddr> = self
            .duties()
            .flat_map(|duty| config.shared_by(&duty.is))
            .map(|owned| owned.address)
            .collect();
        let services = config.services.iter();
        let services = services.filter(|(_, service)| !shared.contains(&service.vip.ip()));
        let alarm = |(name, service): (&Name, &Service)| {
            let vip = service.vip.ip();
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            format!(
                "no host takes {vip} of service {name}: lbd was started without addresses of {family} \
                 for its group in the file; add the service there, on both hosts, and restart lbd"
            )
        };
        services.map(alarm).collect()
    }
}

impl<D: Dataplane> Daemon<D> {
    /// Tells the virtual routers what to share, and whether they may lead.
    pub(super) fn tell_router(&mut self) {
        let ready = self.has_tables() || self.started.elapsed() > PATIENCE;
        let lowerings = self.lowerings();
        let Some(leading) = &mut self.leading else {
            return;
        };
        let paired = self.pairing.as_ref().is_some_and(Pairing::is_paired);
        leading.seal(self.world.secret, paired);
        leading.becomes_less_fit(lowerings);
        leading.ready |= ready;
        let gives_up = leading.peer.as_ref().is_some_and(Peer::gives_up);
        let (now, pairing) = (Instant::now(), self.pairing.as_ref());
        let synchronised = |duty: &Duty| {
            let situation = duty.situation(leading.peer_lives());
            pairing.map_or(Ok(()), |it| it.may_lead(now, situation))
        };
        let behind = self.switching.stands_behind;
        let wanted = |duty: &Duty| {
            let cut_off = leading.is_cut_off(duty);
            Wanted {
                addresses: self.running.shared_by(&duty.is),
                priority: match behind.filter(|_| duty.is.group.is_none()) {
                    Some(behind) => leading.priority(duty).min(behind),
                    None => leading.priority(duty),
                },
                eligible: if gives_up {
                    Err(vrrp::LAPSED.to_owned())
                } else if let Some(unfit) = &self.host.unfit {
                    Err(unfit.clone())
                } else if let Some(cut_off) = &cut_off {
                    Err(cut_off.clone())
                } else if leading.ready {
                    Ok(())
                } else {
                    Err("its backends are not checked yet".to_owned())
                },
                may_begin: synchronised(duty),
                may_resume: !gives_up
                    && cut_off.is_none()
                    && leading.peer.as_ref().is_none_or(Peer::may_resume),
            }
        };
        let wanted: Vec<Wanted> = leading.duties().map(wanted).collect();
        for (duty, wanted) in leading.duties_mut().zip(wanted) {
            duty.follow(wanted);
        }
    }

    pub(super) fn on_missing(&mut self, missing: Missing) {
        if let Some(leading) = &mut self.leading {
            leading.missing = missing;
        }
        self.tell_router();
    }

    pub(super) fn on_witness(&mut self, answers: bool) {
        if let Some(leading) = &mut self.leading {
            leading.witnessed = Some(answers);
        }
        match answers {
            true => tracing::info!("the witness answers"),
            false => tracing::warn!("the witness does not answer"),
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
                up == Some(&false) || self.world.unreachable.contains_key(&it.address.ip())
            })
    }

    /// Takes what the router of this number says.
    pub(super) fn on_leading(&mut self, number: usize, event: Event) {
        let before = self.role();
        let handing_over = self.switching.handing_over();
        if let Some(leading) = &mut self.leading {
            // A host that comes back is heard, and knows all, for longer than this before it leads.
            let shortly = 2 * leading.ha.interval.duration();
            let connected = self
                .pairing
                .as_ref()
                .is_none_or(|it| it.was_connected(shortly));
            let peer = leading.peer.as_ref();
            let apart = peer.is_some_and(|it| it.was_apart(shortly) || !connected);
            if let Some(duty) = leading.duties_mut().nth(number) {
                let handing_over = handing_over.filter(|_| duty.is.group.is_none());
                let circumstances = Circumstances {
                    apart,
                    handing_over,
                };
                duty.on_event(event, &circumstances);
            }
        }
        self.settle();
        if self.role() != before {
            if self.leads() {
                self.led_since_ms = super::sweeping::now_ms().ok();
                if let Some(pairing) = &mut self.pairing {
                    pairing.leave.led();
                }
            }
            self.on_role();
            // From now on the tables are this host's own, or no longer. They are at hand before the
            // other host hears of it.
            self.follow();
            self.tell_peer(true);
            if !self.leads() {
                // What made it yield, as an interface that is down, is told at once.
                self.look_at_host();
            }
        }
    }

    pub(super) fn role(&self) -> Role {
        self.leading
            .as_ref()
            .map_or(Role::Leader, |it| it.main.role)
    }

    /// Whether this host would lead if the other did not, and with which priority.
    pub(super) fn readiness(&self) -> (bool, u8) {
        let told = self.leading.as_ref().and_then(|it| it.main.told.as_ref());
        told.map_or((false, 0), |told| {
            let ready = told.eligible.is_ok() && told.may_begin.is_ok();
            (ready, told.priority.get())
        })
    }

    pub(super) fn peer_lives(&self) -> bool {
        self.leading.as_ref().is_some_and(Leading::peer_lives)
    }

    pub(super) fn on_heartbeat(&mut self, event: heartbeat::Event) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let Some(peer) = &mut leading.peer else {
            return;
        };
        let lost = match &event {
            heartbeat::Event::PeerLost { reason } if reason.is_gone() => Some(reason.to_string()),
            _ => None,
        };
        match peer.on_event(event) {
            Consequence::AnnounceAgain => {
                let routers = leading.duties().filter_map(|duty| duty.router.as_ref());
                routers.for_each(Router::announce_again);
            }
            Consequence::None => {}
        }
        self.settle();
        if let Some(reason) = lost {
            self.on_peer_lost(&reason);
        }
    }

    /// Looks at who is heard of the other host.
    pub(super) fn look_at_peer(&mut self) {
        let paired = self.pairing.as_ref().is_some_and(Pairing::is_paired);
        let leading = self.leading.as_mut();
        if let Some(peer) = leading.and_then(|it| it.peer.as_mut()) {
            peer.look(paired);
        }
    }

    /// After a lapse, leadership is given up, and only then claimed again.
    fn settle(&mut self) {
        if let Some(leading) = &mut self.leading
            && leading.duties().all(|duty| duty.role != Role::Leader)
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
            let mut running = leading.duties().filter(|duty| duty.router.is_some());
            let may_act = running.any(|duty| match duty.role {
                Role::Leader | Role::Starting => true,
                Role::Standby => leading.ready,
            });
            peer.refresh(may_act);
        }
    }

    /// From now on heartbeats prove themselves by another secret.
    pub(super) fn restart_heartbeats(&mut self, secret: [u64; 2]) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        // The new ones need their sockets.
        leading.peer = None;
        leading.heartbeat_fault = None;
        match (self.heartbeats)(secret) {
            Ok(peer) => leading.peer = peer,
            Err(error) => {
                tracing::error!(error = super::chain(&error), "no heartbeats");
                let fault = "there are no heartbeats: start lbd again";
                leading.heartbeat_fault = Some(fault.to_owned());
            }
        }
        self.pulse();
    }
}
