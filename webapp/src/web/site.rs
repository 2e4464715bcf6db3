//! Which request gets which answer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};

use super::assets::{Assets, Found};
use super::errors::{self, Form};
use super::gateway::{Asked, Gateway};
use super::guard::{self, METHODS, Refused};
use super::paths::{Named, named};
use super::tally::{Record, Teller};
use super::{ids, pages, security};
use crate::server::{Body, Connection, Handler, Readiness, empty};

/// Names the server that answered, so that a client of the load balancer can tell them apart.
const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What this server answers with.
pub(super) struct Site {
    /// The server's name.
    pub(super) name: String,
    /// The name, as a header's value.
    pub(super) served_by: HeaderValue,
    /// The hosts that are served here, in lower case; empty for any.
    pub(super) hosts: Vec<String>,
    /// Where a request in plain text is sent to, if anywhere: the port of HTTPS.
    pub(super) redirect: Option<u16>,
    /// Whether the pages for tests are there.
    pub(super) test_pages: bool,
    pub(super) assets: ArcSwap<Assets>,
    pub(super) gateway: Option<Arc<Gateway>>,
    pub(super) readiness: Readiness,
    pub(super) teller: Arc<Teller>,
}

/// An answer, and the app server that it comes from.
type Answer = (Response<Body>, Option<Arc<str>>);

impl Handler for Site {
    async fn answer(&self, conn: &Connection, request: Request<Incoming>) -> Response<Body> {
        let request_id = ids::unique();
        let record = Record::of(conn, &request, &request_id);
        let is_head = *request.method() == Method::HEAD;
        let closes = guard::closes(request.version(), request.headers());
        let (mut response, upstream) = match guard::check(&request) {
            Ok(host) => self.route(conn, request, host, &request_id).await,
            Err(refused) => (refuse(&request, refused, &request_id), None),
        };
        if is_head {
            response = without_body(response);
        }
        let headers = response.headers_mut();
        security::harden(headers, conn.tls);
        headers.insert(X_SERVED_BY, self.served_by.clone());
        if let Ok(request_id) = HeaderValue::try_from(request_id) {
            headers.insert(X_REQUEST_ID, request_id);
        }
        if closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.teller.watch(record, upstream, response)
    }
}

impl Site {
    async fn route(
        &self,
        conn: &Connection,
        request: Request<Incoming>,
        host: Option<Authority>,
        request_id: &str,
    ) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        // A load balancer asks by address, and in plain text.
        if let Some(health) = self.health(method, path) {
            return (health, None);
        }
        if let Some(host) = &host
            && !self.hosts.is_empty()
            && !self
                .hosts
                .iter()
                .any(|own| host.host().eq_ignore_ascii_case(own))
        {
            let status = StatusCode::MISDIRECTED_REQUEST;
            let refused = Refused::new(status, "this host is not served here");
            return (refuse(&request, refused, request_id), None);
        }
        if let Some(port) = self.redirect
            && !conn.tls
        {
            return (redirect(&request, host.as_ref(), port, request_id), None);
        }
        if let Named::File(name) = named(path)
            && let Some(found) = self.assets.load().find(&name)
        {
            let response = file(found, &request);
            if !found.is_read_for_each() {
                return (response, None);
            }
            return match conn.share.hold() {
                Some(hold) => (response.map(|body| hold.charge(body)), None),
                None => (too_many(&request, request_id), None),
            };
        }
        if self.test_pages
            && let Some(page) = pages::page(&self.name, method, request.uri())
        {
            return (page, None);
        }
        if let (Some(gateway), Some(host)) = (&self.gateway, &host) {
            let asked = Asked {
                conn,
                host,
                request_id,
                server: &self.name,
            };
            let Some(hold) = conn.share.hold() else {
                return (too_many(&request, request_id), None);
            };
            let form = Form::wanted(request.headers());
            return match gateway.pass(asked, request).await {
                Ok((response, upstream)) => {
                    (response.map(|body| hold.charge(body)), Some(upstream))
                }
                Err(failure) => {
                    let page = errors::answer(form, failure.status, failure.why, request_id);
                    (page, failure.upstream)
                }
            };
        }
        let answer = if !matches!(*method, Method::GET | Method::HEAD) {
            pages::not_allowed(method)
        } else if self.gateway.is_some() {
            let refused = Refused::new(StatusCode::BAD_REQUEST, "the request names no host");
            refuse(&request, refused, request_id)
        } else if path == "/" {
            pages::welcome(&self.name, method)
        } else {
            let why = "There is nothing at this address.";
            let form = Form::wanted(request.headers());
            errors::answer(form, StatusCode::NOT_FOUND, why, request_id)
        };
        (answer, None)
    }

    fn health(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let mut answer = match path {
            "/healthz" => pages::plain(method, StatusCode::OK, "ok"),
            "/readyz" if self.readiness.is_draining() => {
                pages::plain(method, StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            "/readyz" => pages::plain(method, StatusCode::OK, "ready\n"),
            _ => return None,
        };
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(answer)
    }
}

fn file<B>(found: Found<'_>, request: &Request<B>) -> Response<Body> {
    let method = request.method();
    if !matches!(*method, Method::GET | Method::HEAD) {
        return pages::not_allowed(method);
    }
    match found {
        Found::Asset(asset) => asset.answer(method, request.headers()),
        Found::Directory => {
            let uri = request.uri();
            let query = uri
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            // Leading slashes would make the path a host.
            let path = uri.path().trim_start_matches('/');
            moved(format!("/{path}/{query}"))
        }
    }
}

/// What a client gets that has as much as it may at once.
fn too_many<B>(request: &Request<B>, request_id: &str) -> Response<Body> {
    let why = "There are too many requests from your address at once. Nothing of this one was done; \
               please try again when others have ended.";
    let form = Form::wanted(request.headers());
    errors::answer(form, StatusCode::TOO_MANY_REQUESTS, why, request_id)
}

/// To the same over HTTPS.
fn redirect<B>(
    request: &Request<B>,
    host: Option<&Authority>,
    port: u16,
    request_id: &str,
) -> Response<Body> {
    let Some(host) = host else {
        let refused = Refused::new(StatusCode::BAD_REQUEST, "the request names no host");
        return refuse(request, refused, request_id);
    };
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    moved(format!("https://{}{port}{path}", host.host()))
}

/// For good, and with the method that it was asked with.
fn moved(location: String) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn refuse<B>(request: &Request<B>, refused: Refused, request_id: &str) -> Response<Body> {
    let Refused { status, why } = refused;
    let mut answer = errors::answer(Form::wanted(request.headers()), status, why, request_id);
    let headers = answer.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(hyper::header::ALLOW, HeaderValue::from_static(METHODS));
    }
    // Whoever sends what two servers could read differently is not listened to any further.
    if request.version() <= hyper::Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// HEAD keeps the length that GET would have.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response
        .body()
        .size_hint()
        .exact()
        .filter(|length| *length > 0)
    {
        let headers = response.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response.map(|_| empty())
}
