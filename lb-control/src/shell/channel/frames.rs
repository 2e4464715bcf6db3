//! Frames: a length of four bytes in network order, and as many bytes.

use super::FRAME_MAX;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::codec::LengthDelimitedCodec;

/// Longer messages of hosts that are to be paired are refused.
const MESSAGE_MAX: usize = 16 * 1024;

/// For the frames of a connection.
pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(FRAME_MAX)
        .new_codec()
}

/// Says by an empty frame that the other end has been let in. With TLS 1.3 it cannot know before.
pub(super) async fn welcome(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_u32(0).await?;
    stream.flush().await
}

/// Waits until this end has been let in.
pub(super) async fn welcomed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    match stream.read_u32().await? {
        0 => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not begin as the channel of a pair does",
        )),
    }
}

/// Reads a message that stands alone.
pub(super) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let len = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if len > MESSAGE_MAX {
        let text = format!("it sends a message of {len} bytes; {MESSAGE_MAX} are expected at most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message that stands alone.
pub(super) async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let len = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_u32(len).await?;
    stream.write_all(message).await?;
    stream.flush().await
}
