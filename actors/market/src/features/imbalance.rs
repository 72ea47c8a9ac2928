//! 1.2 Order-book imbalance over several levels (Cao, Hansch and Wang 2009).

use kimera_numerics::{Estimate, exp};
use kimera_protocol::{Level, Status};

use super::base_units;

/// Most levels a side.
pub const LEVELS: usize = 5;

/// `ρ = Σ w(qb − qa) / Σ w(qb + qa)`, `w = e^(−κ·rank)`.
pub struct Imbalance {
    weights: [f64; LEVELS],
}

kimera_protocol::state!(Imbalance {} fixed { weights });

impl Imbalance {
    /// `decay` is κ ≥ 0.
    #[must_use]
    pub fn new(decay: f64) -> Self {
        Self { weights: std::array::from_fn(|rank| exp(-decay * rank as f64)) }
    }

    /// The imbalance in [-1, 1]; missing levels have size 0. One-sided books give ±1 with that status.
    #[must_use]
    pub fn evaluate(&self, bids: &[Level; LEVELS], asks: &[Level; LEVELS], status: Status) -> Estimate {
        let (mut difference, mut total) = (0.0, 0.0);
        for ((weight, bid), ask) in self.weights.iter().zip(bids).zip(asks) {
            let (qb, qa) = (base_units(bid.size.0), base_units(ask.size.0));
            difference += weight * (qb - qa);
            total += weight * (qb + qa);
        }
        if total <= 0.0 {
            return Estimate::degenerate(if status == Status::Ok { Status::EmptyBook } else { status }, 0);
        }
        let clamped = Estimate::clamped(difference / total, -1.0, 1.0, 1);
        if status == Status::Ok { clamped } else { Estimate { status, ..clamped } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Price, Quantity};

    fn side(sizes: [i64; 3], levels: usize) -> [Level; LEVELS] {
        std::array::from_fn(|i| Level {
            price: Price(100 + i as i64),
            size: Quantity(if i < levels.min(3) { sizes[i] * 100_000_000 } else { 0 }),
        })
    }

    #[test]
    fn published_values() {
        // Model book 1.2: bids (3, 2, 1), asks (1, 2, 5).
        let value = |levels, decay| {
            let (b, a) = (side([3, 2, 1], levels), side([1, 2, 5], levels));
            Imbalance::new(decay).evaluate(&b, &a, Status::Ok).value
        };
        assert!((value(1, 0.5) - 0.5).abs() < 1e-12);
        assert!((value(3, 0.5) - 0.061_213_7).abs() < 1e-7);
        assert!((value(3, 0.0) + 0.142_857).abs() < 1e-6);
    }

    #[test]
    fn it_is_antisymmetric_scale_free_and_honest_when_one_side_is_missing() {
        let obi = Imbalance::new(0.5);
        let (b, a) = (side([3, 2, 1], 3), side([1, 2, 5], 3));
        let (plus, minus) = (obi.evaluate(&b, &a, Status::Ok), obi.evaluate(&a, &b, Status::Ok));
        assert!((plus.value + minus.value).abs() < 1e-12);
        let double = |s: [Level; LEVELS]| s.map(|l| Level { size: Quantity(l.size.0 * 2), ..l });
        assert!((obi.evaluate(&double(b), &double(a), Status::Ok).value - plus.value).abs() < 1e-12);
        let empty = [Level::default(); LEVELS];
        let one = obi.evaluate(&b, &empty, Status::OneSided);
        assert_eq!((one.value, one.status), (1.0, Status::OneSided));
        assert_eq!(obi.evaluate(&empty, &empty, Status::EmptyBook).status, Status::EmptyBook);
    }
}
