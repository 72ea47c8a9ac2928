//! Money in integers: units of 1e-16 of the quote asset, doubled where a mid would have half a tick.

use kimera_protocol::Nanos;

use crate::limits::BasisPoints;

const DAY: Nanos = 86_400_000_000_000;

/// 1e-16 units in one unit of 1e-8.
pub const FINE: i128 = 100_000_000;

/// Cash, the value of positions, and what has been lost since the best moment and since midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equity {
    /// Money that is not in positions, 1e-16.
    cash: i128,
    /// Value of all positions at the mark, 1e-16.
    positions: i128,
    high_water: i128,
    day: i64,
    day_start: i128,
    /// The day on which the loss was too large; nothing passes until someone resumes on a later one.
    tripped_day: Option<i64>,
}

kimera_protocol::state!(Equity { cash, positions, high_water, day, day_start, tripped_day });

impl Equity {
    /// An account with `start` in units of 1e-8.
    #[must_use]
    pub fn new(start: i64) -> Self {
        let cash = i128::from(start) * FINE;
        Self { cash, positions: 0, high_water: cash, day: i64::MIN, day_start: cash, tripped_day: None }
    }

    /// Equity in 1e-16.
    #[must_use]
    pub fn now(&self) -> i128 {
        self.cash + self.positions
    }

    /// Takes a fill: `signed_size` in 1e-8 at `price_units` in 1e-8, `fee` in 1e-8.
    pub fn fill(&mut self, signed_size: i64, price_units: i128, fee: i64) {
        let value = price_units.saturating_mul(i128::from(signed_size));
        self.cash = self.cash.saturating_sub(value).saturating_sub(i128::from(fee) * FINE);
    }

    /// Takes the value of all positions at a time.
    pub fn mark(&mut self, positions: i128, time: Nanos, daily_loss: BasisPoints) {
        self.positions = positions;
        let equity = self.now();
        let day = time.div_euclid(DAY);
        if day != self.day {
            self.day = day;
            self.day_start = equity;
        }
        self.high_water = self.high_water.max(equity);
        if !daily_loss.holds(self.day_start - equity + 1, self.day_start) {
            self.tripped_day = Some(day);
        }
    }

    /// True where equity has fallen by the share, or more, from its highest point.
    #[must_use]
    pub fn in_drawdown(&self, limit: BasisPoints) -> bool {
        // Less than the share is `fall + 1 ≤ share`: at the share itself it trips.
        !limit.holds(self.high_water - self.now() + 1, self.high_water)
    }

    /// True after a day whose loss reached its limit, until [`Equity::rearm`] on a later day.
    #[must_use]
    pub fn loss_tripped(&self) -> bool {
        self.tripped_day.is_some()
    }

    /// Someone resumes: taken only on a later day than the one that tripped.
    pub fn rearm(&mut self, time: Nanos) {
        if self.tripped_day.is_some_and(|tripped| time.div_euclid(DAY) > tripped) {
            self.tripped_day = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawdown_trips_at_exactly_ten_percent() {
        // Model book 4.1: 100, 120, 108, 126, 113.4, 130: 10 % at 108 and at 113.4.
        let mut equity = Equity::new(0);
        let path =
            [(1_000, false), (1_200, false), (1_080, true), (1_260, false), (1_134, true), (1_300, false)];
        for (value, trips) in path {
            equity.mark(value, 1, BasisPoints(10_000));
            assert_eq!(equity.in_drawdown(BasisPoints(1_000)), trips, "{value}");
        }
    }

    #[test]
    fn a_days_loss_holds_until_someone_resumes_on_a_later_day() {
        let mut equity = Equity::new(100);
        let loss = BasisPoints(300);
        equity.mark(0, 1, loss);
        equity.mark(-3 * FINE + 1, 2, loss);
        assert!(!equity.loss_tripped(), "just under 3 %");
        equity.mark(-3 * FINE, 3, loss);
        assert!(equity.loss_tripped());
        equity.rearm(4);
        equity.mark(0, DAY + 1, loss);
        assert!(equity.loss_tripped(), "neither on the same day nor by itself");
        equity.rearm(DAY + 2);
        assert!(!equity.loss_tripped());
    }

    #[test]
    fn a_round_trip_costs_its_fees() {
        let mut equity = Equity::new(1_000);
        equity.fill(200_000_000, 500, 3);
        equity.fill(-200_000_000, 500, 3);
        assert_eq!(equity.now(), (1_000 - 6) * FINE);
    }
}
