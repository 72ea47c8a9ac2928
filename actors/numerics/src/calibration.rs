//! How often a forecast of some strength was right (model book 3.14): Platt's sigmoid with smoothed targets (Platt 1999;
//! Newton with a step search, Lin, Lin and Weng 2007), isotonic regression from a thousand outcomes on (pool adjacent
//! violators; Zadrozny and Elkan 2002).

use crate::{exp, ln};
use kimera_protocol::{Loader, Saver, State, StateError};

/// Outcomes kept.
const OUTCOMES_MAX: usize = 1_000;
/// Outcomes before anything is fitted.
const OUTCOMES_MIN: usize = 100;
/// Outcomes between two fits.
const REFIT: u64 = 500;
/// No calibrated probability is nearer to 0 or 1 than this.
const EDGE: f64 = 1e-3;
const NEWTON_STEPS: usize = 30;

/// The fitted map.
#[derive(Clone, Debug, PartialEq)]
enum Map {
    /// Too little is known: half the base rate, half the raw value.
    Shrunk,
    /// σ(a·s + b).
    Sigmoid { a: f64, b: f64 },
    /// Upper ends of blocks of raw values, ascending, and the share that was right in each.
    Steps,
}

impl State for Map {
    fn save(&self, out: &mut Saver) {
        let (code, a, b) = match self {
            Self::Shrunk => (0u8, 0.0, 0.0),
            Self::Sigmoid { a, b } => (1, *a, *b),
            Self::Steps => (2, 0.0, 0.0),
        };
        code.save(out);
        a.save(out);
        b.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let (mut code, mut a, mut b) = (0u8, 0.0, 0.0);
        code.load(from)?;
        a.load(from)?;
        b.load(from)?;
        *self = match code {
            0 => Self::Shrunk,
            1 => Self::Sigmoid { a, b },
            2 => Self::Steps,
            _ => return Err(from.impossible("map of a calibration")),
        };
        Ok(())
    }
}

/// Learns from outcomes what a raw confidence is worth.
#[derive(Clone, Debug)]
pub struct Calibration {
    outcomes: Vec<(f64, bool)>,
    next: usize,
    seen: u64,
    fitted_at: u64,
    right: u64,
    map: Map,
    steps: Vec<(f64, f64)>,
    sorted: Vec<(f64, bool)>,
}

kimera_protocol::state!(Calibration { outcomes, next, seen, fitted_at, right, map, steps } fixed { sorted });

impl Default for Calibration {
    fn default() -> Self {
        Self {
            outcomes: Vec::with_capacity(OUTCOMES_MAX),
            next: 0,
            seen: 0,
            fitted_at: 0,
            right: 0,
            map: Map::Shrunk,
            steps: Vec::with_capacity(OUTCOMES_MAX),
            sorted: Vec::with_capacity(OUTCOMES_MAX),
        }
    }
}

/// Platt's smoothed targets for right and wrong.
fn targets(right: f64, wrong: f64) -> (f64, f64) {
    ((right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0))
}

impl Calibration {
    /// Takes an outcome; from time to time the map is fitted anew, to the past only.
    pub fn add(&mut self, raw: f64, right: bool) {
        if !raw.is_finite() {
            return;
        }
        if self.outcomes.len() < OUTCOMES_MAX {
            self.outcomes.push((raw, right));
        } else {
            self.outcomes[self.next] = (raw, right);
            self.next = (self.next + 1) % OUTCOMES_MAX;
        }
        self.seen += 1;
        self.right += u64::from(right);
        let first = self.fitted_at == 0 && self.outcomes.len() >= OUTCOMES_MIN;
        if first || (self.fitted_at > 0 && self.seen - self.fitted_at >= REFIT) {
            self.fit();
        }
    }

    fn fit(&mut self) {
        self.fitted_at = self.seen;
        let right = self.outcomes.iter().filter(|o| o.1).count();
        if right == 0 || right == self.outcomes.len() {
            self.map = Map::Shrunk; // one class only: nothing to learn from
        } else if self.outcomes.len() >= OUTCOMES_MAX {
            self.fit_isotonic();
            self.map = Map::Steps;
        } else {
            self.map = fit_sigmoid(&self.outcomes).map_or(Map::Shrunk, |(a, b)| Map::Sigmoid { a, b });
        }
    }

    fn fit_isotonic(&mut self) {
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.outcomes);
        self.sorted.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        isotonic(&self.sorted, &mut self.steps);
    }

    /// The probability that a forecast of this raw confidence is right.
    #[must_use]
    pub fn confidence(&self, raw: f64) -> f64 {
        let base = if self.seen == 0 { 0.5 } else { self.right as f64 / self.seen as f64 };
        let value = match self.map {
            Map::Shrunk => 0.5 * base + 0.5 * raw,
            Map::Sigmoid { a, b } => 1.0 / (1.0 + exp(-(a * raw + b))),
            Map::Steps => {
                let at = self.steps.partition_point(|(upper, _)| *upper < raw);
                self.steps.get(at).or(self.steps.last()).map_or(base, |s| s.1)
            }
        };
        if value.is_finite() { value.clamp(EDGE, 1.0 - EDGE) } else { base.clamp(EDGE, 1.0 - EDGE) }
    }
}

