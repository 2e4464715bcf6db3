//! The configuration as the rest of the program knows it: valid by construction.
//!
//! Only [`mod@super::parse`] and [`super::change`] make these, and they refuse what contradicts itself.

use crate::proto::heartbeat::Timing;
use crate::proto::vrrp::{ChecksumForm, Interval, Preempt, Priority, Vrid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

/// All that `lbd` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names of the interfaces that the program is attached to.
    pub interfaces: Vec<String>,
    /// Where the API is served.
    pub socket: PathBuf,
    /// Where changes made by CLI are kept.
    pub state_dir: PathBuf,
    /// Where maps and links are pinned; on a BPF file system.
    pub bpffs: PathBuf,
    /// How long a connection may be silent before it may be forgotten.
    pub idle_timeout: Duration,
    /// Sizes of the maps, and the rate at which flows are recorded.
    pub limits: Limits,
    /// Where metrics are served over TCP, if they are. A loopback address.
    pub metrics: Option<SocketAddr>,
    /// How the addresses are shared with a second load balancer, if they are.
    pub ha: Option<Ha>,
    /// The services, by name.
    pub services: BTreeMap<Name, Service>,
}

impl Config {
    /// The keys in which `other` differs, and which only a start of lbd brings into effect.
    #[must_use]
    pub fn differs_until_restart(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("interfaces", self.interfaces != other.interfaces),
            ("socket", self.socket != other.socket),
            ("state_dir", self.state_dir != other.state_dir),
            ("bpffs", self.bpffs != other.bpffs),
            ("limits", self.limits != other.limits),
            ("metrics", self.metrics != other.metrics),
            ("ha", self.ha != other.ha),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(key, _)| key).collect()
    }
}

/// How two load balancers share the services' addresses: whichever leads has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ha {
    /// Where advertisements are sent and heard, and where the services' addresses are.
    pub interface: String,
    /// The number of the virtual router. The same on both.
    pub vrid: Vrid,
    /// The higher one leads.
    pub priority: Priority,
    /// From one advertisement to the next.
    pub interval: Interval,
    /// Whether a leader of lower priority is relieved.
    pub preempt: Preempt,
    /// The other one, if advertisements are sent to it alone and not to the group.
    pub peer: Option<Ipv4Addr>,
    /// What the checksum covers in advertisements that are sent.
    pub checksum: ChecksumForm,
    /// Whether the other one lives, if it is asked.
    pub heartbeats: Option<Heartbeats>,
    /// How the two are connected once they are paired. There is one whenever there is a peer.
    pub channel: Option<ChannelConfig>,
    /// Further addresses that whoever leads has: those that backends route their answers to.
    pub addresses: BTreeSet<OwnedAddress>,
    /// What lowers the priority while it is wrong.
    pub track: Vec<Track>,
}

/// Something without which the other host is the better leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What it is.
    pub tracked: Tracked,
    /// By how much the priority is lowered without it.
    pub weight: u8,
}

/// What is tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// That this interface is up.
    Interface(String),
    /// That the main table has a route to this network.
    Route(Network),
    /// That a backend of this service is up.
    Service(Name),
}

/// A network: `198.51.100.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// How the two tell each other that they live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// How often.
    pub timing: Timing,
    /// The UDP port, on both.
    pub port: u16,
    /// Over what.
    pub links: HeartbeatLinks,
}

/// The connection between the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// The TCP port, on both.
    pub port: u16,
    /// Over what.
    pub links: HeartbeatLinks,
}

/// The ways to the other host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatLinks {
    /// One: from the address of the interface of `[ha]` to the peer.
    Own(Ipv4Addr),
    /// These.
    Named(Vec<HeartbeatLink>),
}

/// A way to the other host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatLink {
    /// This host's address.
    pub local: Ipv4Addr,
    /// The other's.
    pub remote: Ipv4Addr,
}

/// An address that whoever leads has on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnedAddress {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: Ipv4Addr,
    /// How many bits of it name its network.
    pub prefix: u8,
}

impl Config {
    /// All that whoever leads has: the services' addresses, and those that are named in `[ha]`.
    /// Nothing without `[ha]`.
    #[must_use]
    pub fn owned_addresses(&self) -> BTreeSet<OwnedAddress> {
        let Some(ha) = &self.ha else {
            return BTreeSet::new();
        };
        let vips = self.services.values().map(|service| OwnedAddress {
            interface: ha.interface.clone(),
            address: *service.vip.ip(),
            prefix: 32,
        });
        vips.chain(ha.addresses.iter().cloned()).collect()
    }
}

/// Sizes of the maps. They take effect when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Services.
    pub services: u32,
    /// Backends of all services together.
    pub backends: u32,
    /// Recorded flows.
    pub flows: u32,
    /// Flows of a kind that each CPU may record in a second.
    pub records_per_second: u32,
}

/// The name of a service or backend: 1 to 63 letters, digits, `-`, `_` or `.`, the first of them
/// a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub(super) String);

/// A backend of a service, written `www/web1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendRef {
    /// The service.
    pub service: Name,
    /// The backend.
    pub backend: Name,
}

/// A virtual address that clients connect to, and the backends that serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The address and port clients connect to. TCP: `192.0.2.10:80/tcp`.
    pub vip: SocketAddrV4,
    /// Slots of its table: a prime.
    pub slots: u32,
    /// How its backends are checked.
    pub check: Check,
    /// Its backends, by name.
    pub backends: BTreeMap<Name, Backend>,
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its share, relative to the others': 1 to 1000.
    pub weight: u16,
    /// What the operator wants of it.
    pub admin: Admin,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admin {
    /// It serves, if it is healthy.
    #[default]
    Ready,
    /// It finishes the connections it has, and gets no new ones.
    Drain,
}

/// How a service's backends are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// From the beginning of one probe to that of the next.
    pub interval: Duration,
    /// How long a probe may take. At most the interval.
    pub timeout: Duration,
    /// Probes that must succeed in a row before a backend that was down is up.
    pub rise: u32,
    /// Probes that must fail in a row before a backend that was up is down.
    pub fall: u32,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nothing: the backend counts as up.
    None,
    /// Whether a TCP connection can be made.
    Tcp,
    /// Whether `GET path` is answered with the expected status.
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The `Host` header; the backend's address if not given.
        host: Option<String>,
        /// The status that is expected.
        expect: u16,
    },
}

impl Default for Check {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}

impl Network {
    /// The network of this address, unless bits are set that the prefix does not name, or there are
    /// not so many.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32_u32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let beyond = width.checked_sub(prefix.into())?;
        let host = 1_u128.checked_shl(beyond).map_or(u128::MAX, |it| it - 1);
        (bits & host == 0).then_some(Self { address, prefix })
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Route(network) => write!(f, "route {network}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

impl BackendRef {
    /// A backend of a service.
    #[must_use]
    pub fn new(service: &Name, backend: &Name) -> Self {
        Self {
            service: service.clone(),
            backend: backend.clone(),
        }
    }
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OwnedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            address,
            prefix,
        } = self;
        write!(f, "{address}/{prefix} dev {interface}")
    }
}

impl fmt::Display for BackendRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}
