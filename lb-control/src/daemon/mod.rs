//! The one task that owns the state: it hears of changes, health and next hops, and makes the tables
//! follow.

mod agreeing;
mod changing;
mod duty;
mod ending;
mod hearing;
mod leading;
mod pairing;
mod peer;
mod request;
mod status;
mod sweeping;
mod switching;
#[cfg(test)]
mod tests;
mod tracking;
mod weighing;

pub use pairing::Wire;
pub use peer::{Peer, StartHeartbeats};
pub use request::{Handle, Request};

use crate::config::{Admin, BackendRef, Config, Ha, Name, Overlay, Refusal, VirtualRouter};
use crate::dataplane::{Attachment, Dataplane, Tables};
use crate::desired::{self, World, maglev, mirror, sweep};
use crate::proto::health::Panic;
use crate::proto::next_hop::NextHopEvent;
use crate::proto::vrrp::Priority;
use crate::reconcile;
use crate::shell::channel;
use crate::shell::health::{Checker, HealthEvent, Target};
use crate::shell::heartbeat;
use crate::shell::next_hop::Resolver;
use crate::shell::tracking::Missing;
use crate::shell::vrrp::{self, Router};
use crate::state::changes;
use crate::sync::{Snapshot, Version};
use anyhow::Context as _;
use lb_ebpf::abi::{BackendId, Features, Flow, FlowKey, ServiceId, Slot};
use leading::Leading;
use pairing::Pairing;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use switching::Switching;
use tokio::sync::mpsc;
use weighing::MadeWay;

/// What came of a backend's checks, for people.
#[derive(Clone, Debug)]
struct Health {
    reason: String,
    since: Instant,
}

/// What the daemon hears from.
#[derive(Debug)]
pub struct Inputs {
    /// Questions and changes.
    pub requests: mpsc::Receiver<Request>,
    /// Results of health checks.
    pub health: mpsc::Receiver<HealthEvent>,
    /// Next hops of backends.
    pub next_hops: mpsc::Receiver<NextHopEvent>,
    /// What the virtual routers do, with their numbers among [`Watchers::routers`].
    pub leading: mpsc::UnboundedReceiver<(usize, vrrp::Event)>,
    /// Whether the other host lives.
    pub heartbeats: mpsc::UnboundedReceiver<heartbeat::Event>,
    /// What is tracked and not there.
    pub missing: mpsc::UnboundedReceiver<Missing>,
    /// Whether the witness answers.
    pub witness: mpsc::UnboundedReceiver<bool>,
    /// What the other host of a pair says.
    pub channel: mpsc::Receiver<channel::Event>,
    /// Flows that the program has just recorded.
    pub new_flows: mpsc::Receiver<Vec<(FlowKey, Flow)>>,
    /// The configuration file, read again, or what is wrong with it.
    pub reloads: mpsc::Receiver<Result<Config, String>>,
}

/// What the daemon knows of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    /// Where the program is.
    pub attachments: Vec<Attachment>,
    /// What keeps packets from getting through, and what to do about it.
    pub alarms: Vec<String>,
    /// Why this host cannot lead, if it cannot.
    pub unfit: Option<String>,
}

/// The host that lbd runs on.
pub trait Host: Send {
    /// Looks at all of it, and puts the program back where it is missing; for the first time only if
    /// it may.
    fn look(&mut self, config: &Config, may_attach: bool) -> HostState;

    /// Whether the program is still wherever it was put.
    fn is_intact(&self) -> bool;

    /// The daemon's loop turns: whoever hears this no longer may take it for hung. Said by the loop
    /// alone, whatever else looks at the host.
    fn turns(&mut self);

    /// Has the program do what these are needed for, and no more. Packets do not notice.
    ///
    /// # Errors
    ///
    /// If there is no such program: the one before goes on.
    fn use_features(&mut self, features: Features) -> anyhow::Result<()>;
}

