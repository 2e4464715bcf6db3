//! What other threads tell the router's own, which must not wait for them, nor they for it.

use crate::dataplane::boot_ns;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Tells a router at once what heartbeats found out: without a lock, and without asking for memory,
/// so that realtime threads may use it. It is made before the router, and may be cloned.
#[derive(Clone, Debug)]
pub struct Teller(Arc<Told>);

#[derive(Debug)]
struct Told {
    lost: AtomicBool,
    /// Until when this host may act as owner, in nanoseconds of [`boot_ns`].
    lease: AtomicU64,
    session: AtomicU64,
    proven: [AtomicU64; LINKS],
    wake: EventFd,
}

/// How many links there are to the other host at most.
pub const LINKS: usize = 2;

/// Nobody keeps a lease, and none is needed.
const NO_LEASE_NEEDED: u64 = u64::MAX;

impl Teller {
    /// Nothing is told yet. Until a lease is spoken of, none is needed.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left for it.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(Told {
            lost: AtomicBool::new(false),
            lease: AtomicU64::new(NO_LEASE_NEEDED),
            session: AtomicU64::new(0),
            proven: [const { AtomicU64::new(0) }; LINKS],
            wake: EventFd::from_value_and_flags(0, flags)?,
        })))
    }

    /// The other host acts as owner no longer.
    pub fn lose_peer(&self) {
        self.0.lost.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// This host may act as owner until then, in nanoseconds of [`boot_ns`]; 0: it may not. From
    /// now on it needs a lease.
    pub fn renew(&self, until: u64) {
        let before = self.0.lease.swap(until, Ordering::SeqCst);
        if (before == 0) != (until == 0) {
            self.wake();
        }
    }

    /// In which session of the heartbeats this host is, and in which the other one is known to be by
    /// each link that is up. 0: none.
    pub fn name_sessions(&self, own: u64, proven: [u64; LINKS]) {
        self.0.session.store(own, Ordering::SeqCst);
        for (known, session) in self.0.proven.iter().zip(proven) {
            known.store(session, Ordering::SeqCst);
        }
    }

    /// This host's session.
    pub(crate) fn session(&self) -> u64 {
        self.0.session.load(Ordering::SeqCst)
    }

    /// The other host's. 0: none.
    pub(crate) fn proven(&self) -> [u64; LINKS] {
        self.0
            .proven
            .each_ref()
            .map(|session| session.load(Ordering::SeqCst))
    }

    /// Whether the peer was lost since this was last asked.
    pub(crate) fn take_lost(&self) -> bool {
        self.0.lost.swap(false, Ordering::SeqCst)
    }

    /// Whether this host may act as owner now.
    pub(crate) fn has_lease(&self) -> bool {
        let until = self.0.lease.load(Ordering::SeqCst);
        until == NO_LEASE_NEEDED || boot_ns() < until
    }

    pub(super) fn wake(&self) {
        // It fails only when the counter is at its end, and then the thread wakes up anyway.
        let _ = self.0.wake.write(1);
    }

    /// Takes note of having been woken.
    pub(super) fn woken(&self) {
        // It fails when nobody called.
        let _ = self.0.wake.read();
    }
}

impl AsFd for Teller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_woken(teller: &Teller) -> bool {
        teller.0.wake.read().is_ok()
    }

    #[test]
    fn what_is_told_is_heard_once() {
        let teller = Teller::new().unwrap();
        assert!(!is_woken(&teller) && !teller.take_lost());
        teller.clone().lose_peer();
        assert!(is_woken(&teller) && teller.take_lost());
        assert!(!is_woken(&teller) && !teller.take_lost());
    }

    #[test]
    fn a_lease_is_needed_once_it_was_spoken_of() {
        let teller = Teller::new().unwrap();
        assert!(teller.has_lease());
        teller.renew(0);
        assert!(is_woken(&teller) && !teller.has_lease());
        teller.renew(boot_ns() + 60_000_000_000);
        assert!(is_woken(&teller) && teller.has_lease());
        // It lapses by itself, and nobody is woken by what changes nothing.
        teller.renew(boot_ns());
        assert!(!is_woken(&teller) && !teller.has_lease());
    }
}
