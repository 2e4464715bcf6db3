//! The configuration as the rest of the program knows it: valid by construction.
//!
//! Only [`mod@super::parse`] and [`super::change`] make these, and they refuse what contradicts itself.

use crate::proto::heartbeat::Timing;
use crate::proto::vrrp::{ChecksumForm, Family, Interval, Preempt, Priority, Vrid, announce};
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
    /// Who answers unless this host is cut off: without it and without the other host, it does not
    /// lead.
    pub witness: Option<SocketAddrV4>,
    /// Further addresses that whoever leads has: those that backends route their answers to.
    pub addresses: BTreeSet<OwnedAddress>,
    /// What lowers the priority while it is wrong.
    pub track: Vec<Track>,
    /// Further groups of addresses, which another host may lead for.
    pub groups: Vec<Group>,
}

/// Addresses that are shared for themselves, by virtual routers of their own. The rest is as for the
/// main group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// The number of its virtual routers. The same on both.
    pub vrid: Vrid,
    /// The higher one leads.
    pub priority: Priority,
    /// Addresses that whoever leads has.
    pub addresses: BTreeSet<OwnedAddress>,
    /// Services whose addresses whoever leads has, too.
    pub services: BTreeSet<Name>,
}

/// A virtual router of this host: each group has one for each family that it has addresses of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouter {
    /// The group. `None`: the main one.
    pub group: Option<Name>,
    /// Of its addresses.
    pub family: Family,
    /// Its number.
    pub vrid: Vrid,
    /// Its priority, as configured.
    pub priority: Priority,
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

impl Ha {
    /// Whether nobody leads without this interface.
    #[must_use]
    pub fn needs(&self, interface: &str) -> bool {
        let groups = self.groups.iter().flat_map(|group| &group.addresses);
        let mut addresses = self.addresses.iter().chain(groups);
        self.interface == interface || addresses.any(|each| each.interface == interface)
    }

    /// Where the other host is to be reached.
    #[must_use]
    pub fn places(&self) -> Vec<IpAddr> {
        let links = self.channel.as_ref().map(|channel| &channel.links);
        match links {
            Some(HeartbeatLinks::Own(peer)) => vec![(*peer).into()],
            Some(HeartbeatLinks::Named(named)) => {
                named.iter().map(|link| link.remote.into()).collect()
            }
            None => Vec::new(),
        }
    }

    /// Whose this address is, if it is one that a host of the two has for itself: it moves with no
    /// leadership.
    #[must_use]
    pub fn fixed(&self, address: IpAddr) -> Option<&'static str> {
        let links = self.channel.iter().map(|channel| &channel.links);
        let named = links.filter_map(|links| match links {
            HeartbeatLinks::Own(_) => None,
            HeartbeatLinks::Named(named) => Some(named),
        });
        let mut named = named.flatten();
        if self.peer.map(IpAddr::from) == Some(address) {
            return Some("`peer` in [ha], an address that the other host has for itself");
        }
        named.find_map(|link| {
            if address == link.local {
                Some("this host's end of one of the heartbeat_links in [ha]")
            } else if address == link.remote {
                Some("the other host's end of one of the heartbeat_links in [ha]")
            } else {
                None
            }
        })
    }
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
    pub address: IpAddr,
    /// How many bits of it name its network.
    pub prefix: u8,
}

impl Config {
    /// The virtual routers of this host: first the one that decides its role, of the main group and
    /// IPv4. None without `[ha]`.
    #[must_use]
    pub fn virtual_routers(&self) -> Vec<VirtualRouter> {
        let Some(ha) = &self.ha else {
            return Vec::new();
        };
        let main = (None, ha.vrid, ha.priority, &ha.addresses);
        let groups = ha.groups.iter().map(|group| {
            let name = Some(group.name.clone());
            (name, group.vrid, group.priority, &group.addresses)
        });
        let mut routers = Vec::new();
        for (group, vrid, priority, addresses) in std::iter::once(main).chain(groups) {
            let named = addresses.iter().map(|each| each.address);
            let families: BTreeSet<Family> = named
                .chain(self.vips_of(group.as_ref()))
                .map(Family::of)
                .chain(group.is_none().then_some(Family::V4))
                .collect();
            routers.extend(families.into_iter().map(|family| VirtualRouter {
                group: group.clone(),
                family,
                vrid,
                priority,
            }));
        }
        routers
    }

    /// The addresses of a group's services. A service of no group has its address by the main one,
    /// unless a service of some group has the same.
    fn vips_of(&self, group: Option<&Name>) -> BTreeSet<IpAddr> {
        let vip = |service: &Service| service.vip.ip();
        let groups = self.ha.iter().flat_map(|ha| &ha.groups);
        let group_of = |address: IpAddr| {
            let group = groups.clone().find(|group| {
                let mut services = group.services.iter();
                services.any(|name| self.services.get(name).map(vip) == Some(address))
            });
            group.map(|group| &group.name)
        };
        let vips = self.services.values().map(vip);
        vips.filter(|address| group_of(*address) == group).collect()
    }

    /// All that a virtual router has where it leads: its services' addresses, and those that are
    /// named for it.
    #[must_use]
    pub fn shared_by(&self, router: &VirtualRouter) -> BTreeSet<OwnedAddress> {
        let Some(ha) = &self.ha else {
            return BTreeSet::new();
        };
        let named = |group: &&Group| Some(&group.name) == router.group.as_ref();
        let addresses = match ha.groups.iter().find(named) {
            Some(group) => &group.addresses,
            None => &ha.addresses,
        };
        let vips = self.vips_of(router.group.as_ref());
        let vips = vips.into_iter().map(|address| OwnedAddress {
            interface: ha.interface.clone(),
            address,
            prefix: if address.is_ipv4() { 32 } else { 128 },
        });
        let mut shared: BTreeSet<OwnedAddress> = vips
            .chain(addresses.iter().cloned())
            .filter(|each| Family::of(each.address) == router.family)
            .collect();
        // Its advertisements begin with one (RFC 9568, section 5.2.9).
        if router.family == Family::V6 && !shared.iter().any(OwnedAddress::is_link_local) {
            shared.insert(OwnedAddress {
                interface: ha.interface.clone(),
                address: announce::virtual_link_local(router.vrid).into(),
                prefix: 128,
            });
        }
        shared
    }
}

impl OwnedAddress {
    /// Whether it is an IPv6 address of its link alone.
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
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

/// The virtual address of a service: `192.0.2.10:80/tcp`, `[2001:db8::1]:53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vip {
    /// The address and port clients connect to.
    pub address: SocketAddr,
    /// What they speak.
    pub protocol: Protocol,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

/// A virtual address that clients connect to, and the backends that serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What clients connect to.
    pub vip: Vip,
    /// Whether connections stay with their backends when backends come and go. A service of UDP may
    /// do without.
    pub tracked: bool,
    /// How long a connection may be silent before it may be forgotten, if not as long as for others.
    pub idle_timeout: Option<Duration>,
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
    pub address: SocketAddr,
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
    /// The port that is asked; the backend's own if not given.
    pub port: Option<u16>,
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

impl Vip {
    /// The address.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Default for Check {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            port: None,
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
