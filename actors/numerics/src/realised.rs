//! Realised variance and its jump- and noise-robust relatives over a sliding window of bars.
//!
//! Sources: Barndorff-Nielsen and Shephard 2004 (bipower), Andersen, Dobrev and Schaumburg 2012 (median), Zhang,
//! Mykland and Aït-Sahalia 2005 section 4 (two scales). Log returns are kept as integers of 1e-12, so that sums over
//! a window that slides a million times are exact.

use std::cell::Cell;

use kimera_protocol::Status;

use crate::estimate::Estimate;

/// Units of a log return in 1.
const SCALE: f64 = 1e12;
/// Largest log return of one bar that is kept: a factor of e⁴; beyond it the data is wrong.
const RETURN_MAX: i64 = 4_000_000_000_000;

/// The family at one moment. Variances of the whole window, not annualised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RealisedFamily {
    /// Σ r².
    pub realised: Estimate,
    /// Bipower variation.
    pub bipower: Estimate,
    /// Median realised variance.
    pub median: Estimate,
    /// Two-scales realised variance, adjusted for small samples.
    pub two_scales: Estimate,
    /// max(realised − bipower, 0).
    pub jump: Estimate,
}

/// Sliding sums over the last `window` bar returns. All storage is taken at construction.
pub struct RealisedVariance {
    returns: Box<[i64]>,
    levels: Box<[i64]>,
    scale: usize,
    count: u64,
    level: i64,
    sum_square: i128,
    sum_bipower: i128,
    sum_median: i128,
    sum_scaled: i128,
    /// The last answer, and what it is of: it is asked for far more often than bars end.
    known: Cell<(Sums, RealisedFamily)>,
}

/// All that the family depends on: how many returns there are, and their sums.
type Sums = (usize, [i128; 4]);

kimera_protocol::state!(RealisedVariance { returns, levels, count, level, sum_square, sum_bipower, sum_median, sum_scaled } fixed { scale, known });

impl RealisedVariance {
    /// A window of `window` returns, slow scale of `scale` bars; `window > scale + 2`.
    #[must_use]
    pub fn new(window: usize, scale: usize) -> Self {
        debug_assert!(window > scale + 2 && scale >= 1);
        Self {
            returns: vec![0; window].into(),
            levels: vec![0; window + 1].into(),
            scale,
            count: 0,
            level: 0,
            sum_square: 0,
            sum_bipower: 0,
            sum_median: 0,
            sum_scaled: 0,
            known: Cell::default(),
        }
    }

    /// Forgets everything: after a gap in the data.
    pub fn reset(&mut self) {
        self.count = 0;
        self.level = 0;
        self.levels[0] = 0;
        (self.sum_square, self.sum_bipower, self.sum_median, self.sum_scaled) = (0, 0, 0, 0);
    }

    fn held(&self) -> usize {
        (self.count as usize).min(self.returns.len())
    }

    /// The return `age` bars back (0 = newest).
    fn back(&self, age: usize) -> i64 {
        let window = self.returns.len() as u64;
        self.returns[((self.count - 1 - age as u64) % window) as usize]
    }

    /// The log price `age` bars back (0 = newest), relative to the start.
    fn level_back(&self, age: usize) -> i64 {
        let slots = self.levels.len() as u64;
        self.levels[((self.count - age as u64) % slots) as usize]
    }

    /// Adds a bar's log return; one that is not finite or absurd is refused (false).
    pub fn add(&mut self, log_return: f64) -> bool {
        let scaled = log_return * SCALE;
        if !scaled.is_finite() || scaled.abs() > RETURN_MAX as f64 {
            return false;
        }
        let value = scaled.round_ties_even() as i64;
        if self.held() == self.returns.len() {
            self.drop_oldest();
        }
        let window = self.returns.len() as u64;
        self.returns[(self.count % window) as usize] = value;
        self.count += 1;
        self.level = self.level.wrapping_add(value);
        let slots = self.levels.len() as u64;
        self.levels[(self.count % slots) as usize] = self.level;
        let held = self.held();
        self.sum_square += square(value);
        if held >= 2 {
            self.sum_bipower += magnitude(value) * magnitude(self.back(1));
        }
        if held >= 3 {
            self.sum_median += square(median(self.back(2), self.back(1), value));
        }
        if held >= self.scale {
            self.sum_scaled += square(self.level.wrapping_sub(self.level_back(self.scale)));
        }
        true
    }

    /// Takes the oldest return out of every sum, exactly as it was put in.
    fn drop_oldest(&mut self) {
        let last = self.held() - 1;
        let (first, second, third) = (self.back(last), self.back(last - 1), self.back(last - 2));
        self.sum_square -= square(first);
        self.sum_bipower -= magnitude(first) * magnitude(second);
        self.sum_median -= square(median(first, second, third));
        let (start, end) = (self.level_back(last + 1), self.level_back(last + 1 - self.scale));
        self.sum_scaled -= square(end.wrapping_sub(start));
    }

