//! The report as one page that needs nothing else: no script, no font, no network.

use std::fmt::Write;

use super::histogram::Percentiles;
use super::plot::{escape, percentiles, rates, waterfall};
use super::report::{Report, ns_text};

pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c1f24;--soft:#5b6470;--line:#d9dee5;--back:#fff;--good:#0a7d4f;--bad:#b3321b}\
@media(prefers-color-scheme:dark){:root{--text:#e8eaed;--soft:#9aa3ad;--line:#363c45;--back:#15181c;--good:#4cc38a;--bad:#ff8a70}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:900px;margin:32px auto;padding:0 20px}\
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 8px}p{margin:6px 0}.soft{color:var(--soft)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:4px 8px;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left;white-space:normal}th{font-weight:600;color:var(--soft)}td.wide{white-space:normal;text-align:left}\
.stamp{display:inline-block;padding:1px 10px;border-radius:4px;font-weight:700;letter-spacing:.04em;border:2px solid}\
.official{color:var(--good)}.unofficial{color:var(--bad)}.missed{color:var(--bad);font-weight:600}.met{color:var(--good)}\
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--text)}svg .frame{fill:none;stroke:var(--line)}\
svg .grid{stroke:var(--line);stroke-width:1}svg .title{fill:var(--soft)}.scroll{overflow-x:auto}";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Kimera: latency</title><style>{STYLE}</style></head><body>\n"
    );
    header(&mut html, report);
    specification(&mut html, report);
    html += "<h2>Frame to signed order</h2>\n<p class=\"soft\">From when a frame was due, so what it waited for its turn counts.</p>\n";
    let mut series: Vec<(&str, &[super::histogram::Point])> =
        report.scenarios.iter().map(|s| (s.name.as_str(), s.frame_to_order.curve.as_slice())).collect();
    html += &percentiles(&series);
    scenarios(&mut html, report);
    html += "<h2>Socket to socket</h2>\n<p class=\"soft\">Another process on another core sends the frames over WebSocket on loopback and waits for the order.</p>\n";
    series = report.sockets.iter().map(|s| (s.name.as_str(), s.round_trip.curve.as_slice())).collect();
    let short: Vec<_> = series
        .iter()
        .map(|(name, points)| {
            (name.trim_start_matches("socket to socket, ").trim_end_matches(" between"), *points)
        })
        .collect();
    html += &percentiles(&short);
    html += "<h2>Stage by stage</h2>\n<p class=\"soft\">Half of the frames that led to an order take no longer; a look at the clock between neighbours is in it.</p>\n";
    let bars: Vec<_> = report.stages.iter().map(|s| (s.stage.as_str(), s.row.p50 as f64)).collect();
    html += &waterfall(&bars);
    html += "<h2>More frames</h2>\n";
    let of = |value: fn(&Percentiles) -> u64| {
        report.sweep.iter().map(|r| (r.offered_a_second as f64, value(&r.frame_to_rest) as f64)).collect()
    };
    html += &rates(&[("p50", of(|r| r.p50)), ("p99", of(|r| r.p99)), ("p99.9", of(|r| r.p999))]);
    sweep_text(&mut html, report);
    html += "<h2>Hiccups</h2>\n<p class=\"soft\">Times the idle thread was kept away from its core.</p>\n";
    let hiccups: Vec<_> = report
        .scenarios
        .iter()
        .filter(|s| s.hiccups.row.count > 0)
        .map(|s| (s.name.as_str(), s.hiccups.curve.as_slice()))
        .collect();
    html += &percentiles(&hiccups);
    tail(&mut html, report);
    html + "</body></html>\n"
}

