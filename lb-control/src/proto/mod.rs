//! Protocol machines: told the time, they return what to do.

pub mod health;
pub mod heartbeat;
mod keyed;
#[cfg(test)]
pub(crate) mod mutation;
pub mod next_hop;
pub mod pairing;
#[cfg(test)]
pub(crate) mod simulation;
pub mod vrrp;
