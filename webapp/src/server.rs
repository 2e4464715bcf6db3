//! HTTP/1.1 and HTTP/2 over TCP or TLS: connections, their limits, and an end that lets requests
//! finish. What is answered is the [`Handler`]'s.

mod accept;
mod body;
mod charge;
mod drain;
mod pulse;
mod slots;
mod stall;
mod workers;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::rustls;

use crate::metrics::Connections;
use accept::Acceptor;
use slots::Slots;
use workers::Workers;

pub use body::{Unread, collect, empty, full};
pub use drain::{Readiness, Stop, Stopped, run};
pub use slots::{Hold, Share};

/// The body of a response.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client's address.
    pub peer: SocketAddr,
    /// Whether nobody else can read along.
    pub tls: bool,
    /// The first name in the client's certificate, where one was asked for and verified.
    pub client_name: Option<String>,
    /// What its client may hold.
    pub share: Share,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(
        &self,
        conn: &Connection,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// How many fields a request may have: what hyper takes over HTTP/1.1 unless it is told otherwise.
pub const FIELDS: usize = 100;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. More wait in the listener's queue.
    pub connections: usize,
    /// Connections at once of one address, or of one /64 in IPv6; more are closed unheard. It is also
    /// what a client's [`Share`] is. 0 for as many as there are.
    pub per_address: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a client may take to send a request's headers. It is also how long a kept-alive
    /// connection may idle: over HTTP/1.1, hyper starts the clock when it begins to wait for a
    /// request, and over HTTP/2 no more than that can be told apart.
    pub head: Duration,
    /// How long a client may take none of what is written to it.
    pub stall: Duration,
    /// How large a request's headers may be, together with its first line.
    pub head_bytes: usize,
    /// How many fields they may be.
    pub fields: usize,
    /// How many requests one HTTP/2 connection may make at once.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            per_address: 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            head_bytes: 32 * 1024,
            fields: FIELDS,
            streams: 128,
        }
    }
}

impl Limits {
    /// Of a server whose clients are the web servers: few, each with the connections of many people.
    /// What a web server lets through, it takes with what the web server adds.
    #[must_use]
    pub fn behind() -> Self {
        Self {
            per_address: 0,
            head_bytes: 64 * 1024,
            fields: 2 * FIELDS,
            ..Self::default()
        }
    }
}

/// How far a server's end has come. The order is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Requests in flight finish; nothing new is accepted.
    Draining,
    /// Those that did not are cut.
    Ended,
}

/// A server with its listeners bound and nothing served yet: a taken port is an error at start.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    metrics: Connections,
    listeners: Vec<(TcpListener, Option<Arc<rustls::ServerConfig>>)>,
    workers: Option<Workers>,
}

impl Server {
    /// A server with these limits.
    #[must_use]
    pub fn new(limits: Limits, metrics: Connections) -> Self {
        Self {
            limits,
            metrics,
            listeners: Vec::new(),
            workers: None,
        }
    }

    /// Has connections served by so many threads of their own, and not by those of the runtime: for
    /// a handler that takes little time for each request, and never blocks.
    ///
    /// # Errors
    ///
    /// If the threads cannot be had.
    pub fn threads(&mut self, count: usize) -> Result<()> {
        let workers = Workers::start(count).context("failed to start the threads")?;
        self.workers = Some(workers);
        Ok(())
    }

    /// Listens on an address, in plain text without `tls`. Returns the address, which matters if
    /// its port was 0.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn bind(
        &mut self,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<SocketAddr> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to bind to {address}"))?;
        let bound = listener.local_addr()?;
        self.listeners.push((listener, tls));
        Ok(bound)
    }

    /// Begins to serve.
    #[must_use = "it ends when this is dropped"]
    pub fn serve<H: Handler>(self, handler: Arc<H>) -> Running {
        let (phase, watched) = watch::channel(Phase::Serving);
        let slots = Slots::new(self.limits.per_address);
        let room = Arc::new(Semaphore::new(self.limits.connections));
        let workers = Arc::new(self.workers.unwrap_or_else(Workers::shared));
        for (listener, tls) in self.listeners {
            let acceptor = Acceptor {
                tls: tls.map(Into::into),
                handler: Arc::clone(&handler),
                limits: self.limits,
                metrics: self.metrics.clone(),
                slots: slots.clone(),
                room: Arc::clone(&room),
                workers: Arc::clone(&workers),
                phase: watched.clone(),
            };
            tokio::spawn(acceptor.run(listener));
        }
        Running { phase }
    }
}

/// A server that serves. Dropped, it cuts its connections.
#[derive(Debug)]
pub struct Running {
    phase: watch::Sender<Phase>,
}

impl Running {
    /// Closes the listeners, lets requests in flight finish, and cuts those that have not after
    /// `grace`. Clients are told: by GOAWAY, or by `connection: close`.
    pub async fn drain(self, grace: Duration) -> Stopped {
        self.phase.send_replace(Phase::Draining);
        // Every listener and every connection holds a receiver as long as it lives.
        match tokio::time::timeout(grace, self.phase.closed()).await {
            Ok(()) => Stopped::Finished,
            Err(_) => Stopped::Cut,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}
