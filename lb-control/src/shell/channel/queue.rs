//! What waits to be sent: bounded, since it must never be waited for.

use super::{FRAME_MAX, QUEUE_MAX};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    failed: Notify,
}

#[derive(Default)]
struct State {
    phase: Phase,
    frames: VecDeque<Bytes>,
    bytes: usize,
}

#[derive(Default)]
enum Phase {
    /// There is no connection.
    #[default]
    Closed,
    Open,
    /// The connection is to be closed, and this is why.
    Failed(String),
}

impl Queue {
    pub(super) fn push(&self, frame: Bytes) -> bool {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open) {
            return false;
        }
        // Empty ones are the connection's own.
        if frame.is_empty() {
            return true;
        }
        let bytes = state.bytes + cost(&frame);
        if frame.len() > FRAME_MAX {
            let reason = format!("a frame of {} bytes is too long to be sent", frame.len());
            self.fail_as(&mut state, reason);
            return false;
        }
        if bytes > QUEUE_MAX {
            let reason = format!(
                "the peer does not keep up: {} MiB were waiting to be sent to it",
                QUEUE_MAX >> 20
            );
            self.fail_as(&mut state, reason);
            return false;
        }
        state.bytes = bytes;
        state.frames.push_back(frame);
        self.filled.notify_one();
        true
    }

    pub(super) fn fail(&self, reason: String) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Open) {
            self.fail_as(&mut state, reason);
        }
    }

    fn fail_as(&self, state: &mut State, reason: String) {
        *state = State {
            phase: Phase::Failed(reason),
            ..State::default()
        };
        self.failed.notify_one();
    }

    /// For a new connection.
    pub(super) fn open(&self) {
        *self.state() = State {
            phase: Phase::Open,
            ..State::default()
        };
    }

    /// What waits is lost.
    pub(super) fn close(&self) {
        *self.state() = State::default();
    }

    pub(super) fn pop(&self) -> Option<Bytes> {
        let mut state = self.state();
        let frame = state.frames.pop_front()?;
        state.bytes = state.bytes.saturating_sub(cost(&frame));
        Some(frame)
    }

    /// The next frame, as soon as there is one. Loses none if it is not awaited to its end.
    pub(super) async fn next(&self) -> Bytes {
        loop {
            if let Some(frame) = self.pop() {
                return frame;
            }
            self.filled.notified().await;
        }
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn failure(&self) -> String {
        loop {
            if let Phase::Failed(reason) = &self.state().phase {
                return reason.clone();
            }
            self.failed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory, about.
fn cost(frame: &Bytes) -> usize {
    frame.len() + size_of::<Bytes>()
}
