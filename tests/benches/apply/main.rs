//! `cargo xtask bench apply`: how soon a change is in effect.
//!
//! A backend is added to a service whose table has 65,537 slots. When `lbctl backend add` returns,
//! the change is decided and on disk; the backend still has to be found by ARP and, where it is
//! checked, to answer a probe. Then its share of the table is written. What counts is the time from
//! the return until the last slot of that share names it. That new connections reach it then is
//! checked each time, and not measured: which slot a connection falls on is chance.

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::maps::{Array, Map, MapData};
use clap::Parser as _;
use kit::figures::{Bound, Figures, Unit, median};
use kit::interrupt;
use kit::lab::Lab;
use kit::layout::{VIP, web_address, web_ip, web_name};
use kit::{http, wait};
use lb_control::dataplane::{Dataplane as _, Kernel, Pins, Tables};
use lb_ebpf::abi::ServiceKey;

use support::{Options, Progress, go_on};

/// Rounds, unless told.
const ROUNDS: u32 = 15;
/// The web server that comes and goes.
const NEW: u8 = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon a change is in effect.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let rounds = args.options.rounds.unwrap_or(ROUNDS);
    support::run(&args.options, || measure(rounds))
}

/// What one change took, in milliseconds.
struct Took {
    /// From the call of lbctl to its return.
    call: f64,
    /// From then until the change is in effect.
    after: f64,
}

fn measure(rounds: u32) -> Result<Figures> {
    let mut lab = Lab::builder(support::programs()?).webs(NEW).build()?;
    lab.config.backends.truncate(usize::from(NEW) - 1);
    lab.write_config()?;
    lab.start_webs()?;
    lab.start_lbd()?;

    let mut figures = Figures::of("apply");
    let mut progress = Progress::new();
    let checked = series(&lab, rounds, "checked by HTTP", &mut progress)?;
    uncheck(&lab)?;
    let plain = series(&lab, rounds, "not checked", &mut progress)?;
    progress.end();

    let of =
        |took: &[Took], part: fn(&Took) -> f64| median(&took.iter().map(part).collect::<Vec<_>>());
    for (suffix, took) in [("", &plain), ("_checked", &checked)] {
        for (name, part) in [
            ("add_backend", (|took| took.after) as fn(&Took) -> f64),
            ("lbctl_backend_add", |took| took.call),
        ] {
            let name = format!("apply_ms.{name}{suffix}");
            figures.add(name, of(took, part), Unit::Milliseconds);
        }
    }
    figures.target("apply_ms.add_backend", Bound::AtMost(20.0));
    Ok(figures)
}

/// Puts a service without checks in the place of the one that has them.
fn uncheck(lab: &Lab) -> Result<()> {
    lab.must_lbctl(&["service", "remove", "www"])?;
    let vip = format!("{VIP}:80/tcp");
    lab.must_lbctl(&["service", "add", "www", &vip, "--check-type", "none"])?;
    for n in 1..NEW {
        add(lab, n)?;
    }
    Ok(())
}

