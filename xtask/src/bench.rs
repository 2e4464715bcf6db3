//! `cargo xtask bench`.

use anyhow::{Result, bail};

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> Result<()> {
    bail!("the benchmarks: not built yet")
}
