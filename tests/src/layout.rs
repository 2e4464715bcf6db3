//! Where everything of a lab is: names, addresses, files.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::netns::Namespace;

/// The directory of all labs' directories.
const RUN: &str = "/run/headgate";

/// The file that makes a directory a lab's, and tells which namespaces belong to it.
const MARKER: &str = "lab.json";

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The load balancer's address on the clients' side.
pub const LB_FRONT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The address that clients connect to.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The load balancer's address on the web servers' side.
pub const LB_BACK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
/// The second load balancer's address on the clients' side, where there are two.
pub const LB2_FRONT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The first load balancer's own address on the web servers' side, where there are two: then
/// [`LB_BACK`] belongs to whichever leads.
pub const LB1_BACK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The second load balancer's.
pub const LB2_BACK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The port of the channel between two balancers, TCP.
pub const CHANNEL_PORT: u16 = 4786;
/// The port that web servers serve HTTP on.
pub const WEB_PORT: u16 = 8080;
/// The port that web servers serve HTTPS on, in a lab with a whole site.
pub const HTTPS_PORT: u16 = 8443;
/// The port that app servers serve HTTPS on.
pub const APP_PORT: u16 = 9443;
/// The port of database servers.
pub const DB_PORT: u16 = 3306;
/// The port that web servers echo on.
pub const ECHO_PORT: u16 = 7;
/// How many web servers fit in the addresses.
pub const MAX_WEBS: u8 = 200;
/// The name of the site, which the DNS server answers with the [`VIP`].
pub const SITE: &str = "www.foobar.com";
/// The DNS server's address.
pub const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// How many app servers a site has.
pub const APPS: u8 = 2;
/// How many database servers a site has: a primary, the first of them at first, and replicas.
pub const DBS: u8 = 3;
/// How many web servers a site has at most: the next address is an app server's.
pub const SITE_MAX_WEBS: u8 = 9;

/// The address of IPv6 that a host has beside this one, in a lab that has both.
pub const fn six(address: Ipv4Addr) -> Ipv6Addr {
    let [first, _, _, host] = address.octets();
    let network = if first == 192 { 1 } else { 2 };
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host as u16)
}

/// The address of web server `n`, the first being 1.
pub fn web_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, n.saturating_add(10))
}

/// The address that web server `n` serves HTTP on.
pub fn web_address(n: u8) -> SocketAddr {
    (web_ip(n), WEB_PORT).into()
}

/// The name of web server `n`.
pub fn web_name(n: u8) -> String {
    format!("web{n}")
}

/// The address of app server `n`, the first being 1.
pub fn app_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, n.saturating_add(20))
}

/// The name of app server `n`.
pub fn app_name(n: u8) -> String {
    format!("app{n}")
}

/// The address of database server `n`, the first being 1.
pub fn db_ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, n.saturating_add(30))
}

/// The name of database server `n`.
pub fn db_name(n: u8) -> String {
    format!("db{n}")
}

/// A load balancer of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancer {
    /// The only one, or the one that is to lead.
    First,
    /// The one that stands by, in a lab that has two.
    Second,
}

impl Balancer {
    /// The name of its host.
    pub const fn host(self) -> &'static str {
        match self {
            Self::First => "lb",
            Self::Second => "lb2",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Its address on the clients' side.
    pub const fn front(self) -> Ipv4Addr {
        match self {
            Self::First => LB_FRONT,
            Self::Second => LB2_FRONT,
        }
    }

    /// The names of its log and of its files begin with this.
    pub const fn lbd(self) -> &'static str {
        match self {
            Self::First => "lbd",
            Self::Second => "lbd2",
        }
    }

    /// Those of a keepalived in its place begin with this.
    pub const fn keepalived(self) -> &'static str {
        match self {
            Self::First => "keepalived",
            Self::Second => "keepalived2",
        }
    }
}

/// The names that a lab's parts go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    name: String,
    webs: u8,
    pair: bool,
    site: bool,
    ipv6: bool,
}

