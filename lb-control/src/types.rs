//! What goes over the API. `lbctl --json` prints these as they are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of lbd.
    pub version: String,
    /// The revision of the configuration: grows with every change.
    pub revision: u64,
    /// Seconds since lbd started.
    pub uptime_s: u64,
    /// What an operator should know and mend. Empty if all is well.
    pub alarms: Vec<String>,
    /// The interfaces the program is attached to.
    pub interfaces: Vec<Interface>,
    /// Whether this host leads.
    pub ha: Ha,
    /// The services.
    pub services: Vec<Service>,
    /// What was changed by CLI, against the file, in words.
    pub changes: Vec<String>,
    /// Recorded flows.
    pub flows: Flows,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// `native`, `generic` or `not attached`.
    pub mode: String,
}

/// `POST /v1/ha/switch`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Who is to lead: `self`, `peer`, or a host by its name or address. `None`: whoever does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// `GET /v1/ha`: which of two hosts has the addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ha {
    /// `leader`, `standby`, `starting`, or `alone`: there is no other.
    pub role: String,
    /// Seconds since its role changed.
    pub since_s: u64,
    /// Why it did, in words.
    pub reason: String,
    /// Where it advertises.
    pub interface: Option<String>,
    /// The number of the virtual router.
    pub vrid: Option<u8>,
    /// Its priority, as configured.
    pub priority: Option<u8>,
    /// What is left of it while something is wrong that is tracked.
    #[serde(default)]
    pub effective_priority: Option<u8>,
    /// What is wrong.
    #[serde(default)]
    pub lowered_by: Vec<String>,
    /// From one of its advertisements to the next.
    pub interval_ms: Option<u64>,
    /// Where it advertises from.
    pub address: Option<String>,
    /// What whoever leads has.
    pub addresses: Vec<String>,
    /// The other one, if that leads.
    pub leader: Option<HaLeader>,
    /// The other groups, and the main one over IPv6.
    #[serde(default)]
    pub groups: Vec<HaGroup>,
    /// Whether the other host lives. Only where heartbeats are sent.
    #[serde(default)]
    pub peer: Option<HaPeer>,
    /// What the two know of each other. Only where a peer is configured.
    #[serde(default)]
    pub pair: Option<HaPair>,
    /// Its priority was lowered to this when it handed leadership over.
    #[serde(default)]
    pub stands_behind: Option<u8>,
    /// What was sent, heard and refused since lbd was started, and how often it led.
    pub counters: BTreeMap<String, u64>,
}

/// What this host is to a further group of addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaGroup {
    /// Its name. `None`: the main one.
    pub name: Option<String>,
    /// The family of its addresses: `IPv4` or `IPv6`.
    pub family: String,
    /// `leader`, `standby` or `starting`.
    pub role: String,
    /// Seconds since its role changed.
    pub since_s: u64,
    /// Why it did, in words.
    pub reason: String,
    /// The number of the virtual router.
    pub vrid: u8,
    /// Its priority, as configured.
    pub priority: u8,
    /// What is left of it while something is wrong that is tracked.
    pub effective_priority: u8,
    /// Where it advertises from.
    pub address: Option<String>,
    /// What whoever leads has.
    pub addresses: Vec<String>,
    /// The other one, if that leads.
    pub leader: Option<HaLeader>,
    /// What was sent, heard and refused.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// The other host, by its heartbeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaPeer {
    /// Its address.
    pub address: String,
    /// Whether it is heard, and hears this host.
    pub up: bool,
    /// Why it was lost, if it was.
    pub lost: Option<String>,
    /// For how long this host may act as owner if nothing renews its lease. 0: it may not.
    pub lease_ms: u64,
    /// By how much this host's heartbeats were late at worst.
    pub late_us: u64,
    /// The ways to it.
    pub links: Vec<HaLink>,
}

/// What two hosts of a pair know of each other, over the channel between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HaPair {
    /// Whether it is known who the other host is.
    pub paired: bool,
    /// Whether the channel is up.
    pub connected: bool,
    /// Since when, in seconds.
    pub since_s: Option<u64>,
    /// Why it is not.
    pub down: Option<String>,
    /// Whether the standby has all that the leader has.
    pub synchronised: bool,
    /// Why not.
    pub lacks: Option<String>,
    /// For how long the standby has not confirmed what it was sent, in milliseconds.
    pub lag_ms: u64,
    /// The configuration of this host.
    pub version: HaVersion,
    /// The other host, while the channel is up.
    pub host: Option<HaPairHost>,
}

/// The other host of a pair, as it tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HaPairHost {
    /// What it is called: the beginning of its certificate's fingerprint.
    pub name: String,
    /// The release that it runs.
    pub release: String,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it would, if this host did not.
    pub ready: bool,
    /// Its priority at the moment.
    pub priority: u8,
    /// Its configuration.
    pub version: HaVersion,
}

/// Which configuration a host has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HaVersion {
    /// How often the right to make changes has passed from host to host.
    pub term: u64,
    /// How many changes there were: the revision.
    pub epoch: u64,
    /// A digest of it.
    pub hash: String,
}

/// A way to the other host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaLink {
    /// This host's address.
    pub local: String,
    /// The other's.
    pub remote: String,
    /// `up`, `down`, `init` or `admin_down`.
    pub state: String,
    /// Seconds since its state changed.
    pub since_s: u64,
    /// After how long a silence the other host is lost, if it is heard.
    pub detection_ms: Option<u64>,
    /// What was sent, heard and refused.
    pub counters: BTreeMap<String, u64>,
}

/// The other one, which leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaLeader {
    /// Where it advertises from.
    pub address: String,
    /// Its priority.
    pub priority: u8,
    /// From one of its advertisements to the next.
    pub interval_ms: u64,
}

