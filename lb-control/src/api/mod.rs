//! The API: JSON over HTTP on a Unix socket.

pub mod client;
pub(crate) mod connections;
pub mod listener;
mod pair;
mod route;
pub mod server;
pub mod types;

#[cfg(test)]
mod tests;
