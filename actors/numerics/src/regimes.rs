//! 3.5 Regimes: a hidden Markov chain of calm and rough returns (Hamilton 1989), filtered forward and fitted by Baum and Welch's steps
//! (Rabiner 1989, section III).

use crate::{exp, ln};

/// Two regimes: calm first.
pub const REGIMES: usize = 2;
/// Steps of a fit.
const STEPS_MAX: usize = 50;
/// Relative change of the likelihood at which a fit has ended.
const ENOUGH: f64 = 1e-6;

/// Chances to go from one regime to the next, and each one's deviation; returns have mean 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regimes {
    /// Row: from; column: to; rows sum to 1.
    pub transition: [[f64; REGIMES]; REGIMES],
    /// Deviation of a return in each, ascending.
    pub deviation: [f64; REGIMES],
}

impl Regimes {
    fn ln_density(&self, regime: usize, x: f64) -> f64 {
        let z = x / self.deviation[regime];
        -0.5 * z * z - ln(self.deviation[regime])
    }

    /// Probabilities of the regimes behind a return, from those before it: one step ahead, then Bayes. In logarithms, so nothing underflows;
    /// a return that is no number changes what is expected only.
    #[must_use]
    pub fn filter(&self, before: [f64; REGIMES], x: f64) -> [f64; REGIMES] {
        let t = &self.transition;
        let ahead: [f64; REGIMES] = std::array::from_fn(|to| before[0] * t[0][to] + before[1] * t[1][to]);
        if !x.is_finite() {
            return ahead;
        }
        let density: [f64; REGIMES] = std::array::from_fn(|r| self.ln_density(r, x));
        let most = density[0].max(density[1]);
        let mass: [f64; REGIMES] = std::array::from_fn(|r| ahead[r] * exp(density[r] - most));
        let sum = mass[0] + mass[1];
        if sum > 0.0 && sum.is_finite() { mass.map(|m| m / sum) } else { ahead }
    }

    /// Probabilities of the regimes one step on.
    #[must_use]
    pub fn ahead(&self, before: [f64; REGIMES]) -> [f64; REGIMES] {
        let t = &self.transition;
        std::array::from_fn(|to| before[0] * t[0][to] + before[1] * t[1][to])
    }

    /// Logarithm of the likelihood of returns, less ½ ln 2π for each; and that of the best single deviation.
    #[must_use]
    pub fn likelihoods(&self, returns: &[f64]) -> (f64, f64) {
        let (n, likelihood) = (returns.len() as f64, self.step(returns, 0.0).1);
        let square = returns.iter().fold(0.0, |sum, r| sum + r * r) / n.max(1.0);
        (likelihood, -0.5 * n * (1.0 + ln(square.max(f64::MIN_POSITIVE))))
    }

    /// Shares of the regimes over a long time.
    #[must_use]
    pub fn stationary(&self) -> [f64; REGIMES] {
        let (up, down) = (self.transition[0][1], self.transition[1][0]);
        let sum = up + down;
        if sum > 0.0 { [down / sum, up / sum] } else { [0.5; REGIMES] }
    }

    /// Fitted to returns from a first guess at twice and half their deviation; `None` for fewer than 30, or where none moves.
    #[must_use]
    pub fn fit(returns: &[f64]) -> Option<Self> {
        let n = returns.len();
        let square = returns.iter().map(|r| r * r).sum::<f64>() / n.max(1) as f64;
        if n < 30 || square <= 0.0 || !square.is_finite() {
            return None;
        }
        let deviation = square.sqrt();
        let mut of =
            Self { transition: [[0.95, 0.05], [0.1, 0.9]], deviation: [0.5 * deviation, 2.0 * deviation] };
        let mut last = f64::NEG_INFINITY;
        for _ in 0..STEPS_MAX {
            let (next, likelihood) = of.step(returns, 0.01 * deviation);
            of = next;
            if likelihood - last < ENOUGH * likelihood.abs() {
                break;
            }
            last = likelihood;
        }
        if of.deviation[0] > of.deviation[1] {
            let t = of.transition;
            of = Self {
                transition: [[t[1][1], t[1][0]], [t[0][1], t[0][0]]],
                deviation: [of.deviation[1], of.deviation[0]],
            };
        }
        Some(of)
    }

