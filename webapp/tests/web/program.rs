//! `webapp web` as a process.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PATIENCE;

/// A server that ends with the test.
pub(crate) struct Web {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// How to start one.
pub(crate) struct Start(Command);

pub(crate) fn web() -> Start {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webapp"));
    command.args(["web", "--name", "web1", "--listen", "127.0.0.1:0"]);
    Start(command)
}

impl Start {
    pub(crate) fn arg(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.arg(name).arg(value);
        self
    }

    /// With a certificate for the public.
    pub(crate) fn tls(self, files: &webapp::tls::Files) -> Self {
        self.arg("--cert", &files.cert).arg("--key", &files.key)
    }

    /// With an identity that is shown to the app servers.
    pub(crate) fn tier(self, files: &webapp::tls::Files) -> Self {
        self.arg("--tier-cert", &files.cert)
            .arg("--tier-key", &files.key)
            .arg("--tier-ca", &files.ca)
    }

    pub(crate) fn app(self, name: &str, address: SocketAddr) -> Self {
        self.arg("--app", format!("{name}={address}"))
    }

    pub(crate) fn root(self, root: &Path) -> Self {
        self.arg("--root", root)
    }

    pub(crate) fn start(mut self) -> Web {
        let mut child = self.0.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test has ended and does not listen any more.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let seen = Vec::new();
        Web { child, lines, seen }
    }

    /// What it says before it ends, where it is not to start.
    pub(crate) fn fail(mut self) -> String {
        let mut child = self.0.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(!child.wait().unwrap().success(), "{said}");
        said
    }
}

/// The most memory that a process has held at a time, in bytes: see proc_pid_status(5).
pub(crate) fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes.unwrap().trim().parse::<u64>().unwrap() * 1024
}

impl Web {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of a listener, by what it says that it is.
    pub(crate) fn address(&mut self, kind: &str) -> SocketAddr {
        let line = self.line(&format!("web1: {kind} on "));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits for a line that has this in it.
    pub(crate) fn line(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(error) => panic!("no {part:?} ({error}) in {:#?}", self.seen),
            }
        }
    }

    /// Forgets the lines so far, so that only new ones count.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
        while self.lines.try_recv().is_ok() {}
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it goes on: {:#?}", self.seen);
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
