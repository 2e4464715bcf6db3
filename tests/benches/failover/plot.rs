//! The outages as a picture: a dot for each round, on a logarithmic axis.

use std::fmt::Write as _;

use kit::figures::median;

use crate::Found;
use crate::faults::Fault;

/// Pixels.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 34.0;
/// Milliseconds at the ends of the axis. What is outside is drawn there.
const LEAST: f64 = 0.1;
const MOST: f64 = 30_000.0;
/// One for each contender, in their order: two hues, each dark and light.
const COLOURS: [&str; 4] = ["#1b5e9e", "#7fb3e0", "#b5530a", "#f0ab6b"];

/// Draws what was found as SVG.
pub(crate) fn of(found: &[Found]) -> String {
    let measured = |fault: &Fault| found.iter().any(|found| !outages(found, *fault).is_empty());
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(measured).collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    axis(&mut svg);
    legend(&mut svg, found);
    let column = (WIDTH - LEFT) / faults.len().max(1) as f64;
    for (number, fault) in faults.into_iter().enumerate() {
        let left = LEFT + column * number as f64;
        let (x, y) = (left + column / 2.0, HEIGHT - BOTTOM + 20.0);
        text(&mut svg, (x, y), "middle", fault.name());
        let lane = column / (found.len() + 1) as f64;
        for (number, found) in found.iter().enumerate() {
            let centre = left + lane * (number + 1) as f64;
            dots(
                &mut svg,
                centre,
                lane,
                colour(found),
                &outages(found, fault),
            );
        }
    }
    svg + "</svg>\n"
}

fn outages(found: &Found, fault: Fault) -> Vec<f64> {
    let outcomes = found.outcomes.iter().find(|(it, _)| *it == fault);
    let outcomes = outcomes.map_or(&[][..], |(_, outcomes)| outcomes);
    crate::outages(outcomes).map(|it| it.unconnected).collect()
}

/// A contender keeps its colour, whoever else is measured.
fn colour(found: &Found) -> &'static str {
    let number = crate::Contender::ALL
        .iter()
        .position(|it| *it == found.contender);
    number
        .and_then(|number| COLOURS.get(number))
        .unwrap_or(&"black")
}

fn height(milliseconds: f64) -> f64 {
    let share = (milliseconds.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

fn axis(svg: &mut String) {
    for (value, label) in [
        (0.1, "0.1 ms"),
        (1.0, "1 ms"),
        (10.0, "10 ms"),
        (100.0, "100 ms"),
        (1_000.0, "1 s"),
        (10_000.0, "10 s"),
    ] {
        let y = height(value);
        write(
            svg,
            format_args!("<path d=\"M{LEFT} {y:.1}H{WIDTH}\" stroke=\"#ddd\"/>\n"),
        );
        text(svg, (LEFT - 6.0, y + 4.0), "end", label);
    }
}

fn legend(svg: &mut String, found: &[Found]) {
    for (number, found) in found.iter().enumerate() {
        let x = LEFT + 150.0 * number as f64;
        let colour = colour(found);
        write(
            svg,
            format_args!("<circle cx=\"{x}\" cy=\"18\" r=\"5\" fill=\"{colour}\"/>\n"),
        );
        text(svg, (x + 10.0, 22.0), "start", found.contender.name());
    }
}

/// The rounds from left to right, and a line at their median.
fn dots(svg: &mut String, centre: f64, lane: f64, colour: &str, outages: &[f64]) {
    let width = lane * 0.7;
    let left = centre - width / 2.0;
    for (number, outage) in outages.iter().enumerate() {
        let x = left + width * (number as f64 + 0.5) / outages.len() as f64;
        let y = height(*outage);
        write(
            svg,
            format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\" \
                 fill-opacity=\"0.6\"><title>{outage:.1} ms</title></circle>\n"
            ),
        );
    }
    if !outages.is_empty() {
        let y = height(median(outages));
        write(
            svg,
            format_args!(
                "<path d=\"M{left:.1} {y:.1}h{width:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>\n"
            ),
        );
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    write(
        svg,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"),
    );
}

/// A string takes whatever is written to it.
fn write(svg: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(what);
}
