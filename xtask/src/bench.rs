//! `cargo xtask bench`: builds everything in release mode, then runs the benchmarks of `tests`.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::programs;

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which one; all but failover, one after the other, unless given
    #[command(subcommand)]
    bench: Option<Bench>,

    /// Print one JSON object for each benchmark, and nothing else, on standard output
    #[arg(long, global = true)]
    json: bool,

    /// How often everything is measured; the median counts
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
}

#[derive(Clone, Subcommand)]
enum Bench {
    /// Nanoseconds for each packet in the loaded program
    Dataplane,
    /// Requests per second in the lab, beside HAProxy and nftables
    Lab(LabArgs),
    /// Milliseconds until a change takes effect
    Apply,
    /// Reads per second with replicas and without, and the cost of reading one's own writes
    Db(DbArgs),
    /// Milliseconds that users notice what happens to one of two load balancers, beside keepalived
    Failover(FailoverArgs),
    /// Requests per second of the web server over HTTPS, beside nginx
    Web(WebArgs),
}

#[derive(Clone, Default, clap::Args)]
struct LabArgs {
    /// How long each measurement takes
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<String>,

    /// How many connections there are at a time
    #[arg(long, value_name = "N")]
    connections: Option<String>,

    /// Measure only these: direct, headgate, haproxy, nftables
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,
}

#[derive(Clone, Default, clap::Args)]
struct DbArgs {
    /// How long each measurement takes
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<String>,

    /// How many readers there are at a time
    #[arg(long, value_name = "N")]
    readers: Option<String>,
}

#[derive(Clone, Default, clap::Args)]
struct FailoverArgs {
    /// Measure only these: host_dead, kill9, freeze, link_cut, channel_cut, partition_heal, switch,
    /// restart, spurious, survive
    #[arg(long, value_name = "FAULT,…")]
    only: Option<String>,

    /// Measure only these: headgate, keepalived
    #[arg(long, value_name = "NAME,…")]
    peers: Option<String>,

    /// How long to wait for takeovers without a fault
    #[arg(long, value_name = "N")]
    spurious_seconds: Option<String>,

    /// Draw the outages to this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<String>,

    /// Copy the logs of the daemons to this directory
    #[arg(long, value_name = "DIR")]
    logs: Option<String>,
}

#[derive(Clone, Default, clap::Args)]
struct WebArgs {
    /// How long each measurement takes
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<String>,

    /// How many connections there are at a time
    #[arg(long, value_name = "N")]
    connections: Option<String>,

    /// Threads of the client, of each server and of the app server; as many as processors unless
    /// given
    #[arg(long, value_name = "N")]
    threads: Option<String>,

    /// Measure only these: keep_10k, keep_small, new_tls, gateway
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,
}

impl Bench {
    /// All but the one that takes more than an hour.
    fn all() -> Vec<Self> {
        vec![
            Self::Dataplane,
            Self::Lab(LabArgs::default()),
            Self::Apply,
            Self::Web(WebArgs::default()),
            Self::Db(DbArgs::default()),
        ]
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Dataplane => "dataplane",
            Self::Lab(_) => "lab",
            Self::Apply => "apply",
            Self::Db(_) => "db",
            Self::Failover(_) => "failover",
            Self::Web(_) => "web",
        }
    }

    /// Its own options, as the benchmark itself wants them.
    fn passed_on(&self) -> Vec<&str> {
        let options = match self {
            Self::Dataplane | Self::Apply => Vec::new(),
            Self::Lab(args) => vec![
                ("--seconds", &args.seconds),
                ("--connections", &args.connections),
                ("--only", &args.only),
            ],
            Self::Db(args) => vec![("--seconds", &args.seconds), ("--readers", &args.readers)],
            Self::Failover(args) => vec![
                ("--only", &args.only),
                ("--peers", &args.peers),
                ("--spurious-seconds", &args.spurious_seconds),
                ("--svg", &args.svg),
                ("--logs", &args.logs),
            ],
            Self::Web(args) => vec![
                ("--seconds", &args.seconds),
                ("--connections", &args.connections),
                ("--threads", &args.threads),
                ("--only", &args.only),
            ],
        };
        options
            .into_iter()
            .filter_map(|(option, value)| Some([option, value.as_deref()?]))
            .flatten()
            .collect()
    }
}

pub(crate) fn run(args: Args) -> Result<()> {
    ensure!(
        Uid::effective().is_root(),
        "the benchmarks make network namespaces and load XDP programs: run them as root"
    );
    set_up()?;
    programs::build()?;
    let benches = args.bench.map_or_else(Bench::all, |bench| vec![bench]);
    // From here on an interruption is the benchmark's to obey: it has something to clean up.
    kit::interrupt::catch()?;
    for bench in &benches {
        let mut command = Command::new(build(bench.name())?);
        if args.json {
            command.arg("--json");
        } else if benches.len() > 1 {
            println!("==> {}", bench.name());
        }
        if let Some(rounds) = args.rounds {
            command.args(["--rounds", &rounds.to_string()]);
        }
        command.args(bench.passed_on());
        let status = wait_for(command)?;
        if !status.success() {
            bail!("the benchmark {} did not end well ({status})", bench.name());
        }
    }
    Ok(())
}

/// Sets up as `cargo xtask setup` does. It says so on standard error, because standard output is
/// for the figures.
fn set_up() -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .arg("setup")
        .stdout(io::stderr())
        .status()
        .context("failed to start the set-up")?;
    ensure!(status.success(), "set-up failed: see its messages above");
    Ok(())
}

/// Builds a benchmark; returns where it is.
fn build(name: &str) -> Result<PathBuf> {
    let output = crate::cargo()
        .args(["bench", "--package", "headgate-tests", "--bench", name])
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo: is it on the PATH?")?;
    ensure!(
        output.status.success(),
        "failed to build the benchmark {name}: see the compiler's messages above"
    );
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("cargo does not say where it put the benchmark {name}"))
}

/// Finds the executable of a target in what cargo says, one JSON object in a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// Runs a benchmark to its end, and passes an interruption on to it: it may have come to us alone.
fn wait_for(mut command: Command) -> Result<ExitStatus> {
    const LOOK: Duration = Duration::from_millis(50);
    let mut child = command.spawn().context("failed to start the benchmark")?;
    let pid = i32::try_from(child.id()).context("a pid that is none")?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if kit::interrupt::arrived() && !told {
            // If it has ended meanwhile, there is nobody to tell.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            told = true;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_benchmark_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kit"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lab"},"executable":"/x/lab-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "lab"), Some(PathBuf::from("/x/lab-1")));
        assert_eq!(executable(messages, "kit"), None);
    }
}
