//! The body of a response on its way from an app server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use super::upstream::Line;
use crate::server::Body;

/// A body up to this size is read whole before the client gets any of it: the app server's
/// connection is free again, however slow the client is.
pub(super) const HELD: u64 = 64 * 1024;

/// How many frames wait for a client, each of at most what a read of a connection gave.
const WAITING: usize = 4;

/// Passes a body on as it comes. `done` runs once it was read to its end, and not if it broke off.
pub(super) fn pass_on(
    mut incoming: Incoming,
    mut line: Line,
    server_patience: Duration,
    client_patience: Duration,
    done: impl FnOnce(Line) + Send + 'static,
) -> Body {
    let (sender, frames) = mpsc::channel(WAITING);
    let body = Passed {
        frames,
        left: incoming.size_hint().exact(),
        ended: false,
    };
    tokio::spawn(async move {
        loop {
            let frame = {
                let frame = std::pin::pin!(incoming.frame());
                tokio::time::timeout(server_patience, line.until(frame)).await
            };
            let frame = match frame {
                Ok(None) => {
                    done(line);
                    let end = sender.send_timeout(Ok(Bytes::new()), client_patience);
                    return drop(end.await);
                }
                Ok(Some(Ok(frame))) => frame.into_data().map(Ok),
                Ok(Some(Err(error))) => Ok(Err(io::Error::other(error))),
                Err(_) => Ok(Err(io::ErrorKind::TimedOut.into())),
            };
            // Trailers end here.
            let Ok(data) = frame else {
                continue;
            };
            if data.as_ref().is_ok_and(Bytes::is_empty) {
                continue;
            }
            let failed = data.is_err();
            // A client that is gone, or takes nothing: dropping what comes ends the connection to
            // the app server, too.
            let taken = sender.send_timeout(data, client_patience).await.is_ok();
            if failed || !taken {
                return;
            }
        }
    });
    body.boxed()
}

struct Passed {
    /// An empty one is the end. Without one, the body broke off.
    frames: mpsc::Receiver<io::Result<Bytes>>,
    left: Option<u64>,
    ended: bool,
}

impl hyper::body::Body for Passed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let data = match ready!(self.frames.poll_recv(cx)) {
            Some(Ok(data)) if data.is_empty() => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Some(data) => data,
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if let (Ok(data), Some(left)) = (&data, &mut self.left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(Some(data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
