//! How others ask the daemon.

use crate::api::types::{Stats, Status};
use crate::config::{Admin, BackendRef, Name};
use std::fmt;
use tokio::sync::{mpsc, oneshot};

/// Something to be done by the task that owns the state.
#[derive(Debug)]
pub enum Request {
    /// Tell how things are.
    Status(oneshot::Sender<Status>),
    /// Read the counters.
    Stats(oneshot::Sender<Result<Stats, Refusal>>),
    /// Change the configuration. Answered with the new revision once the maps follow.
    Change {
        /// What to change.
        change: Change,
        /// Refuse unless this is the revision.
        if_revision: Option<u64>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<u64, Refusal>>,
    },
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new service, without backends.
    AddService(Name, crate::config::Service),
    /// Another health check.
    SetCheck(Name, crate::config::Check),
    /// Away with a service and its backends.
    RemoveService(Name),
    /// A new backend.
    AddBackend(BackendRef, crate::config::Backend),
    /// Another weight or administrative state.
    SetBackend(BackendRef, Option<u16>, Option<Admin>),
    /// Away with a backend: it drains first, unless by force.
    RemoveBackend {
        /// Which.
        backend: BackendRef,
        /// Cut its connections.
        force: bool,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(name, service) => write!(f, "add service {name} {}/tcp", service.vip),
            Self::SetCheck(name, _) => write!(f, "set the check of service {name}"),
            Self::RemoveService(name) => write!(f, "remove service {name}"),
            Self::AddBackend(name, backend) => write!(
                f,
                "add backend {name} {} with weight {}",
                backend.address, backend.weight
            ),
            Self::SetBackend(name, weight, admin) => {
                write!(f, "set backend {name}")?;
                if let Some(weight) = weight {
                    write!(f, " to weight {weight}")?;
                }
                match admin {
                    Some(Admin::Ready) => f.write_str(" to ready"),
                    Some(Admin::Drain) => f.write_str(" to drain"),
                    None => Ok(()),
                }
            }
            Self::RemoveBackend { backend, force } => {
                let how = if *force { " by force" } else { "" };
                write!(f, "remove backend {backend}{how}")
            }
        }
    }
}

/// Why something was not done. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It contradicts the configuration.
    #[error("{0}")]
    Invalid(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// There is such an object already.
    #[error("{0}")]
    Exists(String),
    /// Somebody else was faster.
    #[error("the configuration is at revision {actual}, not {expected}: look at it again")]
    Conflict {
        /// The revision that was expected.
        expected: u64,
        /// The one there is.
        actual: u64,
    },
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}

/// Asks the daemon.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle on whoever receives `requests`.
    #[must_use]
    pub const fn new(requests: mpsc::Sender<Request>) -> Self {
        Self { requests }
    }

    /// How things are.
    pub async fn status(&self) -> Result<Status, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Status(reply)).await?;
        answer.await.map_err(|_| stopped())
    }

    /// The counters.
    pub async fn stats(&self) -> Result<Stats, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Stats(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Changes the configuration; returns the new revision.
    pub async fn change(&self, change: Change, if_revision: Option<u64>) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Change {
            change,
            if_revision,
            reply,
        })
        .await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn send(&self, request: Request) -> Result<(), Refusal> {
        self.requests.send(request).await.map_err(|_| stopped())
    }
}

fn stopped() -> Refusal {
    Refusal::Failed("lbd is stopping".to_owned())
}