    /// One step of expectation and maximisation, and the likelihood before it. No deviation falls below `least`: a regime of zeros would have
    /// all density.
    fn step(&self, returns: &[f64], least: f64) -> (Self, f64) {
        let n = returns.len();
        let (mut forward, mut scale) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let (mut at, mut likelihood) = (self.stationary(), 0.0);
        let density = |x: f64| -> ([f64; REGIMES], f64) {
            let d: [f64; REGIMES] = std::array::from_fn(|r| self.ln_density(r, x));
            let most = d[0].max(d[1]);
            (d.map(|d| exp(d - most)), most)
        };
        let densities: Vec<_> = returns.iter().map(|&x| density(x)).collect();
        for (i, (d, most)) in densities.iter().enumerate() {
            let t = &self.transition;
            let ahead: [f64; REGIMES] =
                if i == 0 { at } else { std::array::from_fn(|to| at[0] * t[0][to] + at[1] * t[1][to]) };
            let mass = [ahead[0] * d[0], ahead[1] * d[1]];
            let sum = (mass[0] + mass[1]).max(f64::MIN_POSITIVE);
            at = mass.map(|m| m / sum);
            likelihood += ln(sum) + most;
            forward.push(at);
            scale.push(sum);
        }
        let mut behind = [1.0; REGIMES];
        let (mut moves, mut stays, mut squares) = ([[0.0; REGIMES]; REGIMES], [0.0; REGIMES], [0.0; REGIMES]);
        for i in (0..n).rev() {
            let weight = [forward[i][0] * behind[0], forward[i][1] * behind[1]];
            let sum = (weight[0] + weight[1]).max(f64::MIN_POSITIVE);
            for r in 0..REGIMES {
                let share = weight[r] / sum;
                stays[r] += share;
                squares[r] += share * returns[i] * returns[i];
            }
            if i == 0 {
                break;
            }
            let (d, _) = densities[i];
            let mut earlier = [0.0; REGIMES];
            for from in 0..REGIMES {
                for to in 0..REGIMES {
                    let through = self.transition[from][to] * d[to] * behind[to] / scale[i];
                    earlier[from] += through;
                    moves[from][to] += forward[i - 1][from] * through;
                }
            }
            behind = earlier;
        }
        let rate = |from: usize, to: usize| {
            let sum = moves[from][0] + moves[from][1];
            if sum > 0.0 {
                (moves[from][to] / sum).clamp(1e-6, 1.0 - 1e-6)
            } else {
                self.transition[from][to]
            }
        };
        let deviation = std::array::from_fn(|r| {
            if stays[r] > 0.0 { (squares[r] / stays[r]).sqrt().max(least) } else { self.deviation[r] }
        });
        let (leaves, comes) = (rate(0, 1), rate(1, 0));
        (Self { transition: [[1.0 - leaves, leaves], [comes, 1.0 - comes]], deviation }, likelihood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    const BOOK: Regimes = Regimes { transition: [[0.95, 0.05], [0.1, 0.9]], deviation: [0.01, 0.03] };

    #[test]
    fn published_values() {
        let start = BOOK.stationary();
        assert!((start[0] - 2.0 / 3.0).abs() < 1e-12);
        let first = BOOK.filter(start, 0.005);
        assert!((first[0] / 0.842_990 - 1.0).abs() < 1e-5, "{first:?}");
        let second = BOOK.filter(first, 0.05);
        assert!((second[0] / 0.000_199_518 - 1.0).abs() < 1e-5, "{second:?}");
    }

    #[test]
    fn a_fit_finds_what_was_planted() {
        let mut normals = SeededNormals::new(11);
        let mut regime = 0;
        let returns: Vec<f64> = (0..20_000)
            .map(|_| {
                let leaves = [0.02, 0.06][regime];
                if normals.uniform() < leaves {
                    regime = 1 - regime;
                }
                [0.01, 0.04][regime] * normals.normal()
            })
            .collect();
        let fit = Regimes::fit(&returns).unwrap();
        assert!(
            (fit.deviation[0] / 0.01 - 1.0).abs() < 0.03 && (fit.deviation[1] / 0.04 - 1.0).abs() < 0.03,
            "{fit:?}"
        );
        assert!(
            (fit.transition[0][1] - 0.02).abs() < 0.006 && (fit.transition[1][0] - 0.06).abs() < 0.015,
            "{fit:?}"
        );
    }

    #[test]
    fn degenerate_input() {
        let at = [0.5, 0.5];
        let far = BOOK.filter(at, 1e200);
        assert!(far.iter().all(|p| p.is_finite()) && (far[0] + far[1] - 1.0).abs() < 1e-9, "{far:?}");
        let skipped = BOOK.filter([1.0, 0.0], f64::NAN);
        assert!((skipped[0] - 0.95).abs() < 1e-12 && (skipped[1] - 0.05).abs() < 1e-12);
        assert!(Regimes::fit(&[0.0; 100]).is_none() && Regimes::fit(&[0.1; 10]).is_none());
        assert!(Regimes::fit(&[f64::NAN; 100]).is_none());
        let half: Vec<f64> = (0..100).map(|i| if i % 2 == 0 { 0.0 } else { 0.01 }).collect();
        assert!(Regimes::fit(&half).is_some_and(|f| f.deviation.iter().all(|d| *d > 0.0 && d.is_finite())));
    }
}
