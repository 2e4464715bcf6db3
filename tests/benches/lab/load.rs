//! The client: many connections that ask as fast as they are answered, and check each answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::load::{Client, Connections, Work, while_, wrong};

/// What is asked for: the name of the server, in the body and in a header.
pub(crate) const PATH: &str = "/whoami";
/// Longer than any right answer.
const LONGEST: usize = 1_024;

/// A client that connects to these in turn.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) targets: Arc<[SocketAddr]>,
    pub(crate) connections: Connections,
}

impl Client for Asking {
    async fn connection(&self, turn: usize, work: &Work) -> io::Result<()> {
        let target = self.targets[turn % self.targets.len()];
        let mut stream = TcpStream::connect(target)
            .await
            .map_err(while_("connecting"))?;
        stream.set_nodelay(true)?;
        let close = match self.connections {
            Connections::Kept => "",
            Connections::Closed => "Connection: close\r\n",
        };
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: www.foobar.com\r\n{close}\r\n");
        let mut buffer = [0; LONGEST];
        loop {
            let answer = exchange(&mut stream, request.as_bytes(), &mut buffer).await;
            answer.map_err(while_("asking"))?;
            if self.connections == Connections::Closed {
                let more = stream.read(&mut buffer).await;
                if more.map_err(while_("waiting for the end"))? > 0 {
                    return Err(wrong("more than an answer"));
                }
            }
            work.answered();
            if self.connections == Connections::Closed || work.is_over() {
                return Ok(());
            }
        }
    }
}

/// A request and its answer, checked.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(wrong("closed before the end of the answer"));
        }
        filled += read;
        if is_right(&buffer[..filled])? {
            return Ok(());
        }
    }
}

/// Whether this is the whole of a right answer. False: not yet. An error: it will never be.
fn is_right(bytes: &[u8]) -> io::Result<bool> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("not text"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    let mut lines = head.split("\r\n");
    if lines.next() != Some("HTTP/1.1 200 OK") {
        return Err(wrong("not 200 OK"));
    }
    let (mut server, mut length) = (None, None);
    for line in lines {
        match line.split_once(": ") {
            Some(("x-served-by", name)) => server = Some(name),
            Some(("content-length", number)) => length = number.parse::<usize>().ok(),
            _ => {}
        }
    }
    let (Some(server), Some(length)) = (server, length) else {
        return Err(wrong("no name of a server, or no length"));
    };
    if body.len() < length {
        return Ok(false);
    }
    if body.strip_suffix('\n') != Some(server) {
        return Err(wrong("another body than the server's name"));
    }
    Ok(true)
}
