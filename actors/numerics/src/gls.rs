//! Generalised least squares of one mean over a few correlated estimates, and the covariance it needs.

/// Most estimates.
pub const ESTIMATES_MAX: usize = 8;

/// A symmetric matrix of up to [`ESTIMATES_MAX`] rows.
pub type Square = [[f64; ESTIMATES_MAX]; ESTIMATES_MAX];

/// Lower triangle L with L·Lᵀ = the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cholesky {
    lower: Square,
    n: usize,
}

impl Cholesky {
    /// The factor of the first `n` rows; `None` where the matrix is not positive definite.
    #[must_use]
    pub fn new(matrix: &Square, n: usize) -> Option<Self> {
        let mut lower = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
        for i in 0..n {
            for j in 0..=i {
                let sum = (0..j).fold(matrix[i][j], |sum, k| sum - lower[i][k] * lower[j][k]);
                if i == j {
                    if !(sum > 0.0 && sum.is_finite()) {
                        return None;
                    }
                    lower[i][i] = sum.sqrt();
                } else {
                    lower[i][j] = sum / lower[j][j];
                }
            }
        }
        Some(Self { lower, n })
    }

    /// Solves matrix · x = b.
    #[must_use]
    pub fn solve(&self, b: [f64; ESTIMATES_MAX]) -> [f64; ESTIMATES_MAX] {
        let (l, n) = (&self.lower, self.n);
        let mut x = b;
        for i in 0..n {
            x[i] = (0..i).fold(x[i], |sum, k| sum - l[i][k] * x[k]) / l[i][i];
        }
        for i in (0..n).rev() {
            x[i] = (i + 1..n).fold(x[i], |sum, k| sum - l[k][i] * x[k]) / l[i][i];
        }
        x
    }
}

/// What estimates of one quantity say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// 1ᵀΣ⁻¹f / 1ᵀΣ⁻¹1.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// (f − mean)ᵀ Σ⁻¹ (f − mean): χ² with K − 1 degrees of freedom under agreement (Cochran 1954).
    pub q: f64,
    /// I² = max(0, (Q − (K − 1)) / Q): the share of the spread that chance does not explain (Higgins and Thompson 2002).
    pub heterogeneity: f64,
}

/// Everything that a covariance alone decides about combining estimates: it changes far less often than they do.
#[derive(Clone, Copy, Debug)]
pub struct Combiner {
    k: usize,
    /// Σ⁻¹.
    precision: Square,
    weights: [f64; ESTIMATES_MAX],
    total: f64,
    standard_error: f64,
}

impl Combiner {
    /// Of `k` estimates with error covariance `sigma` (its first rows). A singular one is loaded with 1e-8 of its mean
    /// diagonal. `None` for fewer than two estimates, or where nothing helps.
    #[must_use]
    pub fn new(sigma: &Square, k: usize) -> Option<Self> {
        if !(2..=ESTIMATES_MAX).contains(&k) {
            return None;
        }
        let factor = Cholesky::new(sigma, k).or_else(|| {
            let mut loaded = *sigma;
            let trace = (0..k).fold(0.0, |sum, i| sum + sigma[i][i]);
            (0..k).for_each(|i| loaded[i][i] += 1e-8 * trace / k as f64);
            Cholesky::new(&loaded, k)
        })?;
        let mut ones = [0.0; ESTIMATES_MAX];
        ones[..k].fill(1.0);
        let weights = factor.solve(ones);
        let total = weights[..k].iter().fold(0.0, |sum, w| sum + w);
        let usable = total > 0.0 && total.is_finite();
        // A column of the inverse for each unit; it is symmetric.
        let mut precision = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
        for (i, row) in precision.iter_mut().enumerate().take(k) {
            let mut unit = [0.0; ESTIMATES_MAX];
            unit[i] = 1.0;
            *row = factor.solve(unit);
        }
        usable.then(|| Self { k, precision, weights, total, standard_error: (1.0 / total).sqrt() })
    }

    /// Their weighted mean and its standard error alone; `None` where it is not finite.
    #[must_use]
    pub fn mean(&self, f: &[f64]) -> Option<(f64, f64)> {
        let k = self.k;
        let mean = self.weights[..k].iter().zip(f).fold(0.0, |sum, (w, f)| sum + w * f) / self.total;
        (f.len() == k && mean.is_finite()).then_some((mean, self.standard_error))
    }

    /// What as many estimates as it was made for say together; `None` where they say nothing finite.
    #[must_use]
    pub fn combine(&self, f: &[f64]) -> Option<Agreement> {
        let (mean, _) = self.mean(f)?;
        let k = self.k;
        let mut residual = [0.0; ESTIMATES_MAX];
        residual.iter_mut().zip(f).for_each(|(r, f)| *r = f - mean);
        let row =
            |row: &[f64; ESTIMATES_MAX]| row[..k].iter().zip(&residual).fold(0.0, |sum, (p, r)| sum + p * r);
        let q = self.precision[..k].iter().zip(&residual).fold(0.0, |sum, (p, r)| sum + r * row(p)).max(0.0);
        let heterogeneity = if q > 0.0 { ((q - (k - 1) as f64) / q).max(0.0) } else { 0.0 };
        let agreement = Agreement { mean, standard_error: self.standard_error, q, heterogeneity };
        (mean.is_finite() && q.is_finite()).then_some(agreement)
    }
}

/// Combines estimates `f` with error covariance `sigma`, once: [`Combiner`].
#[must_use]
pub fn combine(f: &[f64], sigma: &Square) -> Option<Agreement> {
    Combiner::new(sigma, f.len())?.combine(f)
}

