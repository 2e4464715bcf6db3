//! What a response carries: bytes at hand, a file, or the test pattern.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::pattern;

/// How much is read or made up at a time.
const CHUNK: usize = 32 * 1024;

/// A response body whose length is known beforehand.
pub(super) enum Body {
    /// Bytes at hand.
    Text(Bytes),
    /// The rest of a file.
    File { file: File, remaining: u64 },
    /// The rest of the pattern.
    Pattern { offset: u64, remaining: u64 },
}

impl Body {
    pub(super) fn length(&self) -> u64 {
        match self {
            Body::Text(text) => text.len() as u64,
            Body::File { remaining, .. } | Body::Pattern { remaining, .. } => *remaining,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let size = CHUNK.min(usize::try_from(self.length()).unwrap_or(CHUNK));
        if size == 0 {
            return Poll::Ready(None);
        }
        let data = match &mut *self {
            Body::Text(text) => std::mem::take(text),
            Body::Pattern { offset, remaining } => {
                let data = pattern::chunk(*offset, size);
                *offset += size as u64;
                *remaining -= size as u64;
                data.into()
            }
            Body::File { file, remaining } => {
                let mut data = vec![0; size];
                let mut buffer = ReadBuf::new(&mut data);
                ready!(Pin::new(file).poll_read(cx, &mut buffer))?;
                let read = buffer.filled().len();
                if read == 0 {
                    // The length is announced already: only an error tells the client.
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                data.truncate(read);
                *remaining -= read as u64;
                data.into()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
