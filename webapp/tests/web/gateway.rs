//! The way to the app servers, and what users see when one of them fails.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use webapp::tls::HTTP_1_1;

use crate::app::{App, Breaker, hexadecimal};
use crate::certificates::Authority;
use crate::client::{Answer, Client, HOST, raw, tls};
use crate::program::{Start, Web, peak_memory, web};
use crate::{soon, until};

/// A web server in front of app servers, all of one authority.
pub(crate) struct Tiers {
    pub(crate) authority: Authority,
    web: Web,
    pub(crate) address: SocketAddr,
}

impl Tiers {
    pub(crate) fn start(authority: Authority, start: Start, apps: &[(&str, SocketAddr)]) -> Self {
        let start = start
            .tls(&authority.issue(HOST))
            .tier(&authority.issue("web1"));
        let start = apps
            .iter()
            .fold(start, |start, (name, address)| start.app(name, *address));
        let mut web = start.start();
        let address = web.address("https");
        for (name, _) in apps {
            // Each was probed once, and so is known to be there or not.
            web.line(&format!("server={name}"));
        }
        Self {
            authority,
            web,
            address,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::http1(self.address, &self.authority.identity("client")).await
    }

    pub(crate) async fn http2(&self) -> Client {
        Client::http2(self.address, &self.authority.identity("client")).await
    }
}

/// A port that nobody listens on.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn told<'a>(answer: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let headers = answer["headers"].as_array().unwrap().iter();
    headers
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reaches_the_app_server_with_what_is_known_of_it() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let tiers = Tiers::start(authority, web(), &[("app1", app.address)]);
    let forged = [
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-request-id", "forged"),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("cookie", "session=1"),
    ];
    for mut client in [tiers.client().await, tiers.http2().await] {
        let is_http2 = matches!(client, Client::Two(_));
        // HTTP/2 has no such field, and refuses a request that has.
        let fields: Vec<_> = forged
            .iter()
            .copied()
            .filter(|(name, _)| !is_http2 || *name != "connection")
            .collect();
        let answer = client.ask("POST", "/a/b?c=%20d", &fields, "the body").await;
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!(json["method"], "POST");
        assert_eq!(json["target"], "/a/b?c=%20d");
        assert_eq!(json["length"], 8);
        assert_eq!(told(&json, "host"), [HOST]);
        assert_eq!(told(&json, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(told(&json, "x-forwarded-proto"), ["https"]);
        assert_eq!(told(&json, "cookie"), ["session=1"]);
        let forwarded = format!("for=127.0.0.1;host=\"{HOST}\";proto=https");
        assert_eq!(told(&json, "forwarded"), [forwarded]);
        assert_eq!(told(&json, "x-request-id"), [answer.header("x-request-id")]);
        assert_eq!(told(&json, "x-served-by-web"), ["web1"]);
        assert!(is_http2 || told(&json, "x-private").is_empty());
    }
    let clients = app.stub.clients.lock().unwrap().clone();
    assert_eq!(clients, [Some("web1".to_owned()), Some("web1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_comes_back_without_what_held_for_one_connection() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let tiers = Tiers::start(authority, web(), &[("app1", app.address)]);
    let mut client = tiers.client().await;
    let answer = client.get("/status/418", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "as told"));
    assert_eq!(answer.header("x-private"), "");
    assert_eq!(answer.header("x-served-by-app"), "app1");
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=31536000"
    );
    let head = client.ask("HEAD", "/bytes/1000", &[], "").await;
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        ("1000", 0)
    );
    let mut http2 = tiers.http2().await;
    let head = http2.ask("HEAD", "/bytes/1000", &[], "").await;
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        ("1000", 0)
    );
    for size in [0, 1, 65_535, 65_536, 65_537, 3_000_000] {
        for client in [&mut client, &mut http2] {
            let answer = client.get(&format!("/bytes/{size}"), &[]).await;
            assert_eq!(answer.body.len(), size);
            // HTTP/2 has another way to say that nothing follows.
            let told = answer.header("content-length");
            assert!(told == size.to_string() || (size == 0 && told.is_empty()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_all_sizes_arrive_whole() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let tiers = Tiers::start(authority, web(), &[("app1", app.address)]);
    for mut client in [tiers.client().await, tiers.http2().await] {
        for size in [0, 1, 65_536, 65_537, 5_000_000] {
            let body: Bytes = (0..size).map(|at: u32| (at * 7 / 3) as u8).collect();
            let hash = hexadecimal(&Sha256::digest(&body));
            let answer = client.ask("POST", "/", &[], body).await;
            assert_eq!(answer.json()["sha256"], hash, "{size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_arrives_whole_and_is_held_nowhere() {
    const PIECE: usize = 1 << 16;
    const PIECES: usize = 1 << 14;
    /// Far more than a server needs, and far less than the body.
    const MOST: u64 = 256 << 20;
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let length = PIECE * PIECES;
    let start = web().arg("--max-body", length.to_string());
    let tiers = Tiers::start(authority, start, &[("app1", app.address)]);

    let config = tiers.authority.identity("client").client(&[HTTP_1_1]);
    let mut stream = tls(tiers.address, config, HOST).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut piece: Vec<u8> = (0..PIECE).map(|at| (at * 7 / 3) as u8).collect();
    let mut hash = Sha256::new();
    for number in 0..PIECES {
        // No two pieces are the same: their order counts.
        piece[..8].copy_from_slice(&number.to_be_bytes());
        hash.update(&piece);
        soon("room for more", stream.write_all(&piece))
            .await
            .unwrap();
    }
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    soon("an answer", read).await.unwrap();
    let (_, told) = answer.split_once("\r\n\r\n").unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["length"], length);
    assert_eq!(told["sha256"], hexadecimal(&hash.finalize()));

    let web = peak_memory(tiers.web.id());
    assert!(web < MOST, "the web server held {web} bytes");
    // This process is the app server, and the client.
    let app = peak_memory(std::process::id());
    assert!(app < MOST, "the app server held {app} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let start = web().arg("--max-body", "100000");
    let tiers = Tiers::start(authority, start, &[("app1", app.address)]);
    let mut client = tiers.client().await;
    let fits = client.ask("POST", "/", &[], vec![0; 100_000]).await;
    assert_eq!(fits.json()["length"], 100_000);
    let mut client = tiers.http2().await;
    let large = client.ask("POST", "/", &[], vec![0; 100_001]).await;
    assert_eq!(large.status, 413);
    let chunks = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000)).repeat(2);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    );
    let read = raw(
        tiers.address,
        &tiers.authority.identity("client"),
        request.as_bytes(),
    )
    .await;
    assert!(read.starts_with("HTTP/1.1 413 "), "{read}");
    // And the app server is none the worse for it.
    assert_eq!(tiers.client().await.get("/", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_shared_out_and_a_busy_server_gets_fewer() {
    let authority = Authority::new();
    let one = App::start("app1", &authority.identity("app1")).await;
    let two = App::start("app2", &authority.identity("app2")).await;
    let apps = [("app1", one.address), ("app2", two.address)];
    let tiers = Tiers::start(authority, web(), &apps);
    let mut client = tiers.client().await;
    for _ in 0..10 {
        client.get("/", &[]).await;
    }
    assert_eq!((one.seen(), two.seen()), (5, 5));

    let mut waiting = tiers.client().await;
    let waits = tokio::spawn(async move { waiting.get("/wait", &[]).await });
    until("the request", || async { one.seen() + two.seen() == 11 }).await;
    let (busy, idle) = if one.seen() == 6 {
        (&one, &two)
    } else {
        (&two, &one)
    };
    for _ in 0..10 {
        client.get("/", &[]).await;
    }
    assert_eq!((busy.seen(), idle.seen()), (6, 15));
    busy.stub.gate.add_permits(1);
    assert_eq!(soon("the answer", waits).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_costs_no_request() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let apps = [("app1", app.address), ("app2", nobody())];
    let tiers = Tiers::start(authority, web(), &apps);
    let mut client = tiers.client().await;
    for _ in 0..20 {
        let answer = client.ask("POST", "/", &[], "once").await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(app.seen(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_between_two_requests_costs_none() {
    let authority = Authority::new();
    let identity = authority.identity("app1");
    let one = App::start("app1", &identity).await;
    let two = App::start("app2", &authority.identity("app2")).await;
    let apps = [("app1", one.address), ("app2", two.address)];
    let tiers = Tiers::start(authority, web(), &apps);
    let mut client = tiers.client().await;
    for _ in 0..4 {
        client.get("/", &[]).await;
    }
    drop(one.running);
    for _ in 0..20 {
        assert_eq!(client.get("/", &[]).await.status, 200);
    }
    assert!(two.seen() >= 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_found_again() {
    let authority = Authority::new();
    let identity = authority.identity("app1");
    let app = App::start("app1", &identity).await;
    let address = app.address;
    let tiers = Tiers::start(authority, web(), &[("app1", address)]);
    let mut client = tiers.client().await;
    assert_eq!(client.get("/", &[]).await.status, 200);
    app.running.drain(std::time::Duration::ZERO).await;
    until("the page that says so", || async {
        tiers.client().await.get("/", &[]).await.status == 503
    })
    .await;
    let again = App::start_at("app1", &identity, address).await;
    until("an answer", || async {
        tiers.client().await.get("/", &[]).await.status == 200
    })
    .await;
    assert!(again.seen() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_is_repeated_and_what_may_have_is_not() {
    let authority = Authority::new();
    let app = App::start("app1", &authority.identity("app1")).await;
    let breaker = Breaker::start(&authority.identity("app2"), "").await;
    let apps = [("app1", app.address), ("app2", breaker.address)];
    let start = web().arg("--metrics", "127.0.0.1:0");
    let mut tiers = Tiers::start(authority, start, &apps);
    let mut client = tiers.client().await;
    let (mut answered, mut failed) = (0, 0);
    for _ in 0..2 {
        let answer = client.ask("POST", "/pay", &[], "1 EUR").await;
        match answer.status.as_u16() {
            200 => answered += 1,
            502 => failed += 1,
            _ => panic!("{answer:?}"),
        }
    }
    // Each was given to one server, once.
    assert_eq!((answered, failed), (1, 1));
    assert_eq!((app.seen(), breaker.seen()), (1, 1));
    for _ in 0..4 {
        assert_eq!(client.get("/", &[]).await.status, 200);
    }
    assert_eq!(app.seen(), 5);
    assert!(
        breaker.seen() > 1,
        "the repeats were of requests that it lost"
    );

    // The first was the payment, which was not repeated.
    let lost = breaker.seen();
    let mut metrics = Client::plain(tiers.web.address("metrics")).await;
    let metrics = metrics.get("/metrics", &[]).await;
    for line in [
        "webapp_web_upstream_attempts_total{server=\"app1\",outcome=\"answered\"} 5".to_owned(),
        format!("webapp_web_upstream_attempts_total{{server=\"app2\",outcome=\"broken\"}} {lost}"),
        format!("webapp_web_upstream_repeats_total {}", lost - 1),
        "webapp_web_upstream_up{server=\"app1\"} 1".to_owned(),
    ] {
        let told = metrics.text();
        assert!(told.lines().any(|is| is == line), "{line} not in:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let authority = Authority::new();
    let identity = authority.identity("app1");
    let short = Breaker::start(
        &identity,
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    )
    .await;
    let tiers = Tiers::start(authority, web(), &[("app1", short.address)]);
    assert_eq!(tiers.client().await.get("/", &[]).await.status, 502);

    let authority = Authority::new();
    let identity = authority.identity("app1");
    let long = Breaker::start(
        &identity,
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc",
    )
    .await;
    let tiers = Tiers::start(authority, web(), &[("app1", long.address)]);
    for mut client in [tiers.client().await, tiers.http2().await] {
        let answer = client.try_ask("GET", "/", &[], Bytes::new()).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let authority = Authority::new();
    let identity = authority.identity("app1");
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let chunked = Breaker::start(&identity, chunks).await;
    let tiers = Tiers::start(authority, web(), &[("app1", chunked.address)]);
    for mut client in [tiers.client().await, tiers.http2().await] {
        let answer = client.try_ask("GET", "/", &[], Bytes::new()).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_app_servers_there_is_a_page_that_says_so_and_files_go_on() {
    let authority = Authority::new();
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("style.css"), "body{}").unwrap();
    let start = web().root(root.path());
    let tiers = Tiers::start(authority, start, &[("app1", nobody())]);
    for mut client in [tiers.client().await, tiers.http2().await] {
        let page = client.get("/", &[("accept", "text/html")]).await;
        assert_eq!(page.status, 503);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("retry-after"), "5");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(
            page.text().contains(page.header("x-request-id")),
            "{page:?}"
        );
        let json = client.get("/api", &[("accept", "application/json")]).await;
        assert_eq!(json.header("content-type"), "application/problem+json");
        assert_eq!(json.json()["status"], 503);
        assert_eq!(client.get("/style.css", &[]).await.text(), "body{}");
        assert_eq!(client.get("/readyz", &[]).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_ready_gets_nothing_until_it_is() {
    let authority = Authority::new();
    let one = App::start("app1", &authority.identity("app1")).await;
    let two = App::start("app2", &authority.identity("app2")).await;
    one.stub.ready.store(false, Ordering::SeqCst);
    let apps = [("app1", one.address), ("app2", two.address)];
    let mut tiers = Tiers::start(authority, web(), &apps);
    let mut client = tiers.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/", &[]).await.json()["app"], "app2");
    }
    tiers.web.forget();
    one.stub.ready.store(true, Ordering::SeqCst);
    tiers.web.line("an app server is ready");
    client.get("/", &[]).await;
    client.get("/", &[]).await;
    assert_eq!(one.seen(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_keeps_no_reader_waiting() {
    let authority = Authority::new();
    let one = App::start("app1", &authority.identity("app1")).await;
    let two = App::start("app2", &authority.identity("app2")).await;
    let apps = [("app1", one.address), ("app2", two.address)];
    let tiers = Tiers::start(authority, web(), &apps);
    let mut client = tiers.client().await;
    let waits = tokio::spawn(async move { client.get("/wait", &[]).await });
    until("the request", || async { one.seen() + two.seen() == 1 }).await;
    let (frozen, other) = if one.seen() == 1 {
        (&one, &two)
    } else {
        (&two, &one)
    };
    frozen.stub.frozen.store(true, Ordering::SeqCst);
    other.stub.gate.add_permits(1);
    assert_eq!(
        soon("the answer", waits).await.unwrap().json()["app"],
        other.stub.name
    );
    assert_eq!(other.seen(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_authority_is_no_app_server() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let foreign = App::start("app1", &theirs.identity("app1")).await;
    let misnamed = App::start("app2", &ours.identity("app3")).await;
    let apps = [("app1", foreign.address), ("app2", misnamed.address)];
    let mut tiers = Tiers::start(ours, web(), &apps);
    let answer: Answer = tiers.client().await.get("/", &[]).await;
    assert_eq!(answer.status, 503);
    assert_eq!((foreign.seen(), misnamed.seen()), (0, 0));
    tiers.web.line("UnknownIssuer");
    tiers.web.line("not valid for name");
}
