//! `stats`: totals, or rates between two samples.

use super::table::Sheet;
use super::{Failure, Session, print};
use crate::types::{Stats, Traffic};
use comfy_table::Cell;
use lb_ebpf::reason::Reason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Which samples are taken.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// From one to the next.
    pub interval: Duration,
    /// How many rates are shown; 0 goes on until interrupted.
    pub count: u64,
}

/// What happened per second between two samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    seconds: f64,
    services: BTreeMap<String, Rate>,
    backends: BTreeMap<String, Rate>,
    reasons: BTreeMap<String, f64>,
    tracking: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Rate {
    packets_in_per_s: f64,
    bits_in_per_s: f64,
    packets_out_per_s: f64,
    bits_out_per_s: f64,
    connections_per_s: f64,
}

impl Session {
    /// `stats --total`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn total_stats(&self) -> Result<(), Failure> {
        let stats: Stats = self.client.get("/v1/stats").await?;
        self.show(&stats, |colour| total_table(&stats, colour))
    }

    /// `stats`
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn rates(&self, sampling: Sampling) -> Result<(), Failure> {
        let mut before: Stats = self.client.get("/v1/stats").await?;
        let mut due = Instant::now();
        let mut shown = 0;
        while sampling.count == 0 || shown < sampling.count {
            due += sampling.interval;
            sleep_until(due).await;
            let after: Stats = self.client.get("/v1/stats").await?;
            let rates = Rates::between(&before, &after);
            if self.json {
                // One line each, so that a stream of them can be read as it comes.
                let line = serde_json::to_string(&rates).map_err(io::Error::from)?;
                print(&(line + "\n"))?;
            } else {
                let gap = if shown == 0 { "" } else { "\n" };
                print(&format!("{gap}{}", rate_table(&rates, self.colour)))?;
            }
            before = after;
            shown += 1;
        }
        Ok(())
    }
}

impl Rates {
    pub(super) fn between(before: &Stats, after: &Stats) -> Self {
        let elapsed = Duration::from_nanos(after.at_ns.saturating_sub(before.at_ns));
        let seconds = elapsed.as_secs_f64();
        // Counters that went back were reset: they count from nothing then.
        let rate = |before: u64, after: u64| {
            let count = after.checked_sub(before).unwrap_or(after);
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let traffic = |before: &BTreeMap<String, Traffic>, after: &BTreeMap<String, Traffic>| {
            let each = |(name, now): (&String, &Traffic)| {
                let then = before.get(name).copied().unwrap_or_default();
                let rate = Rate {
                    packets_in_per_s: rate(then.packets_in, now.packets_in),
                    bits_in_per_s: 8.0 * rate(then.bytes_in, now.bytes_in),
                    packets_out_per_s: rate(then.packets_out, now.packets_out),
                    bits_out_per_s: 8.0 * rate(then.bytes_out, now.bytes_out),
                    connections_per_s: rate(then.connections, now.connections),
                };
                (name.clone(), rate)
            };
            after.iter().map(each).collect()
        };
        let counters = |before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>| {
            let each = |(name, now): (&String, &u64)| {
                let then = before.get(name).copied().unwrap_or_default();
                (name.clone(), rate(then, *now))
            };
            after.iter().map(each).collect()
        };
        Self {
            seconds,
            services: traffic(&before.services, &after.services),
            backends: traffic(&before.backends, &after.backends),
            reasons: counters(&before.reasons, &after.reasons),
            tracking: counters(&before.tracking, &after.tracking),
        }
    }
}

fn rate_table(rates: &Rates, colour: bool) -> String {
    let header = [
        "SERVICE",
        "PKT/S IN",
        "BIT/S IN",
        "PKT/S OUT",
        "BIT/S OUT",
        "CONN/S",
    ];
    let traffic = |first, entries: &BTreeMap<String, Rate>| {
        let mut header = header;
        header[0] = first;
        let mut sheet = Sheet::new(header, &[1, 2, 3, 4, 5], colour);
        for (name, rate) in entries {
            sheet.row(vec![
                Cell::new(name),
                Cell::new(scaled(rate.packets_in_per_s)),
                Cell::new(scaled(rate.bits_in_per_s)),
                Cell::new(scaled(rate.packets_out_per_s)),
                Cell::new(scaled(rate.bits_out_per_s)),
                Cell::new(scaled(rate.connections_per_s)),
            ]);
        }
        sheet.text()
    };
    let counters = |header, entries: &BTreeMap<String, f64>| {
        let mut sheet = Sheet::new(header, &[1], colour);
        for (name, rate) in entries.iter().filter(|(_, rate)| **rate > 0.0) {
            sheet.row(vec![Cell::new(name), Cell::new(scaled(*rate))]);
        }
        sheet.text()
    };
    let mut sheets = vec![
        traffic("SERVICE", &rates.services),
        traffic("BACKEND", &rates.backends),
        counters(["REASON", "PKT/S"], &rates.reasons),
    ];
    if rates.tracking.values().any(|rate| *rate > 0.0) {
        sheets.push(counters(["TRACKING", "/S"], &rates.tracking));
    }
    sheets.join("\n")
}

fn total_table(stats: &Stats, colour: bool) -> String {
    let traffic = |first, entries: &BTreeMap<String, Traffic>| {
        let header = [
            first,
            "PACKETS IN",
            "BYTES IN",
            "PACKETS OUT",
            "BYTES OUT",
            "CONNECTIONS",
        ];
        let mut sheet = Sheet::new(header, &[1, 2, 3, 4, 5], colour);
        for (name, total) in entries {
            sheet.row(vec![
                Cell::new(name),
                Cell::new(total.packets_in),
                Cell::new(total.bytes_in),
                Cell::new(total.packets_out),
                Cell::new(total.bytes_out),
                Cell::new(total.connections),
            ]);
        }
        sheet.text()
    };
    let counters = |header, entries: &BTreeMap<String, u64>| {
        let mut sheet = Sheet::new(header, &[1], colour);
        for (name, count) in entries {
            let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
            let meaning = reason.map_or("", |reason| reason.explanation());
            sheet.row(vec![Cell::new(name), Cell::new(count), Cell::new(meaning)]);
        }
        sheet.text()
    };
    [
        traffic("SERVICE", &stats.services),
        traffic("BACKEND", &stats.backends),
        counters(["REASON", "PACKETS", "MEANING"], &stats.reasons),
        counters(["TRACKING", "COUNT", ""], &stats.tracking),
    ]
    .join("\n")
}

/// A rate with at most a digit after the point, and a decimal unit.
pub(super) fn scaled(rate: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match UNITS.iter().find(|(unit, _)| rate >= *unit) {
        Some((unit, letter)) => format!("{:.1}{letter}", rate / unit),
        None if rate == rate.trunc() => format!("{rate:.0}"),
        None => format!("{rate:.1}"),
    }
}
