//! What assets returned, and what that says of what they will: rows of returns from recorded minutes, their mean and covariance, all or those of the
//! regime that is now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kimera_numerics::Matrix;
use kimera_numerics::portfolio::ledoit_wolf;
use kimera_numerics::regimes::Regimes;
use kimera_protocol::Nanos;

use crate::exit::Failure;
use crate::rates::read_minutes;

/// Nanoseconds of a year of a market that never closes.
pub(super) const YEAR: f64 = 365.0 * 86_400e9;
const MINUTE: Nanos = 60_000_000_000;
/// Two regimes whose deviations are nearer than this are one.
const APART: f64 = 1.5;
/// Rows below which nothing is estimated.
pub(super) const ROWS_MIN: usize = 30;

/// Returns of several assets at the same times.
#[derive(Clone, Debug)]
pub struct Returns {
    /// Names of the assets: of their files.
    pub names: Vec<String>,
    /// Price over price a bar before less 1, a row a bar: what a portfolio's return is made of.
    pub rows: Vec<Vec<f64>>,
    /// Bars of a year.
    pub per_year: f64,
}

/// What is expected, a year.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Mean returns.
    pub mean: Vec<f64>,
    /// Standard errors of the means: what they are worth.
    pub mean_error: Vec<f64>,
    /// Shrunk covariance.
    pub covariance: Matrix,
    /// How far it was shrunk, in [0, 1].
    pub shrunk: f64,
    /// Rows it is of.
    pub rows: usize,
    /// The regime it is of; none for all rows.
    pub regime: Option<&'static str>,
}

/// Name of an asset: its file's, less .gz and .csv.
fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".csv").unwrap_or(name).to_owned()
}

/// Reads files of minutes.
///
/// # Errors
/// What cannot be read, and files that have less than thirty bars in common.
pub fn read(files: &[PathBuf], bar: Nanos) -> Result<Returns, Failure> {
    if bar % MINUTE != 0 {
        return Err(Failure::usage("--bar: whole minutes, as 15m or 1h".to_owned()));
    }
    let closes: Vec<BTreeMap<i64, f64>> =
        files.iter().map(|file| closes(file, bar)).collect::<Result<_, _>>()?;
    let names: Vec<String> = files.iter().map(|file| name(file)).collect();
    if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(Failure::usage(format!(
            "{} is named twice: assets have the names of their files",
            twice.1
        )));
    }
    let Some((first, others)) = closes.split_first() else {
        return Err(Failure::usage("--bars: no file".to_owned()));
    };
    let at = |time: i64| -> Option<Vec<f64>> {
        std::iter::once(first).chain(others).map(|of| of.get(&time).copied()).collect()
    };
    let mut rows = Vec::new();
    for time in first.keys() {
        if let (Some(before), Some(now)) = (at(time - 1), at(*time)) {
            rows.push(now.iter().zip(before).map(|(now, before)| now / before - 1.0).collect());
        }
    }
    if rows.len() < ROWS_MIN {
        return Err(Failure::missing(format!(
            "{} bars are in all of {}: {ROWS_MIN} are needed; take shorter ones (--bar), or files of the same time",
            rows.len(),
            names.join(", ")
        )));
    }
    Ok(Returns { names, rows, per_year: YEAR / bar as f64 })
}

/// The last price of each bar that is whole, by its number.
fn closes(file: &Path, bar: Nanos) -> Result<BTreeMap<i64, f64>, Failure> {
    let minutes = read_minutes(file)?;
    let mut of: BTreeMap<i64, f64> = minutes
        .iter()
        .filter(|m| m.bar.close > 0.0)
        .map(|m| (m.bar.time.div_euclid(bar), m.bar.close))
        .collect();
    // The last bar may only have begun.
    if minutes.last().is_some_and(|m| m.bar.time.rem_euclid(bar) + MINUTE < bar) {
        of.pop_last();
    }
    Ok(of)
}

/// Mean and covariance, a year; of the regime that is now where that is asked for and has rows enough.
///
/// # Errors
/// Prices that say nothing.
pub fn estimate(returns: &Returns, by_regime: bool) -> Result<Estimate, Failure> {
    let (rows, regime) = match by_regime.then(|| of_this_regime(&returns.rows)).flatten() {
        Some((rows, regime)) => (rows, Some(regime)),
        None => (returns.rows.clone(), None),
    };
    let (mut covariance, shrunk) = ledoit_wolf(&rows)
        .ok_or_else(|| Failure::missing("prices that never move, or are none".to_owned()))?;
    let (n, p) = (rows.len() as f64, returns.names.len());
    for i in 0..p {
        (0..p).for_each(|j| covariance.set(i, j, returns.per_year * covariance.at(i, j)));
    }
    let mean = (0..p).map(|i| returns.per_year * rows.iter().map(|row| row[i]).sum::<f64>() / n).collect();
    // The error of a mean of n bars, a year: √(variance of a bar / n) times the bars of a year.
    let mean_error = (0..p).map(|i| (covariance.at(i, i) * returns.per_year / n).sqrt()).collect();
    Ok(Estimate { mean, mean_error, covariance, shrunk, rows: rows.len(), regime })
}

