//! App servers that do as they are told: one that answers, and one that breaks off.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use webapp::metrics::Connections;
use webapp::server::{Body, Connection, Handler, Limits, Running, Server, full};
use webapp::tls::{Clients, HTTP_1_1, Identity};

/// What a stub does, and what it has seen.
pub(crate) struct Stub {
    pub(crate) name: String,
    pub(crate) ready: AtomicBool,
    /// Whether it leaves /readyz unanswered.
    pub(crate) frozen: AtomicBool,
    /// Requests but those for /readyz, by method and target.
    pub(crate) targets: Mutex<Vec<String>>,
    /// The names in the certificates of who asked.
    pub(crate) clients: Mutex<Vec<Option<String>>>,
    /// What `/wait` waits for.
    pub(crate) gate: Semaphore,
}

/// An app server that answers.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) stub: Arc<Stub>,
    pub(crate) running: Running,
}

impl App {
    pub(crate) async fn start(name: &str, identity: &Identity) -> Self {
        Self::start_at(name, identity, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(name: &str, identity: &Identity, address: SocketAddr) -> Self {
        let stub = Arc::new(Stub {
            name: name.to_owned(),
            ready: AtomicBool::new(true),
            frozen: AtomicBool::new(false),
            targets: Mutex::default(),
            clients: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let mut server = Server::new(Limits::behind(), Connections::default());
        let tls = identity.server(Clients::Verified, &[HTTP_1_1]);
        let address = server.bind(address, Some(tls)).await.unwrap();
        let running = server.serve(Arc::clone(&stub));
        Self {
            address,
            stub,
            running,
        }
    }

    pub(crate) fn seen(&self) -> usize {
        self.stub.targets.lock().unwrap().len()
    }
}

impl Handler for Stub {
    async fn answer(&self, conn: &Connection, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/readyz" {
            if self.frozen.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let ready = self.ready.load(Ordering::SeqCst);
            let status = if ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            return response(status, String::new());
        }
        let target = format!("{} {}", request.method(), request.uri());
        self.targets.lock().unwrap().push(target);
        self.clients.lock().unwrap().push(conn.client_name.clone());
        if path == "/wait" {
            self.gate.acquire().await.unwrap().forget();
        }
        if let Some(bytes) = path.strip_prefix("/bytes/") {
            return response(StatusCode::OK, "x".repeat(bytes.parse().unwrap()));
        }
        if let Some(status) = path.strip_prefix("/status/") {
            let mut told = response(status.parse().unwrap(), "as told".to_owned());
            let headers = told.headers_mut();
            headers.insert("connection", "x-private".parse().unwrap());
            headers.insert("x-private", "1".parse().unwrap());
            headers.insert("x-served-by-app", self.name.parse().unwrap());
            return told;
        }
        let (parts, mut body) = request.into_parts();
        // Nothing of it is kept, however much it is.
        let (mut length, mut hash) = (0, Sha256::new());
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                length += data.len();
                hash.update(&data);
            }
        }
        let headers: Vec<_> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let told = json!({
            "app": self.name,
            "method": parts.method.as_str(),
            "target": parts.uri.to_string(),
            "headers": headers,
            "length": length,
            "sha256": hexadecimal(&hash.finalize()),
        });
        response(StatusCode::OK, told.to_string())
    }
}

/// A hash as the stub tells it.
pub(crate) fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn response(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}

/// An app server that is ready, takes each request, and hangs up instead of answering.
pub(crate) struct Breaker {
    pub(crate) address: SocketAddr,
    seen: Arc<AtomicUsize>,
}

impl Breaker {
    /// `answer` is what it says before it hangs up.
    pub(crate) async fn start(identity: &Identity, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.server(Clients::Verified, &[HTTP_1_1]));
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    let answer = if head.starts_with(b"GET /readyz ") {
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                    } else {
                        count.fetch_add(1, Ordering::SeqCst);
                        answer
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}
