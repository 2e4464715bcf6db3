//! Two and three routers through thousands of schedules of faults: what must hold once the link
//! is whole again.

use super::network::Network;
use super::{centiseconds, host, ms, params, priority};
use crate::proto::simulation::{Quality, Random};
use crate::proto::vrrp::{Machine, Params, Preempt, Priority, Repeats, YieldReason};
use std::time::Duration;

/// The longest that an advertisement takes on a link that is whole.
const DELAY: Duration = ms(1);
/// How far clocks are off, in parts per million. Far more than any clock is.
const CLOCK_PPM: usize = 10_000;

/// Some routers. The parameters that matter are all over their range, ties included.
fn some_routers(count: u8, random: &mut Random) -> Vec<Params> {
    let interval = [10, 10, 20, 100][random.below(4)];
    let alike = random.below(4) != 0;
    let router = |number| {
        let factor = if alike { 1 } else { 1 + random.below(3) as u16 };
        let delay = interval * [0, 0, 50, 200][random.below(4)];
        Params {
            address: host(number),
            priority: some_priority(random),
            interval: centiseconds(interval * factor),
            preempt: match random.below(4) {
                0 => Preempt::Never,
                _ => Preempt::After(ms(delay.into())),
            },
            repeats: Repeats {
                times: 2,
                spacing: ms(30),
                refresh: None,
            },
            ..params()
        }
    };
    (1..=count).map(router).collect()
}

fn some_priority(random: &mut Random) -> Priority {
    priority([1, 50, 100, 100, 150, 200, 254][random.below(7)])
}

/// The longest interval that anybody has, and so that anybody may have learned.
fn longest_interval(network: &Network) -> Duration {
    let intervals = network.nodes.iter().map(|it| it.machine.params().interval);
    intervals.max().expect("routers").duration()
}

fn longest_preempt_delay(network: &Network) -> Duration {
    let delays = network
        .nodes
        .iter()
        .map(|it| match it.machine.params().preempt {
            Preempt::Never => Duration::ZERO,
            Preempt::After(delay) => delay,
        });
    delays.max().expect("routers")
}

/// Does one bad thing, or takes one back.
fn misfortune(network: &mut Network, interval: Duration) {
    let count = network.nodes.len();
    let node = network.random.below(count);
    let other = network.random.below(count);
    match network.random.below(15) {
        0 => network.cut(node, other),
        1 => {
            for other in 0..count {
                network.cut(node, other);
                network.cut(other, node);
            }
        }
        2..=4 => network.mend(),
        5 => network.crash(node),
        6 => network.with(node, |machine, _| machine.shutdown(YieldReason::Shutdown)),
        7 | 8 => network.start_all(),
        9 => network.freeze(node),
        10 => network.thaw(node),
        11 => {
            let priority = some_priority(&mut network.random);
            network.with(node, |machine, now| machine.set_priority(now, priority));
        }
        12 => {
            let eligible = match network.random.below(2) {
                0 => Ok(()),
                _ => Err("not synchronised".to_owned()),
            };
            network.with(node, |machine, now| machine.set_eligible(now, eligible));
        }
        13 => network.with(node, Machine::take_over),
        _ => {
            network.quality = Quality {
                lost_percent: [0, 10, 50, 90][network.random.below(4)],
                doubled_percent: [0, 30][network.random.below(2)],
                delay: Duration::ZERO..[DELAY, interval, interval * 2][network.random.below(3)],
            };
        }
    }
}

/// Ends all that is wrong, but for some that are down or held. Somebody can lead.
fn mend_all(network: &mut Network) {
    network.mend();
    network.quality = Quality {
        lost_percent: 0,
        doubled_percent: network.quality.doubled_percent,
        delay: Duration::ZERO..DELAY,
    };
    let able = network.random.below(network.nodes.len());
    for node in 0..network.nodes.len() {
        network.thaw(node);
        match network.random.below(6) {
            0 if node != able => network.crash(node),
            1 if node != able => network.with(node, |machine, now| {
                machine.set_eligible(now, Err("not synchronised".into()));
                machine.start(now);
            }),
            _ => network.with(node, |machine, now| {
                machine.set_eligible(now, Ok(()));
                machine.start(now);
            }),
        }
    }
}

