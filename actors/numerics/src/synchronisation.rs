//! 3.9 Do markets move as one? The absorption ratio (Kritzman, Li, Page and Rigobon 2011) and herding by cross-sectional dispersion (Chang, Cheng and
//! Khorana 2000).

use kimera_protocol::Status;

use crate::estimate::Estimate;

/// Most markets.
pub const MARKETS_MAX: usize = 64;
/// Steps of the power iteration.
const STEPS_MAX: usize = 20;

/// Share of all variance in the first principal component of the correlations, in [1/N, 1]: λ₁/N. Rows are times, columns markets; a market that did not move
/// is left out. Too few: fewer than three markets that move, or than two times more than markets.
#[must_use]
pub fn absorption_ratio<R: AsRef<[f64]>>(returns: &[R]) -> Estimate {
    let rows = returns.len();
    let returns = || returns.iter().map(AsRef::as_ref);
    let columns = returns().next().map_or(0, <[f64]>::len).min(MARKETS_MAX);
    if returns().any(|row| row.len() < columns || row.iter().any(|r| !r.is_finite())) {
        return Estimate::degenerate(Status::ZeroVariance, rows as u64);
    }
    // Columns about their means, each of length 1.
    let mut standard: Vec<Vec<f64>> = Vec::with_capacity(columns);
    for c in 0..columns {
        let mean = returns().map(|row| row[c]).sum::<f64>() / rows.max(1) as f64;
        let away: Vec<f64> = returns().map(|row| row[c] - mean).collect();
        let square = away.iter().fold(0.0, |sum, x| sum + x * x);
        if square > 0.0 {
            let length = square.sqrt();
            standard.push(away.iter().map(|x| x / length).collect());
        }
    }
    let n = standard.len();
    if n < 3 || rows < n + 2 {
        return Estimate::warmup(rows as u64);
    }
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y);
    let correlations: Vec<Vec<f64>> =
        standard.iter().map(|a| standard.iter().map(|b| product(a, b)).collect()).collect();
    Estimate::clamped(largest_eigenvalue(&correlations) / n as f64, 1.0 / n as f64, 1.0, rows as u64)
}

/// The largest eigenvalue of a symmetric matrix without negative ones, by power iteration: twenty steps from a start that no eigenvector is at right angles to
/// but by design.
#[must_use]
pub fn largest_eigenvalue(matrix: &[Vec<f64>]) -> f64 {
    let n = matrix.len();
    let mut at: Vec<f64> = (0..n).map(|i| 1.0 + i as f64 / (7 * n.max(1)) as f64).collect();
    let mut value = 0.0;
    for _ in 0..STEPS_MAX {
        let next: Vec<f64> =
            matrix.iter().map(|row| row.iter().zip(&at).fold(0.0, |sum, (m, x)| sum + m * x)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y);
        let (own, length) = (dot(&at, &at), dot(&next, &next).sqrt());
        if own <= 0.0 || length <= 0.0 {
            return 0.0;
        }
        value = dot(&at, &next) / own; // Rayleigh's quotient
        at = next.iter().map(|x| x / length).collect();
    }
    value
}

/// CSAD = a + g₁|R| + g₂R²: g₂ below 0 says that markets move together more when they move far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Herding {
    /// Constant, g₁, g₂.
    pub coefficients: [f64; 3],
    /// t of g₂; 0 where nothing is left over.
    pub t: f64,
}