fn header(html: &mut String, report: &Report) {
    let (class, stamp) =
        if report.official { ("official", "OFFICIAL") } else { ("unofficial", "UNOFFICIAL") };
    let s = &report.surroundings;
    let _ = writeln!(
        html,
        "<h1>Latency</h1><p><span class=\"stamp {class}\">{stamp}</span> <span class=\"soft\">{} UTC, revision {}</span></p>",
        escape(&report.at),
        escape(&s.revision)
    );
    if !report.official {
        let _ = writeln!(
            html,
            "<p>Not to be compared with other machines: <code>kimera doctor</code> fails {}.</p>",
            escape(&report.fitness.failing.join("; "))
        );
    }
    let core = s.line_core.map_or_else(|| "none".into(), |core| core.to_string());
    let _ = writeln!(
        html,
        "<table><tr><th>Machine</th><th></th></tr>\
         <tr><td>processor</td><td>{}, {} cores, line on core {core}</td></tr>\
         <tr><td>kernel, clock</td><td>{}, {}</td></tr>\
         <tr><td>governor; isolated cores; load</td><td>{}; {}; {}</td></tr>\
         <tr><td>floors: a look at the clock, a ring hop on one thread</td><td>{:.1} ns, {:.1} ns</td></tr></table>",
        escape(&s.processor),
        s.cores,
        escape(&s.kernel),
        escape(&s.clock_source),
        escape(&s.governor),
        escape(&s.isolated),
        escape(&s.load),
        s.clock_look_ns,
        s.ring_hop_ns
    );
}

fn specification(html: &mut String, report: &Report) {
    *html += "<h2>Against the specification</h2>\n<div class=\"scroll\"><table class=\"specification\"><tr><th></th><th>limit</th><th>p50</th><th>p99, or rate</th><th>times better</th></tr>\n";
    for p in &report.specification {
        let value = |v: f64| if p.unit == "ns" { ns_text(v) } else { format!("{v:.0}/s") };
        let (class, word) = if p.factor < 1.0 { ("missed", " missed") } else { ("met", "") };
        let _ = writeln!(
            html,
            "<tr title=\"{}\"><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{:.1}{word}</td></tr>",
            escape(&p.how),
            escape(&p.what),
            value(p.limit),
            value(p.p50),
            value(p.measured),
            p.factor
        );
    }
    *html += "</table></div>\n";
}

fn row(html: &mut String, name: &str, r: &Percentiles) {
    if r.count == 0 {
        return;
    }
    let cells: String =
        [r.p50, r.p90, r.p99, r.p999, r.max].map(|ns| format!("<td>{}</td>", ns_text(ns as f64))).concat();
    let _ = writeln!(html, "<tr><td>{}</td>{cells}<td>{}</td></tr>", escape(name), r.count);
}

fn scenarios(html: &mut String, report: &Report) {
    *html += "<div class=\"scroll\"><table class=\"scenarios\"><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>count</th></tr>\n";
    for s in &report.scenarios {
        row(html, &format!("{} ({})", s.name, s.load.name()), &s.frame_to_order.row);
        row(html, "\u{2003}of it served", &s.service.row);
        row(html, "\u{2003}every frame: waited for its turn", &s.queue.row);
        row(html, "\u{2003}every frame: until the line was at rest", &s.frame_to_rest.row);
    }
    for s in &report.sockets {
        row(html, &s.name, &s.round_trip.row);
    }
    *html += "</table></div>\n";
}

fn sweep_text(html: &mut String, report: &Report) {
    let text = match report.sweep.last() {
        Some(last) if last.saturated => {
            format!(
                "At {} a second the line no longer keeps up: it does {:.0}.",
                last.offered_a_second, last.handled_a_second
            )
        }
        Some(last) => {
            format!("It keeps up with {} a second, the most that was tried.", last.offered_a_second)
        }
        None => String::new(),
    };
    let _ = writeln!(html, "<p class=\"soft\">{text}</p>");
}

