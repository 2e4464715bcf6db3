//! Requests that two servers could read differently: one request to this server must never be two
//! to the next, or half of one.

use crate::app::App;
use crate::certificates::Authority;
use crate::client::{HOST, raw, statuses};
use crate::program::web;

/// Requests, and what each answer may be: with none, the server hangs up without a word. `{H}` stands for a good host, and each tries to get
/// `/smuggled` past the web server.
const CORPUS: &[(&str, &str, &[u16])] = &[
    (
        "a length and chunks, the length first",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[200, 400],
    ),
    (
        "a length and chunks, the chunks first",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\nContent-Length: 48\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[200, 400],
    ),
    (
        "two lengths that differ",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n\
         GET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "two lengths in one field",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: 0, 44\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a length with a sign",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: +44\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: -1\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a length in hexadecimal",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: 0x2\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a length that overflows",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length: 18446744073709551617\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "chunks in another coding",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[501],
    ),
    (
        "chunks that are not the last coding",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "chunks twice",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[501],
    ),
    (
        "a coding that looks like chunks",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400, 501],
    ),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\n{H}\r\nContent-Length : 44\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a tab before the colon",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a folded field",
        "POST / HTTP/1.1\r\n{H}\r\nX-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a folded coding",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a bare carriage return in a field",
        "GET / HTTP/1.1\r\n{H}\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a NUL in a field",
        "GET / HTTP/1.1\r\n{H}\r\nX-A: b\0c\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "no host",
        "GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "two hosts",
        "GET / HTTP/1.1\r\n{H}\r\nHost: evil.com\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a host that is none",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a target of another host",
        "GET http://evil.com/ HTTP/1.1\r\n{H}\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a tunnel",
        "CONNECT evil.com:443 HTTP/1.1\r\nHost: evil.com:443\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[405],
    ),
    (
        "a trace",
        "TRACE / HTTP/1.1\r\n{H}\r\nX-Secret: 1\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[405],
    ),
    (
        "a method that nobody knows",
        "SMUGGLE / HTTP/1.1\r\n{H}\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[501],
    ),
    (
        "a version that nobody knows",
        "GET / HTTP/1.2\r\n{H}\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400, 505],
    ),
    (
        "no version",
        "GET /\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[],
    ),
    (
        "chunks to a server of HTTP/1.0",
        "POST / HTTP/1.0\r\n{H}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a chunk's size with a sign",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a chunk's size that overflows",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a chunk that is longer than it says",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a chunk's end that is a bare line feed",
        "POST / HTTP/1.1\r\n{H}\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n{H}\r\n\r\n",
        &[400],
    ),
    (
        "a body that a GET brings",
        "GET / HTTP/1.1\r\n{H}\r\nContent-Length: 44\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: www.foobar.com",
        &[200, 400],
    ),
    (
        "a switch to another protocol",
        "GET / HTTP/1.1\r\n{H}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        &[200],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_never_two() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let start = web()
        .tls(&authority.issue(HOST))
        .tier(&authority.issue("web1"));
    let mut web = start.app("app1", app.address).start();
    let address = web.address("https");
    web.line("an app server is ready");
    let client = authority.identity("client");
    let host = format!("Host: {HOST}");
    for (what, request, allowed) in CORPUS {
        let request = request.replace("{H}", &host);
        let read = raw(address, &client, request.as_bytes()).await;
        // One answer, after which the server has closed: `raw` would have waited for it.
        match statuses(&read).as_slice() {
            [] => assert!(allowed.is_empty(), "{what}"),
            [status] => assert!(allowed.contains(status), "{what}: {read}"),
            _ => panic!("{what}: {read}"),
        }
        assert!(
            !read.contains("evil.com") && !read.contains("X-Secret"),
            "{what}: {read}"
        );
        let targets = app.stub.targets.lock().unwrap();
        let smuggled = targets.iter().any(|target| target.contains("smuggled"));
        assert!(!smuggled, "{what}: {targets:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_requests_in_a_row_are_as_many() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let start = web()
        .tls(&authority.issue(HOST))
        .tier(&authority.issue("web1"));
    let mut web = start.app("app1", app.address).start();
    let address = web.address("https");
    web.line("an app server is ready");
    let requests = format!(
        "GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n\
         POST /b HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc\
         POST /c HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         3;a=b\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
    );
    let read = raw(address, &authority.identity("client"), requests.as_bytes()).await;
    assert_eq!(statuses(&read), [200, 200, 200], "{read}");
    let targets = app.stub.targets.lock().unwrap();
    assert_eq!(*targets, ["GET /a", "POST /b", "POST /c"]);
    assert_eq!(read.matches("\"length\":3").count(), 2, "{read}");
    assert!(!read.contains("x-trailer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_refused() {
    let authority = Authority::new();
    let mut web = web().tls(&authority.issue(HOST)).start();
    let address = web.address("https");
    let client = authority.identity("client");
    let long = "x".repeat(40_000);
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (request, allowed) in [
        (
            format!("GET /{long} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
            [414, 431],
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-A: {long}\r\n\r\n"),
            [431, 431],
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{many}\r\n"),
            [431, 431],
        ),
    ] {
        let read = raw(address, &client, request.as_bytes()).await;
        match statuses(&read).as_slice() {
            [status] => assert!(allowed.contains(status), "{read}"),
            _ => panic!("{read}"),
        }
    }
}
