//! The API: JSON over HTTP on a Unix socket; and the metrics over TCP, for scrapers.

pub mod client;
pub(crate) mod connections;
pub mod listener;
mod pair;
mod route;
pub mod scrape;
pub mod server;

#[cfg(test)]
mod tests;
