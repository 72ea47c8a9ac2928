//! 5.1, 5.3 and 5.4: covariances of few rows (Ledoit and Wolf 2004), weights with equal shares of risk (Maillard, Roncalli and Teïletche 2010; Spinu 2013), and expected returns that views are mixed into (Black and
//! Litterman 1992).

use crate::linear::Matrix;

/// Sweeps of the descent, and the change at which it has ended.
const SWEEPS_MAX: usize = 100;
const ENOUGH: f64 = 1e-10;

/// Weights, summing to 1, whose shares of the variance are as the budgets: the least of ½yᵀΣy − Σ b ln y by cyclical coordinate descent, brought to sum 1. None
/// where the covariance has no positive diagonal, a budget is not positive, or the descent does not end.
#[must_use]
pub fn risk_parity(covariance: &Matrix, budgets: &[f64]) -> Option<Vec<f64>> {
    let n = covariance.rows();
    let is_good = n > 0
        && budgets.len() == n
        && budgets.iter().all(|b| *b > 0.0 && b.is_finite())
        && (0..n).all(|i| covariance.at(i, i) > 0.0 && covariance.at(i, i).is_finite());
    if !is_good {
        return None;
    }
    let mut y: Vec<f64> = (0..n).map(|i| 1.0 / covariance.at(i, i).sqrt()).collect();
    for _ in 0..SWEEPS_MAX {
        let mut moved: f64 = 0.0;
        for i in 0..n {
            let own = covariance.at(i, i);
            let others = (0..n).filter(|j| *j != i).fold(0.0, |sum, j| sum + covariance.at(i, j) * y[j]);
            let next = (-others + (others * others + 4.0 * own * budgets[i]).sqrt()) / (2.0 * own);
            moved = moved.max((next - y[i]).abs() / y[i].abs().max(f64::MIN_POSITIVE));
            y[i] = next;
        }
        if moved < ENOUGH {
            let sum = y.iter().fold(0.0, |sum, x| sum + x);
            return (sum > 0.0 && sum.is_finite()).then(|| y.iter().map(|x| x / sum).collect());
        }
    }
    None
}

/// Covariance of rows of returns, demeaned and divided by their number, drawn towards a multiple of the identity as far as the sample's own noise asks for:
/// δμI + (1 − δ)S, and δ in [0, 1] (Ledoit and Wolf 2004). A row with what is no number is left out. None where rows differ in length or no two are
/// left.
#[must_use]
pub fn ledoit_wolf(rows: &[Vec<f64>]) -> Option<(Matrix, f64)> {
    let p = rows.first()?.len();
    let rows: Vec<&Vec<f64>> = rows.iter().filter(|row| row.iter().all(|x| x.is_finite())).collect();
    if p == 0 || rows.len() < 2 || rows.iter().any(|row| row.len() != p) {
        return None;
    }
    let n = rows.len() as f64;
    let mean: Vec<f64> = (0..p).map(|i| rows.iter().fold(0.0, |sum, row| sum + row[i]) / n).collect();
    let away: Vec<Vec<f64>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut sample = Matrix::zeros(p, p);
    for i in 0..p {
        for j in 0..p {
            sample.set(i, j, away.iter().fold(0.0, |sum, row| sum + row[i] * row[j]) / n);
        }
    }
    let mu = (0..p).fold(0.0, |sum, i| sum + sample.at(i, i)) / p as f64;
    let cells = || (0..p).flat_map(|i| (0..p).map(move |j| (i, j)));
    // How far the sample is from the target, and how far a row is from the sample, both in the squared norm a cell.
    let spread = cells().fold(0.0, |sum, (i, j)| {
        let d = sample.at(i, j) - if i == j { mu } else { 0.0 };
        sum + d * d
    });
    let noise = away.iter().fold(0.0, |sum, row| {
        sum + cells().fold(0.0, |sum, (i, j)| {
            let d = row[i] * row[j] - sample.at(i, j);
            sum + d * d
        })
    }) / (n * n);
    let delta = if spread > 0.0 { (noise / spread).clamp(0.0, 1.0) } else { 1.0 };
    for (i, j) in cells() {
        let target = if i == j { mu } else { 0.0 };
        sample.set(i, j, delta * target + (1.0 - delta) * sample.at(i, j));
    }
    Some((sample, delta))
}

/// A view: a portfolio, what it is expected to return, and the variance of that opinion.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Weights of the assets.
    pub of: Vec<f64>,
    /// Expected return.
    pub expected: f64,
    /// Its variance; none for that of the prior (Ω = PτΣPᵀ).
    pub variance: Option<f64>,
}

