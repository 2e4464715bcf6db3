//! lbd is killed, started again, told something else, and taken away.

use super::failover::tell;
use super::{PATIENCE, counted, lab, lab_with, shares};
use crate::traffic::{Arrivals, Regulars, ask, service};
use anyhow::{Context as _, Result, ensure};
use kit::http::Connection;
use kit::lab::Lab;
use kit::layout::web_name;
use kit::wait::wait_for;

pub(crate) fn traffic_survives_lbd() -> Result<()> {
    let mut lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(50)?;
    let before = shares(&lab)?;
    lab.kill_lbd()?;
    regulars.wait_for_requests(200)?;
    ask(&lab, 30)?;
    lab.start_lbd()?;
    // Nothing is torn down and built up again: the backends are up from the first moment.
    for n in 1..=3 {
        let backend = super::backend(&lab, &web_name(n))?;
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
    every_packet_was_seen(&lab)
}

/// The client talks to the VIP only, and the web servers to clients, to the checks, and at their
/// start to themselves. Had a packet been lost, or found no program while one took the place of the other, they would count
/// differently.
fn every_packet_was_seen(lab: &Lab) -> Result<()> {
    wait_for(
        PATIENCE,
        "all to agree on how many packets there were",
        || {
            let requests = lab.client().run(segments)??.sent;
            let mut answers = 0;
            for n in 1..=3 {
                let segments = lab.web(n).run(segments)??;
                answers += segments.sent - segments.by_loopback;
            }
            let to_checks = lab.lb().run(segments)??.received;
            let to_backend = counted(lab, "to_backend")?;
            let to_client = counted(lab, "to_client")? + counted(lab, "to_client_by_stack")?;
            ensure!(
                requests == to_backend && answers == to_client + to_checks,
                "the client sent {requests}, and the program saw {to_backend}; \
             the servers sent {answers}, and the program saw {to_client}, the checks {to_checks}"
            );
            Ok(())
        },
    )
}

struct Segments {
    sent: u64,
    received: u64,
    by_loopback: u64,
}

/// TCP segments that this thread's namespace has sent and received since it was made.
fn segments() -> Result<Segments> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = lines.next().context("no names")?.split(' ');
    let values = lines.next().context("no values")?.split(' ');
    let counters: std::collections::BTreeMap<_, _> = names.zip(values).collect();
    let count = |name: &str| -> Result<u64> {
        let value = counters.get(name).with_context(|| format!("no {name}"))?;
        Ok(value.parse()?)
    };
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let loopback = devices
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .and_then(|counters| counters.split_whitespace().nth(1))
        .context("no loopback")?;
    Ok(Segments {
        by_loopback: loopback.parse()?,
        sent: count("OutSegs")? + count("RetransSegs")?,
        received: count("InSegs")?,
    })
}

pub(crate) fn changes_survive_lbd() -> Result<()> {
    let mut lab = lab()?;
    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    lab.must_lbctl(&["backend", "set", "www/web2", "--weight", "3"])?;
    let revision = lab.lbctl_json(&["status"])?["revision"].as_u64();
    let before = shares(&lab)?;
    lab.kill_lbd()?;
    lab.start_lbd()?;
    let after = shares(&lab)?;
    ensure!(before == after, "{before:?}, then {after:?}");
    ensure!(super::backend(&lab, "web1")?["admin"] == "drain");
    ensure!(super::backend(&lab, "web2")?["weight"] == 3);
    let now = lab.lbctl_json(&["status"])?["revision"].as_u64();
    ensure!(now == revision, "revision {revision:?}, then {now:?}");
    Ok(())
}

pub(crate) fn a_second_lbd_keeps_away() -> Result<()> {
    let lab = lab()?;
    let config = lab.layout().config();
    for args in [
        &["--config".as_ref()][..],
        &["detach".as_ref(), "--config".as_ref()],
    ] {
        let output = lab.run_lbd(&[args, &[config.as_ref()]].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.contains("another lbd"),
            "{}: {said}",
            output.status
        );
    }
    ask(&lab, 30)?;
    Ok(())
}