/// Adds the backend and takes it away again, many times.
fn series(lab: &Lab, rounds: u32, what: &str, progress: &mut Progress) -> Result<Vec<Took>> {
    progress.step(&format!("a service that is {what}"));
    let pins = Pins::new(&lab.layout().bpffs());
    // The same backends always get the same slots: the first time shows which.
    let before = settled(lab)?;
    add(lab, NEW)?;
    wait::wait_for(PATIENCE, "the new backend's slots", || {
        // lbd does not answer in the middle of writing them.
        let status = lab.lbctl_json(&["status"])?;
        let backends = status["services"][0]["backends"].as_array();
        let serves = |backend: &serde_json::Value| {
            backend["name"] == *web_name(NEW) && backend["slots"].as_u64() > Some(0)
        };
        ensure!(
            backends.is_some_and(|all| all.iter().any(serves)),
            "{status}"
        );
        Ok(())
    })?;
    let (first_slot, last) = last_difference(&before, &read(lab)?)?;
    remove(lab)?;

    let mut all = Vec::new();
    for round in 1..=rounds {
        go_on()?;
        progress.step(&format!("{what}: round {round} of {rounds}"));
        let now = settled(lab)?;
        ensure!(
            service(&now)?.0 == first_slot,
            "the service's slots have moved"
        );
        let watch = Watch::start(&pins.map("SLOTS"), (first_slot + last) / 2)?;
        let start = Instant::now();
        add(lab, NEW)?;
        let returned = Instant::now();
        let effective = watch.wait()?;
        all.push(Took {
            call: milliseconds(returned - start),
            after: milliseconds(effective.saturating_duration_since(returned)),
        });
        ensure_reached(lab)?;
        remove(lab)?;
    }
    Ok(all)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn add(lab: &Lab, n: u8) -> Result<()> {
    let backend = format!("www/{}", web_name(n));
    lab.must_lbctl(&["backend", "add", &backend, &web_address(n).to_string()])
}

fn remove(lab: &Lab) -> Result<()> {
    let backend = format!("www/{}", web_name(NEW));
    lab.must_lbctl(&["backend", "remove", &backend, "--force"])
}

fn read(lab: &Lab) -> Result<Tables> {
    Ok(Kernel::open(&Pins::new(&lab.layout().bpffs()))?.read()?)
}

/// The first slot of the service, and its number.
fn service(tables: &Tables) -> Result<(u32, u16)> {
    let key = ServiceKey::tcp(VIP.into(), 80u16.to_be_bytes());
    let service = tables.services.get(&key).context("there is no service")?;
    Ok((service.first_slot, service.id))
}

/// Waits until the backend is gone without a trace: from the tables, and from the neighbours.
fn settled(lab: &Lab) -> Result<Tables> {
    let tables = wait::wait_for(PATIENCE, "the backend to be gone", || {
        let tables = read(lab)?;
        let (_, id) = service(&tables)?;
        let slots = tables.slots.get(&id).context("there are no slots")?;
        let old = usize::from(NEW) - 1;
        ensure!(tables.backends.len() == old, "{:?}", tables.backends);
        ensure!(
            slots
                .iter()
                .all(|slot| slot.current != 0 && slot.current == slot.previous),
            "slots have not come to rest"
        );
        Ok(tables)
    })?;
    lab.lb()
        .ip_batch(&format!("neighbour flush dev eth1 to {}\n", web_ip(NEW)))?;
    Ok(tables)
}

/// The first slot of the service, and the last one of those that differ, counted from there.
fn last_difference(before: &Tables, after: &Tables) -> Result<(u32, u32)> {
    let (first, id) = service(after)?;
    let (Some(before), Some(after)) = (before.slots.get(&id), after.slots.get(&id)) else {
        bail!("there are no slots");
    };
    let last = (0u32..)
        .zip(before.iter().zip(after))
        .filter(|(_, (before, after))| before != after)
        .map(|(index, _)| index)
        .last();
    Ok((first, last.context("no slot has changed")?))
}

/// An error unless new connections reach the new backend.
fn ensure_reached(lab: &Lab) -> Result<()> {
    // One in three does, so that a hundred in a row that do not are no accident.
    const TRIES: usize = 100;
    let name = web_name(NEW);
    lab.client().run(move || {
        for _ in 0..TRIES {
            let answer = http::get((VIP, 80).into(), "/whoami", Duration::from_secs(1))?;
            if answer.served_by.as_ref() == Some(&name) {
                return Ok(());
            }
        }
        bail!("the slots name {name}, but no connection reaches it")
    })?
}

/// Watches an element of the table of slots.
struct Watch {
    thread: JoinHandle<Result<Instant>>,
}

impl Watch {
    /// Begins to watch; returns once the element was read for the first time.
    fn start(pin: &Path, element: u32) -> Result<Self> {
        let slots: Array<MapData, u64> = Map::from_map_data(MapData::from_pin(pin)?)?.try_into()?;
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            const LOOK: Duration = Duration::from_micros(50);
            let before = slots.get(&element, 0)?;
            let deadline = Instant::now() + PATIENCE;
            // Whoever started this waits for it.
            let _ = ready.send(());
            while slots.get(&element, 0)? == before {
                ensure!(Instant::now() < deadline, "the table has not changed");
                ensure!(!interrupt::arrived(), "interrupted");
                std::thread::sleep(LOOK);
            }
            Ok(Instant::now())
        });
        // An error means that the thread has failed, and the wait will say how.
        let _ = is_ready.recv();
        Ok(Self { thread })
    }

    /// When the element changed.
    fn wait(self) -> Result<Instant> {
        let result = self.thread.join();
        result.map_err(|_| anyhow!("the watch panicked"))?
    }
}
