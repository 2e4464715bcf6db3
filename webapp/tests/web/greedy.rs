//! Clients that would hold more of what is behind the web servers than is theirs.

use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use webapp::tls::{HTTP_1_1, HTTP_2};

use crate::app::App;
use crate::certificates::Authority;
use crate::client::{Client, HOST, tls};
use crate::gateway::Tiers;
use crate::program::web;
use crate::{soon, until};

type Sender = http2::SendRequest<Empty<bytes::Bytes>>;

/// Over HTTP/2, with room for so much of each response until it is read.
async fn with_room_for(tiers: &Tiers, bytes: u32) -> Sender {
    let identity = tiers.authority.identity("client");
    let stream = tls(tiers.address, identity.client(&[HTTP_2]), HOST)
        .await
        .unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(bytes)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A response whose body was not read.
async fn begun(sender: &mut Sender, path: &str) -> Response<hyper::body::Incoming> {
    let request = Request::get(format!("https://{HOST}{path}"));
    let request = request.body(Empty::new()).unwrap();
    soon("a response", sender.send_request(request))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_are_not_taken_count_as_long_as_they_wait() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("large.bin"), vec![b'x'; 300_000]).unwrap();
    let start = web()
        .arg("--per-address", "3")
        .arg("--in-memory", "1000")
        .root(files.path());
    let tiers = Tiers::start(authority, start, &[("app1", app.address)]);

    // One that is read whole before it is sent, one that is passed on, one from a disk.
    let mut slow = with_room_for(&tiers, 16).await;
    let mut waiting = Vec::new();
    for path in ["/bytes/1000", "/bytes/200000", "/large.bin"] {
        let response = begun(&mut slow, path).await;
        assert_eq!(response.status(), 200, "{path}");
        waiting.push(response);
    }
    let mut client = tiers.http2().await;
    for path in ["/", "/large.bin"] {
        let refused = client.get(path, &[]).await;
        assert_eq!(refused.status, 429, "{path}");
        assert!(!refused.header("retry-after").is_empty());
    }
    // Health, and what is in memory, is nobody's to use up.
    assert_eq!(client.get("/healthz", &[]).await.status, 200);
    drop(waiting);
    until("what is not wanted any more to be gone", async || {
        tiers.client().await.get("/", &[]).await.status == 200
    })
    .await;
    for _ in 0..10 {
        assert_eq!(client.get("/bytes/200000", &[]).await.body.len(), 200_000);
        assert_eq!(client.get("/large.bin", &[]).await.body.len(), 300_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_no_told_length_is_waited_for_before_a_server_is_asked() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let tiers = Tiers::start(authority, web(), &[("app1", app.address)]);
    let identity = tiers.authority.identity("client");
    let mut stream = tls(tiers.address, identity.client(&[HTTP_1_1]), HOST)
        .await
        .unwrap();
    let head = format!(
        "POST /slow HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Others come and go meanwhile.
    let mut client: Client = tiers.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("/other", &[]).await.status, 200);
    }
    assert!(!asked(&app, "POST /slow"));
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // It is closed after chunks.
    let _ = soon("the answer", read).await;
    assert!(answer.contains("\"length\":3"), "{answer}");
    assert!(asked(&app, "POST /slow"));

    // A large one is passed on when much of it is there.
    let mut stream = tls(tiers.address, identity.client(&[HTTP_1_1]), HOST)
        .await
        .unwrap();
    let head = head.replace("/slow", "/large");
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, "x".repeat(70_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    until("the server to be asked", async || {
        asked(&app, "POST /large")
    })
    .await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = soon("the answer", stream.read_to_string(&mut answer)).await;
    assert!(answer.contains("\"length\":70003"), "{answer}");
}

fn asked(app: &App, target: &str) -> bool {
    let targets = app.stub.targets.lock().unwrap();
    targets.iter().any(|seen| seen == target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_fields_as_are_taken_reach_the_app_server_and_more_do_not() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let tiers = Tiers::start(authority, web(), &[("app1", app.address)]);
    let names: Vec<String> = (0..101).map(|n| format!("x-field-{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (&**name, "1")).collect();
    for mut client in [tiers.client().await, tiers.http2().await] {
        // One of them is the host.
        let most = client.get("/", &fields[..99]).await;
        assert_eq!(most.status, 200, "{most:?}");
        let large = "x".repeat(30_000);
        let large = client.get("/", &[("x-large", &*large)]).await;
        assert_eq!(large.status, 200, "{large:?}");
        assert_eq!(client.get("/", &fields).await.status, 431);
    }
    assert_eq!(app.seen(), 4);
}
