//! Metrics over TCP, for a scraper on this host or a proxy that lets others read them.

use super::connections::{self, Answer};
use crate::daemon::Handle;
use crate::observe::{exposition, metrics};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

#[cfg(test)]
mod tests;

/// The one path that there is.
const PATH: &str = "/metrics";

/// How long the daemon may take: scrapers wait for 10 s unless they are told otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// When to try again where an address is taken.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// Metrics that are served, or are to be.
#[derive(Clone, Debug)]
pub struct Scrapes {
    fault: watch::Receiver<Option<String>>,
}

impl Scrapes {
    /// Serves metrics at `address` until `shutdown`. If the address is taken, that is no reason to
    /// balance no load: it is an alarm, and tried again.
    pub fn spawn(
        address: SocketAddr,
        daemon: Handle,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (sender, fault) = watch::channel(None);
        tokio::spawn(async move {
            let mut shutdown = Box::pin(shutdown);
            let listener = tokio::select! {
                () = &mut shutdown => return,
                listener = bind(address, &sender) => listener,
            };
            let respond = move |request| respond(request, daemon.clone());
            connections::serve(listener, "the metrics", respond, shutdown).await;
        });
        Self { fault }
    }

    /// Why they cannot be read, if so.
    #[must_use]
    pub fn alarm(&self) -> Option<String> {
        self.fault.borrow().clone()
    }
}

async fn bind(address: SocketAddr, fault: &watch::Sender<Option<String>>) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                fault.send_replace(None);
                return listener;
            }
            Err(error) => {
                fault.send_replace(Some(format!(
                    "metrics cannot be served at {address}: {error}"
                )));
            }
        }
        sleep(BIND_PAUSE).await;
    }
}

async fn respond(request: Request<Incoming>, daemon: Handle) -> Answer {
    if request.uri().path() != PATH {
        return plain(
            StatusCode::NOT_FOUND,
            format!("there is only {PATH} here\n"),
        );
    }
    if request.method() != Method::GET {
        let what = format!("{PATH} has GET, not {}\n", request.method());
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, what);
        let allow = HeaderValue::from_static("GET");
        answer.headers_mut().insert(ALLOW, allow);
        return answer;
    }
    match timeout(ANSWER_TIMEOUT, metrics::of(&daemon)).await {
        Ok(Ok(text)) => with_type(StatusCode::OK, text, exposition::CONTENT_TYPE),
        Ok(Err(refusal)) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{refusal}\n")),
        Err(_) => plain(
            StatusCode::GATEWAY_TIMEOUT,
            "lbd did not answer in time\n".to_owned(),
        ),
    }
}

fn plain(status: StatusCode, text: String) -> Answer {
    with_type(status, text, "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, text: String, content_type: &'static str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
