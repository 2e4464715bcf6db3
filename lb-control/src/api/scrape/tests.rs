//! A scraper, and those that are none.

use super::Scrapes;
use crate::daemon::{Handle, Request};
use crate::types::{Flows, Ha, Stats, Status};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Answers as a daemon that has nothing to do.
async fn idle_daemon(mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Status(reply) => drop(reply.send(Status {
                version: "0.1.0".to_owned(),
                revision: 7,
                uptime_s: 1,
                alarms: Vec::new(),
                interfaces: Vec::new(),
                ha: Ha::default(),
                services: Vec::new(),
                changes: Vec::new(),
                flows: Flows::default(),
            })),
            Request::Stats(reply) => drop(reply.send(Ok(Stats {
                at_ns: 1,
                services: BTreeMap::new(),
                backends: BTreeMap::new(),
                reasons: BTreeMap::new(),
                tracking: BTreeMap::new(),
            }))),
            Request::Change { .. } | Request::Switch { .. } | Request::Release(_) => {
                panic!("a scraper changes nothing")
            }
        }
    }
}

/// An address that is taken, until the listener is dropped.
async fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scraper_gets_metrics_and_nothing_else() {
    let (listener, address) = taken().await;
    let (requests, receiver) = mpsc::channel(8);
    tokio::spawn(idle_daemon(receiver));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut scrapes = Scrapes::spawn(address, Handle::new(requests), async {
        let _ = stopped.await;
    });
    // It is taken: that is said, and mends itself.
    scrapes.fault.wait_for(Option::is_some).await.unwrap();
    let alarm = scrapes.alarm().unwrap();
    assert!(alarm.contains(&address.to_string()), "{alarm}");
    drop(listener);
    scrapes.fault.wait_for(Option::is_none).await.unwrap();
    assert_eq!(scrapes.alarm(), None);

    let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let content_type = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.contains(content_type), "{head}");
    assert!(body.contains("\nheadgate_config_revision 7\n"), "{body}");

    for (request, status) in [
        ("GET /v1/metrics", "404"),
        ("GET /", "404"),
        ("GET /metrics/", "404"),
        ("POST /v1/services", "404"),
        ("DELETE /metrics", "405"),
        ("POST /metrics", "405"),
    ] {
        let answer = ask(address, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{request}: {answer}");
    }

    drop(stop);
    scrapes.fault.changed().await.unwrap_err();
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "it is still listened there");
}
