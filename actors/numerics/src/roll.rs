//! The spread that prices imply by bouncing between two sides (Roll, Journal of Finance 39, 1984).

use kimera_protocol::Status;

use crate::decay_of_half_life;
use crate::estimate::Estimate;

/// `2 √(−cov(Δp_t, Δp_{t−1}))` of trade prices, with decaying weights (model book 1.7).
///
/// In the unit of the prices. Where neighbouring changes go together there is no bounce to be seen: the value is then 0 and
/// says why.
#[derive(Clone, Debug)]
pub struct RollSpread {
    decay: f64,
    trades_min: u64,
    last: Option<(f64, Option<f64>)>,
    weight: f64,
    products: f64,
    trades: u64,
}

kimera_protocol::state!(RollSpread { last, weight, products, trades } fixed { decay, trades_min });

impl RollSpread {
    /// With a half-life in trades (500), warm behind `trades_min` (50).
    #[must_use]
    pub fn new(half_life_trades: f64, trades_min: u64) -> Self {
        let decay = decay_of_half_life(half_life_trades);
        Self { decay, trades_min, last: None, weight: 0.0, products: 0.0, trades: 0 }
    }

    /// The price of a trade; one that is no number is left out.
    pub fn add(&mut self, price: f64) {
        if !price.is_finite() {
            return;
        }
        self.trades += 1;
        let Some((last, change_before)) = self.last else {
            self.last = Some((price, None));
            return;
        };
        let change = price - last;
        if let Some(before) = change_before {
            self.products = self.decay * self.products + change * before;
            self.weight = self.decay * self.weight + 1.0;
        }
        self.last = Some((price, Some(change)));
    }

    /// The first-order autocovariance of changes, their mean taken as 0.
    #[must_use]
    pub fn covariance(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.products / self.weight)
    }

    /// The spread.
    #[must_use]
    pub fn spread(&self) -> Estimate {
        match self.covariance() {
            Some(covariance) if self.trades >= self.trades_min.max(3) => {
                if covariance < 0.0 {
                    Estimate::ok(2.0 * (-covariance).sqrt(), self.trades)
                } else {
                    Estimate::degenerate(Status::PositiveAutocovariance, self.trades)
                }
            }
            _ => Estimate::warmup(self.trades),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prices: impl IntoIterator<Item = f64>, half_life: f64) -> RollSpread {
        let mut roll = RollSpread::new(half_life, 3);
        prices.into_iter().for_each(|price| roll.add(price));
        roll
    }

    #[test]
    fn published_values() {
        let prices = [100.01, 99.99, 100.01, 100.01, 99.99, 99.99, 100.01, 99.99];
        let roll = of(prices, f64::INFINITY);
        assert!((roll.covariance().unwrap() + 1.333_33e-4).abs() < 1e-9);
        assert!((roll.spread().value - 0.023_094_0).abs() < 1e-7);
    }

    #[test]
    fn a_pure_bounce_is_its_spread() {
        let mut word = 88_172_645_463_325_252u64;
        let prices = (0..200_000).map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            if word >> 63 == 0 { 100.03 } else { 99.97 }
        });
        let spread = of(prices, f64::INFINITY).spread().value;
        assert!((spread - 0.06).abs() < 0.001, "{spread}");
    }

    #[test]
    fn no_root_of_what_is_negative_and_no_value_before_its_time() {
        let trend = of((0..60).map(f64::from), 500.0).spread();
        assert_eq!((trend.value, trend.status), (0.0, Status::PositiveAutocovariance));
        assert_eq!(of([1.0, 2.0], 500.0).spread().status, Status::Warmup);
        assert_eq!(of([1.0, f64::NAN, f64::INFINITY], 500.0).spread().n, 1);
    }
}
