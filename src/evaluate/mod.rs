//! `kimera evaluate`: what forecasts were worth. Members and ensemble are walked forward over recordings, runs and recorded minutes, each forecast judged by
//! what came, beside forecasts that are simple and others that can know nothing. Nothing is tuned here, and everything that was tried is counted.
//!
//! * [`forecasts`]: every forecast with its outcome; [`bars`]: minutes as a stream
//! * [`walk`]: test parts and what may be learnt for them; [`score`]: what it was worth
//! * [`leakage`]: did anybody know what came later? [`page`]: the report as a page

mod bars;
pub mod forecasts;
pub mod leakage;
mod page;
#[cfg(test)]
mod planted;
pub mod score;
pub mod walk;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use kimera_protocol::Message;
use serde::Serialize;

use crate::cli::{PROFILE, print};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::report::SCHEMA_VERSION;
use crate::source::Source;
use forecasts::{Kept, Member, Sample, forecasts, members};
use leakage::{Leakage, Peeking};
use score::{Row, Target};

/// The member's seat that a planted one takes.
const PLANTED: usize = 3;

/// Arguments of `kimera evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// State directories of runs, or folders with recordings (tape.toml).
    #[arg(long, num_args = 1..)]
    on: Vec<PathBuf>,
    /// Recorded minutes: files as Binance's archive has them, plain or .gz. A horizon is ten minutes there.
    #[arg(long, num_args = 1..)]
    bars: Vec<PathBuf>,
    /// Configuration with members and horizons; a run has its own.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// Seed of what is shuffled.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shuffle what came, too: then nobody can know anything.
    #[arg(long)]
    shuffle_labels: bool,
    /// File with one line an evaluation, so that what was tried is counted; none is written where this is absent.
    #[arg(long)]
    trials: Option<PathBuf>,
    /// The report as a page with plots.
    #[arg(long)]
    html: Option<PathBuf>,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
    /// Somebody who has seen the end of the tape sits in a member's seat, to show that it is noticed.
    #[arg(long, hide = true)]
    plant_look_ahead: bool,
}

/// What was measured on one source.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// File or folder.
    pub source: String,
    /// Forecasts that were decided: down, flat, up.
    pub came: [usize; 3],
    /// Of them in test parts.
    pub tested: usize,
    /// Left out before test parts, because their outcome was not known an embargo before.
    pub purged: usize,
    /// A row a forecaster.
    pub rows: Vec<Row>,
    /// The specification's claims.
    pub targets: Vec<Target>,
    /// Whether anybody knew what came later.
    pub leakage: Leakage,
    /// Evaluations of this source by the trials' file, this one among them; none where none are counted.
    pub trials: Option<u64>,
}

/// Measures, and says what was measured.
///
/// # Errors
/// Nothing to look into, files that cannot be read or written.
pub fn run(a: &EvaluateArgs) -> Result<Exit, Failure> {
    if a.on.is_empty() && a.bars.is_empty() {
        return Err(Failure::usage(
            "evaluate: say what on: --on FOLDER for recordings and runs, --bars FILE for minutes",
        ));
    }
    let mut all = Vec::new();
    for folder in &a.on {
        let source = Source::open(folder, &a.config)?;
        all.push(evaluate(a, folder, &source.config, &source.messages, (source.is_run, 0))?);
    }
    if !a.bars.is_empty() {
        let config = Config::load(&a.config)?;
        for file in &a.bars {
            let (config, messages) = bars::load(file, &config)?;
            all.push(evaluate(a, file, &config, &messages, (false, bars::LEAD))?);
        }
    }
    if let Some(path) = &a.html {
        let failed = |e: std::io::Error| Failure::machine(format!("cannot write {}: {e}", path.display()));
        std::fs::write(path, page::page(&all)).map_err(failed)?;
    }
    let text = if a.json {
        let value = serde_json::json!({"schema_version": SCHEMA_VERSION, "shuffled": a.shuffle_labels, "evaluations": all});
        value.to_string()
    } else {
        all.iter().map(to_text).collect::<Vec<_>>().join("\n")
    };
    print(text.trim_end())?;
    if all.iter().any(|e| e.leakage.differ > 0) {
        return Err(Failure::defect(
            "forecasts depend on what came later: nothing that was measured is worth anything",
        ));
    }
    Ok(Exit::Ok)
}

