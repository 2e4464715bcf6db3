//! Two balancers of a pair know the same, so that it does not matter which of them leads.

use super::PATIENCE;
use super::failover::{
    alarms, all_goes_on, ha, paired_with, tell, traffic, wait_for_leader, wait_for_role,
};
use crate::traffic::{Regulars, ask};
use anyhow::{Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::wait::wait_for;
use serde_json::Value;

fn backends(lab: &Lab, balancer: Balancer) -> Result<Vec<(String, String)>> {
    let list = lab.lbctl_json_on(balancer, &["backend", "list"])?;
    let list = list.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list
        .iter()
        .map(|backend| (text(&backend["name"]), text(&backend["admin"])))
        .collect())
}

/// What either is told, both do, and a standby tells the leader.
pub(crate) fn a_change_at_either_is_made_at_both() -> Result<()> {
    let lab = paired_with(|_| {})?;
    for (at, backend) in [(First, "www/web1"), (Second, "www/web2")] {
        let output = lab.lbctl_on(at, &["backend", "drain", backend])?;
        ensure!(output.status.success(), "{output:?}");
        // Whoever was told that it is done finds it done.
        ensure!(backends(&lab, First)? == backends(&lab, Second)?);
        for balancer in [First, Second] {
            let shown = lab.lbctl_json_on(balancer, &["backend", "show", backend])?;
            ensure!(shown["admin"] == "drain", "{}: {shown}", balancer.host());
        }
    }
    let revisions: Vec<Value> = [First, Second]
        .iter()
        .map(|&balancer| Ok(lab.lbctl_json_on(balancer, &["status"])?["revision"].clone()))
        .collect::<Result<_>>()?;
    ensure!(revisions[0] == revisions[1], "{revisions:?}");
    for balancer in [First, Second] {
        let output = lab.lbctl_on(
            balancer,
            &["--if-revision", "0", "backend", "enable", "www/web1"],
        )?;
        ensure!(output.status.code() == Some(5), "{output:?}");
    }
    Ok(())
}

/// While the other one lives and cannot be told, nothing is changed; when it is away, it catches up.
pub(crate) fn nothing_is_changed_at_one_alone_while_both_live() -> Result<()> {
    let mut lab = paired_with(|_| {})?;
    lab.cut_channel()?;
    wait_for(PATIENCE, "both to notice it", || {
        for balancer in [First, Second] {
            let ha = ha(&lab, balancer)?;
            ensure!(ha["pair"]["connected"] == false, "{ha}");
        }
        Ok(())
    })?;
    for balancer in [First, Second] {
        let refused = lab.lbctl_on(balancer, &["backend", "drain", "www/web1"])?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        let told = String::from_utf8(refused.stderr)?;
        ensure!(told.contains("channel is down"), "{told}");
        let alarms = alarms(&lab, balancer)?;
        ensure!(alarms.contains("channel is down"), "{alarms}");
    }
    lab.heal_channel()?;
    lab.wait_until_synchronised(PATIENCE)?;
    lab.kill_balancer(Second)?;
    wait_for(PATIENCE, "the leader to take changes alone", || {
        let output = lab.lbctl_on(First, &["backend", "drain", "www/web1"])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    })?;
    lab.heal(Second)?;
    lab.start_lbd_on(Second)?;
    lab.wait_until_synchronised(PATIENCE)?;
    ensure!(backends(&lab, First)? == backends(&lab, Second)?);
    Ok(())
}

/// Both lead, and both are changed. After that one's configuration stays, and each host says what was.
pub(crate) fn a_split_is_healed_and_told_on_both() -> Result<()> {
    let lab = paired_with(|_| {})?;
    lab.part_balancers()?;
    for (balancer, backend) in [(First, "www/web1"), (Second, "www/web2")] {
        wait_for_leader(&lab, balancer)?;
        wait_for(PATIENCE, "each to take changes alone", || {
            lab.must_lbctl_on(balancer, &["backend", "drain", backend])
        })?;
    }
    lab.rejoin_balancers()?;
    wait_for(PATIENCE, "an alarm about the other leader", || {
        let (won, lost) = (alarms(&lab, First)?, alarms(&lab, Second)?);
        ensure!(won.contains("led, too, and it was told"), "{won}");
        ensure!(lost.contains("led, too, and this host yielded"), "{lost}");
        let drops = |alarms: &String| alarms.contains("dropped here: backend www/web");
        ensure!(drops(&won) != drops(&lost), "{won} {lost}");
        Ok(())
    })?;
    wait_for_role(&lab, Second, "standby")?;
    lab.wait_until_synchronised(PATIENCE)?;
    let left = backends(&lab, First)?;
    ensure!(left == backends(&lab, Second)?, "{left:?}");
    let drained = left.iter().filter(|(_, admin)| admin == "drain").count();
    ensure!(drained == 1, "they were merged: {left:?}");
    ask(&lab, 30)?;
    Ok(())
}

