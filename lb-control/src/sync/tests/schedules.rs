//! Whatever happens, in whatever order: thousands of seeded schedules of changes, and of channels
//! and hosts that come and go.

use super::network::{Fate, Network, changes};
use crate::sync::delta::shared;
use std::collections::BTreeSet;
use std::ops::Range;

const SEEDS: Range<u64> = 0..2_000;

fn trouble(network: &mut Network) {
    let host = network.random.below(2);
    match network.random.below(21) {
        0 => network.cut(),
        1 | 2 => network.connect(),
        3 => {
            let leads = network.random.below(2) == 0;
            network.lead(host, leads);
        }
        4 => {
            network.lead(1 - host, false);
            network.lead(host, true);
        }
        5 => {
            network.lead(host, true);
            network.lead(1 - host, false);
        }
        6 => network.restart(host),
        7 => network.hosts[host].refuses ^= true,
        8..=11 => network.change(host),
        12 | 13 => network.change_tables(host),
        14 | 15 => network.record(host, true),
        16 => network.record(host, false),
        17 => network.forget(host),
        18 => network.read_flows(host),
        19 => network.hang_up(host),
        _ => network.tell(host),
    }
    network.check();
}

/// Both are whole and connected, and one leads. The channel may be the one that was.
fn heal(network: &mut Network) {
    let leader = network.random.below(2);
    for host in [0, 1] {
        network.hosts[host].refuses = false;
        network.lead(host, host == leader);
    }
    network.connect();
    network.settle(150);
    // What was refused is tried again when something is said, which happens every now and then.
    for _ in 0..2 {
        network.tell(0);
        network.tell(1);
        network.settle(50);
    }
    check_healed(network, leader);
}

fn check_healed(network: &Network, leader: usize) {
    let (leader, standby) = (&network.hosts[leader], &network.hosts[1 - leader]);
    assert_eq!(leader.snapshot, standby.snapshot);
    assert_eq!(standby.session.mirror(), Some(&shared(&leader.tables)));
    assert_eq!(standby.session.is_synchronised(), Ok(()));
    assert_eq!(leader.session.is_followed(), Ok(()));
    for host in &network.hosts {
        assert!(host.pending.is_none(), "a change is neither done nor not");
    }

    let [led, followed] = [leader, standby].map(|host| {
        let known = host.flows.iter();
        let known = known.filter(|(key, _)| !network.late.contains(key));
        let known = known.map(|(key, flow)| (*key, flow.backend, flow.phase));
        known.collect::<BTreeSet<_>>()
    });
    assert_eq!(led, followed);

    let has = changes(&leader.snapshot);
    let fates = network.fates.iter().enumerate();
    let done = fates.filter(|(_, fate)| **fate == Fate::Done);
    let lost: Vec<_> = done.filter(|(change, _)| !has.contains(change)).collect();
    assert_eq!(lost, [], "done, not dropped, and gone");
}

fn play(seed: u64) {
    let mut network = Network::new(seed);
    for _ in 0..4 {
        for _ in 0..network.random.below(25) {
            trouble(&mut network);
            for _ in 0..network.random.below(8) {
                let host = network.random.below(2);
                network.deliver(host);
                network.check();
            }
        }
        heal(&mut network);
        // And now nothing is said but how things are.
        let frames = network.frames;
        network.tell(0);
        network.tell(1);
        network.settle(2);
        assert_eq!(network.frames - frames, 2);
    }
}

#[test]
fn every_schedule_ends_with_both_the_same() {
    for seed in SEEDS {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}
