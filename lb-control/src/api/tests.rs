//! The server, asked by the client and by those who mean no good.

use super::client::{Client, ClientError};
use super::listener::bind;
use super::server::{Sources, serve};
use crate::config::{Change, Refusal};
use crate::daemon::{Handle, Request};
use crate::observe::events;
use crate::proto::pairing::PairSecret;
use crate::shell::channel::{self, Channel, Pairing};
use crate::state::identity::Identity;
use crate::types::*;
use hyper::Method;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

struct Fixture {
    directory: tempfile::TempDir,
    client: Client,
    events: events::Events,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Fixture {
    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/lbd.sock")
    }

    async fn raw(&self, text: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

async fn fixture() -> Fixture {
    paired_fixture(None).await
}

async fn paired_fixture(pairing: Option<Pairing>) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/lbd.sock");
    let (requests, receiver) = mpsc::channel(8);
    tokio::spawn(fake_daemon(receiver));
    let (stop, stopped) = oneshot::channel();
    let listener = bind(&path).unwrap();
    let events = events::Events::default();
    let sources = Sources {
        daemon: Handle::new(requests),
        events: events.clone(),
        pairing,
    };
    let server = tokio::spawn(serve(listener, sources, async {
        let _ = stopped.await;
    }));
    let client = Client::new(&path, Duration::from_secs(10));
    Fixture {
        directory,
        client,
        events,
        stop,
        server,
    }
}

/// Knows one service with one backend; takes every change of them, and counts.
async fn fake_daemon(mut requests: mpsc::Receiver<Request>) {
    let mut revision = 7;
    while let Some(request) = requests.recv().await {
        match request {
            Request::Status(reply) => drop(reply.send(status(revision))),
            Request::Stats(reply) => drop(reply.send(Ok(Stats {
                at_ns: 1,
                services: BTreeMap::new(),
                backends: BTreeMap::new(),
                reasons: BTreeMap::new(),
                tracking: BTreeMap::new(),
            }))),
            Request::Change {
                change,
                if_revision,
                reply,
            } => {
                let answer = match (if_revision, *change) {
                    (Some(expected), _) if expected != revision => Err(Refusal::Conflict {
                        expected,
                        actual: revision,
                    }),
                    (_, Change::AddService(name, _)) if name.as_str() == "www" => {
                        Err(Refusal::Exists("there is a service www already".to_owned()))
                    }
                    (_, Change::RemoveService(name)) if name.as_str() != "www" => {
                        Err(Refusal::NotFound(format!("there is no service {name}")))
                    }
                    (_, Change::RemoveBackend { force: true, .. }) => {
                        Err(Refusal::Failed("the maps do not follow".to_owned()))
                    }
                    _ => {
                        revision += 1;
                        Ok(revision)
                    }
                };
                drop(reply.send(answer));
            }
            Request::Switch { reply, .. } => drop(reply.send(Err(Refusal::Failed(
                "this host is not paired with another".to_owned(),
            )))),
            Request::Release(reply) => drop(reply.send(Ok(()))),
        }
    }
}

fn status(revision: u64) -> Status {
    Status {
        version: "0".to_owned(),
        revision,
        uptime_s: 1,
        alarms: Vec::new(),
        interfaces: Vec::new(),
        ha: Ha::default(),
        services: vec![Service {
            name: "www".to_owned(),
            vip: "192.0.2.10:80/tcp".to_owned(),
            slots: Slots::default(),
            check: "tcp every 2s".to_owned(),
            backends: vec![Backend {
                service: "www".to_owned(),
                name: "web1".to_owned(),
                address: "10.0.2.11:8080".to_owned(),
                weight: 1,
                admin: "ready".to_owned(),
                operational: "up".to_owned(),
                reason: String::new(),
                since_s: 1,
                slots: 1,
                draining_slots: 0,
                recorded_flows: 0,
            }],
        }],
        changes: Vec::new(),
        flows: Flows::default(),
    }
}

fn new_service(name: &str, vip: &str) -> NewService {
    NewService {
        name: name.to_owned(),
        vip: vip.to_owned(),
        tracked: None,
        idle_timeout: None,
        slots: None,
        check: None,
    }
}

fn refused(answer: Result<Changed, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused(problem)) => (problem.status, problem.detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_questions() {
    let fixture = fixture().await;
    let client = &fixture.client;
    let whole: Status = client.get("/v1/status").await.unwrap();
    assert_eq!(whole, status(7));
    let services: Vec<Service> = client.get("/v1/services").await.unwrap();
    assert_eq!(services, whole.services);
    let service: Service = client.get("/v1/services/www").await.unwrap();
    assert_eq!(service, whole.services[0]);
    for path in ["/v1/backends", "/v1/services/www/backends"] {
        let backends: Vec<Backend> = client.get(path).await.unwrap();
        assert_eq!(backends, service.backends);
    }
    let backend: Backend = client.get("/v1/services/www/backends/web1").await.unwrap();
    assert_eq!(backend, service.backends[0]);
    let stats: Stats = client.get("/v1/stats").await.unwrap();
    assert_eq!(stats.at_ns, 1);
    let version: Version = client.get("/v1/version").await.unwrap();
    assert_eq!(version.version, env!("CARGO_PKG_VERSION"));
    let missing = client.get::<Service>("/v1/services/wwww").await;
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("did you mean \"www\"?"), "{missing}");
    let head = fixture
        .raw("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(head.to_lowercase().contains("etag: \"7\""), "{head}");
}

