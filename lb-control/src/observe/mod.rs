//! What others watch lbd by: metrics, events, and what systemd is told. Nothing here changes
//! anything.

pub mod events;
pub(crate) mod exposition;
pub mod metrics;
pub mod service_manager;