/// How often the host is looked at, if nothing is found to be missing before.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How often those who keep the lease are told that the daemon lives: many times in
/// [`heartbeat::PATIENCE`]. As often it is seen whether the program was taken away.
const PULSE_PERIOD: Duration = Duration::from_millis(100);

/// How long a program that is to take over waits for the tables.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the daemon tells what it is interested in.
pub struct Watchers {
    /// Checks health.
    pub checker: Checker,
    /// Resolves next hops.
    pub resolver: Resolver,
    /// They decide with another host which of the two has the addresses: those of
    /// [`Config::virtual_routers`], in that order.
    pub routers: Vec<(VirtualRouter, Router)>,
    /// The other host, if heartbeats go there.
    pub peer: Option<Peer>,
    /// Starts heartbeats anew.
    pub heartbeats: StartHeartbeats,
    /// The channel to the other host, and what this one is called on it, if a peer is configured.
    pub pair: Option<(String, Box<dyn Wire>)>,
    /// Looks at the host.
    pub host: Box<dyn Host>,
}

/// The owner of the state.
pub struct Daemon<D> {
    dataplane: D,
    checker: Checker,
    resolver: Resolver,
    here: Box<dyn Host>,
    leading: Option<Leading>,
    heartbeats: StartHeartbeats,
    pairing: Option<Pairing>,
    switching: Switching,
    made_way: Option<MadeWay>,
    started: Instant,
    /// What this host is called in versions.
    host_id: String,
    /// Which configuration runs. Its epoch is the revision.
    version: Version,
    /// What runs is not what the version says: the file changed while no lbd ran.
    unshared: bool,
    /// Why the other host did not take it over when it was asked last, and when that was.
    unshared_because: Option<(String, Instant)>,
    /// The configuration file.
    base: Config,
    /// The priority that the file has by now. The one of `base` is what runs.
    filed_priority: Option<Priority>,
    /// The file, and what was changed by CLI.
    running: Config,
    /// What was changed by CLI and does not fit the file as it is.
    left_out: Overlay,
    warnings: Vec<String>,
    /// Why the file was refused when it was last read.
    refused_file: Option<String>,
    world: World,
    health: BTreeMap<BackendRef, Health>,
    /// What the tables hold, as far as we know.
    tables: Tables,
    built: maglev::Built,
    ids: BTreeMap<BackendRef, BackendId>,
    /// What backends are called, also those that have left and finish their connections.
    names: BTreeMap<BackendId, BackendRef>,
    panics: BTreeMap<Name, Panic<BackendRef>>,
    dirty: sweep::DirtySince,
    recorded: BTreeMap<BackendId, u64>,
    refused: u64,
    /// Newly recorded flows that the other host was not told of, so far.
    untold: u64,
    /// All flows are to be sent, and could not be read.
    flows_unread: bool,
    /// When this host took over from another, by the program's clock: no flow that came from there
    /// was silent for longer.
    led_since_ms: Option<u32>,
    /// Whether flows were refused since the last sweep but one.
    refusing: bool,
    failure: Option<String>,
    /// What could not be written down, and must be.
    unkept: Option<String>,
    host: HostState,
}