/// Covariance of errors about zero, decayed, shrunk towards a multiple of the identity (Ledoit and Wolf 2004).
#[derive(Clone, Debug)]
pub struct ErrorCovariance {
    step: f64,
    k: usize,
    second: Square,
    /// Mean of |x|⁴.
    fourth: f64,
    n: u64,
}

kimera_protocol::state!(ErrorCovariance { second, fourth, n } fixed { step, k });

impl ErrorCovariance {
    /// Of `k` errors; `step` is the weight of a new one once there are many, 0 for equal weights.
    #[must_use]
    pub fn new(k: usize, step: f64) -> Self {
        let second = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
        Self { step, k: k.min(ESTIMATES_MAX), second, fourth: 0.0, n: 0 }
    }

    /// Adds one error of each; none where one of them is not finite.
    pub fn add(&mut self, errors: &[f64]) {
        if errors.len() != self.k || errors.iter().any(|e| !e.is_finite()) {
            return;
        }
        self.n += 1;
        let step = self.step.max(1.0 / self.n as f64);
        for i in 0..self.k {
            for j in 0..self.k {
                self.second[i][j] += step * (errors[i] * errors[j] - self.second[i][j]);
            }
        }
        let square = errors.iter().fold(0.0, |sum, e| sum + e * e);
        self.fourth += step * (square * square - self.fourth);
    }

    /// Errors added.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The shrunk covariance and how far it was shrunk, in [0, 1].
    #[must_use]
    pub fn shrunk(&self) -> (Square, f64) {
        let k = self.k;
        let mu = (0..k).fold(0.0, |sum, i| sum + self.second[i][i]) / k.max(1) as f64;
        let (mut norm, mut distance) = (0.0, 0.0);
        for i in 0..k {
            for j in 0..k {
                let s = self.second[i][j];
                let d = s - if i == j { mu } else { 0.0 };
                norm += s * s;
                distance += d * d;
            }
        }
        let spread = (self.fourth - norm).max(0.0) / self.n.max(1) as f64;
        let delta = if distance > 0.0 { (spread / distance).min(1.0) } else { 0.0 };
        let mut shrunk = self.second;
        for (i, row) in shrunk.iter_mut().enumerate().take(k) {
            for (j, value) in row.iter_mut().enumerate().take(k) {
                *value = (1.0 - delta) * *value + if i == j { delta * mu } else { 0.0 };
            }
        }
        (shrunk, delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    fn square(rows: &[&[f64]]) -> Square {
        let mut out = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
        for (to, from) in out.iter_mut().zip(rows) {
            to[..from.len()].copy_from_slice(from);
        }
        out
    }

    #[test]
    fn published_values() {
        // Model book 3.1.
        let sigma = square(&[
            &[0.01, 0.0, 0.0, 0.0],
            &[0.0, 0.01, 0.0, 0.0],
            &[0.0, 0.0, 0.04, 0.0],
            &[0.0, 0.0, 0.0, 0.04],
        ]);
        let a = combine(&[100.0, 100.2, 99.9, 100.6], &sigma).unwrap();
        near(a.mean, 100.13);
        near(a.q, 9.025);
        near(a.heterogeneity, 0.667_590);
        near(a.standard_error, 0.063_245_6);
        let correlated = square(&[&[0.01, 0.008], &[0.008, 0.01]]);
        near(combine(&[100.0, 100.2], &correlated).unwrap().q, 10.0);
        // 5.1: five rows about their mean (0.002, 0).
        let mut covariance = ErrorCovariance::new(2, 0.0);
        for (x, y) in [(0.01, 0.02), (-0.01, 0.0), (0.03, 0.01), (0.0, -0.02), (-0.02, -0.01)] {
            covariance.add(&[x - 0.002, y]);
        }
        let (shrunk, delta) = covariance.shrunk();
        near(delta, 0.627_904);
        near(shrunk[0][0], 2.65861e-4);
        near(shrunk[0][1], 5.20935e-5);
        near(shrunk[1][1], 2.30139e-4);
    }

    #[test]
    fn degenerate_inputs() {
        let sigma = square(&[&[0.01, 0.01], &[0.01, 0.01]]);
        assert_eq!(combine(&[1.0], &sigma), None);
        assert!(combine(&[1.0, 1.0], &sigma).is_some_and(|a| a.q.abs() < 1e-9), "a singular one is loaded");
        assert_eq!(combine(&[1.0, 2.0], &square(&[&[-1.0, 0.0], &[0.0, 1.0]])), None);
        assert_eq!(combine(&[f64::NAN, 2.0], &square(&[&[1.0, 0.0], &[0.0, 1.0]])), None);
    }

    proptest! {
        /// Equal estimates agree wholly, and a common shift changes the mean alone.
        #[test]
        fn shifts_and_equality(f in proptest::collection::vec(-5.0f64..5.0, 2..8), sd in proptest::collection::vec(0.1f64..2.0, 8), shift in -100.0f64..100.0) {
            let mut sigma = [[0.0; ESTIMATES_MAX]; ESTIMATES_MAX];
            (0..8).for_each(|i| sigma[i][i] = sd[i] * sd[i]);
            let a = combine(&f, &sigma).unwrap();
            let moved: Vec<_> = f.iter().map(|x| x + shift).collect();
            let b = combine(&moved, &sigma).unwrap();
            prop_assert!((b.mean - a.mean - shift).abs() < 1e-8 && (b.q - a.q).abs() < 1e-6 * (1.0 + a.q));
            let equal = vec![shift; f.len()];
            prop_assert!(combine(&equal, &sigma).unwrap().q < 1e-9);
            prop_assert!((0.0..1.0).contains(&a.heterogeneity));
        }
    }
}