/// Expected returns from those of equilibrium and views: π + τΣPᵀ(PτΣPᵀ + Ω)⁻¹(q − Pπ). None where shapes do not fit, or views contradict each other with
/// certainty.
#[must_use]
pub fn black_litterman(
    covariance: &Matrix,
    equilibrium: &[f64],
    views: &[View],
    tau: f64,
) -> Option<Vec<f64>> {
    let (n, k) = (covariance.rows(), views.len());
    if equilibrium.len() != n || views.iter().any(|view| view.of.len() != n) || tau <= 0.0 {
        return None;
    }
    if k == 0 {
        return Some(equilibrium.to_vec());
    }
    // τΣPᵀ, a column a view.
    let spread: Vec<Vec<f64>> = views
        .iter()
        .map(|view| {
            (0..n).map(|i| tau * (0..n).fold(0.0, |sum, j| sum + covariance.at(i, j) * view.of[j])).collect()
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y);
    let mut total = Matrix::zeros(k, k);
    let mut miss = Matrix::zeros(k, 1);
    for (i, view) in views.iter().enumerate() {
        for (j, column) in spread.iter().enumerate() {
            let own = if i == j { view.variance.unwrap_or_else(|| dot(&view.of, column)) } else { 0.0 };
            total.set(i, j, dot(&view.of, column) + own);
        }
        miss.set(i, 0, view.expected - dot(&view.of, equilibrium));
    }
    let weights = total.solve(&miss).ok()?;
    let moved = |i: usize| (0..k).fold(equilibrium[i], |sum, v| sum + spread[v][i] * weights.at(v, 0));
    let mixed: Vec<f64> = (0..n).map(moved).collect();
    mixed.iter().all(|m| m.is_finite()).then_some(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        let sd = [0.2, 0.3, 0.4];
        let rho = [[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 1.0]];
        let mut covariance = Matrix::zeros(3, 3);
        (0..3).for_each(|i| (0..3).for_each(|j| covariance.set(i, j, rho[i][j] * sd[i] * sd[j])));
        let weights = risk_parity(&covariance, &[1.0 / 3.0; 3]).unwrap();
        [0.459_711, 0.291_929, 0.248_361].iter().zip(&weights).for_each(|(e, w)| near(*w, *e));
        let share = |i: usize| weights[i] * (0..3).fold(0.0, |sum, j| sum + covariance.at(i, j) * weights[j]);
        assert!((share(0) - share(1)).abs() < 1e-12 && (share(1) - share(2)).abs() < 1e-12);
        for rho in [-0.5, 0.0, 0.9] {
            let two = Matrix::from_rows(&[&[0.01, rho * 0.02], &[rho * 0.02, 0.04]]);
            near(risk_parity(&two, &[0.5, 0.5]).unwrap()[0], 0.666_667);
        }
    }

    #[test]
    fn shrunk_published_values() {
        let rows = [[0.01, 0.02], [-0.01, 0.0], [0.03, 0.01], [0.0, -0.02], [-0.02, -0.01]];
        let mut rows: Vec<Vec<f64>> = rows.iter().map(|row| row.to_vec()).collect();
        rows.push(vec![f64::NAN, 0.5]);
        let (covariance, delta) = ledoit_wolf(&rows).unwrap();
        near(delta, 0.627_904);
        near(covariance.at(0, 0), 2.658_61e-4);
        near(covariance.at(0, 1), 5.209_35e-5);
        near(covariance.at(1, 1), 2.301_39e-4);
        assert!(ledoit_wolf(&rows[..1]).is_none() && ledoit_wolf(&[]).is_none());
        assert!(ledoit_wolf(&[vec![1.0, 2.0], vec![1.0]]).is_none());
        let (flat, delta) = ledoit_wolf(&[vec![1.0, 1.0], vec![1.0, 1.0]]).unwrap();
        assert_eq!((flat.at(0, 0), flat.at(0, 1), delta), (0.0, 0.0, 1.0));
    }

    #[test]
    fn views_published_values() {
        let covariance = Matrix::from_rows(&[&[0.04, 0.006], &[0.006, 0.09]]);
        let view = |variance| View { of: vec![-1.0, 1.0], expected: 0.05, variance };
        let mixed = black_litterman(&covariance, &[0.05, 0.08], &[view(None)], 0.05).unwrap();
        near(mixed[0], 0.047_118_6);
        near(mixed[1], 0.087_118_6);
        let vague = black_litterman(&covariance, &[0.05, 0.08], &[view(Some(1e12))], 0.05).unwrap();
        assert!((vague[0] - 0.05).abs() < 1e-12 && (vague[1] - 0.08).abs() < 1e-12);
        assert_eq!(black_litterman(&covariance, &[0.05, 0.08], &[], 0.05), Some(vec![0.05, 0.08]));
    }

    #[test]
    fn degenerate_input() {
        let covariance = Matrix::from_rows(&[&[0.04, 0.0], &[0.0, 0.0]]);
        assert_eq!(risk_parity(&covariance, &[0.5, 0.5]), None);
        assert_eq!(risk_parity(&Matrix::zeros(0, 0), &[]), None);
        let one = Matrix::from_rows(&[&[0.04]]);
        assert_eq!(risk_parity(&one, &[0.0]), None);
        let certain = View { of: vec![1.0], expected: 0.1, variance: Some(0.0) };
        let other = View { expected: 0.2, ..certain.clone() };
        assert_eq!(black_litterman(&one, &[0.05], &[certain.clone(), other], 0.05), None);
        assert_eq!(black_litterman(&one, &[0.05, 0.1], &[certain], 0.05), None);
    }
}
