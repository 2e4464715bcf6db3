//! `cargo xtask bench dataplane`: what one packet costs in the loaded program, in nanoseconds.
//!
//! The kernel runs the program on a frame that it is handed (`BPF_PROG_TEST_RUN`) and says how
//! long that took. It is asked for one run at a time: asked for more, it runs the program on its
//! own output, which is no longer a packet of any client. So each figure holds the cost of reading
//! the clock twice, and of calling a program at all; `nop`, which returns at once, tells how much
//! that is.
//!
//! What is compared is measured alternately: each round takes every case in turn, and the figure
//! is the median of the rounds' medians. Every case has its own frames, in random order, so that
//! what the program looks up is in the caches as it would be with so many clients.

mod frames;
mod timing;
mod world;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use kit::figures::{Bound, Figures, Unit, median};
use kit::lab::Lab;
use lb_ebpf::abi::{Feature, Features};

use frames::{Frame, Kind};
use support::{Options, Progress, go_on};
use timing::Timing;
use world::{Program, Service, World};

/// Rounds, unless told.
const ROUNDS: u32 = 25;
/// Packets of each case in a round. Enough to fill the caches anew after the case before.
const PACKETS: usize = 65_536;
/// New connections in a round: so many that they can be told before anybody reads.
const NEW: usize = 32_768;

/// What a packet costs in the loaded program.
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

/// One kind of packet.
struct Case<'w> {
    figure: &'static str,
    program: &'w Program,
    frames: Vec<Frame>,
    /// What the program must return.
    action: u32,
    /// Packets in a round.
    packets: usize,
    /// Whose flows are forgotten before each round.
    forgets: Option<&'w World>,
    /// The medians of the rounds.
    medians: Vec<f64>,
    /// The next frame.
    next: usize,
}

impl<'w> Case<'w> {
    fn new(figure: &'static str, program: &'w Program, frames: Vec<Frame>, action: u32) -> Self {
        Self {
            figure,
            program,
            frames,
            action,
            packets: PACKETS,
            forgets: None,
            medians: Vec::new(),
            next: 0,
        }
    }

    /// Connections that are recorded, each with its only packet.
    fn recording(figure: &'static str, world: &'w World, action: u32) -> Self {
        let frames = frames::shuffled(Kind::Syn, Service::Dirty, NEW as u32);
        Self {
            packets: NEW,
            forgets: Some(world),
            ..Self::new(figure, &world.headgate, frames, action)
        }
    }

    /// Measures some packets.
    fn round(&mut self) -> Result<()> {
        self.forgets.map_or(Ok(()), World::forget_flows)?;
        let mut timing = Timing::default();
        for _ in 0..self.packets {
            let frame = &self.frames[self.next];
            self.next = (self.next + 1) % self.frames.len();
            let run = self.program.run(frame)?;
            ensure!(
                run.action == self.action,
                "{}: the program returned {} instead of {}",
                self.figure,
                run.action,
                self.action
            );
            timing.add(run.duration_ns);
        }
        self.medians.push(timing.median());
        Ok(())
    }
}

fn measure(rounds: u32) -> Result<Figures> {
    // Nothing runs in this lab. It has interfaces, routes and a place for pins.
    let lab = Lab::builder(support::programs()?).webs(2).build()?;
    let pins = lab.layout().bpffs();
    world::prepare(&lab)?;
    // Interfaces have their numbers, and routes their meaning, in this namespace.
    lab.lb().run(move || -> Result<Figures> {
        let load = |name: &str, recorded, tells_flows, features| {
            World::load(&pins.join(name), recorded, tells_flows, features)
                .with_context(|| format!("the program {name}"))
        };
        let least = Features::NONE;
        let steady = [
            load("steady", 65_536, false, least)?,
            load("full", 262_144, false, least)?,
        ];
        let recording = [
            load("silent", 0, false, least)?,
            load("telling", 0, true, least)?,
        ];
        let all = load("all", 0, false, Features::ALL)?;
        let mut figures = take(&steady, &recording, &all, rounds)?;
        for (name, features) in sets() {
            let count = world::instructions(&pins.join("instructions"), features)?;
            figures.add(format!("insns.{name}"), count.into(), Unit::Count);
        }
        steady.iter().try_for_each(World::check)?;
        recording.iter().try_for_each(World::check_new)?;
        Ok(figures)
    })?
}

