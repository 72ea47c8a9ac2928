//! One actor's orders, exactly: what rests, what is filled on the other side meanwhile, and what is then taken back (spoofing and layering: 7
//! USC 6c(a)(5)(C); Regulation (EU) 596/2014, articles 12(1) and 12(2)(c); FINRA rule 5210). It measures conduct; intent is for people.

use std::collections::VecDeque;

use kimera_numerics::estimate::Estimate;
use kimera_protocol::{Nanos, Price, Quantity, Side};

use super::conduct::cancel_lift;

/// What counts as large, as soon, as unfilled (model book 2.5 and 2.6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurveillanceConfig {
    /// Least size of a large order, in median sizes of a level.
    pub large: f64,
    /// Greatest distance from the best price, ticks.
    pub ticks_max: i64,
    /// Greatest time from a fill on the other side to the cancellation.
    pub behind_fill: Nanos,
    /// Longest life.
    pub life_max: Nanos,
    /// Greatest part that was filled.
    pub filled_max: f64,
    /// How often the actor takes orders back anyway.
    pub base_rate: f64,
    /// Least number of prices of a layer, and how much larger it is than what the actor has on the other side.
    pub layer_prices: usize,
    /// The same in sizes.
    pub layer_factor: f64,
    /// Orders that are kept; where there are more, the oldest is forgotten and counted.
    pub orders_max: usize,
}

impl Default for SurveillanceConfig {
    fn default() -> Self {
        let second = 1_000_000_000;
        Self {
            large: 5.0,
            ticks_max: 5,
            behind_fill: second,
            life_max: 2 * second,
            filled_max: 0.05,
            base_rate: 0.3,
            layer_prices: 3,
            layer_factor: 5.0,
            orders_max: 4_096,
        }
    }
}

/// An order when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub time: Nanos,
    /// Its number.
    pub id: u64,
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: Price,
    /// Its size.
    pub size: Quantity,
    /// Median size of a level then.
    pub median_size: Quantity,
    /// Ticks behind the best price of its side.
    pub ticks: i64,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    sent: Sent,
    filled: i64,
    is_large: bool,
    /// The newest fill of the actor's on the other side while it rested.
    other_side_filled: Option<Nanos>,
}

#[derive(Clone, Copy, Debug)]
struct Cancelled {
    time: Nanos,
    side: Side,
    price: Price,
    size: i64,
    /// What the actor had resting on the other side.
    other: i64,
}

/// One actor on one instrument.
#[derive(Clone, Debug)]
pub struct Surveillance {
    config: SurveillanceConfig,
    orders: VecDeque<Kept>,
    /// Cancelled behind a fill a moment ago: what a layer is made of.
    cancelled: Vec<Cancelled>,
    large_ended: u64,
    large_spoof_like: u64,
    forgotten: u64,
}