/// A file that is wrong is refused with its place, at a reload and at a start; what runs goes on.
pub(crate) fn a_wrong_file_changes_nothing() -> Result<()> {
    let mut lab = lab()?;
    let right = lab.config.clone();
    let before = lab.lbctl_json(&["status"])?;
    let wrong = [
        (
            "no_such_key = 1",
            "lbd.toml:6:1: unknown key \"no_such_key\"",
        ),
        ("[limits]\nflows = 0", "lbd.toml:7:9: flows"),
    ];
    for (line, complaint) in wrong {
        lab.config.top = line.to_owned();
        refused(&lab, complaint)?;
    }
    lab.config = right.clone();
    lab.config.backends[1].weight = 5_000;
    refused(&lab, "weight 5000 is out of range: 1 to 1000")?;
    lab.config = right.clone();
    lab.config.tables = "[[service]]\nname = \"www\"\nvip = \"192.0.2.10:81\"".to_owned();
    refused(&lab, "there is a service www already")?;
    lab.config = right.clone();
    lab.config.backends[0].address = "[2001:db8::1]:80".parse()?;
    refused(&lab, "is of another version of IP than")?;
    let after = lab.lbctl_json(&["status"])?;
    ensure!(before["revision"] == after["revision"], "{before} {after}");
    ask(&lab, 10)?;

    lab.kill_lbd()?;
    let error = format!("{:#}", lab.start_lbd().err().context("it started")?);
    ensure!(error.contains("another version of IP"), "{error}");
    ask(&lab, 10).context("traffic ended with a wrong file")?;
    lab.config = right;
    lab.write_config()?;
    lab.start_lbd()?;
    ask(&lab, 10)?;
    Ok(())
}

/// `lbd check` and a reload both refuse the configuration, and say why.
fn refused(lab: &Lab, complaint: &str) -> Result<()> {
    lab.write_config()?;
    let output = lab.run_lbd(&["check".as_ref(), lab.layout().config().as_ref()])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && said.contains(complaint),
        "{complaint:?} is not what was said: {said}"
    );
    let before = lab.log("lbd")?.len();
    lab.reload_lbd()?;
    wait_for(PATIENCE, "the reload to be refused", || {
        let log = lab.log("lbd")?;
        let new = log.get(before..).unwrap_or("");
        ensure!(new.contains("kept the old configuration"), "{new}");
        Ok(())
    })
}

pub(crate) fn a_missing_interface_is_named() -> Result<()> {
    let mut lab = lab()?;
    lab.kill_lbd()?;
    let path = lab.layout().config();
    let text = std::fs::read_to_string(&path)?.replace("\"eth1\"", "\"eth7\"");
    std::fs::write(&path, text)?;
    let error = format!("{:#}", lab.start_lbd().err().context("it started")?);
    ensure!(
        error.contains("lbd.toml:1:23: there is no interface eth7 here, but eth0, eth1"),
        "{error}"
    );
    ask(&lab, 10)?;
    Ok(())
}

pub(crate) fn a_reload_is_applied() -> Result<()> {
    let mut lab = lab()?;
    let regulars = Regulars::start(&lab, 12)?;
    lab.must_lbctl(&["backend", "set", "www/web2", "--weight", "2"])?;
    lab.config.backends.retain(|backend| backend.name != "web3");
    lab.write_config()?;
    lab.reload_lbd()?;
    wait_for(PATIENCE, "web3 to leave", || {
        let backend = super::backend(&lab, "web3")?;
        ensure!(backend["admin"] == "removing", "{backend}");
        Ok(())
    })?;
    ensure!(super::backend(&lab, "web2")?["weight"] == 2);
    regulars.wait_for_requests(200)?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    Ok(())
}

/// Where the driver cannot, the stack runs the program, and status and log say so.
pub(crate) fn generic_mode_is_announced_and_works() -> Result<()> {
    let lab = lab_with(|lab| {
        // Frames of this size do not fit what veth hands to a program.
        let switch = lab.layout().namespace("switch");
        switch.ip_batch("link set lb-front mtu 9000\nlink set lb-back mtu 9000\n")
    })?;
    let status = lab.lbctl_json(&["status"])?;
    for interface in 0..2 {
        let interface = &status["interfaces"][interface];
        ensure!(interface["mode"] == "generic", "{interface}");
    }
    ensure!(lab.log("lbd")?.contains("generic mode is slower"));
    let regulars = Regulars::start(&lab, 12)?;
    regulars.wait_for_requests(200)?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    let answers = ask(&lab, 60)?;
    ensure!(answers.len() == 3, "{answers:?}");
    Ok(())
}

