//! What becomes of each request: told to the access log and to the metrics when its response ends.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::log::{AccessLog, Entry};
use crate::metrics::Requests;
use crate::server::{Body, Connection};

/// Where it is told.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) server: String,
    pub(super) log: AccessLog,
    pub(super) requests: Requests,
}

/// A request, as far as it is told. Nothing is copied: the parts are shared with the request.
#[derive(Debug)]
pub(super) struct Record {
    begun: Instant,
    at: SystemTime,
    client: IpAddr,
    client_name: Option<String>,
    tls: bool,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: String,
}

impl Record {
    pub(super) fn of<B>(conn: &Connection, request: &Request<B>, request_id: &str) -> Self {
        let headers = request.headers();
        Self {
            begun: Instant::now(),
            at: SystemTime::now(),
            client: conn.peer.ip().to_canonical(),
            client_name: conn.client_name.clone(),
            tls: conn.tls,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: headers.get(HOST).cloned(),
            user_agent: headers.get(USER_AGENT).cloned(),
            request_id: request_id.to_owned(),
        }
    }
}

impl Teller {
    /// The response, which tells of itself when it has ended.
    pub(super) fn watch(
        self: &Arc<Self>,
        record: Record,
        upstream: Option<Arc<str>>,
        response: Response<Body>,
    ) -> Response<Body> {
        let status = response.status();
        let teller = Arc::clone(self);
        response.map(|body| {
            let tally = Tally {
                complete: body.is_end_stream(),
                body,
                bytes: 0,
                status,
                upstream,
                record,
                teller,
            };
            tally.boxed()
        })
    }
}

/// A body that counts what is taken of it.
struct Tally {
    body: Body,
    bytes: u64,
    complete: bool,
    status: StatusCode,
    upstream: Option<Arc<str>>,
    record: Record,
    teller: Arc<Teller>,
}

impl hyper::body::Body for Tally {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.complete = self.body.is_end_stream();
            }
            Some(Err(_)) => self.complete = false,
            None => self.complete = true,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Self { record, teller, .. } = &*self;
        let took = record.begun.elapsed();
        let requests = &teller.requests;
        requests.answered(&record.method, self.status, took, self.bytes);
        if teller.log.is_on() {
            self.log(took);
        }
    }
}

impl Tally {
    fn log(&self, took: Duration) {
        let Self { record, teller, .. } = self;
        let text = |value: &Option<HeaderValue>| -> Option<String> {
            let value = value.as_ref()?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let host = match record.uri.authority() {
            Some(target) => Some(target.to_string()),
            None => text(&record.host),
        };
        teller.log.write(&Entry {
            time: &humantime::format_rfc3339_millis(record.at).to_string(),
            server: &teller.server,
            request_id: &record.request_id,
            client: record.client,
            client_name: record.client_name.as_deref(),
            method: record.method.as_str(),
            host: host.as_deref().unwrap_or_default(),
            path: record.uri.path(),
            version: version(record.version),
            tls: record.tls,
            status: self.status.as_u16(),
            bytes: self.bytes,
            complete: self.complete,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            upstream: self.upstream.as_deref(),
            user_agent: text(&record.user_agent).as_deref(),
        });
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP",
    }
}
