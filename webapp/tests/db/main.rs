//! The database cluster against real MariaDB servers: a primary and its replicas on loopback, which
//! are killed, frozen, stopped, delayed and promoted.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends with the first thing that goes wrong"
)]

mod causal;
mod failures;
mod ledger;
mod pool;
mod promotion;
mod schema;
mod support;
mod trust;
