//! Everybody once a round, in turns; equal results before; statistics over the rounds.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::Setting;

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times.
    Less,
    /// Rates.
    More,
}

/// One implementation.
pub struct Contestant<'a> {
    name: String,
    is_ours: bool,
    run: Box<dyn FnMut() -> Result<Vec<f64>> + 'a>,
}

impl<'a> Contestant<'a> {
    /// A piece of Kimera; `run` does the whole work once and says a figure for each metric.
    pub fn ours(name: impl Into<String>, run: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self { name: name.into(), is_ours: true, run: Box::new(run) }
    }

    /// Somebody else's.
    pub fn peer(name: impl Into<String>, run: impl FnMut() -> Result<Vec<f64>> + 'a) -> Self {
        Self { name: name.into(), is_ours: false, run: Box::new(run) }
    }
}

/// A comparison: the first contestant is the one that the others are held against.
pub struct Race<'a> {
    /// What is compared.
    pub title: String,
    /// Of every figure.
    pub unit: &'static str,
    /// Which way a figure is good.
    pub better: Better,
    /// Figures a run gives.
    pub metrics: &'static [&'static str],
    /// Who runs.
    pub contestants: Vec<Contestant<'a>>,
    /// What has to be said about it: who is left out, what is not the same work.
    pub notes: Vec<String>,
}

/// What a comparison measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was compared.
    pub title: String,
    /// Of every figure.
    pub unit: &'static str,
    /// Which way a figure is good.
    pub better: Better,
    /// A table each.
    pub metrics: Vec<Metric>,
    /// What has to be said about it.
    pub notes: Vec<String>,
}

/// One figure of everybody.
#[derive(Clone, Debug, Serialize)]
pub struct Metric {
    /// Which; empty where there is only one.
    pub name: &'static str,
    /// Everybody, the one they are held against first.
    pub rows: Vec<Row>,
}

/// One figure of one implementation.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// A piece of Kimera.
    pub is_ours: bool,
    /// Over the rounds.
    pub spread: Spread,
    /// Against the first row; none for itself.
    pub verdict: Option<Verdict>,
    /// Each round's figure.
    pub rounds: Vec<f64>,
}

/// Where the rounds' figures lie.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// A quarter lies below.
    pub quartile_low: f64,
    /// A quarter lies above.
    pub quartile_high: f64,
    /// The highest.
    pub max: f64,
}

/// How the first row does against another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verdict {
    /// How many times as good the first row is: the median of the rounds' ratios, because both met the same machine in a
    /// round.
    pub factor: f64,
    /// The quartile ranges overlap: no difference is claimed.
    pub is_even: bool,
}

/// Somebody did not make the same of the input as the others.
#[derive(Debug)]
pub struct Unequal {
    comparison: String,
    reference: String,
    names: Vec<String>,
}

impl fmt::Display for Unequal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { comparison, reference, names } = self;
        let names = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        write!(f, "{comparison}: {names} did not make the same of it as \"{reference}\"; nothing is timed")
    }
}

impl std::error::Error for Unequal {}

/// Holds every result against the first.
///
/// # Errors
/// [`Unequal`] with the names of those that differ.
pub fn compare<T: PartialEq>(comparison: &str, results: &[(String, T)]) -> Result<()> {
    let (reference, expected) = results.first().context("nothing to compare")?;
    let different = results.iter().filter(|(_, result)| result != expected);
    let names: Vec<_> = different.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Unequal { comparison: comparison.to_owned(), reference: reference.clone(), names }.into())
}

impl Race<'_> {
    /// Runs everybody in turns, one round more than count.
    ///
    /// # Errors
    /// What a run could not do.
    pub fn run(mut self, setting: &Setting) -> Result<Outcome> {
        let count = self.contestants.len();
        let mut figures = vec![Vec::new(); count];
        for round in 0..=setting.rounds as usize {
            for turn in 0..count {
                // Nobody always runs behind the same one.
                let who = (turn + round) % count;
                let contestant = &mut self.contestants[who];
                let figure = (contestant.run)()
                    .with_context(|| format!("{}: {} failed", self.title, contestant.name))?;
                ensure!(
                    figure.len() == self.metrics.len(),
                    "{} gave {} figures",
                    contestant.name,
                    figure.len()
                );
                // The first round warms caches, predictors and page tables.
                if round > 0 {
                    figures[who].push(figure);
                }
            }
        }
        let metrics = self.metrics.iter().enumerate().map(|(i, name)| Metric {
            name,
            rows: self.rows(&figures.iter().map(|f| f.iter().map(|v| v[i]).collect()).collect::<Vec<_>>()),
        });
        Ok(Outcome {
            metrics: metrics.collect(),
            title: self.title,
            unit: self.unit,
            better: self.better,
            notes: self.notes,
        })
    }

    fn rows(&self, figures: &[Vec<f64>]) -> Vec<Row> {
        let base = figures.first().map_or(&[][..], Vec::as_slice);
        let rows = self.contestants.iter().zip(figures).enumerate().map(|(i, (contestant, rounds))| Row {
            name: contestant.name.clone(),
            is_ours: contestant.is_ours,
            spread: Spread::of(rounds),
            verdict: (i > 0).then(|| Verdict::of(self.better, base, rounds)),
            rounds: rounds.clone(),
        });
        rows.collect()
    }
}

impl Verdict {
    fn of(better: Better, base: &[f64], other: &[f64]) -> Self {
        let ratio = |(ours, theirs): (&f64, &f64)| match better {
            Better::Less => theirs / ours,
            Better::More => ours / theirs,
        };
        let factors: Vec<f64> = base.iter().zip(other).map(ratio).collect();
        let (a, b) = (Spread::of(base), Spread::of(other));
        let is_even = a.quartile_low <= b.quartile_high && b.quartile_low <= a.quartile_high;
        Self { factor: quantile(&factors, 0.5), is_even }
    }
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let at = |q| quantile(values, q);
        Self { median: at(0.5), min: at(0.0), quartile_low: at(0.25), quartile_high: at(0.75), max: at(1.0) }
    }
}

/// A quantile, between two neighbours where it falls there; 0 of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_differs_is_named() {
        let results = [("a".to_owned(), 1), ("b".to_owned(), 1), ("c".to_owned(), 2)];
        assert!(compare("x", &results[..2]).is_ok());
        let error = compare("x", &results).map_err(|e| e.to_string());
        assert_eq!(error, Err("x: \"c\" did not make the same of it as \"a\"; nothing is timed".to_owned()));
    }

    #[test]
    fn a_factor_over_one_is_good_for_the_first() {
        let slow = Verdict::of(Better::Less, &[10.0, 11.0, 12.0], &[30.0, 22.0, 24.0]);
        assert!((slow.factor - 2.0).abs() < 1e-9 && !slow.is_even);
        let fast = Verdict::of(Better::More, &[10.0, 11.0, 12.0], &[20.0, 22.0, 24.0]);
        assert!((fast.factor - 0.5).abs() < 1e-9 && !fast.is_even);
        assert!(Verdict::of(Better::Less, &[10.0, 11.0, 12.0], &[11.0, 11.5, 12.0]).is_even);
    }
}
