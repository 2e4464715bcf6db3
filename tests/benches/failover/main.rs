//! `cargo xtask bench failover`: how long users notice what happens to one of two load balancers.
//!
//! One lab, one client, the same web servers, and two hosts that are in turn a pair of Headgate's
//! and one of keepalived's with HAProxy. In each round every fault happens once to each of them,
//! while a [prober](kit::probe) begins a connection every millisecond and [users](users) are patient.
//! After that, all is brought back to how it was, which is not measured.

mod contender;
mod faults;
mod flows;
mod plot;
mod spurious;
mod survive;
mod table;
mod users;

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use kit::figures::{Bound, Figures, Unit, median, quantile};
use kit::lab::Lab;
use kit::layout::Balancer::{First, Second};
use kit::probe::Prober;

use contender::{Contender, Pair, Peer, Setting};
use faults::Fault;
use support::{Options, Progress, go_on};
use survive::{Share, Survived};
use users::{Errors, Fate, Users};

/// Rounds, unless told.
const ROUNDS: u32 = 20;
/// Web servers.
pub(crate) const WEBS: u8 = 3;
/// Of flows that survive, at most: they differ little, and there are many of them.
const SURVIVE_ROUNDS: u32 = 3;
/// Whose flows are to survive.
const SURVIVOR: Contender = Contender::ALL[0];
/// How long an outage is waited for to end.
const LONGEST: Duration = Duration::from_secs(30);

/// How long users notice what happens to one of two load balancers.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    options: Options,

    /// Only these faults, takeovers without one (spurious), or what survives one (survive)
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    only: Vec<Part>,

    /// Measure only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    peers: Vec<Peer>,

    /// How long to wait for takeovers without a fault; 600 and 240 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    spurious_seconds: Option<u64>,

    /// Draw the outages to this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Copy the logs of the daemons to this directory at the end, with the times of all faults
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

/// Something that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Fault(Fault),
    Spurious,
    Survive,
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Part; 10] = {
            let mut all = [Part::Spurious; 10];
            let mut index = 0;
            while index < Fault::ALL.len() {
                all[index] = Part::Fault(Fault::ALL[index]);
                index += 1;
            }
            all[index] = Part::Survive;
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Fault(fault) => fault.name(),
            Self::Spurious => "spurious",
            Self::Survive => "survive",
        }))
    }
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn rounds(&self) -> u32 {
        self.options.rounds.unwrap_or(ROUNDS)
    }

    fn survive_rounds(&self) -> u32 {
        self.rounds().min(SURVIVE_ROUNDS)
    }

    fn contenders(&self) -> Vec<Contender> {
        let wanted = |it: &Contender| self.peers.is_empty() || self.peers.contains(&it.peer);
        Contender::ALL.into_iter().filter(wanted).collect()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Web servers with a thread each, as hosts with one processor have: many more threads than
    // there are processors here would measure the scheduler.
    // SAFETY: this is the only thread yet.
    unsafe { std::env::set_var("TOKIO_WORKER_THREADS", "1") };
    support::run(&args.options, || measure(&args))
}

/// What one fault did, once.
pub(crate) struct Outcome {
    /// `None`: something did not come about that was to be measured.
    pub(crate) outage: Option<Outage>,
    /// Of users, who were there in any case.
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
}

/// Milliseconds in which a fault was noticed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    /// In which no connection was established.
    pub(crate) unconnected: f64,
    /// In which none was answered.
    pub(crate) unanswered: f64,
}

/// Those of the rounds in which there was something to be measured.
pub(crate) fn outages(outcomes: &[Outcome]) -> impl Iterator<Item = Outage> {
    outcomes.iter().filter_map(|it| it.outage)
}

/// What was found of a contender.
pub(crate) struct Found {
    pub(crate) contender: Contender,
    /// By the fault, one for each round in which it was tried.
    pub(crate) outcomes: Vec<(Fault, Vec<Outcome>)>,
    /// Takeovers without a fault, and in how many seconds.
    pub(crate) spurious: Option<(u64, u64)>,
    /// What survived a dead host, one for each round.
    pub(crate) survived: Vec<Survived>,
    /// How often there was nothing to be measured.
    pub(crate) errors: u64,
}

