//! The end of a server, on SIGTERM or SIGINT: first the load balancer is told, then requests in
//! flight finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::{Handler, Server};

/// Whether new connections should be sent here, as `/readyz` says it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether the server is on its way out.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that it is.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a server stops.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// How long it still accepts connections while `/readyz` says that it should get none: as
    /// long as the load balancer takes to notice.
    pub delay: Duration,
    /// How long requests in flight may take after that.
    pub grace: Duration,
}

/// How a server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// With all requests finished.
    Finished,
    /// With requests still in flight.
    Cut,
}

/// Serves until SIGTERM or SIGINT, then stops. A second signal cuts the delay short.
///
/// # Errors
///
/// If the system has no signals.
pub async fn run<H: Handler>(
    server: Server,
    handler: Arc<H>,
    readiness: Readiness,
    stop: Stop,
) -> Result<Stopped> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = server.serve(handler);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    readiness.drain();
    tokio::select! {
        () = tokio::time::sleep(stop.delay) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(running.drain(stop.grace).await)
}
