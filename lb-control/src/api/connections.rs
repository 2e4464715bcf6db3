//! Serves connections: one request on each.
//!
//! Every step has a deadline: who stalls is cut off, and holds no more than a place among the
//! connections until then.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECTIONS: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection, from beginning to end. Longer than reading a request and answering it may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(35);
/// What those that are being served get when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What goes back to whoever asked.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Where connections come from.
pub(crate) trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// Answers what comes until `shutdown`. `what` says in the log what is connected to.
pub(crate) async fn serve<L, F, R>(
    listener: L,
    what: &'static str,
    respond: F,
    shutdown: impl Future<Output = ()>,
) where
    L: Accept,
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(stream) => {
                let respond = respond.clone();
                connections.spawn(async move {
                    let _place = place;
                    serve_connection(stream, what, respond).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: others may give some back.
                tracing::warn!(%error, "failed to accept a connection to {what}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

async fn serve_connection<S, F, R>(stream: S, what: &'static str, respond: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Answer>,
{
    let service = hyper::service::service_fn(|request| {
        let answer = respond(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to {what} failed"),
        Err(_) => tracing::debug!("a connection to {what} stalled"),
    }
}
