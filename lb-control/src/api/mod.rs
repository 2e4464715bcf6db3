//! The API: JSON over HTTP on a Unix socket.

pub mod types;
