//! Programs of a lab that run in the background, with their output in a log.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Namespace;
use crate::wait;

/// A running program. Dropping this leaves it running: the lab ends what is in its namespaces.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own: Ctrl-C is for the one who runs the lab, to clean up in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let pid = i32::try_from(self.child.id()).context("a pid that is none")?;
        Ok(Pid::from_raw(pid))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid()?, signal)?)
    }

    /// Ends it with SIGKILL, as a crash would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end with SIGTERM, and waits until it does.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        wait::wait_for(limit, "a program to end after SIGTERM", || {
            self.child.try_wait()?.context("it still runs")
        })
    }
}

/// Kills every process in the namespaces with SIGKILL and waits until none is left.
pub(crate) fn kill_all(namespaces: &[Namespace]) -> Result<()> {
    wait::wait_regardless(Duration::from_secs(5), "the lab's processes to end", || {
        let mut left = Vec::new();
        for namespace in namespaces {
            left.extend(namespace.pids()?);
        }
        // The lab may be cleaned from within one of its namespaces.
        let own = nix::unistd::getpid().as_raw();
        left.retain(|&pid| pid != own);
        for &pid in &left {
            let pid = Pid::from_raw(pid);
            let _ = kill(pid, Signal::SIGKILL);
            // Reaps those that are children of this process; others have their own parent.
            let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
        anyhow::ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })
}
