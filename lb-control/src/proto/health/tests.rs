use super::{Answer, Down, Due, Failure, Machine, Params, ProbeId, Transition};
use std::time::{Duration, Instant};

const PARAMS: Params = Params {
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(1),
    rise: 2,
    fall: 3,
};

/// A machine, and the clock it is told of.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new(initial: Option<bool>) -> Self {
        let now = Instant::now();
        let machine = Machine::new(PARAMS, initial, now, 0);
        Self { machine, now }
    }

    /// Goes on to the deadline, where a probe must be due.
    fn start(&mut self) -> ProbeId {
        self.now = self.machine.deadline();
        match self.machine.on_deadline(self.now) {
            Due::Start(id) => id,
            other => panic!("expected a probe to be due, not {other:?}"),
        }
    }

    /// Goes on to the deadline, where the probe must time out.
    fn time_out(&mut self) -> Option<Transition> {
        self.now = self.machine.deadline();
        match self.machine.on_deadline(self.now) {
            Due::TimedOut(transition) => transition,
            other => panic!("expected the probe to time out, not {other:?}"),
        }
    }

    fn fail(&mut self, id: ProbeId, reason: &str, answer: Answer) -> Option<Transition> {
        let reason = reason.to_owned();
        let failure = Failure { reason, answer };
        self.machine.on_result(self.now, id, Err(failure))
    }

    /// Runs a probe for each letter: `+` succeeds, `-` is refused, `t` times out, `n` is answered
    /// otherwise. Returns what was reported after each: `U`, `D`, `F` for down but finishing, or `.`
    /// for nothing.
    fn run(&mut self, results: &str) -> String {
        let mut reported = String::new();
        for letter in results.chars() {
            let id = self.start();
            let transition = match letter {
                '+' => self.machine.on_result(self.now, id, Ok(())),
                '-' => self.fail(id, "refused", Answer::Refused),
                'n' => self.fail(id, "not ready", Answer::Other),
                't' => self.time_out(),
                other => panic!("no such result: {other}"),
            };
            reported.push(match transition {
                None => '.',
                Some(Transition::Up) => 'U',
                Some(Transition::Down(Down {
                    finishes: false, ..
                })) => 'D',
                Some(Transition::Down(Down { finishes: true, .. })) => 'F',
            });
        }
        reported
    }
}

#[test]
fn what_each_sequence_of_results_reports() {
    for (initial, results, reported) in [
        // Unknown: the first result decides.
        (None, "+", "U"),
        (None, "-", "D"),
        (None, "t", "D"),
        (None, "++++", "U..."),
        (None, "----", "D..."),
        // Up: `fall` failures in a row, of whatever kind.
        (None, "+--", "U.."),
        (None, "+---", "U..D"),
        (None, "+-t-", "U..D"),
        (None, "+--+--+--", "U........"),
        // Down: `rise` successes in a row.
        (None, "-+", "D."),
        (None, "-++", "D.U"),
        (None, "-+-+-+-+", "D......."),
        // Another reason for the same is news, once.
        (None, "--tt-", "D.D.D"),
        (None, "+----t-+t", "U..D.DD.D"),
        // There and back: each direction counts from zero.
        (None, "+---++---", "U..D.U..D"),
        (None, "-++--+---", "D.U.....D"),
        // Known from before: the first result that agrees is reported, once.
        (Some(true), "+++", "U.."),
        (Some(false), "---", "D.."),
        (Some(true), "--+-", "..U."),
        (Some(false), "+-+", ".D."),
        // Known from before, and wrong: as many results as always.
        (Some(true), "---", "..D"),
        (Some(false), "++", ".U"),
    ] {
        assert_eq!(
            Bench::new(initial).run(results),
            reported,
            "{initial:?} and then {results}"
        );
    }
}

#[test]
fn one_that_says_no_finishes_until_it_is_silent() {
    for (initial, results, reported) in [
        (None, "n", "F"),
        (None, "nnn", "F.."),
        (None, "+nnn", "U..F"),
        // It says no, then does not listen any more, and then its host is gone.
        (Some(true), "nnn---tttt", "..FF..F.D."),
        // It is back, and crashes: refused from the first, it has nothing to finish.
        (Some(true), "nnn-++---", "..FF.U..D"),
        // One sign of life is enough.
        (Some(true), "nnnttnttn", "..FF.FF.F"),
        (Some(true), "--n", "..F"),
        (Some(true), "n--", "..F"),
        (Some(true), "n----", "..F.."),
        // One that was gone, and starts.
        (Some(false), "-n++", "DF.U"),
        (None, "-nn--", "DF.F."),
    ] {
        assert_eq!(
            Bench::new(initial).run(results),
            reported,
            "{initial:?} and then {results}"
        );
    }
}

