//! Whatever happens, in whatever order: thousands of seeded schedules of faults.

use super::ms;
use super::network::{LINKS, Network};
use crate::proto::heartbeat::{Diagnostic, Peer, Timing};
use crate::proto::simulation::Quality;
use std::time::Duration;

const CLOCK_PPM: usize = 500;
const LONGEST_DELAY: Duration = ms(20);

/// What one host believes of the other must not be older than a silence and a delay. What it heard
/// when it woke up may be older.
fn nobody_believes_in_the_dead(network: &Network) {
    let longest = Timing::FAST.earliest_detection() + LONGEST_DELAY + ms(1);
    for host in [0, 1] {
        let frozen = network.hosts[host].frozen;
        let died = network.hosts[1 - host].died;
        if let Some(died) = died
            && !frozen
            && network.now > died.max(network.hosts[host].woke) + longest
        {
            let now = network.now;
            assert!(!network.is_up(host), "{now:?}: dead since {died:?}");
        }
    }
}

fn trouble(network: &mut Network) {
    let host = network.random.below(2);
    let link = network.random.below(LINKS);
    match network.random.below(12) {
        0 => network.kill(host),
        1 => network.freeze(host),
        2 => network.thaw(host),
        3 => network.cut[link][host] = true,
        4 => network.cut[link] = [true; 2],
        5 => network.cut = [[true; 2]; LINKS],
        6 => network.cut[link] = [false; 2],
        7 => network.with(host, |peer, now| peer.disable(now, Diagnostic::AdminDown)),
        8 => network.with(host, Peer::enable),
        9 if network.hosts[host].died.is_some() => network.boot(host),
        _ => {
            network.quality = Quality {
                lost_percent: network.random.below(60),
                doubled_percent: network.random.below(50),
                delay: Duration::ZERO..LONGEST_DELAY * network.random.below(5) as u32 / 4,
            };
        }
    }
}

fn heal(network: &mut Network) {
    network.cut = [[false; 2]; LINKS];
    network.quality = Quality::good(ms(1));
    for host in [0, 1] {
        if network.hosts[host].died.is_some() {
            network.boot(host);
        }
        network.thaw(host);
        network.with(host, Peer::enable);
    }
}

#[test]
fn every_schedule_ends_with_both_up() {
    for seed in 0..1_500 {
        let mut network = Network::new(Timing::FAST, LINKS, CLOCK_PPM, seed);
        for _ in 0..25 {
            trouble(&mut network);
            let while_ = Duration::from_micros(network.random.below(60_000) as u64);
            network.run(while_, |it| {
                nobody_believes_in_the_dead(it);
                false
            });
        }
        heal(&mut network);
        // What is still under way is heard in that time, too.
        let found = |it: &mut Network| {
            nobody_believes_in_the_dead(it);
            it.both_up()
        };
        let took = network.run(ms(1_000), found);
        assert!(
            took.is_some_and(|took| took <= ms(80)),
            "seed {seed}: {took:?}"
        );
        // And they stay so, once the last of the old is gone.
        network.pass(ms(100));
        network.run(ms(500), |it| {
            assert!(it.both_up(), "seed {seed}: {:?}", it.log.last());
            false
        });
    }
}
