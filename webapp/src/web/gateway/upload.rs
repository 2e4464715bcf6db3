//! The body of a request on its way to an app server.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::server::{Unread, collect};

/// A body up to this size is read whole before an app server hears of the request: it holds no
/// connection there while its client is slow, and can be sent again. Of a larger one so much is there
/// before.
const HELD: u64 = 64 * 1024;

/// What a body is on the way.
#[derive(Debug)]
pub(super) enum Upload {
    /// Read whole.
    Held(Bytes),
    /// Passed on as it comes.
    Passing(Passing),
}

/// A body that is passed on as it comes, and can be sent only once.
#[derive(Debug)]
pub(super) struct Passing {
    /// What was read ahead.
    begun: Bytes,
    incoming: Incoming,
    left: u64,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    watched: Arc<Watched>,
}

/// How far a passing body has come.
#[derive(Debug, Default)]
pub(super) struct Watched {
    passed: AtomicU64,
    fault: AtomicU8,
}

impl Upload {
    /// Takes a body of at most `limit` bytes, of a client that may take `patience` for what is read
    /// ahead, and then may pause for as long.
    pub(super) async fn take(
        mut incoming: Incoming,
        limit: u64,
        patience: Duration,
    ) -> Result<Self, Unread> {
        let size = incoming.size_hint();
        if size.lower() > limit {
            return Err(Unread::TooLarge);
        }
        if incoming.is_end_stream() {
            return Ok(Self::Held(Bytes::new()));
        }
        if size.exact().is_some_and(|exact| exact <= HELD) {
            let most = usize::try_from(limit.min(HELD)).unwrap_or(usize::MAX);
            return collect(incoming, most, patience).await.map(Self::Held);
        }
        let begin = begin(&mut incoming, limit);
        let begun = tokio::time::timeout(patience, begin).await;
        let (begun, ended) = begun.unwrap_or(Err(Unread::TooSlow))?;
        if ended {
            return Ok(Self::Held(begun));
        }
        Ok(Self::Passing(Passing {
            left: limit.saturating_sub(begun.len() as u64),
            begun,
            incoming,
            patience,
            deadline: None,
            watched: Arc::default(),
        }))
    }

    /// The same once more, if that can be had.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Held(bytes) => Some(Self::Held(bytes.clone())),
            Self::Passing(_) => None,
        }
    }

    /// How far it comes, if it is passed on.
    pub(super) fn watched(&self) -> Option<Arc<Watched>> {
        match self {
            Self::Held(_) => None,
            Self::Passing(passing) => Some(Arc::clone(&passing.watched)),
        }
    }
}

/// The beginning of a body, and whether it is all of it: if not, it exceeds [`HELD`].
async fn begin(incoming: &mut Incoming, limit: u64) -> Result<(Bytes, bool), Unread> {
    let mut begun = BytesMut::new();
    while begun.len() as u64 <= HELD {
        let Some(frame) = incoming.frame().await else {
            return Ok((begun.freeze(), true));
        };
        // Trailers end here: nothing behind this server asks for them.
        if let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() {
            begun.extend_from_slice(&data);
        }
        if begun.len() as u64 > limit {
            return Err(Unread::TooLarge);
        }
    }
    Ok((begun.freeze(), false))
}

impl Watched {
    /// How many bytes have passed.
    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// What the client did wrong.
    pub(super) fn fault(&self) -> Option<Unread> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(Unread::TooLarge),
            2 => Some(Unread::TooSlow),
            3 => Some(Unread::Broken),
            _ => None,
        }
    }

    fn fail(&self, fault: Unread) -> io::Error {
        let number = match fault {
            Unread::TooLarge => 1,
            Unread::TooSlow => 2,
            Unread::Broken => 3,
        };
        self.fault.store(number, Ordering::Relaxed);
        io::Error::other(fault)
    }
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unread>>> {
        if !self.begun.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.begun))));
        }
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return self.poll_deadline(cx).map(|()| Some(Err(Unread::TooSlow)));
                }
            };
            self.deadline = None;
            let data = match frame.transpose() {
                Err(_) => return Poll::Ready(Some(Err(Unread::Broken))),
                Ok(None) => return Poll::Ready(None),
                // Not its trailers.
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => data,
                    _ => continue,
                },
            };
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(Unread::TooLarge)));
            };
            self.left = left;
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = Instant::now() + self.patience;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        deadline.as_mut().poll(cx)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Held(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Held(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Passing(passing) => passing.poll(cx).map(|polled| {
                let data = polled?;
                let watched = &passing.watched;
                Some(match data {
                    Ok(data) => {
                        watched
                            .passed
                            .fetch_add(data.len() as u64, Ordering::Relaxed);
                        Ok(Frame::data(data))
                    }
                    Err(fault) => Err(watched.fail(fault)),
                })
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(bytes) => bytes.is_empty(),
            Self::Passing(passing) => passing.begun.is_empty() && passing.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Passing(Passing {
                begun, incoming, ..
            }) => {
                let begun = begun.len() as u64;
                let rest = incoming.size_hint();
                let mut size = SizeHint::new();
                size.set_lower(begun.saturating_add(rest.lower()));
                if let Some(upper) = rest.upper() {
                    size.set_upper(begun.saturating_add(upper));
                }
                size
            }
        }
    }
}
