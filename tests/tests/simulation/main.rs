//! Connections while servers come and go, on a virtual clock: what the real packet path and the
//! real control plane break, and what two simpler load balancers would break.
//!
//! Plain hashing sends each packet to the owner of its slot. A full table records every connection.
//! Connections that end with their server are nobody's fault and count for nobody.

mod clients;
mod control;
mod plane;
mod scenario;

#[path = "../../../lb-ebpf/src/tests/memory.rs"]
#[allow(dead_code, reason = "shared with tests that need more, or less, of it")]
mod memory;

use libtest_mimic::{Arguments, Failed, Trial};
use scenario::{Changes, Figures, Scenario};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

/// Played scenarios, for the table.
type Played = Arc<Mutex<Vec<(Scenario, Figures)>>>;

const fn drains(every_s: u32, idle_s: u32) -> Scenario {
    Scenario {
        changes: Changes::Drains,
        every_s,
        idle_s,
        longest_pause_s: 290.0,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let played = Played::default();
    let trials = vec![
        trial(
            "a_change_every_15_s_breaks_nothing",
            drains(15, 300),
            &played,
            |it| {
                nothing_broke(it)?;
                check(it.hashed() > 10.0, "plain hashing breaks many")
            },
        ),
        trial(
            "a_change_every_2_minutes_breaks_nothing",
            drains(120, 300),
            &played,
            |it| {
                nothing_broke(it)?;
                check(it.hashed() > 1.0, "plain hashing breaks some")
            },
        ),
        trial(
            "a_change_every_10_minutes_breaks_nothing",
            drains(600, 300),
            &played,
            |it| {
                nothing_broke(it)?;
                check(it.looked_up() < 20.0, "few packets need the table")?;
                check(
                    it.recorded * 2 < it.full_table,
                    "few connections are recorded",
                )
            },
        ),
        trial(
            "pauses_longer_than_the_idle_time_break_few",
            drains(15, 60),
            &played,
            |it| {
                check(it.broken_by_us > 0, "a pause that is too long can break")?;
                check(
                    it.broken_by_us < it.broken_by_full_table,
                    "a full table with the same idle time breaks more",
                )
            },
        ),
        trial(
            "everything_at_once_breaks_nothing",
            Scenario {
                changes: Changes::Everything,
                ..drains(15, 300)
            },
            &played,
            nothing_broke,
        ),
        trial(
            "everything_at_once_with_little_idle_time_breaks_nothing",
            Scenario {
                changes: Changes::Everything,
                longest_pause_s: 29.0,
                ..drains(7, 30)
            },
            &played,
            nothing_broke,
        ),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    print(&played.lock().unwrap_or_else(PoisonError::into_inner));
    conclusion.exit_code()
}

fn trial(
    name: &str,
    scenario: Scenario,
    played: &Played,
    judge: impl FnOnce(&Figures) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let played = Played::clone(played);
    Trial::test(name, move || {
        let figures = scenario.play();
        let judgement = judge(&figures);
        let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
        played.push((scenario, figures));
        judgement
    })
}

fn nothing_broke(figures: &Figures) -> Result<(), Failed> {
    check(figures.broken_by_us == 0, "nothing breaks")?;
    check(
        figures.broken_by_full_table == 0,
        "a full table breaks nothing",
    )?;
    check(
        figures.at_rest,
        "all slots come to rest, and nothing stays recorded",
    )
}

fn check(holds: bool, what: &str) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(format!("should be: {what}").into())
    }
}

impl Figures {
    fn of_connections(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.connections as f64
    }

    /// Per cent of connections that plain hashing breaks.
    fn hashed(&self) -> f64 {
        self.of_connections(self.broken_by_hashing)
    }

    /// Per cent of connections that we break.
    fn ours(&self) -> f64 {
        self.of_connections(self.broken_by_us)
    }

    /// Per cent of packets that ask our flow table.
    fn looked_up(&self) -> f64 {
        100.0 * self.looked_up as f64 / self.packets as f64
    }
}

fn print(played: &[(Scenario, Figures)]) {
    if played.is_empty() {
        return;
    }
    let mut played = played.to_vec();
    played.sort_by_key(|(it, _)| (it.changes as u8, it.every_s, it.idle_s));
    println!(
        "            every  idle connec-  broken by                  look-ups      most recorded"
    );
    println!(
        "changes         s     s   tions  hashing full table  ours  ours full table   ours full table"
    );
    for (scenario, figures) in played {
        println!(
            "{:<11} {:>5} {:>5} {:>7}  {:>6.2}% {:>9.2}% {:>4.2}% {:>4.0}% {:>9}% {:>6} {:>10}",
            format!("{:?}", scenario.changes).to_lowercase(),
            scenario.every_s,
            scenario.idle_s,
            figures.connections,
            figures.hashed(),
            figures.of_connections(figures.broken_by_full_table),
            figures.ours(),
            figures.looked_up(),
            100,
            figures.recorded,
            figures.full_table,
        );
    }
}
