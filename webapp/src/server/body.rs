//! Bodies: those of responses made up here, and those of requests read whole.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty, Full};
use thiserror::Error;

use super::Body;

/// A body of bytes at hand.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed()
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed()
}

fn never(never: Infallible) -> std::io::Error {
    match never {}
}

/// Why a request's body was not read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than is taken: 413.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive in time: 408.
    #[error("the body took too long to arrive")]
    TooSlow,
    /// The client went away, or framed it wrongly: 400.
    #[error("the body ended early")]
    Broken,
}

/// Reads a body whole, of at most `limit` bytes, within `time`.
///
/// # Errors
///
/// See [`Unread`]. What was announced as too large is not waited for.
pub async fn collect<B>(mut body: B, limit: usize, time: Duration) -> Result<Bytes, Unread>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge);
    }
    let read = async {
        // One frame holds most bodies, and needs no copy.
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
                continue;
            };
            if first.len() + rest.len() + data.len() > limit {
                return Err(Unread::TooLarge);
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    };
    match tokio::time::timeout(time, read).await {
        Ok(read) => read,
        Err(_) => Err(Unread::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    const TIME: Duration = Duration::from_secs(5);

    fn chunks(
        chunks: &[&'static str],
    ) -> impl hyper::body::Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn chunks_become_one_in_their_order() {
        for parts in [&["abc", "def", "g"][..], &["abcdefg"], &["", "abcdefg", ""]] {
            let whole = collect(chunks(parts), 7, TIME).await.unwrap();
            assert_eq!(whole, "abcdefg");
        }
    }

    #[tokio::test]
    async fn one_byte_too_many_is_refused_announced_or_not() {
        assert_eq!(
            collect(chunks(&["abc", "d"]), 3, TIME).await,
            Err(Unread::TooLarge)
        );
        assert_eq!(collect(full("abcd"), 3, TIME).await, Err(Unread::TooLarge));
        assert_eq!(collect(full("abc"), 3, TIME).await.unwrap(), "abc");
        assert_eq!(collect(empty(), 0, TIME).await.unwrap(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        assert_eq!(collect(never, 3, TIME).await, Err(Unread::TooSlow));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_taken_for_whole() {
        let broken = Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        let frames = stream::iter([Ok(Frame::data(Bytes::from_static(b"a"))), broken]);
        assert_eq!(
            collect(StreamBody::new(frames), 9, TIME).await,
            Err(Unread::Broken)
        );
    }
}
