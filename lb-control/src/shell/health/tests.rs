use super::{Checker, HealthEvent, Target};
use crate::config::{BackendRef, Check, Probe};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(10);

fn check(probe: Probe) -> Check {
    Check {
        probe,
        port: None,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        rise: 2,
        fall: 2,
    }
}

fn http() -> Probe {
    Probe::Http {
        path: "/healthz".into(),
        host: Some("www.example".into()),
        expect: 200,
    }
}

fn target(address: SocketAddr, probe: Probe, up: Option<bool>) -> Target {
    let check = check(probe);
    Target { address, check, up }
}

fn named(name: &str) -> BackendRef {
    BackendRef {
        service: "www".parse().unwrap(),
        backend: name.parse().unwrap(),
    }
}

/// A checker of one target, and its events.
fn checking(target: Target) -> (Checker, mpsc::Receiver<HealthEvent>) {
    let (sender, events) = mpsc::channel(16);
    let checker = Checker::spawn(sender);
    checker.set_targets(BTreeMap::from([(named("web1"), target)]));
    (checker, events)
}

async fn next(events: &mut mpsc::Receiver<HealthEvent>) -> (bool, String) {
    let event = tokio::time::timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
        .expect("a checker that runs");
    (event.up, event.reason)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers each request with the status of the moment. The requests can be read.
async fn server(status: u16) -> (SocketAddr, watch::Sender<u16>, mpsc::Receiver<String>) {
    let (listener, address) = listener().await;
    let (status, current) = watch::channel(status);
    let (requests, seen) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            let _ = requests.try_send(String::from_utf8_lossy(&request).into_owned());
            let status = *current.borrow();
            let answer = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, status, seen)
}

#[tokio::test]
async fn tcp_goes_down_with_the_listener_and_up_again() {
    let (listener, address) = listener().await;
    let (_checker, mut events) = checking(target(address, Probe::Tcp, None));
    assert_eq!(next(&mut events).await, (true, "connected".into()));

    drop(listener);
    let refused = (false, "connect: connection refused".to_owned());
    assert_eq!(next(&mut events).await, refused);

    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(next(&mut events).await, (true, "connected".into()));
}

#[tokio::test]
async fn http_follows_the_status() {
    let (address, status, _seen) = server(200).await;
    let (_checker, mut events) = checking(target(address, http(), None));
    let fine = (true, "GET /healthz: status 200".to_owned());
    assert_eq!(next(&mut events).await, fine);

    status.send_replace(503);
    let unavailable = "GET /healthz: status 503, expected 200".to_owned();
    assert_eq!(next(&mut events).await, (false, unavailable));

    status.send_replace(200);
    assert_eq!(next(&mut events).await, fine);
}

#[tokio::test]
async fn another_port_can_be_asked() {
    let (address, _status, _seen) = server(200).await;
    let nobody = SocketAddr::new(address.ip(), 9);
    let mut target = target(nobody, http(), None);
    target.check.port = Some(address.port());
    let (_checker, mut events) = checking(target);
    let fine = (true, "GET /healthz: status 200".to_owned());
    assert_eq!(next(&mut events).await, fine);
}

#[tokio::test]
async fn http_says_who_asks_and_for_what() {
    let (address, _status, mut seen) = server(200).await;
    let (_checker, _events) = checking(target(address, http(), None));
    let request = tokio::time::timeout(PATIENCE, seen.recv()).await;
    let request = request.unwrap().unwrap().to_lowercase();
    assert!(
        request.starts_with("get /healthz http/1.1\r\n"),
        "{request}"
    );
    for header in [
        "host: www.example",
        "user-agent: headgate",
        "connection: close",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn http_without_an_answer() {
    // Connections are made by the kernel; nobody ever accepts them.
    let (_listener, address) = listener().await;
    let mut silent = target(address, http(), None);
    silent.check.interval = Duration::from_millis(150);
    silent.check.timeout = Duration::from_millis(150);
    let (_checker, mut events) = checking(silent);
    let reason = "no answer within 150ms".to_owned();
    assert_eq!(next(&mut events).await, (false, reason));
}

#[tokio::test]
async fn http_from_something_that_does_not_speak_it() {
    for (says, reason) in [
        (
            "",
            "GET /healthz: connection closed before message completed",
        ),
        (
            "220 mail.example ESMTP\r\n",
            "GET /healthz: invalid HTTP version parsed",
        ),
    ] {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(says.as_bytes()).await;
            }
        });
        let (_checker, mut events) = checking(target(address, http(), None));
        assert_eq!(next(&mut events).await, (false, reason.to_owned()));
    }
}

#[tokio::test]
async fn not_checked_is_up_at_once() {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let (_checker, mut events) = checking(target(nowhere, Probe::None, Some(false)));
    assert_eq!(next(&mut events).await, (true, "not checked".into()));
}

#[tokio::test]
async fn what_was_known_is_confirmed_once_with_a_reason() {
    let (_listener, address) = listener().await;
    let (_checker, mut events) = checking(target(address, Probe::Tcp, Some(true)));
    assert_eq!(next(&mut events).await, (true, "connected".into()));
}

#[tokio::test]
async fn unchanged_targets_are_left_alone_and_changed_ones_begin_anew() {
    let (_first, one) = listener().await;
    let (_second, two) = listener().await;
    let (sender, mut events) = mpsc::channel(16);
    let checker = Checker::spawn(sender);
    let mut targets = BTreeMap::from([
        (named("web1"), target(one, Probe::Tcp, None)),
        (named("web2"), target(two, Probe::Tcp, None)),
    ]);
    checker.set_targets(targets.clone());
    next(&mut events).await;
    next(&mut events).await;

    // What is known changes nothing for a check that runs; another address does.
    targets.insert(named("web1"), target(one, Probe::Tcp, Some(true)));
    targets.insert(named("web2"), target(one, Probe::Tcp, None));
    checker.set_targets(targets.clone());
    let event = events.recv().await.unwrap();
    assert_eq!((event.backend, event.address), (named("web2"), one));

    // Had web1 begun anew, its event would be before web3's, which begins later.
    targets.insert(named("web3"), target(two, Probe::Tcp, None));
    targets.remove(&named("web2"));
    checker.set_targets(targets);
    let event = events.recv().await.unwrap();
    assert_eq!((event.backend, event.address), (named("web3"), two));
}

#[tokio::test]
async fn checks_end_with_the_checker() {
    let (_listener, address) = listener().await;
    let (checker, mut events) = checking(target(address, Probe::Tcp, None));
    next(&mut events).await;
    drop(checker);
    let ended = tokio::time::timeout(PATIENCE, events.recv()).await;
    assert_eq!(ended.expect("the checks to end in time"), None);
}