/// Leadership goes to and fro, as is asked for, and no connection notices.
pub(crate) fn a_switchover_breaks_nothing() -> Result<()> {
    let lab = paired_with(|_| {})?;
    let (regulars, arrivals) = traffic(&lab)?;
    // Slots that are dirty, and flows that are recorded.
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    arrivals.wait_for_more(20)?;
    for (at, leader) in [
        (First, Second),
        (First, First),
        (First, Second),
        (Second, First),
    ] {
        let output = lab.lbctl_on(at, &["ha", "switch"])?;
        ensure!(output.status.success(), "{output:?}");
        wait_for_leader(&lab, leader)?;
        wait_for_role(&lab, leader.other(), "standby")?;
        arrivals.wait_for_more(20)?;
        lab.wait_until_synchronised(PATIENCE)?;
    }
    // Said twice, or by either, it is done once.
    for (at, to) in [(First, "peer"), (First, "peer"), (Second, "self")] {
        let output = lab.lbctl_on(at, &["ha", "switch", "--to", to])?;
        ensure!(output.status.success(), "{output:?}");
        wait_for_leader(&lab, Second)?;
    }
    wait_for_role(&lab, First, "standby")?;
    let led = ha(&lab, Second)?["counters"]["led"].clone();
    ensure!(led == 3, "it led {led} times");
    let reasons = [First, Second].map(|at| ha(&lab, at).map(|ha| ha["reason"].to_string()));
    for reason in reasons {
        let reason = reason?;
        ensure!(reason.contains("planned switchover"), "{reason}");
    }
    for balancer in [First, Second] {
        let heard = ha(&lab, balancer)?["counters"]["second_leaders_heard"].clone();
        ensure!(heard == 0, "{heard} at {}", balancer.host());
        let warned = lab.log(balancer.lbd())?;
        ensure!(!warned.contains(" WARN yields"), "{warned}");
    }
    tell("switched five times", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// The channel is silent while heartbeats and advertisements go on, so the standby cannot say that it
/// has everything. Leadership is not handed over, until it can.
pub(crate) fn a_standby_that_has_not_everything_is_not_handed_over_to() -> Result<()> {
    let lab = paired_with(|_| {})?;
    let (regulars, arrivals) = traffic(&lab)?;
    let led = || -> Result<Vec<Value>> {
        let counters = |balancer| anyhow::Ok(ha(&lab, balancer)?["counters"].clone());
        let [first, second] = [counters(First)?, counters(Second)?];
        Ok(vec![first["yielded"].clone(), second["led"].clone()])
    };
    let before = led()?;
    lab.cut_channel()?;
    let output = lab.lbctl_on(First, &["ha", "switch"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{output:?}");
    // Whichever is noticed first.
    let reasons = ["did not take over within 2s", "channel broke"];
    ensure!(reasons.iter().any(|it| said.contains(it)), "{said}");
    // Healed before that, the same connection would be taken for broken a moment later.
    for balancer in [First, Second] {
        wait_for(PATIENCE, "the cut to be noticed", || {
            let ha = ha(&lab, balancer)?;
            ensure!(ha["pair"]["connected"] == false, "{ha}");
            Ok(())
        })?;
    }
    lab.heal_channel()?;
    lab.wait_until_synchronised(PATIENCE)?;
    wait_for_leader(&lab, First)?;
    let after = led()?;
    ensure!(after == before, "leadership passed: {before:?}, {after:?}");

    let output = lab.lbctl_on(First, &["ha", "switch"])?;
    ensure!(output.status.success(), "{output:?}");
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("a switchover in vain, and one", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// A backend is drained, so that its slots are dirty: who came before that goes on with it, who came
/// after it is recorded, and all of them outlive the leader.
pub(crate) fn connections_on_dirty_slots_outlive_a_dead_leader() -> Result<()> {
    let mut lab = paired_with(|_| {})?;
    let (earlier, arrivals) = traffic(&lab)?;
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    // A third of them were web1's, had they come earlier.
    let later = Regulars::start(&lab, 30)?;
    later.wait_for_each()?;
    wait_for(PATIENCE, "the standby to know of them", || {
        let flows = |balancer| -> Result<u64> {
            let shown = lab.lbctl_json_on(balancer, &["backend", "show", "www/web2"])?;
            Ok(shown["recorded_flows"].as_u64().unwrap_or(0))
        };
        let [led, followed] = [flows(First)?, flows(Second)?];
        ensure!(led > 0 && followed > 0, "{led}, and {followed} there");
        Ok(())
    })?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("dead leader, dirty slots", arrivals)?;
    all_goes_on(&lab, later)?;
    all_goes_on(&lab, earlier)
}

/// lbd is restarted on the leader and on the standby.
pub(crate) fn a_restart_of_either_breaks_nothing() -> Result<()> {
    let mut lab = paired_with(|_| {})?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    for balancer in [First, Second] {
        lab.stop_lbd_on(balancer)?;
        wait_for_leader(&lab, balancer.other())?;
        arrivals.wait_for_more(20)?;
        lab.start_lbd_on(balancer)?;
        lab.wait_until_synchronised(PATIENCE)?;
        wait_for_leader(&lab, First)?;
        wait_for_role(&lab, Second, "standby")?;
        arrivals.wait_for_more(20)?;
    }
    tell("both restarted", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// Only the leader does not reach the web servers.
pub(crate) fn a_leader_that_reaches_no_backend_makes_way() -> Result<()> {
    let lab = paired_with(|lab| {
        lab.config.fall = 2;
        lab.config.timeout = "200ms".to_owned();
    })?;
    let cut = "table ip astray {\n\
                   chain outgoing {\n\
                       type filter hook output priority 0;\n\
                       tcp dport 8080 reject with tcp reset\n\
                   }\n\
               }\n";
    lab.nft(First, cut)?;
    wait_for_leader(&lab, Second)?;
    let log = lab.log("lbd")?;
    ensure!(log.contains("no backend of www is up here"), "{log}");
    ask(&lab, 30)?;
    lab.nft(First, "delete table ip astray\n")?;
    wait_for(2 * PATIENCE, "the first one to lead again", || {
        let ha = ha(&lab, First)?;
        ensure!(ha["role"] == "leader", "{ha}");
        Ok(())
    })?;
    ask(&lab, 30)?;
    Ok(())
}
