//! The way to the app servers: which of them gets a request, and what happens when it is lost.

mod budget;
mod counts;
mod download;
mod headers;
mod health;
mod probe;
mod upload;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::body::{Body as _, Incoming};
use hyper::http::request;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use prometheus_client::registry::Registry;
use tokio_rustls::rustls::ClientConfig;

use crate::server::{Body, Connection, Unread, collect, empty, full};
use budget::Budget;
use counts::{Counts, Outcome};
use headers::Told;
use health::Wanted;
use upload::Upload;
use upstream::{Line, Outstanding, Upstream};

pub use upstream::AppServer;

/// So often a request is tried: on a connection that has gone stale, on a new one to a server that
/// has gone with it, and at another.
const MOST_TRIES: usize = 4;

/// How long things may take, and how large they may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A request's body, in bytes.
    pub(super) body: u64,
    /// A client's pause within its request's body, or in taking its response's.
    pub(super) client: Duration,
    /// A connection to an app server, TLS handshake and all.
    pub(super) connect: Duration,
    /// From a whole request to its response's headers.
    pub(super) head: Duration,
    /// An app server's pause within a response's body.
    pub(super) server: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 10 << 20,
            client: Duration::from_secs(30),
            connect: Duration::from_secs(2),
            head: Duration::from_secs(30),
            server: Duration::from_secs(30),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Gateway {
    upstreams: Vec<Arc<Upstream>>,
    limits: Limits,
    budget: Budget,
    turn: AtomicUsize,
    counts: Counts,
}

/// What a request is to the gateway, beside what it says itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) conn: &'a Connection,
    pub(super) host: &'a Authority,
    pub(super) request_id: &'a str,
    pub(super) server: &'a str,
}

/// Why there is no response, and who failed to give one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
    pub(super) upstream: Option<Arc<str>>,
}

/// Whether a connection had a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Before,
    Never,
}

/// How an attempt ends that gives no response.
enum Lost {
    /// The server certainly has not seen the request, which is given back.
    Unsent(Option<Upload>),
    /// It may have seen it, and done what it says.
    Broken,
    /// It is still at it, for all that is known.
    Late,
    /// The client sent no proper body.
    Client(Unread),
}

impl Gateway {
    /// A gateway to these servers.
    pub(super) fn new(
        servers: Vec<AppServer>,
        tls: &Arc<ClientConfig>,
        limits: Limits,
        registry: &mut Registry,
    ) -> Result<Self> {
        let upstreams: Result<Vec<_>> = servers
            .into_iter()
            .map(|server| Upstream::new(server, Arc::clone(tls)).map(Arc::new))
            .collect();
        Ok(Self {
            upstreams: upstreams?,
            limits,
            budget: Budget::new(Instant::now()),
            turn: AtomicUsize::new(0),
            counts: Counts::register(registry),
        })
    }

