//! From a connection that arrives to the requests on it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::pulse::{Felt, Pulse};
use super::slots::{Share, Slot, Slots};
use super::stall::Stall;
use super::workers::Workers;
use super::{Body, Connection, FIELDS, Handler, Limits, Phase};
use crate::metrics::{Connections, Refusal};
use crate::tls;

/// How long to wait when a connection cannot be accepted: most likely descriptors have run out,
/// and some will be closed soon.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a client of HTTP/2 is asked whether it is still there, and how long it may take to
/// say so. Over HTTP/1.1 the time for the next request's headers does the same.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How long a client may take to ask whose connection was let in when the server was about to end.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What a connection may buffer, of a response that the client has not taken yet.
const BUFFER: usize = 64 * 1024;

pub(super) struct Acceptor<H> {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) handler: Arc<H>,
    pub(super) limits: Limits,
    pub(super) metrics: Connections,
    pub(super) slots: Slots,
    pub(super) room: Arc<Semaphore>,
    pub(super) workers: Arc<Workers>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// What a connection gives back when it ends.
struct Held {
    _slot: Slot,
    _room: OwnedSemaphorePermit,
    _open: crate::metrics::Open,
}

impl<H: Handler> Acceptor<H> {
    /// Accepts until the server drains.
    pub(super) async fn run(self, listener: TcpListener) {
        let acceptor = Arc::new(self);
        let mut phase = acceptor.phase.clone();
        tokio::select! {
            () = reached(&mut phase, Phase::Draining) => {}
            () = acceptor.accept(&listener) => {}
        }
        // Those that wait in the queue were told that they are connected. Closing the listener
        // would reset them.
        if let Ok(listener) = listener.into_std() {
            acceptor.admit_waiting(&listener);
        }
    }

    fn admit_waiting(self: &Arc<Self>, listener: &std::net::TcpListener) {
        while let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
            // It does not block: tokio has made it so, and nobody is left when it would.
            let Ok((stream, peer)) = listener.accept() else {
                return;
            };
            if stream.set_nonblocking(true).is_ok() {
                self.admit(stream, peer, room);
            }
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                return;
            };
            // It is served by another thread, which waits for it by itself.
            let accepted = listener.accept().await;
            match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((stream, peer)) => self.admit(stream, peer, room),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        room: OwnedSemaphorePermit,
    ) {
        let Some(slot) = self.slots.take(peer.ip()) else {
            self.metrics.refused(Refusal::TooMany);
            return;
        };
        let share = slot.share().clone();
        let held = Held {
            _slot: slot,
            _room: room,
            _open: self.metrics.open(),
        };
        let this = Arc::clone(self);
        self.workers.spawn(async move {
            let mut phase = this.phase.clone();
            let served = pin!(this.serve(stream, peer, share));
            tokio::select! {
                () = served => {}
                () = reached(&mut phase, Phase::Ended) => {}
            }
            drop(held);
        });
    }

    async fn serve(&self, stream: std::net::TcpStream, peer: SocketAddr, share: Share) {
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        // Refused only for a connection that is gone already; serving it will find out.
        let _ = stream.set_nodelay(true);
        let stream = Stall::new(stream, self.limits.stall);
        let Some(tls) = &self.tls else {
            let conn = Connection {
                peer,
                tls: false,
                client_name: None,
                share,
            };
            return self.http1(stream, conn).await;
        };
        match tokio::time::timeout(self.limits.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.encrypted(stream, peer, share).await,
            Ok(Err(error)) => {
                self.metrics.refused(Refusal::Handshake);
                tracing::debug!(%peer, %error, "the TLS handshake failed");
            }
            Err(_) => self.metrics.refused(Refusal::HandshakeTime),
        }
    }

    async fn encrypted<S>(&self, stream: TlsStream<S>, peer: SocketAddr, share: Share)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let conn = Connection {
            peer,
            tls: true,
            client_name: shown.and_then(tls::name_of),
            share,
        };
        if session.alpn_protocol() == Some(tls::HTTP_2) {
            self.http2(stream, conn).await;
        } else {
            self.http1(stream, conn).await;
        }
    }

    async fn http1<S>(&self, stream: S, conn: Connection)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handler = Arc::clone(&self.handler);
        let conn = Arc::new(conn);
        let service =
            service_fn(move |request| answer(Arc::clone(&handler), Arc::clone(&conn), request));
        let late = *self.phase.borrow() >= Phase::Draining;
        let mut builder = http1::Builder::new();
        if self.limits.fields != FIELDS {
            // Told a number, hyper allocates for each request.
            builder.max_headers(self.limits.fields);
        }
        let connection = builder
            .timer(TokioTimer::new())
            .keep_alive(!late)
            .header_read_timeout(self.limits.head)
            .max_header_size(self.limits.head_bytes)
            .max_buf_size(BUFFER.max(self.limits.head_bytes))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut phase = self.phase.clone();
        let over = async {
            reached(&mut phase, Phase::Draining).await;
            if late {
                tokio::time::sleep(FIRST_WORD).await;
            }
        };
        // A connection fails when its client resets it or sends nonsense: no news to anyone here.
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = over => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        self.judge(served);
    }

    async fn http2<S>(&self, stream: S, conn: Connection)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handler = Arc::clone(&self.handler);
        let conn = Arc::new(conn);
        let pulse = Pulse::new();
        let felt = Arc::clone(&pulse);
        let service = service_fn(move |request| {
            felt.request();
            let pulse = Arc::clone(&felt);
            let answer = answer(Arc::clone(&handler), Arc::clone(&conn), request);
            async move {
                answer
                    .await
                    .map(|response| response.map(|body| Felt { body, pulse }))
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY)
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut phase = self.phase.clone();
        // A farewell: streams that are there finish, and what comes next takes a new connection.
        loop {
            tokio::select! {
                served = connection.as_mut() => return self.judge(served),
                () = reached(&mut phase, Phase::Draining) => break,
                () = sleep_until(pulse.requested() + self.limits.head) => {}
            }
            if pulse.requested().elapsed() >= self.limits.head {
                break;
            }
        }
        connection.as_mut().graceful_shutdown();
        let told = Instant::now();
        loop {
            let end = pulse.last().max(told) + self.limits.stall;
            tokio::select! {
                served = connection.as_mut() => return self.judge(served),
                () = sleep_until(end) => {}
            }
            if pulse.last().max(told).elapsed() >= self.limits.stall {
                return self.metrics.refused(Refusal::Stall);
            }
        }
    }

    fn judge(&self, served: hyper::Result<()>) {
        if let Err(error) = served {
            if error.is_timeout() {
                self.metrics.refused(Refusal::HeadTime);
            } else if error.is_parse() {
                self.metrics.refused(Refusal::Malformed);
            }
        }
    }
}

/// Returns once the server's end has come this far. One that is dropped has ended.
async fn reached(phase: &mut watch::Receiver<Phase>, so_far: Phase) {
    let _ = phase.wait_for(|phase| *phase >= so_far).await;
}

async fn answer<H: Handler>(
    handler: Arc<H>,
    conn: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    Ok(handler.answer(&conn, request).await)
}
