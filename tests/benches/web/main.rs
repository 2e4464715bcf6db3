//! `cargo xtask bench web`: the web server beside nginx, on the same files and for the same app
//! server, both over TLS 1.3 with the same certificate.
//!
//! Both run on one host of a lab, with as many threads as it has processors, log every request, set
//! limits and send the same headers. They are measured in turn, in an order that changes with each
//! round, by the same client over the loopback interface. Client and server use all processors up,
//! so the rate tells what both take for a request; what the server takes is counted beside. Where
//! other programs take a good part of the processors' time, `others_percent`, rates tell little.

mod app;
mod browser;
mod contender;
mod ground;
mod nginx;
mod processors;
mod scenario;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kit::figures::{Bound, Figures, Unit, median};

use browser::Browser;
use contender::{Contender, Server};
use ground::Ground;
use scenario::Scenario;
use support::load::Load;
use support::{Options, Progress, installed, pause};

/// Rounds, unless told.
const ROUNDS: u32 = 7;
/// What runs at the start of a measurement, and does not count.
const WARM_UP: Duration = Duration::from_millis(500);
/// What other programs may take of the processors' time, in percent, for rates to tell something.
const QUIET: f64 = 5.0;
/// What is wanted.
const TARGETS: [(&str, Bound); 6] = [
    ("ratio.keep_10k", Bound::AtLeast(1.0)),
    ("cpu_ratio.keep_10k", Bound::AtMost(0.85)),
    ("ratio.new_tls", Bound::AtLeast(0.95)),
    ("ratio.gateway", Bound::AtLeast(0.9)),
    ("errors.headgate", Bound::AtMost(0.0)),
    ("others_percent", Bound::AtMost(QUIET)),
];

/// Requests per second of the web server, and of nginx.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    options: Options,

    /// How long each measurement takes
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = seconds)]
    seconds: Duration,

    /// How many connections there are at a time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = at_least_one)]
    connections: usize,

    /// Threads of the client, of each server and of the app server; as many as processors unless
    /// given
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,

    /// Measure only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Scenario>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(&args.options, || measure(&args))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn at_least_one(text: &str) -> Result<usize> {
    let number: usize = text.parse()?;
    ensure!(number > 0, "it takes one at least");
    Ok(number)
}

/// What was found of a server in a scenario: a value of each round.
#[derive(Default)]
struct Found {
    rps: Vec<f64>,
    /// Microseconds of the server's for a request.
    cpu_us: Vec<f64>,
    /// Of the processors' time, what went to programs that are not measured.
    others_percent: Vec<f64>,
    errors: u64,
}

/// What was found in a scenario.
struct Compared {
    scenario: Scenario,
    headgate: Found,
    nginx: Found,
}

fn measure(args: &Args) -> Result<Figures> {
    let rounds = args.options.rounds.unwrap_or(ROUNDS);
    let threads = args.threads.unwrap_or_else(processors::count);
    let scenarios = match &args.only[..] {
        [] => &Scenario::ALL[..],
        only => only,
    };
    installed("nginx")?;

    let ground = Ground::make(threads)?;
    let headgate = Server::headgate(&ground, threads)?;
    let nginx = Server::nginx(&ground, threads, &headgate)?;

    let mut progress = Progress::new();
    let mut compared: Vec<_> = scenarios
        .iter()
        .map(|&scenario| Compared {
            scenario,
            headgate: Found::default(),
            nginx: Found::default(),
        })
        .collect();
    for round in 1..=rounds {
        for each in &mut compared {
            let name = each.scenario.name();
            progress.step(&format!("round {round} of {rounds}: {name}"));
            let mut turns = [(&headgate, &mut each.headgate), (&nginx, &mut each.nginx)];
            if round % 2 == 0 {
                turns.reverse();
            }
            for (server, found) in turns {
                found
                    .measure(&ground, server, each.scenario, threads, args)
                    .with_context(|| format!("{name} of {}", server.contender.name()))?;
            }
            progress.note(&each.latest());
        }
    }
    progress.end();
    Ok(figures(&compared))
}

