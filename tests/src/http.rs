//! A client for HTTP/1.1, just large enough to ask the lab's servers and to check each byte.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The byte at `offset` of what `webapp` answers to `/stream`. Written down here once more, on
/// purpose: a test that computed it with the server's own code would agree with its mistakes.
pub fn stream_byte(offset: u64) -> u8 {
    ((offset % 256 * 31 + 7) % 256) as u8
}

/// A kept-alive connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The name of the server that answered, if it said so.
    pub served_by: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects. `limit` bounds connecting and, from then on, each wait for bytes.
    pub fn open(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks for a path and reads the answer. After an error, the connection is of no use.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request(path)?;
        let (mut response, length) = self.head()?;
        response.body.resize(length, 0);
        self.stream.read_exact(&mut response.body)?;
        Ok(response)
    }

    /// Asks for `/stream` and checks each byte as it arrives. `go_on` is told how many have, and
    /// may end the transfer early by returning false. The name of the server is returned.
    pub fn check_stream(
        &mut self,
        bytes: u64,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> io::Result<Option<String>> {
        self.request(&format!("/stream?bytes={bytes}"))?;
        let (response, length) = self.head()?;
        if response.status != 200 || length as u64 != bytes {
            return Err(bad(format!("status {}, length {length}", response.status)));
        }
        let mut offset = 0;
        let mut buffer = [0; 16 * 1024];
        while offset < bytes {
            let want = usize::try_from(bytes - offset)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let part = &mut buffer[..want];
            let read = match self.stream.read(part) {
                // A wait with a limit is not taken up again by the kernel: see signal(7).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for (&byte, at) in part[..read].iter().zip(offset..) {
                if byte != stream_byte(at) {
                    return Err(bad(format!("wrong byte at offset {at}")));
                }
            }
            offset += read as u64;
            if !go_on(offset) {
                break;
            }
        }
        Ok(response.served_by)
    }

    fn request(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: www.foobar.com\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Reads up to the body, whose length is returned.
    fn head(&mut self) -> io::Result<(Response, usize)> {
        let status = self.line()?;
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| bad(format!("not a status line: {status:?}")))?;
        let mut response = Response {
            status,
            served_by: None,
            body: Vec::new(),
        };
        let mut length = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "x-served-by" => response.served_by = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let length = length.ok_or_else(|| bad("no Content-Length".to_owned()))?;
        Ok((response, length))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Asks once, over a connection of its own.
pub fn get(address: SocketAddr, path: &str, limit: Duration) -> io::Result<Response> {
    Connection::open(address, limit)?.get(path)
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
