//! The sockets that are listened on, one for each address of this host.

use super::Link;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 16;

pub(super) struct Listeners {
    all: Vec<Listener>,
}

struct Listener {
    address: SocketAddr,
    socket: Option<TcpListener>,
    failure: Option<String>,
}

impl Listeners {
    pub(super) fn new(links: &[Link]) -> Self {
        let listener = |link: &Link| Listener {
            address: link.local,
            socket: None,
            failure: None,
        };
        Self {
            all: links.iter().map(listener).collect(),
        }
    }

    /// Listens where it is not listened yet. What cannot be is tried again by the next call.
    pub(super) fn open(&mut self) {
        for listener in &mut self.all {
            if listener.socket.is_some() {
                continue;
            }
            match listen(listener.address) {
                Ok(socket) => {
                    listener.socket = Some(socket);
                    listener.failure = None;
                }
                Err(error) => {
                    let address = listener.address;
                    listener.failure = Some(format!(
                        "cannot listen for the other host on {address}: {error}"
                    ));
                }
            }
        }
    }

    pub(super) fn close(&mut self) {
        for listener in &mut self.all {
            listener.socket = None;
            listener.failure = None;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.all.iter().any(|listener| listener.socket.is_some())
    }

    /// What keeps them from being open.
    pub(super) fn fault(&self) -> Option<String> {
        let failures = self.all.iter().filter_map(|it| it.failure.as_deref());
        let failures: Vec<&str> = failures.collect();
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    /// The next connection, or why there is none.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            for socket in self.all.iter().filter_map(|it| it.socket.as_ref()) {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket that may be bound although connections of an earlier one linger.
pub(super) fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}