impl Found {
    fn measure(
        &mut self,
        ground: &Ground,
        server: &Server,
        scenario: Scenario,
        threads: usize,
        args: &Args,
    ) -> Result<()> {
        server.empty_log()?;
        let browser = Browser::new(server.address, &ground.identity.cert, scenario)?;
        let load = Load::start(&ground.host, threads, &browser, args.connections)?;
        pause(WARM_UP)?;
        let (start, before) = (Instant::now(), load.answers());
        let (server_before, others_before) = taken(server)?;
        pause(args.seconds)?;
        let (took, after) = (start.elapsed(), load.answers());
        let (server_after, others_after) = taken(server)?;
        let (answers, errors) = load.stop()?;
        let counted = (after - before) as f64;
        self.rps.push(counted / took.as_secs_f64());
        let cpu = server_after
            .checked_sub(server_before)
            .context("a process of the server has ended")?;
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / counted);
        let there_was = took.mul_f64(processors::count() as f64);
        let others = others_after.saturating_sub(others_before);
        self.others_percent
            .push(others.as_secs_f64() / there_was.as_secs_f64() * 100.0);
        for (what, count) in errors {
            let (name, scenario) = (server.contender.name(), scenario.name());
            eprintln!("\nERRORS: {name}, {scenario}: {count} x {what}");
            self.errors += count;
        }
        // One that does not log what it answers has been given less to do.
        server.wait_for_log(answers)?;
        server.empty_log()
    }
}

/// The processors' time that a server has taken, and all that is not measured.
fn taken(server: &Server) -> Result<(Duration, Duration)> {
    let (everybody, own, server) = (processors::everybody()?, processors::own()?, server.cpu()?);
    Ok((server, everybody.saturating_sub(own + server)))
}

impl Compared {
    fn both(&self) -> [(&'static str, &Found); 2] {
        [
            (Contender::Headgate.name(), &self.headgate),
            (Contender::Nginx.name(), &self.nginx),
        ]
    }

    /// How many times nginx's rate, in each round.
    fn ratios(&self) -> Vec<f64> {
        ratios(&self.headgate.rps, &self.nginx.rps)
    }

    /// How many times nginx's time for a request, in each round.
    fn cpu_ratios(&self) -> Vec<f64> {
        ratios(&self.headgate.cpu_us, &self.nginx.cpu_us)
    }

    /// What the latest round found.
    fn latest(&self) -> String {
        let last = |values: Vec<f64>| values.last().copied().unwrap_or(f64::NAN);
        format!(
            "{}: {:.3} x nginx's rate at {:.3} x its processors' time",
            self.scenario.name(),
            last(self.ratios()),
            last(self.cpu_ratios())
        )
    }
}

fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    let pairs = these.iter().zip(those);
    pairs.map(|(this, that)| this / that).collect()
}

fn figures(compared: &[Compared]) -> Figures {
    let mut figures = Figures::of("web");
    for each in compared {
        let name = format!("ratio.{}", each.scenario.name());
        figures.add(name, median(&each.ratios()), Unit::Ratio);
    }
    for each in compared {
        let name = format!("cpu_ratio.{}", each.scenario.name());
        figures.add(name, median(&each.cpu_ratios()), Unit::Ratio);
    }
    for each in compared {
        for (who, found) in each.both() {
            let name = format!("{}_rps.{who}", each.scenario.name());
            figures.add(name, median(&found.rps), Unit::PerSecond);
        }
    }
    for each in compared {
        for (who, found) in each.both() {
            let name = format!("{}_cpu_us.{who}", each.scenario.name());
            figures.add(name, median(&found.cpu_us), Unit::Microseconds);
        }
    }
    for contender in [Contender::Headgate, Contender::Nginx] {
        let name = contender.name();
        let found = compared.iter().flat_map(Compared::both);
        let errors: u64 = found
            .filter(|(who, _)| *who == name)
            .map(|(_, found)| found.errors)
            .sum();
        figures.add(format!("errors.{name}"), errors as f64, Unit::Count);
    }
    let others: Vec<f64> = compared
        .iter()
        .flat_map(Compared::both)
        .flat_map(|(_, found)| found.others_percent.iter().copied())
        .collect();
    let others = median(&others);
    figures.add("others_percent", others, Unit::Percent);
    if others > QUIET {
        eprintln!(
            "INVALID: other programs took {others:.0} % of the processors' time, and the rates are \
             theirs as well: measure again on a machine that does nothing else"
        );
    }
    for (figure, bound) in TARGETS {
        figures.target(figure, bound);
    }
    figures
}
