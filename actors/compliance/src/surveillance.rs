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
    /// The newest fill of the actor's on the other side while it rested, and how much was filled there.
    other_side: Option<(Nanos, i64)>,
    /// When the actor asked for it back, and how long a fill on the other side was ago then.
    asked: Option<(Nanos, Option<Nanos>)>,
}

kimera_protocol::state!(Kept { sent, filled, is_large, other_side, asked });

/// An order that was asked back behind a fill on the other side.
#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    sent: Sent,
    asked: Nanos,
    /// What the actor had on the other side: resting, and filled while it rested.
    other: i64,
}

kimera_protocol::state!(Layer { sent, asked, other });

/// How a large order has ended. The numbers are written to disk: never reuse one.
const ENDED: u8 = 0;
/// Asked back behind a fill on the other side, soon and hardly filled.
const SPOOF_LIKE: u8 = 1;
/// Without any fill on the other side: it was left, or filled.
const LEFT_ALONE: u8 = 2;
/// The same, and asked back as soon.
const TAKEN_ANYWAY: u8 = 3;
/// Large orders without a fill on the other side from which on the actor's own rate is known.
const OWN_RATE_MIN: u64 = 20;

/// One actor on one instrument. Nothing is allocated after construction.
#[derive(Clone, Debug)]
pub struct Surveillance {
    config: SurveillanceConfig,
    orders: VecDeque<Kept>,
    /// Asked back behind a fill a moment ago: what a layer is made of.
    layers: VecDeque<Layer>,
    /// How large orders have ended.
    large: VecDeque<u8>,
    forgotten: u64,
}

kimera_protocol::state!(Surveillance { orders, layers, large, forgotten } fixed { config });

impl Surveillance {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: SurveillanceConfig) -> Self {
        Self {
            orders: VecDeque::with_capacity(config.orders_max),
            layers: VecDeque::with_capacity(LAYER_MAX),
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
        let is_large = self.is_large(sent.size.0, sent.median_size) && sent.ticks <= self.config.ticks_max;
        self.orders.push_back(Kept { sent, filled: 0, is_large, other_side: None, asked: None });
    }

    /// Nothing is large where nobody knows what is usual.
    fn is_large(&self, size: i64, median: Quantity) -> bool {
        median.0 > 0 && size as f64 >= self.config.large * median.0 as f64
    }

    /// Part of an order is filled.
    pub fn filled(&mut self, time: Nanos, id: OrderId, size: Quantity) {
        let Some(at) = self.place(id) else { return };
        let order = &mut self.orders[at];
        order.filled = order.filled.saturating_add(size.0.max(0));
        let (side, is_done) = (order.sent.side, order.filled >= order.sent.size.0);
        for other in self.orders.iter_mut().filter(|other| other.sent.side != side) {
            let so_far = other.other_side.map_or(0, |(_, filled)| filled);
            other.other_side = Some((time, so_far.saturating_add(size.0.max(0))));
        }
        if is_done && let Some(order) = self.orders.remove(at) {
            self.end(&order, false);
        }
    }

    /// The actor asks for an order back: what counts is what was known then, not what happens until the venue has said so.
    pub fn asked_back(&mut self, time: Nanos, id: OrderId) {
        let Some(at) = self.place(id) else { return };
        let order = &mut self.orders[at];
        let ago = order.other_side.map(|(fill, _)| time.saturating_sub(fill));
        order.asked.get_or_insert((time, ago));
    }

    /// An order has ended, and the actor had not asked for it: refused, expired, never sent.
    pub fn dropped(&mut self, id: OrderId) {
        if let Some(at) = self.place(id) {
            self.orders.remove(at);
        }
    }

    /// An order is taken back. One that the actor has not asked for (a halt, a dead man's switch, the venue itself) says nothing of him.
    pub fn cancelled(&mut self, id: OrderId) -> Taken {
        let mut taken = Taken::default();
        let Some(at) = self.place(id) else { return taken };
        let Some(order) = self.orders.remove(at) else { return taken };
        let Some((asked, since_fill)) = order.asked else { return taken };
        taken.begun = order.sent.time;
        let behind_fill = since_fill.is_some_and(|ago| ago <= self.config.behind_fill);
        let unfilled = order.filled as f64 <= self.config.filled_max * order.sent.size.0 as f64;
        let is_soon = asked.saturating_sub(order.sent.time) <= self.config.life_max && unfilled;
        taken.is_spoof_like = order.is_large && behind_fill && is_soon;
        self.end(&order, is_soon);
        if behind_fill && is_soon && order.sent.ticks <= self.config.ticks_max {
            taken.is_layer = self.adds_layer(&order, asked);
        }
        taken
    }

    fn place(&self, id: OrderId) -> Option<usize> {
        self.orders.iter().position(|order| order.sent.id == id)
    }

    /// Keeps how a large order has ended.
    fn end(&mut self, order: &Kept, taken_soon: bool) {
        if !order.is_large {
            return;
        }
        let since_fill = order.asked.and_then(|(_, since_fill)| since_fill);
        let how = match (order.other_side.is_some(), taken_soon) {
            (true, true) if since_fill.is_some_and(|ago| ago <= self.config.behind_fill) => SPOOF_LIKE,
            (true, _) => ENDED,
            (false, true) => TAKEN_ANYWAY,
            (false, false) => LEFT_ALONE,
        };
        if self.large.len() == LARGE_MAX {
            self.large.pop_front();
        }
        self.large.push_back(how);
    }

