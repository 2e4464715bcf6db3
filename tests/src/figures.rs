//! What a benchmark found: figures with names, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};

/// The figures of one benchmark, in the order in which they are shown.
#[derive(Debug, Clone)]
pub struct Figures {
    bench: &'static str,
    figures: Vec<Figure>,
    targets: Vec<Target>,
    table: Option<String>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Something in a second.
    PerSecond,
    /// A number of things.
    Count,
    /// Of a hundred.
    Percent,
    /// So many times something else.
    Ratio,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// So much, or less.
    AtMost(f64),
    /// So much, or more.
    AtLeast(f64),
    /// So many times another figure, or less.
    AtMostTimes(f64, &'static str),
    /// So many times another figure, or more.
    AtLeastTimes(f64, &'static str),
}

#[derive(Debug, Clone)]
struct Figure {
    name: String,
    value: f64,
    unit: Unit,
    /// The figure that this one is shown as a multiple of.
    basis: Option<String>,
}

#[derive(Debug, Clone)]
struct Target {
    figure: String,
    bound: Bound,
}

impl Figures {
    /// No figures yet.
    pub fn of(bench: &'static str) -> Self {
        Self {
            bench,
            figures: Vec::new(),
            targets: Vec::new(),
            table: None,
        }
    }

    /// Adds a figure. Its name has dots where others would have levels.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: Unit) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
            basis: None,
        });
    }

    /// Adds a figure that is also shown as a multiple of `basis`.
    pub fn add_beside(&mut self, name: impl Into<String>, value: f64, unit: Unit, basis: &str) {
        self.add(name, value, unit);
        if let Some(figure) = self.figures.last_mut() {
            figure.basis = Some(basis.to_owned());
        }
    }

    /// Says what a figure should be.
    pub fn target(&mut self, figure: impl Into<String>, bound: Bound) {
        let figure = figure.into();
        self.targets.push(Target { figure, bound });
    }

    /// Shows this to people, in the place of a list of figures that is too long to be read.
    pub fn show_as(&mut self, table: String) {
        self.table = Some(table);
    }

    /// One object: `{"bench": …, "figures": {…}}`.
    pub fn to_json(&self) -> String {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| (figure.name.clone(), json!(figure.unit.round(figure.value))))
            .collect();
        json!({ "bench": self.bench, "figures": figures }).to_string()
    }

    fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    fn value(&self, name: &str) -> Option<f64> {
        Some(self.figure(name)?.value)
    }

    fn ratio(&self, figure: &Figure) -> Option<f64> {
        Some(figure.value / self.value(figure.basis.as_deref()?)?)
    }

    fn show(&self, out: &mut impl fmt::Write, target: &Target) -> fmt::Result {
        let Target { figure, bound } = target;
        let Some(found) = self.figure(figure) else {
            return writeln!(out, "not measured  {figure}");
        };
        let (value, unit) = (found.value, found.unit);
        let (met, sentence) = match *bound {
            Bound::AtMost(limit) => {
                let (shown, most) = (unit.measure(unit.show(value)), unit.measure(limit));
                (value <= limit, format!("{shown}, at most {most} wanted"))
            }
            Bound::AtLeast(limit) => {
                let (shown, least) = (unit.measure(unit.show(value)), unit.measure(limit));
                (value >= limit, format!("{shown}, at least {least} wanted"))
            }
            Bound::AtMostTimes(limit, other) => {
                let ratio = self.value(other).map_or(f64::NAN, |other| value / other);
                (
                    ratio <= limit,
                    format!("{ratio:.2} x {other}, at most {limit} x wanted"),
                )
            }
            Bound::AtLeastTimes(limit, other) => {
                let ratio = self.value(other).map_or(f64::NAN, |other| value / other);
                (
                    ratio >= limit,
                    format!("{ratio:.2} x {other}, at least {limit} x wanted"),
                )
            }
        };
        let verdict = if met { "met" } else { "MISSED" };
        writeln!(out, "{verdict:<8}{figure}: {sentence}")
    }
}

/// The table.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.figures.iter().map(|figure| figure.name.len()).max();
        let width = width.unwrap_or(0);
        let listed = match &self.table {
            Some(table) => {
                f.write_str(table)?;
                &[]
            }
            None => &self.figures[..],
        };
        for figure in listed {
            let mut line = format!(
                "{:<width$}{:>12} {}",
                figure.name,
                figure.unit.show(figure.value),
                figure.unit.symbol()
            );
            if let (Some(ratio), Some(basis)) = (self.ratio(figure), &figure.basis) {
                write!(line, "   {ratio:.2} x {basis}")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.targets.is_empty() {
            writeln!(f)?;
        }
        self.targets
            .iter()
            .try_for_each(|target| self.show(f, target))
    }
}