/// Plays a schedule of faults, mends them, and checks.
fn play(count: u8, seed: u64) {
    let mut random = Random::seeded(seed);
    let params = some_routers(count, &mut random);
    let mut network = Network::new(params, CLOCK_PPM, random.bits());
    let interval = longest_interval(&network);
    network.start_all();
    for _ in 0..20 {
        let pause = interval * network.random.below(300) as u32 / 100;
        network.run_for(pause);
        misfortune(&mut network, interval);
    }
    mend_all(&mut network);
    let mended = network.now;
    // Until nothing is on its way any more that was delayed before.
    network.run_for(interval * 2);
    let healed = network.now;

    // Clocks are off, and whoever leads has to be heard of.
    let slack = 4 * DELAY;
    let by_clock = |duration: Duration| duration + duration / 50;
    let active_down = by_clock(interval * 4);
    let one = healed + active_down + slack;
    let settled = one + by_clock(longest_preempt_delay(&network)) + active_down + interval;
    network.run_until(settled + interval * 5);

    for (leading, span) in network.spans(one) {
        // Whoever relieves another leads before that one hears of it.
        let handover = leading > 1 && span.end - span.start <= slack;
        assert!(
            leading == 1 || handover,
            "seed {seed}: {leading} lead in {span:?}"
        );
    }
    let last = network.changes.last().expect("somebody led");
    assert!(
        last.at <= settled,
        "seed {seed}: {last:?} after {settled:?}"
    );
    check_leader(&network, mended, seed);
}

/// That the right one leads, and that it was the last to announce the addresses.
fn check_leader(network: &Network, mended: Duration, seed: u64) {
    let [leader] = network.leading()[..] else {
        panic!("seed {seed}: {:?} lead", network.leading());
    };
    let leader = &network.nodes[leader];
    for node in &network.nodes {
        let machine = &node.machine;
        let rival = machine.deadline().is_some()
            && machine.hold().is_none()
            && machine.params().preempt != Preempt::Never
            && machine.priority() > leader.machine.priority();
        assert!(
            !rival,
            "seed {seed}: somebody of a higher priority does not lead"
        );

        let yielded = node.yielded.filter(|at| *at > mended);
        assert!(
            yielded <= leader.announced,
            "seed {seed}: neighbours may still know the last leader"
        );
    }
}

#[test]
fn one_of_two_leads_after_any_faults() {
    for seed in 0..2_000 {
        play(2, seed);
    }
}

#[test]
fn one_of_three_leads_after_any_faults() {
    for seed in 0..2_000 {
        play(3, seed);
    }
}

#[test]
fn a_release_hands_over_within_the_skew_time() {
    for seed in 0..1_000 {
        let mut random = Random::seeded(seed);
        let params = some_routers(2 + random.below(2) as u8, &mut random);
        let mut network = Network::new(params, CLOCK_PPM, random.bits());
        // Nothing overtakes the release: what arrives after it means that somebody leads.
        network.quality.delay = DELAY..DELAY;
        let interval = longest_interval(&network);
        let settled = interval * 10 + longest_preempt_delay(&network) * 2;
        network.start_all();
        let rest = interval * random.below(100) as u32 / 100;
        network.run_for(settled + rest);
        let [leader] = network.leading()[..] else {
            panic!("seed {seed}: {:?} lead", network.leading());
        };

        let released = network.now;
        let learned = network.nodes[leader].machine.params().interval;
        network.with(leader, |machine, _| machine.shutdown(YieldReason::Shutdown));
        let others = network.nodes.iter().enumerate();
        let others = others.filter(|(node, _)| *node != leader);
        let highest = others.map(|(_, it)| it.machine.priority()).max();
        let skew = learned.skew(highest.expect("another"));
        network.run_for(skew + skew / 50 + 4 * DELAY);
        assert_eq!(network.leading().len(), 1, "seed {seed}");
        let next = network
            .changes
            .iter()
            .find(|it| it.at > released && it.leads);
        let next = next.expect("somebody leads").at - released;
        assert!(
            next <= skew + skew / 50 + DELAY,
            "seed {seed}: after {next:?}"
        );
    }
}

/// Two that both lead, cut off from each other. The second has the higher priority.
fn partitioned(seed: u64) -> Network {
    let params = [100, 150].map(|number| Params {
        address: host(number),
        priority: priority(number),
        repeats: Repeats {
            times: 2,
            spacing: ms(30),
            refresh: None,
        },
        ..params()
    });
    let mut network = Network::new(params.to_vec(), CLOCK_PPM, seed);
    network.start_all();
    network.run_for(ms(1_000));
    assert_eq!(network.leading(), [1]);
    network.cut(0, 1);
    network.cut(1, 0);
    network.run_for(ms(1_000));
    assert_eq!(network.leading(), [0, 1]);
    network
}

