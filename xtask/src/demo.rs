//! `cargo xtask demo`: a whole site at work, then its load balancers alone under more load, and what
//! users notice when things break.

mod balancers;
mod load;
mod report;
mod site;
mod transfer;
mod webs;

use std::net::SocketAddr;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kit::interrupt;
use kit::lab::{Lab, Programs};
use kit::layout::{VIP, web_name};

use crate::lab;
use load::Load;
use report::Report;

/// How many web servers the story is about.
const WEBS: u8 = 3;
/// How many seconds a whole site may take to start.
const START_MAX: f64 = 60.0;
/// How long lbd may take to notice something.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the site running afterwards, and print its address and commands to explore it
    #[arg(long)]
    keep: bool,

    /// How long each phase lasts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// The lab's name
    #[arg(long, default_value = "demo")]
    name: String,
}

/// The number of the signal; shells add it to 128.
const SIGINT: i32 = 2;

pub(crate) fn run(args: Args) -> Result<()> {
    let plain = format!("{}_plain", args.name);
    for name in [&args.name, &plain] {
        lab::ensure_free(name)?;
    }
    let programs = lab::programs()?;
    // From here on there is something to clean up when the user has seen enough.
    interrupt::catch()?;
    let mut report = Report::new((1..=WEBS).map(web_name).collect());

    let shown = show_site(&args, programs.clone(), &mut report)
        .and_then(|site| show_balancers(&args, &plain, programs, &mut report).map(|()| site))
        .and_then(|site| finish(site, &report));
    // The lab is gone by now; an interruption is the user's wish, not an error to explain.
    if shown.is_err() {
        // It may have been in the middle of a row.
        println!();
    }
    if shown.is_err() && interrupt::arrived() {
        println!("interrupted; the lab is removed");
        process::exit(128 + SIGINT);
    }
    shown
}

/// The whole site. It is returned if it is to be kept.
fn show_site(args: &Args, programs: Programs, report: &mut Report) -> Result<Option<Lab>> {
    report.step(
        "a client, DNS, two load balancers, three web servers, two app servers and three databases,\n    \
         in namespaces of this machine",
    );
    let begun = Instant::now();
    let builder = Lab::builder(programs).name(&args.name).webs(WEBS).pair();
    let mut lab = builder.site().build()?;
    lab::start(&mut lab)?;
    webs::wait_until_up(&lab)?;
    let seconds = begun.elapsed().as_secs_f64();
    report.step(&format!("all of it runs, after {seconds:.1} s"));
    report.expect(seconds < START_MAX, "the site took too long to start");
    site::story(&mut lab, report, Duration::from_secs(args.seconds))?;
    Ok(args.keep.then_some(lab))
}

/// Load balancers, and web servers that answer by themselves, under all the load there can be.
fn show_balancers(args: &Args, name: &str, programs: Programs, report: &mut Report) -> Result<()> {
    println!();
    report.step("now for the load balancers: without TLS, as fast as these users can");
    let builder = Lab::builder(programs).name(name).webs(WEBS).pair();
    let mut lab = builder.build()?;
    lab::start(&mut lab)?;
    webs::wait_until_up(&lab)?;
    report.step("lb leads; lb2 is paired with it, and ready to; users are at work from now on");
    story(&mut lab, report, Duration::from_secs(args.seconds))
}

fn finish(site: Option<Lab>, report: &Report) -> Result<()> {
    let verdict = report.verdict();
    if let Some(lab) = site {
        println!();
        lab::print(&lab::explain(&lab))?;
        lab.keep();
    }
    verdict
}

/// What happens, in order: first to the web servers, then to the load balancers.
fn story(lab: &mut Lab, report: &mut Report, each: Duration) -> Result<()> {
    let vip = SocketAddr::from((VIP, 80));
    let client = lab.client();
    let transfers = transfer::start(&client, vip, usize::from(WEBS))?;
    let mut load = Load::start(&client, vip)?;
    webs::story(lab, &load, report, each)?;
    load.hold()?;
    balancers::story(lab, &load, report, each)?;
    drop(load);
    let outcomes: Vec<_> = transfers
        .into_iter()
        .map(transfer::Transfer::finish)
        .collect();
    report.transfers(&outcomes, webs::KILLED);
    Ok(())
}

/// Sleeps, unless the user has seen enough.
fn pause(length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        if interrupt::arrived() {
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
