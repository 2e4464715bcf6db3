//! Two load balancers: one leads, and the other takes over.

use super::{PATIENCE, programs};
use crate::traffic::{Arrivals, Regulars, ask};
use anyhow::{Context as _, Result, ensure};
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::{CLIENT, web_name};
use kit::wait::wait_for;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A lab with two balancers that multicast, and so cannot be paired.
fn pair() -> Result<Lab> {
    pair_with(|lab| lab.share_secret())
}

/// A lab with two balancers: the first leads, the second is ready to.
pub(super) fn pair_with(change: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    pair_of(Lab::builder(programs()?).webs(3).pair().build()?, change)
}

/// Starts what is in a lab with two balancers: the first leads, the second is ready to.
fn pair_of(mut lab: Lab, change: impl FnOnce(&mut Lab) -> Result<()>) -> Result<Lab> {
    lab.start_webs()?;
    // The two do not tell each other which backends are up: one that a busy machine kept from
    // answering one of them in time would have connections break when that one leads.
    lab.config.fall = 1_000;
    change(&mut lab)?;
    lab.write_config()?;
    for balancer in [First, Second] {
        lab.start_lbd_on(balancer)?;
        wait_until_ready(&lab, balancer)?;
        wait_for_leader(&lab, First)?;
    }
    wait_for_role(&lab, Second, "standby")?;
    Ok(lab)
}

/// A lab with two balancers that are paired: what one knows, the other does.
pub(super) fn paired_with(change: impl FnOnce(&mut Lab)) -> Result<Lab> {
    paired_of(Lab::builder(programs()?).webs(3).pair().build()?, change)
}

/// Pairs the two balancers of a lab.
pub(super) fn paired_of(lab: Lab, change: impl FnOnce(&mut Lab)) -> Result<Lab> {
    let lab = pair_of(lab, |lab| {
        lab.config.ha.unicast = true;
        change(lab);
        Ok(())
    })?;
    lab.pair_up()?;
    lab.wait_until_synchronised(PATIENCE)?;
    Ok(lab)
}

pub(super) fn wait_until_ready(lab: &Lab, balancer: Balancer) -> Result<()> {
    wait_for(PATIENCE, "all backends to be up", || {
        for n in 1..=3 {
            let name = format!("www/{}", web_name(n));
            let backend = lab.lbctl_json_on(balancer, &["backend", "show", &name])?;
            let serves = backend["slots"].as_u64() > Some(0);
            ensure!(backend["operational"] == "up" && serves, "{backend}");
        }
        Ok(())
    })
}

pub(super) fn ha(lab: &Lab, balancer: Balancer) -> Result<Value> {
    lab.lbctl_json_on(balancer, &["ha", "status"])
}

pub(super) fn wait_for_role(lab: &Lab, balancer: Balancer, role: &str) -> Result<()> {
    let host = balancer.host();
    wait_for(PATIENCE, &format!("{host} to be {role}"), || {
        let ha = ha(lab, balancer)?;
        ensure!(ha["role"] == role, "{ha}");
        ensure!(has_addresses(lab, balancer)? == (role == "leader"));
        Ok(())
    })
}

pub(super) fn wait_for_leader(lab: &Lab, balancer: Balancer) -> Result<()> {
    wait_for_role(lab, balancer, "leader")
}

pub(super) fn has_addresses(lab: &Lab, balancer: Balancer) -> Result<bool> {
    lab.has_addresses(balancer)
}

pub(super) fn alarms(lab: &Lab, balancer: Balancer) -> Result<String> {
    let status = lab.lbctl_json_on(balancer, &["status"])?;
    Ok(status["alarms"].to_string())
}

/// All connections that were open are open still, and new ones are made.
pub(super) fn all_goes_on(lab: &Lab, regulars: Regulars) -> Result<()> {
    regulars.wait_for_each()?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    ask(lab, 30)?;
    Ok(())
}

/// Clients that stay, and others that keep coming, once all of them are served.
pub(super) fn traffic(lab: &Lab) -> Result<(Regulars, Arrivals)> {
    let regulars = Regulars::start(lab, 12)?;
    regulars.wait_for_each()?;
    let arrivals = Arrivals::start(lab)?;
    arrivals.wait_for_more(20)?;
    Ok((regulars, arrivals))
}

pub(super) fn tell(what: &str, arrivals: Arrivals) -> Result<()> {
    let outage = arrivals.stop()?;
    println!("{what}: longest time without a new connection: {outage:?}");
    Ok(())
}