impl Layout {
    /// The layout of a lab. The name becomes part of the names of files and namespaces.
    pub fn new(name: &str, webs: u8) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            !name.is_empty() && name.len() <= 32 && name.chars().all(plain),
            "a lab's name is up to 32 lower-case letters, digits and underscores, not {name:?}"
        );
        ensure!(webs <= MAX_WEBS, "a lab has at most {MAX_WEBS} web servers");
        Ok(Self {
            name: name.to_owned(),
            webs,
            pair: false,
            site: false,
            ipv6: false,
        })
    }

    /// The same with two load balancers.
    #[must_use]
    pub fn with_pair(self) -> Self {
        Self { pair: true, ..self }
    }

    /// The same with IPv6 beside IPv4.
    #[must_use]
    pub fn with_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// The same with a DNS server, app servers and database servers.
    pub fn with_site(self) -> Result<Self> {
        let (webs, max) = (self.webs, SITE_MAX_WEBS);
        ensure!(
            webs <= max,
            "a site has at most {max} web servers, not {webs}"
        );
        Ok(Self { site: true, ..self })
    }

    /// The layout of a lab that exists, in whatever state.
    pub fn load(name: &str) -> Result<Self> {
        let path = Self::new(name, 0)?.file(MARKER);
        let text = fs::read_to_string(&path).with_context(|| format!("there is no lab {name}"))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{} is broken", path.display()))?;
        let webs = value["webs"]
            .as_u64()
            .and_then(|webs| u8::try_from(webs).ok());
        let layout = Self::new(
            name,
            webs.with_context(|| format!("{} has no webs", path.display()))?,
        )?;
        Ok(Self {
            pair: value["pair"] == true,
            site: value["site"] == true,
            ipv6: value["ipv6"] == true,
            ..layout
        })
    }

    /// All labs that exist.
    pub fn all() -> Result<Vec<Self>> {
        let mut labs = Vec::new();
        let Ok(entries) = fs::read_dir(RUN) else {
            return Ok(labs);
        };
        for entry in entries {
            let entry = entry?;
            if entry.path().join(MARKER).exists() {
                labs.push(Self::load(&entry.file_name().to_string_lossy())?);
            }
        }
        labs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(labs)
    }

    /// Creates the directory and its marker. An error if there is a lab of this name.
    pub(crate) fn save(&self) -> Result<()> {
        fs::create_dir_all(RUN).context("failed to create /run/headgate (it takes root)")?;
        let dir = self.run_dir();
        fs::create_dir(&dir).with_context(|| {
            format!(
                "failed to create {}: is there a lab {} already?",
                dir.display(),
                self.name
            )
        })?;
        fs::write(
            self.file(MARKER),
            json!({
                "webs": self.webs,
                "pair": self.pair,
                "site": self.site,
                "ipv6": self.ipv6,
            })
            .to_string(),
        )?;
        Ok(())
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many web servers it has room for.
    pub fn webs(&self) -> u8 {
        self.webs
    }

    /// The load balancers that it has.
    pub fn balancers(&self) -> &'static [Balancer] {
        if self.pair {
            &[Balancer::First, Balancer::Second]
        } else {
            &[Balancer::First]
        }
    }

    /// Whether it has two load balancers.
    pub fn is_pair(&self) -> bool {
        self.pair
    }

    /// Whether its hosts have addresses of IPv6, too: those of [`six`].
    pub fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Whether there is more behind its web servers, and a DNS server in front.
    pub fn is_site(&self) -> bool {
        self.site
    }

    /// The names of its hosts: client, lb, switch, web1, web2, …
    pub fn hosts(&self) -> Vec<String> {
        let balancers = self.balancers().iter().map(|each| each.host());
        let fixed = ["client"].into_iter().chain(balancers).chain(["switch"]);
        let site = self.site.then(|| {
            (1..=APPS)
                .map(app_name)
                .chain((1..=DBS).map(db_name))
                .chain(["dns".to_owned()])
        });
        fixed
            .map(str::to_owned)
            .chain((1..=self.webs).map(web_name))
            .chain(site.into_iter().flatten())
            .collect()
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> Namespace {
        Namespace::named(format!("{}-{host}", self.name))
    }

    /// The namespaces of all hosts.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.hosts()
            .iter()
            .map(|host| self.namespace(host))
            .collect()
    }

    /// The lab's directory.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(RUN).join(&self.name)
    }

    /// The configuration of lbd.
    pub fn config(&self) -> PathBuf {
        self.config_of(Balancer::First)
    }

    /// The configuration of a balancer's lbd.
    pub fn config_of(&self, balancer: Balancer) -> PathBuf {
        self.file(&format!("{}.toml", balancer.lbd()))
    }

    /// The socket that lbd listens on.
    pub fn socket(&self) -> PathBuf {
        self.socket_of(Balancer::First)
    }

    /// The socket that a balancer's lbd listens on.
    pub fn socket_of(&self, balancer: Balancer) -> PathBuf {
        self.file(&format!("{}.sock", balancer.lbd()))
    }

    /// The BPF file system that lbd pins its maps and links in.
    pub fn bpffs(&self) -> PathBuf {
        self.bpffs_of(Balancer::First)
    }

    /// The BPF file system of a balancer.
    pub fn bpffs_of(&self, balancer: Balancer) -> PathBuf {
        self.file(match balancer {
            Balancer::First => "bpf",
            Balancer::Second => "bpf2",
        })
    }

    /// The state that lbd keeps.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir_of(Balancer::First)
    }

    /// The state that a balancer's lbd keeps.
    pub fn state_dir_of(&self, balancer: Balancer) -> PathBuf {
        self.file(match balancer {
            Balancer::First => "state",
            Balancer::Second => "state2",
        })
    }

    /// What a program of the lab wrote.
    pub fn log(&self, program: &str) -> PathBuf {
        self.file(&format!("{program}.log"))
    }

    /// The configuration of a program.
    pub fn config_for(&self, program: &str) -> PathBuf {
        self.file(&format!("{program}.toml"))
    }

    /// The site's certificates.
    pub fn pki_dir(&self) -> PathBuf {
        self.file("pki")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.run_dir().join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_reach_other_files_are_refused() {
        for name in ["", ".", "..", "a/b", "a-web1", "A", "a b"] {
            assert!(Layout::new(name, 1).is_err(), "{name:?}");
        }
        assert!(Layout::new("headgate", MAX_WEBS).is_ok());
    }

    #[test]
    fn each_host_has_a_namespace() {
        let lab = Layout::new("x", 2).unwrap();
        assert_eq!(lab.hosts(), ["client", "lb", "switch", "web1", "web2"]);
        assert_eq!(lab.namespace("web2").name(), "x-web2");
        let hosts = ["client", "lb", "lb2", "switch", "web1", "web2"];
        assert_eq!(lab.clone().with_pair().hosts(), hosts);
        let hosts = [
            "client", "lb", "switch", "web1", "web2", "app1", "app2", "db1", "db2", "db3", "dns",
        ];
        assert_eq!(lab.with_site().unwrap().hosts(), hosts);
        let crowded = Layout::new("x", SITE_MAX_WEBS + 1).unwrap();
        assert!(crowded.with_site().is_err());
    }
}