/// Logs an event that these keep.
fn happens(events: &events::Events, message: &str) {
    use tracing_subscriber::layer::SubscriberExt as _;
    let subscriber = tracing_subscriber::registry().with(events.layer());
    tracing::subscriber::with_default(subscriber, || tracing::info!("{message}"));
}

#[tokio::test]
async fn tells_metrics_as_plain_text() {
    let fixture = fixture().await;
    let text = fixture.client.text("/v1/metrics").await.unwrap();
    assert!(text.contains("\nheadgate_config_revision 7\n"), "{text}");
    let whole = fixture
        .raw("GET /v1/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(whole.contains("text/plain; version=0.0.4"), "{whole}");
    let missing = fixture.client.text("/v1/metric").await.unwrap_err();
    assert!(missing.to_string().contains("no /v1/metric"), "{missing}");
}

#[tokio::test]
async fn tells_what_happened_and_what_happens_next() {
    let fixture = fixture().await;
    let client = &fixture.client;
    let none: Events = client.get("/v1/events").await.unwrap();
    assert_eq!((none.last, none.events.len()), (0, 0));
    // Who asks for what comes next waits for it.
    let next = tokio::spawn({
        let client = client.clone();
        async move { client.wait_for::<Events>("/v1/events?after=0").await }
    });
    happens(&fixture.events, "one");
    let next = next.await.unwrap().unwrap();
    assert_eq!(next.events[0].message, "one");
    happens(&fixture.events, "two");
    let all: Events = client.get("/v1/events").await.unwrap();
    assert_eq!((all.last, all.lost, all.events.len()), (2, 0, 2));
    let since = all.since;
    let latest = format!("/v1/events?after=1&since={since}");
    let latest: Events = client.wait_for(&latest).await.unwrap();
    assert_eq!(latest.events, all.events[1..]);
    // What was counted of another lbd means nothing here.
    let other = format!("/v1/events?after=700&since={}", since - 1);
    let other: Events = client.wait_for(&other).await.unwrap();
    assert_eq!(other, all);
    for query in ["after=x", "after=-1", "after", "before=3"] {
        let answer = client.get::<Events>(&format!("/v1/events?{query}")).await;
        let Err(ClientError::Refused(problem)) = answer else {
            panic!("{query}: {answer:?}");
        };
        assert_eq!(problem.status, 400);
    }
}

#[tokio::test]
async fn without_a_peer_there_is_no_pair() {
    let fixture = fixture().await;
    let client = &fixture.client;
    let token = Join {
        token: String::new(),
    };
    for answer in [
        client.get::<Pair>("/v1/pair").await,
        client.act(Method::DELETE, "/v1/pair", &()).await,
        client.act(Method::POST, "/v1/pair/invitation", &()).await,
        client.act(Method::POST, "/v1/pair/join", &token).await,
    ] {
        let Err(ClientError::Refused(problem)) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(problem.status, 409);
        let detail = problem.detail;
        assert!(detail.contains("no peer in [ha]"), "{detail}");
    }
}

#[tokio::test]
async fn invites_and_joins() {
    let state = tempfile::tempdir().unwrap();
    // An address that no other test listens on.
    let [low, high, ..] = std::process::id().to_le_bytes();
    let address = |host| (Ipv4Addr::new(127, low, 200, host), 10_000 + u16::from(high));
    let settings = channel::Settings {
        links: vec![channel::Link {
            local: address(1).into(),
            remote: address(2).into(),
        }],
        identity: Identity::load_or_create(state.path()).unwrap(),
        peer: None,
        secret: PairSecret([1, 2]),
        state_dir: state.path().to_owned(),
    };
    let (sender, _events) = mpsc::channel(16);
    let channel = Channel::spawn(settings, sender).unwrap();
    let fixture = paired_fixture(Some(channel.pairing())).await;
    let client = &fixture.client;
    let pair: Pair = client.get("/v1/pair").await.unwrap();
    assert_eq!((pair.paired, pair.invitation_s), (false, None));
    assert_eq!(pair.own.fingerprint.len(), 64);
    assert!(pair.own.expires.unwrap().ends_with('Z'));
    let invited = client.act(Method::POST, "/v1/pair/invitation", &()).await;
    let invited: Invitation = invited.unwrap();
    assert!(invited.token.starts_with("headgate1."));
    assert_eq!(invited.lifetime_s, 600);
    assert!(!format!("{invited:?}").contains(&invited.token));
    let pair: Pair = client.get("/v1/pair").await.unwrap();
    assert!(pair.invitation_s.is_some_and(|left| left <= 600));
    for (token, says) in [
        (invited.token, "made on this host"),
        ("headgate2.AA".to_owned(), "another version"),
    ] {
        let join = Join { token };
        let answer = client.act::<Pair>(Method::POST, "/v1/pair/join", &join);
        let Err(ClientError::Refused(problem)) = answer.await else {
            panic!("{says}");
        };
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains(says), "{}", problem.detail);
    }
    let pair: Pair = client.act(Method::DELETE, "/v1/pair", &()).await.unwrap();
    assert_eq!((pair.paired, pair.invitation_s), (false, None));
}

