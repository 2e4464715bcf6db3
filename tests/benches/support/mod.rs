//! What all benchmarks share: their options, how they end, and where the programs are.

// Each benchmark compiles this for itself, and takes what it needs.
#![allow(dead_code, reason = "no benchmark needs all of it")]

pub(crate) mod haproxy;
pub(crate) mod load;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kit::figures::Figures;
use kit::interrupt;
use kit::lab::Programs;

/// How a benchmark is run, and how it tells what it found.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    /// How often everything is measured; the median counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,

    /// Given by `cargo bench`, without meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// Runs a benchmark, and prints its figures. Everything else goes to standard error.
pub(crate) fn run(options: &Options, measure: impl FnOnce() -> Result<Figures>) -> ExitCode {
    match prepare().and_then(|()| measure()) {
        Ok(figures) if options.json => println!("{}", figures.to_json()),
        Ok(figures) => print!("{figures}"),
        Err(_) if interrupt::arrived() => {
            eprintln!("\ninterrupted; everything is removed");
            // 128 and the number of SIGINT, as shells say it.
            return ExitCode::from(130);
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn prepare() -> Result<()> {
    ensure!(
        nix::unistd::Uid::effective().is_root(),
        "this benchmark makes network namespaces and loads XDP programs: run it as root"
    );
    interrupt::catch()
}

/// An error once the user has seen enough.
pub(crate) fn go_on() -> Result<()> {
    if interrupt::arrived() {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, unless the user has seen enough.
pub(crate) fn pause(length: Duration) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(50);
    let end = Instant::now() + length;
    loop {
        go_on()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(LOOK));
    }
}

/// How far a benchmark is: a line that changes on a terminal, lines elsewhere.
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    pub(crate) fn step(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else {
            eprintln!("{text}");
        }
    }

    /// What was found on the way. A terminal shows only what is at the end.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.terminal {
            eprintln!("{text}");
        }
    }

    pub(crate) fn end(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// A program that `cargo xtask setup` installs.
pub(crate) fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts programs for root where a user's PATH may not lead.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is missing: `cargo xtask setup` installs it"))
}

/// The programs in release mode, beside this benchmark.
pub(crate) fn programs() -> Result<Programs> {
    let exe = std::env::current_exe()?;
    let directory = exe.ancestors().nth(2).context("no target directory")?;
    Ok(Programs {
        lbd: built(directory, "lbd")?,
        lbctl: built(directory, "lbctl")?,
        webapp: built(directory, "webapp")?,
    })
}

fn built(directory: &Path, name: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{} is missing: run `cargo build --release -p lb-control -p webapp`",
        path.display()
    );
    Ok(path)
}
