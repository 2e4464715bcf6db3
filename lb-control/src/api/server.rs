//! Serves the API on a Unix socket.

use super::types::{Changed, Problem};
use crate::config::change;
use crate::daemon::{Handle, Refusal};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixListener;

/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on the socket at `path`, which only its owner may use. A socket that an lbd left behind
/// is replaced; one on which an lbd answers is not.
pub async fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    let listen = || -> std::io::Result<UnixListener> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if path.exists() && UnixStream::connect(path).is_err() {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    listen().with_context(|| {
        format!(
            "cannot listen on {}: does another lbd run with this configuration?",
            path.display()
        )
    })
}

/// Answers until `shutdown`.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => accepted?.0,
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&handle, request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client of the API went wrong");
            }
        });
    }
}

/// The largest body that is read.
const MAX_BODY: usize = 64 * 1024;

async fn answer(
    handle: &Handle,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(route(handle, request)
        .await
        .unwrap_or_else(|refusal| problem(&refusal)))
}

async fn route(
    handle: &Handle,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let (head, body) = request.into_parts();
    let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
    let force = head.uri.query() == Some("force=true");
    let wanted = match (&head.method, path.as_slice()) {
        (&Method::GET, ["v1", "status"]) => {
            let status = handle.status().await?;
            let mut response = json(StatusCode::OK, &status);
            if let Ok(tag) = format!("\"{}\"", status.revision).parse() {
                response.headers_mut().insert(ETAG, tag);
            }
            return Ok(response);
        }
        (&Method::GET, ["v1", "stats"]) => return Ok(json(StatusCode::OK, &handle.stats().await?)),
        (&Method::POST, ["v1", "services"]) => change::add_service(&read(body).await?)?,
        (&Method::PATCH, ["v1", "services", service]) => {
            change::set_service(service, &read(body).await?)?
        }
        (&Method::DELETE, ["v1", "services", service]) => change::remove_service(service)?,
        (&Method::POST, ["v1", "services", service, "backends"]) => {
            change::add_backend(service, &read(body).await?)?
        }
        (&Method::PATCH, ["v1", "services", service, "backends", backend]) => {
            change::set_backend(service, backend, &read(body).await?)?
        }
        (&Method::DELETE, ["v1", "services", service, "backends", backend]) => {
            change::remove_backend(service, backend, force)?
        }
        _ => {
            let (method, path) = (&head.method, head.uri.path());
            return Err(Refusal::NotFound(format!("there is no {method} {path}")));
        }
    };
    let revision = handle.change(wanted, if_match(&head.headers)?).await?;
    Ok(json(StatusCode::OK, &Changed { revision }))
}

/// The revision that a change is to be made from, if the client said one.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim_matches('"').parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Refusal::Invalid("If-Match must be a revision".to_owned()))
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let body = Limited::new(body, MAX_BODY);
    let bytes = tokio::time::timeout(HEAD_TIMEOUT, body.collect())
        .await
        .map_err(|_| Refusal::Invalid("the body did not arrive in time".to_owned()))?
        .map_err(|error| Refusal::Invalid(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&bytes.to_bytes())
        .map_err(|error| Refusal::Invalid(format!("the body is not what is asked for: {error}")))
}

fn problem(refusal: &Refusal) -> Response<Full<Bytes>> {
    let (status, title) = match refusal {
        Refusal::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "not found"),
        Refusal::Exists(_) => (StatusCode::CONFLICT, "exists already"),
        Refusal::Conflict { .. } => (StatusCode::PRECONDITION_FAILED, "revision conflict"),
        Refusal::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    let body = Problem {
        title: title.to_owned(),
        status: status.as_u16(),
        detail: refusal.to_string(),
    };
    let mut response = json(status, &body);
    let kind = hyper::header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