fn tail(html: &mut String, report: &Report) {
    let labels: Vec<_> = report.tail.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
    let _ = writeln!(
        html,
        "<h2>The slowest</h2>\n<p class=\"soft\">One frame in a thousand took longer than {}: {}. The same frames went through twice: what a stage takes both times is work, what it takes once is the machine.</p>\n\
         <div class=\"scroll\"><table class=\"tail\"><tr><th>frame</th><th>bytes</th><th>total</th><th>waited</th><th>label</th><th></th></tr>",
        ns_text(report.tail.above_ns as f64),
        escape(&labels.join(", "))
    );
    for o in &report.tail.slowest {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"wide\">{}</td></tr>",
            o.frame,
            o.bytes,
            ns_text(o.total_ns as f64),
            ns_text(o.queue_ns as f64),
            o.label.name(),
            escape(&o.detail)
        );
    }
    *html += "</table></div>\n";
    if let Some(worst) = report.tail.slowest.first() {
        *html += "<p class=\"soft\">Where the slowest of them spent its time:</p>\n";
        let bars: Vec<_> =
            report.tail.stages.iter().zip(&worst.stages_ns).map(|(s, ns)| (s.as_str(), *ns as f64)).collect();
        *html += &waterfall(&bars);
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::{Latency, Point};
    use super::*;
    use crate::bench::latency::load::Load;
    use crate::bench::latency::report::{Fitness, Promise, Rate, Scenario, Series, Stage, Surroundings};
    use crate::bench::latency::tail::Tail;
    use crate::machine::facts::Verdict;
    use roxmltree::{Document, Node};

    fn series(scale: u64) -> Series {
        let mut latency = Latency::new().unwrap();
        (1..=20_000u64).for_each(|i| latency.record(scale * (1_000 + i * i / 4_000)));
        Series { row: latency.row(), curve: latency.curve() }
    }

    fn report() -> Report {
        let scenario = |name: &str, scale| Scenario {
            name: name.into(),
            load: Load::Paced(5_000),
            journal: false,
            shadow: false,
            frames: 20_000,
            frames_a_second: 5_000.0,
            frame_to_order: series(scale),
            service: series(scale),
            queue: Series::default(),
            frame_to_rest: series(scale),
            hiccups: series(1),
        };
        let rate = |offered, p50| Rate {
            offered_a_second: offered,
            handled_a_second: offered as f64,
            frame_to_rest: Percentiles { p50, p99: 2 * p50, p999: 9 * p50, ..Percentiles::default() },
            saturated: false,
        };
        let stage = |name: &str, p50| Stage {
            stage: name.into(),
            row: Percentiles { p50, ..Percentiles::default() },
        };
        Report {
            schema_version: 1,
            at: "2026-01-01 00:00:00".into(),
            official: false,
            fitness: Fitness {
                verdict: Verdict::Fail,
                failing: vec!["isolcpus: not: <1>".into()],
                warnings: 2,
            },
            surroundings: Surroundings::default(),
            scenarios: vec![scenario("evenly & paced", 1), scenario("as recorded", 7)],
            sockets: Vec::new(),
            stages: vec![stage("market", 300), stage("risk", 100)],
            sweep: vec![rate(10_000, 1_500), rate(100_000, 4_000)],
            specification: vec![Promise::at_most("total", 500_000.0, series(1).row, "")],
            tail: Tail::default(),
        }
    }

    fn pictures(html: &str) -> Vec<&str> {
        html.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap()).collect()
    }

    fn number(node: Node<'_, '_>, name: &str) -> f64 {
        node.attribute(name).unwrap().parse().unwrap()
    }

    /// What the ticks of an axis say: places and values.
    fn ticks(picture: Node<'_, '_>, class: &str) -> Vec<(f64, String)> {
        let of = picture.descendants().filter(|n| n.attribute("class") == Some(class));
        let at = if class == "tick-x" { "x" } else { "y" };
        of.map(|n| (number(n, at), n.text().unwrap().to_owned())).collect()
    }

    #[test]
    fn the_picture_says_what_the_report_says() {
        let report = report();
        let html = page(&report);
        assert!(html.contains("UNOFFICIAL") && html.contains("not: &lt;1&gt;"));
        let text = format!("<svg{}</svg>", pictures(&html)[0]);
        let document = Document::parse(&text).unwrap();
        let root = document.root_element();
        let x = ticks(root, "tick-x");
        let labels: Vec<_> = x.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0", "90", "99", "99.9", "99.99"]);
        // A tick a decade: they stand evenly.
        let steps: Vec<_> = x.windows(2).map(|w| w[1].0 - w[0].0).collect();
        assert!(steps.iter().all(|step| (step - steps[0]).abs() < 0.02), "{steps:?}");
        let y: Vec<_> = root
            .descendants()
            .filter(|n| n.attribute("class") == Some("tick-y"))
            .map(|n| (number(n, "y") - 4.0, number(n, "data-value")))
            .collect();
        let json = serde_json::to_value(&report).unwrap();
        let lines: Vec<_> = root.descendants().filter(|n| n.has_tag_name("polyline")).collect();
        assert_eq!(lines.len(), 2);
        for (line, said) in lines.iter().zip(json["scenarios"].as_array().unwrap()) {
            assert_eq!(line.attribute("data-series"), said["name"].as_str());
            let curve: Vec<Point> = said["frame_to_order"]["curve"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| Point {
                    percentile: p["percentile"].as_f64().unwrap(),
                    ns: p["ns"].as_u64().unwrap(),
                })
                .collect();
            let pairs = |name: &str, between: char| -> Vec<(f64, f64)> {
                let text = line.attribute(name).unwrap();
                let pair =
                    |p: &str| p.split_once(between).map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
                text.split(' ').map(|p| pair(p).unwrap()).collect()
            };
            let exact: Vec<_> = curve.iter().map(|p| (p.percentile, p.ns as f64)).collect();
            assert_eq!(pairs("data-points", ':'), exact);
            // Read off the picture by its ticks, each point is the value it stands for.
            let [first, .., last] = y.as_slice() else { panic!("{y:?}") };
            let a_decade = (last.0 - first.0) / (last.1.log10() - first.1.log10());
            for ((px, py), (percentile, ns)) in pairs("points", ',').into_iter().zip(exact) {
                let ns_read = 10f64.powf((py - first.0) / a_decade + first.1.log10());
                assert!((ns_read / ns - 1.0).abs() < 0.01, "{ns_read} for {ns}");
                let nines = 10f64.powf((px - x[0].0) / steps[0]);
                assert!((nines * (100.0 - percentile) / 100.0 - 1.0).abs() < 0.01, "{percentile}");
            }
        }
    }

    #[test]
    fn every_picture_is_whole_and_the_bars_are_the_stages() {
        let report = report();
        let html = page(&report);
        let texts: Vec<_> = pictures(&html).iter().map(|p| format!("<svg{p}</svg>")).collect();
        let documents: Vec<_> = texts.iter().map(|text| Document::parse(text).unwrap()).collect();
        let bars: Vec<_> = documents
            .iter()
            .flat_map(|d| d.descendants().filter(|n| n.attribute("class") == Some("bar")).collect::<Vec<_>>())
            .map(|n| {
                (n.attribute("data-stage").unwrap().to_owned(), number(n, "data-ns"), number(n, "width"))
            })
            .collect();
        assert_eq!(bars.len(), 2);
        assert_eq!((bars[0].0.as_str(), bars[0].1), ("market", 300.0));
        assert!((bars[0].2 / bars[1].2 - 3.0).abs() < 0.01, "{bars:?}");
        let rates = documents.iter().find(|d| d.root_element().attribute("class") == Some("rates")).unwrap();
        let line = rates.descendants().find(|n| n.attribute("data-series") == Some("p99")).unwrap();
        assert_eq!(line.attribute("data-points"), Some("10000:3000 100000:8000"));
    }
}