fn measure(args: &Args) -> Result<Figures> {
    let contenders = args.contenders();
    contenders.iter().try_for_each(|it| it.check())?;
    raise_limit()?;

    let mut lab = Lab::builder(support::programs()?)
        .webs(WEBS)
        .pair()
        .build()?;
    // As a product runs: the lab's own settings make it hurry, for tests.
    lab.config.interval = "2s".to_owned();
    lab.config.timeout = "1s".to_owned();
    lab.config.idle_timeout = "300s".to_owned();
    lab.config.tables = contender::echo_service();
    // What the machine has set may pace packets by timers. This one is always there, and does not.
    for namespace in lab.layout().namespaces() {
        namespace.sysctl(&[("ipv4/tcp_congestion_control", "reno")])?;
    }
    lab.start_webs()?;

    let mut progress = Progress::new();
    let mut found: Vec<Found> = contenders
        .into_iter()
        .map(|it| Found::of(it, args))
        .collect();
    let measured = rounds(args, &mut lab, &mut found, &mut progress)
        .and_then(|()| count_survivors(args, &mut lab, &mut found, &mut progress))
        .and_then(|()| wait_for_takeovers(args, &mut lab, &mut found, &mut progress));
    progress.end();
    if let Some(directory) = &args.logs {
        save_logs(&lab, directory)?;
    }
    measured?;
    if let Some(file) = &args.svg {
        std::fs::write(file, plot::of(&found))
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(figures(&found, args))
}

impl Found {
    fn of(contender: Contender, args: &Args) -> Self {
        let faults = Fault::ALL.into_iter();
        let outcomes = faults
            .filter(|fault| args.wants(Part::Fault(*fault)) && fault.concerns(contender.peer))
            .map(|fault| (fault, Vec::new()));
        Self {
            contender,
            outcomes: outcomes.collect(),
            spurious: None,
            survived: Vec::new(),
            errors: 0,
        }
    }
}

/// Every fault, once for each contender in each round.
fn rounds(args: &Args, lab: &mut Lab, found: &mut [Found], progress: &mut Progress) -> Result<()> {
    let rounds = args.rounds();
    for round in 1..=rounds {
        for Found {
            contender,
            outcomes,
            errors,
            ..
        } in &mut *found
        {
            if outcomes.is_empty() {
                continue;
            }
            let wanted = format!("round {round} of {rounds}, {}", contender.name());
            let mut pair = try_start(lab, *contender, &wanted)?;
            for (fault, outcomes) in outcomes {
                let what = format!("{wanted}, {}", fault.name());
                progress.step(&what);
                // One that did not start is not measured in this round.
                let Some(at) = &mut pair else {
                    *errors += 1;
                    continue;
                };
                let Round { seen, fate } = once(at, *fault);
                let outcome = Outcome {
                    outage: seen.as_ref().ok().copied(),
                    requests: fate.requests,
                    failed: fate.failed.values().sum(),
                    lost: fate.lost.values().sum(),
                };
                let wrong = in_words([&fate.failed, &fate.lost]);
                progress.note(&format!("{what}: {}{wrong}", table::sentence(&outcome)));
                outcomes.push(outcome);
                if let Err(error) = seen {
                    complain(&what, &error)?;
                    *errors += 1;
                    if let Some(pair) = pair.take() {
                        pair.stop()?;
                    }
                    pair = try_start(lab, *contender, &wanted)?;
                }
            }
            if let Some(pair) = pair {
                pair.stop()?;
            }
        }
    }
    Ok(())
}

/// Tells of what was to be measured, and goes on unless the run is to end.
fn complain(what: &str, error: &anyhow::Error) -> Result<()> {
    go_on()?;
    eprintln!("\nERROR: {what}: {error:#}");
    Ok(())
}

/// A contender that is in place, or `None`: then it is told why not.
fn try_start<'lab>(
    lab: &'lab mut Lab,
    contender: Contender,
    what: &str,
) -> Result<Option<Pair<'lab>>> {
    match Pair::start(lab, contender).context("it did not start") {
        Ok(pair) => Ok(Some(pair)),
        Err(error) => complain(what, &error).map(|()| None),
    }
}

/// What came of a fault.
struct Round {
    /// Or why there was nothing to be measured.
    seen: Result<Outage>,
    /// What became of users until then.
    fate: Fate,
}

/// Lets a fault happen, and undoes it.
fn once(pair: &mut Pair<'_>, fault: Fault) -> Round {
    let mut fate = Fate::default();
    let seen = attempt(pair, fault, &mut fate);
    Round { seen, fate }
}

