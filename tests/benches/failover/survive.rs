//! Which connections go on where they were after the host that led has died: of those that only the
//! table knows, and of those that were recorded.
//!
//! ```text
//!  1. SYN of every flow                    which slots are web1's
//!  2. web1 is drained                      its slots are dirty now
//!  3. SYN of 100,000 flows of these slots  they are recorded, with another web server
//!  4. 2,000 further ones a second          and meanwhile the leader dies
//!  5. ACK of every flow                    through the new leader: to the same web server?
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use kit::layout::Balancer::{self, First, Second};
use kit::layout::web_name;
use kit::netns::Namespace;
use kit::wait;

use crate::contender::Pair;
use crate::faults::Fault;
use crate::flows::{FLOWS, Packet, Sender, Sightings, Watch};
use crate::support::pause;

/// Flows that are recorded before anything happens.
const RECORDED: usize = 100_000;
/// Flows that the table alone tells the way.
const STATELESS: usize = 100_000;
/// How many are begun in a second when the leader dies.
const NEW: u32 = 2_000;
/// How many flows are begun in a second that are to be recorded before that: half as many as one
/// processor records unless it is told otherwise.
const RECORDING: u32 = 5_000;
/// How many packets are sent in a second otherwise.
const SENDING: u32 = 25_000;
/// How long it may take until something is so.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long there are new flows before the leader dies, and how long after it another one leads.
const WHILE: Duration = Duration::from_secs(2);

/// What became of the flows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survived {
    pub(crate) stateless: Share,
    pub(crate) tracked: Share,
}

/// How many of how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) part: usize,
    pub(crate) of: usize,
}

impl Share {
    pub(crate) fn percent(self) -> f64 {
        self.part as f64 / self.of as f64 * 100.0
    }
}

/// Lets the leader die among many flows, and brings everything back.
pub(crate) fn survivors(pair: &mut Pair<'_>) -> Result<Survived> {
    let client = pair.lab.client();
    let mac = mac(&client)?;
    let first = mac_of(pair, First)?;
    let second = mac_of(pair, Second)?;
    let watch = Watch::start(pair.lab)?;
    let sightings = Arc::clone(&watch.sightings);
    let send = |to, flows: Vec<usize>, packet, rate| {
        client.run(move || Sender::open(mac, to)?.send(flows, packet, rate, || true))?
    };

    send(first, (0..FLOWS).collect(), Packet::First, SENDING)?;
    wait_for_all(&sightings)?;
    let at = |web: fn(u8) -> bool| -> Vec<usize> {
        let seen = |flow: &usize| sightings.get(*flow, Packet::First).is_some_and(web);
        (0..FLOWS).filter(seen).collect()
    };
    let mut moved = at(|web| web == 1);
    let mut stateless = at(|web| web != 1);
    stateless.truncate(STATELESS);
    ensure!(
        moved.len() > RECORDED && stateless.len() == STATELESS,
        "only {} of {FLOWS} flows go to web1",
        moved.len()
    );

    set_web1(pair, "drain")?;
    for &flow in &moved {
        sightings.forget(flow, Packet::First);
    }
    let later = moved.split_off(RECORDED);
    send(first, moved.clone(), Packet::First, RECORDING)?;
    ensure_recorded(pair)?;

    let noticed = Fault::HostDead.noticed(pair)?;
    let stop = Arc::new(AtomicBool::new(false));
    let arrivals = client.spawn({
        let (later, stop) = (later.clone(), Arc::clone(&stop));
        move || {
            let wanted = || !stop.load(Ordering::Relaxed);
            Sender::open(mac, first)?.send(later, Packet::First, NEW, wanted)
        }
    })?;
    let died = pause(WHILE)
        .and_then(|()| pair.power_off(First))
        .and_then(|()| pause(WHILE));
    stop.store(true, Ordering::Relaxed);
    let arrived = arrivals
        .join()
        .map_err(|_| anyhow!("a sender panicked"))??;
    died.and(arrived)?;
    Fault::HostDead.ensure_happened(pair, noticed)?;

    moved.extend(later);
    // Those that had reached a web server when the leader died.
    moved.retain(|&flow| sightings.get(flow, Packet::First).is_some());
    for flows in [&stateless, &moved] {
        // As TCP does with what is lost on the way.
        for _ in 0..3 {
            let unseen = |flow: &usize| sightings.get(*flow, Packet::Later).is_none();
            let unseen = flows.iter().copied().filter(unseen).collect();
            send(second, unseen, Packet::Later, SENDING)?;
            pause(Duration::from_millis(200))?;
        }
    }
    watch.stop()?;

    pair.power_on(First)?;
    pair.wait_for_leaders(&[First])?;
    set_web1(pair, "enable")?;
    pair.wait_until_initial()?;
    Ok(Survived {
        stateless: share(&sightings, &stateless),
        tracked: share(&sightings, &moved),
    })
}