impl<D: Dataplane> Daemon<D> {
    /// Takes over what the dataplane holds, and makes it what the configuration wants.
    pub fn start(
        base: Config,
        dataplane: D,
        watchers: Watchers,
        secret: [u64; 2],
    ) -> anyhow::Result<Self> {
        let kept = changes::load(&base.state_dir)?.unwrap_or_default();
        let applied = kept.overlay.apply(&base);
        let tables = dataplane.read().context("read what an earlier lbd left")?;
        let Watchers {
            checker,
            resolver,
            routers,
            peer,
            heartbeats,
            pair,
            host: here,
        } = watchers;
        let ha = base.ha.clone();
        let leading = ha.and_then(|ha| Leading::new(ha, routers, peer));
        let host_id = pair
            .as_ref()
            .map_or_else(String::new, |(host, _)| host.clone());
        let hash = Snapshot::hash(&applied.config);
        let (version, unshared) = match kept.version {
            Some(version) if version.hash == hash => (version, false),
            // The other host may know better: it is asked first.
            Some(version) if pair.as_ref().is_some_and(|(_, wire)| wire.is_paired()) => {
                (version, true)
            }
            // The file may be another one than before, and no revision names two configurations.
            Some(version) => (version.next(&host_id, hash), false),
            None => {
                let before = Version {
                    epoch: kept.revision,
                    author: host_id.clone(),
                    ..Version::default()
                };
                (before.next(&host_id, hash), false)
            }
        };
        let pairing = pair.map(|(host, wire)| {
            let snapshot = Snapshot::of(&applied.config, version.clone());
            let ha = base.ha.as_ref();
            Pairing::new(host, wire, ha.map(Ha::places).unwrap_or_default(), snapshot)
        });
        let mut daemon = Self {
            dataplane,
            checker,
            resolver,
            here,
            leading,
            heartbeats,
            pairing,
            switching: Switching::default(),
            made_way: None,
            started: Instant::now(),
            host_id,
            version,
            unshared,
            unshared_because: None,
            filed_priority: base.ha.as_ref().map(|ha| ha.priority),
            base,
            running: applied.config,
            left_out: applied.left_out,
            warnings: applied.reasons,
            refused_file: None,
            world: World {
                secret,
                ..World::default()
            },
            health: BTreeMap::new(),
            tables,
            built: maglev::Built::default(),
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            panics: BTreeMap::new(),
            dirty: sweep::DirtySince::default(),
            recorded: BTreeMap::new(),
            refused: 0,
            untold: 0,
            flows_unread: false,
            led_since_ms: None,
            refusing: false,
            failure: None,
            unkept: None,
            host: HostState::default(),
        };
        daemon.adopt_health();
        // Nothing was changed, so a full disk is no reason to leave the service without a daemon.
        daemon.keep_running();
        daemon.reconcile(&daemon.running.clone())?;
        daemon.publish();
        daemon.watch();
        daemon.tell_router();
        daemon.pulse();
        Ok(daemon)
    }

    /// Looks at the host: whether the program is where it should be, and packets get through.
    pub fn look_at_host(&mut self) {
        let may_attach = self.has_tables() || self.started.elapsed() > PATIENCE;
        let host = self.here.look(&self.running, may_attach);
        for alarm in &host.alarms {
            if !self.host.alarms.contains(alarm) {
                tracing::warn!("{alarm}");
            }
        }
        for alarm in &self.host.alarms {
            if !host.alarms.contains(alarm) {
                tracing::info!("no longer: {alarm}");
            }
        }
        self.host = host;
        self.tell_router();
    }

    /// Whether every service that has backends has slots: a program that takes over from another
    /// must not begin with less than that.
    fn has_tables(&self) -> bool {
        let mut services = self.running.services.values();
        services.all(|service| {
            let known = self
                .tables
                .services
                .get(&desired::service_key(&service.vip));
            let slots = known.and_then(|known| self.tables.slots.get(&known.id));
            let filled = slots.is_some_and(|slots| slots.iter().any(|slot| *slot != Slot::EMPTY));
            filled || service.backends.is_empty()
        })
    }

    /// Backends that have slots served until now, and go on until a check says otherwise.
    fn adopt_health(&mut self) {
        for (name, service) in &self.running.services {
            let key = desired::service_key(&service.vip);
            let Some(known) = self.tables.services.get(&key) else {
                continue;
            };
            let slots = self.tables.slots.get(&known.id).into_iter().flatten();
            let owners: BTreeSet<BackendId> = slots.map(|slot| slot.current).collect();
            for (backend_name, backend) in &service.backends {
                let serves = self.tables.backends.iter().any(|(id, b)| {
                    b.service == known.id
                        && b.addr == backend.address.ip().into()
                        && b.port == backend.address.port().to_be_bytes()
                        && owners.contains(id)
                });
                if serves {
                    let backend = BackendRef {
                        service: name.clone(),
                        backend: backend_name.clone(),
                    };
                    let reason = "it served when lbd was started".to_owned();
                    self.health.insert(
                        backend.clone(),
                        Health {
                            reason,
                            since: Instant::now(),
                        },
                    );
                    self.world.up.insert(backend, true);
                }
            }
        }
    }