fn attempt(pair: &mut Pair<'_>, fault: Fault, fate: &mut Fate) -> Result<Outage> {
    fault.prepare(pair).context("before")?;
    let noticed = fault.noticed(pair)?;
    let users = Users::start(&pair.lab.client())?;
    let seen = happen(pair, fault, &users);
    // What users are waiting for now, the prober may not have noticed yet. And whatever came of the
    // fault, they were there.
    *fate = users.stop()?;
    let (prober, begin) = seen?;
    prober.wait_until_well(LONGEST)?;
    let seen = prober.stop(begin)?;
    fault.ensure_happened(pair, noticed)?;
    fault.mend(pair).context("afterwards")?;
    Ok(Outage {
        unconnected: milliseconds(seen.unconnected),
        unanswered: milliseconds(seen.unanswered),
    })
}

/// From before it until all is well again; returns who looks, and when it began.
fn happen(pair: &mut Pair<'_>, fault: Fault, users: &Users) -> Result<(Prober, Instant)> {
    users.wait_until_served()?;
    let prober = Prober::start(&pair.lab.client())?;
    prober.wait_until_well(LONGEST)?;
    let begin = Instant::now();
    fault.happen(pair)?;
    prober.wait_until_well(LONGEST)?;
    Ok((prober, begin))
}

