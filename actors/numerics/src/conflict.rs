//! How much forecasts disagree: Jensen and Shannon's divergence (Lin 1991), and conflict between masses of belief (Dempster 1967; Shafer
//! 1976). Model book 3.1.

use crate::entropy::shannon;

/// Jensen and Shannon's divergence of weighted distributions of the same length, in nats: the entropy of the mixture less the mean entropy,
/// 0 where all are the same. Weights sum to 1.
#[must_use]
pub fn divergence<const N: usize>(of: &[(f64, [f64; N])]) -> f64 {
    let (mut mixture, mut within) = ([0.0; N], 0.0);
    for (weight, p) in of {
        mixture.iter_mut().zip(p).for_each(|(sum, x)| *sum += weight * x);
        within += weight * shannon(p);
    }
    (shannon(&mixture) - within).max(0.0)
}

/// Belief in up, in down, and in neither of both: masses that sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Belief {
    /// Up.
    pub up: f64,
    /// Down.
    pub down: f64,
    /// Either may be.
    pub open: f64,
}

/// Conflict beyond which beliefs are not fused: what is left would decide alone (Zadeh's case).
pub const CONFLICT_MAX: f64 = 0.95;

impl Belief {
    /// Nothing is known.
    pub const OPEN: Self = Self { up: 0.0, down: 0.0, open: 1.0 };

    /// Mass that two beliefs put on what excludes the other, in [0, 1].
    #[must_use]
    pub fn conflict(&self, other: &Self) -> f64 {
        self.up * other.down + self.down * other.up
    }

    /// Both as one by Dempster's rule, with their conflict; no fusion where it is above [`CONFLICT_MAX`].
    #[must_use]
    pub fn fused(&self, other: &Self) -> (f64, Option<Self>) {
        let conflict = self.conflict(other);
        if !(0.0..=CONFLICT_MAX).contains(&conflict) {
            return (conflict, None);
        }
        let left = 1.0 - conflict;
        let side = |a: f64, b: f64| (a * b + a * other.open + self.open * b) / left;
        let (up, down) = (side(self.up, other.up), side(self.down, other.down));
        (conflict, Some(Self { up, down, open: self.open * other.open / left }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        let bit = std::f64::consts::LN_2;
        near(divergence(&[(0.5, [0.5, 0.5]), (0.5, [0.9, 0.1])]) / bit, 0.146_793);
        near(divergence(&[(0.5, [1.0, 0.0]), (0.5, [0.0, 1.0])]) / bit, 1.0);
        assert_eq!(divergence(&[(0.5, [0.3, 0.7]), (0.5, [0.3, 0.7])]), 0.0);
        let (a, b) = (Belief { up: 0.6, down: 0.1, open: 0.3 }, Belief { up: 0.1, down: 0.7, open: 0.2 });
        let (conflict, fused) = a.fused(&b);
        near(conflict, 0.43);
        let fused = fused.unwrap();
        near(fused.up, 0.368_421);
        near(fused.down, 0.526_316);
        near(fused.open, 0.105_263);
    }

    #[test]
    fn zadeh_s_case_is_not_fused() {
        // Of three diseases both hold one for nearly impossible: A (.99, C .01) and B (.99, C .01) leave C alone.
        let (a, b) =
            (Belief { up: 0.9999, down: 0.0, open: 0.0001 }, Belief { up: 0.0, down: 1.0, open: 0.0 });
        let (conflict, fused) = a.fused(&b);
        near(conflict, 0.9999);
        assert_eq!(fused, None);
        assert_eq!(a.fused(&Belief::OPEN), (0.0, Some(a)), "who knows nothing changes nothing");
        assert_eq!(Belief { up: f64::NAN, ..a }.fused(&b).1, None);
    }
}
