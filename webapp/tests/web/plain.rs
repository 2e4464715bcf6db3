//! Without certificates: the pages that tests of the load balancer use.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::program::web;
use crate::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_for_tests_are_there() {
    let mut web = web().start();
    let mut client = Client::plain(web.address("http")).await;
    for (path, body) in [
        ("/healthz", "ok"),
        ("/readyz", "ready\n"),
        ("/whoami", "web1\n"),
    ] {
        let answer = client.get(path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, body),
            "{path}"
        );
        assert_eq!(answer.header("x-served-by"), "web1");
        assert_eq!(answer.header("content-length"), body.len().to_string());
        let head = client.ask("HEAD", path, &[], "").await;
        assert_eq!(
            head.header("content-length"),
            body.len().to_string(),
            "{path}"
        );
        assert!(head.body.is_empty());
    }
    assert!(client.get("/", &[]).await.text().contains("Served by web1"));
    assert_eq!(client.get("/nothing", &[]).await.status, 404);
    assert_eq!(
        client.get("/nothing", &[]).await.header("x-served-by"),
        "web1"
    );
    let post = client.ask("POST", "/whoami", &[], "x").await;
    assert_eq!(
        (post.status.as_u16(), post.header("allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pattern_is_sent_to_its_last_byte() {
    let mut web = web().start();
    let mut client = Client::plain(web.address("http")).await;
    let answer = client.get("/stream?bytes=300001", &[]).await;
    assert_eq!(answer.header("content-length"), "300001");
    assert_eq!(answer.body.len(), 300_001);
    let wrong = answer.body.iter().zip(0u64..).find(|(byte, at)| {
        let expected = (at * 31 + 7) % 256;
        u64::from(**byte) != expected
    });
    assert_eq!(wrong, None);
    assert!(client.get("/stream?bytes=0", &[]).await.body.is_empty());
    assert_eq!(client.get("/stream?bytes=x", &[]).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_echo_listener_echoes() {
    let mut web = web().arg("--echo", "127.0.0.1:0").start();
    let mut stream = TcpStream::connect(web.address("echo")).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    soon("the echo", stream.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn what_cannot_work_is_said_at_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = web().arg("--listen", &address).fail();
    assert!(
        said.contains(&format!("failed to bind to {address}")),
        "{said}"
    );
    let said = web().arg("--root", "/nowhere").fail();
    assert!(said.contains("/nowhere"), "{said}");
    let said = web()
        .arg("--cert", "/nowhere.pem")
        .arg("--key", "/nowhere.key")
        .fail();
    assert!(said.contains("/nowhere.pem"), "{said}");
    for arguments in [
        &["--cert", "a.pem"][..],
        &["--redirect", "127.0.0.1:0"],
        &["--app", "app1=127.0.0.1:1"],
        &["--app", "app1"],
        &["--name", "a b"],
    ] {
        let start = arguments
            .chunks(2)
            .fold(web(), |start, pair| start.arg(pair[0], pair[1]));
        let said = start.fail();
        assert!(said.contains("error:"), "{arguments:?}: {said}");
    }
}
