//! What two load balancers run on fails them: the disk is full, the clock jumps.

use super::PATIENCE;
use super::failover::{alarms, all_goes_on, ha, pair_with, paired_with, tell, traffic};
use super::failover::{wait_for_leader, wait_for_role};
use crate::traffic::ask;
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::wait::wait_for;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// What each has of the configuration: its revision, and what became of each backend.
fn configuration(lab: &Lab) -> Result<[Vec<Value>; 2]> {
    let of = |balancer| -> Result<Vec<Value>> {
        let mut all = vec![lab.lbctl_json_on(balancer, &["status"])?["revision"].clone()];
        for name in ["www/web1", "www/web2", "www/web3"] {
            let shown = lab.lbctl_json_on(balancer, &["backend", "show", name])?;
            all.push(shown["admin"].clone());
        }
        Ok(all)
    };
    Ok([of(First)?, of(Second)?])
}

/// A change that is refused; returns what is said of it.
fn refused(lab: &Lab, at: Balancer, change: &[&str]) -> Result<String> {
    let output = lab.lbctl_on(at, change)?;
    ensure!(!output.status.success(), "it was done: {output:?}");
    Ok(String::from_utf8(output.stderr)?)
}

/// There is no room to write changes down: on the standby, on the leader, and on the one that is left.
pub(crate) fn a_full_disk_stops_changes_and_nothing_else() -> Result<()> {
    const NO_ROOM: &str = "changes.json: No space left on device";
    const DRAIN: &[&str] = &["backend", "drain", "www/web1"];
    let mut lab = pair_with(|lab| {
        lab.config.ha.unicast = true;
        lab.limit_disk(First)?;
        lab.limit_disk(Second)
    })?;
    lab.pair_up()?;
    lab.wait_until_synchronised(PATIENCE)?;
    let (regulars, arrivals) = traffic(&lab)?;

    let before = configuration(&lab)?;
    lab.fill_disk(Second)?;
    for at in [First, Second] {
        let said = refused(&lab, at, DRAIN)?;
        ensure!(said.contains(NO_ROOM) && said.contains("state2"), "{said}");
        ensure!(configuration(&lab)? == before, "half of it was done");
    }
    lab.wait_until_synchronised(PATIENCE)?;
    arrivals.wait_for_more(20)?;
    lab.clear_disk(Second)?;
    lab.must_lbctl(DRAIN)?;

    // What the standby has written down is done; and nothing else, until the leader can write, too.
    lab.fill_disk(First)?;
    lab.must_lbctl(&["backend", "drain", "www/web2"])?;
    let told = alarms(&lab, First)?;
    ensure!(told.contains(NO_ROOM) && told.contains("refused"), "{told}");
    let before = configuration(&lab)?;
    ensure!(before[0] == before[1], "{before:?}");
    for at in [First, Second] {
        let said = refused(&lab, at, &["backend", "enable", "www/web1"])?;
        ensure!(said.contains(NO_ROOM), "{said}");
        ensure!(configuration(&lab)? == before, "half of it was done");
    }

    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("dead leader with a full disk", arrivals)?;
    all_goes_on(&lab, regulars)?;
    lab.fill_disk(Second)?;
    let said = refused(&lab, Second, &["backend", "enable", "www/web1"])?;
    ensure!(said.contains(NO_ROOM), "{said}");
    ask(&lab, 30)?;

    for balancer in [First, Second] {
        lab.clear_disk(balancer)?;
    }
    lab.revive_balancer(First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    lab.wait_until_synchronised(PATIENCE)?;
    lab.must_lbctl(&["backend", "enable", "www/web1"])?;
    let after = configuration(&lab)?;
    ensure!(after[0] == after[1] && after[0][1] == "ready", "{after:?}");
    wait_for(PATIENCE, "no alarm about the disk", || {
        for balancer in [First, Second] {
            let told = alarms(&lab, balancer)?;
            ensure!(!told.contains("No space"), "{told}");
        }
        Ok(())
    })?;
    ask(&lab, 30)?;
    Ok(())
}

/// The library of Debian's faketime, for programs with threads.
fn faketime() -> Result<PathBuf> {
    let directories = fs::read_dir("/usr/lib")?.flatten();
    let mut libraries = directories.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.find(|path| path.exists());
    found.context("there is no libfaketime: `cargo xtask setup` installs it")
}

/// For how long the channel is there, by the wall clock of the first one.
fn connected_for(lab: &Lab) -> Result<Option<u64>> {
    let pair = lab.lbctl_json_on(First, &["pair", "status"])?;
    Ok(pair["connection"]["since_s"].as_u64())
}

fn wait_for_channel(lab: &Lab, connected: bool) -> Result<()> {
    wait_for(PATIENCE, &format!("both: connected: {connected}"), || {
        for balancer in [First, Second] {
            let ha = ha(lab, balancer)?;
            ensure!(ha["pair"]["connected"] == connected, "{ha}");
        }
        Ok(())
    })
}

/// A change is made at either.
fn change_both(lab: &Lab) -> Result<()> {
    for (at, verb) in [(First, "drain"), (Second, "enable")] {
        lab.wait_until_synchronised(PATIENCE)?;
        lab.must_lbctl_on(at, &["backend", verb, "www/web1"])?;
    }
    lab.wait_until_synchronised(PATIENCE)
}

/// Neither leads or yields while this is done.
fn nobody_moves(lab: &Lab, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let moves = || -> Result<Vec<Value>> {
        let mut moves = Vec::new();
        for balancer in [First, Second] {
            let counters = ha(lab, balancer)?["counters"].clone();
            moves.extend(["led", "yielded"].map(|name| counters[name].clone()));
        }
        Ok(moves)
    };
    let before = moves()?;
    what()?;
    let after = moves()?;
    ensure!(after == before, "{before:?}, then {after:?}");
    Ok(())
}

/// The wall clock of the leader jumps eleven years ahead, by when certificates have expired, and back.
pub(crate) fn a_clock_that_jumps_moves_nobody() -> Result<()> {
    const YEARS: u64 = 10 * 365 * 86_400;
    let mut lab = paired_with(|lab| {
        // Nobody is lost because the machine is busy.
        lab.config.ha.more = "heartbeat = \"500ms\"\n".to_owned();
    })?;
    lab.stop_lbd_on(First)?;
    wait_for_leader(&lab, Second)?;
    let clock = lab.layout().run_dir().join("clock");
    fs::write(&clock, "+0\n")?;
    lab.lbd_environment = vec![
        ("LD_PRELOAD", faketime()?.into()),
        ("FAKETIME_TIMESTAMP_FILE", clock.clone().into()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    lab.wait_until_synchronised(PATIENCE)?;
    let (regulars, arrivals) = traffic(&lab)?;

    nobody_moves(&lab, || {
        fs::write(&clock, "+11y\n")?;
        wait_for(PATIENCE, "the clock to jump", || {
            let seconds = connected_for(&lab)?;
            ensure!(seconds > Some(YEARS), "{seconds:?}");
            Ok(())
        })?;
        // The channel that is there stays, and changes are made.
        change_both(&lab)?;
        arrivals.wait_for_more(20)?;

        // There is no new one.
        lab.cut_channel()?;
        wait_for_channel(&lab, false)?;
        lab.heal_channel()?;
        for (balancer, said) in [
            (
                First,
                "certificate has expired, or the clock of this host is wrong",
            ),
            (
                Second,
                "certificate is not valid now: if its clock is right",
            ),
        ] {
            wait_for(PATIENCE, "an alarm", || {
                let told = alarms(&lab, balancer)?;
                ensure!(told.contains(said), "{told}");
                Ok(())
            })?;
        }
        let output = lab.lbctl_on(First, &["backend", "drain", "www/web1"])?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(said.contains("the pair's channel is down"), "{said}");
        arrivals.wait_for_more(20)?;

        fs::write(&clock, "+0\n")?;
        wait_for_channel(&lab, true)?;
        change_both(&lab)?;
        arrivals.wait_for_more(20)
    })?;
    tell("the clock jumped", arrivals)?;
    all_goes_on(&lab, regulars)
}
