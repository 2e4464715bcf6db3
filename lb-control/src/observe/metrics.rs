//! Status and counters as metrics.

use super::exposition::Exposition;
use crate::config::Refusal;
use crate::daemon::Handle;
use crate::types::{Backend, Ha, HaLink, HaPair, HaPeer, Service, Stats, Status, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[cfg(test)]
mod tests;

const MODES: [&str; 2] = ["native", "generic"];
const ADMIN: [&str; 3] = ["ready", "drain", "removing"];
const ROLES: [&str; 4] = ["alone", "starting", "standby", "leader"];
const LINK_STATES: [&str; 4] = ["up", "init", "down", "admin_down"];

/// What counters that tell of something refused begin with; the reason follows.
const REFUSED: &str = "refused_";

/// All metrics as of now, in Prometheus's text format.
///
/// # Errors
///
/// If the daemon does not answer, or the kernel has no counters.
pub async fn of(daemon: &Handle) -> Result<String, Refusal> {
    let status = daemon.status().await?;
    let stats = daemon.stats().await?;
    Ok(text(&status, &stats))
}

/// The same, from what is known.
#[must_use]
pub fn text(status: &Status, stats: &Stats) -> String {
    let mut all = Exposition::default();
    daemon(&mut all, status);
    traffic(&mut all, stats);
    services(&mut all, &status.services);
    backends(&mut all, &status.services);
    packets(&mut all, status, stats);
    role(&mut all, &status.ha);
    if let Some(peer) = &status.ha.peer {
        self::peer(&mut all, peer);
    }
    if let Some(pair) = &status.ha.pair {
        self::pair(&mut all, pair);
    }
    all.finish()
}

fn daemon(all: &mut Exposition, status: &Status) {
    all.gauge(
        "headgate_build_info",
        "Always 1; the label says the version of lbd.",
    )
    .sample(&[("version", &status.version)], true);
    all.gauge("headgate_uptime_seconds", "Time since lbd was started.")
        .sample(&[], Duration::from_secs(status.uptime_s));
    all.gauge(
        "headgate_config_revision",
        "Revision of the configuration: grows with every change and every start of lbd.",
    )
    .sample(&[], status.revision);
    all.gauge(
        "headgate_config_changes",
        "Changes by lbctl that the configuration file does not have.",
    )
    .sample(&[], status.changes.len() as u64);
    all.gauge(
        "headgate_alarms",
        "Alarms: what an operator should know and mend. `lbctl status` has their words.",
    )
    .sample(&[], status.alarms.len() as u64);
    let mut attached = all.gauge(
        "headgate_interface_attached",
        "Whether the program is attached to the interface, in this mode.",
    );
    for interface in &status.interfaces {
        for mode in MODES {
            let labels = [("interface", interface.name.as_str()), ("mode", mode)];
            attached.sample(&labels, interface.mode == mode);
        }
    }
}

fn traffic(all: &mut Exposition, stats: &Stats) {
    type Directions = fn(&Traffic) -> [(&'static str, u64); 2];
    const PACKETS: Directions = |it| [("in", it.packets_in), ("out", it.packets_out)];
    const BYTES: Directions = |it| [("in", it.bytes_in), ("out", it.bytes_out)];

    let of_services = [
        (
            "headgate_service_packets_total",
            "Packets forwarded for the service: in from clients, out to clients.",
            PACKETS,
        ),
        (
            "headgate_service_bytes_total",
            "Bytes of these packets.",
            BYTES,
        ),
    ];
    for (name, help, directions) in of_services {
        let mut family = all.counter(name, help);
        for (service, traffic) in &stats.services {
            for (direction, count) in directions(traffic) {
                family.sample(&[("service", service), ("direction", direction)], count);
            }
        }
    }
    let mut connections = all.counter(
        "headgate_service_connections_total",
        "Connection attempts (SYNs) that were sent to backends of the service.",
    );
    for (service, traffic) in &stats.services {
        connections.sample(&[("service", service)], traffic.connections);
    }

    let of_backends = [
        (
            "headgate_backend_packets_total",
            "Packets forwarded to the backend (in) and from it (out).",
            PACKETS,
        ),
        (
            "headgate_backend_bytes_total",
            "Bytes of these packets.",
            BYTES,
        ),
    ];
    for (name, help, directions) in of_backends {
        let mut family = all.counter(name, help);
        for (backend, traffic) in &stats.backends {
            for (direction, count) in directions(traffic) {
                let [service, backend] = names(backend);
                family.sample(&[service, backend, ("direction", direction)], count);
            }
        }
    }
    let mut connections = all.counter(
        "headgate_backend_connections_total",
        "Connection attempts (SYNs) that were sent to the backend.",
    );
    for (backend, traffic) in &stats.backends {
        connections.sample(&names(backend), traffic.connections);
    }
}

/// The labels of `www/web1`.
fn names(backend: &str) -> [(&'static str, &str); 2] {
    let (service, backend) = backend.split_once('/').unwrap_or(("", backend));
    [("service", service), ("backend", backend)]
}

fn services(all: &mut Exposition, services: &[Service]) {
    let mut serving = all.gauge(
        "headgate_service_backends_serving",
        "Backends that are up and take new connections.",
    );
    for service in services {
        let count = service.backends.iter().filter(|it| it.serves()).count();
        serving.sample(&[("service", &service.name)], count as u64);
    }
    let mut slots = all.gauge(
        "headgate_service_slots",
        "Slots of the service's table, by state.",
    );
    for service in services {
        let counted = [
            ("clean", service.slots.clean),
            ("dirty", service.slots.dirty),
            ("settled", service.slots.settled),
            ("empty", service.slots.empty),
        ];
        for (state, count) in counted {
            let labels = [("service", service.name.as_str()), ("state", state)];
            slots.sample(&labels, u64::from(count));
        }
    }
}

fn backends(all: &mut Exposition, services: &[Service]) {
    let backends = by_name(services);
    let mut gauge = |name, help, value: fn(&Backend) -> u64| {
        let mut family = all.gauge(name, help);
        for backend in &backends {
            family.sample(&labels(backend), value(backend));
        }
    };
    gauge(
        "headgate_backend_up",
        "Whether the backend's checks succeed, and it can be reached.",
        |it| (it.operational == "up").into(),
    );
    gauge(
        "headgate_backend_weight",
        "The backend's share, relative to the others'.",
        |it| it.weight.into(),
    );
    gauge(
        "headgate_backend_slots",
        "Slots that the backend takes new connections for.",
        |it| it.slots.into(),
    );
    gauge(
        "headgate_backend_draining_slots",
        "Slots that still name the backend, for older connections.",
        |it| it.draining_slots.into(),
    );
    gauge(
        "headgate_backend_recorded_flows",
        "Flows recorded for the backend.",
        |it| it.recorded_flows,
    );
    let mut admin = all.gauge(
        "headgate_backend_admin",
        "What the operator wants of the backend: 1 for the state that it is in.",
    );
    for backend in &backends {
        admin.one_of(&labels(backend), "admin", &ADMIN, &backend.admin);
    }
}

fn labels(backend: &Backend) -> [(&'static str, &str); 2] {
    [("service", &backend.service), ("backend", &backend.name)]
}

/// Each backend once. One that leaves may have the name of another, which is listed before it.
fn by_name(services: &[Service]) -> Vec<&Backend> {
    let mut seen = BTreeSet::new();
    let backends = services.iter().flat_map(|service| &service.backends);
    backends
        .filter(|it| seen.insert((&it.service, &it.name)))
        .collect()
}

fn packets(all: &mut Exposition, status: &Status, stats: &Stats) {
    let mut packets = all.counter(
        "headgate_packets_total",
        "Packets that the program saw, by what became of them; `lbctl stats --total` explains each.",
    );
    for (reason, count) in &stats.reasons {
        packets.sample(&[("reason", reason)], *count);
    }
    let mut tracking = all.counter(
        "headgate_tracking_events_total",
        "What was done with the flow table.",
    );
    for (event, count) in &stats.tracking {
        tracking.sample(&[("event", event)], *count);
    }
    all.gauge(
        "headgate_flows_recorded",
        "Recorded flows, as of the last sweep.",
    )
    .sample(&[], status.flows.recorded);
    all.gauge(
        "headgate_flows_capacity",
        "Flows that there is room to record.",
    )
    .sample(&[], status.flows.capacity);
}

fn role(all: &mut Exposition, ha: &Ha) {
    all.gauge(
        "headgate_ha_role",
        "What this host is to the shared addresses: 1 for the role that it has.",
    )
    .one_of(&[], "role", &ROLES, &ha.role);
    all.gauge(
        "headgate_ha_role_age_seconds",
        "Time since the role changed.",
    )
    .sample(&[], Duration::from_secs(ha.since_s));
    if let Some(priority) = ha.priority {
        all.gauge(
            "headgate_ha_priority",
            "This host's VRRP priority, as configured.",
        )
        .sample(&[], u64::from(priority));
    }
    if let Some(priority) = ha.effective_priority {
        all.gauge(
            "headgate_ha_effective_priority",
            "What is left of the priority while something is wrong that is tracked.",
        )
        .sample(&[], u64::from(priority));
    }
    let mut counted = Counted::new(&ha.counters);
    if let Some(count) = counted.take("adverts_sent") {
        all.counter(
            "headgate_ha_adverts_sent_total",
            "VRRP advertisements sent.",
        )
        .sample(&[], count);
    }
    if let Some(count) = counted.take("adverts_heard") {
        all.counter(
            "headgate_ha_adverts_heard_total",
            "VRRP advertisements heard and heeded.",
        )
        .sample(&[], count);
    }
    let mut refused = all.counter(
        "headgate_ha_adverts_refused_total",
        "VRRP advertisements that were not heeded, by reason.",
    );
    for (reason, count) in counted.refused() {
        refused.sample(&[("reason", reason)], count);
    }
    let mut others = all.counter(
        "headgate_ha_events_total",
        "What else happened at this virtual router.",
    );
    for (event, count) in counted.others() {
        others.sample(&[("event", event)], count);
    }
}

fn peer(all: &mut Exposition, peer: &HaPeer) {
    all.gauge(
        "headgate_ha_peer_up",
        "Whether the other host is heard, and hears this one.",
    )
    .sample(&[("peer", &peer.address)], peer.up);
    all.gauge(
        "headgate_ha_lease_left_seconds",
        "For how long this host may act as owner if nothing renews its lease. 0: it may not.",
    )
    .sample(&[], Duration::from_millis(peer.lease_ms));
    all.gauge(
        "headgate_ha_heartbeat_lateness_seconds",
        "By how much this host's heartbeats were late at worst.",
    )
    .sample(&[], Duration::from_micros(peer.late_us));

    let mut state = all.gauge(
        "headgate_ha_link_state",
        "State of a way to the other host: 1 for the one that it is in.",
    );
    for link in &peer.links {
        state.one_of(&ends(link), "state", &LINK_STATES, &link.state);
    }
    let mut age = all.gauge(
        "headgate_ha_link_state_age_seconds",
        "Time since the state of the link changed.",
    );
    for link in &peer.links {
        age.sample(&ends(link), Duration::from_secs(link.since_s));
    }
    let mut detection = all.gauge(
        "headgate_ha_link_detection_seconds",
        "After how long a silence the other host is lost.",
    );
    for link in &peer.links {
        if let Some(detection_ms) = link.detection_ms {
            detection.sample(&ends(link), Duration::from_millis(detection_ms));
        }
    }

    let mut counted: Vec<_> = peer
        .links
        .iter()
        .map(|link| (ends(link), Counted::new(&link.counters)))
        .collect();
    let mut sent = all.counter(
        "headgate_ha_heartbeats_sent_total",
        "Heartbeats sent over the link.",
    );
    for (ends, counted) in &mut counted {
        if let Some(count) = counted.take("sent") {
            sent.sample(ends, count);
        }
    }
    let mut heard = all.counter(
        "headgate_ha_heartbeats_heard_total",
        "Heartbeats heard over the link, and heeded.",
    );
    for (ends, counted) in &mut counted {
        if let Some(count) = counted.take("heard") {
            heard.sample(ends, count);
        }
    }
    let mut refused = all.counter(
        "headgate_ha_heartbeats_refused_total",
        "Heartbeats that were not heeded, by reason.",
    );
    for ([local, remote], counted) in &counted {
        for (reason, count) in counted.refused() {
            refused.sample(&[*local, *remote, ("reason", reason)], count);
        }
    }
    let mut others = all.counter(
        "headgate_ha_link_events_total",
        "What else happened at the link.",
    );
    for ([local, remote], counted) in &counted {
        for (event, count) in counted.others() {
            others.sample(&[*local, *remote, ("event", event)], count);
        }
    }
}

fn pair(all: &mut Exposition, pair: &HaPair) {
    all.gauge(
        "headgate_pair_connected",
        "Whether the channel to the other host is up.",
    )
    .sample(&[], pair.connected);
    all.gauge(
        "headgate_pair_synchronised",
        "Whether the standby has all that the leader has.",
    )
    .sample(&[], pair.synchronised);
    all.gauge(
        "headgate_pair_lag_seconds",
        "For how long the other host has not confirmed what it was sent.",
    )
    .sample(&[], Duration::from_millis(pair.lag_ms));
    all.gauge(
        "headgate_pair_term",
        "How often the right to make changes has passed from host to host.",
    )
    .sample(&[], pair.version.term);
}

fn ends(link: &HaLink) -> [(&'static str, &str); 2] {
    [("local", &link.local), ("remote", &link.remote)]
}

/// Counters by name: those that have a metric of their own, those of refusals, and the others.
struct Counted<'a>(BTreeMap<&'a str, u64>);

impl<'a> Counted<'a> {
    fn new(counters: &'a BTreeMap<String, u64>) -> Self {
        let counters = counters.iter().map(|(name, count)| (name.as_str(), *count));
        Self(counters.collect())
    }

    fn take(&mut self, name: &str) -> Option<u64> {
        self.0.remove(name)
    }

    fn refused(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let all = self.0.iter();
        all.filter_map(|(name, count)| Some((name.strip_prefix(REFUSED)?, *count)))
    }

    fn others(&self) -> impl Iterator<Item = (&'a str, u64)> {
        let all = self.0.iter().map(|(name, count)| (*name, *count));
        all.filter(|(name, _)| !name.starts_with(REFUSED))
    }
}
