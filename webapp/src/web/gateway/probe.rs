//! Asks an app server whether it is ready, again and again, over a connection of its own each
//! time: so it is the whole way that is tried.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};

use super::counts::Counts;
use super::upload::Upload;
use super::upstream::Upstream;

const EVERY: Duration = Duration::from_secs(1);

/// How long an answer may take. One that takes longer would keep users waiting, too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Never returns.
pub(super) async fn watch(upstream: Arc<Upstream>, counts: Counts) {
    let mut told: Option<String> = None;
    loop {
        let asked = tokio::time::timeout(PATIENCE, ask(&upstream)).await;
        let answer = asked.unwrap_or_else(|_| anyhow::bail!("no answer within {PATIENCE:?}"));
        let why = match &answer {
            Ok(StatusCode::OK) => None,
            Ok(status) => Some(format!("it answers {status}")),
            Err(error) => Some(format!("{error:#}")),
        };
        let (changed, down) = {
            let mut health = upstream.health();
            (health.probed(why.is_none()), health.is_down())
        };
        counts.up(&upstream.name, why.is_none());
        upstream.silent(down && answer.is_err());
        // Also when the reason changes: "connection refused" becomes "it answers 503".
        if changed || (why.is_some() && why != told) {
            let server = &upstream.name;
            match &why {
                None => tracing::info!(%server, "an app server is ready"),
                Some(why) => tracing::warn!(%server, why, "an app server is not ready"),
            }
        }
        told = why;
        upstream.tidy();
        tokio::time::sleep(EVERY).await;
    }
}

async fn ask(upstream: &Arc<Upstream>) -> Result<StatusCode> {
    let mut line = upstream.connect(PATIENCE).await?;
    let mut request = Request::new(Upload::Held(Bytes::new()));
    *request.uri_mut() = Uri::from_static("/readyz");
    let host = HeaderValue::from_str(&upstream.name)?;
    request.headers_mut().insert(HOST, host);
    let asked = std::pin::pin!(line.send(request));
    let answer = line.until(asked).await;
    Ok(answer.map_err(|error| error.into_error())?.status())
}
