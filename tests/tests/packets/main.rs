//! Packet in, verdict, packet out. Each case runs twice: through the pure function on the host,
//! and through the loaded program in the kernel.
//!
//! The kernel's part needs root, and runs in namespaces of its own. Without root its trials fail
//! where `CI` is set, and are reported as ignored elsewhere.

mod case;
mod cases;
mod dialect;
mod flood;
mod flows;
mod host;
mod kernel;
mod outcome;
mod world;

#[path = "../../../lb-ebpf/src/tests/memory.rs"]
#[allow(dead_code, reason = "shared with tests that need more, or less, of it")]
mod memory;
#[path = "../../../lb-ebpf/src/tests/packet.rs"]
#[allow(dead_code, reason = "shared with tests that need more, or less, of it")]
mod packet;

use case::{Case, Lease};
use dialect::{PLAIN, TCP6};
use kernel::Rig;
use kit::random::Random;
use lb_control::dataplane::{Kernel, Memory};
use lb_ebpf::abi::{Feature, Features};
use lb_ebpf::reason::Reason;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// The shortest frame that a test run takes: an Ethernet header. So a runt is seen on the host only.
const SHORTEST_RUN: usize = 14;

/// Frames of a flood.
const FLOOD: usize = 10_000;

/// A test of the tables with flows that userspace enters.
type EnteredFlows<D> = fn(&mut D) -> Result<(), String>;

/// The loaded program, or why there is none.
type SharedRig = Arc<Result<Mutex<Rig>, String>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = nix::unistd::Uid::effective().is_root();
    let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty());
    let rig = match () {
        () if arguments.list => Err("only listing".to_owned()),
        () if !root => Err("needs root".to_owned()),
        // Here, while there is one thread: those that run the trials inherit its namespaces.
        () => Rig::new()
            .map(Mutex::new)
            .map_err(|error| format!("{error:#}")),
    };
    let rig = SharedRig::new(rig);

    let cases: Vec<Arc<Case>> = cases::all().into_iter().map(Arc::new).collect();
    let mut trials = vec![every_reason(&cases)];
    for case in &cases {
        trials.push(on_host(case));
    }
    let mut privileged = Vec::new();
    for case in &cases {
        if case.frame.len() >= SHORTEST_RUN {
            privileged.push(in_kernel(case, &rig));
        }
        privileged.push(truncated(case, &rig));
        if let Some(case) = with_least(case) {
            trials.push(on_host(&case));
            privileged.push(in_kernel(&case, &rig));
        }
    }
    for d in [PLAIN, TCP6] {
        privileged.push(with_rig(
            format!("{d}an address is a service's until its last one goes"),
            &rig,
            move |rig| Ok(rig.services_come_and_go(&cases::while_fenced(d))?),
        ));
    }
    privileged.push(with_rig(
        "what no service uses is not in the program".to_owned(),
        &rig,
        programs_grow,
    ));
    privileged.push(with_rig(
        "a full buffer of new flows".to_owned(),
        &rig,
        |rig| Ok(rig.too_much_to_tell(&cases::told(PLAIN))?),
    ));
    privileged.push(with_rig(
        "new flows are told to a reader".to_owned(),
        &rig,
        |rig| Ok(rig.told_to_a_reader(&cases::told(PLAIN))?),
    ));
    let entered: [(&str, EnteredFlows<Kernel>, EnteredFlows<Memory>); 2] = [
        ("flows come and go", flows::come_and_go, flows::come_and_go),
        (
            "flows are too many",
            flows::are_too_many,
            flows::are_too_many,
        ),
    ];
    for (name, in_kernel, on_host) in entered {
        trials.push(Trial::test(format!("host: {name}"), move || {
            let mut memory = Memory::default();
            memory.room = Some(flows::ROOM);
            Ok(on_host(&mut memory)?)
        }));
        privileged.push(with_rig(format!("kernel: {name}"), &rig, move |rig| {
            Ok(in_kernel(rig.without_flows()?)?)
        }));
    }
    for seed in 1..=4 {
        privileged.push(flooded(seed, &cases, &rig));
    }
    let privileged = privileged.into_iter();
    trials.extend(privileged.map(|trial| trial.with_ignored_flag(!root && !ci)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The same without all that its service does not use: nothing else may come of it.
fn with_least(case: &Arc<Case>) -> Option<Arc<Case>> {
    let fits = case.dialect == PLAIN
        && case.features == Features::ALL
        && case.lease == Lease::NotNeeded
        && case.listens
        && case.frame.len() >= SHORTEST_RUN;
    fits.then(|| {
        Arc::new(Case {
            name: format!("no features: {}", case.name),
            features: Features::NONE,
            ..Case::clone(case)
        })
    })
}

/// Each feature makes the program longer, and those of one are none of the other's.
fn programs_grow(rig: &mut Rig) -> Result<(), Failed> {
    let least = rig.instructions(Features::NONE)?;
    let most = rig.instructions(Features::ALL)?;
    let mut lengths = vec![("none", least)];
    for feature in Feature::ALL {
        let length = rig.instructions(Features::NONE.with(feature))?;
        lengths.push((feature.name(), length));
    }
    lengths.push(("all", most));
    println!("instructions: {lengths:?}");
    let between = lengths[1..]
        .iter()
        .all(|&(_, length)| length > least && length <= most);
    if between {
        Ok(())
    } else {
        Err(format!("{lengths:?}").into())
    }
}

fn every_reason(cases: &[Arc<Case>]) -> Trial {
    let mut missing = Reason::ALL.to_vec();
    missing.retain(|reason| cases.iter().all(|case| case.expected.reason != *reason));
    Trial::test("every reason has a case", move || {
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("no case for {missing:?}").into())
        }
    })
}

