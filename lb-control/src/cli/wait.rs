//! Waits until a backend is as it was asked to be.

use super::{Failure, Session, backend_path};
use crate::api::client::ClientError;
use crate::config::BackendRef;
use crate::types::Backend;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(250);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It is up and has slots of the table.
    Serving,
    /// Neither slots nor recorded flows name it any more.
    Drained,
    /// It is no longer there.
    Gone,
    /// Nothing.
    Nothing,
}

impl Goal {
    /// Whether a backend is there; `None` is one that does not exist.
    pub(super) fn reached(self, backend: Option<&Backend>) -> bool {
        match (self, backend) {
            (Self::Nothing, _) | (Self::Gone, None) => true,
            (Self::Serving | Self::Drained, None) | (Self::Gone, Some(_)) => false,
            (Self::Serving, Some(backend)) => backend.serves() && backend.slots > 0,
            (Self::Drained, Some(backend)) => {
                backend.slots == 0 && backend.draining_slots == 0 && backend.recorded_flows == 0
            }
        }
    }
}

impl Session {
    /// Waits for `goal` at most as long as `wait`, or not at all.
    pub(super) async fn wait(
        &self,
        name: &BackendRef,
        goal: Goal,
        wait: Option<Duration>,
    ) -> Result<(), Failure> {
        let Some(wait) = wait else { return Ok(()) };
        let begin = Instant::now();
        loop {
            let backend = match self.client.get::<Backend>(&backend_path(name)).await {
                Ok(backend) => Some(backend),
                // It went away by another hand: there is nothing left to wait for.
                Err(ClientError::Refused(problem))
                    if problem.status == 404 && goal == Goal::Drained =>
                {
                    return Err(ClientError::Refused(problem).into());
                }
                Err(ClientError::Refused(problem)) if problem.status == 404 => None,
                Err(error) => return Err(error.into()),
            };
            if goal.reached(backend.as_ref()) {
                return Ok(());
            }
            if begin.elapsed() >= wait {
                return Err(Failure::WaitTimedOut(format!(
                    "gave up after {}: {}; the change itself was made",
                    humantime::format_duration(wait),
                    describe(name, backend.as_ref())
                )));
            }
            sleep(POLL.min(wait.saturating_sub(begin.elapsed()))).await;
        }
    }
}

fn describe(name: &BackendRef, backend: Option<&Backend>) -> String {
    let Some(backend) = backend else {
        return format!("backend {name} is not there");
    };
    let mut text = format!(
        "backend {name} is {}/{}",
        backend.admin, backend.operational
    );
    if !backend.reason.is_empty() {
        text.push_str(&format!(" ({})", backend.reason));
    }
    text.push_str(&format!(
        " with {} slots, {} draining slots and {} recorded flows",
        backend.slots, backend.draining_slots, backend.recorded_flows
    ));
    text
}
