//! Headgate's tasks: `cargo xtask setup`, `test`, `demo`, `lab` and `bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

mod bench;
mod demo;
#[allow(
    dead_code,
    reason = "shared with lb-control/build.rs, which alone builds the object"
)]
mod ebpf_toolchain;
mod lab;
mod programs;
mod setup;
mod test;

/// Headgate's development tasks
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what building and testing needs; does nothing when it is all there
    Setup(setup::Args),
    /// Check formatting, lints and tests
    Test(test::Args),
    /// Show a load balancer at work in a lab network
    Demo(demo::Args),
    /// Raise, inspect or remove the lab network
    Lab(lab::Args),
    /// Measure the packet path, the lab, how soon changes take effect, and outages
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What went wrong, and not where in this program.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Setup(args) => setup::run(args),
        Task::Test(args) => test::run(args),
        Task::Demo(args) => demo::run(args),
        Task::Lab(args) => lab::run(args),
        Task::Bench(args) => bench::run(args),
    }
}

/// The root of the workspace, wherever the task was called from.
fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Cargo as the user called it.
fn cargo() -> std::process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(program);
    command.current_dir(workspace());
    // What `cargo run` told this program of its own package would make cargo build anew whatever
    // looks at it.
    for (name, _) in std::env::vars_os() {
        let name_is = |prefix| name.to_string_lossy().starts_with(prefix);
        if name_is("CARGO_PKG_") || name_is("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
