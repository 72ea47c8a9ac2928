//! Volatility of the mid in ticks per square root of a second: the decayed mean square of its changes in bars.

use kimera_protocol::Nanos;

use crate::exp;

/// Bars without a price after which it begins anew.
const GAP_BARS: i64 = 5;

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolatilityConfig {
    /// Length of a bar.
    pub bar: Nanos,
    /// Half-life, in bars.
    pub half_life_bars: f64,
    /// Bars before it is published.
    pub bars_min: u64,
}

/// The estimator.
#[derive(Clone, Debug)]
pub struct Volatility {
    config: VolatilityConfig,
    /// 1 − 2^(−1/h).
    step: f64,
    bar: Option<i64>,
    /// Price at the end of the last closed bar; none while the first one, which began somewhere inside, is open.
    close: Option<f64>,
    mid: f64,
    mean_square: f64,
    bars: u64,
}

kimera_protocol::state!(Volatility { bar, close, mid, mean_square, bars } fixed { config, step });

impl Volatility {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: VolatilityConfig) -> Self {
        let step = 1.0 - exp(-std::f64::consts::LN_2 / config.half_life_bars.max(1e-9));
        Self { config, step, bar: None, close: None, mid: 0.0, mean_square: 0.0, bars: 0 }
    }

    /// The mid (ticks) at a time.
    pub fn moved(&mut self, mid: f64, time: Nanos) {
        if !mid.is_finite() || mid <= 0.0 {
            return;
        }
        let bar = time.div_euclid(self.config.bar.max(1));
        match self.bar {
            Some(open) if bar - open > GAP_BARS => {
                (self.mean_square, self.bars, self.close) = (0.0, 0, None);
            }
            Some(open) => {
                for closed in 0..(bar - open).max(0) {
                    // The first of the closed bars carries the move; those without a price carry none.
                    if let Some(close) = self.close {
                        let change = if closed == 0 { self.mid - close } else { 0.0 };
                        self.add(change * change);
                    }
                    self.close = Some(self.mid);
                }
            }
            None => {}
        }
        self.bar = Some(self.bar.map_or(bar, |open| open.max(bar)));
        self.mid = mid;
    }

    /// The mean starts as an ordinary one, so that the first bars do not weigh more than they should.
    fn add(&mut self, square: f64) {
        self.bars += 1;
        let step = self.step.max(1.0 / self.bars as f64);
        self.mean_square += step * (square - self.mean_square);
    }

    /// Ticks per square root of a second; `None` during warm-up or where nothing has moved.
    #[must_use]
    pub fn per_root_second(&self) -> Option<f64> {
        let seconds = self.config.bar as f64 * 1e-9;
        let value = (self.mean_square / seconds).sqrt();
        (self.bars >= self.config.bars_min && value.is_finite() && value > 0.0).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn config(bar: Nanos) -> VolatilityConfig {
        VolatilityConfig { bar, half_life_bars: 60.0, bars_min: 3 }
    }

    #[test]
    fn steps_of_three_ticks_a_second_are_a_volatility_of_three() {
        let mut v = Volatility::new(config(SECOND));
        for i in 0..20 {
            assert_eq!(v.per_root_second().is_some(), i >= 5, "after {i}");
            v.moved(1_000.0 + 3.0 * (i % 2) as f64, i * SECOND);
        }
        assert!((v.per_root_second().unwrap() - 3.0).abs() < 1e-9);
        // Bars of four seconds with steps of three: 3 / √4.
        let mut slow = Volatility::new(config(4 * SECOND));
        (0..20).for_each(|i| slow.moved(1_000.0 + 3.0 * (i % 2) as f64, i * 4 * SECOND));
        assert!((slow.per_root_second().unwrap() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_half_life_is_one() {
        // Changes of 1, then of 0 for one half-life: the mean square halves.
        let mut v = Volatility::new(VolatilityConfig { half_life_bars: 10.0, ..config(SECOND) });
        for i in 0..2_000 {
            v.moved(1_000.0 + f64::from(i % 2), i64::from(i) * SECOND);
        }
        let before = v.mean_square;
        (2_000..2_010).for_each(|i| v.moved(v.mid, i * SECOND));
        // The bar that was open still carried a move.
        let decay = 0.5f64.powf(0.9); // deterministic: the expected value of a test
        let expected = (before + v.step * (1.0 - before)) * decay;
        assert!((v.mean_square / expected - 1.0).abs() < 1e-9, "{} {expected}", v.mean_square);
    }

    #[test]
    fn a_gap_begins_anew_and_nonsense_changes_nothing() {
        let mut v = Volatility::new(config(SECOND));
        (0..10).for_each(|i| v.moved(1_000.0 + 3.0 * (i % 2) as f64, i * SECOND));
        let before = v.mean_square;
        v.moved(f64::NAN, 10 * SECOND);
        v.moved(0.0, 10 * SECOND);
        assert!((v.mean_square - before).abs() < f64::EPSILON);
        v.moved(1_000.0, 100 * SECOND);
        assert_eq!(v.per_root_second(), None);
    }
}
