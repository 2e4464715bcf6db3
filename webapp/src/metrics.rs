//! What a server counts, and the listener that tells Prometheus.

mod requests;
mod scrape;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use requests::Requests;
pub use scrape::serve;

/// Metrics of a role, each with the prefix `webapp_` and the role's name.
#[must_use]
pub fn registry(role: &str) -> Registry {
    Registry::with_prefix(format!("webapp_{role}"))
}

/// Connections of clients. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    accepted: Counter,
    open: Gauge,
    refused: Family<Reason, Counter>,
}

/// Why a connection was ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's address has as many as it may.
    TooMany,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTime,
    /// A request's headers took too long, or the connection idled.
    HeadTime,
    /// The client took nothing of a response.
    Stall,
    /// What was sent is not HTTP.
    Malformed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// A connection that counts as open until it is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Handshake => "handshake",
            Self::HandshakeTime => "handshake_time",
            Self::HeadTime => "head_time",
            Self::Stall => "stall",
            Self::Malformed => "malformed",
        }
    }
}

impl Connections {
    /// Counts that are told with the others of this registry.
    pub fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let Self {
            accepted,
            open,
            refused,
        } = counts.clone();
        registry.register("connections", "Connections accepted", accepted);
        registry.register("open_connections", "Connections open now", open);
        registry.register(
            "refused_connections",
            "Connections ended for what the client did, by reason",
            refused,
        );
        counts
    }

    /// Counts a connection.
    #[must_use]
    pub fn open(&self) -> Open {
        self.accepted.inc();
        self.open.inc();
        Open(self.open.clone())
    }

    /// Counts one that is ended for a reason.
    pub fn refused(&self, reason: Refusal) {
        let reason = reason.name();
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// How many are open.
    #[must_use]
    pub fn open_now(&self) -> i64 {
        self.open.get()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
