//! 1.13 Realised variance of the mid, in bars of event time.

use kimera_numerics::realised::RealisedFamily;
use kimera_numerics::{RealisedVariance, ln};
use kimera_protocol::Nanos;

use super::Buckets;

/// Bars without an event after which the window starts anew.
const GAP_BARS: i64 = 5;

/// Closes a bar when time leaves it and feeds its log return to the realised family.
pub struct Volatility {
    buckets: Buckets,
    family: RealisedVariance,
    index: Option<i64>,
    close: f64,
    mid: f64,
}

kimera_protocol::state!(Volatility { family, index, close, mid } fixed { buckets });

impl Volatility {
    /// Bars of `length`, `window` of them, slow scale of `scale` bars.
    #[must_use]
    pub fn new(length: Nanos, window: usize, scale: usize) -> Self {
        let family = RealisedVariance::new(window, scale);
        Self { buckets: Buckets::new(length), family, index: None, close: 0.0, mid: 0.0 }
    }

    /// The mid at a time; prices that are not positive are left out.
    pub fn moved(&mut self, mid: f64, time: Nanos) {
        if mid <= 0.0 || !mid.is_finite() {
            return;
        }
        let index = self.buckets.of(time);
        match self.index {
            None => self.close = mid,
            Some(open) if index - open > GAP_BARS => {
                self.family.reset();
                self.close = mid;
            }
            Some(open) => {
                // The first of the closed bars carries the move; those without an event carry none.
                for bar in 0..(index - open).max(0) {
                    let r = if bar == 0 { ln(self.mid / self.close) } else { 0.0 };
                    self.family.add(r);
                    self.close = self.mid;
                }
            }
        }
        if self.index.is_none_or(|open| index > open) {
            self.index = Some(index);
        }
        self.mid = mid;
    }

    /// The family over the window.
    #[must_use]
    pub fn family(&self) -> RealisedFamily {
        self.family.family()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Status;

    #[test]
    fn bars_close_with_time_and_gaps_split_the_window() {
        let mut v = Volatility::new(10, 100, 2);
        for (mid, time) in [(100.0, 1), (101.0, 9), (102.0, 11), (102.0, 45), (103.0, 51)] {
            v.moved(mid, time);
        }
        // Bars: 101/100, 102/101, two empty ones, 102/102.
        let family = v.family();
        assert_eq!((family.realised.n, family.realised.status), (5, Status::Ok));
        let expected = libm_square(101.0 / 100.0) + libm_square(102.0 / 101.0);
        assert!((family.realised.value - expected).abs() < 1e-12);
        v.moved(103.0, 200);
        assert_eq!(v.family().realised.n, 0);
    }

    fn libm_square(ratio: f64) -> f64 {
        ln(ratio) * ln(ratio)
    }
}
