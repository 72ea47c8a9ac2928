//! The report as one page: tables, and for each forecaster how often what it called probable came.

use std::fmt::Write;

use kimera_numerics::scoring::Bin;

use super::score::Row;
use super::{Evaluation, number, share};
use crate::bench::latency::page::STYLE;
use crate::bench::latency::plot::{colour, escape};

/// Side of a plot, and its margin.
const SIDE: f64 = 200.0;
const MARGIN: f64 = 34.0;

/// The page.
pub(super) fn page(all: &[Evaluation]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Kimera: forecasts</title><style>{STYLE}.plots{{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:12px}}\
         figure{{margin:0}}figcaption{{font-size:13px}}</style></head><body>\n<h1>What forecasts were worth</h1>\n\
         <p class=\"soft\">Walked forward: each forecast is of a future that nobody had seen, each baseline fitted to the past of its test part, purged \
         and with an embargo. Accuracy is of the direction, where one acts and the price moved.</p>\n"
    );
    for of in all {
        evaluation(&mut html, of);
    }
    html += "</body></html>\n";
    html
}

fn evaluation(html: &mut String, of: &Evaluation) {
    let [down, flat, up] = of.came;
    let _ = write!(
        html,
        "<h2>{}</h2>\n<p>{} forecasts decided: {down} down, {flat} flat, {up} up; {} tested, {} left out before test parts. Look-ahead: {} of {} differ.</p>\n",
        escape(&of.source),
        down + flat + up,
        of.tested,
        of.purged,
        of.leakage.differ,
        of.leakage.compared
    );
    *html += "<div class=\"scroll\"><table><tr><th>forecaster</th><th>coverage</th><th>decided</th><th>independent</th><th>accuracy</th><th>95 %</th><th>F1</th><th>MCC</th><th>skill</th><th>ECE</th></tr>\n";
    for row in &of.rows {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{}</td><td>{:.1} to {:.1} %</td><td>{:.3}</td><td>{:.3}</td><td>{}</td><td>{:.3}</td></tr>",
            escape(&row.name),
            share(Some(row.coverage)),
            row.decisions,
            row.independent,
            share(row.accuracy),
            100.0 * row.interval.0,
            100.0 * row.interval.1,
            row.macro_f1,
            row.mcc,
            number(row.skill),
            row.calibration_error
        );
    }
    *html += "</table></div>\n<table><tr><th>claim</th><th>above</th><th>measured</th><th>verdict</th><th>from</th></tr>\n";
    for target in &of.targets {
        let class = if target.verdict == "met" { "met" } else { "missed" };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{:.0} %</td><td>{}</td><td class=\"{class}\">{}</td><td class=\"wide\">{}</td></tr>",
            escape(target.what),
            100.0 * target.claimed,
            share(target.measured),
            target.verdict,
            escape(&target.note)
        );
    }
    *html += "</table>\n<p class=\"soft\">Said probability of a rise (across) against how often one came (up), in tenths of as many forecasts each; the line is where both are equal.</p>\n<div class=\"plots\">\n";
    for (i, row) in of.rows.iter().filter(|row| row.role != "ablation" && row.brier.is_some()).enumerate() {
        plot(html, row, colour(i));
    }
    *html += "</div>\n";
}

fn plot(html: &mut String, row: &Row, colour: &str) {
    let (width, height) = (SIDE + 1.5 * MARGIN, SIDE + 1.5 * MARGIN);
    let x = |p: f64| MARGIN + p.clamp(0.0, 1.0) * SIDE;
    let y = |p: f64| 0.5 * MARGIN + (1.0 - p.clamp(0.0, 1.0)) * SIDE;
    let _ = write!(
        html,
        "<figure><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(&row.name)
    );
    let _ = write!(
        html,
        "<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{SIDE}\" height=\"{SIDE}\"/>",
        x(0.0),
        y(1.0)
    );
    for tick in [0.0, 0.5, 1.0] {
        let _ = write!(
            html,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            x(tick),
            y(0.0) + 16.0
        );
        let _ = write!(
            html,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{tick}</text>",
            x(0.0) - 6.0,
            y(tick) + 4.0
        );
    }
    let _ = write!(
        html,
        "<line class=\"grid\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    let most = row.reliability.iter().map(|bin| bin.n).max().unwrap_or(1).max(1) as f64;
    for Bin { n, said, came } in &row.reliability {
        let radius = 2.5 + 3.5 * (*n as f64 / most).sqrt();
        let _ = write!(
            html,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.75\" data-n=\"{n}\" data-said=\"{said}\" data-came=\"{came}\"/>",
            x(*said),
            y(*came)
        );
    }
    let _ = writeln!(
        html,
        "</svg><figcaption>{}: skill {}</figcaption></figure>",
        escape(&row.name),
        number(row.skill)
    );
}
