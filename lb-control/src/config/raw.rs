//! The configuration file as it is written, with the places of its values.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) interfaces: Spanned<Vec<Spanned<String>>>,
    pub(super) socket: Option<Spanned<String>>,
    pub(super) state_dir: Option<Spanned<String>>,
    pub(super) bpffs: Option<Spanned<String>>,
    pub(super) idle_timeout: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) metrics: Option<Metrics>,
    pub(super) ha: Option<Spanned<Ha>>,
    #[serde(default)]
    pub(super) service: Vec<Service>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) services: Option<Spanned<i64>>,
    pub(super) backends: Option<Spanned<i64>>,
    pub(super) flows: Option<Spanned<i64>>,
    pub(super) records_per_second: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ha {
    pub(super) interface: Spanned<String>,
    pub(super) vrid: Spanned<i64>,
    pub(super) priority: Option<Spanned<i64>>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) preempt: Option<Spanned<bool>>,
    pub(super) preempt_delay: Option<Spanned<String>>,
    pub(super) peer: Option<Spanned<String>>,
    pub(super) checksum: Option<Spanned<String>>,
    pub(super) heartbeat: Option<Spanned<String>>,
    pub(super) heartbeat_port: Option<Spanned<i64>>,
    pub(super) heartbeat_links: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) channel_port: Option<Spanned<i64>>,
    pub(super) witness: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) track: Vec<Spanned<Track>>,
    #[serde(default)]
    pub(super) group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: Spanned<String>,
    pub(super) vrid: Spanned<i64>,
    pub(super) priority: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) services: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Track {
    pub(super) interface: Option<Spanned<String>>,
    pub(super) route: Option<Spanned<String>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) weight: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: Spanned<String>,
    pub(super) vip: Spanned<String>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) scheduler: Option<Spanned<String>>,
    pub(super) tracked: Option<Spanned<bool>>,
    pub(super) idle_timeout: Option<Spanned<String>>,
    pub(super) slots: Option<Spanned<i64>>,
    pub(super) check: Option<Check>,
    #[serde(default)]
    pub(super) backend: Vec<Backend>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) path: Option<Spanned<String>>,
    pub(super) host: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<i64>>,
    pub(super) interval: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) rise: Option<Spanned<i64>>,
    pub(super) fall: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    pub(super) name: Spanned<String>,
    pub(super) address: Spanned<String>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) state: Option<Spanned<String>>,
}
