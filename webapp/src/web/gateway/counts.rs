//! What the gateway counts.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How an attempt at an app server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a response, of whatever status.
    Answered,
    /// The request was not sent.
    Unsent,
    /// The server broke off.
    Broken,
    /// The server took too long.
    Late,
    /// The client sent no proper body.
    Client,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Attempt {
    server: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Server {
    server: String,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unsent => "unsent",
            Self::Broken => "broken",
            Self::Late => "late",
            Self::Client => "client",
        }
    }
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    attempts: Family<Attempt, Counter>,
    repeats: Counter,
    ejections: Family<Server, Counter>,
    up: Family<Server, Gauge>,
}

impl Counts {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let Self {
            attempts,
            repeats,
            ejections,
            up,
        } = counts.clone();
        let help = "Requests passed to an app server, by how that ended";
        registry.register("upstream_attempts", help, attempts);
        let help = "Requests passed on once more, to another app server";
        registry.register("upstream_repeats", help, repeats);
        let help = "How often an app server was ejected for requests that it lost";
        registry.register("upstream_ejections", help, ejections);
        let help = "Whether an app server says that it is ready";
        registry.register("upstream_up", help, up);
        counts
    }

    pub(super) fn count(&self, server: &Arc<str>, outcome: Outcome) {
        let (server, outcome) = (server.to_string(), outcome.name());
        self.attempts
            .get_or_create(&Attempt { server, outcome })
            .inc();
    }

    pub(super) fn repeated(&self) {
        self.repeats.inc();
    }

    pub(super) fn ejected(&self, server: &Arc<str>) {
        let server = server.to_string();
        self.ejections.get_or_create(&Server { server }).inc();
    }

    pub(super) fn up(&self, server: &Arc<str>, up: bool) {
        let server = server.to_string();
        self.up.get_or_create(&Server { server }).set(up.into());
    }
}
