//! Volume-synchronised probability of informed trading (Easley, López de Prado, O'Hara, Review of Financial Studies 25, 2012, section 1).
//!
//! A feature, never a signal by itself: Andersen and Bondarenko (Journal of Financial Markets 17, 2014) find that it follows volume and
//! volatility largely by its construction.

use std::collections::VecDeque;

use crate::estimate::Estimate;
use crate::normal_cdf;

/// `Σ |V^buy − V^sell| / (n V)` over `n` buckets of equal volume `V` (model book 1.9), in [0, 1]. Volumes are whole units, so that
/// buckets add up to the tape.
#[derive(Clone, Debug)]
pub struct Vpin {
    bucket: i64,
    buckets_max: usize,
    /// What the open bucket has of buyers and sellers.
    buys: i64,
    sells: i64,
    imbalances: VecDeque<i64>,
    sum: i64,
    filled: u64,
}

kimera_protocol::state!(Vpin { buys, sells, imbalances, sum, filled } fixed { bucket, buckets_max });

impl Vpin {
    /// Buckets of so many units (a fiftieth of a day's volume), so many of them (50).
    #[must_use]
    pub fn new(bucket: i64, buckets: usize) -> Self {
        let buckets_max = buckets.max(1);
        let imbalances = VecDeque::with_capacity(buckets_max);
        Self { bucket: bucket.max(1), buckets_max, buys: 0, sells: 0, imbalances, sum: 0, filled: 0 }
    }

    /// A trade of so many units, bought or sold by whoever took; it is split where it fills a bucket.
    pub fn add(&mut self, units: i64, is_buy: bool) {
        if is_buy { self.add_split(units, 0) } else { self.add_split(0, units) }
    }

    /// Volume of a bar, split by the normal distribution of its change in standard deviations: for data without a side.
    pub fn add_bulk(&mut self, units: i64, change_in_deviations: f64) {
        let buys = (units.max(0) as f64 * normal_cdf(change_in_deviations)).round() as i64;
        self.add_split(buys.clamp(0, units.max(0)), units.max(0) - buys.clamp(0, units.max(0)));
    }

    /// Both sides of a bar fill buckets in proportion.
    fn add_split(&mut self, buys: i64, sells: i64) {
        let (mut buys, mut sells) = (buys.max(0), sells.max(0));
        while buys + sells > 0 {
            let room = self.bucket - self.buys - self.sells;
            let all = buys.saturating_add(sells);
            let taken = all.min(room);
            let of_buys = (i128::from(taken) * i128::from(buys) / i128::from(all)) as i64;
            self.buys += of_buys;
            self.sells += taken - of_buys;
            (buys, sells) = (buys - of_buys, sells - (taken - of_buys));
            if self.buys + self.sells == self.bucket {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let imbalance = (self.buys - self.sells).abs();
        if self.imbalances.len() == self.buckets_max {
            self.sum -= self.imbalances.pop_front().unwrap_or(0);
        }
        self.imbalances.push_back(imbalance);
        self.sum = self.sum.saturating_add(imbalance);
        self.filled += 1;
        (self.buys, self.sells) = (0, 0);
    }

    /// Buckets filled so far, and what is in the open one.
    #[must_use]
    pub fn filled(&self) -> (u64, i64) {
        (self.filled, self.buys + self.sells)
    }

    /// The probability, once every bucket is filled.
    #[must_use]
    pub fn get(&self) -> Estimate {
        if self.imbalances.len() < self.buckets_max {
            return Estimate::warmup(self.filled);
        }
        Estimate::ok(self.sum as f64 / (self.buckets_max as f64 * self.bucket as f64), self.filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_values() {
        // Model book 1.9: in units of a millionth, so that rounding is not seen.
        let mut vpin = Vpin::new(100_000_000, 4);
        for (deviations, buys) in [(0.5, 69.1462), (-1.0, 15.8655), (0.0, 50.0), (2.0, 97.7250)] {
            assert!((100.0 * normal_cdf(deviations) - buys).abs() < 1e-4);
            vpin.add_bulk(100_000_000, deviations);
        }
        assert!((vpin.get().value - 0.505_029).abs() < 1e-6);
    }

    #[test]
    fn one_side_is_certain_and_taking_turns_is_nothing() {
        let (mut one, mut turns) = (Vpin::new(10, 5), Vpin::new(10, 5));
        for i in 0..20 {
            one.add(5, true);
            turns.add(5, i % 2 == 0);
        }
        assert_eq!((one.get().value, turns.get().value), (1.0, 0.0));
        assert_eq!(Vpin::new(10, 5).get().status, kimera_protocol::Status::Warmup);
    }

    proptest! {
        #[test]
        fn buckets_add_up_to_the_tape(trades in proptest::collection::vec((0i64..500, any::<bool>()), 0..60), bucket in 1i64..200) {
            let mut vpin = Vpin::new(bucket, 7);
            let mut mirror = Vpin::new(bucket, 7);
            for &(units, is_buy) in &trades {
                vpin.add(units, is_buy);
                mirror.add(units, !is_buy);
            }
            let (filled, open) = vpin.filled();
            prop_assert_eq!(filled as i64 * bucket + open, trades.iter().map(|t| t.0).sum::<i64>());
            prop_assert!((0.0..=1.0).contains(&vpin.get().value));
            prop_assert_eq!(vpin.get(), mirror.get(), "which side it is does not matter");
        }
    }
}
