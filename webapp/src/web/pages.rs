//! Which request gets which answer.

use std::convert::Infallible;
use std::path::PathBuf;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::body::Body;
use super::files;

/// Names the server that answered, so that a client of the load balancer can tell them apart.
const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What this server answers with.
pub(super) struct Site {
    /// The server's name.
    pub(super) name: String,
    /// The name, as a header's value.
    pub(super) served_by: HeaderValue,
    /// The canonical directory of static files.
    pub(super) root: Option<PathBuf>,
}

/// An answer before it becomes a response.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Body,
}

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: Body::Text(body.into()),
        }
    }
}

impl Site {
    /// Answers a request. Each response names the server and its length.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let known = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = if known {
            self.page(request.uri().path(), request.uri().query()).await
        } else {
            Answer::new(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n")
        };

        let length = answer.body.length();
        // HEAD keeps the length that GET would have.
        let body = match *request.method() {
            Method::HEAD => Body::Text(Bytes::new()),
            _ => answer.body,
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(X_SERVED_BY, self.served_by.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        headers.insert(CONTENT_LENGTH, length.into());
        if !known {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Ok(response)
    }

    async fn page(&self, path: &str, query: Option<&str>) -> Answer {
        match path {
            "/healthz" => Answer::new(StatusCode::OK, TEXT, "ok"),
            "/whoami" => Answer::new(StatusCode::OK, TEXT, format!("{}\n", self.name)),
            "/stream" => stream(query),
            _ => self.file(path).await,
        }
    }

    async fn file(&self, path: &str) -> Answer {
        if let Some(root) = &self.root
            && let Some(file) = files::open(root, path).await
        {
            let files::StaticFile { content_type, body } = file;
            return Answer {
                status: StatusCode::OK,
                content_type,
                body,
            };
        }
        if path == "/" {
            return Answer::new(StatusCode::OK, HTML, welcome(&self.name));
        }
        Answer::new(StatusCode::NOT_FOUND, TEXT, "not found\n")
    }
}

/// `/stream?bytes=N`: N bytes of the pattern.
fn stream(query: Option<&str>) -> Answer {
    let parameters = query.unwrap_or_default().split('&');
    let bytes = parameters
        .filter_map(|parameter| parameter.strip_prefix("bytes="))
        .next();
    match bytes.map(str::parse) {
        Some(Ok(remaining)) => Answer {
            status: StatusCode::OK,
            content_type: "application/octet-stream",
            body: Body::Pattern {
                offset: 0,
                remaining,
            },
        },
        _ => Answer::new(StatusCode::BAD_REQUEST, TEXT, "expected /stream?bytes=N\n"),
    }
}

/// The page of a server without files. The name needs no escaping: see `server_name`.
fn welcome(name: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
         <h1>Served by {name}</h1>\n\
         <p>Reload over a new connection: the load balancer may choose another server.</p>\n</html>\n"
    )
}
