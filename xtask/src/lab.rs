//! `cargo xtask lab`: the laboratory network by hand.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use kit::lab::{self, Lab};
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{Layout, VIP};
use kit::netns::Namespace;

use crate::{programs, setup};

/// How long everything may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

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
    /// Create the lab and start everything in it: a pair of load balancers, unless told otherwise
    Up {
        /// One load balancer instead of two
        #[arg(long)]
        single: bool,

        /// How many web servers
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
        webs: u8,
    },
    /// End everything in the lab and remove it
    Down,
    /// List the labs and what runs in them
    Status,
    /// Cut a load balancer off and kill everything on it, as if it lost power
    Kill {
        /// The load balancer: lb or lb2
        host: String,
    },
    /// Give it power again, and start lbd on it
    Revive {
        /// The load balancer: lb or lb2
        host: String,
    },
    /// Run a command on a host of the lab: client, lb, lb2, switch, web1, web2, …
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
        Action::Up { single, webs } => up(&args.name, single, webs),
        Action::Down => Lab::down(&args.name),
        Action::Status => status(),
        Action::Kill { host } => open(&args.name, &host, Lab::kill_balancer),
        Action::Revive { host } => open(&args.name, &host, Lab::revive_balancer),
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

fn up(name: &str, single: bool, webs: u8) -> Result<()> {
    ensure_free(name)?;
    let programs = programs()?;
    kit::interrupt::catch()?;
    let mut builder = Lab::builder(programs).name(name).webs(webs);
    if !single {
        builder = builder.pair();
    }
    let mut lab = builder.build()?;
    start(&mut lab)?;
    let text = explain(&lab);
    lab.keep();
    print(&text)
}

/// Starts everything; the first of two balancers leads, and the second one knows all that it does.
pub(crate) fn start(lab: &mut Lab) -> Result<()> {
    lab.config.ha.unicast = true;
    // The machine may be a small one, and must not seem dead for being busy.
    lab.config.interval = "500ms".to_owned();
    lab.config.timeout = "500ms".to_owned();
    lab.write_config()?;
    lab.start_webs()?;
    for &balancer in lab.layout().balancers() {
        lab.start_lbd_on(balancer)?;
    }
    if lab.layout().is_pair() {
        lab.wait_until_leads(First, PATIENCE)?;
        lab.pair_up()?;
        lab.wait_until_synchronised(PATIENCE)?;
    }
    Ok(())
}

/// Does something to a load balancer of a lab that is left running.
fn open(name: &str, host: &str, act: fn(&mut Lab, Balancer) -> Result<()>) -> Result<()> {
    let mut lab = Lab::open(name, programs()?)?;
    let balancers = lab.layout().balancers();
    let known: Vec<&str> = balancers.iter().map(|it| it.host()).collect();
    let balancer = balancers.iter().find(|it| it.host() == host);
    let balancer = balancer.with_context(|| {
        let known = known.join(", ");
        format!("there is no load balancer {host} in {name}, but {known}")
    })?;
    act(&mut lab, *balancer)
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
    let lbctl = |balancer| {
        let socket = layout.socket_of(balancer);
        format!(
            "{} --socket {}",
            lab.programs().lbctl.display(),
            socket.display()
        )
    };
    let first = lbctl(First);
    let mut text = format!(
        "The lab {name} is up. To look around:\n\
         \n  {first} status\
         \n  {first} backend list\
         \n  {first} backend drain www/web1\
         \n  cargo xtask lab exec --name {name} client -- curl -s http://{VIP}/whoami\
         \n  cargo xtask lab exec --name {name} lb -- ip -brief address\
         \n  cargo xtask lab status\n",
    );
    if layout.is_pair() {
        let second = lbctl(Second);
        text += &format!(
            "\nThere are two load balancers, paired: lb leads, and lb2 stands by. Either takes changes, \
             for both.\n\
             \n  {first} ha status         # of lb\
             \n  {second} ha status        # of lb2\
             \n  {first} ha switch         # the other one leads, and nobody notices\
             \n  cargo xtask lab kill --name {name} lb      # as if it lost power\
             \n  cargo xtask lab revive --name {name} lb    # it catches up, and leads again\n"
        );
    }
    text += &format!(
        "\nLogs are in {}. To remove it:\n\
         \n  cargo xtask lab down --name {name}\n",
        layout.run_dir().display(),
    );
    text
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
