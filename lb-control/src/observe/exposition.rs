//! Prometheus's text format, version 0.0.4, which everything that scrapes reads.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{self, Write as _};
use std::time::Duration;

/// What an answer in this format says of itself.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Only grows, or begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A metric, and its samples, which lie together in the text.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    begun: bool,
}

impl Exposition {
    /// A metric that only grows, or begins anew.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, Kind::Counter, help)
    }

    /// A metric that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, Kind::Gauge, help)
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        Family {
            text: &mut self.text,
            name,
            kind,
            help,
            begun: false,
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// A sample. No two of a family may have the same labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        if !std::mem::replace(&mut self.begun, true) {
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let (name, help) = (self.name, Escaped(self.help, &['\\', '\n']));
            self.text
                .push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        self.text.push_str(self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let value = Escaped(value, &['\\', '\n', '"']);
            self.text.push_str(&format!("{before}{name}=\"{value}\""));
        }
        let after = if labels.is_empty() { " " } else { "} " };
        self.text.push_str(after);
        self.text.push_str(&format!("{}\n", value.into()));
    }

    /// A sample for each of `known`: 1 for the one that `is`, and 0 for the others.
    pub(super) fn one_of(
        &mut self,
        labels: &[(&str, &str)],
        label: &'static str,
        known: &[&str],
        is: &str,
    ) {
        let mut labels = labels.to_vec();
        labels.push((label, ""));
        let unknown = Some(is).filter(|is| !known.contains(is));
        for each in known.iter().copied().chain(unknown) {
            if let Some(last) = labels.last_mut() {
                last.1 = each;
            }
            self.sample(&labels, each == is);
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Count(u64),
    Seconds(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Count(is.into())
    }
}

impl From<Duration> for Value {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration.as_secs_f64())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Seconds(seconds) => seconds.fmt(f),
        }
    }
}

/// A text in which these characters are escaped by a backslash.
struct Escaped<'a>(&'a str, &'a [char]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for each in self.0.chars() {
            if self.1.contains(&each) {
                f.write_char('\\')?;
            }
            f.write_char(if each == '\n' { 'n' } else { each })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Exposition;
    use std::time::Duration;

    #[test]
    fn what_has_a_meaning_is_escaped() {
        let mut exposition = Exposition::default();
        let mut family = exposition.gauge("a_seconds", "a \"b\" \\ \n c");
        family.sample(&[("x", "a \"b\" \\ \n c"), ("y", "")], 7);
        family.sample(&[], Duration::from_millis(1_050));
        let expected = "# HELP a_seconds a \"b\" \\\\ \\n c\n# TYPE a_seconds gauge\n\
                        a_seconds{x=\"a \\\"b\\\" \\\\ \\n c\",y=\"\"} 7\na_seconds 1.05\n";
        assert_eq!(exposition.finish(), expected);
    }

    #[test]
    fn what_is_not_known_beforehand_is_shown_too() {
        let mut exposition = Exposition::default();
        exposition
            .gauge("role", "Role.")
            .one_of(&[("of", "x")], "role", &["a", "b"], "c");
        let text = exposition.finish();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "role{of=\"x\",role=\"a\"} 0",
            "role{of=\"x\",role=\"b\"} 0",
            "role{of=\"x\",role=\"c\"} 1",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn without_samples_a_metric_is_not_named() {
        let mut exposition = Exposition::default();
        exposition.counter("x_total", "Nothing.");
        assert_eq!(exposition.finish(), "");
    }
}
