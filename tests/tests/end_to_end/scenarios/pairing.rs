//! Two load balancers that come to trust each other, and are connected.

use super::failover::pair_with;
use super::{PATIENCE, programs};
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::wait::wait_for;
use serde_json::Value;
use std::fs;

fn status(lab: &Lab, balancer: Balancer) -> Result<Value> {
    lab.lbctl_json_on(balancer, &["pair", "status"])
}

fn wait_for_connection(lab: &Lab) -> Result<()> {
    for balancer in [First, Second] {
        let host = balancer.host();
        wait_for(PATIENCE, &format!("{host} to be connected"), || {
            let status = status(lab, balancer)?;
            let remote = balancer.other().front().to_string();
            ensure!(
                status["connection"]["remote"] == remote.as_str(),
                "{status}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn secret(lab: &Lab, balancer: Balancer) -> Result<Vec<u8>> {
    let path = lab.layout().state_dir_of(balancer).join("secret");
    fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
}

pub(crate) fn a_token_pairs_two_balancers() -> Result<()> {
    let mut lab = pair_with(|lab| {
        lab.config.ha.unicast = true;
        Ok(())
    })?;
    // Each has its own, until one joins.
    ensure!(
        secret(&lab, First)? != secret(&lab, Second)?,
        "they have the same secret before they are paired"
    );
    for balancer in [First, Second] {
        let status = status(&lab, balancer)?;
        ensure!(status["paired"] == false, "{status}");
        ensure!(status["failure"].is_null(), "{status}");
    }

    let invited = lab.lbctl_on(First, &["pair", "init"])?;
    ensure!(invited.status.success(), "{invited:?}");
    let token = String::from_utf8(invited.stdout)?;
    ensure!(token.lines().count() == 1, "{token}");
    let cut = token.get(..token.len() / 2).context("no token")?;
    let refused = lab.lbctl_on(Second, &["pair", "join", cut])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    let told = String::from_utf8(refused.stderr)?;
    ensure!(told.contains("damaged or incomplete"), "{told}");
    let joined = lab.lbctl_on(Second, &["pair", "join", token.trim()])?;
    ensure!(joined.status.success(), "{joined:?}");
    wait_for_connection(&lab)?;
    let secrets = [First, Second].map(|balancer| secret(&lab, balancer));
    let [first, second] = secrets;
    ensure!(first? == second?, "their secrets differ");
    let again = lab.lbctl_on(Second, &["pair", "join", token.trim()])?;
    ensure!(again.status.code() == Some(1), "{again:?}");

    // What they know of each other outlives them.
    for balancer in [First, Second] {
        lab.stop_lbd_on(balancer)?;
        let peer = balancer.other();
        wait_for(PATIENCE, "the connection to end", || {
            let status = status(&lab, peer)?;
            ensure!(status["connection"].is_null(), "{status}");
            Ok(())
        })?;
        lab.start_lbd_on(balancer)?;
        wait_for_connection(&lab)?;
    }

    // Who is forgotten is told so.
    let forgotten = lab.lbctl_on(First, &["pair", "forget"])?;
    ensure!(forgotten.status.success(), "{forgotten:?}");
    let other = status(&lab, First)?;
    ensure!(other["paired"] == false, "{other}");
    wait_for(PATIENCE, "the connection to end", || {
        let status = status(&lab, Second)?;
        ensure!(status["paired"] == true, "{status}");
        ensure!(status["connection"].is_null(), "{status}");
        ensure!(status["failure"]["reason"].is_string(), "{status}");
        Ok(())
    })?;
    for balancer in [First, Second] {
        let log = lab.log(balancer.lbd())?;
        ensure!(log.contains("the pair's channel is up"), "{log}");
        ensure!(!log.contains("headgate1."), "{log}");
    }
    Ok(())
}

pub(crate) fn without_a_peer_there_is_nobody_to_pair() -> Result<()> {
    let mut lab = Lab::builder(programs()?).webs(1).build()?;
    lab.start_lbd()?;
    for args in [&["pair", "init"][..], &["pair", "status"]] {
        let refused = lab.lbctl(args)?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        let told = String::from_utf8(refused.stderr)?;
        ensure!(told.contains("no peer in [ha]"), "{told}");
    }
    Ok(())
}
