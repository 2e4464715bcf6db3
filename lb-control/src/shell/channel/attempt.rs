//! Attempts to connect, until it is clear who is there.

use super::tls::{Wanted, explain, name, wanted};
use super::{Link, frames, listen};
use crate::proto::pairing::Request;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

/// How long TCP may take.
pub(super) const CONNECT: Duration = Duration::from_secs(1);

/// How long all that comes then may take, until the other end has shown who it is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);

pub(super) type Stream = TlsStream<TcpStream>;

/// What became of an attempt.
pub(super) enum Outcome {
    /// It is the peer.
    Connected {
        stream: Box<Stream>,
        local: IpAddr,
        remote: IpAddr,
    },
    /// It is somebody who wants to be.
    Asked {
        stream: Box<Stream>,
        request: Request,
        from: IpAddr,
    },
    /// It is nobody that should be let in.
    Refused { from: IpAddr, reason: String },
    /// The peer was not reached over any link.
    Unreached(Vec<Missed>),
    /// Somebody who asked was answered.
    Answered,
}

/// Why the peer was not reached over a link.
pub(super) struct Missed {
    pub(super) remote: IpAddr,
    pub(super) reason: String,
    /// Somebody was there.
    pub(super) refused: bool,
}

/// What is behind the port.
#[derive(Clone)]
pub(super) struct Doors {
    /// If this host is paired.
    pub(super) pair: Option<Arc<ServerConfig>>,
    /// If an invitation is open.
    pub(super) join: Option<Arc<ServerConfig>>,
}

/// Finds out who has connected.
pub(super) async fn accept(stream: TcpStream, from: SocketAddr, doors: Doors) -> Outcome {
    let from = from.ip();
    let refused = |reason| Outcome::Refused { from, reason };
    match timeout(HANDSHAKE, meet(stream, from, doors)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => refused(explain(&error)),
        Err(_) => refused(format!(
            "it did not say who it is within {} s",
            HANDSHAKE.as_secs()
        )),
    }
}

async fn meet(stream: TcpStream, from: IpAddr, doors: Doors) -> io::Result<Outcome> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?.ip();
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let closed = |text: &str| io::Error::new(io::ErrorKind::ConnectionRefused, text);
    match wanted(&start.client_hello()) {
        Some(Wanted::Pair) => {
            let door = doors.pair;
            let door = door.ok_or_else(|| closed("this host is not paired with any other"))?;
            let mut stream = start.into_stream(door).await?;
            frames::welcome(&mut stream).await?;
            Ok(Outcome::Connected {
                stream: Box::new(stream.into()),
                local,
                remote: from,
            })
        }
        Some(Wanted::Join) => {
            let door = doors.join;
            let door = door.ok_or_else(|| closed("it asks to join, and no invitation is open"))?;
            let mut stream = start.into_stream(door).await?;
            let message = frames::read_message(&mut stream).await?;
            let request = Request::decode(&message).map_err(io::Error::other)?;
            Ok(Outcome::Asked {
                stream: Box::new(stream.into()),
                request,
                from,
            })
        }
        None => Err(closed("it speaks TLS, but is not the other host of a pair")),
    }
}

/// Tries to reach the peer over one link after the other.
pub(super) async fn dial(links: Vec<Link>, config: Arc<ClientConfig>) -> Outcome {
    let mut missed = Vec::new();
    for link in links {
        match reach(link, &config).await {
            Ok(stream) => {
                return Outcome::Connected {
                    stream: Box::new(stream),
                    local: link.local.ip(),
                    remote: link.remote.ip(),
                };
            }
            Err(failure) => missed.push(failure),
        }
    }
    Outcome::Unreached(missed)
}

async fn reach(link: Link, config: &Arc<ClientConfig>) -> Result<Stream, Missed> {
    let Link { local, remote } = link;
    let missed = |refused, reason| Missed {
        remote: remote.ip(),
        reason,
        refused,
    };
    let stream = connect(Some(local.ip()), remote).await.map_err(|error| {
        missed(
            false,
            format!("cannot connect from {}: {error}", local.ip()),
        )
    })?;
    match timeout(HANDSHAKE, greet(stream, config)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            // A host that just closes may not be ready, or not be paired yet.
            let refused = error.kind() == io::ErrorKind::InvalidData;
            Err(missed(refused, explain(&error)))
        }
        Err(_) => Err(missed(true, "it does not answer".to_owned())),
    }
}

async fn greet(stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let mut stream = handshake(stream, config).await?;
    frames::welcomed(&mut stream).await?;
    Ok(stream)
}

/// As a client.
pub(super) async fn handshake(stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let connector = TlsConnector::from(Arc::clone(config));
    Ok(connector.connect(name()?, stream).await?.into())
}

/// Connects by TCP, from this address if it matters.
pub(super) async fn connect(local: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = listen::socket(remote)?;
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let connected = timeout(CONNECT, socket.connect(remote)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