#[test]
fn flapping_faster_than_rise_and_fall_changes_nothing() {
    let mut up = Bench::new(Some(true));
    assert_eq!(up.run("+"), "U");
    assert_eq!(up.run(&"--+".repeat(50)), ".".repeat(150));

    let mut down = Bench::new(Some(false));
    assert_eq!(down.run("-"), "D");
    assert_eq!(down.run(&"+-".repeat(50)), ".".repeat(100));
}

#[test]
fn a_failure_gives_its_reason() {
    let mut bench = Bench::new(None);
    let id = bench.start();
    let down = |reason: &str| {
        Some(Transition::Down(Down {
            reason: reason.to_owned(),
            finishes: false,
        }))
    };
    assert_eq!(
        bench.fail(id, "connect: connection refused", Answer::Refused),
        down("connect: connection refused")
    );

    let mut bench = Bench::new(None);
    bench.start();
    assert_eq!(bench.time_out(), down("no answer within 1s"));
}

#[test]
fn nothing_is_due_before_the_deadline() {
    let now = Instant::now();
    let mut machine = Machine::new(PARAMS, None, now, 50);
    assert_eq!(machine.on_deadline(now), Due::Nothing);
    assert_eq!(machine.deadline(), now + Duration::from_millis(100));

    let mut bench = Bench::new(None);
    bench.start();
    let early = bench.now + PARAMS.timeout - Duration::from_nanos(1);
    assert_eq!(bench.machine.on_deadline(early), Due::Nothing);
}

#[test]
fn probes_begin_an_interval_apart_however_long_they_take() {
    let mut bench = Bench::new(None);
    let first = bench.start();
    let started = bench.now;
    let answered = started + Duration::from_millis(700);
    bench.machine.on_result(answered, first, Ok(()));
    assert_eq!(bench.machine.deadline(), started + PARAMS.interval);

    bench.start();
    bench.time_out();
    assert_eq!(bench.machine.deadline(), started + PARAMS.interval * 2);
}

#[test]
fn missed_probes_are_not_made_up_for() {
    let mut bench = Bench::new(None);
    bench.run("+");
    let late = bench.machine.deadline() + PARAMS.interval * 10;
    let Due::Start(id) = bench.machine.on_deadline(late) else {
        panic!("a probe was due");
    };
    bench.machine.on_result(late, id, Ok(()));
    assert_eq!(bench.machine.deadline(), late + PARAMS.interval);
}

#[test]
fn the_first_probe_is_due_within_a_tenth_of_the_interval() {
    let now = Instant::now();
    for seed in [0, 1, 99, 100, 12_345, u64::MAX] {
        let machine = Machine::new(PARAMS, None, now, seed);
        assert!(machine.deadline() >= now);
        assert!(machine.deadline() <= now + PARAMS.interval / 10);
    }
}

#[test]
fn late_results_of_an_old_probe_are_ignored() {
    let mut bench = Bench::new(Some(true));
    let old = bench.start();
    assert_eq!(bench.time_out(), None);

    // While waiting for the next probe, and while it runs.
    assert_eq!(bench.machine.on_result(bench.now, old, Ok(())), None);
    let deadline = bench.machine.deadline();
    let new = bench.start();
    assert_eq!(bench.machine.on_result(bench.now, old, Ok(())), None);
    assert_eq!(bench.machine.on_timeout(bench.now, old), None);
    assert_eq!(bench.now, deadline);

    // Neither confirmed that it is up: the new probe does.
    let answer = bench.machine.on_result(bench.now, new, Ok(()));
    assert_eq!(answer, Some(Transition::Up));
    assert_eq!(bench.machine.on_result(bench.now, new, Ok(())), None);
}

#[test]
fn one_probe_is_enough_if_rise_and_fall_say_so() {
    let params = Params {
        rise: 1,
        fall: 1,
        ..PARAMS
    };
    let now = Instant::now();
    let mut bench = Bench {
        machine: Machine::new(params, None, now, 0),
        now,
    };
    assert_eq!(bench.run("+-+--+"), "UDUD.U");
}
