//! The web role as a program, over real TLS on the loopback.

#![allow(
    clippy::unwrap_used,
    reason = "what fails in a helper is to fail the test"
)]

mod app;
mod certificates;
mod client;
mod program;

mod drain;
mod gateway;
mod greedy;
mod http2;
mod limits;
mod plain;
mod smuggling;
mod statics;
mod tiers;

use std::future::Future;
use std::time::Duration;

/// How long anything may take that is waited for. Nothing does, unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What comes in time, or the test fails.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(came) => came,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until something holds that nothing tells of.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
