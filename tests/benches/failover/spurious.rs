//! How often one takes over from the other although nothing is wrong but that the processors are
//! busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::contender::Pair;
use crate::support::pause;

/// Threads that do nothing but compute, at an ordinary priority.
const HOGS: usize = 6;

/// Watches a pair among hogs; returns how often the second one took over.
pub(crate) fn takeovers(pair: &Pair<'_>, length: Duration) -> Result<u64> {
    let before = pair.takeovers()?;
    let hogs = Hogs::start();
    let watched = pause(length);
    drop(hogs);
    watched?;
    // Whatever came of it is over before anybody else is measured.
    pair.wait_until_initial()?;
    Ok(pair.takeovers()? - before)
}

/// Busy threads. Dropping this ends them.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..HOGS).map(hog).collect();
        Self { stop, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
