//! What the thread does, turn by turn.
//!
//! It neither logs nor waits for a lock: whoever reads the log, or holds the lock, may be late. The
//! virtual routers, which are in a hurry, too, hear from it directly, and not by way of the daemon.

use super::permit::Permit;
use super::socket::{Arrival, Socket};
use super::{Event, LinkReport, Status};
use crate::dataplane::{Renew, boot_ns};
use crate::proto::heartbeat::{Diagnostic, Effect, Peer, Timing};
use crate::shell::vrrp::{LINKS, Teller};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// How many datagrams of a link are heard in one turn: more than a peer sends while a turn is late,
/// and few enough that a flood does not keep us from sending.
const AT_ONCE: usize = 64;

/// How long the thread sleeps at most. Everything that concerns it wakes it up; this is for clocks
/// that jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

pub(super) struct Thread {
    sockets: Vec<Socket>,
    peer: Peer,
    permit: Arc<Permit>,
    status: Arc<Mutex<Status>>,
    followers: Followers,
    events: UnboundedSender<Event>,
    /// How long a lease lasts after a heartbeat was sent, in nanoseconds.
    term: u64,
    /// When a heartbeat was sent last; moments are in nanoseconds of [`boot_ns`].
    sent: u64,
    /// Until when the lease lasts that was given last; 0 if it was taken away.
    given: u64,
    enabled: bool,
    polled: Vec<libc::pollfd>,
    late: Duration,
}

/// Those who may act only as long as there is a lease.
pub(super) struct Followers {
    /// The program, by a word in its tables.
    pub(super) program: Box<dyn Renew>,
    pub(super) routers: Vec<Teller>,
}

impl Followers {
    fn renew(&self, until: u64) {
        self.program.renew(until);
        for router in &self.routers {
            router.renew(until);
        }
    }

    /// Routers name the sessions before the peer hears of them.
    fn name_sessions(&self, peer: &Peer) {
        let mut proven = [0; LINKS];
        for (place, session) in proven.iter_mut().zip(peer.proven()) {
            *place = session;
        }
        for router in &self.routers {
            router.name_sessions(peer.discriminator().unwrap_or(0), proven);
        }
    }
}

impl Thread {
    pub(super) fn new(
        sockets: Vec<Socket>,
        mut peer: Peer,
        timing: Timing,
        permit: Arc<Permit>,
        status: Arc<Mutex<Status>>,
        followers: Followers,
        events: UnboundedSender<Event>,
    ) -> Self {
        let polled = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let fds = sockets.iter().map(|socket| socket.as_fd().as_raw_fd());
        let fds = fds.chain([permit.as_fd().as_raw_fd()]);
        // Until the daemon calls.
        peer.disable(Instant::now(), Diagnostic::AdminDown);
        // The program goes by the lease of an earlier lbd, as long as that lasts.
        for router in &followers.routers {
            router.renew(0);
        }
        Self {
            polled: fds.map(polled).collect(),
            sockets,
            peer,
            permit,
            status,
            followers,
            events,
            term: term(timing),
            sent: 0,
            given: 0,
            enabled: false,
            late: Duration::ZERO,
        }
    }

    pub(super) fn run(&mut self) {
        while !self.permit.is_stopped() {
            self.turn();
            self.sleep();
        }
        // First nobody acts here, then the peer may.
        self.give(0);
        self.peer.disable(Instant::now(), Diagnostic::AdminDown);
        self.carry_out(boot_ns());
    }

    pub(super) fn turn(&mut self) {
        // What arrived while we slept was in time, so it is heard before anybody is blamed.
        let (now, boot) = (Instant::now(), boot_ns());
        self.notice_lapse(boot);
        self.hear(now);
        self.obey(now, boot);
        if let Some(deadline) = self.peer.deadline() {
            self.late = self.late.max(now.saturating_duration_since(deadline));
        }
        self.peer.on_timeout(now);
        self.carry_out(boot);
        self.renew(boot);
        self.publish();
    }

