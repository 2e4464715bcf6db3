//! What the daemon allows the thread, and how the thread is woken for it.

use crate::dataplane::boot_ns;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Moments are in nanoseconds of [`boot_ns`]; 0 is long ago.
pub(super) struct Permit {
    patience: u64,
    /// Until when the daemon counts as alive.
    alive_until: AtomicU64,
    /// Until when this host may act as owner, as far as the daemon is concerned.
    act_until: AtomicU64,
    /// A lease lapsed, and the daemon has not given up its claim yet.
    barred: AtomicBool,
    stopped: AtomicBool,
    wake: EventFd,
}

impl Permit {
    pub(super) fn new(patience: Duration) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            patience: u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX),
            alive_until: AtomicU64::new(0),
            act_until: AtomicU64::new(0),
            barred: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            wake: EventFd::from_value_and_flags(0, flags)?,
        })
    }

    pub(super) fn refresh(&self, may_act: bool) -> bool {
        if !may_act {
            self.barred.store(false, Ordering::SeqCst);
        }
        let acts = may_act && !self.barred.load(Ordering::SeqCst);
        let now = boot_ns();
        let until = now.saturating_add(self.patience);
        let acted = self
            .act_until
            .swap(if acts { until } else { 0 }, Ordering::SeqCst);
        let lived = self.alive_until.swap(until, Ordering::SeqCst);
        if acts != (acted > now) || lived <= now {
            self.wake();
        }
        acts
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn alive_until(&self) -> u64 {
        self.alive_until.load(Ordering::SeqCst)
    }

    /// 0 once a lease has lapsed.
    pub(super) fn act_until(&self) -> u64 {
        if self.barred.load(Ordering::SeqCst) {
            0
        } else {
            self.act_until.load(Ordering::SeqCst)
        }
    }

    /// Nothing is allowed before the daemon has given up its claim.
    pub(super) fn bar(&self) {
        self.barred.store(true, Ordering::SeqCst);
    }

    fn wake(&self) {
        // It fails only when the counter is at its end, and then the thread wakes up anyway.
        let _ = self.wake.write(1);
    }

    /// Takes note of having been woken.
    pub(super) fn woken(&self) {
        // It fails when nobody called.
        let _ = self.wake.read();
    }
}

impl AsFd for Permit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