/// What went wrong, and how often.
fn in_words(errors: [&Errors; 2]) -> String {
    let errors = errors.into_iter().flatten();
    errors
        .map(|(what, count)| format!("; {count} x {what}"))
        .collect()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Counts the connections that survive a dead host, where any are meant to.
fn count_survivors(
    args: &Args,
    lab: &mut Lab,
    found: &mut [Found],
    progress: &mut Progress,
) -> Result<()> {
    let as_usual = SURVIVOR;
    let found = found.iter_mut().find(|found| found.contender == as_usual);
    let Some(found) = found.filter(|_| args.wants(Part::Survive)) else {
        return Ok(());
    };
    let rounds = args.survive_rounds();
    for round in 1..=rounds {
        let what = format!("round {round} of {rounds}, {}, survive", as_usual.name());
        progress.step(&what);
        let Some(mut pair) = try_start(lab, as_usual, &what)? else {
            found.errors += 1;
            continue;
        };
        let survived = survive::survivors(&mut pair);
        pair.stop()?;
        let survived = match survived {
            Ok(survived) => survived,
            Err(error) => {
                complain(&what, &error)?;
                found.errors += 1;
                continue;
            }
        };
        let [stateless, tracked] = [survived.stateless, survived.tracked].map(table::share);
        progress.note(&format!(
            "{what}: {stateless} stateless, {tracked} recorded"
        ));
        found.survived.push(survived);
    }
    Ok(())
}

/// Watches each contender among busy threads.
fn wait_for_takeovers(
    args: &Args,
    lab: &mut Lab,
    found: &mut [Found],
    progress: &mut Progress,
) -> Result<()> {
    if !args.wants(Part::Spurious) {
        return Ok(());
    }
    for found in found {
        let contender = found.contender;
        let seconds = args.spurious_seconds.unwrap_or(match contender.setting {
            Setting::Default => 600,
            Setting::Fast => 240,
        });
        let what = format!("{}, busy processors for {seconds} s", contender.name());
        progress.step(&what);
        let Some(pair) = try_start(lab, contender, &what)? else {
            found.errors += 1;
            continue;
        };
        let takeovers = spurious::takeovers(&pair, Duration::from_secs(seconds));
        pair.stop()?;
        let takeovers = match takeovers {
            Ok(takeovers) => takeovers,
            Err(error) => {
                complain(&what, &error)?;
                found.errors += 1;
                continue;
            }
        };
        progress.note(&format!("{what}: {takeovers} takeovers"));
        found.spurious = Some((takeovers, seconds));
    }
    Ok(())
}

fn figures(found: &[Found], args: &Args) -> Figures {
    let mut figures = Figures::of("failover");
    for found in found {
        let prefix = found.contender.prefix();
        for (fault, outcomes) in &found.outcomes {
            let fault = fault.name();
            let measured = outages(outcomes).count();
            figures.add(
                format!("{prefix}rounds.{fault}"),
                measured as f64,
                Unit::Count,
            );
            for (what, of) in [
                ("outage_ms", (|it| it.unconnected) as fn(Outage) -> f64),
                ("unanswered_ms", |it| it.unanswered),
            ] {
                let values: Vec<f64> = outages(outcomes).map(of).collect();
                if values.is_empty() {
                    continue;
                }
                for (statistic, value) in [
                    ("median", median(&values)),
                    ("p95", quantile(&values, 0.95)),
                    ("max", quantile(&values, 1.0)),
                ] {
                    let name = format!("{prefix}{what}.{fault}.{statistic}");
                    figures.add(name, value, Unit::Milliseconds);
                }
            }
            for (what, of) in [
                ("requests", (|it| it.requests) as fn(&Outcome) -> u64),
                ("failed_requests", |it| it.failed),
                ("lost_connections", |it| it.lost),
            ] {
                let sum: u64 = outcomes.iter().map(of).sum();
                figures.add(format!("{prefix}{what}.{fault}"), sum as f64, Unit::Count);
            }
        }
        figures.add(format!("{prefix}errors"), found.errors as f64, Unit::Count);
        if let Some((takeovers, _)) = found.spurious {
            figures.add(
                spurious_name(found.contender),
                takeovers as f64,
                Unit::Count,
            );
        }
        if found.contender == SURVIVOR && args.wants(Part::Survive) {
            let rounds = found.survived.len() as f64;
            figures.add(format!("{prefix}survive.rounds"), rounds, Unit::Count);
        }
        for (what, of) in [
            ("stateless", (|it| it.stateless) as fn(&Survived) -> Share),
            ("tracked", |it| it.tracked),
        ] {
            let shares: Vec<f64> = found.survived.iter().map(of).map(Share::percent).collect();
            if !shares.is_empty() {
                let least = quantile(&shares, 0.0);
                figures.add(format!("{prefix}survive.{what}"), least, Unit::Percent);
            }
        }
        if found.contender.peer == Peer::Headgate {
            targets(found, args, &mut figures);
        }
    }
    figures.show_as(table::of(found));
    figures
}

fn spurious_name(contender: Contender) -> String {
    let peer = match contender.peer {
        Peer::Headgate => "",
        Peer::Keepalived => "keepalived.",
    };
    let setting = match contender.setting {
        Setting::Default => "default",
        Setting::Fast => "fast",
    };
    format!("{peer}spurious.{setting}")
}

/// What is wanted: that all was measured that was asked for, and of what was measured.
fn targets(found: &Found, args: &Args, figures: &mut Figures) {
    let prefix = found.contender.prefix();
    let (median, max) = match found.contender.setting {
        Setting::Default => (170.0, 220.0),
        Setting::Fast => (35.0, 60.0),
    };
    figures.target(format!("{prefix}errors"), Bound::AtMost(0.0));
    let rounds = args.rounds();
    for (fault, _) in &found.outcomes {
        let name = |what: &str| format!("{prefix}{what}.{}", fault.name());
        figures.target(name("rounds"), Bound::AtLeast(f64::from(rounds)));
        let outage = |statistic| format!("{}.{statistic}", name("outage_ms"));
        match fault {
            Fault::HostDead | Fault::Kill9 | Fault::Freeze | Fault::LinkCut => {
                figures.target(outage("median"), Bound::AtMost(median));
                figures.target(outage("max"), Bound::AtMost(max));
            }
            Fault::PartitionHeal => figures.target(outage("max"), Bound::AtMost(60.0)),
            Fault::Switch | Fault::Restart | Fault::ChannelCut => {
                figures.target(name("failed_requests"), Bound::AtMost(0.0));
                figures.target(name("lost_connections"), Bound::AtMost(0.0));
            }
        }
    }
    if found.contender == SURVIVOR && args.wants(Part::Survive) {
        let rounds = f64::from(args.survive_rounds());
        figures.target("survive.rounds", Bound::AtLeast(rounds));
        figures.target("survive.stateless", Bound::AtLeast(100.0));
        figures.target("survive.tracked", Bound::AtLeast(99.9));
    }
    if args.wants(Part::Spurious) {
        figures.target(spurious_name(found.contender), Bound::AtMost(0.0));
    }
}

/// An outage of some seconds leaves more connections open than a process may usually have.
fn raise_limit() -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointers are to live memory of the type that the calls ask for.
    let result = unsafe {
        match libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) {
            0 => {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
            }
            error => error,
        }
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("failed to allow more open files");
    }
    Ok(())
}

fn save_logs(lab: &Lab, directory: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    for balancer in [First, Second] {
        for name in [balancer.lbd(), balancer.keepalived()] {
            let (from, to) = (
                lab.layout().log(name),
                directory.join(format!("{name}.log")),
            );
            if from.exists() {
                std::fs::copy(&from, &to)
                    .with_context(|| format!("failed to write {}", to.display()))?;
            }
        }
    }
    Ok(())
}
