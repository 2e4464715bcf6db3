//! Runs the heartbeats, and keeps the lease.
//!
//! A thread of its own, with realtime scheduling and locked memory where that is allowed: late
//! timers are what false takeovers are made of. What the heartbeats mean is decided by
//! [`crate::proto::heartbeat`].
//!
//! # The lease
//!
//! The thread gives this host the lease to act as owner ([`Renew`]) while the daemon allows it. The
//! lease counts from the last heartbeat that was sent, and lasts for as long as the peer waits
//! for the next ones at the least, less a sixteenth for clocks that differ. So:
//!
//! - The whole host, or all of lbd, stands still: the peer loses it, and takes over, after the lease
//!   has lapsed.
//! - The daemon stands still, and this thread does not: once the daemon was not heard for
//!   [`Settings::patience`], the lease is over, and then the peer is told ([`Diagnostic::Hung`]).
//! - Everything stood still, and goes on: the lease has lapsed, and the peer may lead. The lease is
//!   not renewed until the daemon has given up its claim and made it again ([`Event::Lapsed`]).
//!
//! When the heartbeats cannot be sent or do not arrive, the lease goes on: a host whose peer is dead
//! must not fence itself. Two owners after a cut between living hosts are not prevented here.

mod permit;
mod socket;
#[cfg(test)]
mod tests;
mod thread;

use super::realtime::{self, Urgency};
use crate::dataplane::Renew;
use crate::proto::heartbeat::{Ends, Key, LinkId, LinkStatus, LostReason, Peer, Timing};
use crate::shell::vrrp::Teller;
use permit::Permit;
use socket::Socket;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thread::{Followers, Thread};
use tokio::sync::mpsc::UnboundedSender;

#[cfg(doc)]
use crate::proto::heartbeat::Diagnostic;

/// How long the daemon may be silent, unless the configuration says otherwise.
/// A disk that takes its time for what is kept must not cost leadership.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The links to the peer: one or two.
    pub links: Vec<Link>,
    /// How often, and after how many that were missed the peer is lost.
    pub timing: Timing,
    /// What both hosts share.
    pub key: Key,
    /// How long the daemon may be silent before this host gives up: [`Heartbeat::refresh`] is to be
    /// called more often.
    pub patience: Duration,
}

/// A link to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The interface by which the peer is reached, and by no other. `None`: whichever routes say.
    pub interface: Option<String>,
}

/// Something happened to the peer, or to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is heard by a link, and hears us.
    LinkUp {
        /// Which, by its place in [`Settings::links`].
        link: LinkId,
    },
    /// That is over.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: LostReason,
    },
    /// There is a link to the peer.
    PeerUp,
    /// There is none any more.
    PeerLost {
        /// Why the last one went.
        reason: LostReason,
    },
    /// This host was allowed to act, and the lease lapsed nevertheless: it or its daemon stood still.
    /// The peer may lead by now. There is no lease before [`Heartbeat::refresh`] has said `false`.
    Lapsed {
        /// For how long there was no lease, when that was noticed.
        since: Duration,
    },
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether there is a link to the peer.
    pub peer_up: bool,
    /// The links, in the order of [`Settings::links`].
    pub links: Vec<LinkReport>,
    /// Until when this host may act as owner, in nanoseconds of [`crate::dataplane::boot_ns`].
    pub lease: u64,
    /// By how much the thread was late at worst.
    pub late: Duration,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Of its session.
    pub session: LinkStatus,
    /// Heartbeats that could not be sent.
    pub unsent: u64,
    /// Datagrams from other addresses than the peer's.
    pub strangers: u64,
    /// Who sent the last heartbeat from another address than the peer's, and when.
    pub stranger: Option<(IpAddr, Instant)>,
}

/// The heartbeats cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The addresses of a link do not fit.
    #[error("the link from {local} to {remote} is of two families")]
    Families {
        /// Ours.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// A link has no socket.
    #[error("failed to {action} for heartbeats from {local}")]
    Socket {
        /// What was attempted.
        action: &'static str,
        /// The address.
        local: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no thread.
    #[error("failed to start the thread of the heartbeats")]
    Thread(#[source] io::Error),
}

/// The heartbeats that run. Dropping it gives up the lease and tells the peer.
pub struct Heartbeat {
    permit: Arc<Permit>,
    status: Arc<Mutex<Status>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts them. `routers` hear of the lease, and of a peer that acts as owner no longer, from
    /// the thread itself. The peer is told that this host is not to be counted on until
    /// [`Self::refresh`] is called for the first time.
    ///
    /// To be called while there are the privileges for realtime scheduling and locked memory; says
    /// in the log if there are not.
    ///
    /// # Errors
    ///
    /// If a socket or the thread cannot be made.
    pub fn spawn(
        settings: &Settings,
        lease: impl Renew + 'static,
        routers: Vec<Teller>,
        events: UnboundedSender<Event>,
    ) -> Result<Self, Error> {
        let sockets = settings.links.iter().map(Socket::open);
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let mut ends = Vec::new();
        for link in &settings.links {
            let (source, destination) = (link.local.ip(), link.remote.ip());
            let pair = Ends {
                source,
                destination,
            };
            ends.push((pair, random().map_err(Error::Thread)?));
        }
        let permit = Arc::new(Permit::new(settings.patience).map_err(Error::Thread)?);
        let status = Arc::new(Mutex::new(Status::default()));
        let peer = Peer::new(settings.timing, settings.key.clone(), &ends, Instant::now());
        let mut thread = Thread::new(
            sockets,
            peer,
            settings.timing,
            Arc::clone(&permit),
            Arc::clone(&status),
            Followers {
                program: Box::new(lease),
                routers,
            },
            events,
        );
        let (ready, made) = std::sync::mpsc::sync_channel(1);
        let handle = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || {
                // Nobody else to tell, should `spawn` be gone.
                let _ = ready.send(realtime::ask(Urgency::Heartbeat));
                thread.run();
            })
            .map_err(Error::Thread)?;
        for lacking in made.recv().unwrap_or_default() {
            tracing::warn!("heartbeats may be late when this host is busy: {lacking}");
        }
        Ok(Self {
            permit,
            status,
            thread: Some(handle),
        })
    }

    /// The daemon lives, and this host may act as owner or may not. To be called more often than
    /// [`Settings::patience`] says, by the loop whose life it stands for. A change takes effect as
    /// soon as the thread is scheduled.
    ///
    /// Returns whether it may indeed: not after a lease has lapsed, until `false` was said here. By
    /// then the peer may lead, so the daemon must first have given up, or know better.
    pub fn refresh(&self, may_act: bool) -> bool {
        self.permit.refresh(may_act)
    }

    /// What is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.permit.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the heartbeats panicked");
        }
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is as long as said. Eight bytes are given whole, or not at all.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == bytes.len() as isize {
        Ok(u64::from_ne_bytes(bytes))
    } else {
        Err(io::Error::last_os_error())
    }
}
