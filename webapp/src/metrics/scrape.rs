//! The listener that tells Prometheus, on an address that only this host should reach.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// The one path that there is.
const PATH: &str = "/metrics";

/// OpenMetrics 1.0, which Prometheus reads.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// How long a scraper may take to ask.
const HEAD_TIME: Duration = Duration::from_secs(75);

/// Tells the metrics to whoever connects. Never returns.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let registry = Arc::clone(&registry);
        let service = service_fn(move |request| {
            let answer = answer(&request, &registry);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A scraper that goes away is no news.
            let _ = connection.await;
        });
    }
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    let status = if *request.method() != Method::GET {
        StatusCode::METHOD_NOT_ALLOWED
    } else if request.uri().path() != PATH {
        StatusCode::NOT_FOUND
    } else if encode(&mut text, registry).is_err() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    response
}
