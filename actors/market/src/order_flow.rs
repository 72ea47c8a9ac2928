//! Orders from a seed, one by one: a market nobody trades in with a purpose.
//!
//! The model is that of Cont, Stoikov and Talreja (Operations Research 58, 2010): limit orders arrive at a distance of `i` ticks from
//! the other side's best price at a rate `λ(i)` a side, market orders at a rate `μ` a side, and each order that stands is taken back
//! at a rate `θ`, all independently of one another. With nothing else going on, the number of orders at a distance is Poisson with
//! mean `λ(i)/θ`. What it generates is benign by construction: detectors of manipulation have to be silent over it, but for chance.

use kimera_numerics::ln;
use kimera_protocol::{Level, Nanos, Price, Quantity, Side};
use kimera_runtime::world::Random;

use crate::by_order::ByOrder;

/// What the flow does, in events a second.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderFlowConfig {
    /// Limit orders a side by distance from the other side's best price, from one tick on.
    pub limit_rates: Vec<f64>,
    /// Market orders a side.
    pub market_rate: f64,
    /// Each order's own.
    pub cancel_rate: f64,
    /// Sizes are one to so many lots, each as likely as the other.
    pub lots_max: u64,
    /// A lot, in 1e-8.
    pub lot: Quantity,
    /// The price around which it begins, and to which a side that has emptied comes back.
    pub reference: Price,
    /// Orders there is room for; where there is none, an arrival is left out and counted.
    pub orders_max: usize,
}

impl Default for OrderFlowConfig {
    /// A power law in the distance up to twenty ticks, as the paper fits one; the numbers are no claim about a market.
    fn default() -> Self {
        let rate = |i: i32| 1.92 * kimera_numerics::exp(-0.52 * ln(f64::from(i)));
        Self {
            limit_rates: (1..=20).map(rate).collect(),
            market_rate: 0.94,
            cancel_rate: 0.65,
            lots_max: 9,
            lot: Quantity(100_000),
            reference: Price(600_000),
            orders_max: 4_096,
        }
    }
}

/// What happens to one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderAction {
    /// It comes.
    Add {
        /// Its side.
        side: Side,
        /// Its price.
        price: Price,
        /// Its size.
        size: Quantity,
    },
    /// It is taken back.
    Cancel,
    /// So much of it is executed.
    Execute {
        /// How much.
        size: Quantity,
    },
}

/// An event of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderFlowEvent {
    /// When, from the beginning.
    pub time: Nanos,
    /// Which order, from 1 on.
    pub id: u64,
    /// What.
    pub action: OrderAction,
}

/// A market from a seed.
pub struct OrderFlow {
    config: OrderFlowConfig,
    book: ByOrder,
    /// Orders that stand, in no order that means anything.
    standing: Vec<u64>,
    chance: Random,
    time: f64,
    next_id: u64,
    left_out: u64,
}

impl OrderFlow {
    /// An empty market.
    #[must_use]
    pub fn new(config: OrderFlowConfig, seed: u64) -> Self {
        Self {
            book: ByOrder::new(config.orders_max),
            standing: Vec::with_capacity(config.orders_max),
            config,
            chance: Random::new(seed, 0),
            time: 0.0,
            next_id: 1,
            left_out: 0,
        }
    }

    /// The book as the flow has left it.
    #[must_use]
    pub fn book(&self) -> &ByOrder {
        &self.book
    }

    /// Arrivals for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.chance.next_word() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// What happens next; a market order is an execution for each order it meets.
    pub fn step(&mut self, events: &mut Vec<OrderFlowEvent>) {
        let limits: f64 = self.config.limit_rates.iter().sum();
        let cancels = self.config.cancel_rate * self.standing.len() as f64;
        let total = 2.0 * (limits + self.config.market_rate) + cancels;
        self.time -= ln(self.unit()) / total * 1e9;
        let at = self.unit() * total;
        let side = if self.chance.below(2) == 0 { Side::Bid } else { Side::Ask };
        if at <= cancels {
            self.cancel(events);
        } else if at <= cancels + 2.0 * self.config.market_rate {
            self.market(side, events);
        } else {
            self.limit(side, events);
        }
    }

    fn say(&self, id: u64, action: OrderAction) -> OrderFlowEvent {
        OrderFlowEvent { time: self.time as Nanos, id, action }
    }

    fn size(&mut self) -> Quantity {
        let lots = 1 + self.chance.below(self.config.lots_max.max(1));
        Quantity(self.config.lot.0.saturating_mul(lots as i64))
    }

    /// The price from which a side counts its distances: the other side's best.
    fn origin(&self, side: Side) -> Price {
        match (self.book.side(side.opposite()).best(), side) {
            (Some(Level { price, .. }), _) => price,
            // Both begin a tick apart.
            (None, Side::Bid) => Price(self.config.reference.0 + 1),
            (None, Side::Ask) => self.config.reference,
        }
    }