/// Pool adjacent violators over outcomes in ascending order: blocks by their upper end and share.
fn isotonic(sorted: &[(f64, bool)], steps: &mut Vec<(f64, f64)>) {
    // Sums are kept in the list itself: (upper end, right) with the count beside it in whole parts.
    steps.clear();
    let mut counts: [u32; OUTCOMES_MAX] = [0; OUTCOMES_MAX];
    for (raw, right) in sorted.iter().take(OUTCOMES_MAX) {
        let (mut sum, mut count) = (f64::from(u8::from(*right)), 1u32);
        while let Some(last) = steps.last() {
            let before = counts[steps.len() - 1];
            // The block before must be lower, and of other raw values.
            let violates = last.1 * f64::from(count) >= sum * f64::from(before) || last.0 == *raw;
            if !violates {
                break;
            }
            sum += last.1;
            count += before;
            steps.pop();
        }
        counts[steps.len()] = count;
        steps.push((*raw, sum));
    }
    for (i, step) in steps.iter_mut().enumerate() {
        step.1 /= f64::from(counts[i]);
    }
}

/// Newton's method on the regularised likelihood; `None` where it does not settle on numbers.
fn fit_sigmoid(outcomes: &[(f64, bool)]) -> Option<(f64, f64)> {
    let right = outcomes.iter().filter(|o| o.1).count() as f64;
    let wrong = outcomes.len() as f64 - right;
    let (high, low) = targets(right, wrong);
    let (mut a, mut b) = (0.0, ln((right + 1.0) / (wrong + 1.0)));
    let loss = |a: f64, b: f64| {
        outcomes.iter().fold(0.0, |sum, (s, r)| {
            let (t, z) = (if *r { high } else { low }, a * s + b);
            // −t·ln σ(z) − (1 − t)·ln(1 − σ(z)), without overflow on either side.
            let soft = if z > 0.0 { z + ln(1.0 + exp(-z)) } else { ln(1.0 + exp(z)) };
            sum + soft - t * z
        })
    };
    let mut before = loss(a, b);
    for _ in 0..NEWTON_STEPS {
        let (mut g1, mut g2, mut h11, mut h12, mut h22) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for (s, r) in outcomes {
            let p = 1.0 / (1.0 + exp(-(a * s + b)));
            let (d, w) = (p - if *r { high } else { low }, p * (1.0 - p));
            g1 += d * s;
            g2 += d;
            h11 += w * s * s;
            h12 += w * s;
            h22 += w;
        }
        let determinant = h11 * h22 - h12 * h12;
        if determinant.abs() < 1e-18 || (g1.abs() < 1e-7 && g2.abs() < 1e-7) {
            break;
        }
        let (da, db) = (-(h22 * g1 - h12 * g2) / determinant, -(h11 * g2 - h12 * g1) / determinant);
        let mut step = 1.0;
        loop {
            let after = loss(a + step * da, b + step * db);
            if after < before {
                (a, b, before) = (a + step * da, b + step * db, after);
                break;
            }
            step *= 0.5;
            if step < 1e-10 {
                return (a.is_finite() && b.is_finite()).then_some((a, b));
            }
        }
    }
    (a.is_finite() && b.is_finite()).then_some((a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_values() {
        // Model book 3.14: PAV(0,1,0,1,1) = (0,.5,.5,1,1); targets for 3 right, 2 wrong.
        let sorted: Vec<_> = [0, 1, 0, 1, 1].iter().enumerate().map(|(i, o)| (i as f64, *o == 1)).collect();
        let mut steps = Vec::new();
        isotonic(&sorted, &mut steps);
        assert_eq!(steps, [(0.0, 0.0), (2.0, 0.5), (4.0, 1.0)]);
        assert_eq!(targets(3.0, 2.0), (0.8, 0.25));
    }

    fn random(seed: u64) -> impl FnMut() -> f64 {
        let mut x = seed | 1;
        move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    #[test]
    fn it_learns_what_a_raw_confidence_is_worth() {
        // A raw confidence of s is right with probability 0.3 + 0.4 s: it is too sure of itself.
        let mut calibration = Calibration::default();
        let mut next = random(7);
        assert!((calibration.confidence(0.9) - 0.7).abs() < 1e-12, "half the base of 0.5, half what is said");
        for i in 0..3_000 {
            let raw = next();
            calibration.add(raw, next() < 0.3 + 0.4 * raw);
            let worth = |raw: f64| (calibration.confidence(raw) - (0.3 + 0.4 * raw)).abs();
            if i == 900 {
                assert!(matches!(calibration.map, Map::Sigmoid { .. }));
                assert!(worth(0.1) < 0.08 && worth(0.9) < 0.08, "{} {}", worth(0.1), worth(0.9));
            }
        }
        assert!(matches!(calibration.map, Map::Steps));
        assert!((calibration.confidence(0.5) - 0.5).abs() < 0.12);
    }

    #[test]
    fn one_class_teaches_nothing() {
        let mut calibration = Calibration::default();
        (0..200).for_each(|_| calibration.add(0.6, true));
        assert_eq!(calibration.map, Map::Shrunk);
        calibration.add(f64::NAN, true);
        assert_eq!(calibration.outcomes.len(), 200);
    }

    proptest! {
        /// More raw confidence is never worth less than a fit with a rising slope says, and isotonic never falls.
        #[test]
        fn isotonic_rises(seed in 1u64..1_000) {
            let mut next = random(seed);
            let mut outcomes: Vec<_> = (0..200).map(|_| ((next() * 20.0).floor() / 20.0, next() < 0.5)).collect();
            outcomes.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
            let mut steps = Vec::new();
            isotonic(&outcomes, &mut steps);
            prop_assert!(steps.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{steps:?}");
        }
    }
}
