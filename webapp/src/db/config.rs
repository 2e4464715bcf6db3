//! Where the servers are, who asks, and how long everything may take.

use std::fmt;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::{Error, Result};

/// Where the configuration is, unless told otherwise.
pub const DEFAULT_FILE: &str = "/etc/headgate/webapp.toml";

/// A cluster, as a configuration file describes it.
///
/// ```toml
/// user = "webapp"
/// password_file = "/etc/headgate/db.password"
/// database = "webapp"
/// ca = "/etc/headgate/ca.pem"
///
/// [[servers]]
/// name = "db1"
/// host = "10.0.2.31"
///
/// [[servers]]
/// name = "db2"
/// host = "10.0.2.32"
///
/// [limits]
/// max_lag = "2s"
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// All servers, in any order: which is the primary is not configured, it is asked.
    pub servers: Vec<ServerConfig>,
    /// The account that reads and writes. It must not be allowed to write to a read-only server.
    pub user: String,
    /// A file with the account's password, in one line.
    pub password_file: PathBuf,
    /// The database.
    pub database: String,
    /// The authority that the servers' certificates come from.
    pub ca: PathBuf,
    /// A certificate of our own, for servers that ask for one. It takes `key` as well.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// The account that promotes, if it is another one.
    pub admin: Option<Account>,
    /// How much of everything.
    #[serde(default)]
    pub limits: Limits,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// What people call it.
    pub name: String,
    /// A host name or an address. The server's certificate must be for it.
    pub host: String,
    /// The port.
    #[serde(default = "mysql_port")]
    pub port: u16,
}

/// An account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// A file with its password, in one line.
    pub password_file: PathBuf,
}

/// Bounds of time and number. Each has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections to each server.
    pub connections: usize,
    /// Of those to the primary, how many may be reads that no replica could take.
    pub spill: usize,
    /// How long a call may take to get a connection.
    #[serde(deserialize_with = "duration")]
    pub acquire: Duration,
    /// How long one attempt to connect may take.
    #[serde(deserialize_with = "duration")]
    pub connect: Duration,
    /// How long a statement may take. The server itself ends those that take longer.
    #[serde(deserialize_with = "duration")]
    pub statement: Duration,
    /// How long a commit may take before its outcome counts as unknown.
    #[serde(deserialize_with = "duration")]
    pub commit: Duration,
    /// How long a replica may take to get what a token stands for.
    #[serde(deserialize_with = "duration")]
    pub causal_wait: Duration,
    /// How far behind a replica may be.
    #[serde(deserialize_with = "duration")]
    pub max_lag: Duration,
    /// How often each server is looked at.
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
    /// How long a look may take.
    #[serde(deserialize_with = "duration")]
    pub probe_timeout: Duration,
    /// After how many good looks in a row a server is in the rotation again.
    pub rise: u32,
    /// After how many looks without an answer in time a primary is no longer taken for one.
    pub fall: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16,
            spill: 8,
            acquire: Duration::from_secs(3),
            connect: Duration::from_secs(2),
            statement: Duration::from_secs(5),
            commit: Duration::from_secs(10),
            causal_wait: Duration::from_millis(500),
            max_lag: Duration::from_secs(5),
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_secs(1),
            rise: 3,
            fall: 2,
        }
    }
}

