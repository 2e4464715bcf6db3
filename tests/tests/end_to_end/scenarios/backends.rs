//! Backends come and go.

use super::{PATIENCE, backend, lab, lab_with, lbctl_code, wait_for_backend};
use crate::traffic::{Regulars, ask, ask_at, service};
use anyhow::{Context as _, Result, ensure};
use kit::layout::{VIP, web_address};
use kit::wait::wait_for;

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
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    let answers = ask(&lab, 60)?;
    ensure!(
        !answers.contains_key("web1"),
        "web1 got new connections: {answers:?}"
    );
    regulars.wait_for_requests(200)?;
    lab.must_lbctl(&["backend", "enable", "www/web1"])?;
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

/// One is added and another removed while connections run; all of them go on where they were, and
/// the one that was removed goes when its last connection has ended.
pub(crate) fn adding_and_removing_breaks_nothing() -> Result<()> {
    let lab = lab_with(|lab| {
        lab.config.backends.truncate(2);
        lab.config.idle_timeout = "2s".to_owned();
        Ok(())
    })?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;

    let address = web_address(3).to_string();
    lab.must_lbctl(&["backend", "add", "www/web3", &address, "--wait"])?;
    ensure!(
        ask(&lab, 60)?.contains_key("web3"),
        "web3 was added, and gets nothing"
    );
    lab.must_lbctl(&["backend", "remove", "www/web1"])?;
    let answers = ask(&lab, 60)?;
    ensure!(
        !answers.contains_key("web1"),
        "web1 was removed, and gets new connections: {answers:?}"
    );
    // Past the idle time-out its slots belong to others, and only what was recorded keeps it.
    wait_for(PATIENCE, "web1 to be known by its flows alone", || {
        let removing = backend(&lab, "web1")?;
        ensure!(
            removing["admin"] == "removing"
                && removing["draining_slots"] == 0
                && removing["recorded_flows"].as_u64() > Some(0),
            "{removing}"
        );
        Ok(())
    })?;
    regulars.wait_for_requests(200)?;

    let mut served_by_web1 = 0;
    for served in regulars.stop() {
        served_by_web1 += usize::from(served.context("a connection broke")? == "web1");
    }
    ensure!(
        served_by_web1 > 0,
        "no connection was on web1: this showed nothing"
    );
    wait_for(PATIENCE, "web1 to go after its connections", || {
        let (code, said) = lbctl_code(&lab, &["backend", "show", "www/web1"])?;
        ensure!(code == 4, "exit code {code}: {said}");
        Ok(())
    })
}

pub(crate) fn force_cuts_connections() -> Result<()> {
    let lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;
    lab.must_lbctl(&["backend", "remove", "www/web2", "--force"])?;
    regulars.wait_for_each()?;
    let served = regulars.stop();
    ensure!(
        served.iter().any(Result::is_err),
        "no connection was on web2: this showed nothing"
    );
    ensure!(
        served.iter().flatten().all(|server| server != "web2"),
        "a connection to web2 went on"
    );
    Ok(())
}

pub(crate) fn a_killed_backend_is_left() -> Result<()> {
    let mut lab = lab()?;
    lab.stop_web(2)?;
    wait_for_backend(&lab, "web2", "down")?;
    let answers = ask(&lab, 60)?;
    ensure!(
        answers.len() == 2 && !answers.contains_key("web2"),
        "{answers:?}"
    );
    lab.start_web(2)?;
    wait_for_backend(&lab, "web2", "up")?;
    ensure!(
        ask(&lab, 60)?.contains_key("web2"),
        "web2 gets nothing any more"
    );
    Ok(())
}

/// Another service is made by CLI alone, with weights; it is used, and taken away again.
pub(crate) fn services_come_and_go() -> Result<()> {
    let lab = lab_with(|lab| {
        lab.config.backends.truncate(2);
        Ok(())
    })?;
    let other = (VIP, 8081).into();
    ensure!(ask_at(&lab, other, 1).is_err(), "something answers already");
    let vip = format!("{other}/tcp");
    let checked = ["--check-type", "http", "--check-path", "/healthz"];
    let often = ["--check-interval", "200ms", "--check-timeout", "150ms"];
    lab.must_lbctl(&[&["service", "add", "other", &vip], &checked[..], &often[..]].concat())?;
    let address = web_address(3).to_string();
    lab.must_lbctl(&["backend", "add", "other/web3", &address, "--wait"])?;
    let answers = ask_at(&lab, other, 20)?;
    ensure!(answers.keys().eq(["web3"]), "{answers:?}");
    let answers = ask_at(&lab, service(), 60)?;
    ensure!(answers.keys().eq(["web1", "web2"]), "{answers:?}");

    // Two backends at one address could not be told apart on the way back.
    let (code, said) = lbctl_code(&lab, &["backend", "add", "www/again", &address])?;
    ensure!(code == 1 && said.contains("other/web3"), "{code}: {said}");

    lab.must_lbctl(&["service", "remove", "other"])?;
    ensure!(ask_at(&lab, other, 1).is_err(), "it still answers");
    lab.must_lbctl(&["backend", "add", "www/web3", &address, "--wait"])?;
    lab.must_lbctl(&["backend", "set", "www/web3", "--weight", "8"])?;
    let answers = ask(&lab, 200)?;
    // 8 of 10: 160 of 200, with a standard deviation of 6.
    let by_web3 = answers.get("web3").copied().unwrap_or(0);
    ensure!((130..=190).contains(&by_web3), "{answers:?}");
    Ok(())
}
