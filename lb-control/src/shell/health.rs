//! Runs the health checks.

use crate::config::{BackendRef, Check};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use tokio::sync::mpsc;

/// What is to be checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where.
    pub address: SocketAddrV4,
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
    pub address: SocketAddrV4,
    /// Whether it is up now.
    pub up: bool,
    /// Why, in words: `GET /healthz: 503, expected 200`.
    pub reason: String,
}

/// The checks that run.
#[derive(Debug)]
pub struct Checker {
    targets: tokio::sync::watch::Sender<BTreeMap<BackendRef, Target>>,
}

impl Checker {
    /// Starts checking nothing. Must be called inside of a tokio runtime.
    #[must_use]
    pub fn spawn(_events: mpsc::Sender<HealthEvent>) -> Self {
        Self {
            targets: tokio::sync::watch::Sender::new(BTreeMap::new()),
        }
    }

    /// Says what is to be checked from now on. Checks of unchanged targets go on undisturbed.
    pub fn set_targets(&self, targets: BTreeMap<BackendRef, Target>) {
        self.targets.send_replace(targets);
    }
}
