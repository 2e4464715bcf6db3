//! `cargo xtask lab`: the laboratory network by hand.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use kit::lab::{self, Lab};
use kit::layout::{Layout, VIP};
use kit::netns::Namespace;

use crate::{programs, setup};

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,

    /// Which lab, except for status, which lists all
    #[arg(long, default_value = "headgate", global = true)]
    name: String,
}

#[derive(Subcommand)]
enum Action {
    /// Create the lab and start everything in it
    Up {
        /// How many web servers
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
        webs: u8,
    },
    /// End everything in the lab and remove it
    Down,
    /// List the labs and what runs in them
    Status,
    /// Run a command on a host of the lab: client, lb, switch, web1, web2, …
    Exec {
        /// The host
        host: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

pub(crate) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Up { webs } => up(&args.name, webs),
        Action::Down => Lab::down(&args.name),
        Action::Status => status(),
        Action::Exec { host, command } => exec(&args.name, &host, &command),
    }
}

/// The programs, built, as the kit wants to be told of them.
pub(crate) fn programs() -> Result<lab::Programs> {
    setup::ensure()?;
    let programs::Programs { lbd, lbctl, webapp } = programs::build()?;
    Ok(lab::Programs { lbd, lbctl, webapp })
}

/// Refuses a name that is taken, before anything is built.
pub(crate) fn ensure_free(name: &str) -> Result<()> {
    ensure!(
        Layout::load(name).is_err(),
        "there is a lab {name} already: `cargo xtask lab down --name {name}` removes it"
    );
    Ok(())
}

fn up(name: &str, webs: u8) -> Result<()> {
    ensure_free(name)?;
    let programs = programs()?;
    kit::interrupt::catch()?;
    let mut lab = Lab::builder(programs).name(name).webs(webs).build()?;
    lab.start_webs()?;
    lab.start_lbd()?;
    let text = explain(&lab);
    lab.keep();
    print(&text)
}

/// Writes to standard output. `println!` would panic where nobody reads any further.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// How to explore a lab that is left running.
pub(crate) fn explain(lab: &Lab) -> String {
    let layout = lab.layout();
    let name = layout.name();
    let lbctl = format!(
        "{} --socket {}",
        lab.programs().lbctl.display(),
        layout.socket().display()
    );
    format!(
        "The lab {name} is up. To look around:\n\
         \n  {lbctl} status\
         \n  {lbctl} backend list\
         \n  {lbctl} backend drain www/web1\
         \n  cargo xtask lab exec --name {name} client -- curl -s http://{VIP}/whoami\
         \n  cargo xtask lab exec --name {name} lb -- ip -brief address\
         \n  cargo xtask lab status\
         \n\nLogs are in {}. To remove it:\n\
         \n  cargo xtask lab down --name {name}\n",
        layout.run_dir().display(),
    )
}

fn status() -> Result<()> {
    let labs = Lab::all()?;
    let mut text = String::new();
    if labs.is_empty() {
        text.push_str("no labs; `cargo xtask lab up` makes one\n");
    }
    for layout in labs {
        text.push_str(&format!(
            "{}  {}\n",
            layout.name(),
            layout.run_dir().display()
        ));
        for host in layout.hosts() {
            let running = running(&layout.namespace(&host))?;
            text.push_str(&format!("  {host:<8} {running}\n"));
        }
    }
    print(&text)
}

/// What runs in a namespace, in a line.
fn running(namespace: &Namespace) -> Result<String> {
    if !namespace.exists() {
        return Ok("missing".to_owned());
    }
    let mut programs = Vec::new();
    for pid in namespace.pids()? {
        // A process that ended meanwhile has no name any more.
        if let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) {
            programs.push(format!("{} ({pid})", name.trim()));
        }
    }
    Ok(if programs.is_empty() {
        "-".to_owned()
    } else {
        programs.join(", ")
    })
}

fn exec(name: &str, host: &str, command: &[String]) -> Result<()> {
    let layout = Layout::load(name)?;
    let hosts = layout.hosts();
    ensure!(
        hosts.iter().any(|known| known == host),
        "there is no host {host} in {name}, but {}",
        hosts.join(", ")
    );
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = layout
        .namespace(host)
        .command(program)?
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("failed to run {program}"))
}
