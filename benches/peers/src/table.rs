//! What was measured, as lines for people: a table a metric, wins and losses in one voice.

use crate::rounds::{Better, Metric, Outcome, Row, Verdict};

/// A comparison's tables.
pub fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for metric in &outcome.metrics {
        let joint = if metric.name.is_empty() { "" } else { ", " };
        text += &format!("\n{}{joint}{}\n", outcome.title, metric.name);
        text += &rows(outcome, metric);
        text += &summary(outcome, metric);
    }
    text + &outcome.notes.iter().map(|note| format!("  note: {note}\n")).collect::<String>()
}

fn rows(outcome: &Outcome, metric: &Metric) -> String {
    let width = metric.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let mut text =
        format!("  {:<width$}  {:>10}  {:>21}  {}\n", outcome.unit, "median", "min – max", "Kimera is");
    for row in &metric.rows {
        let Row { name, spread, .. } = row;
        let range = format!("{} – {}", number(spread.min), number(spread.max));
        let verdict = row.verdict.as_ref().map_or_else(String::new, in_words);
        let line = format!("  {name:<width$}  {:>10}  {range:>21}  {verdict}", number(spread.median));
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn in_words(verdict: &Verdict) -> String {
    let Verdict { factor, is_even } = *verdict;
    if is_even {
        format!("even ({factor:.2})")
    } else if factor >= 1.0 {
        format!("{factor:.2} × faster")
    } else {
        format!("{:.2} × SLOWER", 1.0 / factor)
    }
}

/// Four digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Against whom it wins, loses, or neither: a line each.
fn summary(outcome: &Outcome, metric: &Metric) -> String {
    let named = |wanted: fn(&Verdict) -> bool| {
        let peers = metric.rows.iter().filter(|row| !row.is_ours);
        let chosen = peers.filter_map(|row| row.verdict.filter(wanted).map(|verdict| (row, verdict)));
        let names = chosen.map(|(row, v)| format!("{} ({:.2} ×)", row.name, v.factor.max(1.0 / v.factor)));
        names.collect::<Vec<_>>().join("; ")
    };
    let direction = match outcome.better {
        Better::Less => "less is better",
        Better::More => "more is better",
    };
    let mut text = format!("  {direction}\n");
    for (word, names) in [
        ("won", named(|v| !v.is_even && v.factor >= 1.0)),
        ("even", named(|v| v.is_even)),
        ("lost", named(|v| !v.is_even && v.factor < 1.0)),
    ] {
        if !names.is_empty() {
            text += &format!("  {word}: {names}\n");
        }
    }
    text
}

/// Everything that is lost, once more at the end.
pub fn losses(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\nlost\n");
    let before = text.len();
    for outcome in outcomes {
        for metric in &outcome.metrics {
            for row in metric.rows.iter().filter(|row| !row.is_ours) {
                let Some(verdict) = row.verdict.filter(|v| !v.is_even && v.factor < 1.0) else { continue };
                let name = if metric.name.is_empty() { String::new() } else { format!(", {}", metric.name) };
                text += &format!(
                    "  {}{name}: slower than {} by {:.2} ×\n",
                    outcome.title,
                    row.name,
                    1.0 / verdict.factor
                );
            }
        }
    }
    if text.len() == before {
        text += "  nothing\n";
    }
    text
}
