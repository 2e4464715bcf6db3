//! What others watch lbd by: metrics and events. Nothing here changes anything.

pub mod events;
pub(crate) mod exposition;
pub mod metrics;
pub mod scrape;
