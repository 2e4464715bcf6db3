//! The programs that the lab, the demo and the benchmarks run.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Where the release builds are.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "each task takes the programs it needs")]
pub(crate) struct Programs {
    pub(crate) lbd: PathBuf,
    pub(crate) lbctl: PathBuf,
    pub(crate) webapp: PathBuf,
}

/// Builds the programs in release mode.
#[allow(dead_code, reason = "used by the tasks that run the programs")]
pub(crate) fn build() -> Result<Programs> {
    let status = crate::cargo()
        .args(["build", "--release", "-p", "lb-control", "-p", "webapp"])
        .status()
        .context("failed to start cargo: is it on the PATH?")?;
    ensure!(
        status.success(),
        "failed to build the programs: see the compiler's messages above"
    );

    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let release = crate::workspace().join(target).join("release");
    let program = |name: &str| {
        let path = release.join(name);
        ensure!(
            path.is_file(),
            "the build left no {name} in {}",
            release.display()
        );
        Ok(path)
    };
    Ok(Programs {
        lbd: program("lbd")?,
        lbctl: program("lbctl")?,
        webapp: program("webapp")?,
    })
}