impl Config {
    /// Reads a file that holds a cluster, alone or as its table `db`.
    pub fn load(path: &Path) -> Result<Self> {
        let wrong = |error: &dyn fmt::Display| {
            let error = error.to_string();
            Error::Config(format!(
                "failed to read {}: {}",
                path.display(),
                error.trim_end()
            ))
        };
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let config = Self::parse(&text).map_err(|error| wrong(&error))?;
        config.read_authority().map_err(|error| wrong(&error))?;
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        let cluster = match table.remove("db") {
            Some(cluster) => {
                // A table that is not read would be one that has no effect.
                if let Some(stranger) = table.keys().next() {
                    return Err(format!(
                        "nothing reads `{stranger}` beside `db`: is it one of its keys?"
                    ));
                }
                cluster
            }
            None => table.into(),
        };
        let config: Self = cluster
            .try_into()
            .map_err(|error: toml::de::Error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Without it every connection would fail, and none would say that the reason is this file.
    fn read_authority(&self) -> Result<(), String> {
        let ca = self.ca.display();
        let found = CertificateDer::pem_file_iter(&self.ca).and_then(Iterator::collect);
        match found {
            Ok(found) if Vec::is_empty(&found) => {
                Err(format!("`ca` is {ca}, which holds no certificate"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("`ca` is {ca}: {error}")),
        }
    }

    /// An error if it makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Config(what));
        if self.user.is_empty() || self.database.is_empty() {
            return wrong("user and database are not empty".to_owned());
        }
        if self.servers.is_empty() {
            return wrong("no database server is configured".to_owned());
        }
        for (n, server) in self.servers.iter().enumerate() {
            if server.name.is_empty() || server.host.is_empty() {
                return wrong(format!("database server {} lacks a name or a host", n + 1));
            }
            if server.host.contains(':') && server.host.parse::<Ipv6Addr>().is_err() {
                let (name, host) = (&server.name, &server.host);
                return wrong(format!("{name} is at {host:?}: its port goes into `port`"));
            }
            for other in self.servers.iter().skip(n + 1) {
                if server.name == other.name {
                    return wrong(format!("two database servers are named {}", server.name));
                }
                if (&server.host, server.port) == (&other.host, other.port) {
                    let (one, two) = (&server.name, &other.name);
                    return wrong(format!("{one} and {two} are the same server"));
                }
            }
        }
        if self.cert.is_some() != self.key.is_some() {
            return wrong("cert and key go together".to_owned());
        }
        let Limits {
            connections,
            spill,
            rise,
            fall,
            ..
        } = self.limits;
        if connections == 0 || spill == 0 || rise == 0 || fall == 0 {
            return wrong("connections, spill, rise and fall are at least 1".to_owned());
        }
        let intervals = [
            ("acquire", self.limits.acquire),
            ("connect", self.limits.connect),
            ("statement", self.limits.statement),
            ("commit", self.limits.commit),
            ("max_lag", self.limits.max_lag),
            ("probe_interval", self.limits.probe_interval),
            ("probe_timeout", self.limits.probe_timeout),
        ];
        match intervals.iter().find(|(_, interval)| interval.is_zero()) {
            Some((name, _)) => wrong(format!("{name} must be longer than nothing")),
            None => Ok(()),
        }
    }
}

const fn mysql_port() -> u16 {
    3306
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!(
            "{text:?} is no duration such as 250ms or 5s: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        user = "webapp"
        password_file = "/p"
        database = "webapp"
        ca = "/ca.pem"
        [[servers]]
        name = "db1"
        host = "10.0.2.31"
        [[servers]]
        name = "db2"
        host = "10.0.2.32"
        port = 3307
        [limits]
        max_lag = "250ms"
    "#;

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.servers[0].port, 3306);
        assert_eq!(config.servers[1].port, 3307);
        assert_eq!(config.limits.max_lag, Duration::from_millis(250));
        assert_eq!(config.limits.connections, 16);
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (from, to, why) in [
            ("\"db2\"", "\"db1\"", "two database servers are named db1"),
            (
                "10.0.2.32\"\n        port = 3307",
                "10.0.2.31\"",
                "are the same server",
            ),
            ("\"250ms\"", "\"soon\"", "no duration"),
            ("\"250ms\"", "\"0s\"", "max_lag must be longer"),
            ("max_lag", "max_leg", "unknown field"),
            ("max_lag = \"250ms\"", "rise = 0", "at least 1"),
            ("10.0.2.32", "10.0.2.32:3307", "its port goes into `port`"),
            ("user = \"webapp\"", "user = \"\"", "are not empty"),
            ("ca =", "cert = \"/c\"\nca =", "go together"),
        ] {
            let error = Config::parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
    }

    #[test]
    fn a_table_that_would_have_no_effect_is_refused() {
        let within = GOOD
            .replace("user =", "[db]\nuser =")
            .replace("[servers]", "[db.servers]");
        let error = Config::parse(&within).unwrap_err();
        assert!(error.contains("nothing reads `limits`"), "{error}");
        let within = within.replace("[limits]", "[db.limits]");
        let config = Config::parse(&within).unwrap();
        assert_eq!(config.limits.max_lag, Duration::from_millis(250));
    }

    #[test]
    fn an_authority_that_is_none_is_refused_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("webapp.toml");
        let ca = directory.path().join("ca.pem");
        fs::write(&file, GOOD.replace("/ca.pem", ca.to_str().unwrap())).unwrap();
        let error = || Config::load(&file).unwrap_err().to_string();
        assert!(error().contains("ca.pem: "), "{}", error());
        fs::write(&ca, "nothing").unwrap();
        assert!(error().contains("holds no certificate"), "{}", error());
    }
}
