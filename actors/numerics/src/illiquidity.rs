//! How much the price moves for the money that changed hands (Amihud, Journal of Financial Markets 5, 2002, equation 1).

use std::collections::VecDeque;

use kimera_protocol::Status;

use crate::estimate::Estimate;

/// `10⁶ · mean(|return| / money traded)` over a number of days (model book 1.6): return per million.
#[derive(Clone, Debug)]
pub struct Amihud {
    days: VecDeque<f64>,
    days_max: usize,
    days_min: usize,
    /// Days without trade: left out of the mean.
    skipped: u64,
}

kimera_protocol::state!(Amihud { days, skipped } fixed { days_max, days_min });

impl Amihud {
    /// Over the last `days_max` days (30), warm behind `days_min` (5).
    #[must_use]
    pub fn new(days_max: usize, days_min: usize) -> Self {
        Self {
            days: VecDeque::with_capacity(days_max.max(1)),
            days_max: days_max.max(1),
            days_min,
            skipped: 0,
        }
    }

    /// A day's return and the money traded on it, in the quote asset.
    pub fn add(&mut self, day_return: f64, traded: f64) {
        if traded <= 0.0 {
            self.skipped += 1;
            return;
        }
        let ratio = day_return.abs() / traded;
        if ratio.is_finite() {
            if self.days.len() == self.days_max {
                self.days.pop_front();
            }
            self.days.push_back(ratio);
        }
    }

    /// Days without trade so far.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Illiquidity.
    #[must_use]
    pub fn get(&self) -> Estimate {
        let n = self.days.len() as u64;
        if self.days.is_empty() && self.skipped > 0 {
            return Estimate::degenerate(Status::ZeroVariance, 0);
        }
        if self.days.len() < self.days_min.max(1) {
            return Estimate::warmup(n);
        }
        Estimate::ok(1e6 * self.days.iter().sum::<f64>() / n as f64, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scale: f64) -> Amihud {
        let mut amihud = Amihud::new(30, 3);
        for (day_return, traded) in [(0.01, 2e6), (-0.02, 1e6), (0.005, 5e6)] {
            amihud.add(day_return, traded * scale);
        }
        amihud
    }

    #[test]
    fn published_values() {
        assert!((of(1.0).get().value - 0.008_666_67).abs() < 1e-8);
        assert!((of(2.0).get().value - 0.004_333_33).abs() < 1e-8, "twice the volume, half of it");
    }

    #[test]
    fn days_without_trade_are_counted_and_left_out() {
        let mut amihud = of(1.0);
        amihud.add(0.5, 0.0);
        assert_eq!((amihud.get(), amihud.skipped()), (of(1.0).get(), 1));
        let mut silent = Amihud::new(30, 3);
        assert_eq!(silent.get().status, Status::Warmup);
        silent.add(0.5, 0.0);
        assert_eq!(silent.get().status, Status::ZeroVariance);
        let mut short = Amihud::new(2, 1);
        [1.0, 2.0, 3.0].into_iter().for_each(|r| short.add(r, 1e6));
        assert!((short.get().value - 2.5).abs() < 1e-12, "the last two days");
    }
}