    /// Looks after the health of the servers. Never returns.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut probes = tokio::task::JoinSet::new();
        for upstream in &self.upstreams {
            probes.spawn(probe::watch(Arc::clone(upstream), self.counts.clone()));
        }
        while probes.join_next().await.is_some() {}
    }

    /// Passes a request on, and tells who answered it.
    pub(super) async fn pass(
        &self,
        asked: Asked<'_>,
        request: Request<Incoming>,
    ) -> Result<(Response<Body>, Arc<str>), Failure> {
        self.budget.request();
        let (parts, incoming) = request.into_parts();
        let taken = Upload::take(incoming, self.limits.body, self.limits.client).await;
        let mut upload = taken.map_err(Failure::of_client)?;
        let onward = Onward::new(asked, parts);
        let repeatable = is_idempotent(&onward.method);
        let mut failure = Failure::nobody(None);
        let mut tried: Vec<Arc<str>> = Vec::new();
        for _ in 0..MOST_TRIES {
            let Some(upstream) = self.choose(&tried) else {
                break;
            };
            let again = upload.again().filter(|_| repeatable);
            let (lost, connection) = match self.attempt(&upstream, &onward, upload).await {
                Ok(response) => {
                    upstream.health().answered();
                    self.counts.count(&upstream.name, Outcome::Answered);
                    return Ok((response, Arc::clone(&upstream.name)));
                }
                Err(lost) => lost,
            };
            self.counts.count(&upstream.name, lost.outcome());
            if connection == Used::Before && lost.may_be_stale() {
                // The server may be as well as ever and just have closed what waited.
                upstream.forget_waiting();
            } else {
                self.blame(&upstream, &lost);
                tried.push(Arc::clone(&upstream.name));
            }
            let next;
            (failure, next) = match lost {
                Lost::Unsent(given_back) => (
                    Failure::nobody(Some(Arc::clone(&upstream.name))),
                    given_back.or(again),
                ),
                Lost::Broken => (Failure::broken(&upstream.name), again),
                Lost::Late => (Failure::late(&upstream.name), None),
                Lost::Client(fault) => (Failure::of_client(fault), None),
            };
            match next {
                Some(next) if self.budget.spend(Instant::now()) => {
                    self.counts.repeated();
                    upload = next;
                }
                _ => break,
            }
        }
        Err(failure)
    }

    fn blame(&self, upstream: &Upstream, lost: &Lost) {
        let blames = !matches!(lost, Lost::Client(_));
        if blames && upstream.health().lost(Instant::now()) {
            tracing::warn!(server = %upstream.name, "ejected: requests to it were lost");
            self.counts.ejected(&upstream.name);
        }
    }

    /// The best of the servers that were not tried: of those wanted most, the one with the fewest
    /// requests outstanding.
    fn choose(&self, tried: &[Arc<str>]) -> Option<Arc<Upstream>> {
        let now = Instant::now();
        // Where several are as good, each has its turn.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.upstreams.len().max(1);
        let (before, after) = self.upstreams.split_at(turn);
        let in_turn = after.iter().chain(before);
        in_turn
            .filter(|upstream| !tried.contains(&upstream.name))
            .map(|upstream| (upstream.wanted(now), upstream.outstanding(), upstream))
            .filter(|(wanted, ..)| *wanted < Wanted::No)
            .min_by_key(|(wanted, outstanding, _)| (*wanted, *outstanding))
            .map(|(.., upstream)| Arc::clone(upstream))
    }

    async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        onward: &Onward,
        upload: Upload,
    ) -> Result<Response<Body>, (Lost, Used)> {
        let outstanding = upstream.begin();
        let (mut line, used) = match upstream.waiting() {
            Some(line) => (line, Used::Before),
            None => match upstream.connect(self.limits.connect).await {
                Ok(line) => (line, Used::Never),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(server = %upstream.name, error, "an app server is not reached");
                    return Err((Lost::Unsent(Some(upload)), Used::Never));
                }
            },
        };
        let answered = async {
            let response = self
                .send(upstream, &mut line, onward.request(upload))
                .await?;
            self.receive(upstream, line, outstanding, &onward.method, response)
                .await
        };
        answered.await.map_err(|lost| (lost, used))
    }

    async fn send(
        &self,
        upstream: &Upstream,
        line: &mut Line,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Lost> {
        let repeatable = is_idempotent(request.method());
        let watched = request.body().watched();
        let mut sending = std::pin::pin!(line.send(request));
        let mut passed = 0;
        loop {
            let sent = tokio::select! {
                sent = tokio::time::timeout(self.limits.head, line.until(sending.as_mut())) => sent,
                // It can be had elsewhere at once.
                () = upstream.falls_silent(), if repeatable => return Err(Lost::Broken),
            };
            let mut error = match sent {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => error,
                // As long as the body goes on, so does the request.
                Err(_) => match watched.as_ref().map(|watched| watched.passed()) {
                    Some(so_far) if so_far > passed => {
                        passed = so_far;
                        continue;
                    }
                    _ => return Err(Lost::Late),
                },
            };
            let fault = watched.as_ref().and_then(|watched| watched.fault());
            return Err(match (fault, error.take_message()) {
                (Some(fault), _) => Lost::Client(fault),
                (None, Some(request)) => Lost::Unsent(Some(request.into_body())),
                (None, None) => Lost::Broken,
            });
        }
    }

    async fn receive(
        &self,
        upstream: &Arc<Upstream>,
        mut line: Line,
        outstanding: Outstanding,
        method: &Method,
        response: Response<Incoming>,
    ) -> Result<Response<Body>, Lost> {
        // Nothing was offered to be switched to.
        if response.status().is_informational() {
            return Err(Lost::Broken);
        }
        let (mut parts, incoming) = response.into_parts();
        let length = incoming.size_hint().exact();
        // The length of what a GET would give is the server's to tell.
        let kept = match *method {
            Method::HEAD => parts.headers.remove(hyper::header::CONTENT_LENGTH),
            _ => None,
        };
        headers::strip(&mut parts.headers);
        parts
            .headers
            .extend(kept.map(|length| (hyper::header::CONTENT_LENGTH, length)));
        parts.version = Version::HTTP_11;
        let body = match length {
            Some(0) => {
                upstream.keep(line);
                empty()
            }
            Some(length) if length <= download::HELD => {
                let most = usize::try_from(length).unwrap_or(usize::MAX);
                let collecting = std::pin::pin!(collect(incoming, most, self.limits.server));
                let collected = line.until(collecting).await;
                let bytes = collected.map_err(|unread| match unread {
                    Unread::TooSlow => Lost::Late,
                    Unread::TooLarge | Unread::Broken => Lost::Broken,
                })?;
                upstream.keep(line);
                full(bytes)
            }
            _ => {
                let upstream = Arc::clone(upstream);
                let done = move |line| {
                    upstream.keep(line);
                    drop(outstanding);
                };
                let Limits { server, client, .. } = self.limits;
                download::pass_on(incoming, line, server, client, done)
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// A request as it goes on, as often as it has to.
struct Onward {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Onward {
    fn new(asked: Asked<'_>, parts: request::Parts) -> Self {
        let told = Told {
            client: asked.conn.peer.ip(),
            tls: asked.conn.tls,
            host: asked.host,
            request_id: asked.request_id,
            server: asked.server,
            version: parts.version,
        };
        // The path alone: a host in it would outweigh the one that was checked.
        let path = parts.uri.into_parts().path_and_query;
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self {
            method: parts.method,
            uri: Uri::from(path),
            headers: headers::of_request(parts.headers, told),
        }
    }

    fn request(&self, upload: Upload) -> Request<Upload> {
        let mut request = Request::new(upload);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Whether a request may be sent again though it may have been done (RFC 9110, section 9.2.2).
///
/// PUT and DELETE are idempotent to the RFC, but an application's are only if it took care: these
/// are the ones that change nothing.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Lost {
    /// Whether it could be for a connection that the server had closed meanwhile.
    fn may_be_stale(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Broken)
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Unsent(_) => Outcome::Unsent,
            Self::Broken => Outcome::Broken,
            Self::Late => Outcome::Late,
            Self::Client(_) => Outcome::Client,
        }
    }
}

impl Failure {
    fn nobody(upstream: Option<Arc<str>>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: "The application does not answer at the moment. Nothing of your request was done; \
                  please try again in a few seconds.",
            upstream,
        }
    }

    fn broken(upstream: &Arc<str>) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            why: "The application broke off while it answered. What you asked for may have been \
                  done or not; please look before you repeat it.",
            upstream: Some(Arc::clone(upstream)),
        }
    }

    fn late(upstream: &Arc<str>) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            why: "The application takes too long to answer. What you asked for may still be done; \
                  please look before you repeat it.",
            upstream: Some(Arc::clone(upstream)),
        }
    }

    fn of_client(fault: Unread) -> Self {
        let (status, why) = match fault {
            Unread::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "What you sent is larger than is accepted here.",
            ),
            Unread::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "What you sent did not arrive in time.",
            ),
            Unread::Broken => (
                StatusCode::BAD_REQUEST,
                "What you sent did not arrive whole.",
            ),
        };
        Self {
            status,
            why,
            upstream: None,
        }
    }
}