/// Rows that were expected, by those before them, to be of the regime that the next one is expected to be of; by a row itself large ones would be taken out of the
/// calm. None where one deviation explains the rows as well (by Schwarz's criterion: three parameters fewer), the two are near each other, or too few rows are
/// left.
fn of_this_regime(rows: &[Vec<f64>]) -> Option<(Vec<Vec<f64>>, &'static str)> {
    let market: Vec<f64> = rows.iter().map(|row| row.iter().sum::<f64>() / row.len().max(1) as f64).collect();
    let regimes = Regimes::fit(&market)?;
    let (two, one) = regimes.likelihoods(&market);
    let is_two = 2.0 * (two - one) > 3.0 * (market.len() as f64).ln();
    if !is_two || regimes.deviation[1] < APART * regimes.deviation[0] {
        return None;
    }
    let mut at = regimes.stationary();
    let calm: Vec<bool> = market
        .iter()
        .map(|x| {
            let expected = regimes.ahead(at);
            at = regimes.filter(at, *x);
            expected[0] > 0.5
        })
        .collect();
    let next = regimes.ahead(at)[0] > 0.5;
    let kept: Vec<Vec<f64>> =
        rows.iter().zip(&calm).filter(|(_, c)| **c == next).map(|(row, _)| row.clone()).collect();
    let enough = ROWS_MIN.max(2 * rows.first()?.len());
    let is_part = kept.len() >= enough && kept.len() < rows.len();
    is_part.then_some((kept, if next { "calm" } else { "rough" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calm returns, then rough ones with another correlation.
    fn two_regimes() -> Returns {
        let mut x = 5u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let rows = (0..600)
            .map(|i| {
                let (a, b) = (next(), next());
                if i < 400 { vec![0.001 * a, 0.001 * b] } else { vec![0.02 * a, 0.02 * (0.9 * a + 0.1 * b)] }
            })
            .collect();
        Returns { names: vec!["A".into(), "B".into()], rows, per_year: 365.0 }
    }

    #[test]
    fn the_regime_that_is_now_has_a_covariance_of_its_own() {
        let returns = two_regimes();
        let (all, now) = (estimate(&returns, false).unwrap(), estimate(&returns, true).unwrap());
        assert_eq!((all.regime, now.regime), (None, Some("rough")));
        assert!((150..260).contains(&now.rows) && all.rows == 600, "{}", now.rows);
        assert!(now.covariance.at(0, 0) > 2.0 * all.covariance.at(0, 0));
        // A uniform's variance is a twelfth of its width squared.
        let expected = 365.0 * 0.02 * 0.02 / 12.0;
        assert!((now.covariance.at(0, 0) / expected - 1.0).abs() < 0.25, "{}", now.covariance.at(0, 0));
        assert!(now.mean_error.iter().all(|e| *e > 0.0));
    }

    #[test]
    fn one_law_is_not_taken_for_two() {
        let mut normals = kimera_numerics::seeded::SeededNormals::new(5);
        let mut taken = 0;
        for _ in 0..20 {
            let rows = (0..700).map(|_| vec![0.01 * normals.normal(), 0.01 * normals.normal()]).collect();
            let returns = Returns { names: vec!["A".into(), "B".into()], rows, per_year: 365.0 };
            taken += u32::from(estimate(&returns, true).unwrap().regime.is_some());
        }
        assert_eq!(taken, 0, "of twenty");
    }

    #[test]
    fn bars_are_those_that_all_files_have() {
        let dir = std::env::temp_dir().join(format!("kimera-portfolio-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, first: i64, n: i64| {
            let text: String = (first..first + n)
                .map(|i| {
                    let price = 100.0 + (i % 7) as f64;
                    format!(
                        "{},{price},{price},{price},{price},1,{},1,1,1,1,0\n",
                        i * 60_000,
                        i * 60_000 + 59_999
                    )
                })
                .collect();
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (write("A.csv", 0, 400), write("B.csv", 100, 403));
        let returns = read(&[a.clone(), b.clone()], 300_000_000_000).unwrap();
        assert_eq!(returns.names, ["A", "B"]);
        assert_eq!(
            returns.rows.len(),
            59,
            "sixty bars of five minutes are in both, the first has none before it"
        );
        let few = read(&[a.clone(), b], 3_600_000_000_000).unwrap_err();
        assert!(few.message.contains("shorter ones"), "{}", few.message);
        assert!(
            read(std::slice::from_ref(&a), 90_000_000_000).unwrap_err().message.contains("whole minutes")
        );
        let named = ["x/AVAX.csv.gz", "LTCUSDT-1m-2026-02.csv", "B.C"].map(|path| name(Path::new(path)));
        assert_eq!(named, ["AVAX", "LTCUSDT-1m-2026-02", "B.C"]);
        assert!(read(&[a.clone(), a], 60_000_000_000).unwrap_err().message.contains("named twice"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