/// The sets of features that programs are loaded with, by name.
fn sets() -> Vec<(String, Features)> {
    let mut sets = vec![("none".to_owned(), Features::NONE)];
    for feature in Feature::ALL {
        let set = Features::NONE.with(feature);
        sets.push((feature.name().to_owned(), set));
    }
    sets.push(("all".to_owned(), Features::ALL));
    sets
}

fn take(
    [steady, full]: &[World; 2],
    [silent, telling]: &[World; 2],
    all: &World,
    rounds: u32,
) -> Result<Figures> {
    const PASS: u32 = 2;
    const REDIRECT: u32 = 4;
    eprintln!("building packets");
    let clean = |kind, flows| frames::shuffled(kind, Service::Clean, flows);
    let six = |kind, flows| frames::shuffled(kind, Service::CleanV6, flows);
    let dirty = |kind, flows| frames::shuffled(kind, Service::Dirty, flows);
    let mut cases = [
        Case::new("nop_ns", &steady.nop, clean(Kind::Data, 65_536), PASS),
        Case::new(
            "net_ns.pass",
            &steady.headgate,
            clean(Kind::Other, 65_536),
            PASS,
        ),
        Case::new(
            "net_ns.syn",
            &steady.headgate,
            clean(Kind::Syn, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v4.established_1",
            &steady.headgate,
            clean(Kind::Data, 1),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v4.established_65536",
            &steady.headgate,
            clean(Kind::Data, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v4.established_1000000",
            &steady.headgate,
            clean(Kind::Data, 1_000_000),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v4.reverse_65536",
            &steady.headgate_back,
            clean(Kind::Answer, 65_536),
            REDIRECT,
        ),
        // The same where every service there can be may be, and others.
        Case::new(
            "net_ns.nat.v4.all_features_65536",
            &all.headgate,
            clean(Kind::Data, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v4.udp_65536",
            &all.headgate,
            frames::shuffled(Kind::Data, Service::CleanUdp, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v6.established_1",
            &all.headgate,
            six(Kind::Data, 1),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v6.established_65536",
            &all.headgate,
            six(Kind::Data, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v6.established_1000000",
            &all.headgate,
            six(Kind::Data, 1_000_000),
            REDIRECT,
        ),
        Case::new(
            "net_ns.nat.v6.reverse_65536",
            &all.headgate_back,
            six(Kind::Answer, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.recorded_1",
            &steady.headgate,
            dirty(Kind::Data, 1),
            REDIRECT,
        ),
        Case::new(
            "net_ns.recorded_65536",
            &steady.headgate,
            dirty(Kind::Data, 65_536),
            REDIRECT,
        ),
        Case::new(
            "net_ns.recorded_262144",
            &full.headgate,
            dirty(Kind::Data, 262_144),
            REDIRECT,
        ),
        Case::recording("net_ns.new", silent, REDIRECT),
        Case::recording("net_ns.new_told", telling, REDIRECT),
    ];

    let mut progress = Progress::new();
    for round in 1..=rounds {
        progress.step(&format!("round {round} of {rounds}"));
        for case in &mut cases {
            go_on()?;
            case.round()?;
        }
    }
    progress.end();

    let nop = cases[0].medians.clone();
    let mut figures = Figures::of("dataplane");
    figures.add(cases[0].figure, median(&nop), Unit::Nanoseconds);
    for case in &cases[1..] {
        let net: Vec<f64> = case
            .medians
            .iter()
            .zip(&nop)
            .map(|(case, nop)| case - nop)
            .collect();
        figures.add_beside(
            case.figure,
            median(&net),
            Unit::Nanoseconds,
            "net_ns.nat.v4.established_65536",
        );
    }
    figures.target("net_ns.nat.v4.established_65536", Bound::AtMost(100.0));
    figures.target("net_ns.nat.v4.established_1000000", Bound::AtMost(100.0));
    figures.target(
        "net_ns.nat.v4.established_1000000",
        Bound::AtMostTimes(1.3, "net_ns.nat.v4.established_65536"),
    );
    figures.target(
        "net_ns.nat.v6.established_1000000",
        Bound::AtMostTimes(1.3, "net_ns.nat.v4.established_1000000"),
    );
    Ok(figures)
}