/// Least squares of the cross-sectional absolute deviation on the market's return; none for fewer than five times, or returns that do not tell |R| from R².
#[must_use]
pub fn herding(market: &[f64], dispersion: &[f64]) -> Option<Herding> {
    let n = market.len();
    if n < 5 || dispersion.len() != n || market.iter().chain(dispersion).any(|x| !x.is_finite()) {
        return None;
    }
    // Brought to a common scale, so that squares of small returns are not lost.
    let scale = market.iter().fold(0.0f64, |most, r| most.max(r.abs()));
    if scale <= 0.0 {
        return None;
    }
    let row = |r: f64| {
        let x = r.abs() / scale;
        [1.0, x, x * x]
    };
    let (mut squares, mut products) = ([[0.0; 3]; 3], [0.0; 3]);
    for (r, y) in market.iter().zip(dispersion) {
        let x = row(*r);
        for i in 0..3 {
            products[i] += x[i] * y;
            (0..3).for_each(|j| squares[i][j] += x[i] * x[j]);
        }
    }
    let inverse = inverted(&squares)?;
    let solved: [f64; 3] =
        std::array::from_fn(|i| (0..3).fold(0.0, |sum, j| sum + inverse[i][j] * products[j]));
    let left = market.iter().zip(dispersion).fold(0.0, |sum, (r, y)| {
        let x = row(*r);
        let miss = y - (0..3).fold(0.0, |sum, i| sum + solved[i] * x[i]);
        sum + miss * miss
    });
    let error = (left / (n - 3) as f64 * inverse[2][2]).sqrt();
    let t = if error > 1e-12 * solved[2].abs() { solved[2] / error } else { 0.0 };
    Some(Herding { coefficients: [solved[0], solved[1] / scale, solved[2] / (scale * scale)], t })
}

/// The inverse of a symmetric matrix of three; none where it has next to none.
fn inverted(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |i: usize, j: usize| {
        let (a, b) = ((i + 1) % 3, (i + 2) % 3);
        let (c, d) = ((j + 1) % 3, (j + 2) % 3);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant = (0..3).fold(0.0, |sum, j| sum + m[0][j] * minor(0, j));
    let size = m[0][0] * m[1][1] * m[2][2];
    (determinant.abs() > 1e-12 * size.abs())
        .then(|| std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    #[test]
    fn published_values() {
        // Four markets with a correlation of one half: (1 + 3 · ½)/4.
        let half: Vec<Vec<f64>> =
            (0..4).map(|i| (0..4).map(|j| if i == j { 1.0 } else { 0.5 }).collect()).collect();
        assert!((largest_eigenvalue(&half) / 4.0 - 0.625).abs() < 1e-6);
        let market = [-0.04, -0.02, 0.0, 0.02, 0.04];
        let dispersion = market.map(|r: f64| 0.01 + 0.5 * r.abs() - 4.0 * r * r);
        let found = herding(&market, &dispersion).unwrap().coefficients;
        for (value, expected) in found.iter().zip([0.01, 0.5, -4.0]) {
            assert!((value / expected - 1.0).abs() < 1e-5, "{found:?}");
        }
    }

    #[test]
    fn one_factor_absorbs_what_it_should_and_noise_little() {
        let mut normals = SeededNormals::new(2);
        let mut of = |load: f64| -> Vec<Vec<f64>> {
            let rest = (1.0 - load * load).sqrt();
            (0..4_000)
                .map(|_| {
                    let factor = normals.normal();
                    (0..8).map(|_| load * factor + rest * normals.normal()).collect()
                })
                .collect()
        };
        // Correlation load² = 0.64: (1 + 7 · 0.64)/8.
        assert!((absorption_ratio(&of(0.8)).value - 0.685).abs() < 0.02);
        assert!(absorption_ratio(&of(0.0)).value < 0.16);
    }

    #[test]
    fn degenerate_input() {
        let row = |i: usize| vec![i as f64, (i * i) as f64, 1.0];
        let rows: Vec<_> = (0..20).map(row).collect();
        assert_eq!(absorption_ratio(&rows).status, Status::Warmup, "the third does not move: two are left");
        assert_eq!(absorption_ratio::<Vec<f64>>(&[]).status, Status::Warmup);
        assert_eq!(absorption_ratio(&[vec![f64::NAN; 3]]).status, Status::ZeroVariance);
        assert_eq!(herding(&[0.0; 6], &[0.1; 6]), None);
        assert_eq!(herding(&[0.01, -0.01, 0.01, -0.01, 0.01], &[0.1; 5]), None, "one size of return");
        assert_eq!(herding(&[0.1; 3], &[0.1; 3]), None);
    }
}
