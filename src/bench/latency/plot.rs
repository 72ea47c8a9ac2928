//! Plots as SVG, with their values beside the strokes: `data-…` attributes say what a test or a reader wants to know exactly.

use std::fmt::Write;

use super::histogram::Point;
use super::report::ns_text;

/// Width and height of a plot, and what its axes take of it.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// Colours that the colour-blind can tell apart (after Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b"];

/// Colour of series `i`.
#[must_use]
pub fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

/// Text that may stand in markup.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low).max(1e-9);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// A power of ten for an axis.
fn round(ns: f64) -> String {
    ns_text(ns).replacen(".00", "", 1).replacen(".0", "", 1)
}

fn nines(percentile: f64) -> f64 {
    100.0 / (100.0 - percentile).max(1e-9)
}

/// Latency over percentile: x is 1/(1−p) on a logarithmic axis, y the latency on another.
#[must_use]
pub fn percentiles(series: &[(&str, &[Point])]) -> String {
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let deepest = points().map(|p| nines(p.percentile)).fold(1_000.0, f64::max);
    let least = points().map(|p| p.ns).min().unwrap_or(100).max(1) as f64;
    let most = points().map(|p| p.ns).max().unwrap_or(1_000_000).max(10) as f64;
    let x = Axis { low: 0.0, high: deepest.log10(), from: LEFT, to: WIDTH - RIGHT };
    let y = Axis { low: least.log10().floor(), high: most.log10().ceil(), from: HEIGHT - BOTTOM, to: TOP };
    let mut svg = open("percentiles");
    let mut nine = 1.0;
    let ticks = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
    for percentile in ticks {
        if nine <= deepest * 1.001 {
            tick_x(&mut svg, x.at(nine), &percentile.to_string());
        }
        nine *= 10.0;
    }
    let mut value = 10f64.powf(y.low);
    while value.log10() <= y.high + 1e-9 {
        tick_y(&mut svg, y.at(value), &round(value), value);
        value *= 10.0;
    }
    for (i, (name, points)) in series.iter().enumerate() {
        let place = |p: &Point| format!("{:.2},{:.2}", x.at(nines(p.percentile)), y.at(p.ns.max(1) as f64));
        let exact = |p: &Point| format!("{}:{}", p.percentile, p.ns);
        line(
            &mut svg,
            i,
            name,
            &points.iter().map(place).collect::<Vec<_>>(),
            &points.iter().map(exact).collect::<Vec<_>>(),
        );
    }
    titles(&mut svg, "percentile", "latency");
    svg + "</svg>\n"
}

/// One value over another, both logarithmic: rates and latencies.
#[must_use]
pub fn rates(series: &[(&str, Vec<(f64, f64)>)]) -> String {
    let points = || series.iter().flat_map(|(_, points)| points.iter());
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let low = points().map(of).fold(f64::INFINITY, f64::min).max(1.0).log10().floor();
        let high = points().map(of).fold(10.0, f64::max).log10().ceil();
        (low.min(high - 1.0), high)
    };
    let ((x_low, x_high), (y_low, y_high)) = (bounds(|p| p.0), bounds(|p| p.1));
    let x = Axis { low: x_low, high: x_high, from: LEFT, to: WIDTH - RIGHT };
    let y = Axis { low: y_low, high: y_high, from: HEIGHT - BOTTOM, to: TOP };
    let mut svg = open("rates");
    let decades = |low: f64, high: f64| (low as i32..=high as i32).map(|power| 10f64.powi(power));
    decades(x_low, x_high).for_each(|value| tick_x(&mut svg, x.at(value), &format!("{value:.0}")));
    decades(y_low, y_high).for_each(|value| tick_y(&mut svg, y.at(value), &round(value), value));
    for (i, (name, points)) in series.iter().enumerate() {
        let place = |p: &(f64, f64)| format!("{:.2},{:.2}", x.at(p.0), y.at(p.1));
        let exact = |p: &(f64, f64)| format!("{}:{}", p.0, p.1);
        line(
            &mut svg,
            i,
            name,
            &points.iter().map(place).collect::<Vec<_>>(),
            &points.iter().map(exact).collect::<Vec<_>>(),
        );
    }
    titles(&mut svg, "frames due a second", "latency");
    svg + "</svg>\n"
}

/// Bars behind one another, as what they stand for follows on what is above: each begins where the one before has ended.
#[must_use]
pub fn waterfall(bars: &[(&str, f64)]) -> String {
    const ROW: f64 = 20.0;
    const NAMES: f64 = 200.0;
    let total: f64 = bars.iter().map(|(_, ns)| ns).sum::<f64>().max(1.0);
    let height = ROW * bars.len() as f64 + 8.0;
    let width = WIDTH - NAMES - 90.0;
    let mut svg = format!(
        "<svg class=\"waterfall\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n"
    );
    let mut so_far = 0.0;
    for (i, (name, ns)) in bars.iter().enumerate() {
        let (left, top) = (NAMES + so_far / total * width, ROW * i as f64 + 4.0);
        let wide = (ns / total * width).max(0.5);
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"bar\" data-stage=\"{}\" data-ns=\"{ns}\" x=\"{left:.2}\" y=\"{top:.2}\" width=\"{wide:.2}\" height=\"{}\" fill=\"{}\"/><text class=\"value\" x=\"{:.2}\" y=\"{}\">{}</text>",
            NAMES - 8.0,
            top + 13.0,
            escape(name),
            escape(name),
            ROW - 4.0,
            colour(i),
            left + wide + 5.0,
            top + 13.0,
            ns_text(*ns)
        );
        so_far += ns;
    }
    svg + "</svg>\n"
}

fn open(class: &str) -> String {
    format!(
        "<svg class=\"{class}\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>\n",
        WIDTH - LEFT - RIGHT,
        HEIGHT - TOP - BOTTOM
    )
}

fn tick_x(svg: &mut String, x: f64, label: &str) {
    let (top, bottom) = (TOP, HEIGHT - BOTTOM);
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{x:.2}\" x2=\"{x:.2}\" y1=\"{top}\" y2=\"{bottom}\"/><text class=\"tick-x\" x=\"{x:.2}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        bottom + 17.0,
        escape(label)
    );
}

fn tick_y(svg: &mut String, y: f64, label: &str, value: f64) {
    let (left, right) = (LEFT, WIDTH - RIGHT);
    let _ = writeln!(
        svg,
        "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.2}\" y2=\"{y:.2}\"/><text class=\"tick-y\" data-value=\"{value}\" x=\"{}\" y=\"{:.2}\" text-anchor=\"end\">{}</text>",
        left - 8.0,
        y + 4.0,
        escape(label)
    );
}

fn line(svg: &mut String, i: usize, name: &str, places: &[String], exact: &[String]) {
    let (colour, right) = (colour(i), WIDTH - RIGHT + 12.0);
    let y = TOP + 14.0 + 19.0 * i as f64;
    let name = escape(name);
    let _ = writeln!(
        svg,
        "<polyline class=\"series\" data-series=\"{name}\" data-points=\"{}\" points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\n<line x1=\"{right}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"/><text class=\"legend\" x=\"{}\" y=\"{y}\">{name}</text>",
        exact.join(" "),
        places.join(" "),
        right + 16.0,
        y - 4.0,
        y - 4.0,
        right + 22.0,
    );
}

fn titles(svg: &mut String, x: &str, y: &str) {
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x}</text><text class=\"title\" transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
        HEIGHT - 8.0,
        (TOP + HEIGHT - BOTTOM) / 2.0
    );
}
