//! What the web tier asks before it sends a request here.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::site::Site;

/// A database that takes longer is not one to be served from.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process lives.
pub(crate) fn healthy() -> Response<Bytes> {
    text(StatusCode::OK, "ok")
}

/// It would serve: it is not on its way out, its tables are there, and a read succeeds.
pub(crate) async fn ready(site: &Site) -> Response<Bytes> {
    match reason(site).await {
        None => text(StatusCode::OK, "ready"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// Why it would not serve.
async fn reason(site: &Site) -> Option<String> {
    if site.readiness().is_draining() {
        return Some("draining".to_owned());
    }
    let prepared = site.prepared();
    if let Some(missing) = prepared.missing() {
        return Some(missing.to_owned());
    }
    let read = async {
        let mut read = site.cluster().read().await?;
        sqlx::query("SELECT 1").execute(&mut *read).await?;
        read.done();
        Ok::<_, crate::db::Error>(())
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the database does not answer in time".to_owned()),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
