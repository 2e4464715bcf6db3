//! What is counted for Prometheus, for each server and what it was wanted for.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Cluster;
use super::state::{Role, ServerState};

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    ReadAfter,
    Write,
}

/// What became of a wait for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// There was none: the last look had shown that the replica has it.
    Known,
    /// The replica got it.
    Reached,
    /// It did not get it in time.
    InVain,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Applied,
    NotApplied,
    Unknown,
}

// What they are called, in their order.
const KINDS: [&str; 3] = ["read", "read_after", "write"];
const WAITS: [&str; 3] = ["known", "reached", "in_vain"];
const OUTCOMES: [&str; 3] = ["applied", "not_applied", "unknown"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    server: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWait {
    server: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCommit {
    server: String,
    result: &'static str,
}

/// Histograms of seconds, from half a millisecond on.
#[derive(Debug, Clone)]
struct Seconds(Family<Of, Histogram>);

impl Default for Seconds {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| {
            Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5])
        }))
    }
}

/// The counters of all servers.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    given: Family<OfKind, Counter>,
    failed: Family<OfKind, Counter>,
    waited: Family<OfWait, Counter>,
    committed: Family<OfCommit, Counter>,
    waiting: Seconds,
    connecting: Seconds,
    connect_failed: Family<Of, Counter>,
    spilled: Family<Of, Counter>,
    looks: Family<Of, Counter>,
    looks_failed: Family<Of, Counter>,
}

/// The counters of one server.
#[derive(Debug)]
pub(super) struct Counters {
    given: [Counter; 3],
    failed: [Counter; 3],
    waited: [Counter; 3],
    committed: [Counter; 3],
    waiting: Histogram,
    connecting: Histogram,
    connect_failed: Counter,
    spilled: Counter,
    looks: Counter,
    looks_failed: Counter,
}

impl Metrics {
    /// Those of a server. They are shown from now on.
    pub(super) fn of(&self, server: &str) -> Counters {
        let of = Of {
            server: server.to_owned(),
        };
        let kinds = KINDS.map(|kind| OfKind {
            server: server.to_owned(),
            kind,
        });
        let waits = WAITS.map(|result| OfWait {
            server: server.to_owned(),
            result,
        });
        let commits = OUTCOMES.map(|result| OfCommit {
            server: server.to_owned(),
            result,
        });
        Counters {
            given: kinds
                .clone()
                .map(|labels| self.given.get_or_create_owned(&labels)),
            failed: kinds.map(|labels| self.failed.get_or_create_owned(&labels)),
            waited: waits.map(|labels| self.waited.get_or_create_owned(&labels)),
            committed: commits.map(|labels| self.committed.get_or_create_owned(&labels)),
            waiting: self.waiting.0.get_or_create_owned(&of),
            connecting: self.connecting.0.get_or_create_owned(&of),
            connect_failed: self.connect_failed.get_or_create_owned(&of),
            spilled: self.spilled.get_or_create_owned(&of),
            looks: self.looks.get_or_create_owned(&of),
            looks_failed: self.looks_failed.get_or_create_owned(&of),
        }
    }

    /// Shows them, with what is known of the servers.
    pub(super) fn register(&self, registry: &mut Registry, cluster: Cluster) {
        let all = self.clone();
        let registry = registry.sub_registry_with_prefix("db");
        registry.register(
            "connections_given",
            "Connections given to callers, by what they were for",
            all.given,
        );
        registry.register(
            "failures",
            "Connections that could not be given, or were of no use",
            all.failed,
        );
        registry.register(
            "causal_reads",
            "Reads after a write, by whether the replica had it",
            all.waited,
        );
        registry.register("commits", "Commits, by what became of them", all.committed);
        registry.register(
            "causal_wait_seconds",
            "How long replicas were waited for until they had a write",
            all.waiting.0,
        );
        registry.register(
            "connect_seconds",
            "How long it took to open a connection",
            all.connecting.0,
        );
        registry.register(
            "connect_failures",
            "Connections that could not be opened",
            all.connect_failed,
        );
        registry.register(
            "spilled",
            "Reads that the primary took because no replica could",
            all.spilled,
        );
        registry.register("looks", "Looks at the server", all.looks);
        registry.register(
            "look_failures",
            "Looks at the server that brought no report",
            all.looks_failed,
        );
        registry.register_collector(Box::new(Servers(cluster)));
    }
}

impl Counters {
    /// A connection was given.
    pub(super) fn given(&self, kind: Kind) {
        self.given[kind as usize].inc();
    }

    /// No connection could be given, or it was of no use.
    pub(super) fn failed(&self, kind: Kind) {
        self.failed[kind as usize].inc();
    }

    pub(super) fn waited(&self, what: Waited, took: Duration) {
        self.waited[what as usize].inc();
        if what != Waited::Known {
            self.waiting.observe(took.as_secs_f64());
        }
    }

    pub(super) fn committed(&self, outcome: Outcome) {
        self.committed[outcome as usize].inc();
    }

    /// A connection was opened, or not.
    pub(super) fn connected(&self, took: Duration, opened: bool) {
        if opened {
            self.connecting.observe(took.as_secs_f64());
        } else {
            self.connect_failed.inc();
        }
    }

    /// A read came to the primary because no replica could take it.
    pub(super) fn spilled(&self) {
        self.spilled.inc();
    }

    pub(super) fn looked(&self, answered: bool) {
        self.looks.inc();
        if !answered {
            self.looks_failed.inc();
        }
    }
}

/// What is known of the servers at the time when it is asked.
#[derive(Debug)]
struct Servers(Cluster);

impl Collector for Servers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let servers = self.0.state();
        let mut gauge = |name, help, value: &dyn Fn(&ServerState) -> Option<f64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for server in &servers {
                if let Some(value) = value(server) {
                    let of = Of {
                        server: server.name.clone(),
                    };
                    ConstGauge::new(value).encode(family.encode_family(&of)?)?;
                }
            }
            Ok::<_, fmt::Error>(())
        };
        let flag = |on: bool| Some(f64::from(u8::from(on)));
        gauge("up", "Whether the server answers", &|it| {
            flag(it.role != Role::Away)
        })?;
        gauge(
            "primary",
            "Whether the server says that it is the primary",
            &|it| flag(it.role == Role::Primary),
        )?;
        gauge(
            "in_rotation",
            "Whether reads go to the server as to a replica",
            &|it| flag(it.in_rotation),
        )?;
        gauge("lag_seconds", "How far a replica is behind", &|it| {
            it.lag.map(|lag| lag.as_secs_f64())
        })?;
        gauge(
            "connections_in_use",
            "Connections that callers have",
            &|it| Some(it.in_use as f64),
        )?;
        gauge("connections_idle", "Connections that nobody has", &|it| {
            Some(it.idle as f64)
        })
    }
}
