//! Until when this host may act as owner of the services' addresses.

use super::{Error, Pins};
use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds since boot, those included in which the host was suspended: `CLOCK_BOOTTIME`, by
/// which the program judges leases.
#[must_use]
pub fn boot_ns() -> u64 {
    // Every Linux that can run this has that clock; a host without it has no valid lease.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |now| {
        let [seconds, nanos] = [now.tv_sec(), now.tv_nsec()].map(i64::unsigned_abs);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}

/// Somewhere to write until when this host may act as owner.
///
/// Called from a realtime thread: it must neither block nor allocate.
pub trait Renew: Send {
    /// The lease ends at `until`, in nanoseconds of [`boot_ns`]; 0 takes it away.
    fn renew(&self, until: u64);
}

/// `LEASE`, mapped into our memory: renewing the lease is a store, and no system call.
#[derive(Clone)]
pub struct Lease {
    memory: Arc<MmapRaw>,
}

impl Lease {
    /// Opens the map that [`super::load`] pinned.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let fail = |error: &dyn std::error::Error| Error::new("map LEASE", error.to_string());
        let map = MapData::from_pin(pins.map("LEASE")).map_err(|error| fail(&error))?;
        let memory = MmapOptions::new()
            .len(size_of::<u64>())
            .map_raw(&map.fd().as_fd())
            .map_err(|error| fail(&error))?;
        Ok(Self {
            memory: Arc::new(memory),
        })
    }

    /// Until when the lease lasts, in nanoseconds of [`boot_ns`].
    #[must_use]
    pub fn until(&self) -> u64 {
        self.word().load(Ordering::Relaxed)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping holds one word, is aligned to pages and lives as long as `self`. The
        // kernel and we access it as a whole only.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast()) }
    }
}

impl Renew for Lease {
    fn renew(&self, until: u64) {
        self.word().store(until, Ordering::Relaxed);
    }
}

impl Renew for Arc<AtomicU64> {
    fn renew(&self, until: u64) {
        self.store(until, Ordering::Relaxed);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("until", &self.until())
            .finish()
    }
}
