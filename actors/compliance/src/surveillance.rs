//! One actor's orders, exactly: what rests, what is filled on the other side meanwhile, and what is then taken back (spoofing and layering: 7
//! USC 6c(a)(5)(C); Regulation (EU) 596/2014, articles 12(1) and 12(2)(c); FINRA rule 5210). It measures conduct; intent is for people.

use std::collections::VecDeque;

use kimera_numerics::binomial::cancel_lift;
use kimera_numerics::estimate::Estimate;
use kimera_protocol::{Nanos, OrderId, Price, Quantity, Side};

/// Large orders that a score is made of: those that ended last.
const LARGE_MAX: usize = 256;
/// Cancelled orders that a layer may be made of.
const LAYER_MAX: usize = 64;

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
            orders_max: 512,
        }
    }
}

/// An order when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub time: Nanos,
    /// Its identity.
    pub id: OrderId,
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: Price,
    /// Its size.
    pub size: Quantity,
    /// Median size of a level then; nothing where it is not known, and no order is large then.
    pub median_size: Quantity,
    /// Ticks behind the best price of its side.
    pub ticks: i64,
}

impl Default for Sent {
    fn default() -> Self {
        let (price, size) = (Price(0), Quantity(0));
        Self { time: 0, id: OrderId::default(), side: Side::Bid, price, size, median_size: size, ticks: 0 }
    }
}

kimera_protocol::state!(Sent { time, id, side, price, size, median_size, ticks });

#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    sent: Sent,
    filled: i64,
    is_large: bool,
    /// The newest fill of the actor's on the other side while it rested.
    other_side_filled: Option<Nanos>,
}

kimera_protocol::state!(Kept { sent, filled, is_large, other_side_filled });

#[derive(Clone, Copy, Debug)]
struct Cancelled {
    time: Nanos,
    side: Side,
    price: Price,
    size: i64,
    /// What the actor had resting on the other side.
    other: i64,
}

impl Default for Cancelled {
    fn default() -> Self {
        Self { time: 0, side: Side::Bid, price: Price(0), size: 0, other: 0 }
    }
}

kimera_protocol::state!(Cancelled { time, side, price, size, other });

/// One actor on one instrument. Nothing is allocated after construction.
#[derive(Clone, Debug)]
pub struct Surveillance {
    config: SurveillanceConfig,
    orders: VecDeque<Kept>,
    /// Cancelled behind a fill a moment ago: what a layer is made of.
    cancelled: VecDeque<Cancelled>,
    /// Large orders that have ended: true where one went behind a fill.
    large: VecDeque<bool>,
    forgotten: u64,
}

kimera_protocol::state!(Surveillance { orders, cancelled, large, forgotten } fixed { config });

