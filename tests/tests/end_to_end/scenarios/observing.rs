//! What others see of lbd: metrics, events, and what systemd is told.

use super::failover::{paired_with, wait_for_leader};
use super::{PATIENCE, lab_with, programs, wait_for_backend};
use crate::traffic::{Regulars, ask};
use anyhow::{Context as _, Result, bail, ensure};
use kit::http;
use kit::lab::Lab;
use kit::layout::Balancer::{self, First, Second};
use kit::layout::VIP;
use kit::wait::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Where scrapers find metrics, on the load balancer itself.
const SCRAPES: ([u8; 4], u16) = ([127, 0, 0, 1], 9601);

/// What `lbctl metrics` prints.
fn metrics(lab: &Lab, balancer: Balancer) -> Result<String> {
    let output = lab.lbctl_on(balancer, &["metrics"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "lbctl metrics: {}", said.trim());
    Ok(String::from_utf8(output.stdout)?)
}

/// The value of a sample, named with its labels.
fn value(metrics: &str, sample: &str) -> Result<f64> {
    let mut samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = samples
        .find(|(name, _)| *name == sample)
        .with_context(|| format!("there is no {sample}:\n{metrics}"))?;
    Ok(value.parse()?)
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `lbctl events --follow --json`, line by line.
struct Follower {
    lines: Receiver<String>,
    _lbctl: Running,
}

impl Follower {
    fn start(lab: &Lab) -> Result<Self> {
        let mut lbctl = Command::new(&lab.programs().lbctl)
            .arg("--socket")
            .arg(lab.layout().socket())
            .args(["events", "--follow", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = lbctl.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // An error means that nobody waits for more.
            lines.map(|line| sender.send(line)).find(Result::is_err)
        });
        Ok(Self {
            lines,
            _lbctl: Running(lbctl),
        })
    }

    /// Waits for an event that says this.
    fn hears(&self, message: &str) -> Result<Value> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.with_context(|| format!("{message:?} was not heard"))?;
            let event: Value = serde_json::from_str(&line)?;
            if event["message"] == message {
                return Ok(event);
            }
        }
    }
}

/// Counters move with traffic; a backend that dies is seen in metrics and events; who follows events
/// goes on when lbd is started again.
pub(crate) fn metrics_and_events_tell_what_happens() -> Result<()> {
    let mut lab = lab_with(|lab| {
        lab.config.top = "[metrics]\nlisten = \"127.0.0.1:9601\"".to_owned();
        Ok(())
    })?;
    let follower = Follower::start(&lab)?;
    let before = metrics(&lab, First)?;
    let requests = 30;
    ask(&lab, requests)?;
    let after = metrics(&lab, First)?;
    let grew = |sample: &str| anyhow::Ok(value(&after, sample)? - value(&before, sample)?);
    let connections = grew("headgate_service_connections_total{service=\"www\"}")?;
    ensure!(connections == requests as f64, "{connections} connections");
    for (sample, least) in [
        (
            "headgate_service_packets_total{service=\"www\",direction=\"in\"}",
            4,
        ),
        (
            "headgate_service_packets_total{service=\"www\",direction=\"out\"}",
            3,
        ),
        (
            "headgate_service_bytes_total{service=\"www\",direction=\"in\"}",
            4 * 40,
        ),
        (
            "headgate_service_bytes_total{service=\"www\",direction=\"out\"}",
            3 * 40,
        ),
        ("headgate_packets_total{reason=\"to_backend\"}", 4),
    ] {
        let grew = grew(sample)?;
        ensure!(grew >= (least * requests) as f64, "{sample} grew by {grew}");
    }
    let mut of_backends = 0.0;
    for n in 1..=3 {
        let labels = format!("{{service=\"www\",backend=\"web{n}\"}}");
        of_backends += grew(&format!("headgate_backend_connections_total{labels}"))?;
        ensure!(value(&after, &format!("headgate_backend_up{labels}"))? == 1.0);
    }
    ensure!(of_backends == connections, "{of_backends} at backends");
    ensure!(value(&after, "headgate_alarms")? == 0.0, "{after}");
    ensure!(value(&after, "headgate_ha_role{role=\"alone\"}")? == 1.0);

    // A scraper on the host gets the same, and nobody else gets anything.
    let scraped = lab
        .lb()
        .run(|| http::get(SocketAddr::from(SCRAPES), "/metrics", PATIENCE))??;
    let scraped = String::from_utf8(scraped.body)?;
    let names = |text: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    ensure!(names(&scraped) == names(&after), "{scraped}\n{after}");
    let refused = lab.client().run(|| {
        let limit = Duration::from_secs(5);
        TcpStream::connect_timeout(&SocketAddr::from((VIP, SCRAPES.1)), limit)
    })?;
    ensure!(refused.is_err(), "clients can read the metrics");

    lab.stop_web(2)?;
    let down = follower.hears("backend is down")?;
    ensure!(
        down["level"] == "warn" && down["fields"]["backend"] == "www/web2",
        "{down}"
    );
    wait_for_backend(&lab, "web2", "down")?;
    let now = metrics(&lab, First)?;
    let up = "headgate_backend_up{service=\"www\",backend=\"web2\"}";
    ensure!(value(&now, up)? == 0.0);
    let serving = "headgate_service_backends_serving{service=\"www\"}";
    ensure!(value(&now, serving)? == 2.0);
    let table = lab.lbctl(&["events"])?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(
        table.contains("warn   backend is down backend=www/web2 reason="),
        "{table}"
    );

    lab.must_lbctl(&["backend", "drain", "www/web1"])?;
    let changed = follower.hears("changed")?;
    let change = changed["fields"]["change"].as_str().unwrap_or_default();
    ensure!(change.contains("www/web1"), "{changed}");

    lab.stop_lbd()?;
    lab.start_lbd()?;
    follower.hears("ready").context("after a restart")?;
    Ok(())
}

