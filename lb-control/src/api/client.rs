//! Asks the API.

use crate::types::{Changed, Problem};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Answers are larger than requests: a status tells of every backend.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// How long looking at something may take. Changes have more time: they are written to disk.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("cannot reach lbd at {path}: {source}; {advice}", path = path.display(), advice = advice(source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody is there, and does not answer.
    #[error("lbd at {path} did not answer within {seconds} s; if this was a change, it may yet be made", path = path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The daemon refused.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The answer makes no sense.
    #[error("what answers at {path} does not speak the API of lbd: {message}", path = path.display())]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// In what way.
        message: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "only root may: try sudo",
        _ => "is it running? --socket names another",
    }
}

/// A client of the API. Every request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of whoever listens at `path`, who waits for answers as long as `timeout`.
    #[must_use]
    pub fn new(path: &Path, timeout: Duration) -> Self {
        Self {
            path: path.to_owned(),
            timeout,
        }
    }

    /// Looks at something.
    ///
    /// # Errors
    ///
    /// If there is no such thing, or no answer.
    pub async fn get<T: DeserializeOwned>(&self, uri: &str) -> Result<T, ClientError> {
        self.look(uri, self.timeout.min(LOOK_TIMEOUT)).await
    }

    /// Looks at something that may be a while in coming.
    ///
    /// # Errors
    ///
    /// If there is no such thing, or no answer.
    pub async fn wait_for<T: DeserializeOwned>(&self, uri: &str) -> Result<T, ClientError> {
        self.look(uri, self.timeout).await
    }

    async fn look<T: DeserializeOwned>(
        &self,
        uri: &str,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let request = Request::get(uri).body(Full::default());
        self.read(&self.ask(request, patience).await?)
    }

    /// Looks at something that is plain text.
    ///
    /// # Errors
    ///
    /// If there is no such thing, or no answer.
    pub async fn text(&self, uri: &str) -> Result<String, ClientError> {
        let request = Request::get(uri).body(Full::default());
        let body = self.ask(request, self.timeout.min(LOOK_TIMEOUT)).await?;
        String::from_utf8(body.into()).map_err(|error| self.garbled(error))
    }

    /// Changes something. Returns the new revision.
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn change(
        &self,
        method: Method,
        uri: &str,
        body: &impl Serialize,
        if_revision: Option<u64>,
    ) -> Result<Changed, ClientError> {
        self.order(method, uri, body, if_revision).await
    }

    /// Has something done that is no change of the configuration.
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn act<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.order(method, uri, body, None).await
    }

    async fn order<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: &impl Serialize,
        if_revision: Option<u64>,
    ) -> Result<T, ClientError> {
        let text = serde_json::to_vec(body).map_err(|error| self.garbled(error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json");
        if let Some(revision) = if_revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        let request = request.body(Full::from(text));
        self.read(&self.ask(request, self.timeout).await?)
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// If it was refused, or there is no answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        uri: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let text = serde_json::to_vec(body).map_err(|error| self.garbled(error))?;
        let request = Request::post(uri).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::from(text));
        self.read(&self.ask(request, self.timeout).await?)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.garbled(error))
    }

    async fn ask(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
        patience: Duration,
    ) -> Result<Bytes, ClientError> {
        let mut request = request.map_err(|error| self.garbled(error))?;
        let host = hyper::header::HeaderValue::from_static("lbd");
        request.headers_mut().insert(HOST, host);
        let (status, body) = timeout(patience, self.exchange(request))
            .await
            .map_err(|_| ClientError::Silent {
                path: self.path.clone(),
                seconds: patience.as_secs(),
            })??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Refused(problem)),
            Err(_) => Err(self.garbled(format!("it answers {status}"))),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            path: self.path.clone(),
            source,
        };
        let stream = UnixStream::connect(&self.path).await.map_err(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(error))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX);
            let body = body.collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        // The connection must be driven for the answer to come; it may end before the answer is
        // read to its end.
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        };
        answer.map_err(|error| self.garbled(error))
    }

    fn garbled(&self, error: impl ToString) -> ClientError {
        ClientError::Garbled {
            path: self.path.clone(),
            message: error.to_string(),
        }
    }
}
