//! Two load balancers that send each other heartbeats: whoever stands still loses its lease, and the
//! other one takes over without waiting for advertisements.

use super::failover::{alarms, all_goes_on, ha, has_addresses, paired_with, tell, traffic};
use super::failover::{wait_for_leader, wait_for_role, wait_until_ready};
use super::{PATIENCE, counted};
use crate::traffic::{Arrivals, Regulars, ask, service};
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::VIP;
use kit::wait::wait_for;
use std::net::TcpStream;
use std::time::Duration;

/// A pair with heartbeats as they are by default, and advertisements that are of no help.
fn pair() -> Result<Lab> {
    let lab = paired_with(|lab| lab.config.ha.interval = "1s".to_owned())?;
    for balancer in [First, Second] {
        wait_for(PATIENCE, "heartbeats", || {
            let peer = ha(&lab, balancer)?["peer"].clone();
            let lease = peer["lease_ms"].as_u64() > Some(0);
            ensure!(peer["up"] == true && lease, "{peer}");
            ensure!(peer["links"][0]["state"] == "up", "{peer}");
            Ok(())
        })?;
    }
    Ok(lab)
}

pub(super) fn mac(lab: &Lab, balancer: Balancer) -> Result<String> {
    let mut ip = lab.balancer(balancer).command("ip")?;
    let output = ip.args(["-j", "link", "show", "eth0"]).output()?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mac = links[0]["address"].as_str();
    Ok(mac.context("eth0 has no address")?.to_owned())
}

/// Who answers when the client asks for the service's address, as often as it may take until a
/// second one would have been faster.
fn only_answers(lab: &Lab, balancer: Balancer) -> Result<()> {
    let expected = mac(lab, balancer)?;
    for _ in 0..20 {
        lab.client()
            .ip_batch(&format!("neighbour replace {VIP} dev eth0 nud stale\n"))
            .and_then(|()| {
                lab.client()
                    .ip_batch(&format!("neighbour delete {VIP} dev eth0\n"))
            })?;
        ask(lab, 1)?;
        let known = lab
            .client()
            .run(|| std::fs::read_to_string("/proc/thread-self/net/arp"))??;
        let vip = VIP.to_string();
        let entry = known
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&vip));
        let entry = entry.context("nobody answered")?;
        ensure!(entry.contains(&expected), "{expected} expected: {entry}");
    }
    Ok(())
}

/// Has the client send everything for the service to one balancer, whoever answers.
fn send_all_to(lab: &Lab, balancer: Balancer) -> Result<()> {
    let mac = mac(lab, balancer)?;
    lab.client().ip_batch(&format!(
        "neighbour replace {VIP} lladdr {mac} dev eth0 nud permanent\n"
    ))
}

fn send_to_who_answers(lab: &Lab) -> Result<()> {
    let forget = format!("neighbour delete {VIP} dev eth0\n");
    lab.client().ip_batch(&forget)
}

/// Whether a new connection is let in.
fn opens(lab: &Lab) -> Result<bool> {
    lab.client().run(|| {
        let limit = Duration::from_millis(300);
        TcpStream::connect_timeout(&service(), limit).is_ok()
    })
}

/// Sends everything for the service to one balancer: it lets nobody in, and who is in goes on.
fn lets_nobody_in(lab: &Lab, balancer: Balancer, regulars: &Regulars) -> Result<()> {
    send_all_to(lab, balancer)?;
    ensure!(!opens(lab)?, "it took a new connection");
    regulars.wait_for_each()?;
    send_to_who_answers(lab)
}

/// lbd ends in order on the leader. Who has not heard yet that the other one leads is served all the
/// same, and after a while no more.
pub(crate) fn what_still_comes_to_one_that_ended_is_forwarded() -> Result<()> {
    let mut lab = pair()?;
    lab.stop_lbd_on(First)?;
    wait_for_leader(&lab, Second)?;
    send_all_to(&lab, First)?;
    ensure!(opens(&lab)?, "a connection that still came was dropped");
    wait_for(PATIENCE, "new connections to be dropped", || {
        ensure!(!opens(&lab)?);
        Ok(())
    })?;
    send_to_who_answers(&lab)?;
    ask(&lab, 30)?;
    Ok(())
}

/// lbd crashes on the leader, and nobody starts it again for a while.
pub(crate) fn a_killed_leader_is_fenced() -> Result<()> {
    let mut lab = pair()?;
    let (regulars, arrivals) = traffic(&lab)?;
    // As somebody does who did not start it, and has only the lab's name.
    let mut from_outside = Lab::open(lab.layout().name(), lab.programs().clone())?;
    from_outside.kill_only_lbd(First)?;
    from_outside.keep();
    ensure!(!lab.is_cut(First)?, "it is cut off, too");
    lab.kill_lbd_on(First)?;
    wait_for_leader(&lab, Second)?;
    let reason = ha(&lab, Second)?["reason"].clone();
    ensure!(reason == "the other host was lost", "{reason}");
    arrivals.wait_for_more(20)?;
    tell("lbd killed, heartbeats every 50 ms", arrivals)?;
    ensure!(has_addresses(&lab, First)?, "the addresses went with lbd");
    only_answers(&lab, Second)?;
    lets_nobody_in(&lab, First, &regulars)?;
    let told = alarms(&lab, Second)?;
    ensure!(told.contains("is lost"), "{told}");
    lab.start_lbd_on(First)?;
    let fenced = counted(&lab, "fenced")?;
    ensure!(fenced > 20, "only {fenced} packets were fenced off");
    wait_until_ready(&lab, First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    all_goes_on(&lab, regulars)
}

/// How many advertisements of a leader were heard.
fn claims_heard(lab: &Lab, balancer: Balancer) -> Result<Option<u64>> {
    let counters = ha(lab, balancer)?["counters"].clone();
    let count = |name: &str| counters[name].as_u64();
    let [heard, released] = ["adverts_heard", "releases_heard"].map(count);
    Ok(heard
        .zip(released)
        .map(|(heard, released)| heard - released))
}

/// lbd is frozen on the leader, and wakes up when the other one leads.
pub(crate) fn a_frozen_leader_is_fenced() -> Result<()> {
    let lab = pair()?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.freeze_lbd_on(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("lbd frozen, heartbeats every 50 ms", arrivals)?;
    only_answers(&lab, Second)?;
    lets_nobody_in(&lab, First, &regulars)?;
    let arrivals = Arrivals::start(&lab)?;
    let before = claims_heard(&lab, Second)?;
    lab.thaw_lbd_on(First)?;
    wait_for(PATIENCE, "an alarm", || {
        let told = alarms(&lab, First)?;
        ensure!(told.contains("stood still"), "{told}");
        Ok(())
    })?;
    wait_for_role(&lab, First, "standby")?;
    let heard = claims_heard(&lab, Second)?;
    ensure!(heard == before, "it claimed to lead when it woke up");
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    only_answers(&lab, First)?;
    tell("lbd goes on", arrivals)?;
    let fenced = counted(&lab, "fenced")?;
    ensure!(fenced > 20, "only {fenced} packets were fenced off");
    all_goes_on(&lab, regulars)
}

/// The leader loses power.
pub(crate) fn heartbeats_notice_a_dead_host() -> Result<()> {
    let mut lab = pair()?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("dead leader, heartbeats every 50 ms", arrivals)?;
    let table = lab.lbctl_on(Second, &["ha", "status"])?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(table.contains("nothing was heard of it"), "{table}");
    all_goes_on(&lab, regulars)
}