/// Metrics of a pair say who leads, and follow when the leader dies.
pub(crate) fn metrics_tell_who_leads() -> Result<()> {
    let mut lab = paired_with(|_| {})?;
    let regulars = Regulars::start(&lab, 4)?;
    regulars.wait_for_each()?;
    for (balancer, role) in [(First, "leader"), (Second, "standby")] {
        let now = metrics(&lab, balancer)?;
        for each in ["alone", "starting", "standby", "leader"] {
            let is = value(&now, &format!("headgate_ha_role{{role=\"{each}\"}}"))?;
            ensure!(is == f64::from(u8::from(each == role)), "{each}: {now}");
        }
        ensure!(value(&now, "headgate_ha_lease_left_seconds")? > 0.0);
        let link = match balancer {
            First => "local=\"192.0.2.1\",remote=\"192.0.2.2\"",
            Second => "local=\"192.0.2.2\",remote=\"192.0.2.1\"",
        };
        let up = format!("headgate_ha_link_state{{{link},state=\"up\"}}");
        ensure!(value(&now, &up)? == 1.0, "{now}");
        for counter in ["sent", "heard"] {
            let counter = format!("headgate_ha_heartbeats_{counter}_total{{{link}}}");
            let before = value(&now, &counter)?;
            wait_for(PATIENCE, "heartbeats to be counted", || {
                let now = value(&metrics(&lab, balancer)?, &counter)?;
                ensure!(now > before, "{counter} is still {now}");
                Ok(())
            })?;
        }
    }
    ensure!(value(&metrics(&lab, First)?, "headgate_ha_adverts_sent_total")? > 0.0);
    lab.kill_balancer(First)?;
    wait_for_leader(&lab, Second)?;
    let now = metrics(&lab, Second)?;
    ensure!(value(&now, "headgate_ha_role{role=\"leader\"}")? == 1.0);
    ensure!(value(&now, "headgate_ha_peer_up{peer=\"192.0.2.1\"}")? == 0.0);
    ensure!(value(&now, "headgate_alarms")? > 0.0);
    regulars.wait_for_each()?;
    for served in regulars.stop() {
        served.context("a connection broke")?;
    }
    Ok(())
}

/// systemd hears that lbd is ready, how it is, that its loop turns, and that it ends.
pub(crate) fn systemd_is_told() -> Result<()> {
    let mut lab = lab_with(|_| Ok(()))?;
    lab.stop_lbd()?;
    let path = lab.layout().run_dir().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let hears = |wanted: &str| -> Result<String> {
        let mut buffer = [0; 4_096];
        // The watchdog's words come each second, so others are waited for among them.
        for _ in 0..30 {
            let length = socket.recv(&mut buffer);
            let length = length.with_context(|| format!("{wanted} was not heard"))?;
            let said = String::from_utf8(buffer[..length].to_vec())?;
            if said.contains(wanted) {
                return Ok(said);
            }
        }
        bail!("{wanted} was not heard")
    };
    let mut command = lab.lb().command(programs()?.lbd)?;
    command
        .arg("--config")
        .arg(lab.layout().config())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "10000000")
        .stderr(Stdio::null());
    let mut lbd = Running(command.spawn()?);
    let ready = hears("READY=1")?;
    ensure!(
        ready.contains("\nSTATUS=alone; backends: 3 of 3 serve; alarms: "),
        "{ready}"
    );
    // From now on it answers.
    lab.lbctl_json(&["status"])?;
    hears("WATCHDOG=1")?;
    lab.stop_web(1)?;
    hears("STATUS=alone; backends: 2 of 3 serve")?;
    hears("WATCHDOG=1")?;
    kill(Pid::from_raw(i32::try_from(lbd.0.id())?), Signal::SIGTERM)?;
    hears("STOPPING=1")?;
    let status = lbd.0.wait()?;
    ensure!(status.success(), "lbd ended with {status}");
    Ok(())
}
