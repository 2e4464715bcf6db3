//! The API: JSON over HTTP on a Unix socket.

pub mod client;
pub mod server;
pub mod types;
