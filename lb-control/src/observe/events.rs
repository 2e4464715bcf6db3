//! What happened lately: the log's events from info on, kept in a ring.

use crate::types;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

#[cfg(test)]
mod tests;

/// How many events are kept.
const KEPT: usize = 1_000;

/// Of a text, how many bytes are kept: an error may quote a whole file.
const TEXT_MAX: usize = 4_096;

/// Who is listened to: lbd, and the library that it is made of.
const TARGETS: [&str; 2] = ["lbd", "lb_control"];

/// What happened lately. Clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    since: u64,
    ring: Mutex<VecDeque<Arc<types::Event>>>,
    /// The number of the latest one.
    last: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_or(0, |since| since.as_nanos() as u64);
        Self {
            shared: Arc::new(Shared {
                since,
                ring: Mutex::default(),
                last: watch::Sender::new(0),
            }),
        }
    }
}

impl Events {
    /// What keeps events as they are logged.
    #[must_use]
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Recorder(self.clone()).with_filter(Ours)
    }

    /// The events after number `after`, and how many of them are lost.
    #[must_use]
    pub fn after(&self, after: u64) -> types::Events {
        let (last, kept) = {
            let ring = self.ring();
            let last = ring.back().map_or(0, |event| event.number);
            // Numbers follow each other, so nothing has to be searched.
            let wanted = last.saturating_sub(after).min(ring.len() as u64);
            let skipped = ring.len() - wanted as usize;
            let kept: Vec<_> = ring.iter().skip(skipped).cloned().collect();
            (last, kept)
        };
        types::Events {
            since: self.shared.since,
            last,
            lost: last.saturating_sub(after) - kept.len() as u64,
            events: kept
                .iter()
                .map(|event| types::Event::clone(event))
                .collect(),
        }
    }

    /// Waits until there is an event after number `after`.
    pub async fn wait_after(&self, after: u64) {
        let mut last = self.shared.last.subscribe();
        // The sender is as long-lived as `self`.
        let _ = last.wait_for(|last| *last > after).await;
    }

    /// The number of the latest event; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        *self.shared.last.borrow()
    }

    /// When this began, which tells it from that of another lbd.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.shared.since
    }

    fn keep(&self, mut event: types::Event) {
        let mut ring = self.ring();
        let number = ring.back().map_or(1, |latest| latest.number + 1);
        event.number = number;
        if ring.len() == KEPT {
            ring.pop_front();
        }
        ring.push_back(Arc::new(event));
        // Still under the lock, so that the number never goes back.
        self.shared.last.send_replace(number);
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<types::Event>>> {
        // Nothing that is done under the lock can panic half-way.
        let ring = self.shared.ring.lock();
        ring.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what it is told. All text is made before the lock is taken.
struct Recorder(Events);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.keep(types::Event {
            number: 0,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            level: event.metadata().level().as_str().to_ascii_lowercase(),
            message: text.message,
            fields: text.fields,
        });
    }
}

/// What is kept, whatever the log shows.
struct Ours;

impl<S> Filter<S> for Ours {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let target = metadata.target().split("::").next().unwrap_or("");
        *metadata.level() <= Level::INFO && metadata.is_event() && TARGETS.contains(&target)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }
}

/// An event's message and fields, as text.
#[derive(Default)]
struct Text {
    message: String,
    fields: BTreeMap<String, String>,
}

impl Text {
    fn keep(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Bounded(String::new());
        // Ends early where there is no more room.
        let _ = text.write_fmt(value);
        let Bounded(text) = text;
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.insert(field.name().to_owned(), text);
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format_args!("{value:?}"));
    }
}

/// Text up to [`TEXT_MAX`]; `…` tells that there was more.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_MAX.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}