#[test]
fn a_partition_heals_within_one_advertisement() {
    for seed in 0..500 {
        let mut network = partitioned(seed);
        let rest = ms(network.random.below(100) as u64);
        network.run_for(rest);
        network.mend();
        let healed = network.now;
        network.run_for(ms(100) + 4 * DELAY);
        assert_eq!(network.leading(), [1], "seed {seed}");

        // Even if the loser heard of the winner first, the winner heard of it and announced, at
        // the latest with the next repeat.
        network.run_for(ms(40));
        let winner = &network.nodes[1];
        assert!(winner.announced > network.nodes[0].yielded, "seed {seed}");
        assert!(winner.announced > Some(healed), "seed {seed}");
        assert_eq!(winner.second_actives, 1, "seed {seed}");
    }
}

#[test]
fn one_that_only_hears_does_not_matter_and_one_that_only_speaks_is_answered() {
    for seed in 0..100 {
        // What the backup says arrives, what the leader says does not.
        let mut network = partitioned(seed);
        network.mend();
        network.cut(1, 0);
        network.run_for(ms(1_000));
        assert_eq!(network.leading(), [0, 1]);
        assert!(network.nodes[1].second_actives > 5);
        network.mend();
        network.run_for(ms(100) + 4 * DELAY);
        assert_eq!(network.leading(), [1]);

        // The other way around nobody leads in vain.
        let mut network = partitioned(seed);
        network.mend();
        network.cut(0, 1);
        network.run_for(ms(1_000));
        assert_eq!(network.leading(), [1]);
    }
}

#[test]
fn loss_of_one_in_ten_makes_nobody_lead_in_vain() {
    // Three in a row are lost once in a thousand times: that is what intervals are counted for.
    let mut network = partitioned(1);
    network.mend();
    network.run_for(ms(1_000));
    network.quality.lost_percent = 10;
    let before = network.nodes[0].machine.counters().led;
    network.run_for(Duration::from_secs(100));
    let spurious = network.nodes[0].machine.counters().led - before;
    assert!(spurious <= 3, "{spurious} in 1,000 advertisements");
    assert!(network.nodes[1].leads);
}

#[test]
fn a_leader_that_was_frozen_takes_over_again_and_says_so() {
    let mut network = partitioned(1);
    network.mend();
    network.run_for(ms(1_000));
    network.freeze(1);
    network.run_for(ms(2_000));
    assert_eq!(network.leading(), [0, 1], "it cannot know");
    let thawed = network.now;
    network.thaw(1);
    network.run_for(2 * DELAY);
    assert_eq!(network.leading(), [1]);
    assert!(network.nodes[1].announced >= Some(thawed));
}

#[test]
fn a_backup_that_was_frozen_does_not_take_its_sleep_for_silence() {
    let mut network = partitioned(1);
    network.mend();
    network.run_for(ms(1_000));
    let before = network.nodes[0].machine.counters().led;
    for _ in 0..20 {
        network.freeze(0);
        network.run_for(ms(1_234));
        network.thaw(0);
        network.run_for(ms(10));
    }
    assert_eq!(network.nodes[0].machine.counters().led, before);
}

#[test]
fn a_switchover_by_hold_and_back() {
    let mut network = partitioned(1);
    network.mend();
    network.run_for(ms(1_000));
    network.with(1, |machine: &mut Machine, now| {
        machine.set_eligible(now, Err("switchover".into()));
    });
    network.run_for(ms(63) + 2 * DELAY);
    assert_eq!(network.leading(), [0]);
    network.with(1, |machine, now| machine.set_eligible(now, Ok(())));
    network.run_for(ms(500));
    assert_eq!(network.leading(), [1]);
    // Expected, and not a second leader.
    assert_eq!(network.nodes[1].second_actives, 1, "that of the partition");
}

/// As the two of a pair do it: the leader lowers its priority, and then the other one is told.
#[test]
fn a_planned_switchover_leaves_no_moment_without_a_leader() {
    for seed in 0..100 {
        let mut network = partitioned(seed);
        network.mend();
        network.run_for(ms(1_000));
        assert_eq!(network.leading(), [1]);
        let before = network.nodes[0].second_actives;
        network.with(1, |machine, now| machine.set_priority(now, priority(1)));
        network.run_for(2 * DELAY);
        let told = network.now;
        network.with(0, Machine::take_over);
        network.run_for(ms(1_000));
        assert_eq!(network.leading(), [0], "seed {seed}");
        for (leading, span) in network.spans(told) {
            let handover = leading == 2 && span.end - span.start <= DELAY;
            assert!(
                leading == 1 || handover,
                "seed {seed}: {leading} in {span:?}"
            );
        }
        assert_eq!(network.nodes[0].second_actives, before, "seed {seed}");
    }
}
