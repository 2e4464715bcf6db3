//! A client for HTTP/1.1, in plain text or over TLS, just large enough to ask the lab's servers and
//! to check each byte.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::layout::SITE;
use crate::tls::Trust;

/// The byte at `offset` of what `webapp` answers to `/stream`. Written down here once more, on
/// purpose: a test that computed it with the server's own code would agree with its mistakes.
pub fn stream_byte(offset: u64) -> u8 {
    ((offset % 256 * 31 + 7) % 256) as u8
}

/// A kept-alive connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send + fmt::Debug {}
impl<T: Read + Write + Send + fmt::Debug> Stream for T {}

/// What a server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As `GET`.
    pub method: &'a str,
    /// The path, and the query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; none if empty.
    pub body: &'a [u8],
}

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The name of the server that answered, if it said so.
    pub served_by: Option<String>,
    /// All headers, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, which is written in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of this name, which is written in lower case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(each, _)| each == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The body, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server takes no further request on the connection.
    pub fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How long a body is.
enum Length {
    Known(usize),
    Chunked,
}

impl Connection {
    /// Connects. `limit` bounds connecting and, from then on, each wait for bytes.
    pub fn open(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        Ok(Self::over(tcp(address, limit)?))
    }

    /// Connects over TLS to a server that must be `host`. `limit` bounds each wait.
    pub fn open_tls(
        address: SocketAddr,
        host: &str,
        trust: &Trust,
        limit: Duration,
    ) -> io::Result<Self> {
        let stream = tcp(address, limit)?;
        Ok(Self::over(trust.connect(host, stream)?))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
        }
    }

    /// Asks for a path and reads the answer. After an error, the connection is of no use.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send(&Request {
            method: "GET",
            path,
            headers: &[],
            body: &[],
        })
    }

    /// Asks for something and reads the answer. After an error, the connection is of no use.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<Response> {
        self.write(request)?;
        let (mut response, length) = self.head(request.method)?;
        match length {
            Length::Known(length) => {
                response.body.resize(length, 0);
                self.stream.read_exact(&mut response.body)?;
            }
            Length::Chunked => response.body = self.chunks()?,
        }
        Ok(response)
    }

    /// Asks for `/stream` and checks each byte as it arrives. `go_on` is told how many have, and
    /// may end the transfer early by returning false. The name of the server is returned.
    pub fn check_stream(
        &mut self,
        bytes: u64,
        go_on: impl FnMut(u64) -> bool,
    ) -> io::Result<Option<String>> {
        self.write(&Request {
            method: "GET",
            path: &format!("/stream?bytes={bytes}"),
            headers: &[],
            body: &[],
        })?;
        match self.head("GET")? {
            (response, Length::Known(length))
                if response.status == 200 && length as u64 == bytes =>
            {
                self.check_body(bytes, go_on)?;
                Ok(response.served_by)
            }
            (response, _) => Err(bad(format!(
                "status {}, length {:?}",
                response.status,
                response.header("content-length")
            ))),
        }
    }

    fn check_body(&mut self, bytes: u64, mut go_on: impl FnMut(u64) -> bool) -> io::Result<()> {
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
        Ok(())
    }

    fn write(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request {
            method,
            path,
            headers,
            body,
        } = request;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {SITE}\r\n");
        for (name, value) in *headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || *method == "POST" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        let mut message = text.into_bytes();
        message.extend_from_slice(body);
        let stream = self.stream.get_mut();
        stream.write_all(&message)?;
        stream.flush()
    }

    /// Reads up to the body, whose length is returned.
    fn head(&mut self, method: &str) -> io::Result<(Response, Length)> {
        let status = self.line()?;
        let status = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| bad(format!("not a status line: {status:?}")))?;
        let mut response = Response {
            status,
            served_by: None,
            headers: Vec::new(),
            body: Vec::new(),
        };
        let mut length = None;
        // See RFC 9112, section 6.3.
        if method == "HEAD" || matches!(status, 204 | 304) {
            length = Some(Length::Known(0));
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            match name.as_str() {
                "content-length" if length.is_none() => {
                    length = value.parse().ok().map(Length::Known);
                }
                "transfer-encoding" if length.is_none() && value == "chunked" => {
                    length = Some(Length::Chunked);
                }
                "x-served-by" => response.served_by = Some(value.clone()),
                _ => {}
            }
            response.headers.push((name, value));
        }
        let length = length.ok_or_else(|| bad("no length".to_owned()))?;
        Ok((response, length))
    }

    /// Reads a body that comes in chunks: RFC 9112, section 7.1. What comes after it is left out.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| bad(format!("not the size of a chunk: {line:?}")))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            let begin = body.len();
            body.resize(begin + size, 0);
            self.stream.read_exact(&mut body[begin..])?;
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn tcp(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks once, over a connection of its own.
pub fn get(address: SocketAddr, path: &str, limit: Duration) -> io::Result<Response> {
    Connection::open(address, limit)?.get(path)
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);

    /// What the client makes of what a server says, twice on one connection.
    fn answers(says: &'static str) -> io::Result<[Response; 2]> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            for _ in 0..2 {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    request.extend(byte);
                }
                stream.write_all(says.as_bytes())?;
            }
            Ok(())
        });
        let mut connection = Connection::open(address, LIMIT)?;
        let both = connection
            .get("/")
            .and_then(|it| Ok([it, connection.get("/")?]));
        drop(connection);
        let served = server.join().unwrap();
        both.inspect(|_| served.unwrap())
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        for says in [
            "HTTP/1.1 200 OK\r\nX-Served-By: web1\r\nContent-Length: 11\r\n\r\nhello world",
            "HTTP/1.1 200 OK\r\nx-served-by: web1\r\nTransfer-Encoding: chunked\r\n\r\n\
             6;a=b\r\nhello \r\n5\r\nworld\r\n0\r\nA: b\r\n\r\n",
        ] {
            for answer in answers(says).unwrap() {
                assert_eq!(answer.text(), "hello world");
                assert_eq!(answer.served_by.as_deref(), Some("web1"));
                assert!(!answer.is_last());
            }
        }
        let [nothing, _] =
            answers("HTTP/1.1 304 Not Modified\r\nContent-Length: 11\r\n\r\n").unwrap();
        assert_eq!((nothing.status, nothing.body.len()), (304, 0));
        answers("HTTP/1.1 200 OK\r\n\r\n").unwrap_err();
        answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n").unwrap_err();
    }
}
