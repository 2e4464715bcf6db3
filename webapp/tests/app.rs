//! `webapp app` as a process: whom it answers, what it tells, and how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends with the first thing that goes wrong"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::mariadb::{MariaDb, Options, Place};
use kit::pki::Authority;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use webapp::tls::{Files, HTTP_1_1, HTTP_2, Identity};

const PATIENCE: Duration = Duration::from_secs(20);

/// An app server that ends with the test.
struct App {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    authority: Authority,
    directory: TempDir,
}

impl App {
    /// One whose database is away.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::create(&path("pki")).unwrap();
        fs::write(path("password"), "none\n").unwrap();
        let database = format!(
            "user = \"webapp\"\npassword_file = {:?}\ndatabase = \"webapp\"\nca = {:?}\n\
             [[servers]]\nname = \"db1\"\nhost = \"127.0.0.1\"\nport = 1\n",
            path("password"),
            authority.ca()
        );
        Self::over(directory, authority, &database)
    }

    fn over(directory: TempDir, authority: Authority, database: &str) -> Self {
        let path = |name: &str| directory.path().join(name);
        let files = authority.issue("app1", &["app1"]).unwrap();
        fs::write(path("db.toml"), database).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_webapp"));
        command
            .args(["app", "--name", "app1", "--listen", "127.0.0.1:0"])
            .args(["--metrics", "127.0.0.1:0", "--grace", "5s"])
            .arg("--cert")
            .arg(&files.cert)
            .arg("--key")
            .arg(&files.key)
            .arg("--ca")
            .arg(&files.ca)
            .arg("--database")
            .arg(path("db.toml"))
            .arg("--access-log")
            .arg(path("access.log"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |kind: &str| {
            let told = format!("app1: {kind} on ");
            let mut told = lines.by_ref().filter_map(|line| {
                let line = line.unwrap();
                line.strip_prefix(&told)?.parse().ok()
            });
            told.next().unwrap()
        };
        let (address, metrics) = (address("https"), address("metrics"));
        // What is not read is not written either, once the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address,
            metrics,
            authority,
            directory,
        }
    }

    fn identity(&self, authority: &Authority, name: &str) -> Identity {
        let files = authority.issue(name, &[name]).unwrap();
        Identity::load(&Files {
            cert: files.cert,
            key: files.key,
            ca: self.authority.ca(),
        })
        .unwrap()
    }

    async fn connect(
        &self,
        identity: &Identity,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("app1").unwrap();
        TlsConnector::from(identity.client(&[alpn]))
            .connect(name, stream)
            .await
    }

    async fn get(
        &self,
        identity: &Identity,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<(u16, String)> {
        let stream = self.connect(identity, HTTP_1_1).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(read(sender.send_request(request).await?).await)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(if path == "/posts" { "POST" } else { "GET" })
        .uri(path)
        .header("host", "app1")
        .header("x-forwarded-for", "192.0.2.7")
        .header("x-forwarded-host", "www.foobar.com")
        .header("x-request-id", "a-request")
        .body(Full::new(body.into()))
        .unwrap()
}

#[tokio::test]
async fn whoever_is_listened_to_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(&directory.path().join("pki")).unwrap();
    let options = Options {
        directory: directory.path(),
        authority: &authority,
        template: &Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb"),
        keep: false,
    };
    let databases = MariaDb::start(&options, Place::on_loopback(1).unwrap()).unwrap();
    let app = App::over(directory, authority, &databases.config(""));
    let web = app.identity(&app.authority, "web1");
    let (status, page) = app.get(&web, request("/", "")).await.unwrap();
    assert_eq!(status, 200, "{page}");
    drop(databases);
}

#[tokio::test]
async fn web_servers_are_answered_over_both_protocols_and_nobody_else_is() {
    let app = App::start();
    let web = app.identity(&app.authority, "web1");
    assert_eq!(app.get(&web, request("/healthz", "")).await.unwrap().0, 200);
    let (status, ready) = app.get(&web, request("/readyz", "")).await.unwrap();
    assert_eq!(status, 503);
    assert!(!ready.trim().is_empty());
    let (status, page) = app.get(&web, request("/", "")).await.unwrap();
    assert!(
        status == 503 && page.contains("Not available right now"),
        "{page}"
    );

    let stream = app.connect(&web, HTTP_2).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let health = request("https://app1/healthz", "");
    assert_eq!(
        read(sender.send_request(health).await.unwrap()).await.0,
        200
    );

    // A certificate of another authority. In TLS 1.3 a client learns only by reading that it was
    // refused.
    let other = Authority::create(&app.directory.path().join("other")).unwrap();
    let stranger = app.identity(&other, "web1");
    let refused = match app.connect(&stranger, HTTP_1_1).await {
        Err(_) => true,
        Ok(stream) => {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request("/healthz", "")).await.is_err()
        }
    };
    assert!(refused);
    let plain = TcpStream::connect(app.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(plain)).await.unwrap();
    tokio::spawn(connection);
    assert!(sender.send_request(request("/healthz", "")).await.is_err());
}

#[tokio::test]
async fn what_is_larger_than_any_form_is_refused() {
    let app = App::start();
    let web = app.identity(&app.authority, "web1");
    let (status, page) = app
        .get(&web, request("/posts", vec![b'x'; 1_000_000]))
        .await
        .unwrap();
    assert!(status == 413 && page.contains("That is too much"), "{page}");
    let (status, _) = app
        .get(&web, request("/posts", vec![b'x'; 65_536]))
        .await
        .unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn it_counts_and_logs_and_ends_in_order() {
    let mut app = App::start();
    let web = app.identity(&app.authority, "web1");
    assert_eq!(
        app.get(&web, request("/nowhere?secret=1", ""))
            .await
            .unwrap()
            .0,
        404
    );

    let stream = TcpStream::connect(app.metrics).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (_, metrics) = read(sender.send_request(request("/metrics", "")).await.unwrap()).await;
    for line in [
        "webapp_app_requests_total{method=\"GET\",status=\"404\"} 1",
        "webapp_app_connections_total 1",
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "{line} not in {metrics}"
        );
    }
    assert!(metrics.contains("db_"), "{metrics}");

    let pid = Pid::from_raw(app.child.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = app.child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
    check_log(&app.directory.path().join("access.log"));
}

fn check_log(log: &Path) {
    let log = fs::read_to_string(log).unwrap();
    let entry: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    for (field, value) in [
        ("client", "192.0.2.7"),
        ("client_name", "web1"),
        ("host", "www.foobar.com"),
        ("path", "/nowhere"),
        ("request_id", "a-request"),
        ("server", "app1"),
    ] {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["status"], 404);
}