impl Surveillance {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: SurveillanceConfig) -> Self {
        let orders = VecDeque::with_capacity(config.orders_max);
        Self { config, orders, cancelled: Vec::new(), large_ended: 0, large_spoof_like: 0, forgotten: 0 }
    }

    /// Orders that had to be forgotten for newer ones.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// An order is sent.
    pub fn sent(&mut self, sent: Sent) {
        if self.orders.len() >= self.config.orders_max.max(1) {
            self.orders.pop_front();
            self.forgotten += 1;
        }
        let is_large = sent.size.0 as f64 >= self.config.large * sent.median_size.0.max(1) as f64
            && sent.ticks <= self.config.ticks_max;
        self.orders.push_back(Kept { sent, filled: 0, is_large, other_side_filled: None });
    }

    /// Part of an order is filled.
    pub fn filled(&mut self, time: Nanos, id: u64, size: Quantity) {
        let Some(at) = self.orders.iter().position(|order| order.sent.id == id) else { return };
        let order = &mut self.orders[at];
        order.filled = order.filled.saturating_add(size.0.max(0));
        let (side, is_large, is_done) = (order.sent.side, order.is_large, order.filled >= order.sent.size.0);
        for other in self.orders.iter_mut().filter(|other| other.sent.side != side) {
            other.other_side_filled = Some(time);
        }
        if is_done {
            self.orders.remove(at);
            self.large_ended += u64::from(is_large);
        }
    }

    /// An order is taken back; true where that completes a layer.
    pub fn cancelled(&mut self, time: Nanos, id: u64) -> bool {
        let Some(at) = self.orders.iter().position(|order| order.sent.id == id) else { return false };
        let Some(order) = self.orders.remove(at) else { return false };
        let within = |from: Nanos, limit: Nanos| time.saturating_sub(from) <= limit;
        let behind_fill = order.other_side_filled.is_some_and(|fill| within(fill, self.config.behind_fill));
        let unfilled = order.filled as f64 <= self.config.filled_max * order.sent.size.0 as f64;
        if order.is_large {
            self.large_ended += 1;
            let spoof_like = behind_fill && unfilled && within(order.sent.time, self.config.life_max);
            self.large_spoof_like += u64::from(spoof_like);
        }
        self.cancelled.retain(|c| time.saturating_sub(c.time) <= self.config.behind_fill);
        if !(behind_fill && unfilled) {
            return false;
        }
        let Sent { side, price, size, .. } = order.sent;
        let other =
            self.orders.iter().filter(|o| o.sent.side != side).map(|o| o.sent.size.0 - o.filled).sum();
        self.cancelled.push(Cancelled { time, side, price, size: size.0, other });
        self.is_layer(side)
    }

    fn is_layer(&mut self, side: Side) -> bool {
        let layer = || self.cancelled.iter().filter(|c| c.side == side);
        let mut prices: Vec<_> = layer().map(|c| c.price).collect();
        prices.sort_unstable();
        prices.dedup();
        let size: i64 = layer().map(|c| c.size).sum();
        let other = layer().map(|c| c.other).max().unwrap_or(0);
        let found = prices.len() >= self.config.layer_prices
            && size as f64 >= self.config.layer_factor * other as f64;
        if found {
            self.cancelled.clear();
        }
        found
    }

    /// How far cancellations of large orders go together with fills on the other side: `1 − p` under the actor's own rate; an alarm above
    /// 0.9999.
    #[must_use]
    pub fn spoof_score(&self) -> Estimate {
        cancel_lift(self.large_ended, self.large_spoof_like, self.config.base_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Status;

    const MS: Nanos = 1_000_000;

    fn order(id: u64, time: Nanos, side: Side, price: i64, size: i64) -> Sent {
        let (price, size) = (Price(price), Quantity(size));
        Sent { time: time * MS, id, side, price, size, median_size: Quantity(10), ticks: 1 }
    }

    /// Large bid, small ask that is filled, large bid gone.
    fn spoof(of: &mut Surveillance, n: u64, cancel_after: Nanos) {
        let at = n as i64 * 10_000;
        of.sent(order(3 * n, at, Side::Bid, 100, 60));
        of.sent(order(3 * n + 1, at, Side::Ask, 102, 5));
        of.filled((at + 500) * MS, 3 * n + 1, Quantity(5));
        of.cancelled((at + 500 + cancel_after) * MS, 3 * n);
    }

    #[test]
    fn large_orders_that_go_behind_fills_are_seen() {
        let mut of = Surveillance::new(SurveillanceConfig::default());
        (1..5).for_each(|n| spoof(&mut of, n, 200));
        assert_eq!(of.spoof_score().status, Status::Warmup, "four are too few");
        (5..21).for_each(|n| spoof(&mut of, n, 200));
        assert!(of.spoof_score().value > 0.999_9, "{:?}", of.spoof_score());
        let mut late = Surveillance::new(SurveillanceConfig::default());
        (1..21).for_each(|n| spoof(&mut late, n, 1_001));
        assert!(late.spoof_score().value < 0.5, "a second behind the fill: {:?}", late.spoof_score());
    }

    /// Both sides are taken back where the price moves: no lift over what is usual.
    #[test]
    fn a_market_maker_that_cancels_both_sides_is_none() {
        let mut of = Surveillance::new(SurveillanceConfig::default());
        for n in 0..200u64 {
            let at = n as i64 * 10_000;
            of.sent(order(2 * n, at, Side::Bid, 100, 60));
            of.sent(order(2 * n + 1, at, Side::Ask, 102, 60));
            // One in ten is filled, and the other side goes with the price.
            if n % 10 == 0 {
                of.filled((at + 900) * MS, 2 * n + 1, Quantity(60));
            } else {
                of.cancelled((at + 1_500) * MS, 2 * n + 1);
            }
            of.cancelled((at + 1_500) * MS, 2 * n);
        }
        assert!(of.spoof_score().value < 0.5 && of.spoof_score().n == 400, "{:?}", of.spoof_score());
    }

    fn layers(prices: &[i64], apart: Nanos, other: i64) -> bool {
        let mut of = Surveillance::new(SurveillanceConfig::default());
        for (i, price) in prices.iter().enumerate() {
            of.sent(order(i as u64, 0, Side::Bid, *price, 60));
        }
        of.sent(order(90, 0, Side::Ask, 102, 5));
        of.sent(order(91, 0, Side::Ask, 103, other));
        of.filled(100 * MS, 90, Quantity(5));
        let mut found = false;
        for i in 0..prices.len() {
            // Each one behind a fill of its own, so that only the time between them differs.
            let at = 200 + apart * i as i64;
            of.filled((at - 50) * MS, 91, Quantity(1));
            found |= of.cancelled(at * MS, i as u64);
        }
        found
    }

    #[test]
    fn three_levels_fire_two_do_not_and_neither_do_staggered_ones() {
        assert!(layers(&[100, 99, 98], 100, 10));
        assert!(!layers(&[100, 99], 100, 10), "two prices");
        assert!(!layers(&[100, 100, 100, 100], 100, 10), "one price");
        assert!(!layers(&[100, 99, 98], 5_000, 10), "five seconds apart");
        assert!(!layers(&[100, 99, 98], 100, 60), "as much on the other side");
    }

    #[test]
    fn the_table_is_bounded_and_says_so() {
        let mut of = Surveillance::new(SurveillanceConfig { orders_max: 3, ..SurveillanceConfig::default() });
        (0..5).for_each(|id| of.sent(order(id, 0, Side::Bid, 100, 60)));
        assert!(of.forgotten() == 2 && !of.cancelled(MS, 0) && of.spoof_score().n == 0);
    }
}
