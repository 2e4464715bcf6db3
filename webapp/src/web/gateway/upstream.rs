//! One app server: connections to it, and what is thought of it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::health::{Health, Wanted};
use super::upload::Upload;

/// How long a connection waits for its next request. The app servers wait longer: closing it is
/// this side's business, so that no request meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(20);

/// How many connections wait.
const WAITING: usize = 256;

/// The headers of a response, as large as they may be.
const HEAD_BYTES: usize = 64 * 1024;

/// An app server's name, as its certificate has it, and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppServer {
    /// As in `app1`.
    pub name: String,
    /// As in `10.0.2.21:9443`, or with a name that is looked up at each connection.
    pub address: String,
}

impl FromStr for AppServer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, address) = text.split_once('=').context("expected NAME=HOST:PORT")?;
        ServerName::try_from(name)
            .with_context(|| format!("{name:?} is no name that a certificate could have"))?;
        let (host, port) = address
            .rsplit_once(':')
            .context("expected NAME=HOST:PORT")?;
        ensure!(!host.is_empty(), "expected NAME=HOST:PORT");
        let port: u16 = port
            .parse()
            .with_context(|| format!("{port:?} is no port"))?;
        ensure!(port != 0, "0 is no port");
        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

/// A connection that can take a request. It moves only while it is [waited with](Line::until).
pub(super) struct Line {
    sender: SendRequest<Upload>,
    /// What reads and writes, until the connection has ended.
    carrier: Option<Carrier>,
    /// Where it was made. Anywhere else, what arrives on it would have to wake another thread.
    home: runtime::Id,
}

type Carrier = Pin<Box<http1::Connection<TokioIo<TlsStream<TcpStream>>, Upload>>>;

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// Sends a request, which moves only in [`Line::until`].
    #[allow(
        clippy::result_large_err,
        reason = "it is hyper's own, with the request that is given back"
    )]
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Waits for something that this connection alone brings about. No other task takes part, so
    /// that none has to be woken.
    pub(super) async fn until<F: Future>(&mut self, mut awaited: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            // What was asked for may be what the connection waits for, and the other way round.
            if let Poll::Ready(output) = awaited.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            self.carry(cx);
            awaited.as_mut().poll(cx)
        })
        .await
    }

    fn carry(&mut self, cx: &mut Context<'_>) {
        if let Some(carrier) = &mut self.carrier
            && carrier.as_mut().poll(cx).is_ready()
        {
            self.carrier = None;
        }
    }

    /// Whether it can take a request, for all that is known of the other side.
    fn is_ready(&mut self) -> bool {
        self.carry(&mut Context::from_waker(Waker::noop()));
        self.carrier.is_some() && self.sender.is_ready()
    }
}

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    address: String,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    idle: Mutex<Vec<(Line, Instant)>>,
    outstanding: AtomicUsize,
    health: Mutex<Health>,
    /// Whether not even its probes are answered any more.
    silent: watch::Sender<bool>,
}

/// A request that counts as outstanding until this is dropped.
#[derive(Debug)]
pub(super) struct Outstanding(Arc<Upstream>);

impl Upstream {
    pub(super) fn new(server: AppServer, tls: Arc<ClientConfig>) -> Result<Self> {
        let server_name = ServerName::try_from(server.name.clone())?;
        Ok(Self {
            name: server.name.into(),
            address: server.address,
            server_name,
            tls,
            idle: Mutex::default(),
            outstanding: AtomicUsize::new(0),
            health: Mutex::default(),
            silent: watch::Sender::new(false),
        })
    }

    pub(super) fn begin(self: &Arc<Self>) -> Outstanding {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding(Arc::clone(self))
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(super) fn wanted(&self, now: Instant) -> Wanted {
        self.health().wanted(now)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the server has fallen silent.
    pub(super) fn silent(&self, silent: bool) {
        self.silent
            .send_if_modified(|was| std::mem::replace(was, silent) != silent);
    }

    /// Returns when the server has fallen silent.
    pub(super) async fn falls_silent(&self) {
        let mut silent = self.silent.subscribe();
        // The sender lives as long as this.
        let _ = silent.wait_for(|silent| *silent).await;
    }

    /// A connection that waits, the one that was used last: the others may be closed in peace.
    pub(super) fn waiting(&self) -> Option<Line> {
        let here = Handle::current().id();
        loop {
            let (mut line, since) = {
                let mut idle = self.lock_idle();
                let last = idle.iter().rposition(|(line, _)| line.home == here)?;
                idle.remove(last)
            };
            if line.is_ready() && since.elapsed() < IDLE {
                return Some(line);
            }
        }
    }

    /// Makes a connection. Nothing of a request is sent until it stands.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Line> {
        tokio::time::timeout(patience, self.connect_at_leisure())
            .await
            .unwrap_or_else(|_| anyhow::bail!("no connection within {patience:?}"))
    }

    async fn connect_at_leisure(&self) -> Result<Line> {
        let stream = match self.address.parse::<SocketAddr>() {
            Ok(address) => TcpStream::connect(address).await,
            Err(_) => TcpStream::connect(&self.address).await,
        };
        let stream = stream.with_context(|| format!("failed to connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let name = self.server_name.clone();
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let stream = tls
            .connect(name, stream)
            .await
            .context("the TLS handshake failed")?;
        let (sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Line {
            sender,
            carrier: Some(Box::pin(connection)),
            home: Handle::current().id(),
        })
    }

    /// Keeps a connection for the next request, as soon as the last one's response is read.
    pub(super) fn keep(&self, mut line: Line) {
        if !line.is_ready() {
            return;
        }
        let mut idle = self.lock_idle();
        if idle.len() < WAITING {
            idle.push((line, Instant::now()));
        }
    }

    /// Closes all connections that wait.
    pub(super) fn forget_waiting(&self) {
        self.lock_idle().clear();
    }

    /// Closes connections that have waited for long.
    pub(super) fn tidy(&self) {
        self.lock_idle()
            .retain_mut(|(line, since)| line.is_ready() && since.elapsed() < IDLE);
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<(Line, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_server_is_a_name_and_an_address() {
        let server: AppServer = "app1=10.0.2.21:9443".parse().unwrap();
        assert_eq!(
            (server.name.as_str(), server.address.as_str()),
            ("app1", "10.0.2.21:9443")
        );
        assert!("app1=[2001:db8::1]:9443".parse::<AppServer>().is_ok());
        assert!("app1=app1.internal:9443".parse::<AppServer>().is_ok());
        for wrong in [
            "",
            "app1",
            "app1=",
            "app1=:1",
            "app1=a",
            "app1=a:0",
            "a b=c:1",
            "=c:1",
            "app1=a:99999",
        ] {
            assert!(wrong.parse::<AppServer>().is_err(), "{wrong}");
        }
    }
}
