//! `cargo xtask demo`: a load balancer at work, and what its users notice when things break.

mod load;
mod report;
mod transfer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kit::lab::{Lab, Programs};
use kit::layout::{VIP, web_name};
use kit::{interrupt, wait};
use std::process;

use crate::lab;
use load::Load;
use report::Report;

/// How many web servers the story is about.
const WEBS: u8 = 3;
/// How long lbd may take to notice something.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the lab running afterwards, and print commands to explore it
    #[arg(long)]
    keep: bool,

    /// How long each phase lasts
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// The lab's name
    #[arg(long, default_value = "demo")]
    name: String,
}

/// The number of the signal; shells add it to 128.
const SIGINT: i32 = 2;

pub(crate) fn run(args: Args) -> Result<()> {
    lab::ensure_free(&args.name)?;
    let programs = lab::programs()?;
    // From here on there is something to clean up when the user has seen enough.
    interrupt::catch()?;
    let report = Report::new((1..=WEBS).map(web_name).collect());

    let shown = show(&args, programs, &report);
    // The lab is gone by now; an interruption is the user's wish, not an error to explain.
    if shown.is_err() && interrupt::arrived() {
        println!("\ninterrupted; the lab is removed");
        process::exit(128 + SIGINT);
    }
    shown
}

fn show(args: &Args, programs: Programs, report: &Report) -> Result<()> {
    report.step("a client, a load balancer and three web servers, in namespaces of this machine");
    let mut lab = Lab::builder(programs).name(&args.name).webs(WEBS).build()?;
    lab.start_webs()?;
    lab.start_lbd()?;
    wait::wait_for(PATIENCE, "all web servers to be up", || {
        (1..=WEBS).try_for_each(|n| expect(&lab, n, "operational", "up"))
    })?;
    story(&mut lab, report, Duration::from_secs(args.seconds))?;
    println!();
    if args.keep {
        lab::print(&lab::explain(&lab))?;
        lab.keep();
    }
    Ok(())
}

/// What happens, in order. Each phase is a row of the table.
fn story(lab: &mut Lab, report: &Report, each: Duration) -> Result<()> {
    let vip = SocketAddr::from((VIP, 80));
    let client = lab.client();
    let transfers = transfer::start(&client, vip, usize::from(WEBS))?;
    let load = Load::start(&client, vip)?;
    let phase = |name: &str| -> Result<()> {
        pause(each)?;
        report.row(name, &load.take());
        Ok(())
    };

    report.head();
    phase("all is well")?;

    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    phase("web1 is drained")?;

    lab.must_lbctl(&["backend", "enable", "www/web1"])?;
    wait::wait_for(PATIENCE, "web1 to be back", || {
        expect(lab, 1, "admin", "ready")
    })?;
    phase("web1 is back")?;

    lab.stop_web(2)?;
    wait::wait_for(PATIENCE, "lbd to notice that web2 is dead", || {
        expect(lab, 2, "operational", "down")
    })?;
    report.row("web2 is killed, not yet noticed", &load.take());
    phase("web2 is known to be dead")?;

    lab.kill_lbd()?;
    phase("lbd is killed as well")?;

    lab.start_lbd()?;
    phase("lbd is started again")?;

    lab.start_web(2)?;
    wait::wait_for(PATIENCE, "web2 to be up again", || {
        expect(lab, 2, "operational", "up")
    })?;
    phase("web2 is started again")?;

    drop(load);
    let outcomes: Vec<_> = transfers
        .into_iter()
        .map(transfer::Transfer::finish)
        .collect();
    report.transfers(&outcomes);
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

/// An error unless lbd says that web server `n` is in this state.
fn expect(lab: &Lab, n: u8, field: &str, expected: &str) -> Result<()> {
    let status = lab.lbctl_json(&["status"])?;
    let name = web_name(n);
    let backends = status["services"][0]["backends"].as_array();
    let backend = backends
        .and_then(|backends| backends.iter().find(|backend| backend["name"] == *name))
        .with_context(|| format!("lbctl status does not mention {name}"))?;
    let state = &backend[field];
    ensure!(
        state == expected,
        "{name} is {state} ({})",
        backend["reason"]
    );
    Ok(())
}