    /// The family over what the window holds.
    #[must_use]
    pub fn family(&self) -> RealisedFamily {
        let sums = (self.held(), [self.sum_square, self.sum_bipower, self.sum_median, self.sum_scaled]);
        let (known_of, known) = self.known.get();
        if known_of == sums && sums.0 > 0 {
            return known;
        }
        let family = self.compute();
        self.known.set((sums, family));
        family
    }

    fn compute(&self) -> RealisedFamily {
        let held = self.held();
        let n = held as f64;
        let count = held as u64;
        if held < 3 {
            let w = Estimate::warmup(count);
            return RealisedFamily { realised: w, bipower: w, median: w, two_scales: w, jump: w };
        }
        if self.sum_square == 0 {
            let z = Estimate::degenerate(Status::ZeroVariance, count);
            return RealisedFamily { realised: z, bipower: z, median: z, two_scales: z, jump: z };
        }
        let real = |sum: i128| sum as f64 / (SCALE * SCALE);
        let realised = real(self.sum_square);
        let bipower = std::f64::consts::FRAC_PI_2 * n / (n - 1.0) * real(self.sum_bipower);
        // π / (6 − 4√3 + π), the constant of MedRV.
        let median = 1.419_358_302_022_441_2 * n / (n - 2.0) * real(self.sum_median);
        RealisedFamily {
            realised: Estimate::ok(realised, count),
            bipower: Estimate::ok(bipower, count),
            median: Estimate::ok(median, count),
            two_scales: self.two_scales(n, realised, count),
            jump: Estimate::ok((realised - bipower).max(0.0), count),
        }
    }

    fn two_scales(&self, n: f64, realised: f64, count: u64) -> Estimate {
        let scale = self.scale as f64;
        if n <= scale {
            return Estimate::warmup(count);
        }
        let average = self.sum_scaled as f64 / (SCALE * SCALE) / scale;
        let mean_size = (n - scale + 1.0) / scale;
        let share = mean_size / n;
        if share >= 1.0 {
            return Estimate::warmup(count);
        }
        Estimate::clamped((average - share * realised) / (1.0 - share), 0.0, f64::MAX, count)
    }
}

fn square(value: i64) -> i128 {
    i128::from(value) * i128::from(value)
}

fn magnitude(value: i64) -> i128 {
    i128::from(value.unsigned_abs())
}

/// The median of three absolute values.
fn median(a: i64, b: i64, c: i64) -> i64 {
    let (a, b, c) = (a.abs(), b.abs(), c.abs());
    a.min(b).max(a.max(b).min(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(estimate: Estimate, expected: f64) {
        assert!((estimate.value / expected - 1.0).abs() < 1e-5, "{estimate:?} is not {expected}");
    }

    #[test]
    fn published_values() {
        // Model book 1.13.
        let mut rv = RealisedVariance::new(16, 2);
        for r in [0.001, -0.002, 0.0015, -0.001, 0.0105, -0.0005] {
            assert!(rv.add(r));
        }
        let family = rv.family();
        near(family.realised, 1.1875e-4);
        near(family.bipower, 4.194_03e-5);
        near(family.jump, 7.680_97e-5);
        assert!((family.median.value - 1.65e-5).abs() < 5e-8, "{:?}", family.median);
    }

    #[test]
    fn two_scales_published_values() {
        let run = |prices: [f64; 9]| {
            let mut rv = RealisedVariance::new(16, 2);
            for pair in prices.windows(2) {
                assert!(rv.add((pair[1] - pair[0]) * 1e-3));
            }
            rv.family().two_scales
        };
        near(run([0., 4., 3., 7., 6., 10., 9., 13., 12.]), 3.111_11e-6);
        let negative = run([0., 2., 1., 4., 3., 6., 5., 9., 8.]);
        assert_eq!((negative.value, negative.status), (0.0, Status::Clamped));
    }

    #[test]
    fn degenerate_inputs() {
        let mut rv = RealisedVariance::new(16, 2);
        assert_eq!(rv.family().realised.status, Status::Warmup);
        assert!(!rv.add(f64::NAN) && !rv.add(f64::INFINITY) && !rv.add(5.0));
        for _ in 0..4 {
            assert!(rv.add(0.0));
        }
        assert_eq!(rv.family().realised.status, Status::ZeroVariance);
    }

    proptest! {
        #[test]
        fn sliding_equals_fresh(returns in proptest::collection::vec(-0.05f64..0.05, 12..200)) {
            let mut sliding = RealisedVariance::new(10, 3);
            for &r in &returns {
                sliding.add(r);
                prop_assert_eq!(sliding.family(), sliding.compute(), "what is known is of now");
            }
            let mut fresh = RealisedVariance::new(10, 3);
            for &r in &returns[returns.len() - 10..] {
                fresh.add(r);
            }
            prop_assert_eq!(sliding.family(), fresh.family());
        }
    }
}
