//! What happens to traffic when things change.

use crate::traffic::{Regulars, ask};
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
    let mut lab = Lab::builder(programs()?).webs(3).build()?;
    lab.start_webs()?;
    lab.write_config()?;
    lab.start_lbd()?;
    for n in 1..=3 {
        wait_for_backend(&lab, n, "up")?;
    }
    Ok(lab)
}

fn wait_for_backend(lab: &Lab, n: u8, operational: &str) -> Result<()> {
    let name = web_name(n);
    wait_for(PATIENCE, &format!("{name} to be {operational}"), || {
        let backend = backend(lab, &name)?;
        let serves = backend["slots"].as_u64() > Some(0);
        ensure!(
            backend["operational"] == operational && serves == (operational == "up"),
            "{backend}"
        );
        Ok(())
    })
}

fn backend(lab: &Lab, name: &str) -> Result<serde_json::Value> {
    let status = lab.lbctl_json(&["status"])?;
    let backends = status["services"][0]["backends"]
        .as_array()
        .context("no backends")?;
    backends
        .iter()
        .find(|backend| backend["name"] == name)
        .cloned()
        .context("no such backend")
}

fn lbctl(lab: &Lab, args: &[&str]) -> Result<()> {
    let output = lab.lbctl(args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "lbctl {}: {}",
        args.join(" "),
        said.trim()
    );
    Ok(())
}

pub(crate) fn every_backend_serves() -> Result<()> {
    let lab = lab()?;
    let answers = ask(&lab, 300)?;
    ensure!(answers.len() == 3, "not every server answered: {answers:?}");
    // 300 into 3: 100 each, with a standard deviation of 8.
    ensure!(
        answers.values().all(|&count| count > 50),
        "unevenly balanced: {answers:?}"
    );
    Ok(())
}

pub(crate) fn draining_breaks_nothing() -> Result<()> {
    let lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;
    lbctl(&lab, &["backend", "drain", "www/web1"])?;
    let answers = ask(&lab, 60)?;
    ensure!(
        !answers.contains_key("web1"),
        "web1 got new connections: {answers:?}"
    );
    regulars.wait_for_requests(200)?;
    lbctl(&lab, &["backend", "enable", "www/web1"])?;
    regulars.wait_for_requests(200)?;
    ensure!(
        ask(&lab, 60)?.contains_key("web1"),
        "web1 gets nothing any more"
    );
    let mut served_by_web1 = 0;
    for served in regulars.stop() {
        served_by_web1 += usize::from(served.context("a connection broke")? == "web1");
    }
    ensure!(
        served_by_web1 > 0,
        "no connection was on web1: this showed nothing"
    );
    Ok(())
}

pub(crate) fn a_killed_backend_is_left() -> Result<()> {
    let mut lab = lab()?;
    lab.stop_web(2)?;
    wait_for_backend(&lab, 2, "down")?;
    let answers = ask(&lab, 60)?;
    ensure!(
        answers.len() == 2 && !answers.contains_key("web2"),
        "{answers:?}"
    );
    lab.start_web(2)?;
    wait_for_backend(&lab, 2, "up")?;
    ensure!(
        ask(&lab, 60)?.contains_key("web2"),
        "web2 gets nothing any more"
    );
    Ok(())
}

pub(crate) fn traffic_survives_lbd() -> Result<()> {
    let mut lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;
    let shares = |lab: &Lab| -> Result<Vec<serde_json::Value>> {
        (1..=3)
            .map(|n| Ok(backend(lab, &web_name(n))?["slots"].clone()))
            .collect()
    };
    let before = shares(&lab)?;
    lab.kill_lbd()?;
    regulars.wait_for_requests(200)?;
    ask(&lab, 30)?;
    lab.start_lbd()?;
    // Nothing is torn down and built up again: the backends are up from the first moment.
    for n in 1..=3 {
        let backend = backend(&lab, &web_name(n))?;
        ensure!(
            backend["operational"] == "up",
            "lost while lbd was away: {backend}"
        );
    }
    let after = shares(&lab)?;
    ensure!(
        before == after,
        "adopting moved slots: {before:?}, then {after:?}"
    );
    regulars.wait_for_requests(200)?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    Ok(())
}

pub(crate) fn detach_removes_everything() -> Result<()> {
    let mut lab = lab()?;
    lab.stop_lbd()?;
    ask(&lab, 10).context("traffic ended with lbd")?;
    lab.detach()?;
    let pins = std::fs::read_dir(lab.layout().bpffs())?
        .flatten()
        .map(|pin| pin.path());
    // The file system's own files are no pins.
    let left: Vec<_> = pins.filter(|path| path.is_dir()).collect();
    ensure!(left.is_empty(), "pins are left: {left:?}");
    ensure!(ask(&lab, 1).is_err(), "something still balances");
    Ok(())
}
