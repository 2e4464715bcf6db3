//! A connection to the peer, from when both have been let in until it ends.

use super::frames::codec;
use super::queue::Queue;
use super::tls::explain;
use super::{Event, FRAME_MAX};
use bytes::{Bytes, BytesMut};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::codec::{Decoder as _, Encoder as _};

/// From one empty frame to the next.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Without a byte for so long, the connection is dead.
const SILENCE: Duration = Duration::from_secs(3);

/// Read at once, and written at once as long as frames are shorter.
const CHUNK: usize = 64 * 1024;

/// Runs it. Returns why it ended.
pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite,
    queue: Arc<Queue>,
    events: mpsc::Sender<Event>,
) -> String {
    let (mut reader, mut writer) = split(stream);
    tokio::select! {
        reason = queue.failure() => reason,
        reason = read(&mut reader, &events) => reason,
        Err(error) = write(&mut writer, &queue) => ended(&error),
    }
}

fn ended(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "the peer closed the connection".to_owned(),
        _ => explain(error),
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), events: &mpsc::Sender<Event>) -> String {
    let mut codec = codec();
    let mut buffer = BytesMut::new();
    loop {
        loop {
            match codec.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(frame)) if frame.is_empty() => {}
                // Whoever is slow here makes the peer wait, and is not taken for a silent peer.
                Ok(Some(frame)) => {
                    if events.send(Event::Frame(frame.freeze())).await.is_err() {
                        return "nobody listens any more".to_owned();
                    }
                }
                Err(_) => {
                    return format!(
                        "the peer sends a frame that is longer than {} MiB: it does not speak the \
                         protocol of this release",
                        FRAME_MAX >> 20
                    );
                }
            }
        }
        buffer.reserve(CHUNK);
        match timeout(SILENCE, reader.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return "the peer closed the connection".to_owned(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return ended(&error),
            Err(_) => return format!("nothing was heard for {} s", SILENCE.as_secs()),
        }
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), queue: &Queue) -> io::Result<Infallible> {
    let mut codec = codec();
    let mut buffer = BytesMut::new();
    let mut ticks = interval(KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            _ = ticks.tick() => Bytes::new(),
            frame = queue.next() => frame,
        };
        codec.encode(first, &mut buffer)?;
        while buffer.len() < CHUNK
            && let Some(frame) = queue.pop()
        {
            codec.encode(frame, &mut buffer)?;
        }
        writer.write_all_buf(&mut buffer).await?;
        writer.flush().await?;
    }
}
