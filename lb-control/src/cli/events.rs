//! `events`: what happened, and what happens next.

use super::table::{Mood, paint};
use super::{Failure, Session, print};
use crate::api::client::ClientError;
use crate::types::{Event, Events};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;
use tokio::time::sleep;

/// When to ask again where lbd does not answer.
const RETRY: Duration = Duration::from_secs(1);

impl Session {
    /// `events`, and with `follow` those that come, too, until interrupted.
    ///
    /// # Errors
    ///
    /// If there is no answer. Who follows waits for lbd once it has answered.
    pub async fn events(&self, follow: bool) -> Result<(), Failure> {
        let mut seen: Events = self.client.get("/v1/events").await?;
        if !follow {
            return self.show(&seen, |colour| table(&seen, colour));
        }
        if !self.json {
            print(HEADER)?;
        }
        let mut away = false;
        loop {
            self.show_more(&seen)?;
            let next = format!("/v1/events?after={}&since={}", seen.last, seen.since);
            seen = loop {
                match self.client.wait_for(&next).await {
                    Ok(events) => break events,
                    Err(error @ ClientError::Refused(_)) => return Err(error.into()),
                    Err(error) if !away => {
                        away = true;
                        complain(&format!("{error}; waiting for it"));
                    }
                    Err(_) => {}
                }
                sleep(RETRY).await;
            };
            if std::mem::take(&mut away) {
                complain("lbd answers again");
            }
        }
    }

    /// The next ones of those that are followed. JSON has a line each, to be read as it comes.
    fn show_more(&self, more: &Events) -> Result<(), Failure> {
        if !self.json {
            return print(&lines(more, self.colour));
        }
        if more.lost > 0 {
            complain(&lost(more.lost));
        }
        let mut text = String::new();
        for event in &more.events {
            text.push_str(&serde_json::to_string(event).map_err(io::Error::from)?);
            text.push('\n');
        }
        print(&text)
    }
}

/// Tells what is no event.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "lbctl: {what}");
}

fn lost(count: u64) -> String {
    format!("{count} earlier events are no longer kept")
}

const HEADER: &str = "TIME                      LEVEL  MESSAGE\n";

pub(super) fn table(events: &Events, colour: bool) -> String {
    HEADER.to_owned() + &lines(events, colour)
}

fn lines(events: &Events, colour: bool) -> String {
    let mut text = String::new();
    if events.lost > 0 {
        let _ = writeln!(text, "({})", lost(events.lost));
    }
    for event in &events.events {
        text.push_str(&line(event, colour));
    }
    text
}

fn line(event: &Event, colour: bool) -> String {
    let Event {
        time,
        level,
        message,
        ..
    } = event;
    let mut line = format!("{time}  {level:<5}  {}", on_a_line(message));
    for (name, value) in &event.fields {
        let value = on_a_line(value);
        let _ = if value.is_empty() || value.contains([' ', '=', '"']) {
            write!(line, " {name}=\"{value}\"")
        } else {
            write!(line, " {name}={value}")
        };
    }
    let line = match level.as_str() {
        "error" => paint(&line, Mood::Bad, colour),
        "warn" => paint(&line, Mood::Middling, colour),
        _ => line,
    };
    line + "\n"
}

/// Texts may quote what came over the network, which is not to speak to the terminal.
fn on_a_line(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for each in text.chars() {
        if each.is_control() {
            plain.extend(each.escape_default());
        } else {
            plain.push(each);
        }
    }
    plain
}
