//! What was found, for people.

use std::fmt::Write as _;

use kit::figures::{median, quantile};

use crate::faults::Fault;
use crate::survive::{Share, Survived};
use crate::users::HELD;
use crate::{Found, Outcome};

/// A line for each fault and contender, the contenders one below the other.
pub(crate) fn of(found: &[Found]) -> String {
    let mut table = String::new();
    for fault in Fault::ALL {
        for found in found {
            let outcomes = found.outcomes.iter().find(|(it, _)| *it == fault);
            let Some((_, outcomes)) = outcomes.filter(|(_, outcomes)| !outcomes.is_empty()) else {
                continue;
            };
            if table.is_empty() {
                table += "outage, ms                         median      p95      max   \
                          unanswered   failed requests   lost connections\n";
            }
            let line = line(found.contender.name(), outcomes);
            // A string takes whatever is written to it.
            let _ = writeln!(table, "{:<16}{line}", fault.name());
        }
    }
    for found in found {
        if let Some((takeovers, seconds)) = found.spurious {
            let name = found.contender.name();
            let _ = writeln!(
                table,
                "{:<16}{name:<18}{takeovers:>5} takeovers in {seconds} s on busy processors",
                "spurious"
            );
        }
    }
    for Survived { stateless, tracked } in found.iter().flat_map(|found| &found.survived) {
        let _ = writeln!(
            table,
            "survive         {} connections of a stateless service, {} recorded ones",
            share(*stateless),
            share(*tracked)
        );
    }
    for found in found.iter().filter(|found| found.errors > 0) {
        let (name, errors) = (found.contender.name(), found.errors);
        let _ = writeln!(table, "{:<16}{name:<18}{errors:>5}", "errors");
    }
    table
}

fn line(name: &str, outcomes: &[Outcome]) -> String {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let outages: Vec<f64> = crate::outages(outcomes).map(|it| it.unconnected).collect();
    let unanswered: Vec<f64> = crate::outages(outcomes).map(|it| it.unanswered).collect();
    let failed = format!("{} of {}", sum(|it| it.failed), sum(|it| it.requests));
    let lost = format!("{} of {}", sum(|it| it.lost), HELD * outcomes.len() as u64);
    let shown = |values: &[f64], statistic: fn(&[f64]) -> f64| match values {
        [] => "-".to_owned(),
        values => format!("{:.1}", statistic(values)),
    };
    format!(
        "{name:<16} {:>8} {:>8} {:>8}     {:>8}   {failed:>15}   {lost:>16}",
        shown(&outages, median),
        shown(&outages, |it| quantile(it, 0.95)),
        shown(&outages, |it| quantile(it, 1.0)),
        shown(&unanswered, |it| quantile(it, 1.0)),
    )
}

/// What a single fault did.
pub(crate) fn sentence(outcome: &Outcome) -> String {
    let Outcome {
        outage,
        requests,
        failed,
        lost,
    } = outcome;
    let outage = outage.map_or_else(
        || "nothing to be measured".to_owned(),
        |it| {
            let (unconnected, unanswered) = (it.unconnected, it.unanswered);
            format!("{unconnected:.1} ms without a connection, {unanswered:.1} without an answer")
        },
    );
    format!("{outage}, {failed} of {requests} requests failed, {lost} of {HELD} connections lost")
}

/// Such as `99 of 100`.
pub(crate) fn share(share: Share) -> String {
    format!("{} of {}", share.part, share.of)
}
