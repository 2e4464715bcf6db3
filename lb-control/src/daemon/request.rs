//! How others ask the daemon.

use crate::config::{Change, Refusal};
use crate::types::{Stats, Status};
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
        change: Box<Change>,
        /// Refuse unless this is the revision.
        if_revision: Option<u64>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<u64, Refusal>>,
    },
    /// Have one of the two hosts lead.
    Switch {
        /// Which. `None`: the one that does not.
        to: Option<String>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Go back to the configured priority after a switchover.
    Release(oneshot::Sender<Result<(), Refusal>>),
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
            change: Box::new(change),
            if_revision,
            reply,
        })
        .await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Has one of the two hosts lead: the one that is named, or the one that does not.
    pub async fn switch(&self, to: Option<String>) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Switch { to, reply }).await?;
        answer.await.map_err(|_| stopped())?
    }

    /// Goes back to the configured priority after a switchover.
    pub async fn release(&self) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Release(reply)).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn send(&self, request: Request) -> Result<(), Refusal> {
        self.requests.send(request).await.map_err(|_| stopped())
    }
}

fn stopped() -> Refusal {
    Refusal::Failed("lbd is stopping".to_owned())
}