    /// Runs until `stop`. What the tables hold stays: traffic goes on without us.
    pub async fn run(&mut self, mut inputs: Inputs, stop: impl Future<Output = ()>) {
        let mut swept = Instant::now();
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pulses = tokio::time::interval(PULSE_PERIOD);
        pulses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        tokio::pin!(stop);
        while !(stopping && self.is_through()) {
            let services = self.running.services.values();
            let shortest = services.filter_map(|service| service.idle_timeout).min();
            let shortest = shortest.map_or(self.running.idle_timeout, |shortest| {
                shortest.min(self.running.idle_timeout)
            });
            let period = (shortest / 10).clamp(Duration::from_millis(100), Duration::from_secs(10));
            tokio::select! {
                () = &mut stop, if !stopping => {
                    self.hand_over_at_the_end();
                    stopping = true;
                }
                Some(request) = inputs.requests.recv() => self.answer(request),
                Some(event) = inputs.health.recv() => self.on_health(event),
                Some(event) = inputs.next_hops.recv() => self.on_next_hop(event),
                Some((number, event)) = inputs.leading.recv() => self.on_leading(number, event),
                Some(event) = inputs.heartbeats.recv() => self.on_heartbeat(event),
                Some(missing) = inputs.missing.recv() => self.on_missing(missing),
                Some(answers) = inputs.witness.recv() => self.on_witness(answers),
                Some(event) = inputs.channel.recv() => self.on_channel(event),
                Some(flows) = inputs.new_flows.recv() => self.on_new_flows(&flows),
                _ = pulses.tick() => {
                    self.pulse();
                    self.on_switch_tick();
                    if self.host.unfit.is_none() && !self.here.is_intact() {
                        self.look_at_host();
                    }
                }
                Some(file) = inputs.reloads.recv() => self.read_again(file),
                _ = looks.tick() => {
                    self.here.turns();
                    self.look_at_host();
                    self.look_at_peer();
                    self.on_pair_tick();
                }
                () = tokio::time::sleep_until((swept + period).into()) => {
                    self.sweep();
                    swept = Instant::now();
                }
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may be gone: then the answer goes nowhere.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Stats(reply) => {
                let stats = self
                    .stats()
                    .map_err(|error| Refusal::Failed(chain(&error.into())));
                drop(reply.send(stats));
            }
            Request::Change {
                change,
                if_revision,
                reply,
            } => match self.prepare(&change, if_revision) {
                Ok(prepared) => self.submit(prepared, agreeing::Reply::Api(reply)),
                Err(refusal) => {
                    tracing::info!(%change, %refusal, "refused a change");
                    drop(reply.send(Err(refusal)));
                }
            },
            Request::Switch { to, reply } => {
                self.switch_to(to.as_deref(), switching::Reply::Api(reply));
            }
            Request::Release(reply) => drop(reply.send(self.stop_standing_behind())),
        }
    }

    /// Tells the watchers what is of interest.
    fn watch(&self) {
        let mut targets = BTreeMap::new();
        let mut addresses = BTreeSet::new();
        for (name, service) in &self.running.services {
            for (backend_name, backend) in &service.backends {
                let backend_ref = BackendRef {
                    service: name.clone(),
                    backend: backend_name.clone(),
                };
                let up = self.world.up.get(&backend_ref).copied();
                targets.insert(
                    backend_ref,
                    Target {
                        address: backend.address,
                        check: service.check.clone(),
                        up,
                    },
                );
                addresses.insert(backend.address.ip());
            }
        }
        // The leader's backends that have left and finish their connections are not configured.
        let mirrored = self
            .mirror()
            .into_iter()
            .flat_map(|it| it.backends.values());
        addresses.extend(mirrored.map(|backend| IpAddr::from(backend.addr)));
        self.checker.set_targets(targets);
        self.resolver.set_targets(addresses);
    }

    fn on_health(&mut self, event: HealthEvent) {
        let current = self.running.services.get(&event.backend.service);
        let current = current.and_then(|service| service.backends.get(&event.backend.backend));
        if current.is_none_or(|backend| backend.address != event.address) {
            return;
        }
        let before = self.world.up.insert(event.backend.clone(), event.up);
        let finished = if event.finishes {
            !self.world.finishing.insert(event.backend.clone())
        } else {
            self.world.finishing.remove(&event.backend)
        };
        let unchanged = before == Some(event.up) && finished == event.finishes;
        let since = match self.health.get(&event.backend) {
            Some(health) if unchanged => health.since,
            _ => {
                let (backend, reason) = (&event.backend, &event.reason);
                if event.up {
                    tracing::info!(%backend, reason, "backend is up");
                } else if event.finishes {
                    tracing::warn!(%backend, reason, "backend is not ready, and finishes what it has");
                } else {
                    tracing::warn!(%backend, reason, "backend is down");
                }
                Instant::now()
            }
        };
        self.health.insert(
            event.backend,
            Health {
                reason: event.reason,
                since,
            },
        );
        self.follow();
    }

    fn on_next_hop(&mut self, event: NextHopEvent) {
        match event.next_hop {
            Ok(next_hop) => {
                tracing::info!(address = %event.address, %next_hop, "resolved");
                self.world.unreachable.remove(&event.address);
                self.world.next_hops.insert(event.address, next_hop);
            }
            Err(reason) => {
                tracing::warn!(address = %event.address, reason, "not resolved");
                self.world.unreachable.insert(event.address, reason);
                self.world.next_hops.remove(&event.address);
            }
        }
        self.follow();
    }

    /// Makes the tables follow the world; a failure is kept for the status and tried again.
    fn follow(&mut self) {
        let config = self.running.clone();
        if let Err(error) = self.reconcile(&config) {
            tracing::error!(error = chain(&error), "could not write the tables");
        }
        self.tell_router();
    }

    /// Decides which services' checks are to be believed.
    fn judge(&mut self, config: &Config) {
        let now = Instant::now();
        self.panics
            .retain(|name, _| config.services.contains_key(name));
        for (name, service) in &config.services {
            let check = &service.check;
            let window = check.interval * (check.rise.max(check.fall) + 1) + check.timeout;
            let panic = self.panics.entry(name.clone());
            let panic = panic.or_insert_with(|| Panic::new(window));
            let ready = service.backends.iter();
            let ready = ready.filter(|(_, backend)| backend.admin == Admin::Ready);
            let ready: BTreeMap<BackendRef, IpAddr> = ready
                .map(|(backend, it)| (BackendRef::new(name, backend), it.address.ip()))
                .collect();
            panic.retain(window, &ready.keys().cloned().collect());
            for (backend, address) in &ready {
                let up = self.world.up.get(backend) == Some(&true);
                let fit = up && !self.world.unreachable.contains_key(address);
                panic.on_health(now, backend, fit);
            }
        }
        let panics = self.panics.iter();
        let panics =
            panics.filter_map(|(name, panic)| Some((name.clone(), panic.going_on()?.clone())));
        let panics: BTreeMap<_, _> = panics.collect();
        for service in panics
            .keys()
            .filter(|name| !self.world.panics.contains_key(name))
        {
            tracing::error!(%service, "no backend is up: those that failed together go on");
        }
        for service in self
            .world
            .panics
            .keys()
            .filter(|name| !panics.contains_key(name))
        {
            tracing::warn!(%service, "backends are up again: the checks are believed");
        }
        self.world.panics = panics;
    }

    fn reconcile(&mut self, config: &Config) -> anyhow::Result<()> {
        self.judge(config);
        if let Some(leader) = self.mirror() {
            if let Err(reason) = mirror::fits(leader, self.running.limits) {
                self.tell_held(Err(reason));
                return Ok(());
            }
            let wanted = mirror::mirrored(leader, &self.world.next_hops, &self.tables);
            self.ids = mirror::ids(config, &wanted);
            let named = self.ids.iter().map(|(name, id)| (*id, name.clone()));
            self.names.extend(named);
            let before = ids(&self.tables);
            let result = self.write(wanted);
            self.tell_held(result.as_ref().map(|&()| ()).map_err(chain));
            result?;
            return self.forget_counters(&before);
        }
        let desired = desired::desired_with(&mut self.built, config, &self.world, &self.tables)?;
        let named = desired.ids.iter().map(|(name, id)| (*id, name.clone()));
        self.names.extend(named);
        self.ids = desired.ids;
        // One that came back is not to be cut the next time that it leaves.
        let wanted: BTreeSet<BackendId> = self.ids.values().copied().collect();
        self.world.cut.retain(|id| !wanted.contains(id));
        self.world.last_ids = desired.last_ids;
        let before = ids(&self.tables);
        self.apply(desired.tables)?;
        self.forget_counters(&before)
    }

    /// Whoever is given the id of a service that was removed, or of its backends, starts at zero.
    fn forget_counters(&mut self, (services, backends): &Ids) -> anyhow::Result<()> {
        let (services_now, backends_now) = ids(&self.tables);
        for gone in services.difference(&services_now) {
            self.dataplane.forget_retired(*gone)?;
        }
        for gone in backends.difference(&backends_now) {
            self.dataplane.retire(*gone, None)?;
            self.names.remove(gone);
        }
        Ok(())
    }

    /// Writes what differs, and tells the other host of it.
    fn apply(&mut self, wanted: Tables) -> anyhow::Result<()> {
        let result = self.write(wanted);
        self.carry_out();
        result
    }

    /// Writes what differs. After a failure the tables are read again, so that the next attempt
    /// starts from what they hold. The program knows what is new in them before they hold it, and
    /// what is gone no longer.
    fn write(&mut self, wanted: Tables) -> anyhow::Result<()> {
        let features = |tables: &Tables| desired::features(tables.services.keys());
        let (before, after) = (features(&self.tables), features(&wanted));
        let steps = reconcile::plan(&self.tables, &wanted);
        let result = self.here.use_features(before.and(after));
        let result = result.and_then(|()| Ok(reconcile::apply(&mut self.dataplane, &steps)?));
        let result = result.and_then(|()| self.here.use_features(after));
        if result.is_ok() {
            self.tables = wanted;
        } else if let Ok(tables) = self.dataplane.read() {
            self.tables = tables;
        }
        // Not only when it is swept: a slot that settles and changes again in between is dirty
        // anew, and has all of the idle time before it.
        self.dirty.update(&self.tables, sweeping::now_ms()?, false);
        self.failure = result.as_ref().err().map(chain);
        if !steps.is_empty() || result.is_err() {
            self.publish();
        }
        result
    }

    /// Gives the other host the tables as they are now.
    fn publish(&mut self) {
        if let Some(pairing) = &mut self.pairing {
            pairing.session.publish(Instant::now(), &self.tables);
        }
    }
}

/// The ids of services and of backends.
type Ids = (BTreeSet<ServiceId>, BTreeSet<BackendId>);

/// The ids that are in use.
fn ids(tables: &Tables) -> Ids {
    let services = tables.services.values().map(|service| service.id);
    (
        services.collect(),
        tables.backends.keys().copied().collect(),
    )
}

/// An error with all that caused it.
fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
