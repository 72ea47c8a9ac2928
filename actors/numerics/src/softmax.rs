//! Probabilities of three classes from a few numbers: multinomial logistic regression, the plainest forecast that looks at anything.

use crate::exp;

/// Steps down the slope, and their length at the start.
const STEPS: usize = 300;
const PACE: f64 = 1.0;
/// Pull of weights towards 0, an example's worth.
const RIDGE: f64 = 1.0;

/// A fitted map from `N` numbers to three probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax<const N: usize> {
    mean: [f64; N],
    deviation: [f64; N],
    /// By class: weights, then the constant.
    weights: [[f64; N]; 3],
    constants: [f64; 3],
}

impl<const N: usize> Softmax<N> {
    /// Fitted to examples; those with a number that is none are left out. None for fewer than ten, or where one class alone came.
    #[must_use]
    pub fn fit(examples: &[([f64; N], usize)]) -> Option<Self> {
        let rows: Vec<_> = examples.iter().filter(|(x, _)| x.iter().all(|x| x.is_finite())).collect();
        let n = rows.len() as f64;
        let mut counts = [0.0; 3];
        rows.iter().for_each(|(_, class)| counts[(*class).min(2)] += 1.0);
        if rows.len() < 10 || counts.iter().filter(|c| **c > 0.0).count() < 2 {
            return None;
        }
        let mean: [f64; N] = std::array::from_fn(|i| rows.iter().fold(0.0, |sum, (x, _)| sum + x[i]) / n);
        let deviation = std::array::from_fn(|i| {
            let square = rows.iter().fold(0.0, |sum, (x, _)| sum + (x[i] - mean[i]) * (x[i] - mean[i])) / n;
            if square > 0.0 { square.sqrt() } else { 1.0 }
        });
        // It begins with the base rates.
        let constants = counts.map(|c| crate::ln((c + 1.0) / (n + 3.0)));
        let mut of = Self { mean, deviation, weights: [[0.0; N]; 3], constants };
        let standard: Vec<([f64; N], usize)> =
            rows.iter().map(|(x, class)| (of.standardised(x), (*class).min(2))).collect();
        for _ in 0..STEPS {
            let (mut slope, mut lift) = ([[0.0; N]; 3], [0.0; 3]);
            for (x, class) in &standard {
                let p = of.of_standard(x);
                for c in 0..3 {
                    let miss = p[c] - if c == *class { 1.0 } else { 0.0 };
                    lift[c] += miss;
                    slope[c].iter_mut().zip(x).for_each(|(s, x)| *s += miss * x);
                }
            }
            for c in 0..3 {
                of.constants[c] -= PACE * lift[c] / n;
                for (w, s) in of.weights[c].iter_mut().zip(slope[c]) {
                    *w -= PACE * (s + RIDGE * *w) / n;
                }
            }
        }
        Some(of)
    }

    fn standardised(&self, x: &[f64; N]) -> [f64; N] {
        std::array::from_fn(|i| ((x[i] - self.mean[i]) / self.deviation[i]).clamp(-5.0, 5.0))
    }

    fn of_standard(&self, x: &[f64; N]) -> [f64; 3] {
        let raw: [f64; 3] = std::array::from_fn(|c| {
            self.weights[c].iter().zip(x).fold(self.constants[c], |sum, (w, x)| sum + w * x)
        });
        let most = raw.iter().fold(f64::NEG_INFINITY, |m, r| m.max(*r));
        let mass = raw.map(|r| exp(r - most));
        let sum = mass[0] + mass[1] + mass[2];
        mass.map(|m| m / sum)
    }

    /// Probabilities; a number that is none counts as its mean.
    #[must_use]
    pub fn probabilities(&self, x: &[f64; N]) -> [f64; 3] {
        let known = std::array::from_fn(|i| if x[i].is_finite() { x[i] } else { self.mean[i] });
        self.of_standard(&self.standardised(&known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    #[test]
    fn a_planted_signal_is_found_and_noise_gives_the_base_rates() {
        let mut normals = SeededNormals::new(1);
        let mut examples = |effect: f64| -> Vec<([f64; 2], usize)> {
            (0..5_000)
                .map(|_| {
                    let x = [normals.normal(), normals.normal()];
                    let y = effect * x[0] + normals.normal();
                    (x, if y > 0.5 { 2 } else { usize::from(y > -0.5) })
                })
                .collect()
        };
        let found = Softmax::fit(&examples(2.0)).unwrap();
        let p = found.probabilities(&[2.0, 0.0]);
        assert!(p[2] > 0.9 && found.probabilities(&[-2.0, 0.0])[0] > 0.9, "{p:?}");
        let noise = Softmax::fit(&examples(0.0)).unwrap();
        let (a, b) = (noise.probabilities(&[2.0, -2.0]), noise.probabilities(&[-2.0, 2.0]));
        assert!((0..3).all(|c| (a[c] - b[c]).abs() < 0.1), "{a:?} {b:?}");
        assert!((a.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn degenerate_input() {
        assert!(
            Softmax::<1>::fit(&[([1.0], 0); 9]).is_none() && Softmax::<1>::fit(&[([1.0], 0); 50]).is_none()
        );
        let constant: Vec<_> = (0..50).map(|i| ([1.0], i % 3)).collect();
        let of = Softmax::fit(&constant).unwrap();
        assert!(of.probabilities(&[f64::NAN]).iter().all(|p| (p - 1.0 / 3.0).abs() < 0.02));
        assert!(Softmax::fit(&[([f64::NAN], 0); 50]).is_none());
    }
}
