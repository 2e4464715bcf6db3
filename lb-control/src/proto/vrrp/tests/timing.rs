//! When things happen.

use super::machine::Bench;
use super::{centiseconds, host, ms, params, priority};
use crate::proto::vrrp::{Advert, Claim, Params, Preempt, Repeats, State};
use std::time::Duration;

/// Of an interval of 100 ms and priority 100: (256 − 100) × 100 / 256 ms.
const SKEW: Duration = Duration::from_nanos(60_937_500);
const ACTIVE_DOWN: Duration = Duration::from_nanos(360_937_500);

fn preempting(preempt: Preempt) -> Bench {
    Bench::started(Params {
        preempt,
        ..params()
    })
}

/// The peer, of this priority, advertises every 100 ms from now on. When is it relieved?
fn relieved_after(bench: &mut Bench, peer: u8, advertises: u32) -> Option<Duration> {
    let begin = bench.now;
    for _ in 0..advertises {
        bench.leads(1, peer);
        let next = bench.now + ms(100);
        while let Some(deadline) = bench.machine.deadline().filter(|at| *at < next) {
            bench.now = deadline;
            bench.machine.on_timeout(deadline);
            if bench.machine.state() == State::Active {
                return Some(deadline - begin);
            }
        }
        bench.now = next;
    }
    None
}

#[test]
fn silence_for_the_active_down_interval() {
    let mut bench = Bench::started(params());
    assert_eq!(bench.deadline(), Some(ACTIVE_DOWN));
    bench.wait(ms(200)).leads(1, 150);
    assert_eq!(bench.deadline(), Some(ms(200) + ACTIVE_DOWN));
}

#[test]
fn the_leaders_interval_counts() {
    let mut bench = Bench::started(params());
    let slow = Advert {
        interval: centiseconds(100),
        ..bench.machine.advert(Claim::Lead(priority(150)))
    };
    bench.hear_advert(host(1), &slow);
    assert_eq!(bench.deadline(), Some(ACTIVE_DOWN * 10));
    bench.hear(host(1), Claim::Release);
    assert_eq!(bench.deadline(), Some(SKEW * 10));

    // Its own counts when it leads.
    bench.run_to_deadline();
    bench.machine.announce_again(bench.now);
    assert_eq!(
        bench.machine.advert(Claim::Release).interval,
        centiseconds(10)
    );
}

#[test]
fn a_release_hands_over_within_the_skew_time() {
    let mut bench = Bench::started(params());
    bench.leads(1, 150);
    bench.wait(ms(50)).hear(host(1), Claim::Release);
    assert_eq!(bench.deadline(), Some(ms(50) + SKEW));
    // Another one does not put it off.
    bench.wait(ms(10)).hear(host(1), Claim::Release);
    assert_eq!(bench.deadline(), Some(ms(50) + SKEW));
}

#[test]
fn waits_end_by_the_new_priority() {
    let mut bench = Bench::started(params());
    bench.set_priority(128);
    assert_eq!(bench.deadline(), Some(ms(350)));
    bench.hear(host(1), Claim::Release);
    assert_eq!(bench.deadline(), Some(ms(50)));
}

#[test]
fn preemption_without_a_delay_is_the_rfcs() {
    // As if nothing had been heard.
    let mut bench = preempting(Preempt::After(Duration::ZERO));
    assert_eq!(relieved_after(&mut bench, 50, 20), Some(ACTIVE_DOWN));

    // As if nothing had been heard after the release.
    let mut bench = preempting(Preempt::After(Duration::ZERO));
    bench.hear(host(9), Claim::Release);
    assert_eq!(relieved_after(&mut bench, 50, 20), Some(SKEW));
}