    fn limit(&mut self, side: Side, events: &mut Vec<OrderFlowEvent>) {
        let mut left = self.unit() * self.config.limit_rates.iter().sum::<f64>();
        let distance = self.config.limit_rates.iter().position(|rate| {
            left -= rate;
            left <= 0.0
        });
        let distance = distance.unwrap_or(self.config.limit_rates.len().saturating_sub(1)) as i64 + 1;
        let origin = self.origin(side).0;
        let price = Price(if side == Side::Bid { origin - distance } else { origin + distance });
        let (id, size) = (self.next_id, self.size());
        match self.book.add(id, side, price, size) {
            Ok(()) => {
                self.next_id += 1;
                self.standing.push(id);
                events.push(self.say(id, OrderAction::Add { side, price, size }));
            }
            Err(_) => self.left_out += 1, // no room: the number is new and the size positive
        }
    }

    fn cancel(&mut self, events: &mut Vec<OrderFlowEvent>) {
        let at = self.chance.below(self.standing.len() as u64) as usize;
        if at < self.standing.len() {
            let id = self.standing.swap_remove(at);
            if self.book.remove(id).is_ok() {
                events.push(self.say(id, OrderAction::Cancel));
            }
        }
    }

    /// Takes from the best price on, the oldest order first; what nobody meets is gone.
    fn market(&mut self, side: Side, events: &mut Vec<OrderFlowEvent>) {
        let mut left = self.size().0;
        let passive = side.opposite();
        while left > 0
            && let Some(best) = self.book.side(passive).best()
            && let Some(order) = self.book.oldest(passive, best.price)
        {
            let size = Quantity(left.min(order.size.0));
            let Ok(rest) = self.book.execute(order.id, size) else { return };
            events.push(self.say(order.id, OrderAction::Execute { size }));
            left -= size.0;
            if rest.0 == 0 {
                self.standing.retain(|id| *id != order.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::Top;

    fn events(flow: &mut OrderFlow, steps: usize) -> Vec<OrderFlowEvent> {
        let mut all = Vec::new();
        (0..steps).for_each(|_| flow.step(&mut all));
        all
    }

    #[test]
    fn a_seed_says_everything_and_the_book_follows_from_what_is_said() {
        let mut flow = OrderFlow::new(OrderFlowConfig::default(), 7);
        let mut book = ByOrder::new(4_096);
        let all = events(&mut flow, 50_000);
        for event in &all {
            let done = match event.action {
                OrderAction::Add { side, price, size } => book.add(event.id, side, price, size),
                OrderAction::Cancel => book.remove(event.id).map(|_| ()),
                OrderAction::Execute { size } => book.execute(event.id, size).map(|_| ()),
            };
            assert_eq!(done, Ok(()), "{event:?}");
            assert!(!matches!(book.top(), Top::Crossed { .. }));
        }
        assert!(book.top() == flow.book().top() && book.len() == flow.standing.len() && flow.left_out() == 0);
        assert!(all.is_sorted_by_key(|event| event.time));
        assert_eq!(all, events(&mut OrderFlow::new(OrderFlowConfig::default(), 7), 50_000));
        assert_ne!(all, events(&mut OrderFlow::new(OrderFlowConfig::default(), 8), 50_000));
    }

    /// Arrivals and cancellations alone: a queue served by as many as stand in it, whose length is Poisson with mean λ/θ.
    #[test]
    fn queues_are_as_long_as_theory_has_them() {
        let config = OrderFlowConfig {
            limit_rates: vec![0.0, 0.0, 6.0, 0.0, 2.0],
            market_rate: 0.0,
            cancel_rate: 0.5,
            ..OrderFlowConfig::default()
        };
        // Distances are counted from the other side's best price: two orders that never go keep it where it is.
        let mut flow = OrderFlow::new(config.clone(), 3);
        for (id, side, price) in [(u64::MAX, Side::Bid, 599_999), (u64::MAX - 1, Side::Ask, 600_000)] {
            flow.book.add(id, side, Price(price), Quantity(1)).unwrap();
        }
        let (mut events, mut weights) = (Vec::new(), [[0.0f64; 3]; 2]);
        for step in 0..400_000 {
            let lengths = [(600_000 - 3), (600_000 - 5)]
                .map(|price| f64::from(flow.book.at(Side::Bid, Price(price)).1));
            let before = flow.time;
            flow.step(&mut events);
            events.clear();
            if step > 1_000 {
                for (sums, length) in weights.iter_mut().zip(lengths) {
                    let lasted = flow.time - before;
                    *sums = [sums[0] + lasted, sums[1] + lasted * length, sums[2] + lasted * length * length];
                }
            }
        }
        for ([time, first, second], mean) in weights.into_iter().zip([12.0, 4.0]) {
            let (measured, square) = (first / time, second / time);
            assert!((measured / mean - 1.0).abs() < 0.03, "mean {measured}, expected {mean}");
            let variance = square - measured * measured;
            assert!((variance / mean - 1.0).abs() < 0.06, "variance {variance}, expected {mean}");
        }
    }

    #[test]
    fn where_there_is_no_room_it_says_so() {
        let mut flow = OrderFlow::new(OrderFlowConfig { orders_max: 5, ..OrderFlowConfig::default() }, 1);
        let all = events(&mut flow, 1_000);
        assert!(flow.left_out() > 0 && flow.book().len() <= 5 && !all.is_empty());
    }
}
