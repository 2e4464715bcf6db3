//! Named network namespaces, and how to run things in them.
//!
//! Entering is `setns(2)` on `/run/netns/NAME`, never `ip netns exec`: that remounts `/sys`,
//! which hides a BPF file system from the program it runs.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, by its name. Dropping this leaves the namespace as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Refers to a namespace, whether it exists or not.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name that `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Creates it. An error if it exists already.
    pub fn create(&self) -> Result<()> {
        ip(&["netns", "add", &self.name])
    }

    /// Removes its name. The kernel keeps the namespace while a process is in it.
    pub fn delete(&self) -> Result<()> {
        ip(&["netns", "delete", &self.name])
    }

    /// The processes in it, threads that visit from elsewhere not included.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let output = Command::new("ip")
            .args(["netns", "pids", &self.name])
            .stderr(Stdio::null())
            .output()
            .context("failed to run `ip netns pids`")?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect())
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let namespace = self.open()?;
        let mut command = Command::new(program);
        // SAFETY: setns(2) on a descriptor that the closure owns is a bare system call; nothing
        // is allocated or locked between fork and exec.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
        Ok(command)
    }

    /// A command that will run in this namespace, and see other files in place of some: pairs of a
    /// file that exists, and of what is to be read there.
    pub fn command_seeing(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        files: &[(&str, &Path)],
    ) -> Result<Command> {
        let mut command = self.command(program)?;
        let files: Vec<(CString, CString)> = files
            .iter()
            .map(|(seen, file)| {
                let file = CString::new(file.as_os_str().as_bytes())?;
                Ok((CString::new(*seen)?, file))
            })
            .collect::<Result<_>>()?;
        let root = c"/";
        let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        // SAFETY: unshare(2) and mount(2) with strings that exist are bare system calls; nothing is
        // allocated or locked between fork and exec.
        unsafe {
            command.pre_exec(move || {
                unshare(CloneFlags::CLONE_NEWNS)?;
                // The machine does not see what is mounted here.
                mount(None::<&str>, root, None::<&str>, slave, None::<&str>)?;
                for (seen, file) in &files {
                    let (seen, file) = (seen.as_c_str(), Some(file.as_c_str()));
                    mount(file, seen, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
                }
                Ok(())
            });
        }
        Ok(command)
    }

    /// Runs `work` on a fresh thread in this namespace, where the sockets that it creates
    /// belong to it, and waits for its result.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        match self.spawn(work)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Like [`run`](Self::run), without waiting.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.open()?;
        let name = self.name.clone();
        Ok(std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("failed to enter the namespace {name}"))?;
            Ok(work())
        }))
    }

    /// Runs a batch of `ip` commands in it, one on a line.
    pub fn ip_batch(&self, commands: &str) -> Result<()> {
        batch(&["-n", &self.name, "-batch", "-"], commands)
    }

    /// Sets sysctls below `/proc/sys/net`: pairs of a path and a value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|(key, value)| (format!("/proc/sys/net/{key}"), (*value).to_owned()))
            .collect();
        self.run(move || {
            settings.iter().try_for_each(|(path, value)| {
                std::fs::write(path, value).with_context(|| format!("failed to set {path}"))
            })
        })?
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("there is no namespace {}", self.name))
    }
}

/// Runs a batch of `ip` commands in the namespace of the caller, one on a line.
pub fn ip_batch(commands: &str) -> Result<()> {
    batch(&["-batch", "-"], commands)
}

fn ip(args: &[&str]) -> Result<()> {
    batch(args, "")
}

fn batch(args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run `ip`, of iproute2")?;
    if let Some(mut stdin) = child.stdin.take() {
        // An `ip` that stopped reading says why in its own error below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", args.join(" "), said.trim());
    }
    Ok(())
}
