//! Answers what is asked over the API.

use super::connections::{self, Answer};
use super::listener::Listener;
use super::route::Route;
use super::types::{Backend, Changed, Problem, Status, Version};
use crate::config::{Change, Refusal, change};
use crate::daemon::Handle;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, IF_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

const BODY_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the daemon may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves the API until `shutdown`.
pub async fn serve(listener: Listener, handle: Handle, shutdown: impl Future<Output = ()>) {
    let respond = move |request| {
        let handle = handle.clone();
        async move { respond(request, &handle).await }
    };
    connections::serve(listener, "the API", respond, shutdown).await;
}

/// An answer that is not what was asked for.
struct Fault {
    status: StatusCode,
    detail: String,
    allow: Option<&'static str>,
}

impl Fault {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            allow: None,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Exists(_) => StatusCode::CONFLICT,
            Refusal::Conflict { .. } => StatusCode::PRECONDITION_FAILED,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal.to_string())
    }
}

async fn respond(request: Request<Incoming>, handle: &Handle) -> Answer {
    match answer(request, handle).await {
        Ok(answer) => answer,
        Err(fault) => problem(&fault),
    }
}

fn problem(fault: &Fault) -> Answer {
    let problem = Problem {
        title: fault
            .status
            .canonical_reason()
            .unwrap_or("Refused")
            .to_owned(),
        status: fault.status.as_u16(),
        detail: fault.detail.clone(),
    };
    let mut response = json(fault.status, &problem, None);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/problem+json"),
    );
    if let Some(allow) = fault.allow {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static(allow));
    }
    response
}

fn json<T: Serialize>(status: StatusCode, value: &T, revision: Option<u64>) -> Answer {
    // Plain structs with text keys: this does not fail.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    if let Some(revision) = revision
        && let Ok(tag) = format!("\"{revision}\"").parse()
    {
        headers.insert(ETAG, tag);
    }
    response
}

async fn answer(request: Request<Incoming>, handle: &Handle) -> Result<Answer, Fault> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let route = Route::of(path)
        .ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("there is no {path} here")))?;
    if !route.has(&head.method) {
        return Err(Fault {
            allow: Some(route.allow()),
            ..Fault::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{path} has {}, not {}", route.allow(), head.method),
            )
        });
    }
    let force = force(route, &head.method, head.uri.query())?;
    let change = match (route, head.method.as_str()) {
        (Route::Changes, "DELETE") => Ok(Change::Reset),
        (Route::Services, "POST") => change::add_service(&read(body).await?),
        (Route::Service(service), "PATCH") => change::set_service(service, &read(body).await?),
        (Route::Service(service), "DELETE") => change::remove_service(service),
        (Route::Backends(service), "POST") => change::add_backend(service, &read(body).await?),
        (Route::Backend(service, backend), "PATCH") => {
            change::set_backend(service, backend, &read(body).await?)
        }
        (Route::Backend(service, backend), "DELETE") => {
            change::remove_backend(service, backend, force)
        }
        _ => return look(route, handle).await,
    }?;
    let made = match change {
        Change::AddService(..) | Change::AddBackend(..) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let if_revision = if_revision(&head.headers)?;
    let revision = in_time(handle.change(change, if_revision)).await??;
    Ok(json(made, &Changed { revision }, Some(revision)))
}

async fn look(route: Route<'_>, handle: &Handle) -> Result<Answer, Fault> {
    match route {
        Route::Version => {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            return Ok(json(StatusCode::OK, &Version { version }, None));
        }
        Route::Stats => {
            let stats = in_time(handle.stats()).await??;
            return Ok(json(StatusCode::OK, &stats, None));
        }
        _ => {}
    }
    let status = in_time(handle.status()).await??;
    let revision = Some(status.revision);
    let ok = StatusCode::OK;
    Ok(match route {
        Route::Version | Route::Stats | Route::Status => json(ok, &status, revision),
        Route::Ha => json(ok, &status.ha, revision),
        Route::Changes => json(ok, &status.changes, revision),
        Route::Services => json(ok, &status.services, revision),
        Route::Service(name) => json(ok, service(&status, name)?, revision),
        Route::Backends(name) => json(ok, &service(&status, name)?.backends, revision),
        Route::AllBackends => {
            let services = status.services.iter();
            let all: Vec<&Backend> = services.flat_map(|each| &each.backends).collect();
            json(ok, &all, revision)
        }
        Route::Backend(service_name, name) => {
            let backends = &service(&status, service_name)?.backends;
            let found = backends.iter().find(|each| each.name == name);
            let found = found.ok_or_else(|| {
                let known = backends.iter().map(|each| each.name.as_str());
                change::no_backend(service_name, name, known)
            })?;
            json(ok, found, revision)
        }
    })
}

fn service<'a>(status: &'a Status, name: &str) -> Result<&'a super::types::Service, Refusal> {
    let mut services = status.services.iter();
    services.find(|each| each.name == name).ok_or_else(|| {
        let known = status.services.iter().map(|each| each.name.as_str());
        change::no_service(name, known)
    })
}

/// Whether `?force=true` was asked for. Other queries are refused: they were meant for something.
fn force(route: Route<'_>, method: &Method, query: Option<&str>) -> Result<bool, Fault> {
    let removes_backend = matches!(route, Route::Backend(..)) && *method == Method::DELETE;
    match query {
        None | Some("") => Ok(false),
        Some("force=true") if removes_backend => Ok(true),
        Some("force=false") if removes_backend => Ok(false),
        Some(query) => Err(Fault::new(
            StatusCode::BAD_REQUEST,
            format!("?{query} has no meaning here: only DELETE of a backend has ?force=true"),
        )),
    }
}

/// The revision in `If-Match`.
fn if_revision(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut given = headers.get_all(IF_MATCH).iter();
    let (Some(first), None) = (given.next(), given.next()) else {
        return match headers.get(IF_MATCH) {
            None => Ok(None),
            Some(_) => Err(bad_if_match()),
        };
    };
    let text = first.to_str().map_err(|_| bad_if_match())?.trim();
    if text == "*" {
        return Ok(None);
    }
    let digits = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    digits.parse().map(Some).map_err(|_| bad_if_match())
}

fn bad_if_match() -> Fault {
    Fault::new(
        StatusCode::BAD_REQUEST,
        "If-Match must be one revision, as the ETag of the status: \"12\"",
    )
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Fault> {
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, BODY_MAX).collect()).await;
    let bytes = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is longer than {BODY_MAX} bytes"),
            ));
        }
        Ok(Err(error)) => {
            return Err(Fault::new(
                StatusCode::BAD_REQUEST,
                format!("the body is broken: {error}"),
            ));
        }
        Err(_) => {
            return Err(Fault::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()),
            ));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Fault::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not the JSON that is expected: {error}"),
        )
    })
}

async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Fault> {
    timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| {
        Fault::new(
            StatusCode::GATEWAY_TIMEOUT,
            "lbd did not answer in time; if this was a change, it may still be made: look at the \
             status",
        )
    })
}
