//! A response that counts as its client's until the last of its bytes is gone: those too that wait,
//! out of everybody's reach, in a connection of HTTP/2 until the client makes room for them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};

use super::Body;
use super::slots::Hold;

impl Hold {
    /// The body, which counts until it is gone.
    #[must_use]
    pub fn charge(self, body: Body) -> Body {
        if !self.counts() || body.is_end_stream() {
            return body;
        }
        let hold = Arc::new(self);
        Charged { body, hold }.boxed()
    }
}

struct Charged {
    body: Body,
    hold: Arc<Hold>,
}

/// Bytes with whom they count for.
struct Owned {
    data: Bytes,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl hyper::body::Body for Charged {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let charged = |data| {
            let _hold = Arc::clone(&self.hold);
            Bytes::from_owner(Owned { data, _hold })
        };
        Poll::Ready(polled.map(|frame| frame.map(|frame| frame.map_data(charged))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::slots::Slots;
    use crate::server::{empty, full};

    #[tokio::test]
    async fn a_response_counts_until_its_bytes_are_gone() {
        let slot = Slots::new(1).take("192.0.2.1".parse().unwrap()).unwrap();
        let mut body = slot.share().hold().unwrap().charge(full("text"));
        assert_eq!(body.size_hint().exact(), Some(4));
        let frame = body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(slot.share().hold().is_none());
        assert_eq!(frame.into_data().unwrap(), "text");
        assert!(slot.share().hold().is_some());
    }

    #[tokio::test]
    async fn one_without_a_body_does_not() {
        let slot = Slots::new(1).take("192.0.2.1".parse().unwrap()).unwrap();
        let _body = slot.share().hold().unwrap().charge(empty());
        assert!(slot.share().hold().is_some());
    }
}
