//! The end of a web server: nobody who was let in is turned out.

use std::io::ErrorKind;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::App;
use crate::certificates::Authority;
use crate::client::{Client, HOST};
use crate::program::web;
use crate::{soon, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_that_it_goes_and_then_finishes_what_it_has() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let log = authority.directory().join("access.log");
    let start = web()
        .tls(&authority.issue(HOST))
        .tier(&authority.issue("web1"));
    let start = start.app("app1", app.address).arg("--access-log", &log);
    let mut web = start
        .arg("--drain-delay", "1s")
        .arg("--grace", "15")
        .start();
    let address = web.address("https");
    web.line("an app server is ready");
    let client = authority.identity("client");

    let mut idle = Client::http1(address, &client).await;
    assert_eq!(idle.get("/readyz", &[]).await.status, 200);
    let mut waiting = Vec::new();
    for mut client in [
        Client::http1(address, &client).await,
        Client::http2(address, &client).await,
    ] {
        waiting.push(tokio::spawn(async move {
            let answer = client.get("/wait", &[]).await;
            (client, answer)
        }));
    }
    until("both requests", || async { app.seen() == 2 }).await;

    web.signal(Signal::SIGTERM);
    soon("word that it goes", async {
        while idle.get("/readyz", &[]).await.status != 503 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Until the load balancer has noticed, new ones are as welcome as ever.
    let late = Client::http1(address, &client)
        .await
        .get("/late", &[])
        .await;
    assert_eq!((late.status.as_u16(), late.header("connection")), (200, ""));
    until("the listener to close", || async {
        matches!(TcpStream::connect(address).await, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
    })
    .await;
    assert!(waiting.iter().all(|waits| !waits.is_finished()));

    app.stub.gate.add_permits(2);
    for waits in waiting {
        let (mut client, answer) = soon("the answer", waits).await.unwrap();
        assert_eq!(answer.status, 200);
        if matches!(client, Client::One(_)) {
            assert_eq!(answer.header("connection"), "close");
        }
        let more = client.try_ask("GET", "/more", &[], "".into()).await;
        assert!(more.is_err(), "{more:?}");
    }
    assert!(web.ended().success());
    web.line("stopped, all requests finished");

    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let waited: Vec<_> = lines
        .iter()
        .filter(|line| line["path"] == "/wait")
        .collect();
    assert_eq!(waited.len(), 2, "{log}");
    for line in waited {
        assert_eq!(line["status"], 200);
        assert_eq!(line["upstream"], "app1");
        assert_eq!(line["complete"], true);
        assert_eq!(line["client"], "127.0.0.1");
        assert_eq!(line["host"], HOST);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_ends_is_cut_after_the_grace() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let start = web()
        .tls(&authority.issue(HOST))
        .tier(&authority.issue("web1"));
    let mut web = start
        .app("app1", app.address)
        .arg("--grace", "300ms")
        .start();
    let address = web.address("https");
    web.line("an app server is ready");
    let mut client = Client::http1(address, &authority.identity("client")).await;
    let waits = tokio::spawn(async move { client.try_ask("GET", "/wait", &[], "".into()).await });
    until("the request", || async { app.seen() == 1 }).await;
    web.signal(Signal::SIGTERM);
    assert!(soon("the cut", waits).await.unwrap().is_err());
    assert!(web.ended().success());
    web.line("stopped with requests still in flight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_waits_in_the_queue_is_served_before_the_end() {
    let authority = Authority::new();
    let config = authority.identity(HOST);
    let tls = config.server(webapp::tls::Clients::Verified, &[webapp::tls::HTTP_1_1]);
    let mut server = webapp::server::Server::new(Default::default(), Default::default());
    let address = server
        .bind("127.0.0.1:0".parse().unwrap(), Some(tls))
        .await
        .unwrap();
    // It is connected before anything is served, and draining begins before it is accepted.
    let stream = std::net::TcpStream::connect(address).unwrap();
    let stub = App::start("app1", &authority.identity("app1")).await.stub;
    let running = server.serve(stub);
    let draining = tokio::spawn(running.drain(Duration::from_secs(10)));
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let connector = tokio_rustls::TlsConnector::from(config.client(&[webapp::tls::HTTP_1_1]));
    let name = HOST.try_into().unwrap();
    let mut stream = soon("the handshake", connector.connect(name, stream))
        .await
        .unwrap();
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(
        soon("the end", draining).await.unwrap(),
        webapp::server::Stopped::Finished
    );
}
