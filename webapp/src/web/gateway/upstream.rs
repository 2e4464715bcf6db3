//! One app server: connections to it, and what is thought of it.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
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

/// A connection that can take a request.
pub(super) type Sender = SendRequest<Upload>;

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    address: String,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    idle: Mutex<Vec<(Sender, Instant)>>,
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
    pub(super) fn waiting(&self) -> Option<Sender> {
        let mut idle = self.lock_idle();
        while let Some((sender, since)) = idle.pop() {
            if sender.is_ready() && since.elapsed() < IDLE {
                return Some(sender);
            }
        }
        None
    }

    /// Makes a connection. Nothing of a request is sent until it stands.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Sender> {
        tokio::time::timeout(patience, self.connect_at_leisure())
            .await
            .unwrap_or_else(|_| anyhow::bail!("no connection within {patience:?}"))
    }

    async fn connect_at_leisure(&self) -> Result<Sender> {
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
        // It ends when the sender is dropped, and its failure shows in the request.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Keeps a connection for the next request, as soon as the last one's response is read.
    pub(super) fn keep(self: &Arc<Self>, mut sender: Sender) {
        if sender.is_ready() {
            return self.put(sender);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(IDLE, sender.ready()).await {
                this.put(sender);
            }
        });
    }

    fn put(&self, sender: Sender) {
        let mut idle = self.lock_idle();
        if idle.len() < WAITING {
            idle.push((sender, Instant::now()));
        }
    }

    /// Closes all connections that wait.
    pub(super) fn forget_waiting(&self) {
        self.lock_idle().clear();
    }

    /// Closes connections that have waited for long.
    pub(super) fn tidy(&self) {
        self.lock_idle()
            .retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
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
