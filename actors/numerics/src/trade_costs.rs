//! What trades cost and who pays: effective spread, realised spread, price impact (Huang and Stoll, Journal of Financial Economics 41, 1996).

use std::collections::VecDeque;

use kimera_protocol::Nanos;

/// Trades that wait for the price behind them, at most.
pub const PENDING_MAX: usize = 4_096;

/// Costs of a trade in basis points of the mid at its time; the first is the sum of the other two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TradeCost {
    /// Twice the distance from the mid: what the taker pays.
    pub effective: f64,
    /// Twice the distance from the mid later on: what the maker keeps.
    pub realised: f64,
    /// Twice what the mid has moved: what the maker loses to who knew.
    pub impact: f64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    due: Nanos,
    /// 1 for a purchase, −1 for a sale.
    direction: f64,
    price: f64,
    mid: f64,
}

/// Pairs trades with the mid a while later (model book 1.8; 5 s and 60 s).
#[derive(Clone, Debug)]
pub struct TradeCosts {
    horizon: Nanos,
    pending: VecDeque<Pending>,
    mid: Option<f64>,
    dropped: u64,
}

impl TradeCosts {
    /// With a horizon.
    #[must_use]
    pub fn new(horizon: Nanos) -> Self {
        let pending = VecDeque::with_capacity(PENDING_MAX);
        Self { horizon: horizon.max(0), pending, mid: None, dropped: 0 }
    }

    /// Trades that found no mid at their time or a horizon later, or no place.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A trade, by whoever took, at the mid that is known now.
    pub fn trade(&mut self, time: Nanos, is_buy: bool, price: f64) {
        match self.mid {
            Some(mid) if price.is_finite() && self.pending.len() < PENDING_MAX => {
                let direction = if is_buy { 1.0 } else { -1.0 };
                self.pending.push_back(Pending {
                    due: time.saturating_add(self.horizon),
                    direction,
                    price,
                    mid,
                });
            }
            _ => self.dropped += 1,
        }
    }

    /// The mid from now on, none where the book cannot be used; calls `cost` with every trade whose time has come before.
    pub fn mid(&mut self, time: Nanos, mid: Option<f64>, mut cost: impl FnMut(TradeCost)) {
        while let Some(trade) = self.pending.front().copied().filter(|trade| trade.due < time) {
            self.pending.pop_front();
            // What holds until now held when it was due.
            match self.mid {
                Some(later) => cost(trade.cost(later)),
                None => self.dropped += 1,
            }
        }
        self.mid = mid.filter(|mid| mid.is_finite() && *mid > 0.0);
    }
}

impl Pending {
    fn cost(&self, later: f64) -> TradeCost {
        let points = |distance: f64| 2e4 * self.direction * distance / self.mid;
        TradeCost {
            effective: points(self.price - self.mid),
            realised: points(self.price - later),
            impact: points(later - self.mid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn costs(of: &mut TradeCosts, time: Nanos, mid: Option<f64>) -> Vec<TradeCost> {
        let mut all = Vec::new();
        of.mid(time, mid, |cost| all.push(cost));
        all
    }

    #[test]
    fn published_values_and_the_identity() {
        let mut of = TradeCosts::new(5 * SECOND);
        assert!(costs(&mut of, 0, Some(100.0)).is_empty());
        of.trade(SECOND, true, 100.02);
        of.trade(SECOND, false, 100.02);
        assert!(costs(&mut of, 2 * SECOND, Some(100.012)).is_empty());
        let all = costs(&mut of, 7 * SECOND, Some(50.0));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        let buy = all[0];
        assert!(near(buy.effective, 4.0) && near(buy.realised, 1.6) && near(buy.impact, 2.4), "{buy:?}");
        for cost in all {
            assert!(near(cost.effective, cost.realised + cost.impact), "{cost:?}");
        }
    }

    #[test]
    fn a_mid_that_is_missing_drops_the_trade_and_counts_it() {
        let mut of = TradeCosts::new(5 * SECOND);
        of.trade(0, true, 100.0);
        assert_eq!(of.dropped(), 1, "no mid at its time");
        costs(&mut of, 0, Some(100.0));
        of.trade(SECOND, true, 100.0);
        costs(&mut of, 2 * SECOND, None);
        assert!(costs(&mut of, 9 * SECOND, Some(100.0)).is_empty());
        assert_eq!(of.dropped(), 2, "none a horizon later");
        for _ in 0..PENDING_MAX + 3 {
            of.trade(10 * SECOND, true, 100.0);
        }
        assert_eq!(of.dropped(), 5, "no place");
    }
}
