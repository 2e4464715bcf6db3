//! `cargo xtask bench lab`: requests per second through Headgate, and through others in its place.
//!
//! One lab, one client, the same web servers. The contenders take turns on the same host: in each
//! round every one of them is started, measured with connections that are kept and with one
//! connection for each request, and taken away again, so that none of them is in another's way.

mod contender;
mod load;

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kit::figures::{Bound, Figures, Unit, median};
use kit::http;
use kit::lab::Lab;
use kit::wait;

use contender::Contender;
use load::{Asking, PATH};
use support::load::{Connections, Load};
use support::{Options, Progress, pause};

/// Rounds, unless told.
const ROUNDS: u32 = 5;
/// Web servers.
pub(crate) const WEBS: u8 = 3;
/// Threads of the client, each with its share of the connections.
const THREADS: usize = 2;
/// What runs at the start of a measurement, and does not count.
const WARM_UP: Duration = Duration::from_millis(300);

/// Requests per second through Headgate, HAProxy and nftables.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    options: Options,

    /// How long each measurement takes
    #[arg(long, default_value = "0.8", value_name = "SECONDS", value_parser = seconds)]
    seconds: Duration,

    /// How many connections there are at a time
    #[arg(long, default_value_t = 16, value_name = "N")]
    connections: usize,

    /// Measure only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Contender>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Web servers with a thread each, as hosts with one processor have: many more threads than
    // there are processors here would measure the scheduler.
    // SAFETY: this is the only thread yet.
    unsafe { std::env::set_var("TOKIO_WORKER_THREADS", "1") };
    support::run(&args.options, || measure(&args))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// What was found of a contender.
#[derive(Default)]
struct Found {
    /// Of each round.
    keep_rps: Vec<f64>,
    close_rps: Vec<f64>,
    errors: u64,
}

fn measure(args: &Args) -> Result<Figures> {
    let rounds = args.options.rounds.unwrap_or(ROUNDS);
    let contenders = match &args.only[..] {
        [] => &Contender::ALL[..],
        only => only,
    };
    contenders.iter().try_for_each(|c| c.check())?;

    let mut lab = Lab::builder(support::programs()?).webs(WEBS).build()?;
    // As a product runs: the lab's own settings make it hurry, for tests.
    lab.config.interval = "2s".to_owned();
    lab.config.timeout = "1s".to_owned();
    lab.config.idle_timeout = "300s".to_owned();
    lab.write_config()?;
    // What the machine has set may pace packets by timers. This one is always there, and does not.
    for namespace in lab.layout().namespaces() {
        namespace.sysctl(&[("ipv4/tcp_congestion_control", "reno")])?;
    }
    lab.start_webs()?;

    let mut progress = Progress::new();
    let mut found: Vec<_> = contenders
        .iter()
        .map(|contender| (*contender, Found::default()))
        .collect();
    for round in 1..=rounds {
        for (contender, found) in &mut found {
            let name = contender.name();
            progress.step(&format!("round {round} of {rounds}: {name}"));
            let running = contender
                .start(&mut lab)
                .with_context(|| format!("failed to start {name}"))?;
            wait_for_answers(&lab, *contender)?;
            for connections in [Connections::Kept, Connections::Closed] {
                found.measure(&lab, *contender, connections, args)?;
            }
            running
                .stop(&mut lab)
                .with_context(|| format!("failed to stop {name}"))?;
        }
    }
    progress.end();
    Ok(figures(&found))
}

/// Waits until every address answers, and all web servers do.
fn wait_for_answers(lab: &Lab, contender: Contender) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let targets = contender.targets();
    let client = lab.client();
    let mut heard = BTreeSet::new();
    wait::wait_for(PATIENCE, &format!("{} to work", contender.name()), || {
        for &target in &targets {
            let answer = client.run(move || http::get(target, PATH, Duration::from_secs(1)))??;
            heard.extend(answer.served_by);
        }
        ensure!(heard.len() == usize::from(WEBS), "only {heard:?} answer");
        Ok(())
    })
}

impl Found {
    fn measure(
        &mut self,
        lab: &Lab,
        contender: Contender,
        connections: Connections,
        args: &Args,
    ) -> Result<()> {
        let asking = Asking {
            targets: contender.targets().into(),
            connections,
        };
        let load = Load::start(&lab.client(), THREADS, &asking, args.connections)?;
        pause(WARM_UP)?;
        let (start, before) = (Instant::now(), load.answers());
        pause(args.seconds)?;
        let (took, after) = (start.elapsed(), load.answers());
        let rate = (after - before) as f64 / took.as_secs_f64();
        match connections {
            Connections::Kept => self.keep_rps.push(rate),
            Connections::Closed => self.close_rps.push(rate),
        }
        let (_, errors) = load.stop()?;
        for (what, count) in errors {
            eprintln!(
                "\nERRORS: {}, {connections:?} connections: {count} x {what}",
                contender.name()
            );
            self.errors += count;
        }
        Ok(())
    }
}

fn figures(found: &[(Contender, Found)]) -> Figures {
    let mut figures = Figures::of("lab");
    let keep = found
        .iter()
        .map(|(who, found)| (*who, median(&found.keep_rps)));
    let close = found
        .iter()
        .map(|(who, found)| (*who, median(&found.close_rps)));
    let (keep, close): (Vec<_>, Vec<_>) = (keep.collect(), close.collect());
    for (kind, rates) in [("keep", &keep), ("close", &close)] {
        for (contender, rate) in rates {
            let name = format!("{kind}_rps.{}", contender.name());
            let basis = format!("{kind}_rps.haproxy");
            figures.add_beside(name, *rate, Unit::PerSecond, &basis);
        }
    }
    for (kind, rates) in [("keep", &keep), ("close", &close)] {
        for (contender, added) in added(rates) {
            let name = format!("{kind}_added_us.{}", contender.name());
            figures.add(name, added, Unit::Microseconds);
        }
    }
    for (contender, found) in found {
        let name = format!("errors.{}", contender.name());
        figures.add(name, found.errors as f64, Unit::Count);
    }
    for (headgate, haproxy, nftables) in [
        ("keep_rps.headgate", "keep_rps.haproxy", "keep_rps.nftables"),
        (
            "close_rps.headgate",
            "close_rps.haproxy",
            "close_rps.nftables",
        ),
    ] {
        figures.target(headgate, Bound::AtLeastTimes(1.7, haproxy));
        figures.target(headgate, Bound::AtLeastTimes(1.0, nftables));
    }
    figures
}

/// What a balancer adds to the processors' time for a request, in microseconds: what one takes
/// through it, less what one takes without it. All processors are busy all the time, so a request
/// takes as much of their time as there is, divided by the requests.
fn added(rates: &[(Contender, f64)]) -> Vec<(Contender, f64)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let takes = |rate: f64| processors / rate * 1e6;
    let direct = rates.iter().find(|(who, _)| *who == Contender::Direct);
    let Some(&(_, direct)) = direct else {
        return Vec::new();
    };
    rates
        .iter()
        .filter(|(who, _)| *who != Contender::Direct)
        .map(|&(who, rate)| (who, takes(rate) - takes(direct)))
        .collect()
}