fn evaluate(
    a: &EvaluateArgs,
    path: &Path,
    config: &Config,
    messages: &[Message],
    kept: Kept,
) -> Result<Evaluation, Failure> {
    let wrong = |e: String| Failure::configuration(e);
    let make = |tape: &[Message]| -> Result<Vec<Member>, String> {
        let mut each = members(config)?;
        if a.plant_look_ahead
            && let Some((_, seat)) = each.get_mut(PLANTED)
        {
            *seat = Box::new(Peeking::new(config, PLANTED, tape));
        }
        Ok(each)
    };
    let mut of = make(messages).map_err(wrong)?;
    let names: Vec<_> = of.iter().map(|(name, _)| name.clone()).collect();
    let whole = forecasts(config, messages, kept, &mut of).map_err(wrong)?;
    let leakage = leakage::check(config, messages, kept, &make, &whole).map_err(wrong)?;
    let mut samples = whole.decided;
    if a.shuffle_labels {
        let mut classes: Vec<_> = samples.iter().map(|s| s.class).collect();
        walk::shuffle(&mut classes, a.seed);
        samples.iter_mut().zip(classes).for_each(|(s, class)| s.class = class);
    }
    let folds = walk::folds(&samples, walk::FOLDS);
    let rule = (config.strategy.score_min, config.strategy.confidence_min);
    let tested = folds.iter().map(|fold| fold.test.len()).sum();
    let share = walk::uniqueness(&samples);
    let said = walk::forecasters(&samples, &folds, &names, rule, a.seed);
    let rows: Vec<_> = said.iter().map(|of| score::row(of, &samples, &share, tested)).collect();
    let mut came = [0; 3];
    samples.iter().for_each(|s| came[s.class] += 1);
    // The same source by whatever path.
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
    let source = path.display().to_string();
    Ok(Evaluation {
        targets: score::targets(&rows, &samples, a.shuffle_labels),
        purged: folds.iter().map(|fold| fold.purged).sum(),
        trials: a.trials.as_deref().map(|file| count(file, &place, config, &samples)).transpose()?,
        source,
        came,
        tested,
        rows,
        leakage,
    })
}

/// Notes this evaluation, and says how many there were of this source.
fn count(file: &Path, source: &str, config: &Config, samples: &[Sample]) -> Result<u64, Failure> {
    let failed =
        |e: std::io::Error| Failure::machine(format!("cannot count trials in {}: {e}", file.display()));
    let text = config.to_text().map_err(Failure::configuration)?;
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let line =
        serde_json::json!({"source": source, "samples": samples.len(), "configuration": hash.as_str()});
    let mut out = std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
    writeln!(out, "{line}").map_err(failed)?;
    let lines = std::fs::read_to_string(file).map_err(failed)?;
    let of_source = |line: &&str| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value["source"] == source)
    };
    Ok(lines.lines().filter(of_source).count() as u64)
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{:.1} %", 100.0 * v))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.3}"))
}

/// An evaluation as people read it.
fn to_text(of: &Evaluation) -> String {
    let [down, flat, up] = of.came;
    let mut text = format!(
        "{}\n{} forecasts decided: {down} down, {flat} flat, {up} up; {} in {} test parts, {} left out before them\n",
        of.source,
        down + flat + up,
        of.tested,
        walk::FOLDS,
        of.purged
    );
    let _ = writeln!(
        text,
        "{:<32} {:>9} {:>9} {:>7} {:>9} {:>17} {:>6} {:>7} {:>7} {:>6}",
        "forecaster", "coverage", "decided", "indep.", "accuracy", "95 %", "F1", "MCC", "skill", "ECE"
    );
    for row in &of.rows {
        let interval = format!("{:.1} to {:.1} %", 100.0 * row.interval.0, 100.0 * row.interval.1);
        let _ = writeln!(
            text,
            "{:<32} {:>9} {:>9} {:>7.0} {:>9} {:>17} {:>6.3} {:>7.3} {:>7} {:>6.3}",
            row.name,
            share(Some(row.coverage)),
            row.decisions,
            row.independent,
            share(row.accuracy),
            interval,
            row.macro_f1,
            row.mcc,
            number(row.skill),
            row.calibration_error
        );
    }
    for target in &of.targets {
        let interval = target
            .interval
            .map_or_else(String::new, |(low, high)| format!(", {:.1} to {:.1} %", 100.0 * low, 100.0 * high));
        let _ = writeln!(
            text,
            "{}: {} (claimed above {:.0} %, measured {}{interval}; {})",
            target.what,
            target.verdict,
            100.0 * target.claimed,
            share(target.measured),
            target.note
        );
    }
    let l = &of.leakage;
    let _ = match l.first {
        None => writeln!(
            text,
            "look-ahead: none; what was said at {} marks is the same without what follows them",
            l.compared
        ),
        Some(_) => writeln!(
            text,
            "look-ahead: at {} of {} marks something else is said without what follows them",
            l.differ, l.compared
        ),
    };
    if let Some(trials) = of.trials {
        let _ = writeln!(
            text,
            "trials on this source so far: {trials}; a Sharpe ratio found with them is to be deflated by as many"
        );
    }
    text
}
