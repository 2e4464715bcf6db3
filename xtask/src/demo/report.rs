//! The demo's account on the terminal.

use std::io::{self, IsTerminal as _};

use super::load::Tally;
use super::transfer::Outcome;

/// Prints, in colour where that is welcome.
pub(crate) struct Report {
    colour: bool,
    servers: Vec<String>,
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
        }
    }

    /// What happens next.
    pub(crate) fn step(&self, text: &str) {
        println!("{}", self.paint(Style::Bold, &format!("==> {text}")));
    }

    /// The head of the table.
    pub(crate) fn head(&self) {
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

    /// A row of the table.
    pub(crate) fn row(&self, phase: &str, tally: &Tally) {
        let errors: u64 = tally.errors.values().sum();
        let style = if errors == 0 {
            Style::Green
        } else {
            Style::Red
        };
        let answered = tally.requests.saturating_sub(errors).max(1);
        let shares: String = self
            .servers
            .iter()
            .map(|name| tally.servers.get(name).copied().unwrap_or(0) as f64 / answered as f64)
            .map(|share| format!("{:>6.1} %", share * 100.0))
            .collect();
        println!(
            "{phase:<34}{:>8.1}{:>10}{}{shares}",
            tally.lasted.as_secs_f64(),
            tally.requests,
            self.paint(style, &format!("{errors:>8}")),
        );
        for (what, count) in &tally.errors {
            println!("    {count} × {what}");
        }
    }

    /// How the long downloads went.
    pub(crate) fn transfers(&self, outcomes: &[Outcome]) {
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
                Some(why) => self.paint(Style::Red, &format!("broke off: {why}")),
            };
            println!("  {server}: {megabytes:.1} MB, {end}");
        }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", style as u8)
        } else {
            text.to_owned()
        }
    }
}
