//! Sockets, timers and netlink: what the pure parts are connected to the world with.

pub mod channel;
pub mod health;
pub mod heartbeat;
pub mod host;
pub mod next_hop;
mod realtime;
pub mod tracking;
pub mod vrrp;
pub mod witness;
