//! 3.5 Phase transition: when has the level or the spread of a series last changed? (Adams and MacKay 2007, arXiv:0710.3742, algorithm 1, with
//! a normal-inverse-gamma prior.)

use crate::{exp, ln, ln_gamma};

/// Run lengths kept.
pub const RUNS_MAX: usize = 200;
/// Mass below which a run length is let go.
const MASS_MIN: f64 = 1e-6;

/// What is thought of mean and variance before anything was seen: (μ, κ, α, β).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prior {
    /// Mean.
    pub mean: f64,
    /// Observations that the mean is worth.
    pub kappa: f64,
    /// Half the observations that the variance is worth.
    pub alpha: f64,
    /// The variance times `alpha`.
    pub beta: f64,
}

kimera_protocol::state!(Prior { mean, kappa, alpha, beta });

impl Prior {
    /// As vague as one can be about a series whose first values were these; `None` for fewer than two, or where none differs.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
        let is_good = values.len() >= 2 && mean.is_finite() && variance > 0.0 && variance.is_finite();
        is_good.then_some(Self { mean, kappa: 1.0, alpha: 1.0, beta: variance })
    }

    fn after(&self, x: f64) -> Self {
        let away = x - self.mean;
        Self {
            mean: (self.kappa * self.mean + x) / (self.kappa + 1.0),
            kappa: self.kappa + 1.0,
            alpha: self.alpha + 0.5,
            beta: self.beta + self.kappa * away * away / (2.0 * (self.kappa + 1.0)),
        }
    }

    /// Logarithm of the density of the next value: Student's t with 2α degrees of freedom, location μ and scale² β(κ + 1)/(ακ).
    fn ln_density(&self, x: f64) -> f64 {
        let (freedom, scale) = (2.0 * self.alpha, self.beta * (self.kappa + 1.0) / (self.alpha * self.kappa));
        let away = (x - self.mean) * (x - self.mean) / scale;
        ln_gamma(self.alpha + 0.5)
            - ln_gamma(self.alpha)
            - 0.5 * ln(freedom * std::f64::consts::PI * scale)
            - (self.alpha + 0.5) * ln(1.0 + away / freedom)
    }
}

/// One length that the present run may have.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    length: u64,
    /// Logarithm of its probability.
    ln_mass: f64,
    belief: Prior,
}

kimera_protocol::state!(Run { length, ln_mass, belief });

/// Probabilities of how long ago the series has changed. P(r = 0) is the hazard whatever was seen: never the alarm.
#[derive(Clone, Debug)]
pub struct ChangePoints {
    hazard: f64,
    prior: Prior,
    runs: Vec<Run>,
    next: Vec<Run>,
    n: u64,
}

kimera_protocol::state!(ChangePoints { prior, runs, n } fixed { hazard, next });

impl ChangePoints {
    /// A change in one of 1/`hazard` observations.
    #[must_use]
    pub fn new(hazard: f64, prior: Prior) -> Self {
        let mut of = Self {
            hazard: hazard.clamp(1e-9, 0.5),
            prior,
            runs: Vec::with_capacity(RUNS_MAX + 1),
            next: Vec::with_capacity(RUNS_MAX + 1),
            n: 0,
        };
        of.reset();
        of
    }

    /// As if nothing was seen.
    pub fn reset(&mut self) {
        self.runs.clear();
        self.runs.push(Run { length: 0, ln_mass: 0.0, belief: self.prior });
        self.n = 0;
    }

    /// Takes a value; one that is not finite is left out. Work grows with the run lengths kept, 200 at most.
    pub fn add(&mut self, x: f64) {
        if !x.is_finite() {
            return;
        }
        self.n += 1;
        let (stays, changes) = (ln(1.0 - self.hazard), ln(self.hazard));
        self.next.clear();
        self.next.push(Run { length: 0, ln_mass: f64::NEG_INFINITY, belief: self.prior });
        for run in &self.runs {
            let ln_mass = run.ln_mass + run.belief.ln_density(x);
            self.next.push(Run {
                length: run.length + 1,
                ln_mass: ln_mass + stays,
                belief: run.belief.after(x),
            });
        }
        // P(r = 0) is the hazard times everything; so the largest mass needs no second pass over densities.
        let largest = self.next.iter().fold(f64::NEG_INFINITY, |most, run| most.max(run.ln_mass));
        let grown = self.next.iter().fold(0.0, |sum, run| sum + exp(run.ln_mass - largest));
        let ln_grown = largest + ln(grown);
        if !ln_grown.is_finite() {
            self.reset();
            return;
        }
        let ln_all = ln_grown - stays;
        self.next[0].ln_mass = changes + ln_all;
        self.next.iter_mut().for_each(|run| run.ln_mass -= ln_all);
        self.prune();
        std::mem::swap(&mut self.runs, &mut self.next);
    }

