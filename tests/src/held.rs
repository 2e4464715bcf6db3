//! A thread of a program that stands still while the others go on, as one that waits for a disk that
//! hangs.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread that is held. It goes on when this is dropped.
#[derive(Debug)]
pub struct Held {
    /// Whoever holds it waits for this to be gone.
    let_go: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Held {
    /// Has a thread of another program stand still; the first one of each has the program's number.
    pub fn hold(thread: Pid) -> Result<Self> {
        let (let_go, gone) = mpsc::channel();
        let (told, tells) = mpsc::channel();
        // Only the thread that began to trace may end it.
        let holder = std::thread::spawn(move || {
            let stopped = stop(thread);
            let is_stopped = stopped.is_ok();
            // Nobody to tell, if whoever asked is gone.
            let _ = told.send(stopped);
            if is_stopped {
                // An error is what is waited for.
                let _ = gone.recv();
                // It fails if the program has ended.
                let _ = trace(libc::PTRACE_DETACH, thread);
            }
        });
        tells
            .recv()
            .context("nobody holds the thread")?
            .with_context(|| format!("failed to hold thread {thread}"))?;
        Ok(Self {
            let_go: Some(let_go),
            holder: Some(holder),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go = None;
        if let Some(holder) = self.holder.take() {
            // It cannot panic.
            let _ = holder.join();
        }
    }
}

/// Returns once it stands.
fn stop(thread: Pid) -> io::Result<()> {
    trace(libc::PTRACE_SEIZE, thread)?;
    trace(libc::PTRACE_INTERRUPT, thread)?;
    waitpid(thread, Some(WaitPidFlag::__WALL))?;
    Ok(())
}

fn trace(request: libc::c_uint, thread: Pid) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests read nothing of ours and write nothing.
    let result = unsafe { libc::ptrace(request, thread.as_raw(), none, none) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
