//! What a server of HTTP/2 must refuse (RFC 9113): frames as bytes, and the errors that they earn.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use webapp::tls::{HTTP_2, Identity};

use crate::certificates::Authority;
use crate::client::{Client, HOST, tls};
use crate::program::web;
use crate::soon;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

// Errors (section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as literals, without an index and without Huffman's code (RFC 7541, section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(
                text.len() < 127,
                "one byte of length is all that is written here"
            );
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", HOST),
    (":path", "/healthz"),
];

fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let block = fields(&[&GET[..], more].concat());
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// A request whose body is still to come.
fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut all = GET.to_vec();
    all[0].1 = "POST";
    all.extend(more);
    frame(HEADERS, END_HEADERS, stream, &fields(&all))
}

/// How the server ends what was sent.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The stream, with this error.
    Reset(u32),
    /// The connection, with this error.
    GoAway(u32),
    /// The connection, without a word.
    Closed,
    /// Not at all: a response of this status, if it was in the static table.
    Answered,
}

async fn connect(address: SocketAddr, identity: &Identity) -> TlsStream<TcpStream> {
    tls(address, identity.client(&[HTTP_2]), HOST)
        .await
        .unwrap()
}

async fn end(stream: &mut TlsStream<TcpStream>) -> End {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return End::Closed;
        }
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return End::Closed;
        }
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            RST_STREAM => return End::Reset(code(0)),
            // Nothing wrong: the server is only about to end.
            GOAWAY if code(4) == 0 => {}
            GOAWAY => return End::GoAway(code(4)),
            HEADERS => return End::Answered,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http2_is_refused_with_the_error_that_it_earns() {
    let authority = Authority::new();
    let mut web = web().tls(&authority.issue(HOST)).start();
    let address = web.address("https");
    let client = authority.identity("client");
    let either = |code: u32| vec![End::Reset(code), End::GoAway(code)];
    // The library has the general error for some that have one of their own. Either ends it.
    let broken = |code: u32| vec![End::GoAway(code), End::GoAway(PROTOCOL_ERROR)];
    let long = vec![0; 16_385];
    let cases: Vec<(&str, Vec<u8>, Vec<End>)> = vec![
        ("an honest request", get(1, &[]), vec![End::Answered]),
        (
            "an unknown type of frame",
            [frame(0x42, 0, 1, b"x"), get(1, &[])].concat(),
            vec![End::Answered],
        ),
        (
            "unknown flags",
            [frame(PING, 0x16, 0, &[0; 8]), get(1, &[])].concat(),
            vec![End::Answered],
        ),
        (
            "a trailer TE",
            get(1, &[("te", "trailers")]),
            vec![End::Answered],
        ),
        // Section 4 and 5: frames and streams.
        (
            "a frame that is too long",
            frame(DATA, 0, 1, &long),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "headers that are too long",
            frame(HEADERS, END_HEADERS, 1, &long),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "a header block that is none",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 12]),
            broken(COMPRESSION_ERROR),
        ),
        (
            "another frame within headers",
            [
                frame(HEADERS, END_STREAM, 1, &fields(&GET)),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            broken(PROTOCOL_ERROR),
        ),
        (
            "another stream's continuation",
            [
                frame(HEADERS, END_STREAM, 1, &fields(&GET)),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ]
            .concat(),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "data on an idle stream",
            frame(DATA, END_STREAM, 1, b"x"),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a window of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a stream of even number",
            get(2, &[]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a stream that goes back",
            [get(5, &[]), get(3, &[])].concat(),
            vec![
                End::GoAway(PROTOCOL_ERROR),
                End::GoAway(STREAM_CLOSED),
                End::Reset(STREAM_CLOSED),
                End::Answered,
            ],
        ),
        // Section 6: each type of frame.
        (
            "data on no stream",
            frame(DATA, 0, 0, b"x"),
            broken(PROTOCOL_ERROR),
        ),
        (
            "data that is all padding and more",
            [post(1, &[]), frame(DATA, PADDED | END_STREAM, 1, &[5, 0])].concat(),
            broken(PROTOCOL_ERROR),
        ),
        (
            "headers on no stream",
            frame(HEADERS, END_HEADERS | END_STREAM, 0, &fields(&GET)),
            broken(PROTOCOL_ERROR),
        ),
        (
            "headers that are all padding",
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[9, 0]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a priority on no stream",
            frame(PRIORITY, 0, 0, &[0; 5]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a reset on no stream",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a reset of a wrong size",
            [post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "settings on a stream",
            frame(SETTINGS, 0, 1, &[]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "settings of a wrong size",
            frame(SETTINGS, 0, 0, &[0; 5]),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "settings acknowledged with more",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "pushing neither on nor off",
            frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a window that is too large from the start",
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            broken(FLOW_CONTROL_ERROR),
        ),
        (
            "frames that may be too small",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "frames that may be too large",
            frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a push by a client",
            [
                post(1, &[]),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            ]
            .concat(),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a ping on a stream",
            frame(PING, 0, 1, &[0; 8]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a ping of a wrong size",
            frame(PING, 0, 0, &[0; 7]),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "a farewell on a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            broken(PROTOCOL_ERROR),
        ),
        (
            "a stream's window of nothing",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            either(PROTOCOL_ERROR),
        ),
        (
            "a window of a wrong size",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            broken(FRAME_SIZE_ERROR),
        ),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
            broken(FLOW_CONTROL_ERROR),
        ),
        // Section 8: requests.
        (
            "a field in capitals",
            get(1, &[("X-A", "b")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "an unknown pseudo-header",
            get(1, &[(":x", "b")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "a response's pseudo-header",
            get(1, &[(":status", "200")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "a pseudo-header after a field",
            get(1, &[("x", "b"), (":path", "/")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "a path twice",
            get(1, &[(":path", "/")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "no method",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&GET[1..])),
            either(PROTOCOL_ERROR),
        ),
        (
            "no scheme",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &fields(&[GET[0], GET[2], GET[3]]),
            ),
            either(PROTOCOL_ERROR),
        ),
        (
            "no path",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&GET[..3])),
            either(PROTOCOL_ERROR),
        ),
        (
            "an empty path",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &fields(&[GET[0], GET[1], GET[2], (":path", "")]),
            ),
            either(PROTOCOL_ERROR),
        ),
        (
            "a field of one connection",
            get(1, &[("connection", "close")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "a framing of HTTP/1.1",
            get(1, &[("transfer-encoding", "chunked")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "a TE that is more than trailers",
            get(1, &[("te", "gzip")]),
            either(PROTOCOL_ERROR),
        ),
        (
            "less than the length says",
            [
                post(1, &[("content-length", "2")]),
                frame(DATA, END_STREAM, 1, b"x"),
            ]
            .concat(),
            either(PROTOCOL_ERROR),
        ),
        (
            "more than the length says",
            [
                post(1, &[("content-length", "1")]),
                frame(DATA, END_STREAM, 1, b"xx"),
            ]
            .concat(),
            either(PROTOCOL_ERROR),
        ),
        (
            "no preface",
            Vec::new(),
            vec![End::Closed, End::GoAway(PROTOCOL_ERROR)],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, frames, allowed) in cases {
        let mut stream = connect(address, &client).await;
        let preface = if what == "no preface" {
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        } else {
            PREFACE
        };
        let sent = [preface, &frame(SETTINGS, 0, 0, &[]), &frames].concat();
        stream.write_all(&sent).await.unwrap();
        let end = soon(what, end(&mut stream)).await;
        if !allowed.contains(&end) {
            wrong.push(format!("{what}: {end:?}, not one of {allowed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // And others have not felt it.
    assert_eq!(
        Client::http2(address, &client)
            .await
            .get("/healthz", &[])
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_the_connection() {
    let authority = Authority::new();
    let mut web = web().tls(&authority.issue(HOST)).start();
    let address = web.address("https");
    let client = authority.identity("client");
    let resets: Vec<u8> = (0..5000)
        .flat_map(|n| {
            [
                get(n * 2 + 1, &[]),
                frame(RST_STREAM, 0, n * 2 + 1, &[0, 0, 0, 8]),
            ]
            .concat()
        })
        .collect();
    let continuations = [
        frame(HEADERS, END_STREAM, 1, &fields(&GET)),
        frame(CONTINUATION, 0, 1, &fields(&[("x", &"y".repeat(100))])).repeat(20_000),
    ]
    .concat();
    for (what, frames) in [("rapid resets", resets), ("endless headers", continuations)] {
        let stream = connect(address, &client).await;
        let (mut read, mut write) = tokio::io::split(stream);
        let writing = tokio::spawn(async move {
            let preface = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
            let sent = [preface, frames].concat();
            // The server may have had enough before all is sent.
            let _ = write.write_all(&sent).await;
            write
        });
        let mut told = Vec::new();
        // A reset ends what can be read, too.
        let _ = soon(what, read.read_to_end(&mut told)).await;
        let calm = frame(GOAWAY, 0, 0, &[])[3..5].to_vec();
        let said = told.windows(2).any(|part| part == calm)
            && told
                .windows(4)
                .any(|part| part == ENHANCE_YOUR_CALM.to_be_bytes());
        assert!(said || told.len() < 100_000, "{what}: {} bytes", told.len());
        soon("the writer", writing).await.unwrap();
    }
    assert_eq!(
        Client::http2(address, &client)
            .await
            .get("/healthz", &[])
            .await
            .status,
        200
    );
}
