//! The channel between the two hosts of a pair: one connection, of TLS 1.3 (RFC 8446) in which each
//! shows its certificate, and trusts the other's and no other.
//!
//! One task keeps it. Both hosts listen on their addresses of all links; the one that has the lowest
//! address of all dials, over one link after the other. A connection that was made later replaces
//! the earlier one: its peer has given that up. What goes over it are frames, with their length
//! before them in four bytes; an empty one each second says that the connection lives.
//!
//! A host that is not paired dials nobody, and listens only while an invitation is open. How two
//! hosts are paired is [`crate::proto::pairing`]'s; the operator asks for it by [`Pairing`].

mod attempt;
mod connection;
mod frames;
mod join;
mod listen;
mod pairing;
mod places;
mod queue;
mod refusals;
mod task;
#[cfg(test)]
mod tests;
mod tls;

pub use join::JoinError;
pub use pairing::{Ends, Failure, Invited, Pairing, Status};

use crate::proto::pairing::PairSecret;
use crate::state::identity::Identity;
use anyhow::ensure;
use bytes::Bytes;
use queue::Queue;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use task::Task;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The longest frame, in bytes.
pub const FRAME_MAX: usize = 4 * 1024 * 1024;

/// What may wait to be sent, in bytes. A peer that is further behind is better served by beginning
/// anew.
pub const QUEUE_MAX: usize = 64 * 1024 * 1024;

/// What is to be connected.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The links to the peer: those in front are tried first.
    pub links: Vec<Link>,
    /// This host's certificate and key.
    pub identity: Identity,
    /// The other's certificate, if the two are paired.
    pub peer: Option<CertificateDer<'static>>,
    /// What is handed to a host that joins this one.
    pub secret: PairSecret,
    /// Where a new peer and its secret are kept.
    pub state_dir: PathBuf,
}

/// A link to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Our address, and the port that is listened on.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// Something happened on the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is connected, and is who it should be.
    Up {
        /// Our address.
        local: IpAddr,
        /// The peer's.
        remote: IpAddr,
    },
    /// That is over. What was not sent yet is lost.
    Down {
        /// Why.
        reason: String,
    },
    /// The peer sent this. Never of a connection before the last [`Event::Up`], and never empty.
    Frame(Bytes),
    /// Somebody at an address of the peer was not let in, or does not let us in. The same is not told
    /// more often than every ten seconds. Of others, nothing is told: [`Status::strangers`].
    Refused {
        /// Where they are.
        from: IpAddr,
        /// Why.
        reason: String,
    },
    /// Something is to be mended on this host. `None`: nothing any more.
    Fault(Option<String>),
    /// This host has a peer, or another one.
    Paired {
        /// This is the pair's secret: it was this host that joined, and its own is replaced.
        secret: Option<PairSecret>,
    },
}

/// The channel that runs. Dropping it closes the connection.
pub struct Channel {
    queue: Arc<Queue>,
    paired: Arc<AtomicBool>,
    pairing: Pairing,
    task: AbortHandle,
}

impl Channel {
    /// Starts it, in a task of the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// If the addresses of a link do not fit, or a certificate cannot be used.
    pub fn spawn(settings: Settings, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        for Link { local, remote } in &settings.links {
            ensure!(
                local.is_ipv4() == remote.is_ipv4() && local.ip() != remote.ip(),
                "the channel cannot go from {local} to {remote}: two addresses of one family are \
                 needed"
            );
        }
        let queue = Arc::new(Queue::default());
        let (commands, orders) = mpsc::channel(8);
        let pairing = Pairing::new(commands, settings.identity.certificate().clone());
        let paired = Arc::new(AtomicBool::new(false));
        let task = Task::new(
            settings,
            Arc::clone(&queue),
            Arc::clone(&paired),
            events,
            orders,
        )?;
        Ok(Self {
            queue,
            paired,
            pairing,
            task: tokio::spawn(task.run()).abort_handle(),
        })
    }

    /// Sends a frame to the peer: later, and in order. Never waits.
    ///
    /// Returns false if there is no connection, or not any more: what is longer than [`FRAME_MAX`],
    /// or than what may wait ([`QUEUE_MAX`]), closes it. A frame that is sent after [`Event::Down`]
    /// was received, and before the next [`Event::Up`], may go over the new connection; one sent
    /// before goes over the old one or none.
    #[must_use]
    pub fn send(&self, frame: Bytes) -> bool {
        self.queue.push(frame)
    }

    /// Closes the connection, if there is one, with [`Event::Down`]. The next one is made soon.
    pub fn disconnect(&self, reason: &str) {
        self.queue.fail(reason.to_owned());
    }

    /// Whether this host has a peer.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        self.paired.load(Ordering::Relaxed)
    }

    /// To pair this host with another one.
    #[must_use]
    pub fn pairing(&self) -> Pairing {
        self.pairing.clone()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}