pub(crate) fn a_pair_serves_and_has_no_alarms() -> Result<()> {
    let lab = pair()?;
    ask(&lab, 30)?;
    for balancer in [First, Second] {
        wait_for(PATIENCE, "no alarms", || {
            let alarms = alarms(&lab, balancer)?;
            ensure!(alarms == "[]", "{}: {alarms}", balancer.host());
            Ok(())
        })?;
    }
    wait_for(PATIENCE, "the standby to know the leader", || {
        let leader = ha(&lab, Second)?["leader"].clone();
        let known = leader["address"] == "192.0.2.1" && leader["priority"] == 200;
        ensure!(known, "{leader}");
        Ok(())
    })?;
    let table = lab.lbctl_on(First, &["ha", "status"])?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(
        table.contains("leader") && table.contains("192.0.2.10/32 dev eth0"),
        "{table}"
    );
    Ok(())
}

/// The leader loses power.
pub(crate) fn a_dead_leader_is_replaced() -> Result<()> {
    let mut lab = pair()?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("dead leader", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// lbd is told to end on the leader, which gives up first: nobody waits for it.
pub(crate) fn a_leader_that_ends_gives_up_first() -> Result<()> {
    let mut lab = pair()?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.stop_lbd_on(First)?;
    ensure!(!has_addresses(&lab, First)?, "it kept the addresses");
    wait_for_leader(&lab, Second)?;
    let reason = ha(&lab, Second)?["reason"].clone();
    ensure!(reason == "the leader gave up", "{reason}");
    arrivals.wait_for_more(20)?;
    // It comes back, and takes over again once its backends are checked.
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    arrivals.wait_for_more(20)?;
    tell("given up and taken back", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// lbd crashes on the leader and is started again before anybody notices.
pub(crate) fn a_restarted_leader_goes_on_leading() -> Result<()> {
    let mut lab = pair_with(|lab| {
        lab.config.ha.interval = "1s".to_owned();
        lab.share_secret()
    })?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_each()?;
    let arrivals = Arrivals::start(&lab)?;
    lab.kill_lbd_on(First)?;
    ensure!(has_addresses(&lab, First)?, "the addresses went with lbd");
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    let status = ha(&lab, First)?;
    let reason = "it led before it was started again";
    ensure!(status["reason"] == reason, "{status}");
    arrivals.wait_for_more(20)?;
    let other = ha(&lab, Second)?;
    ensure!(other["counters"]["led"] == 0, "the other one led: {other}");
    tell("lbd killed and started again", arrivals)?;
    all_goes_on(&lab, regulars)
}

/// An interface of the leader goes down, and comes back: the one to the backends, over which the two
/// do not talk, and the one over which they do.
pub(crate) fn a_leader_without_a_link_gives_up() -> Result<()> {
    let lab = pair()?;
    for (interface, how) in [
        ("eth1", "the leader gave up"),
        ("eth0", "no leader was heard"),
    ] {
        let (regulars, arrivals) = traffic(&lab)?;
        let set = |state| {
            let first = lab.balancer(First);
            first.ip_batch(&format!("link set {interface} {state}\n"))
        };
        set("down")?;
        wait_for_role(&lab, First, "standby")?;
        wait_for_leader(&lab, Second)?;
        let [left, took] = [ha(&lab, First)?, ha(&lab, Second)?].map(|it| it["reason"].clone());
        ensure!(left == format!("{interface} is down"), "{left}");
        ensure!(took == how, "{interface}: {took}");
        let told = alarms(&lab, First)?;
        ensure!(told.contains("this host does not lead"), "{told}");
        arrivals.wait_for_more(20)?;
        set("up")?;
        wait_for_leader(&lab, First)?;
        let back = ha(&lab, First)?["reason"].to_string();
        ensure!(back.contains("led with the lower priority 100"), "{back}");
        wait_for_role(&lab, Second, "standby")?;
        arrivals.wait_for_more(20)?;
        tell(&format!("{interface} down and up"), arrivals)?;
        all_goes_on(&lab, regulars)?;
    }
    wait_for(PATIENCE, "no alarms", || {
        let told = alarms(&lab, First)?;
        ensure!(told == "[]", "{told}");
        Ok(())
    })
}

/// What is tracked goes wrong on the leader, and is mended: an interface, a route, and a service whose
/// backends it cannot reach.
pub(crate) fn what_is_tracked_lowers_the_priority() -> Result<()> {
    let mut lab = Lab::builder(programs()?).webs(3).pair().build()?;
    lab.config.ha.more = "track = [{ interface = \"uplink\", weight = 101 }, \
                          { route = \"198.51.100.0/24\", weight = 102 }, \
                          { service = \"www\", weight = 103 }]\n"
        .to_owned();
    let add_uplink =
        "link add uplink type veth peer name far\nlink set far up\nlink set uplink up\n";
    let add_route = "route add 198.51.100.0/24 dev uplink\n";
    for balancer in [First, Second] {
        let batch = format!("{add_uplink}{add_route}");
        lab.balancer(balancer).ip_batch(&batch)?;
    }
    lab.start_webs()?;
    lab.write_config()?;
    for balancer in [First, Second] {
        lab.start_lbd_on(balancer)?;
        wait_until_ready(&lab, balancer)?;
    }
    let webs = |verb: &str| -> String {
        let webs = (1..=3).map(|n| kit::layout::web_address(n).ip());
        webs.map(|ip| format!("route {verb} blackhole {ip}/32\n"))
            .collect()
    };
    let (cut, mend) = (webs("add"), webs("delete"));
    for (spoil, mend, lowered) in [
        (
            "link delete uplink\n",
            format!("{add_uplink}{add_route}").as_str(),
            [
                "1",
                "uplink is gone (by 101)",
                "no route to 198.51.100.0/24 (by 102)",
            ]
            .as_slice(),
        ),
        (
            "route delete 198.51.100.0/24\n",
            add_route,
            &["98", "no route to 198.51.100.0/24 (by 102)"],
        ),
        (&cut, &mend, &["97", "www: no backend is up (by 103)"]),
    ] {
        wait_for_leader(&lab, First)?;
        wait_for_role(&lab, Second, "standby")?;
        lab.balancer(First).ip_batch(spoil)?;
        wait_for_leader(&lab, Second)?;
        wait_for_role(&lab, First, "standby")?;
        let told = ha(&lab, First)?;
        ensure!(told["priority"] == 200, "{told}");
        ensure!(
            told["effective_priority"].as_u64() == lowered[0].parse().ok(),
            "{told}"
        );
        let why = told["lowered_by"].to_string();
        for expected in &lowered[1..] {
            ensure!(why.contains(expected), "{expected:?} in {why}");
        }
        ask(&lab, 30)?;
        lab.balancer(First).ip_batch(mend)?;
    }
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    ask(&lab, 30)?;
    Ok(())
}

/// A standby that has lost its link to the backends leaves the service alone.
pub(crate) fn a_standby_without_a_link_does_not_take_over() -> Result<()> {
    let mut lab = pair()?;
    lab.balancer(Second).ip_batch("link set eth1 down\n")?;
    wait_for(PATIENCE, "an alarm", || {
        let told = alarms(&lab, Second)?;
        ensure!(told.contains("this host does not lead"), "{told}");
        Ok(())
    })?;
    lab.stop_lbd_on(First)?;
    // It hears that the leader gave up, and does nothing for as long as it takes that one to return.
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    let led = ha(&lab, Second)?["counters"]["led"].clone();
    ensure!(led == 0, "it led: {led}");
    lab.balancer(Second).ip_batch("link set eth1 up\n")?;
    wait_until_ready(&lab, Second)?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    ask(&lab, 30)?;
    Ok(())
}

/// The two do not hear each other for a while, and both lead. After that one does, and says so.
pub(crate) fn after_a_partition_there_is_one_leader() -> Result<()> {
    let lab = pair()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_each()?;
    lab.cut(First)?;
    ensure!(
        lab.is_cut(First)? && !lab.is_cut(Second)?,
        "who is cut off?"
    );
    wait_for_leader(&lab, Second)?;
    wait_for_leader(&lab, First)?;
    // What the neighbours know of the second one, they have learned by now.
    regulars.wait_for_each()?;
    let arrivals = Arrivals::start(&lab)?;
    arrivals.wait_for_more(20)?;
    lab.heal(First)?;
    wait_for_role(&lab, Second, "standby")?;
    wait_for_leader(&lab, First)?;
    arrivals.wait_for_more(20)?;
    tell("healed after a partition", arrivals)?;
    wait_for(PATIENCE, "an alarm about the second leader", || {
        let alarms = alarms(&lab, First)?;
        ensure!(alarms.contains("led, too"), "{alarms}");
        Ok(())
    })?;
    all_goes_on(&lab, regulars)
}

/// Where multicast does not get through, the two send to each other; and without preemption,
/// whoever leads goes on.
pub(crate) fn two_that_know_each_other_need_no_group() -> Result<()> {
    let mut lab = paired_with(|lab| {
        lab.config.ha.preempt = false;
        lab.config.ha.interval = "10ms".to_owned();
        lab.config.ha.more = "checksum = \"pseudo-header\"\n".to_owned();
    })?;
    let (regulars, arrivals) = traffic(&lab)?;
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    arrivals.wait_for_more(20)?;
    tell("dead leader, advertisements every 10 ms", arrivals)?;
    lab.remove_addresses(First)?;
    lab.heal(First)?;
    lab.start_lbd_on(First)?;
    wait_until_ready(&lab, First)?;
    wait_for_role(&lab, First, "standby")?;
    wait_for_leader(&lab, Second)?;
    all_goes_on(&lab, regulars)
}

/// What is shared follows the services.
pub(crate) fn addresses_come_and_go_with_services() -> Result<()> {
    let lab = pair()?;
    let add = [
        "service",
        "add",
        "mail",
        "192.0.2.11:25/tcp",
        "--check-type",
        "none",
    ];
    let change = |args: &[&str], has: bool| -> Result<()> {
        for balancer in [First, Second] {
            let output = lab.lbctl_on(balancer, args)?;
            ensure!(output.status.success(), "{output:?}");
        }
        wait_for(PATIENCE, "the leader's addresses to follow", || {
            let addresses = lab
                .balancer(First)
                .run(|| std::fs::read_to_string("/proc/thread-self/net/fib_trie"))??;
            ensure!(addresses.contains("192.0.2.11") == has, "{addresses}");
            for balancer in [First, Second] {
                let alarms = alarms(&lab, balancer)?;
                let agree = !alarms.contains("told other addresses");
                ensure!(agree, "{}: {alarms}", balancer.host());
            }
            Ok(())
        })
    };
    change(&add, true)?;
    change(&["service", "remove", "mail"], false)
}

pub(super) fn wait_until_has_addresses(lab: &Lab, balancer: Balancer, has: bool) -> Result<()> {
    let what = format!("{} to have the addresses: {has}", balancer.host());
    wait_for(PATIENCE, &what, || {
        ensure!(has_addresses(lab, balancer)? == has);
        Ok(())
    })
}

/// lbd leads, and keepalived takes over: when lbd ends, and when its host dies.
pub(crate) fn keepalived_follows_lbd() -> Result<()> {
    // keepalived takes no other form.
    let form = "checksum = \"pseudo-header\"\n";
    let mut lab = alone(|lab| lab.config.ha.more = form.to_owned())?;
    lab.start_keepalived_on(Second, 100)?;
    wait_until_keepalived_says(&lab, "Entering BACKUP STATE")?;
    lab.stop_lbd_on(First)?;
    wait_until_has_addresses(&lab, Second, true)?;
    lab.start_lbd_on(First)?;
    wait_for_leader(&lab, First)?;
    wait_until_has_addresses(&lab, Second, false)?;
    ask(&lab, 30)?;
    let alarms = alarms(&lab, First)?;
    ensure!(alarms == "[]", "{alarms}");
    lab.kill_balancer(First)?;
    wait_until_has_addresses(&lab, Second, true)
}

/// keepalived leads, and lbd takes over: when keepalived ends, and when its host dies.
pub(crate) fn lbd_follows_keepalived() -> Result<()> {
    let mut lab = alone(|_| {})?;
    lab.start_keepalived_on(Second, 250)?;
    wait_until_has_addresses(&lab, Second, true)?;
    wait_for_role(&lab, First, "standby")?;
    lab.stop_lbd_on(Second)?;
    wait_for_leader(&lab, First)?;
    let status = ha(&lab, First)?;
    ensure!(status["reason"] == "the leader gave up", "{status}");
    ask(&lab, 30)?;
    lab.start_keepalived_on(Second, 250)?;
    wait_for_role(&lab, First, "standby")?;
    wait_until_has_addresses(&lab, Second, true)?;
    lab.kill_balancer(Second)?;
    wait_for_leader(&lab, First)?;
    let status = ha(&lab, First)?;
    ensure!(status["reason"] == "no leader was heard", "{status}");
    let refused = status["counters"].to_string();
    ensure!(!refused.contains("refused"), "{refused}");
    ask(&lab, 30)?;
    Ok(())
}

/// A lab in which only the first of two balancers runs, and leads.
pub(super) fn alone(change: impl FnOnce(&mut Lab)) -> Result<Lab> {
    let mut lab = Lab::builder(programs()?).webs(3).pair().build()?;
    lab.start_webs()?;
    change(&mut lab);
    lab.write_config()?;
    lab.start_lbd_on(First)?;
    wait_until_ready(&lab, First)?;
    wait_for_leader(&lab, First)?;
    Ok(lab)
}

pub(super) fn wait_until_keepalived_says(lab: &Lab, what: &str) -> Result<()> {
    wait_for(PATIENCE, &format!("keepalived to say {what:?}"), || {
        let log = lab.log(Second.keepalived())?;
        ensure!(log.contains(what), "{log}");
        Ok(())
    })
}

/// A leader that comes back leaves the other one alone for as long as it is told to.
pub(crate) fn preemption_waits_as_long_as_it_is_told() -> Result<()> {
    const DELAY: Duration = Duration::from_secs(5);
    let mut lab = pair_with(|lab| {
        lab.config.ha.more = "preempt_delay = \"5s\"\n".to_owned();
        lab.share_secret()
    })?;
    lab.stop_lbd_on(First)?;
    wait_for_leader(&lab, Second)?;
    let arrivals = Arrivals::start(&lab)?;
    let began = Instant::now();
    lab.start_lbd_on(First)?;
    wait_until_ready(&lab, First)?;
    let ready = began.elapsed();
    wait_for_leader(&lab, First)?;
    let took = began.elapsed();
    ensure!(
        took >= DELAY,
        "it was ready after {ready:?}, and led after {took:?}"
    );
    let status = ha(&lab, First)?;
    let reason = status["reason"].to_string();
    ensure!(
        reason.contains("led with the lower priority 100"),
        "{status}"
    );
    wait_for_role(&lab, Second, "standby")?;
    let led = ha(&lab, Second)?["counters"]["led"].clone();
    ensure!(led == 1, "the second one led {led} times");
    tell("taken back after 5 s", arrivals)
}

/// Of two with the same priority, one leads: whoever did, and after a partition the one with the
/// higher address.
pub(crate) fn of_two_equals_one_leads() -> Result<()> {
    let lab = pair_with(|lab| {
        lab.config.ha.priorities = [150, 150];
        lab.share_secret()
    })?;
    lab.cut(First)?;
    wait_for_leader(&lab, Second)?;
    wait_for_leader(&lab, First)?;
    lab.heal(First)?;
    wait_for_role(&lab, First, "standby")?;
    wait_for_leader(&lab, Second)?;
    let reason = ha(&lab, First)?["reason"].to_string();
    let expected = "192.0.2.2 leads with the same priority and a higher address";
    ensure!(reason.contains(expected), "{reason}");
    let alarms = alarms(&lab, First)?;
    let tie = "192.0.2.2 leads with this host's own priority, 150";
    ensure!(alarms.contains(tie), "{alarms}");
    ask(&lab, 30)?;
    Ok(())
}

/// Where a third party is asked, only one of two that do not hear each other leads.
pub(crate) fn with_a_witness_one_leads_in_a_partition() -> Result<()> {
    let lab = paired_with(|lab| {
        // Nobody listens there, and that is an answer.
        lab.config.ha.more = format!("witness = \"{CLIENT}:9\"\n");
    })?;
    // A standby that hears nobody may be the one that is cut off.
    lab.cut(Second)?;
    wait_for(PATIENCE, "it to say so", || {
        let alarms = alarms(&lab, Second)?;
        let withheld = "nobody leads, and this host may not: the witness";
        ensure!(alarms.contains(withheld), "{alarms}");
        Ok(())
    })?;
    wait_for_role(&lab, Second, "standby")?;
    lab.heal(Second)?;
    lab.wait_until_synchronised(PATIENCE)?;
    lab.cut(First)?;
    wait_for_leader(&lab, Second)?;
    wait_for_role(&lab, First, "standby")?;
    let status = ha(&lab, First)?;
    let reason = status["reason"].to_string();
    ensure!(
        reason.contains("the witness 192.0.2.100:9 does not answer"),
        "{reason}"
    );
    ask(&lab, 30)?;
    lab.heal(First)?;
    wait_for_leader(&lab, First)?;
    wait_for_role(&lab, Second, "standby")?;
    ask(&lab, 30)?;
    Ok(())
}