pub(crate) fn verdicts_are_logged_on_demand() -> Result<()> {
    let quiet = lab()?;
    ask(&quiet, 10)?;
    ensure!(
        !quiet.log("lbd")?.contains("to_backend"),
        "it was not asked to"
    );
    drop(quiet);
    let lab = lab_with(|lab| {
        lab.lbd_options = vec!["--log-verdicts"];
        Ok(())
    })?;
    ask(&lab, 10)?;
    wait_for(PATIENCE, "verdicts in the log", || {
        let log = lab.log("lbd")?;
        let client = kit::layout::CLIENT.to_string();
        let both = ["to_backend", "to_client"].map(|verdict| {
            let mut lines = log.lines();
            lines.any(|line| line.contains(verdict) && line.contains(&client))
        });
        ensure!(both == [true, true], "{log}");
        Ok(())
    })
}

/// The balancer's cable is pulled, and plugged in again: whoever waits that long goes on.
pub(crate) fn a_pulled_cable_breaks_nothing() -> Result<()> {
    let lab = lab()?;
    let mut quiet = lab.client().run(|| open_connections(12))??;
    let switch = lab.layout().namespace("switch");
    switch.ip_batch("link set lb-back down\n")?;
    wait_for(PATIENCE, "all checks to fail", || {
        let status = lab.lbctl_json(&["status"])?;
        let alarms = status["alarms"].to_string();
        ensure!(
            alarms.contains("no backend is up") && alarms.contains("eth1 has no carrier"),
            "{alarms}"
        );
        Ok(())
    })?;
    switch.ip_batch("link set lb-back up\n")?;
    wait_for(PATIENCE, "all to be well", || {
        let status = lab.lbctl_json(&["status"])?;
        ensure!(status["alarms"] == serde_json::json!([]), "{status}");
        Ok(())
    })?;
    for connection in &mut quiet {
        connection
            .check_stream(10_000, |_| true)
            .context("a connection broke")?;
    }
    Ok(())
}

fn open_connections(count: usize) -> Result<Vec<Connection>> {
    let limit = std::time::Duration::from_secs(5);
    let open = |_| {
        let mut connection = Connection::open(service(), limit)?;
        connection.check_stream(10_000, |_| true)?;
        Ok(connection)
    };
    (0..count).map(open).collect()
}

/// Whatever becomes of the link between program and interface, it is there again soon.
pub(crate) fn the_program_is_put_back() -> Result<()> {
    let lab = lab()?;
    let arrivals = Arrivals::start(&lab)?;
    arrivals.wait_for_more(20)?;
    let pin = lab.layout().bpffs().join("links-native/eth0");
    std::fs::remove_file(&pin)?;
    wait_for(PATIENCE, "the program to be missed", || {
        let log = lab.log("lbd")?;
        ensure!(log.contains("no longer attached"), "{log}");
        Ok(())
    })?;
    arrivals.wait_for_more(20)?;
    tell("somebody took the program away", arrivals)?;
    answers_again(&lab)?;

    lab.lb().ip_batch("link delete eth1\n")?;
    wait_for(PATIENCE, "the interface to be missed", || {
        let status = lab.lbctl_json(&["status"])?;
        let alarms = status["alarms"].to_string();
        ensure!(alarms.contains("no interface eth1"), "{alarms}");
        ensure!(
            status["interfaces"][1]["mode"] == "not attached",
            "{status}"
        );
        Ok(())
    })?;
    lab.plug_in("lb", "eth1")?;
    answers_again(&lab)?;

    // Another interface takes its name, and it lives on by another one.
    let rename = "link set eth1 down\nlink set eth1 name old1\naddress flush dev old1\n";
    lab.lb().ip_batch(rename)?;
    let switch = lab.layout().namespace("switch");
    switch.ip_batch("link set lb-back nomaster\nlink set lb-back name was-back\n")?;
    lab.plug_in("lb", "eth1")?;
    answers_again(&lab)
}

fn answers_again(lab: &Lab) -> Result<()> {
    wait_for(PATIENCE, "the service to answer again", || {
        ask(lab, 10)?;
        let status = lab.lbctl_json(&["status"])?;
        ensure!(status["alarms"] == serde_json::json!([]), "{status}");
        Ok(())
    })
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
