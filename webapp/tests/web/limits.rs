//! Clients that take their time, or too much of everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use webapp::metrics::Connections;
use webapp::server::{Body, Connection, Handler, Limits, Running, Server, full};
use webapp::tls::{Clients, HTTP_1_1, HTTP_2};

use crate::certificates::Authority;
use crate::client::{HOST, tls};
use crate::{soon, until};

/// Short, so that the tests are; long enough for what is no attack.
const SHORT: Duration = Duration::from_millis(300);

/// More than all buffers on the way hold.
const LARGE: usize = 64 << 20;

struct Large(Bytes);

impl Handler for Large {
    async fn answer(&self, _conn: &Connection, request: Request<Incoming>) -> Response<Body> {
        Response::new(match request.uri().path() {
            "/large" => full(self.0.clone()),
            _ => full("small"),
        })
    }
}

struct Limited {
    address: SocketAddr,
    connections: Connections,
    _running: Running,
}

async fn limited(change: impl FnOnce(&mut Limits), tls: Option<Arc<ServerConfig>>) -> Limited {
    let mut limits = Limits::default();
    change(&mut limits);
    let connections = Connections::default();
    let mut server = Server::new(limits, connections.clone());
    let address = server
        .bind("127.0.0.1:0".parse().unwrap(), tls)
        .await
        .unwrap();
    let running = server.serve(Arc::new(Large(vec![b'x'; LARGE].into())));
    Limited {
        address,
        connections,
        _running: running,
    }
}

/// Waits until the server closes a connection, and tells how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut read = Vec::new();
    // A reset closes it as well.
    let _ = soon("the server to close", stream.read_to_end(&mut read)).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_must_come_in_time_however_they_trickle() {
    let limited = limited(|limits| limits.head = SHORT, None).await;
    let mut silent = TcpStream::connect(limited.address).await.unwrap();
    assert!(closed(&mut silent).await >= SHORT / 2);

    let stream = TcpStream::connect(limited.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let trickle = tokio::spawn(async move {
        write
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
            .await
            .unwrap();
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    let mut answer = Vec::new();
    // Bytes may still be on their way when it closes, and then it resets.
    let _ = soon("the server to close", read.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    soon("the trickle to end", trickle).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limited = limited(|limits| limits.head = SHORT, None).await;
    let mut stream = TcpStream::connect(limited.address).await.unwrap();
    let begun = Instant::now();
    let mut answers = 0;
    while begun.elapsed() < SHORT * 3 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 4096];
        let read = soon("an answer", stream.read(&mut answer)).await.unwrap();
        assert!(answer[..read].ends_with(b"small"));
        answers += 1;
        tokio::time::sleep(SHORT / 6).await;
    }
    assert!(answers > 3);
    assert!(closed(&mut stream).await >= SHORT / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_keep_no_idle_connection_of_http2_open() {
    let authority = Authority::new();
    let config = authority.identity(HOST).server(Clients::Anyone, &[HTTP_2]);
    let limited = limited(
        |limits| {
            limits.head = SHORT;
            limits.stall = SHORT;
        },
        Some(config),
    )
    .await;
    // One that only pings, and one that opens a stream and takes nothing of it.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let no_window = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let block = [&b"\x82\x87\x04\x06/large\x01\x01a"[..]].concat();
    let mut get = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    get.extend(block);
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    for first in [vec![], get] {
        let client = authority.identity("client").client(&[HTTP_2]);
        let stream = tls(limited.address, client, HOST).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        write
            .write_all(&[&preface[..], &no_window, &first].concat())
            .await
            .unwrap();
        let ping = ping.clone();
        let pinging = tokio::spawn(async move {
            while write.write_all(&ping).await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        });
        let mut told = Vec::new();
        // A reset closes it as well.
        let _ = soon("the server to close", read.read_to_end(&mut told)).await;
        soon("the pings to end", pinging).await.unwrap();
    }
    until("both to be gone", || async {
        limited.connections.open_now() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_must_come_in_time() {
    let authority = Authority::new();
    let config = authority
        .identity(HOST)
        .server(Clients::Anyone, &[HTTP_2, HTTP_1_1]);
    let limited = limited(|limits| limits.handshake = SHORT, Some(config)).await;
    let mut silent = TcpStream::connect(limited.address).await.unwrap();
    assert!(closed(&mut silent).await >= SHORT / 2);
    // The beginning of a hello, and no more.
    let mut half = TcpStream::connect(limited.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    assert!(closed(&mut half).await >= SHORT / 2);
    let mut nonsense = TcpStream::connect(limited.address).await.unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut nonsense).await;
    let client = authority.identity("client").client(&[HTTP_1_1]);
    assert!(tls(limited.address, client, HOST).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_its_share_of_connections() {
    let limited = limited(|limits| limits.per_address = 2, None).await;
    let ask = || async {
        let mut stream = TcpStream::connect(limited.address).await.unwrap();
        // Refused, it is closed before or after this is written.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut answer = vec![0; 4096];
        let read = soon("an answer", stream.read(&mut answer))
            .await
            .unwrap_or(0);
        (read > 0).then_some(stream)
    };
    let (first, second) = (ask().await, ask().await);
    assert!(first.is_some() && second.is_some());
    assert!(ask().await.is_none());
    drop(first);
    until("the first to count no more", || async {
        ask().await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let limited = limited(|limits| limits.connections = 1, None).await;
    let first = TcpStream::connect(limited.address).await.unwrap();
    until("the first", || async {
        limited.connections.open_now() == 1
    })
    .await;
    let mut second = TcpStream::connect(limited.address).await.unwrap();
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let early = tokio::time::timeout(SHORT, second.read(&mut answer)).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    let read = soon("an answer", second.read(&mut answer)).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut() {
    let limited = limited(|limits| limits.stall = SHORT, None).await;
    let mut stream = TcpStream::connect(limited.address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until("the connection", || async {
        limited.connections.open_now() == 1
    })
    .await;
    until("its end", || async { limited.connections.open_now() == 0 }).await;
    let mut read = Vec::new();
    // A reset, or the end of what the kernel still had.
    let _ = soon("the end", stream.read_to_end(&mut read)).await;
    assert!(read.len() < LARGE, "{}", read.len());
}