/// Recorded flows, as of the last sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// How many there are.
    pub recorded: u64,
    /// How many there can be.
    pub capacity: u64,
}

/// `GET /v1/services`, `GET /v1/services/{name}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `192.0.2.10:80/tcp`, `[2001:db8::10]:53/udp`
    pub vip: String,
    /// Slots of its table, by state.
    pub slots: Slots,
    /// How its backends are checked, in words.
    pub check: String,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// The slots of a service, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slots {
    /// All of them.
    pub total: u32,
    /// Answered without looking anything up.
    pub clean: u32,
    /// Changed lately: new connections are recorded.
    pub dirty: u32,
    /// Changed a while ago: recorded connections are looked up.
    pub settled: u32,
    /// Without a backend.
    pub empty: u32,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// The service's name.
    pub service: String,
    /// Its name.
    pub name: String,
    /// `10.0.2.11:8080`, `[2001:db8:2::11]:8080`
    pub address: String,
    /// Its share, relative to the others'.
    pub weight: u16,
    /// `ready`, `drain`, or `removing`.
    pub admin: String,
    /// `init`, `up`, `down`, or `unresolved` (no route, or no answer to ARP or
    /// neighbour discovery).
    pub operational: String,
    /// Why it is what it is, in words.
    pub reason: String,
    /// Seconds since its operational state changed.
    pub since_s: u64,
    /// Slots it takes new connections for.
    pub slots: u32,
    /// Slots that still name it, for older connections.
    pub draining_slots: u32,
    /// Flows recorded for it.
    pub recorded_flows: u64,
}

impl Backend {
    /// Whether it takes new connections, as far as checks and the operator are concerned.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.operational == "up" && self.admin == "ready"
    }
}

/// `GET /v1/events`: what happened, the oldest first. Only the latest events are kept.
///
/// `?after=N` asks for those after number N, and waits for a while if there is none; with
/// `&since=S` N is one of the lbd that was started then, and none if it is another one by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// When this lbd began to count events, in nanoseconds of the system's clock: tells it from
    /// others.
    pub since: u64,
    /// The number of the latest event; 0 if there is none.
    pub last: u64,
    /// How many of those that were asked for are no longer kept.
    pub lost: u64,
    /// Those that are.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number: the first is 1.
    pub number: u64,
    /// When, in UTC (RFC 3339).
    pub time: String,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// What, in words.
    pub message: String,
    /// To what, and why.
    pub fields: BTreeMap<String, String>,
}

/// `GET /v1/stats`: counters since the maps were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Nanoseconds of the monotonic clock when they were read.
    pub at_ns: u64,
    /// Per service.
    pub services: BTreeMap<String, Traffic>,
    /// Per backend, as `www/web1`.
    pub backends: BTreeMap<String, Traffic>,
    /// Packets per verdict.
    pub reasons: BTreeMap<String, u64>,
    /// What was done with the flow table.
    pub tracking: BTreeMap<String, u64>,
}

/// Traffic of a service or backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Connection attempts (SYNs).
    pub connections: u64,
}

/// `POST /v1/services`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// `192.0.2.10:80/tcp`, `[2001:db8::10]:53/udp`
    pub vip: String,
    /// Of UDP: whether flows stay with their backends when backends come and go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracked: Option<bool>,
    /// How long a connection may be silent, if not as long as for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// Slots of its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// How its backends are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// `PATCH /v1/services/{name}`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePatch {
    /// How its backends are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// A health check, as in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `tcp`, `http` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Another one than the backend's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// For `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u16>,
    /// As `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// As `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Successes until up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failures until down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
}

/// `POST /v1/services/{service}/backends`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// Its name.
    pub name: String,
    /// `10.0.2.11:8080`, `[2001:db8:2::11]:8080`
    pub address: String,
    /// Its share; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// `PATCH /v1/services/{service}/backends/{name}`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendPatch {
    /// Its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// `ready` or `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// The answer to a change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The revision that it made.
    pub revision: u64,
}

/// The answer to what was refused: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// In a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, and what would be right.
    pub detail: String,
}

/// `GET /v1/pair`: whether this host and another one trust each other, and are connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Whether there is another one that is trusted.
    pub paired: bool,
    /// This host's certificate.
    pub own: PairCertificate,
    /// The other's.
    pub peer: Option<PairCertificate>,
    /// The connection, if there is one.
    pub connection: Option<PairConnection>,
    /// For how many seconds an invitation is open yet.
    pub invitation_s: Option<u64>,
    /// What keeps this host from being reached.
    pub fault: Option<String>,
    /// What went wrong last, with the other one or at its addresses.
    pub failure: Option<PairFailure>,
    /// Connections from other addresses than the other one's that were turned away.
    #[serde(default)]
    pub strangers: u64,
}

/// What a host of a pair is known by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairCertificate {
    /// SHA-256, in hexadecimal.
    pub fingerprint: String,
    /// Until when it is valid, in UTC (RFC 3339).
    pub expires: Option<String>,
}

/// The connection of a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairConnection {
    /// This host's address.
    pub local: String,
    /// The other's.
    pub remote: String,
    /// For how many seconds there has been one.
    pub since_s: u64,
}

/// Something that went wrong between the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairFailure {
    /// How many seconds ago.
    pub since_s: u64,
    /// What.
    pub reason: String,
}

/// The answer to `POST /v1/pair/invitation`. It is a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    /// What the other host needs to join.
    pub token: String,
    /// For how many seconds it is of use.
    pub lifetime_s: u64,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").finish_non_exhaustive()
    }
}

/// `POST /v1/pair/join`. It is a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// What the other host gave out.
    pub token: String,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").finish_non_exhaustive()
    }
}

/// `GET /v1/version`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Version of lbd.
    pub version: String,
}
