//! Runs the health checks.
//!
//! One task follows what is to be checked, and runs another for each target. What the answers mean
//! is decided by [`crate::proto::health`]; `probe` asks the questions.

mod probe;
#[cfg(test)]
mod tests;

use crate::config::{BackendRef, Check, Probe};
use crate::proto::health::{Down, Due, Machine, Params, Transition};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// What is to be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub check: Check,
    /// What is known from before: a backend that served when lbd was restarted goes on serving.
    pub up: Option<bool>,
}

/// A backend's health changed.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthEvent {
    /// Whose.
    pub backend: BackendRef,
    /// The address that was checked.
    pub address: SocketAddr,
    /// Whether it is up now.
    pub up: bool,
    /// Whether it is down, and yet its connections can go on.
    pub finishes: bool,
    /// Why, in words: `GET /healthz: status 503, expected 200`.
    pub reason: String,
}

/// The checks that run.
#[derive(Debug)]
pub struct Checker {
    targets: watch::Sender<BTreeMap<BackendRef, Target>>,
}

impl Checker {
    /// Starts checking nothing. Must be called inside of a tokio runtime.
    #[must_use]
    pub fn spawn(events: mpsc::Sender<HealthEvent>) -> Self {
        let (targets, wanted) = watch::channel(BTreeMap::new());
        tokio::spawn(follow(wanted, events));
        Self { targets }
    }

    /// Says what is to be checked from now on. Checks of unchanged targets go on undisturbed; what
    /// was known from before matters only to checks that begin.
    pub fn set_targets(&self, targets: BTreeMap<BackendRef, Target>) {
        self.targets.send_replace(targets);
    }
}

/// Keeps a task running for each target, until the checker is gone.
async fn follow(
    mut wanted: watch::Receiver<BTreeMap<BackendRef, Target>>,
    events: mpsc::Sender<HealthEvent>,
) {
    let mut running: BTreeMap<BackendRef, (Target, AbortHandle)> = BTreeMap::new();
    // Dropping it aborts the checks.
    let mut tasks = JoinSet::new();
    loop {
        let targets = wanted.borrow_and_update().clone();
        running.retain(|backend, (target, task)| {
            let unchanged = targets
                .get(backend)
                .is_some_and(|new| new.address == target.address && new.check == target.check);
            if !unchanged {
                task.abort();
            }
            unchanged
        });
        for (backend, target) in targets {
            if running.contains_key(&backend) {
                continue;
            }
            let task = tasks.spawn(watch_over(backend.clone(), target.clone(), events.clone()));
            running.insert(backend, (target, task));
        }
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "a health check panicked");
                    }
                }
            }
        }
    }
}

/// Checks one target until it is aborted, or nobody listens any more.
async fn watch_over(backend: BackendRef, target: Target, events: mpsc::Sender<HealthEvent>) {
    let Target { address, check, up } = target;
    let event = |up, finishes, reason| HealthEvent {
        backend: backend.clone(),
        address,
        up,
        finishes,
        reason,
    };
    if check.probe == Probe::None {
        // Should nobody listen any more, there is nothing left to do anyway.
        let _ = events
            .send(event(true, false, "not checked".to_owned()))
            .await;
        return;
    }

    let asked = match check.port {
        Some(port) => SocketAddr::new(address.ip(), port),
        None => address,
    };
    let mut machine = Machine::new(params(&check), up, Instant::now(), seed(&backend));
    let mut running: Option<Pin<Box<dyn Future<Output = _> + Send>>> = None;
    loop {
        let deadline = tokio::time::Instant::from_std(machine.deadline());
        let transition = tokio::select! {
            (id, result) = answer(&mut running) => {
                running = None;
                machine.on_result(Instant::now(), id, result)
            }
            () = tokio::time::sleep_until(deadline) => match machine.on_deadline(Instant::now()) {
                Due::Nothing => None,
                Due::Start(id) => {
                    let check = &check;
                    running = Some(Box::pin(async move {
                        (id, probe::run(&check.probe, asked).await)
                    }));
                    None
                }
                Due::TimedOut(transition) => {
                    running = None;
                    transition
                }
            },
        };
        let event = match transition {
            None => continue,
            Some(Transition::Up) => event(true, false, probe::success(&check.probe)),
            Some(Transition::Down(Down { reason, finishes })) => event(false, finishes, reason),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// The answer of the probe that runs; never, while none does.
async fn answer<T>(running: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match running {
        Some(probe) => probe.await,
        None => std::future::pending().await,
    }
}

fn params(check: &Check) -> Params {
    Params {
        interval: check.interval,
        timeout: check.timeout,
        rise: check.rise,
        fall: check.fall,
    }
}

/// Spreads the probes of many backends, in the same way each time.
fn seed(backend: &BackendRef) -> u64 {
    let mut hasher = DefaultHasher::new();
    backend.hash(&mut hasher);
    hasher.finish()
}