impl Surveillance {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: SurveillanceConfig) -> Self {
        Self {
            orders: VecDeque::with_capacity(config.orders_max),
            cancelled: VecDeque::with_capacity(LAYER_MAX),
            large: VecDeque::with_capacity(LARGE_MAX),
            forgotten: 0,
            config,
        }
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
        let is_large = sent.median_size.0 > 0
            && sent.size.0 as f64 >= self.config.large * sent.median_size.0 as f64
            && sent.ticks <= self.config.ticks_max;
        self.orders.push_back(Kept { sent, filled: 0, is_large, other_side_filled: None });
    }

    /// Part of an order is filled.
    pub fn filled(&mut self, time: Nanos, id: OrderId, size: Quantity) {
        let Some(at) = self.place(id) else { return };
        let order = &mut self.orders[at];
        order.filled = order.filled.saturating_add(size.0.max(0));
        let (side, is_large, is_done) = (order.sent.side, order.is_large, order.filled >= order.sent.size.0);
        for other in self.orders.iter_mut().filter(|other| other.sent.side != side) {
            other.other_side_filled = Some(time);
        }
        if is_done {
            self.orders.remove(at);
            if is_large {
                self.ended(false);
            }
        }
    }

    /// An order has ended, and nobody took it back because he wanted to: refused, never sent, or one of everything that was taken back at once.
    pub fn dropped(&mut self, id: OrderId) {
        if let Some(at) = self.place(id) {
            self.orders.remove(at);
        }
    }

    /// An order is taken back.
    pub fn cancelled(&mut self, time: Nanos, id: OrderId) -> Taken {
        let mut taken = Taken::default();
        let Some(at) = self.place(id) else { return taken };
        let Some(order) = self.orders.remove(at) else { return taken };
        let within = |from: Nanos, limit: Nanos| time.saturating_sub(from) <= limit;
        let behind_fill = order.other_side_filled.is_some_and(|fill| within(fill, self.config.behind_fill));
        let unfilled = order.filled as f64 <= self.config.filled_max * order.sent.size.0 as f64;
        taken.begun = order.sent.time;
        if order.is_large {
            taken.is_spoof_like = behind_fill && unfilled && within(order.sent.time, self.config.life_max);
            self.ended(taken.is_spoof_like);
        }
        self.cancelled.retain(|c| time.saturating_sub(c.time) <= self.config.behind_fill);
        if behind_fill && unfilled {
            let Sent { side, price, size, .. } = order.sent;
            let others = self.orders.iter().filter(|o| o.sent.side != side);
            let other = others.fold(0i64, |sum, o| sum.saturating_add(o.sent.size.0 - o.filled));
            if self.cancelled.len() == LAYER_MAX {
                self.cancelled.pop_front();
            }
            self.cancelled.push_back(Cancelled { time, side, price, size: size.0, other });
            taken.is_layer = self.is_layer(side);
        }
        taken
    }

    fn place(&self, id: OrderId) -> Option<usize> {
        self.orders.iter().position(|order| order.sent.id == id)
    }

    fn ended(&mut self, is_spoof_like: bool) {
        if self.large.len() == LARGE_MAX {
            self.large.pop_front();
        }
        self.large.push_back(is_spoof_like);
    }

    fn is_layer(&mut self, side: Side) -> bool {
        let layer = || self.cancelled.iter().filter(|c| c.side == side);
        let is_new = |(i, c): &(usize, &Cancelled)| layer().take(*i).all(|before| before.price != c.price);
        let prices = layer().enumerate().filter(is_new).count();
        let size = layer().fold(0i64, |sum, c| sum.saturating_add(c.size));
        let other = layer().map(|c| c.other).max().unwrap_or(0);
        let found =
            prices >= self.config.layer_prices && size as f64 >= self.config.layer_factor * other as f64;
        if found {
            self.cancelled.clear();
        }
        found
    }

    /// How far cancellations of large orders go together with fills on the other side: `1 − p` under the actor's own rate, over the last 256
    /// large ones; an alarm above 0.9999.
    #[must_use]
    pub fn spoof_score(&self) -> Estimate {
        let behind_fills = self.large.iter().filter(|large| **large).count() as u64;
        cancel_lift(self.large.len() as u64, behind_fills, self.config.base_rate)
    }

    /// A word that tells two states apart that differ.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let of = |digest: u64, word: u64| (digest.rotate_left(13) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let resting = self.orders.iter().fold(0, |d, o| of(of(d, o.sent.id.seq), o.filled as u64));
        let ended = self.large.iter().fold(0, |d, large| of(d, u64::from(*large) + 1));
        of(of(resting, ended), self.cancelled.len() as u64)
    }
}

/// What is to be said of an order that was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// A large one, behind a fill on the other side: the score may have risen.
    pub is_spoof_like: bool,
    /// It completes a layer.
    pub is_layer: bool,
    /// When it was sent.
    pub begun: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Status;

    const MS: Nanos = 1_000_000;

    fn number(seq: u64) -> OrderId {
        OrderId { seq, incarnation: 1, child: 0 }
    }

    fn order(id: u64, time: Nanos, side: Side, price: i64, size: i64) -> Sent {
        let (price, size) = (Price(price), Quantity(size));
        Sent { time: time * MS, id: number(id), side, price, size, median_size: Quantity(10), ticks: 1 }
    }

    /// Large bid, small ask that is filled, large bid gone.
    fn spoof(of: &mut Surveillance, n: u64, cancel_after: Nanos) {
        let at = n as i64 * 10_000;
        of.sent(order(3 * n, at, Side::Bid, 100, 60));
        of.sent(order(3 * n + 1, at, Side::Ask, 102, 5));
        of.filled((at + 500) * MS, number(3 * n + 1), Quantity(5));
        of.cancelled((at + 500 + cancel_after) * MS, number(3 * n));
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
                of.filled((at + 900) * MS, number(2 * n + 1), Quantity(60));
            } else {
                of.cancelled((at + 1_500) * MS, number(2 * n + 1));
            }
            of.cancelled((at + 1_500) * MS, number(2 * n));
        }
        assert!(
            of.spoof_score().value < 0.5 && of.spoof_score().n == LARGE_MAX as u64,
            "{:?}",
            of.spoof_score()
        );
    }

    fn layers(prices: &[i64], apart: Nanos, other: i64) -> bool {
        let mut of = Surveillance::new(SurveillanceConfig::default());
        for (i, price) in prices.iter().enumerate() {
            of.sent(order(i as u64, 0, Side::Bid, *price, 60));
        }
        of.sent(order(90, 0, Side::Ask, 102, 5));
        of.sent(order(91, 0, Side::Ask, 103, other));
        of.filled(100 * MS, number(90), Quantity(5));
        let mut found = false;
        for i in 0..prices.len() {
            // Each one behind a fill of its own, so that only the time between them differs.
            let at = 200 + apart * i as i64;
            of.filled((at - 50) * MS, number(91), Quantity(1));
            found |= of.cancelled(at * MS, number(i as u64)).is_layer;
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
        assert!(
            of.forgotten() == 2 && of.cancelled(MS, number(0)) == Taken::default() && of.spoof_score().n == 0
        );
    }
}