#[test]
fn preemption_with_a_delay() {
    let mut bench = preempting(Preempt::After(ms(1_000)));
    bench.wait(ms(50));
    assert_eq!(relieved_after(&mut bench, 50, 20), Some(ms(1_000)));

    // The leader is gone before its time.
    let mut bench = preempting(Preempt::After(ms(1_000)));
    assert_eq!(relieved_after(&mut bench, 50, 3), None);
    assert_eq!(bench.deadline(), Some(ms(200) + ACTIVE_DOWN));
    assert!(bench.run_to_deadline().starts_with("lead:active-down"));

    // Somebody else relieves it: nothing is left to be preempted.
    let mut bench = preempting(Preempt::After(ms(1_000)));
    relieved_after(&mut bench, 50, 9);
    bench.leads(9, 150);
    assert_eq!(relieved_after(&mut bench, 150, 20), None);
}

#[test]
fn equals_are_not_preempted() {
    let mut bench = preempting(Preempt::After(Duration::ZERO));
    assert_eq!(relieved_after(&mut bench, 100, 20), None);
}

#[test]
fn no_preemption() {
    let mut bench = preempting(Preempt::Never);
    assert_eq!(relieved_after(&mut bench, 1, 50), None);
    // But it leads when nobody does.
    assert!(bench.run_to_deadline().starts_with("lead:active-down"));
}

#[test]
fn a_leader_whose_priority_falls_is_relieved() {
    let mut bench = preempting(Preempt::After(Duration::ZERO));
    bench.leads(1, 150);
    assert_eq!(relieved_after(&mut bench, 99, 20), Some(ACTIVE_DOWN));
}

#[test]
fn a_backup_whose_priority_falls_does_not_preempt() {
    for fallen in [50, 40] {
        let mut bench = preempting(Preempt::After(Duration::ZERO));
        assert_eq!(relieved_after(&mut bench, 50, 3), None);
        bench.leads(1, 50);
        assert_eq!(bench.deadline(), Some(ACTIVE_DOWN));
        // It is not its time any more, even before the leader is heard again.
        bench.set_priority(fallen);
        assert!(bench.deadline() > Some(ms(300) + ACTIVE_DOWN));
        bench.wait(ms(100));
        assert_eq!(relieved_after(&mut bench, 50, 20), None);
    }
}

#[test]
fn a_backup_whose_priority_varies_still_preempts_in_time() {
    let mut bench = preempting(Preempt::After(ms(500)));
    assert_eq!(relieved_after(&mut bench, 50, 2), None);
    bench.set_priority(90);
    assert_eq!(relieved_after(&mut bench, 50, 20), Some(ms(300)));
}

#[test]
fn after_a_hold_the_delay_begins_anew() {
    let mut bench = preempting(Preempt::After(ms(500)));
    assert_eq!(relieved_after(&mut bench, 50, 3), None);
    bench.hold();
    assert_eq!(relieved_after(&mut bench, 50, 20), None);
    bench.allow();
    assert_eq!(relieved_after(&mut bench, 50, 20), Some(ms(500)));
}

#[test]
fn a_held_leader_waits_before_it_says_that_nobody_leads() {
    let mut bench = Bench::active(params());
    bench.hold();
    let held = bench.now - bench.start;
    assert_eq!(bench.deadline(), Some(held + ACTIVE_DOWN));
    assert_eq!(bench.run_to_deadline(), "withheld");
}

/// Repeats and refreshes far away.
fn quiet() -> Params {
    Params {
        repeats: Repeats {
            times: 0,
            spacing: ms(30),
            refresh: None,
        },
        ..params()
    }
}

#[test]
fn advertisements_leave_an_interval_apart() {
    let mut bench = Bench::active(quiet());
    let began = bench.now - bench.start;
    for n in 1..10 {
        assert_eq!(bench.run_to_deadline(), "advert:100");
        assert_eq!(bench.now - bench.start, began + ms(100) * n);
    }

    // One that is late does not delay the next.
    bench.wait(ms(130));
    bench.machine.on_timeout(bench.now);
    assert_eq!(bench.effects(), "advert:100");
    assert_eq!(bench.deadline(), Some(began + ms(1_100)));

    // What was missed for longer is not made up for.
    bench.wait(ms(10_000));
    let now = bench.now - bench.start;
    bench.machine.on_timeout(bench.now);
    assert_eq!(bench.effects(), "advert:100");
    assert_eq!(bench.deadline(), Some(now + ms(100)));
}