fn on_host(case: &Arc<Case>) -> Trial {
    let case = Arc::clone(case);
    Trial::test(format!("host: {}", case.name), move || {
        host::run(&case, &case.frame)
            .must_be(&case.expected)
            .map_err(Failed::from)
    })
}

fn in_kernel(case: &Arc<Case>, rig: &SharedRig) -> Trial {
    let case = Arc::clone(case);
    with_rig(format!("kernel: {}", case.name), rig, move |rig| {
        let found = rig.run(&case, &case.frame)?;
        found.must_be(&case.expected).map_err(Failed::from)
    })
}

/// The frame, cut at every byte: host and kernel agree.
fn truncated(case: &Arc<Case>, rig: &SharedRig) -> Trial {
    let case = Arc::clone(case);
    with_rig(format!("truncated: {}", case.name), rig, move |rig| {
        for len in 0..case.frame.len() {
            let cut = &case.frame[..len];
            let expected = host::run(&case, cut);
            if len >= SHORTEST_RUN {
                let found = rig.run(&case, cut)?;
                found
                    .must_be(&expected)
                    .map_err(|difference| format!("cut to {len} bytes: {difference}"))?;
            }
        }
        Ok(())
    })
}

/// Thousands of broken frames: nobody panics, host and kernel agree.
fn flooded(seed: u64, cases: &[Arc<Case>], rig: &SharedRig) -> Trial {
    // In a full table the other records belong to somebody, whom a spoilt packet may resemble.
    let worlds = cases.iter().filter(|case| !case.table_is_full);
    let worlds: Vec<Arc<Case>> = worlds.cloned().collect();
    with_rig(format!("a flood, seed {seed}"), rig, move |rig| {
        let mut random = Random::seeded(seed);
        let mut seen = BTreeMap::<Reason, usize>::new();
        for number in 0..FLOOD {
            let case = &worlds[random.below(worlds.len())];
            let frame = flood::spoil(&mut random, case);
            let expected = host::run(case, &frame);
            *seen.entry(expected.reason).or_default() += 1;
            if frame.len() >= SHORTEST_RUN {
                let found = rig.run(case, &frame)?;
                found.must_be(&expected).map_err(|difference| {
                    format!("frame {number}, {}: {difference}\n{frame:02x?}", case.name)
                })?;
            }
        }
        if seen.len() < Reason::ALL.len() {
            return Err(format!("too tame: {seen:?}").into());
        }
        Ok(())
    })
}

fn with_rig(
    name: String,
    rig: &SharedRig,
    test: impl FnOnce(&mut Rig) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let rig = SharedRig::clone(rig);
    Trial::test(name, move || {
        let rig = rig.as_ref().as_ref()?;
        // A trial that panicked left nothing behind: each begins with setting up its world.
        let mut rig = rig.lock().unwrap_or_else(PoisonError::into_inner);
        test(&mut rig)
    })
}
