//! The demo's account on the terminal.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Result, ensure};
use kit::crowd;
use kit::layout::{Balancer, web_name};

use super::load::{HELD, Tally};
use super::site::tiers;
use super::transfer::Outcome;

/// Prints, in colour where that is welcome, and notes what is not as it was promised.
pub(crate) struct Report {
    colour: bool,
    servers: Vec<String>,
    failures: Vec<String>,
}

/// Colours, as the parameter of the escape sequence.
#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Red = 31,
    Green = 32,
}

impl Report {
    pub(crate) fn new(servers: Vec<String>) -> Self {
        // See https://no-color.org: any value but the empty one counts.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !refused,
            servers,
            failures: Vec::new(),
        }
    }

    /// What happens next.
    pub(crate) fn step(&self, text: &str) {
        println!("{}", self.paint(Style::Bold, &format!("==> {text}")));
    }

    /// What was promised: if it does not hold, `otherwise` says what was seen instead.
    pub(crate) fn expect(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.failures.push(otherwise.to_owned());
        }
    }

    /// Whether all was as promised; an error says what was not.
    pub(crate) fn verdict(&self) -> Result<()> {
        ensure!(
            self.failures.is_empty(),
            "this is not as it was promised:\n  {}",
            self.failures.join("\n  ")
        );
        let text = "As promised: planned changes went unnoticed, no connection was lost with a load \
                    balancer,\nand nothing that was acknowledged with a database.";
        println!("{}", self.paint(Style::Green, text));
        Ok(())
    }

    /// The beginning of a row: what happens from now on.
    pub(crate) fn begin(&self, phase: &str) {
        print!("{phase:<34}");
        // Whoever looks on may have gone; the report goes on for those who have not.
        let _ = io::stdout().flush();
    }

    /// Where a request goes next.
    pub(crate) fn follow(&self, number: u8, where_to: &str, what: &str) {
        println!("  {number} {where_to:<14} {what}");
    }

    /// The same, where it took so long.
    pub(crate) fn stop(&self, number: u8, where_to: &str, what: &str, took: Duration) {
        let milliseconds = took.as_secs_f64() * 1_000.0;
        self.follow(number, where_to, &format!("{what} ({milliseconds:.0} ms)"));
    }

    /// The head of the table about the whole site.
    pub(crate) fn head_of_site(&self) {
        println!();
        let head = format!(
            "{:<34}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>10}",
            "while", "seconds", "pages", "posts", "paused", "errors", "broken", "slowest"
        );
        println!("{}", self.paint(Style::Bold, &head));
    }

    /// The rest of a row of that table, and who answered.
    pub(crate) fn row_of_site(&self, tally: &crowd::Tally) {
        println!(
            "{:>8.1}{:>8}{:>8}{:>8}{}{:>8}{:>7.0} ms",
            tally.lasted.as_secs_f64(),
            tally.pages,
            tally.posts,
            tally.paused,
            self.bad(tally.failed(), 8),
            tally.broken,
            tally.slowest.as_secs_f64() * 1_000.0,
        );
        let [webs, apps, databases] = tiers();
        println!(
            "    pages: {}; {}; {}    posts: {}",
            shares(&webs, &tally.read_at),
            shares(&apps, &tally.read_at),
            counts(&databases, &tally.read_at),
            counts(&databases, &tally.written_at),
        );
        for (what, count) in &tally.errors {
            println!("    {count} × {what}");
        }
    }

    /// What that table's columns mean.
    pub(crate) fn legend_of_site(&self) {
        println!(
            "paused: posts that the site would not take for the time being, and said so.\n\
             broken: connections that were kept, and gone when they were to be used again; the page was \
             asked for on another."
        );
    }

    /// The head of the table about the web servers, and who served how many.
    pub(crate) fn head_of_webs(&self) {
        let servers: String = self
            .servers
            .iter()
            .map(|name| format!("{name:>8}"))
            .collect();
        println!();
        let head = format!(
            "{:<34}{:>8}{:>10}{:>8}{servers}",
            "while", "seconds", "requests", "errors"
        );
        println!("{}", self.paint(Style::Bold, &head));
    }

    /// The rest of a row of that table.
    pub(crate) fn row_of_webs(&self, tally: &Tally) {
        let answered = tally.requests.saturating_sub(tally.failed()).max(1);
        let shares: String = self
            .servers
            .iter()
            .map(|name| tally.servers.get(name).copied().unwrap_or(0) as f64 / answered as f64)
            .map(|share| format!("{:>6.1} %", share * 100.0))
            .collect();
        println!(
            "{:>8.1}{:>10}{}{shares}",
            tally.lasted.as_secs_f64(),
            tally.requests,
            self.bad(tally.failed(), 8),
        );
        errors(tally);
    }

    /// The head of the table about the load balancers.
    pub(crate) fn head_of_balancers(&self) {
        println!();
        let head = format!(
            "{:<34}{:>8}{:>10}{:>8}{:>8}{:>10}{:>10}{:>7}",
            "while", "seconds", "requests", "errors", "broken", "gap", "slowest", "leads"
        );
        println!("{}", self.paint(Style::Bold, &head));
    }

    /// The rest of a row of that table. The gap is the longest time without a new connection.
    pub(crate) fn row_of_balancers(&self, tally: &Tally, gap: Duration, leader: Balancer) {
        let milliseconds = |it: Duration| it.as_secs_f64() * 1_000.0;
        println!(
            "{:>8.1}{:>10}{}{}{:>7.0} ms{:>7.0} ms{:>7}",
            tally.lasted.as_secs_f64(),
            tally.requests,
            self.bad(tally.failed(), 8),
            self.bad(tally.broken, 8),
            milliseconds(gap),
            milliseconds(tally.slowest),
            leader.host(),
        );
        errors(tally);
    }

    /// Something about the row before.
    pub(crate) fn note(&self, text: &str) {
        println!("    {text}");
    }

    /// What the second table's columns mean.
    pub(crate) fn legend(&self) {
        println!(
            "broken: open connections that ended too soon; {HELD} were held all the while.\n\
             gap: the longest time without a new connection, though one was begun every millisecond.\n\
             slowest: the longest that a request took; what was lost is sent again, at first after 1 s."
        );
    }

    /// How the long downloads went. One of them is from the server that was killed.
    pub(crate) fn transfers(&mut self, outcomes: &[Outcome], killed: u8) {
        println!("\nDownloads that ran all the while, each byte checked:");
        for Outcome {
            server,
            bytes,
            broken,
        } in outcomes
        {
            let megabytes = *bytes as f64 / 1e6;
            let end = match broken {
                None => self.paint(Style::Green, "unbroken"),
                Some(_) if *server == web_name(killed) => {
                    "broke off, for the server was killed".to_owned()
                }
                Some(why) => {
                    let why = format!("broke off: {why}");
                    self.expect(false, &format!("the download from {server} {why}"));
                    self.paint(Style::Red, &why)
                }
            };
            println!("  {server}: {megabytes:.1} MB, {end}");
        }
    }

    /// A count of what had better be none.
    fn bad(&self, count: u64, width: usize) -> String {
        let style = if count == 0 { Style::Green } else { Style::Red };
        self.paint(style, &format!("{count:>width$}"))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", style as u8)
        } else {
            text.to_owned()
        }
    }
}

/// Which part of the answers each of these servers had.
fn shares(servers: &[String], answers: &BTreeMap<String, u64>) -> String {
    let count = |server: &String| answers.get(server).copied().unwrap_or(0);
    let all: u64 = servers.iter().map(count).sum();
    let share = |server| count(server) as f64 / all.max(1) as f64 * 100.0;
    let shares = servers
        .iter()
        .map(|server| format!("{server} {:.0} %", share(server)));
    shares.collect::<Vec<_>>().join(", ")
}

/// How many answers each of these servers gave, of those that gave any.
fn counts(servers: &[String], answers: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = servers
        .iter()
        .filter_map(|server| Some(format!("{} at {server}", answers.get(server)?)))
        .collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}

/// What went wrong, below a row.
fn errors(tally: &Tally) {
    for (what, count) in &tally.errors {
        println!("    {count} × {what}");
    }
}