impl Unit {
    const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::PerSecond => "/s",
            Self::Count | Self::Ratio => "",
            Self::Percent => "%",
        }
    }

    /// How many digits after the point mean anything.
    const fn digits(self) -> usize {
        match self {
            Self::Nanoseconds | Self::Microseconds => 1,
            Self::Milliseconds | Self::Percent => 2,
            Self::PerSecond | Self::Count => 0,
            Self::Ratio => 3,
        }
    }

    fn show(self, value: f64) -> String {
        format!("{value:.*}", self.digits())
    }

    /// A number with the unit behind it.
    fn measure(self, number: impl fmt::Display) -> String {
        format!("{number} {}", self.symbol()).trim_end().to_owned()
    }

    fn round(self, value: f64) -> f64 {
        let scale = [1.0, 10.0, 100.0, 1000.0][self.digits()];
        (value * scale).round() / scale
    }
}

/// The middle one of some values, or the mean of the two in the middle; not a number if there is
/// none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied();
    let lower = sorted.len().checked_sub(1).map(|last| sorted[last / 2]);
    match (lower, upper) {
        (Some(lower), Some(upper)) => f64::midpoint(lower, upper),
        _ => f64::NAN,
    }
}

/// The smallest of some values that so large a fraction of them does not exceed: 1 asks for the
/// largest. Not a number if there is none.
pub fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Figures {
        let mut figures = Figures::of("lab");
        figures.add("keep_rps.direct", 20_000.4, Unit::PerSecond);
        figures.add_beside(
            "keep_rps.headgate",
            15_000.0,
            Unit::PerSecond,
            "keep_rps.direct",
        );
        figures.add("call_ms", 1.234_5, Unit::Milliseconds);
        figures
    }

    #[test]
    fn programs_get_one_flat_object() {
        let value: Value = serde_json::from_str(&some().to_json()).unwrap();
        assert_eq!(
            value,
            json!({
                "bench": "lab",
                "figures": {
                    "keep_rps.direct": 20_000.0,
                    "keep_rps.headgate": 15_000.0,
                    "call_ms": 1.23
                }
            })
        );
    }

    #[test]
    fn people_get_ratios_and_targets() {
        let mut figures = some();
        figures.target(
            "keep_rps.headgate",
            Bound::AtLeastTimes(0.7, "keep_rps.direct"),
        );
        figures.target("call_ms", Bound::AtMost(1.0));
        figures.target("other_ms", Bound::AtMost(1.0));
        assert_eq!(
            figures.to_string(),
            "keep_rps.direct         20000 /s\n\
             keep_rps.headgate       15000 /s   0.75 x keep_rps.direct\n\
             call_ms                  1.23 ms\n\
             \n\
             met     keep_rps.headgate: 0.75 x keep_rps.direct, at least 0.7 x wanted\n\
             MISSED  call_ms: 1.23 ms, at most 1 ms wanted\n\
             not measured  other_ms\n"
        );
    }

    #[test]
    fn a_ratio_has_no_unit_and_three_digits() {
        let mut figures = Figures::of("web");
        figures.add("ratio.new_tls", 0.949_6, Unit::Ratio);
        figures.target("ratio.new_tls", Bound::AtLeast(0.95));
        assert_eq!(
            figures.to_string(),
            "ratio.new_tls       0.950\n\nMISSED  ratio.new_tls: 0.950, at least 0.95 wanted\n"
        );
        assert!(figures.to_json().contains("\"ratio.new_tls\":0.95"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert!(quantile(&[], 0.95).is_nan());
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(quantile(&twenty, 0.95), 19.0);
        assert_eq!(quantile(&twenty, 1.0), 20.0);
        assert_eq!(quantile(&twenty, 0.0), 1.0);
        assert_eq!(quantile(&[7.0, 3.0], 0.95), 7.0);
    }

    #[test]
    fn a_table_is_shown_in_the_place_of_a_list() {
        let mut figures = some();
        figures.show_as("a table\n".to_owned());
        figures.target("call_ms", Bound::AtLeast(1.0));
        assert_eq!(
            figures.to_string(),
            "a table\n\nmet     call_ms: 1.23 ms, at least 1 ms wanted\n"
        );
        assert!(figures.to_json().contains("keep_rps.direct"));
    }
}
