//! Ctrl-C as a flag, so that a lab is cleaned up before its maker ends.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use nix::sys::signal::{SigHandler, Signal, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on, SIGINT, SIGTERM and SIGHUP only set the flag.
pub fn catch() -> Result<()> {
    for caught in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler stores to an atomic, which is safe at any point of the program.
        unsafe { signal(caught, SigHandler::Handler(note)) }?;
    }
    Ok(())
}

/// Whether one of the signals has arrived.
pub fn arrived() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
