//! Pages for tests of the load balancer: they name the server, and send as much as is asked for.

use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};

use super::content::{Content, Piece};
use crate::server::{Body, empty};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// An answer that is always a short text, whatever client asks.
pub(super) fn plain(
    method: &Method,
    status: StatusCode,
    text: impl Into<String>,
) -> Response<Body> {
    respond(method, status, TEXT, Piece::Bytes(text.into().into()))
}

/// The page for tests at this path, if there is one.
pub(super) fn page(name: &str, method: &Method, uri: &Uri) -> Option<Response<Body>> {
    let page = match uri.path() {
        "/whoami" => plain(method, StatusCode::OK, format!("{name}\n")),
        "/stream" => stream(method, uri.query()),
        _ => return None,
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return Some(page);
    }
    Some(not_allowed(method))
}

/// What a method gets that only reads are for.
pub(super) fn not_allowed(method: &Method) -> Response<Body> {
    let mut refused = plain(
        method,
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET and HEAD\n",
    );
    let headers = refused.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refused
}

/// `/stream?bytes=N`: N bytes of the pattern.
fn stream(method: &Method, query: Option<&str>) -> Response<Body> {
    let mut parameters = query.unwrap_or_default().split('&');
    let bytes = parameters.find_map(|parameter| parameter.strip_prefix("bytes="));
    match bytes.map(str::parse) {
        Some(Ok(bytes)) => {
            let pattern = Piece::Pattern(0..bytes);
            respond(method, StatusCode::OK, "application/octet-stream", pattern)
        }
        _ => plain(
            method,
            StatusCode::BAD_REQUEST,
            "expected /stream?bytes=N\n",
        ),
    }
}

fn respond(
    method: &Method,
    status: StatusCode,
    content_type: &'static str,
    piece: Piece,
) -> Response<Body> {
    let content = Content::new([piece]);
    let length = content.length();
    // HEAD keeps the length that GET would have.
    let body = match *method {
        Method::HEAD => empty(),
        _ => content.into_body(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

/// The page of a server that has nothing else to show. The name needs no escaping: see
/// `server_name`.
pub(super) fn welcome(name: &str, method: &Method) -> Response<Body> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
         <h1>Served by {name}</h1>\n\
         <p>Reload over a new connection: the load balancer may choose another server.</p>\n</html>\n"
    );
    respond(method, StatusCode::OK, HTML, Piece::Bytes(page.into()))
}
