//! The configuration that a lab gives to lbd.

use std::fmt;
use std::net::SocketAddr;

use crate::layout::{self, Balancer, LB_BACK, Layout, VIP};

/// What a test may want to change, before or while lbd runs.
#[derive(Debug, Clone)]
pub struct LbdConfig {
    /// How long a connection may be silent before it is forgotten.
    pub idle_timeout: String,
    /// The address of the service `www`.
    pub vip: SocketAddr,
    /// What is asked of backends.
    pub check: &'static str,
    /// How often backends are checked.
    pub interval: String,
    /// How long a check may take.
    pub timeout: String,
    /// How many checks must succeed before a backend is up.
    pub rise: u32,
    /// How many checks must fail before a backend is down.
    pub fall: u32,
    /// How two balancers share the addresses, in a lab that has two.
    pub ha: Ha,
    /// The backends of `www`.
    pub backends: Vec<Backend>,
    /// Whether there is a service `https` beside `www`, with the same backends. They say on one port
    /// whether they are ready for both.
    pub https: bool,
    /// Further lines for the top level.
    pub top: String,
    /// Further lines for the service `www`.
    pub service: String,
    /// Further tables, such as other services.
    pub tables: String,
}

/// A backend of the service `www`.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its share, relative to the others.
    pub weight: u32,
}

/// What `[ha]` says, in a lab with two balancers.
#[derive(Debug, Clone)]
pub struct Ha {
    /// Of the first, and of the second.
    pub priorities: [u8; 2],
    /// From one advertisement to the next.
    pub interval: String,
    /// Whether the first takes over from the second, after so long.
    pub preempt: bool,
    /// Whether advertisements go to the other balancer alone, and not to the group.
    pub unicast: bool,
    /// Further addresses.
    pub addresses: Vec<String>,
    /// Further lines.
    pub more: String,
    /// The services of a further group, `post`. Of that, each has the priority that the other has in
    /// the main one.
    pub group: Vec<String>,
}

/// The virtual router's number in the main group.
const VRID: u8 = 51;
/// The link-local address that its router for IPv6 has if it was given none.
const VIRTUAL_LINK_LOCAL: &str = "fe80::200:5eff:fe00:233";

impl Ha {
    /// The same for keepalived, which multicasts.
    pub(crate) fn to_keepalived(&self, priority: u8) -> String {
        let seconds = self.interval.trim_end_matches("ms");
        let seconds: f64 = seconds.parse().map_or(1.0, |it: f64| it / 1_000.0);
        let preempt = if self.preempt { "" } else { "nopreempt" };
        let instance = |name: &str, addresses: &[String]| {
            let addresses = addresses.join("\n  ");
            format!(
                "vrrp_instance {name} {{\n state BACKUP\n interface eth0\n \
                 virtual_router_id {VRID}\n priority {priority}\n advert_int {seconds}\n \
                 {preempt}\n virtual_ipaddress {{\n  {addresses}\n }}\n}}\n"
            )
        };
        let mut config = "global_defs {\n vrrp_version 3\n}\n".to_owned();
        let v4 = [
            format!("{LB_BACK}/32 dev eth1"),
            format!("{VIP}/32 dev eth0"),
        ];
        config += &instance("shared", &v4);
        let mut v6 = vec![format!("{VIRTUAL_LINK_LOCAL}/128 dev eth0")];
        v6.extend(self.addresses.iter().filter(|it| it.contains(':')).cloned());
        if v6.len() > 1 {
            config += &instance("shared_v6", &v6);
        }
        config
    }

