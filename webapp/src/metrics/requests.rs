//! Requests by method and status, and how long they took.

use std::time::Duration;

use hyper::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The bounds of the histogram, in seconds: from a file in memory to a page that waits for all.
const BOUNDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Counts of requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Histogram,
    bytes: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            seconds: Histogram::new(BOUNDS),
            bytes: Counter::default(),
        }
    }
}

impl Requests {
    /// Counts that are told with the others of this registry.
    pub fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        let Self {
            answered,
            seconds,
            bytes,
        } = counts.clone();
        registry.register(
            "requests",
            "Requests answered, by method and status",
            answered,
        );
        registry.register(
            "request_duration_seconds",
            "From a request's headers to the last byte of its response",
            seconds,
        );
        registry.register("response_bytes", "Bytes of response bodies sent", bytes);
        counts
    }

    /// Counts a request whose response is finished.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration, bytes: u64) {
        let labels = Answered {
            method: known(method),
            status: status.as_u16(),
        };
        self.answered.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
        self.bytes.inc_by(bytes);
    }
}

/// Any token is a method: counting each would let clients fill the memory.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn a_request_is_told_by_method_and_status() {
        let mut registry = Registry::with_prefix("webapp_web");
        let requests = Requests::register(&mut registry);
        let took = Duration::from_millis(3);
        requests.answered(&Method::GET, StatusCode::OK, took, 10);
        requests.answered(&Method::GET, StatusCode::OK, took, 5);
        let made_up = Method::from_bytes(b"MADEUP").unwrap();
        requests.answered(&made_up, StatusCode::METHOD_NOT_ALLOWED, took, 0);

        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "webapp_web_requests_total{method=\"GET\",status=\"200\"} 2",
            "webapp_web_requests_total{method=\"other\",status=\"405\"} 1",
            "webapp_web_response_bytes_total 15",
            "webapp_web_request_duration_seconds_bucket{le=\"0.0025\"} 0",
            "webapp_web_request_duration_seconds_bucket{le=\"0.005\"} 3",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} not in:\n{text}");
        }
    }
}
