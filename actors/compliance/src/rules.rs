//! The rules and what they know of our own orders.

use kimera_protocol::order::{OrderFlags, OrderTable};
use kimera_protocol::{Nanos, NewOrder, OrderRecord, OrderUpdate, OrphanAdopted, RefusalReason, Side};

use crate::window::Window;

/// What is asked of an order, in this order; the first of its owner.
pub const CHECKS: [RefusalReason; 5] = [
    RefusalReason::Conduct,
    RefusalReason::OwnTrade,
    RefusalReason::MessageRate,
    RefusalReason::OrderToTrade,
    RefusalReason::TooManyOrders,
];

/// What may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComplianceConfig {
    /// Orders and cancels in `message_window`: a share of the venue's own limit.
    pub messages_max: u64,
    /// The venue's window for it.
    pub message_window: Nanos,
    /// Orders for each trade, over `order_to_trade_window`.
    pub orders_per_trade_max: u64,
    /// Orders that are free of the ratio: before there has been a trade there is none.
    pub orders_free: u64,
    /// Window of the ratio.
    pub order_to_trade_window: Nanos,
}

impl Default for ComplianceConfig {
    /// 80 % of USD-M's published 300 orders in 10 s; the ratio of a market maker's programme over an hour.
    fn default() -> Self {
        const SECOND: Nanos = 1_000_000_000;
        Self {
            messages_max: 240,
            message_window: 10 * SECOND,
            orders_per_trade_max: 100,
            orders_free: 1_000,
            order_to_trade_window: 3_600 * SECOND,
        }
    }
}

/// Orders followed at a time; the oldest that has ended makes room.
const ORDERS_MAX: usize = 512;

/// The rules of one owner.
#[derive(Clone, Debug)]
pub struct Rules {
    config: ComplianceConfig,
    orders: OrderTable<(u16, OrderRecord)>,
    messages: Window,
    orders_sent: Window,
    trades: Window,
}

kimera_protocol::state!(Rules { orders, messages, orders_sent, trades } fixed { config });

impl Rules {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(config: ComplianceConfig) -> Self {
        Self {
            orders: OrderTable::new(ORDERS_MAX),
            messages: Window::new(config.message_window),
            orders_sent: Window::new(config.order_to_trade_window),
            trades: Window::new(config.order_to_trade_window),
            config,
        }
    }

    /// Judges an order that risk has passed; one that may be sent is counted and followed.
    ///
    /// # Errors
    /// The rule it breaks. An order that may only make a position smaller, because nothing else leaves now, is not held to the ratio.
    pub fn judge(&mut self, order: &NewOrder, instrument: u16, now: Nanos) -> Result<(), RefusalReason> {
        if self.trades_with_own(order, instrument) {
            return Err(RefusalReason::OwnTrade);
        }
        if self.messages.count(now) >= self.config.messages_max {
            return Err(RefusalReason::MessageRate);
        }
        let reduces = order.flags & OrderFlags::REDUCE_ONLY != 0;
        let allowed = self.config.orders_free + self.config.orders_per_trade_max * self.trades.count(now);
        if !reduces && self.orders_sent.count(now) >= allowed {
            return Err(RefusalReason::OrderToTrade);
        }
        if !self.orders.insert((instrument, OrderRecord::new(*order))) {
            return Err(RefusalReason::TooManyOrders);
        }
        self.messages.add(now);
        self.orders_sent.add(now);
        Ok(())
    }

    /// An order of any strategy of this owner on the other side, at a price that would meet it.
    fn trades_with_own(&self, order: &NewOrder, instrument: u16) -> bool {
        self.orders.working().any(|(of, record)| {
            let own = &record.order;
            *of == instrument
                && own.venue == order.venue
                && match (order.side == Side::Bid as u8, own.side == Side::Bid as u8) {
                    (true, false) => order.price >= own.price,
                    (false, true) => order.price <= own.price,
                    _ => false,
                }
        })
    }

    /// An order that was sent before stands, though its cause is lost.
    pub fn adopt(&mut self, orphan: &OrphanAdopted, instrument: u16) {
        // One that is known already stays as it is known.
        let _ = self.orders.insert((instrument, OrderRecord::new(orphan.order())));
    }

    /// A cancel leaves: it is never refused, and it counts.
    pub fn cancelled(&mut self, now: Nanos) {
        self.messages.add(now);
    }

