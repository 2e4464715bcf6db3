//! Asks the API.

use super::types::Problem;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HOST, IF_MATCH};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("cannot reach lbd at {}: {reason}; is it running, and is this its socket?", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// It said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
}

impl Client {
    /// A client of the lbd that listens at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks; `body` is sent as JSON, if there is one.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        if_revision: Option<u64>,
    ) -> Result<T, Error> {
        let attempt = self.attempt(method, path, body, if_revision);
        match tokio::time::timeout(PATIENCE, attempt).await {
            Err(_) => Err(self.unreachable("no answer in time")),
            Ok(Err(error)) => Err(self.unreachable(error)),
            Ok(Ok((status, answer))) if status.is_success() => {
                serde_json::from_slice(&answer).map_err(|error| self.unreachable(error))
            }
            Ok(Ok((_, answer))) => match serde_json::from_slice(&answer) {
                Ok(problem) => Err(Error::Refused(problem)),
                Err(error) => Err(self.unreachable(error)),
            },
        }
    }

    fn unreachable(&self, reason: impl ToString) -> Error {
        Error::Unreachable {
            socket: self.socket.clone(),
            reason: reason.to_string(),
        }
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        if_revision: Option<u64>,
    ) -> anyhow::Result<(hyper::StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "lbd");
        if let Some(revision) = if_revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        let body = body
            .map(serde_json::to_vec)
            .transpose()?
            .unwrap_or_default();
        let answer = sender
            .send_request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