    /// Orders at several prices of one side that rested together and were asked back within a moment of one another, larger together than is usual
    /// and than what the actor has on the other side.
    fn adds_layer(&mut self, order: &Kept, asked: Nanos) -> bool {
        let side = order.sent.side;
        let filled_there = order.other_side.map_or(0, |(_, filled)| filled);
        let others = self.orders.iter().filter(|o| o.sent.side != side);
        let other = others.fold(filled_there, |sum, o| sum.saturating_add(o.sent.size.0 - o.filled));
        let limit = self.config.behind_fill;
        self.layers.retain(|l| asked.saturating_sub(l.asked) <= limit);
        if self.layers.len() == LAYER_MAX {
            self.layers.pop_front();
        }
        self.layers.push_back(Layer { sent: order.sent, asked, other });
        // Confirmed in whatever order: asked back within a moment of this one, and at rest together with it.
        let rested_with = |l: &&Layer| l.asked >= order.sent.time && l.sent.time <= asked;
        let is_near = |l: &&Layer| l.asked.saturating_sub(asked) <= limit;
        let of_side = |l: &&Layer| l.sent.side == side;
        let layers = || self.layers.iter().filter(of_side).filter(is_near).filter(rested_with);
        let is_new =
            |(i, l): &(usize, &Layer)| layers().take(*i).all(|before| before.sent.price != l.sent.price);
        let prices = layers().enumerate().filter(is_new).count();
        let size = layers().fold(0i64, |sum, l| sum.saturating_add(l.sent.size.0));
        let other = layers().map(|l| l.other).max().unwrap_or(0);
        let found = prices >= self.config.layer_prices
            && size as f64 >= self.config.layer_factor * other as f64
            && self.is_large(size, order.sent.median_size);
        if found {
            self.layers.clear();
        }
        found
    }

    /// How far cancellations of large orders go together with fills on the other side: `1 − p` under the rate at which the actor takes large orders
    /// back as soon where there was no fill (the configured one where that is higher, or not known), over the last 256 large ones; an alarm above 0.9999.
    #[must_use]
    pub fn spoof_score(&self) -> Estimate {
        let count = |how: u8| self.large.iter().filter(|h| **h == how).count() as u64;
        let (spoof_like, anyway) = (count(SPOOF_LIKE), count(TAKEN_ANYWAY));
        let without_fill = anyway + count(LEFT_ALONE);
        let own = if without_fill >= OWN_RATE_MIN { anyway as f64 / without_fill as f64 } else { 0.0 };
        cancel_lift(self.large.len() as u64, spoof_like, own.max(self.config.base_rate))
    }

    /// What was found is said: it takes others to say it again.
    pub fn told(&mut self) {
        self.large.clear();
    }

    /// A word that tells two states apart that differ in what is found later.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let of = |digest: u64, word: u64| (digest.rotate_left(13) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let nanos = |of: Option<Nanos>| of.unwrap_or(-1) as u64;
        let resting = self.orders.iter().fold(0, |d, o| {
            let words = [
                o.sent.id.seq,
                o.sent.size.0 as u64,
                o.sent.price.0 as u64,
                o.filled as u64,
                u64::from(o.is_large) << 1 | o.sent.side as u64,
                nanos(o.other_side.map(|(time, filled)| time ^ filled)),
                nanos(o.asked.map(|(time, ago)| time ^ ago.unwrap_or(-1))),
            ];
            words.into_iter().fold(d, of)
        });
        let layers = self.layers.iter().fold(resting, |d, l| {
            of(of(d, l.sent.price.0 as u64 ^ (l.sent.side as u64) << 62), l.asked as u64 ^ l.other as u64)
        });
        self.large.iter().fold(layers, |d, how| of(d, u64::from(*how) + 1))
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

    /// Asks for an order back, and gets it.
    fn take_back(of: &mut Surveillance, time: Nanos, id: OrderId) -> Taken {
        of.asked_back(time, id);
        of.cancelled(id)
    }

    /// Large bid, small ask that is filled, large bid gone.
    fn spoof(of: &mut Surveillance, n: u64, cancel_after: Nanos) {
        let at = n as i64 * 10_000;
        of.sent(order(3 * n, at, Side::Bid, 100, 60));
        of.sent(order(3 * n + 1, at, Side::Ask, 102, 5));
        of.filled((at + 500) * MS, number(3 * n + 1), Quantity(5));
        take_back(of, (at + 500 + cancel_after) * MS, number(3 * n));
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
                take_back(&mut of, (at + 1_500) * MS, number(2 * n + 1));
            }
            take_back(&mut of, (at + 1_500) * MS, number(2 * n));
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
            found |= take_back(&mut of, at * MS, number(i as u64)).is_layer;
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

    /// A maker that follows the price down has three prices within the window, and never more than one of them at a time.
    #[test]
    fn orders_one_behind_the_other_are_no_layers() {
        let found = |together: bool| {
            let mut of = Surveillance::new(SurveillanceConfig::default());
            of.sent(order(90, 0, Side::Ask, 102, 9));
            let mut found = false;
            let sent = |i: u64| if together { 0 } else { 100 * i as i64 };
            for i in 0..3 {
                of.sent(order(i, sent(i), Side::Bid, 100 - i as i64, 60));
                of.filled((sent(i) + 50) * MS, number(90), Quantity(1));
                found |= !together && take_back(&mut of, (sent(i) + 90) * MS, number(i)).is_layer;
            }
            (0..3).for_each(|i| found |= together && take_back(&mut of, 90 * MS, number(i)).is_layer);
            found
        };
        assert!(found(true) && !found(false));
    }

    #[test]
    fn the_table_is_bounded_and_says_so() {
        let mut of = Surveillance::new(SurveillanceConfig { orders_max: 3, ..SurveillanceConfig::default() });
        (0..5).for_each(|id| of.sent(order(id, 0, Side::Bid, 100, 60)));
        assert!(
            of.forgotten() == 2
                && take_back(&mut of, MS, number(0)) == Taken::default()
                && of.spoof_score().n == 0
        );
    }
}