    /// A lease that has lapsed since the last turn cannot be renewed: the peer may lead by now.
    fn notice_lapse(&mut self, boot: u64) {
        if self.given == 0 || boot < self.given {
            return;
        }
        let since = Duration::from_nanos(boot - self.given);
        self.permit.bar();
        self.give(0);
        // Should nobody listen, we shall be stopped soon.
        let _ = self.events.send(Event::Lapsed { since });
    }

    fn hear(&mut self, now: Instant) {
        for (link, socket) in self.sockets.iter_mut().enumerate() {
            for _ in 0..AT_ONCE {
                match socket.receive() {
                    None => break,
                    Some(Arrival::Stranger) => {}
                    Some(Arrival::Heartbeat { payload, hops }) => {
                        // What is refused is counted.
                        let _ = self.peer.on_datagram(now, link, payload, hops);
                    }
                }
            }
        }
    }

    /// Follows what the daemon allows.
    fn obey(&mut self, now: Instant, boot: u64) {
        self.permit.woken();
        let alive = boot < self.permit.alive_until();
        if alive && !self.enabled {
            self.peer.enable(now);
        } else if !alive && self.enabled {
            self.notice_lapse(boot);
            self.give(0);
            self.peer.disable(now, Diagnostic::Hung);
        }
        self.enabled = alive;
    }

    fn carry_out(&mut self, boot: u64) {
        self.followers.name_sessions(&self.peer);
        while let Some(effect) = self.peer.next_effect() {
            let event = match effect {
                Effect::Send { link, payload } => {
                    if let Some(socket) = self.sockets.get_mut(link) {
                        socket.send(&payload);
                        self.sent = boot;
                    }
                    continue;
                }
                Effect::LinkUp { link } => Event::LinkUp { link },
                Effect::LinkDown { link, reason } => Event::LinkDown { link, reason },
                Effect::PeerUp => Event::PeerUp,
                Effect::PeerLost { reason } => {
                    if reason.is_gone() {
                        self.followers.routers.iter().for_each(Teller::lose_peer);
                    }
                    Event::PeerLost { reason }
                }
            };
            // As above.
            let _ = self.events.send(event);
        }
    }

    fn renew(&mut self, boot: u64) {
        let allowed = self.permit.act_until();
        let until = allowed.min(self.sent.saturating_add(self.term));
        self.give(if boot < until { until } else { 0 });
    }

    fn give(&mut self, until: u64) {
        if until != self.given {
            self.followers.renew(until);
            self.given = until;
        }
    }

    fn publish(&self) {
        // Whoever reads it reads the next one.
        let Ok(mut status) = self.status.try_lock() else {
            return;
        };
        status.peer_up = self.peer.is_up();
        status.lease = self.given;
        status.late = self.late;
        status.links.clear();
        let links = self.peer.links().zip(&self.sockets);
        status
            .links
            .extend(links.map(|(session, socket)| LinkReport {
                session,
                unsent: socket.unsent,
                strangers: socket.strangers,
                stranger: socket.stranger,
            }));
    }

    /// Until something arrives, or is due.
    fn sleep(&mut self) {
        let boot = boot_ns();
        let mut longest = LONGEST_SLEEP;
        if let Some(deadline) = self.peer.deadline() {
            longest = longest.min(deadline.saturating_duration_since(Instant::now()));
        }
        if self.enabled {
            let left = self.permit.alive_until().saturating_sub(boot);
            longest = longest.min(Duration::from_nanos(left));
        }
        let timeout = libc::timespec {
            tv_sec: longest.as_secs() as libc::time_t,
            tv_nsec: longest.subsec_nanos() as libc::c_long,
        };
        // SAFETY: the descriptors are as many as said, and open as long as `self`; no signal mask
        // is given. What it returns does not matter: the next turn looks at everything.
        unsafe {
            libc::ppoll(
                self.polled.as_mut_ptr(),
                self.polled.len() as libc::nfds_t,
                &raw const timeout,
                std::ptr::null(),
            );
        }
    }
}

/// How long a lease lasts after a heartbeat: nobody may lose us before. Clocks of two hosts do not
/// run alike, and neither do they drift apart by a sixteenth.
fn term(timing: Timing) -> u64 {
    let detection = timing.earliest_detection();
    let term = detection - detection / 16;
    u64::try_from(term.as_nanos()).unwrap_or(u64::MAX)
}