#[test]
fn an_advertisement_out_of_turn_puts_off_the_next() {
    let mut bench = Bench::active(quiet());
    let began = bench.now - bench.start;
    bench.wait(ms(40)).hear(host(1), Claim::Release);
    assert_eq!(bench.deadline(), Some(began + ms(140)));
}

#[test]
fn addresses_are_announced_at_once_soon_again_and_now_and_then() {
    let mut bench = Bench::active(params());
    let began = bench.now;
    let mut announced = Vec::new();
    while bench.now < began + ms(3_000) {
        if bench.run_to_deadline().contains("announce") {
            announced.push((bench.now - began).as_millis());
        }
    }
    assert_eq!(announced, [30, 60, 1_060, 2_060]);
}

#[test]
fn unless_told_otherwise_it_is_six_times_in_half_a_second_and_then_every_half_minute() {
    let mut bench = Bench::active(Params {
        repeats: Repeats::default(),
        ..params()
    });
    let began = bench.now;
    let mut announced = Vec::new();
    while bench.now < began + ms(61_000) {
        if bench.run_to_deadline().contains("announce") {
            announced.push((bench.now - began).as_millis());
        }
    }
    assert_eq!(announced, [100, 200, 300, 400, 500, 30_500, 60_500]);
}

#[test]
fn a_second_leader_is_answered_and_the_addresses_announced_again() {
    let mut bench = Bench::active(params());
    bench.wait(ms(5_000));
    bench.machine.on_timeout(bench.now);
    bench.effects();
    let heard = bench.now;
    assert_eq!(bench.leads(1, 50), "advert:100 announce second-active");

    // Not for every advertisement, but again while it goes on.
    bench.wait(ms(10));
    assert_eq!(bench.leads(1, 50), "");
    bench.wait(ms(20));
    assert_eq!(bench.leads(1, 50), "announce second-active");
    bench.wait(ms(20));
    assert_eq!(bench.leads(1, 50), "advert:100");
    assert_eq!(bench.machine.counters().second_actives_heard, 4);

    // With all repeats.
    let mut announced = Vec::new();
    while bench.now < heard + ms(1_500) {
        if bench.run_to_deadline().contains("announce") {
            announced.push((bench.now - heard).as_millis());
        }
    }
    assert_eq!(announced, [60, 90, 1_090]);
}

#[test]
fn two_that_both_think_they_won_do_not_answer_without_end() {
    // An address that is translated on its way makes each the winner of a tie.
    let mut benches = [Bench::active(quiet()), Bench::active(quiet())];
    let mut sent = 0;
    for _ in 0..1_000 {
        for bench in &mut benches {
            bench.wait(Duration::from_micros(100));
            sent += usize::from(bench.leads(1, 100).contains("advert"));
        }
    }
    // 100 ms each.
    assert!(sent <= 6, "{sent} answers");
}

#[test]
fn relieving_somebody_is_not_a_second_leader() {
    let mut bench = preempting(Preempt::After(Duration::ZERO));
    bench.wait(ms(50)).leads(1, 50);
    assert_eq!(bench.run_to_deadline(), "lead:preempts advert:100 announce");
    // Its last words: the neighbours are told once more, the operator is not.
    assert_eq!(bench.wait(ms(1)).leads(1, 50), "advert:100 announce");
    // It is still there an interval later: that is news.
    bench.wait(ms(100));
    assert_eq!(bench.leads(1, 50), "advert:100 announce second-active");
}

#[test]
fn time_that_stands_still_or_goes_back_does_no_harm() {
    let mut bench = Bench::active(params());
    bench.now = bench.start;
    bench.machine.on_timeout(bench.now);
    assert_eq!(bench.effects(), "");
    bench.leads(1, 50);
    bench.leads(1, 50);
    bench.leads(9, 150);
    assert_eq!(bench.machine.state(), State::Backup);
    bench.machine.on_timeout(bench.now);
    assert_eq!(bench.machine.state(), State::Backup);
}
