//! Answers what is asked over the API.

use super::connections::{self, Answer};
use super::listener::Listener;
use super::pair;
use super::route::Route;
use crate::config::{Change, Refusal, change};
use crate::daemon::Handle;
use crate::observe::{events, exposition, metrics};
use crate::shell::channel::Pairing;
use crate::types::{Backend, Changed, Problem, Status, Switch, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, IF_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const BODY_MAX: usize = 64 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the daemon may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long those who wait for events do so before they hear that there are none.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the API tells of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The daemon.
    pub daemon: Handle,
    /// What happened.
    pub events: events::Events,
    /// The pair, if there can be one.
    pub pairing: Option<Pairing>,
}

/// Serves the API until `shutdown`.
pub async fn serve(listener: Listener, sources: Sources, shutdown: impl Future<Output = ()>) {
    let (closing, closed) = watch::channel(());
    let shutdown = async move {
        shutdown.await;
        // Nobody is to wait any longer for what happens next.
        drop(closing);
    };
    let respond = move |request| {
        let (sources, closed) = (sources.clone(), closed.clone());
        async move { respond(request, &sources, closed).await }
    };
    connections::serve(listener, "the API", respond, shutdown).await;
}

/// An answer that is not what was asked for.
pub(super) struct Fault {
    status: StatusCode,
    detail: String,
    allow: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
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

async fn respond(
    request: Request<Incoming>,
    sources: &Sources,
    closed: watch::Receiver<()>,
) -> Answer {
    match answer(request, sources, closed).await {
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

pub(super) fn json<T: Serialize>(status: StatusCode, value: &T, revision: Option<u64>) -> Answer {
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

async fn answer(
    request: Request<Incoming>,
    sources: &Sources,
    closed: watch::Receiver<()>,
) -> Result<Answer, Fault> {
    let handle = &sources.daemon;
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
    if route == Route::Events {
        let wanted = WantedEvents::of(head.uri.query())?;
        return Ok(events(wanted, &sources.events, closed).await);
    }
    let force = force(route, &head.method, head.uri.query())?;
    match route {
        Route::Switch => {
            let wanted: Option<Switch> = read(body).await?;
            let to = wanted.and_then(|it| it.to);
            in_time(handle.switch(to)).await??;
            return look(route, handle).await;
        }
        Route::Release => in_time(handle.release()).await??,
        _ => {}
    }
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
        (Route::Pair | Route::Invitation | Route::Join, method) => {
            return pair::answer(route, method, body, sources.pairing.as_ref()).await;
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
        Route::Metrics => return self::metrics(handle).await,
        _ => {}
    }
    let status = in_time(handle.status()).await??;
    let revision = Some(status.revision);
    let ok = StatusCode::OK;
    Ok(match route {
        Route::Version
        | Route::Stats
        | Route::Metrics
        | Route::Events
        | Route::Pair
        | Route::Invitation
        | Route::Join
        | Route::Status => json(ok, &status, revision),
        Route::Ha | Route::Switch | Route::Release => json(ok, &status.ha, revision),
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

/// All metrics, as Prometheus reads them.
async fn metrics(handle: &Handle) -> Result<Answer, Fault> {
    let text = in_time(metrics::of(handle)).await??;
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(exposition::CONTENT_TYPE),
    );
    Ok(response)
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct WantedEvents {
    after: Option<u64>,
    since: Option<u64>,
}

impl WantedEvents {
    /// Reads `after=N&since=S`.
    fn of(query: Option<&str>) -> Result<Self, Fault> {
        let mut wanted = Self::default();
        for pair in query.unwrap_or("").split('&').filter(|it| !it.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match key {
                "after" => &mut wanted.after,
                "since" => &mut wanted.since,
                _ => {
                    return Err(Fault::new(
                        StatusCode::BAD_REQUEST,
                        format!("?{key} has no meaning here: events have ?after=N&since=S"),
                    ));
                }
            };
            *place = Some(value.parse().map_err(|_| {
                Fault::new(
                    StatusCode::BAD_REQUEST,
                    format!("?{key} must be a number from 0, not {value:?}"),
                )
            })?);
        }
        Ok(wanted)
    }
}

async fn events(
    wanted: WantedEvents,
    events: &events::Events,
    mut closed: watch::Receiver<()>,
) -> Answer {
    let after = match wanted.since {
        // It counted another lbd's.
        Some(since) if since != events.since() => Some(0),
        _ => wanted.after,
    };
    if let Some(after) = after {
        let _ = timeout(EVENTS_TIMEOUT, async {
            tokio::select! {
                () = events.wait_after(after) => {}
                _ = closed.changed() => {}
            }
        })
        .await;
    }
    json(StatusCode::OK, &events.after(after.unwrap_or(0)), None)
}

fn service<'a>(status: &'a Status, name: &str) -> Result<&'a crate::types::Service, Refusal> {
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

pub(super) async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Fault> {
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

pub(super) async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Fault> {
    timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| {
        Fault::new(
            StatusCode::GATEWAY_TIMEOUT,
            "lbd did not answer in time; if this was a change, it may still be made: look at the \
             status",
        )
    })
}
