//! Signs of life of an HTTP/2 connection. Its pings are none: they cost a client nothing, while
//! streams that it opened and takes nothing of cost the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Body;

/// Shared by a connection and the bodies of its responses.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// When the last request came, in milliseconds since the beginning.
    requested: AtomicU64,
    /// When a client last made room for more of a response.
    taken: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            requested: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        })
    }

    /// A request has come.
    pub(super) fn request(&self) {
        self.requested.store(self.now(), Ordering::Relaxed);
    }

    /// When the last request came.
    pub(super) fn requested(&self) -> Instant {
        self.begun + Duration::from_millis(self.requested.load(Ordering::Relaxed))
    }

    /// When there was a sign of life at all.
    pub(super) fn last(&self) -> Instant {
        let taken = self.begun + Duration::from_millis(self.taken.load(Ordering::Relaxed));
        taken.max(self.requested())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A body that tells when more of it is wanted: hyper asks for it when the client has room.
#[derive(Debug)]
pub(super) struct Felt {
    pub(super) body: Body,
    pub(super) pulse: Arc<Pulse>,
}

impl hyper::body::Body for Felt {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.pulse.taken.store(self.pulse.now(), Ordering::Relaxed);
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