    /// Lets go what has no mass, and the least likely beyond 200, and brings the rest to 1.
    fn prune(&mut self) {
        let least = ln(MASS_MIN);
        self.next.retain(|run| run.ln_mass >= least);
        while self.next.len() > RUNS_MAX {
            let weakest =
                (1..self.next.len()).min_by(|&a, &b| self.next[a].ln_mass.total_cmp(&self.next[b].ln_mass));
            self.next.remove(weakest.unwrap_or(0));
        }
        let sum = self.next.iter().fold(0.0, |sum, run| sum + exp(run.ln_mass));
        let ln_sum = ln(sum);
        self.next.iter_mut().for_each(|run| run.ln_mass -= ln_sum);
    }

    /// P(r ≤ `steps`): the series has changed within so many observations. Meaningless before many more were seen.
    #[must_use]
    pub fn changed_within(&self, steps: u64) -> f64 {
        let recent = self.runs.iter().filter(|run| run.length <= steps);
        recent.fold(0.0, |sum, run| sum + exp(run.ln_mass)).min(1.0)
    }

    /// Probability of one run length.
    #[must_use]
    pub fn probability(&self, length: u64) -> f64 {
        self.runs.iter().find(|run| run.length == length).map_or(0.0, |run| exp(run.ln_mass))
    }

    /// The likeliest run length.
    #[must_use]
    pub fn likeliest(&self) -> u64 {
        self.runs.iter().max_by(|a, b| a.ln_mass.total_cmp(&b.ln_mass)).map_or(0, |run| run.length)
    }

    /// Observations taken since the start, or since a reset.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded::SeededNormals;

    const UNIT: Prior = Prior { mean: 0.0, kappa: 1.0, alpha: 1.0, beta: 1.0 };

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        let mut of = ChangePoints::new(0.01, UNIT);
        let expected: [&[f64]; 3] =
            [&[0.01, 0.99], &[0.01, 0.006_774_89, 0.983_225], &[0.01, 0.084_072_9, 0.019_513_4, 0.886_414]];
        for (x, expected) in [0.0, 0.1, 5.0].into_iter().zip(expected) {
            of.add(x);
            (0u64..).zip(expected).for_each(|(r, p)| near(of.probability(r), *p));
        }
        let mut other = ChangePoints::new(0.1, UNIT);
        [0.0, 0.1, -0.1, 0.05, 5.0].into_iter().for_each(|x| other.add(x));
        near(other.probability(1), 0.703_532);
        assert_eq!(other.likeliest(), 1);
    }

    #[test]
    fn a_planted_change_is_seen_and_a_still_series_has_none() {
        let mut normals = SeededNormals::new(3);
        let still: Vec<f64> = (0..100).map(|_| normals.normal()).collect();
        let mut of = ChangePoints::new(1.0 / 250.0, Prior::of(&still).unwrap());
        let mut alarms = 0;
        for i in 0..600 {
            of.add(normals.normal());
            if i > 50 {
                alarms += u32::from(of.changed_within(3) > 0.5);
            }
        }
        // One value beyond three deviations looks like a change until the next one comes.
        assert!(alarms <= 6, "{alarms}");
        (0..6).for_each(|_| of.add(6.0 + normals.normal()));
        assert!(of.changed_within(9) > 0.99, "{}", of.changed_within(9));
        assert_eq!(of.likeliest(), 6);
        let sum: f64 = (0..2_000).map(|r| of.probability(r)).sum();
        assert!((sum - 1.0).abs() < 1e-9 && of.runs.len() <= RUNS_MAX);
    }

    #[test]
    fn degenerate_input() {
        let mut of = ChangePoints::new(0.01, UNIT);
        of.add(f64::NAN);
        assert_eq!(of.n(), 0);
        // Far beyond every float's density: counted in logarithms.
        [0.0, 0.0, 1e150, 1e150].into_iter().for_each(|x| of.add(x));
        assert!((0.0..=1.0).contains(&of.changed_within(3)), "{}", of.changed_within(3));
        assert!(Prior::of(&[1.0, 1.0]).is_none() && Prior::of(&[1.0]).is_none());
        assert!(Prior::of(&[f64::NAN, 1.0]).is_none());
    }
}