/// Those who wait for events hold up no daemon that ends.
#[tokio::test]
async fn who_waits_hears_of_the_end() {
    let fixture = fixture().await;
    let mut waiting = UnixStream::connect(fixture.socket()).await.unwrap();
    let request = b"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n";
    waiting.write_all(request).await.unwrap();
    // It is being served once those that came after it are.
    let _: Status = fixture.client.get("/v1/status").await.unwrap();
    let began = std::time::Instant::now();
    fixture.stop.send(()).unwrap();
    fixture.server.await.unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"events\":[]"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(1), "{answer}");
}

#[tokio::test]
async fn makes_changes_and_refuses_them() {
    let fixture = fixture().await;
    let client = &fixture.client;
    let post = |body: NewService, revision| async move {
        client
            .change(Method::POST, "/v1/services", &body, revision)
            .await
    };
    let made = post(new_service("x", "192.0.2.11:80"), Some(7)).await;
    assert_eq!(made.unwrap().revision, 8);
    let answer = refused(post(new_service("x", "192.0.2.11:80"), Some(7)).await);
    assert_eq!(answer.0, 412);
    assert!(answer.1.contains("revision 8, not 7"), "{}", answer.1);
    assert_eq!(
        refused(post(new_service("www", "192.0.2.11:80"), None).await).0,
        409
    );
    let answer = refused(post(new_service("x", "[::1]:80"), None).await);
    assert_eq!(answer.0, 422);
    assert!(answer.1.contains("is a loopback address"), "{}", answer.1);

    let delete = |uri| async move { client.change(Method::DELETE, uri, &(), None).await };
    assert_eq!(refused(delete("/v1/services/nope").await).0, 404);
    let backend = "/v1/services/www/backends/web1";
    assert!(delete(backend).await.is_ok());
    assert_eq!(
        refused(delete("/v1/services/www/backends/web1?force=true").await).0,
        500
    );
    assert_eq!(refused(delete("/v1/services/www?force=true").await).0, 400);
    let patch = BackendPatch {
        weight: Some(1001),
        admin: None,
    };
    let answer = client.change(Method::PATCH, backend, &patch, None).await;
    assert_eq!(refused(answer).0, 422);
}

#[tokio::test]
async fn refuses_what_is_no_request() {
    let fixture = fixture().await;
    let request = |line: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (text, status) in [
        (request("GET /", ""), "404"),
        (request("GET /v1/services/www/backends/web1/x", ""), "404"),
        (request("PUT /v1/services", ""), "405"),
        (request("POST /v1/services", "{"), "400"),
        (
            request(
                "POST /v1/services",
                r#"{"name":"x","vip":"192.0.2.1:1","x":1}"#,
            ),
            "400",
        ),
        (request("POST /v1/services", &" ".repeat(70_000)), "413"),
        ("\0\u{1}garbage\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(900_000)), ""),
    ] {
        let answer = fixture.raw(&text).await;
        assert!(
            answer.is_empty() && status != "404"
                || answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {answer}"
        );
    }
    let answer = fixture
        .raw(&request("PUT /v1/services", ""))
        .await
        .to_lowercase();
    assert!(answer.contains("allow: get, post\r\n"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(fixture.client.get::<Status>("/v1/status").await.is_ok());
}

#[tokio::test]
async fn who_stalls_harms_nobody() {
    let fixture = fixture().await;
    let mut stalled = Vec::new();
    for index in 0..80 {
        let mut stream = UnixStream::connect(fixture.socket()).await.unwrap();
        let text: &[u8] = match index % 3 {
            0 => b"",
            1 => b"GET /v1/status HT",
            _ => b"POST /v1/services HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        };
        stream.write_all(text).await.unwrap();
        stalled.push(stream);
    }
    // More than there are places for: they are cut off, two rounds of them.
    let client = Client::new(&fixture.socket(), Duration::from_secs(20));
    assert!(client.get::<Status>("/v1/status").await.is_ok());
}

#[tokio::test]
async fn the_socket_is_ours_alone() {
    let fixture = fixture().await;
    let path = fixture.socket();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second daemon keeps away.
    let second = bind(&path).unwrap_err();
    assert!(format!("{second:#}").contains("another lbd"), "{second:#}");
    assert!(fixture.client.get::<Status>("/v1/status").await.is_ok());
    // The first takes its socket with it.
    fixture.stop.send(()).unwrap();
    fixture.server.await.unwrap();
    assert!(!path.exists());
    let error = fixture
        .client
        .get::<Status>("/v1/status")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is it running?"), "{error}");
    // A stale one is replaced; another file is not.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(bind(&path).unwrap());
    std::fs::write(&path, "precious").unwrap();
    assert!(bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
