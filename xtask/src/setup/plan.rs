//! What setup will do, decided before it does any of it.

use std::env;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Machine, apt};
use crate::ebpf_toolchain::{self, RUSTC_VARIABLE};

pub(super) const LINKER_VERSION: &str = "0.13.0";

/// Debian's rustc for its browsers, recent enough, with core compiled for BPF.
const DEBIAN_COMPILER: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];

/// What bpf-linker links with besides LLVM.
const LINKER_LIBRARIES: &[&str] = &["g++", "zlib1g-dev", "libzstd-dev", "libxml2-dev"];

/// The LLVM releases that this bpf-linker can be built with, best first.
const LLVM_RELEASES: &[u32] = &[23, 22, 21];

/// The steps that are left, and why these.
pub(super) struct Plan {
    route: &'static str,
    steps: Vec<Step>,
}

enum Step {
    Packages(Vec<String>),
    Nightly,
    Linker { llvm: u32 },
}

impl Plan {
    pub(super) fn make(machine: &Machine) -> Result<Plan> {
        if let (None, Some(named)) = (&machine.compiler, env::var_os(RUSTC_VARIABLE)) {
            bail!(
                "{RUSTC_VARIABLE} names {}, which is no rustc with core for BPF or with rust-src: \
                 correct or unset it",
                Path::new(&named).display()
            );
        }
        let mut packages: Vec<String> = machine
            .missing_packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect();
        let mut steps = Vec::new();

        let route = if machine.compiler.is_some() {
            "the BPF compiler that is already here"
        } else if DEBIAN_COMPILER
            .iter()
            .all(|package| apt::has_candidate(package))
        {
            packages.extend(DEBIAN_COMPILER.iter().map(|package| (*package).to_owned()));
            "Debian's rustc-web with its prebuilt core for BPF"
        } else if ebpf_toolchain::on_path("rustup").is_some() {
            steps.push(Step::Nightly);
            "rustup's nightly with rust-src, as the package lists have no BPF compiler"
        } else {
            bail!(
                "the package lists have no {}, and rustup is not on the PATH: enable Debian's \
                 security updates, or install rustup, and run `cargo xtask setup` again",
                DEBIAN_COMPILER.join(" or ")
            );
        };

        if machine.linker.is_none() {
            let llvm = choose_llvm(machine)?;
            packages.push(format!("llvm-{llvm}-dev"));
            packages.push(format!("libpolly-{llvm}-dev"));
            packages.extend(LINKER_LIBRARIES.iter().map(|package| (*package).to_owned()));
            steps.push(Step::Linker { llvm });
        }

        let missing = apt::missing(packages);
        if !missing.is_empty() {
            steps.insert(0, Step::Packages(missing));
        }
        Ok(Plan { route, steps })
    }

    pub(super) fn needs_packages(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Packages(_)))
    }

    pub(super) fn announce(&self) {
        println!("setup: route: {}", self.route);
        println!("setup: to do:");
        for step in &self.steps {
            println!("  {step}");
        }
    }

    pub(super) fn execute(&self) -> Result<()> {
        self.steps.iter().try_for_each(Step::run)
    }
}

impl Step {
    fn run(&self) -> Result<()> {
        println!("==> {self}");
        match self {
            Step::Packages(packages) => apt::install(packages),
            Step::Nightly => complete(
                ebpf_toolchain::clean_command("rustup").args(NIGHTLY),
                "failed to install the nightly toolchain: can rustup reach its server?",
            ),
            Step::Linker { llvm } => complete(
                &mut linker_install(*llvm),
                "failed to build bpf-linker: see cargo's messages above; it needs the crates.io \
                 index and the LLVM packages",
            ),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Packages(packages) => {
                write!(
                    f,
                    "apt-get install --no-install-recommends {}",
                    packages.join(" ")
                )
            }
            Step::Nightly => write!(f, "rustup {}", NIGHTLY.join(" ")),
            Step::Linker { llvm } => {
                write!(
                    f,
                    "{}={} cargo {}",
                    LLVM_PREFIX,
                    prefix(*llvm),
                    linker_arguments(*llvm).join(" ")
                )
            }
        }
    }
}

const NIGHTLY: &[&str] = &[
    "toolchain",
    "install",
    "nightly",
    "--profile",
    "minimal",
    "-c",
    "rust-src",
];

const LLVM_PREFIX: &str = "LLVM_PREFIX";

fn prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

fn linker_arguments(llvm: u32) -> Vec<String> {
    let feature = format!("llvm-{llvm}");
    [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
    ]
    .into_iter()
    .chain(["--features", &feature, "--locked", "--root", ".tools"])
    .map(str::to_owned)
    .collect()
}

fn linker_install(llvm: u32) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The compiler beside this cargo, by its path: rustup's stand-in for rustc would obey the
    // toolchain files of the crates that are compiled, and update toolchains for them.
    let rustc = Path::new(&cargo).with_file_name("rustc");
    let mut command = ebpf_toolchain::clean_command(&cargo);
    if rustc.is_file() {
        command.env("RUSTC", rustc);
    }
    command
        .current_dir(crate::workspace())
        .env(LLVM_PREFIX, prefix(llvm))
        .args(linker_arguments(llvm));
    command
}

fn complete(command: &mut Command, advice: &'static str) -> Result<()> {
    let status = command.status().context(advice)?;
    ensure!(status.success(), "{advice}");
    Ok(())
}

/// The newest LLVM to be had: the linker reads what an older compiler wrote, not a newer one.
fn choose_llvm(machine: &Machine) -> Result<u32> {
    let newest = LLVM_RELEASES
        .iter()
        .copied()
        .find(|release| apt::has_candidate(&format!("llvm-{release}-dev")));
    let wanted = machine
        .compiler
        .as_ref()
        .and_then(|compiler| llvm_of(&compiler.rustc));
    match (newest, wanted) {
        (Some(newest), Some(wanted)) if newest < wanted => bail!(
            "the BPF compiler writes LLVM {wanted} code, but the packages end at LLVM {newest}: \
             install llvm-{wanted}-dev from apt.llvm.org, or put bpf-linker {LINKER_VERSION} on \
             the PATH"
        ),
        (Some(newest), _) => Ok(newest),
        (None, _) => bail!(
            "no package llvm-NN-dev of the releases {LLVM_RELEASES:?} is known: add apt.llvm.org \
             to the package sources, or put bpf-linker {LINKER_VERSION} on the PATH"
        ),
    }
}

/// The major LLVM version a compiler was built with.
fn llvm_of(rustc: &Path) -> Option<u32> {
    let output = ebpf_toolchain::clean_command(rustc)
        .arg("-vV")
        .output()
        .ok()?;
    parse_llvm(&String::from_utf8_lossy(&output.stdout))
}

fn parse_llvm(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_llvm;

    #[test]
    fn the_llvm_release_is_read_from_the_compilers_version() {
        assert_eq!(
            parse_llvm("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(parse_llvm("rustc 1.96.0\n"), None);
    }
}