    fn to_toml(&self, balancer: Balancer) -> String {
        let Self {
            priorities: [first, second],
            interval,
            preempt,
            unicast,
            addresses,
            more,
            group,
        } = self;
        let [priority, other] = match balancer {
            Balancer::First => [first, second],
            Balancer::Second => [second, first],
        };
        let back = format!("{LB_BACK}/32 dev eth1");
        let addresses: Vec<&String> = std::iter::once(&back).chain(addresses).collect();
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(
                "[[ha.group]]\nname = \"post\"\nvrid = 52\npriority = {other}\n\
                 services = {group:?}\n"
            )
        };
        let peer = if *unicast {
            format!("peer = \"{}\"\n", balancer.other().front())
        } else {
            String::new()
        };
        format!(
            "\n[ha]\ninterface = \"eth0\"\nvrid = {VRID}\npriority = {priority}\n\
             interval = \"{interval}\"\npreempt = {preempt}\n\
             addresses = {addresses:?}\n{peer}{more}{group}"
        )
    }
}

impl LbdConfig {
    /// All web servers of the lab behind `www`, checked often.
    pub(crate) fn of(layout: &Layout) -> Self {
        let backend = |n| Backend {
            name: layout::web_name(n),
            address: layout::web_address(n),
            weight: 1,
        };
        Self {
            idle_timeout: "5s".to_owned(),
            vip: (layout::VIP, 80).into(),
            check: if layout.is_site() {
                "/readyz"
            } else {
                "/healthz"
            },
            interval: "200ms".to_owned(),
            timeout: "200ms".to_owned(),
            rise: 2,
            fall: 3,
            ha: Ha {
                priorities: [200, 100],
                interval: "100ms".to_owned(),
                preempt: true,
                unicast: false,
                addresses: Vec::new(),
                group: Vec::new(),
                more: String::new(),
            },
            backends: (1..=layout.webs()).map(backend).collect(),
            https: layout.is_site(),
            top: String::new(),
            service: String::new(),
            tables: String::new(),
        }
    }

    /// The text of a balancer's configuration file.
    pub(crate) fn to_toml(&self, layout: &Layout, balancer: Balancer) -> String {
        let ha = if layout.is_pair() {
            self.ha.to_toml(balancer)
        } else {
            String::new()
        };
        format!(
            "interfaces = [\"eth0\", \"eth1\"]\n\
             socket = \"{}\"\n\
             state_dir = \"{}\"\n\
             bpffs = \"{}\"\n\
             {self}{ha}",
            layout.socket_of(balancer).display(),
            layout.state_dir_of(balancer).display(),
            layout.bpffs_of(balancer).display(),
        )
    }
}

impl LbdConfig {
    /// The service for HTTPS.
    fn to_https(&self) -> Self {
        let mut https = self.clone();
        https.service.clear();
        https.vip.set_port(443);
        for backend in &mut https.backends {
            backend.address.set_port(layout::HTTPS_PORT);
        }
        https
    }

    /// A service with these backends, and how they are checked: at another port, if one is given.
    fn service(&self, name: &str, check_port: Option<u16>) -> String {
        let Self {
            vip,
            check,
            interval,
            timeout,
            rise,
            fall,
            service,
            ..
        } = self;
        let port = check_port.map(|port| format!("port = {port}\n"));
        let mut text = format!(
            "[[service]]\nname = \"{name}\"\nvip = \"{vip}/tcp\"\n{service}\n\
             [service.check]\ntype = \"http\"\npath = \"{check}\"\nexpect = 200\n{}\
             interval = \"{interval}\"\ntimeout = \"{timeout}\"\nrise = {rise}\nfall = {fall}\n",
            port.unwrap_or_default(),
        );
        for Backend {
            name,
            address,
            weight,
        } in &self.backends
        {
            text += &format!(
                "\n[[service.backend]]\nname = \"{name}\"\n\
                 address = \"{address}\"\nweight = {weight}\n"
            );
        }
        text
    }
}

/// The part that does not depend on where the lab's files are.
impl fmt::Display for LbdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            idle_timeout,
            top,
            tables,
            ..
        } = self;
        let mut services = self.service("www", None);
        if self.https {
            services += "\n";
            services += &self.to_https().service("https", Some(layout::WEB_PORT));
        }
        writeln!(
            f,
            "idle_timeout = \"{idle_timeout}\"\n{top}\n{services}\n{tables}"
        )
    }
}
