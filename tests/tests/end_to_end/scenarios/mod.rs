//! What happens to traffic when things change, and when they go wrong.

pub(crate) mod adversity;
pub(crate) mod backends;
pub(crate) mod bad_input;
pub(crate) mod daemon;
pub(crate) mod failover;
pub(crate) mod families;
pub(crate) mod fence;
pub(crate) mod forgery;
pub(crate) mod groups;
pub(crate) mod observing;
pub(crate) mod pairing;
pub(crate) mod site;
pub(crate) mod synchrony;
pub(crate) mod timeliness;

use anyhow::{Context as _, Result, ensure};
use kit::lab::{Lab, Programs};
use kit::layout::web_name;
use kit::wait::wait_for;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(15);

/// The programs that were built beside this test.
fn programs() -> Result<Programs> {
    let exe = std::env::current_exe()?;
    let directory = exe
        .ancestors()
        .nth(2)
        .context("no target directory")?
        .to_owned();
    let program = |name: &str| -> Result<PathBuf> {
        let path = directory.join(name);
        ensure!(
            path.exists(),
            "{} is missing: run `cargo build --workspace`",
            path.display()
        );
        Ok(path)
    };
    Ok(Programs {
        lbd: program("lbd")?,
        lbctl: program("lbctl")?,
        webapp: program("webapp")?,
    })
}

/// A lab with three web servers, all of them up.
fn lab() -> Result<Lab> {
    lab_with(|_| Ok(()))
}

/// A lab with three web servers, whose configuration or network is changed before lbd is started.
fn lab_with(change: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    let mut lab = Lab::builder(programs()?).webs(3).build()?;
    lab.start_webs()?;
    change(&mut lab)?;
    lab.write_config()?;
    lab.start_lbd()?;
    for backend in &lab.config.backends {
        wait_for_backend(&lab, &backend.name, "up")?;
    }
    Ok(lab)
}

fn wait_for_backend(lab: &Lab, name: &str, operational: &str) -> Result<()> {
    wait_for(PATIENCE, &format!("{name} to be {operational}"), || {
        let backend = backend(lab, name)?;
        let serves = backend["slots"].as_u64() > Some(0);
        ensure!(
            backend["operational"] == operational && serves == (operational == "up"),
            "{backend}"
        );
        Ok(())
    })
}

fn backend(lab: &Lab, name: &str) -> Result<serde_json::Value> {
    lab.lbctl_json(&["backend", "show", &format!("www/{name}")])
}

/// Slots of each web server.
fn shares(lab: &Lab) -> Result<Vec<serde_json::Value>> {
    (1..=3)
        .map(|n| Ok(backend(lab, &web_name(n))?["slots"].clone()))
        .collect()
}

/// Runs `lbctl`; returns its exit code and what it says on standard error.
fn lbctl_code(lab: &Lab, args: &[&str]) -> Result<(i32, String)> {
    let output = lab.lbctl(args)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((output.status.code().context("killed by a signal")?, said))
}

/// How many packets had this verdict.
fn counted(lab: &Lab, reason: &str) -> Result<u64> {
    let stats = lab.lbctl_json(&["stats", "--total"])?;
    let count = &stats["reasons"][reason];
    count
        .as_u64()
        .with_context(|| format!("there is no counter {reason}: {stats}"))
}
