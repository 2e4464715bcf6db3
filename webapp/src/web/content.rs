//! A body whose length is known beforehand: bytes at hand, parts of files, the test pattern.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::pattern;
use crate::server::Body;

/// How much of the pattern is made up at a time.
const PATTERN_CHUNK: u64 = 32 * 1024;

/// How much of a file is read at a time: each read is a message to another thread and back.
const FILE_CHUNK: u64 = 128 * 1024;

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes at hand.
    Bytes(Bytes),
    /// A part of a file.
    File(Arc<File>, Range<u64>),
    /// A part of the pattern.
    Pattern(Range<u64>),
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) | Self::Pattern(range) => range.end - range.start,
        }
    }
}

/// Pieces, one after the other.
#[derive(Debug)]
pub(super) struct Content {
    pieces: VecDeque<Piece>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    left: u64,
}

impl Content {
    pub(super) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces: VecDeque<_> = pieces.into_iter().collect();
        let left = pieces.iter().map(Piece::length).sum();
        Self {
            pieces,
            reading: None,
            left,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.left
    }

    pub(super) fn into_body(self) -> Body {
        self.boxed()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                return Poll::Ready(Some(read.map_err(io::Error::other).flatten()));
            }
            let Some(piece) = self.pieces.front_mut() else {
                return Poll::Ready(None);
            };
            let data = match piece {
                Piece::Bytes(bytes) => std::mem::take(bytes),
                Piece::Pattern(range) => {
                    let part = next(range, PATTERN_CHUNK);
                    let length = usize::try_from(part.end - part.start).unwrap_or_default();
                    pattern::chunk(part.start, length).into()
                }
                Piece::File(file, range) => {
                    let part = next(range, FILE_CHUNK);
                    if part.start < part.end {
                        let file = Arc::clone(file);
                        self.reading =
                            Some(tokio::task::spawn_blocking(move || read(&file, &part)));
                        continue;
                    }
                    Bytes::new()
                }
            };
            if data.is_empty() {
                self.pieces.pop_front();
            } else {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }
}

/// Takes the next part off a range.
fn next(range: &mut Range<u64>, most: u64) -> Range<u64> {
    let end = range.end.min(range.start.saturating_add(most));
    let part = range.start..end;
    range.start = end;
    part
}

fn read(file: &File, part: &Range<u64>) -> io::Result<Bytes> {
    let mut data = vec![0; usize::try_from(part.end - part.start).unwrap_or_default()];
    // One that has become shorter is an error: its length is announced already.
    file.read_exact_at(&mut data, part.start)?;
    Ok(data.into())
}

impl hyper::body::Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = ready!(self.poll_data(cx));
        if let Some(Ok(data)) = &polled {
            self.left -= data.len() as u64;
        }
        Poll::Ready(polled.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;
    use std::io::Write as _;

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn pieces_come_in_their_order_and_whole() {
        let whole = pattern::chunk(0, 300_000);
        let file = file(&whole);
        let content = Content::new([
            Piece::Bytes(Bytes::from_static(b"head")),
            Piece::File(Arc::clone(&file), 5..5),
            Piece::File(Arc::clone(&file), 7..299_999),
            Piece::Bytes(Bytes::new()),
            Piece::Pattern(1..100_000),
        ]);
        assert_eq!(content.size_hint().exact(), Some(4 + 299_992 + 99_999));
        let read = content.collect().await.unwrap().to_bytes();
        let expected = [&b"head"[..], &whole[7..299_999], &whole[1..100_000]].concat();
        assert!(read == expected, "{} bytes", read.len());
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let content = Content::new([Piece::File(file(b"short"), 0..6)]);
        let error = content.collect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nothing_is_at_its_end_from_the_start() {
        let content = Content::new([Piece::Bytes(Bytes::new())]);
        assert!(content.is_end_stream());
    }
}