fn share(sightings: &Sightings, flows: &[usize]) -> Share {
    let stayed = |flow: &&usize| {
        let [first, later] = [Packet::First, Packet::Later].map(|it| sightings.get(**flow, it));
        first == later
    };
    Share {
        part: flows.iter().filter(stayed).count(),
        of: flows.len(),
    }
}

/// Waits until nearly all flows have arrived somewhere.
fn wait_for_all(sightings: &Sightings) -> Result<()> {
    wait::wait_for(PATIENCE, "all packets to arrive", || {
        let seen = |flow: &usize| sightings.get(*flow, Packet::First).is_some();
        let seen = (0..FLOWS).filter(seen).count();
        ensure!(seen >= FLOWS / 100 * 99, "{seen} of {FLOWS} have");
        Ok(())
    })
}

/// Drains the first web server, or lets it serve again; on both balancers, whether or not they tell
/// each other.
fn set_web1(pair: &Pair<'_>, verb: &str) -> Result<()> {
    let backend = format!("www/{}", web_name(1));
    let change = ["backend", verb, &backend];
    // Both may lead for a moment, and then nothing is changed.
    let what = format!("to {verb} {backend}");
    wait::wait_for(PATIENCE, &what, || pair.lab.must_lbctl(&change))?;
    for balancer in [First, Second] {
        let what = format!("{} to {verb} {backend}", balancer.host());
        wait::wait_for(PATIENCE, &what, || {
            let shown = pair
                .lab
                .lbctl_json_on(balancer, &["backend", "show", &backend])?;
            let serves = shown["slots"].as_u64() > Some(0);
            if serves == (verb == "enable") {
                return Ok(());
            }
            pair.lab.must_lbctl_on(balancer, &change)?;
            Err(anyhow!("{shown}"))
        })?;
    }
    Ok(())
}

/// An error unless the leader knows the flows that it was to record.
fn ensure_recorded(pair: &Pair<'_>) -> Result<()> {
    let most = RECORDED as u64 / 1_000 * 999;
    wait::wait_for(PATIENCE, "the flows to be recorded", || {
        let mut recorded = 0;
        for n in 2..=crate::WEBS {
            let backend = format!("www/{}", web_name(n));
            let shown = pair.lab.lbctl_json(&["backend", "show", &backend])?;
            recorded += shown["recorded_flows"].as_u64().unwrap_or(0);
        }
        ensure!(recorded >= most, "only {recorded} of {RECORDED} are");
        Ok(())
    })
}

fn mac_of(pair: &Pair<'_>, balancer: Balancer) -> Result<[u8; 6]> {
    mac(&pair.lab.balancer(balancer))
}

/// The hardware address of a host's interface to the clients.
fn mac(host: &Namespace) -> Result<[u8; 6]> {
    let mut ip = host.command("ip")?;
    let output = ip.args(["-j", "link", "show", "eth0"]).output()?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let text = links[0]["address"]
        .as_str()
        .context("eth0 has no address")?;
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    let address = <[u8; 6]>::try_from(bytes);
    address.map_err(|_| anyhow!("{text} is no hardware address"))
}