    /// Takes a report; true where it tells a fill for the first time.
    pub fn report(&mut self, update: &OrderUpdate, now: Nanos) -> bool {
        let is_fill =
            self.orders.change(update.id, |(_, record)| record.apply(update).books_fill()) == Some(true);
        if is_fill {
            self.trades.add(now);
        }
        is_fill
    }

    /// A digest of the orders that may still trade.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.orders.working().fold(0, |d: u64, (instrument, r)| {
            d.rotate_left(13)
                ^ r.order.id.seq
                ^ u64::from(*instrument)
                ^ (r.remaining() as u64).rotate_left(32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{OrderEvent, OrderId, Price, Quantity};

    const SECOND: Nanos = 1_000_000_000;

    fn order(seq: u64, side: Side, price: i64) -> NewOrder {
        NewOrder {
            id: OrderId { seq, incarnation: 1, child: 0 },
            price: Price(price),
            quantity: Quantity(10),
            side: side as u8,
            ..NewOrder::default()
        }
    }

    fn report(order: &NewOrder, event: OrderEvent) -> OrderUpdate {
        OrderUpdate {
            id: order.id,
            event: event as u8,
            quantity: order.quantity,
            cumulative: order.quantity,
            ..OrderUpdate::default()
        }
    }

    #[test]
    fn an_order_never_meets_one_of_the_same_owner() {
        let mut rules = Rules::new(ComplianceConfig::default());
        let bid = order(1, Side::Bid, 100);
        assert_eq!(rules.judge(&bid, 1, 0), Ok(()));
        assert_eq!(rules.judge(&order(2, Side::Ask, 100), 1, 0), Err(RefusalReason::OwnTrade));
        assert_eq!(rules.judge(&order(3, Side::Ask, 99), 1, 0), Err(RefusalReason::OwnTrade));
        let elsewhere = NewOrder { venue: 2, ..order(4, Side::Ask, 99) };
        assert_eq!(rules.judge(&elsewhere, 1, 0), Ok(()), "another venue has another book");
        assert_eq!(rules.judge(&order(5, Side::Ask, 99), 0, 0), Ok(()), "so has another instrument");
        assert_eq!(rules.judge(&order(6, Side::Ask, 101), 1, 0), Ok(()));
        rules.report(&report(&bid, OrderEvent::Canceled), 0);
        assert_eq!(rules.judge(&order(7, Side::Ask, 99), 1, 0), Ok(()), "it does not stand any more");
    }

    #[test]
    fn messages_have_a_limit_and_cancels_count_but_pass() {
        let mut rules = Rules::new(ComplianceConfig { messages_max: 3, ..ComplianceConfig::default() });
        assert_eq!(rules.judge(&order(1, Side::Bid, 1), 1, 0), Ok(()));
        rules.cancelled(0);
        rules.cancelled(0);
        assert_eq!(rules.judge(&order(2, Side::Bid, 1), 1, SECOND), Err(RefusalReason::MessageRate));
        assert_eq!(rules.judge(&order(2, Side::Bid, 1), 1, 10 * SECOND), Ok(()));
    }

    #[test]
    fn orders_need_trades_beyond_the_free_ones() {
        let config =
            ComplianceConfig { orders_free: 2, orders_per_trade_max: 3, ..ComplianceConfig::default() };
        let mut rules = Rules::new(config);
        let first = order(1, Side::Bid, 1);
        assert_eq!(rules.judge(&first, 1, 0), Ok(()));
        assert_eq!(rules.judge(&order(2, Side::Bid, 1), 1, 0), Ok(()));
        assert_eq!(rules.judge(&order(3, Side::Bid, 1), 1, 0), Err(RefusalReason::OrderToTrade));
        let out = NewOrder { flags: OrderFlags::REDUCE_ONLY, ..order(4, Side::Bid, 1) };
        assert_eq!(rules.judge(&out, 1, 0), Ok(()), "the way out is never blocked by a ratio");
        rules.report(&report(&first, OrderEvent::Filled), 0);
        rules.report(&report(&first, OrderEvent::Filled), 0);
        assert_eq!(rules.judge(&order(5, Side::Bid, 1), 1, 0), Ok(()), "one trade is good for three");
        assert_eq!(rules.judge(&order(6, Side::Bid, 1), 1, 0), Ok(()));
        assert_eq!(rules.judge(&order(7, Side::Bid, 1), 1, 0), Err(RefusalReason::OrderToTrade));
        assert_eq!(rules.judge(&order(7, Side::Bid, 1), 1, 4_000 * SECOND), Ok(()));
    }
}
