//! 3.10 Betas that change: a regression whose coefficients walk at random (Kalman 1960; West and Harrison 1997, ch. 4). Without noise in the walk it is
//! recursive least squares.

/// Load on the diagonal where inputs say the same.
const RIDGE: f64 = 1e-6;

/// Coefficients of `N` inputs with what is known of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeVaryingBetas<const N: usize> {
    /// q: variance that each coefficient gains with each observation.
    walk: f64,
    mean: [f64; N],
    covariance: [[f64; N]; N],
    n: u64,
}

kimera_protocol::state!(TimeVaryingBetas<4> { mean, covariance, n } fixed { walk });

impl<const N: usize> TimeVaryingBetas<N> {
    /// Begins at 0 with this variance of each coefficient.
    #[must_use]
    pub fn new(walk: f64, variance: f64) -> Self {
        let covariance =
            std::array::from_fn(|i| std::array::from_fn(|j| if i == j { variance } else { 0.0 }));
        Self { walk: walk.max(0.0), mean: [0.0; N], covariance, n: 0 }
    }

    /// Time passes without an observation: what is known fades.
    pub fn skip(&mut self) {
        (0..N).for_each(|i| self.covariance[i][i] += self.walk);
    }

    /// Takes inputs and what came, with the variance of its noise; nothing where a number is none or the noise is not positive. What was learnt is the gain
    /// K = R⁻x/(xᵀR⁻x + r).
    pub fn observe(&mut self, x: &[f64; N], y: f64, noise: f64) -> Option<[f64; N]> {
        if !(y.is_finite() && noise > 0.0 && noise.is_finite() && x.iter().all(|x| x.is_finite())) {
            return None;
        }
        self.skip();
        let spread: [f64; N] =
            std::array::from_fn(|i| (0..N).fold(0.0, |sum, j| sum + self.covariance[i][j] * x[j]));
        let total = (0..N).fold(noise, |sum, i| sum + x[i] * spread[i]);
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let gain = spread.map(|s| s / total);
        let miss = y - self.expected(x);
        for ((mean, row), gain) in self.mean.iter_mut().zip(&mut self.covariance).zip(gain) {
            *mean += gain * miss;
            row.iter_mut().zip(spread).for_each(|(value, spread)| *value -= gain * spread);
        }
        // Rounding must not make a variance negative.
        for i in 0..N {
            self.covariance[i][i] = self.covariance[i][i].max(RIDGE * self.walk.max(f64::MIN_POSITIVE));
        }
        self.n += 1;
        Some(gain)
    }

    /// What is expected of inputs.
    #[must_use]
    pub fn expected(&self, x: &[f64; N]) -> f64 {
        (0..N).fold(0.0, |sum, i| sum + self.mean[i] * x[i])
    }

    /// The coefficients.
    #[must_use]
    pub fn betas(&self) -> &[f64; N] {
        &self.mean
    }

    /// Their covariance.
    #[must_use]
    pub fn covariance(&self) -> &[[f64; N]; N] {
        &self.covariance
    }

    /// Observations.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        let mut of = TimeVaryingBetas::<1>::new(0.01, 1.0);
        let gain = of.observe(&[0.5], 0.6, 0.04).unwrap();
        near(gain[0], 1.72650);
        near(of.betas()[0], 1.03590);
        near(of.covariance()[0][0], 0.138_120);
    }

    /// Without a walk it is least squares with a prior: (Σxx + r/C)⁻¹ Σxy.
    #[test]
    fn without_a_walk_it_is_recursive_least_squares() {
        let mut normals = SeededNormals::new(1);
        let mut of = TimeVaryingBetas::<2>::new(0.0, 100.0);
        let (mut xx, mut xy) = ([[0.01 * 0.25, 0.0], [0.0, 0.01 * 0.25]], [0.0; 2]);
        for _ in 0..500 {
            let x = [normals.normal(), normals.normal()];
            let y = 1.5 * x[0] - 0.5 * x[1] + 0.5 * normals.normal();
            of.observe(&x, y, 0.25);
            for i in 0..2 {
                xy[i] += x[i] * y;
                (0..2).for_each(|j| xx[i][j] += x[i] * x[j]);
            }
        }
        let determinant = xx[0][0] * xx[1][1] - xx[0][1] * xx[1][0];
        let plain = [
            (xx[1][1] * xy[0] - xx[0][1] * xy[1]) / determinant,
            (xx[0][0] * xy[1] - xx[1][0] * xy[0]) / determinant,
        ];
        assert!((0..2).all(|i| (of.betas()[i] - plain[i]).abs() < 1e-6), "{:?} {plain:?}", of.betas());
    }

    #[test]
    fn it_follows_what_changes_and_stands_what_says_the_same() {
        let mut normals = SeededNormals::new(2);
        let mut of = TimeVaryingBetas::<1>::new(1e-3, 1.0);
        for i in 0..4_000 {
            let (x, beta) = (normals.normal(), if i < 2_000 { 1.0 } else { -1.0 });
            of.observe(&[x], beta * x + 0.1 * normals.normal(), 0.01);
        }
        assert!((of.betas()[0] + 1.0).abs() < 0.1, "{:?}", of.betas());
        let mut twins = TimeVaryingBetas::<2>::new(1e-5, 1.0);
        for _ in 0..2_000 {
            let x = normals.normal();
            twins.observe(&[x, x], 2.0 * x, 0.01);
        }
        assert!((twins.betas()[0] + twins.betas()[1] - 2.0).abs() < 0.01, "{:?}", twins.betas());
        let before = twins;
        assert!(
            twins.observe(&[f64::NAN, 0.0], 1.0, 0.1).is_none()
                && twins.observe(&[0.0; 2], 1.0, 0.0).is_none()
        );
        assert_eq!(twins, before);
        twins.skip();
        assert!(twins.covariance()[0][0] > before.covariance()[0][0], "what is known fades");
    }
}
