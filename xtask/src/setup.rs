//! `cargo xtask setup`: brings a machine to where Headgate builds and its tests run.
//!
//! It looks first, says what it will do, does it, and looks again. When nothing is missing it
//! needs neither root nor a network.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::ebpf_toolchain::{self, Compiler};

mod apt;
mod plan;

use plan::Plan;

/// Programs that the lab, the tests and the benchmarks call, and the Debian packages that have them.
const LAB_PROGRAMS: &[(&str, &[&str])] = &[
    ("ip", &["iproute2"]),
    ("ethtool", &["ethtool"]),
    ("nft", &["nftables"]),
    ("haproxy", &["haproxy"]),
    ("keepalived", &["keepalived"]),
    ("nginx", &["nginx"]),
    ("mariadbd", &["mariadb-server"]),
    ("mariadb", &["mariadb-client"]),
    ("curl", &["curl"]),
    ("faketime", &["faketime"]),
    ("dnsmasq", &["dnsmasq-base"]),
    ("cc", &["gcc", "libc6-dev"]),
];

/// What the site's tests in a real browser take beside them. Other makers' node brings its npm along.
const BROWSER_PROGRAMS: &[(&str, &[&str])] = &[
    ("chromium", &["chromium"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
];

/// Where Debian puts programs for root, which a user's PATH may leave out.
const SYSTEM_DIRECTORIES: &[&str] = &["/usr/sbin", "/sbin"];

/// How to set up.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Also install what the tests in a real browser need
    #[arg(long)]
    browser: bool,
}

/// What this machine has.
struct Machine {
    /// Whether it is to have a browser, too.
    browser: bool,
    compiler: Option<Compiler>,
    linker: Option<PathBuf>,
    missing_programs: Vec<&'static str>,
    missing_packages: Vec<&'static str>,
}

pub(crate) fn run(args: Args) -> Result<()> {
    let machine = Machine::look(args.browser);
    machine.report();
    if machine.is_complete() {
        println!("setup: complete, nothing to do");
        return Ok(());
    }
    if args.dry_run {
        return dry_run(&machine);
    }
    install(&machine)
}

/// Sets up if anything is missing, and says nothing if not.
pub(crate) fn ensure(browser: bool) -> Result<()> {
    let machine = Machine::look(browser);
    if machine.is_complete() {
        return Ok(());
    }
    machine.report();
    install(&machine)
}

/// Whether the tests in a real browser can run.
pub(crate) fn has_browser() -> bool {
    missing(BROWSER_PROGRAMS).next().is_none()
}

fn dry_run(machine: &Machine) -> Result<()> {
    apt::require_debian().with_context(|| machine.by_hand())?;
    match Plan::make(machine) {
        Ok(plan) => plan.announce(),
        // The package lists may be missing or old; only refreshing them can tell.
        Err(error) => println!(
            "setup: would refresh the package lists, and then decide; with those that are here: \
             {error:#}"
        ),
    }
    println!("setup: dry run, nothing was changed");
    Ok(())
}

fn install(machine: &Machine) -> Result<()> {
    apt::require_debian().with_context(|| machine.by_hand())?;
    let mut plan = Plan::make(machine);
    if plan.as_ref().map_or(true, Plan::needs_packages) {
        apt::require_root()?;
        println!("setup: refreshing the package lists");
        apt::update()?;
        plan = Plan::make(machine);
    }
    let plan = plan?;
    plan.announce();
    plan.execute()?;

    let machine = Machine::look(machine.browser);
    if !machine.is_complete() {
        machine.report();
        bail!("setup ran, but the parts marked missing above are still not found");
    }
    println!("setup: complete");
    Ok(())
}

impl Machine {
    fn look(browser: bool) -> Machine {
        let more = if browser { BROWSER_PROGRAMS } else { &[] };
        let missing: Vec<_> = missing(LAB_PROGRAMS).chain(missing(more)).collect();
        Machine {
            browser,
            compiler: ebpf_toolchain::find_compiler(),
            linker: ebpf_toolchain::find_linker(&crate::workspace()),
            missing_programs: missing.iter().map(|(program, _)| *program).collect(),
            missing_packages: missing
                .iter()
                .flat_map(|(_, packages)| *packages)
                .copied()
                .collect(),
        }
    }

    fn is_complete(&self) -> bool {
        self.compiler.is_some() && self.linker.is_some() && self.missing_programs.is_empty()
    }

    fn report(&self) {
        match &self.compiler {
            Some(compiler) => println!("setup: BPF compiler: {compiler}"),
            None => println!("setup: BPF compiler: missing"),
        }
        match &self.linker {
            Some(linker) => println!("setup: bpf-linker: {}", linker.display()),
            None => println!("setup: bpf-linker: missing"),
        }
        if self.missing_programs.is_empty() {
            println!("setup: programs: all there");
        } else {
            println!(
                "setup: programs: missing {}",
                self.missing_programs.join(", ")
            );
        }
    }

    /// What to install where this task can't.
    fn by_hand(&self) -> String {
        let mut wanted: Vec<String> = self
            .missing_programs
            .iter()
            .map(|program| (*program).to_owned())
            .collect();
        if self.compiler.is_none() {
            wanted.push(
                "a BPF compiler (`rustup toolchain install nightly --profile minimal -c rust-src`)"
                    .to_owned(),
            );
        }
        if self.linker.is_none() {
            wanted.push(format!("bpf-linker {} on the PATH", plan::LINKER_VERSION));
        }
        format!(
            "setup can't install what is missing; install by hand: {}",
            wanted.join(", ")
        )
    }
}

/// Those of the programs that are not installed.
fn missing(
    programs: &'static [(&'static str, &'static [&'static str])],
) -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    programs
        .iter()
        .filter(|(program, _)| !is_installed(program))
}

fn is_installed(program: &str) -> bool {
    ebpf_toolchain::on_path(program).is_some()
        || SYSTEM_DIRECTORIES
            .iter()
            .any(|directory| PathBuf::from(directory).join(program).is_file())
}
