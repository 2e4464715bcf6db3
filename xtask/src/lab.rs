//! `cargo xtask lab`: the laboratory network by hand.

mod relay;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Subcommand;
use kit::lab::{self, Lab};
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{DBS, Layout, SITE, VIP, db_name};
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

        /// A whole site: DNS in front, app servers and databases behind the web servers
        #[arg(long)]
        site: bool,

        /// How many web servers; a site has at most 9
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=200))]
        webs: u8,
    },
    /// End everything in the lab and remove it
    Down,
    /// List the labs and what runs in them
    Status,
    /// Kill everything on a host; a load balancer is cut off, too, as if it lost power
    Kill {
        /// The host: lb, lb2, web1, app1, db1, dns, …
        host: String,

        /// Of a load balancer, kill this program alone; its host stays plugged in
        #[arg(long, value_name = "PROGRAM")]
        only: Option<Only>,
    },
    /// Start again what a host is there for
    Revive {
        /// The host: lb, lb2, web1, app1, db1, dns, …
        host: String,
    },
    /// Make a site reachable from this machine, at a port of the loopback interface, until Ctrl-C
    Open {
        /// The port
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
    /// Run a command on a host of the lab: client, lb, lb2, switch, web1, app1, db1, dns, …
    Exec {
        /// The host
        host: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// A program that is killed alone.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Only {
    /// With kill -9; revive starts it again, and what it left is there
    Lbd,
}

pub(crate) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Up { single, site, webs } => up(&args.name, single, site, webs),
        Action::Down => Lab::down(&args.name),
        Action::Status => status(),
        Action::Kill { host, only: None } => {
            act(&args.name, &host, Lab::kill_balancer, Lab::kill_host)
        }
        Action::Kill {
            host,
            only: Some(Only::Lbd),
        } => act(&args.name, &host, Lab::kill_only_lbd, has_no_lbd),
        Action::Revive { host } => act(&args.name, &host, revive_balancer, Lab::revive_host),
        Action::Open { port } => relay::serve(&args.name, port),
        Action::Exec { host, command } => exec(&args.name, &host, &command),
    }
}

/// The programs, built, as the kit wants to be told of them.
pub(crate) fn programs() -> Result<lab::Programs> {
    setup::ensure(false)?;
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

fn up(name: &str, single: bool, site: bool, webs: u8) -> Result<()> {
    ensure_free(name)?;
    let programs = programs()?;
    kit::interrupt::catch()?;
    let mut builder = Lab::builder(programs).name(name).webs(webs);
    if !single {
        builder = builder.pair();
    }
    if site {
        builder = builder.site();
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
    if lab.layout().is_site() {
        lab.start_site()?;
    } else {
        lab.start_webs()?;
    }
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

/// Does something to a host of a lab that is left running.
fn act(
    name: &str,
    host: &str,
    to_balancer: fn(&mut Lab, Balancer) -> Result<()>,
    to_other: fn(&mut Lab, &str) -> Result<()>,
) -> Result<()> {
    let mut lab = Lab::open(name, programs()?)?;
    ensure_host(lab.layout(), host)?;
    let mut balancers = lab.layout().balancers().iter();
    match balancers.find(|it| it.host() == host) {
        Some(&balancer) => to_balancer(&mut lab, balancer),
        None => to_other(&mut lab, host),
    }
}

fn has_no_lbd(_: &mut Lab, host: &str) -> Result<()> {
    bail!("{host} runs no lbd: --only is for the load balancers, lb and lb2")
}

/// One that was only without lbd has what its kernel had.
fn revive_balancer(lab: &mut Lab, balancer: Balancer) -> Result<()> {
    if lab.is_cut(balancer)? {
        lab.revive_balancer(balancer)
    } else {
        lab.start_lbd_on(balancer)
    }
}

fn ensure_host(layout: &Layout, host: &str) -> Result<()> {
    let hosts = layout.hosts();
    ensure!(
        hosts.iter().any(|known| known == host),
        "there is no host {host} in {}, but {}",
        layout.name(),
        hosts.join(", ")
    );
    Ok(())
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
    let (service, curl) = if layout.is_site() {
        let authority = layout.pki_dir().join("ca.pem");
        let authority = authority.display();
        (
            "https",
            format!("curl -s --cacert {authority} https://{SITE}/"),
        )
    } else {
        ("www", format!("curl -s http://{VIP}/whoami"))
    };
    let mut text = format!(
        "The lab {name} is up. To look around:\n\
         \n  {first} status\
         \n  {first} backend list\
         \n  {first} backend drain {service}/web1\
         \n  cargo xtask lab exec --name {name} client -- {curl}\
         \n  cargo xtask lab exec --name {name} lb -- ip -brief address\
         \n  cargo xtask lab status\n",
    );
    if layout.is_site() {
        text += &explain_site(lab);
    }
    if layout.is_pair() {
        let second = lbctl(Second);
        text += &format!(
            "\nThere are two load balancers, paired: lb leads, and lb2 stands by. Either takes changes, \
             for both.\n\
             \n  {first} ha status         # of lb\
             \n  {second} ha status        # of lb2\
             \n  {first} ha switch         # the other one leads, and nobody notices\
             \n  cargo xtask lab kill --name {name} lb      # as if it lost power\
             \n  cargo xtask lab revive --name {name} lb    # it catches up, and leads again\
             \n  cargo xtask lab kill --name {name} lb --only lbd   # the program stays, fenced\n"
        );
    }
    text += &format!(
        "\nLogs are in {}. To remove it:\n\
         \n  cargo xtask lab down --name {name}\n",
        layout.run_dir().display(),
    );
    text
}

/// What else there is to try where there is a whole site.
fn explain_site(lab: &Lab) -> String {
    let name = lab.layout().name();
    let webapp = lab.programs().webapp.display();
    let databases = lab.layout().config_for("db");
    let databases = databases.display();
    let db = format!("cargo xtask lab exec --name {name} app1 -- {webapp} db --config {databases}");
    let primary = lab.primary().unwrap_or(1);
    let heir = (1..=DBS).rfind(|n| *n != primary).unwrap_or(primary);
    let (primary, heir) = (db_name(primary), db_name(heir));
    format!(
        "\nThe site is https://{SITE}/. To open it in a browser of this machine:\n\
         \n  cargo xtask lab open --name {name}\n\
         \nTo see it go on without a part, and what becomes of it without the primary:\n\
         \n  cargo xtask lab kill --name {name} web2       # or app1, db3, dns; revive starts it again\
         \n  {db} status\
         \n  cargo xtask lab kill --name {name} {primary}\
         \n  {db} promote {heir}\
         \n  cargo xtask lab revive --name {name} {primary}     # made anew, as a replica\n"
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
    ensure_host(&layout, host)?;
    let (program, arguments) = command.split_first().context("no command given")?;
    let error = layout.command(host, program)?.args(arguments).exec();
    Err(error).with_context(|| format!("failed to run {program}"))
}
