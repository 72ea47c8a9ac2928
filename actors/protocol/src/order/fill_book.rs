//! Fills by order, for whoever follows a position without following orders.

use super::fills::Fills;
use super::life_cycle::OrderEvent;
use super::{OrderId, OrderUpdate};
use crate::signal::Side;

/// Orders remembered; a report about one that was forgotten would count again.
const ORDERS_MAX: usize = 1_024;

/// Counts each fill once, whatever reports come in whatever order.
#[derive(Clone, Debug)]
pub struct FillBook {
    orders: Vec<(OrderId, Fills)>,
    /// Where the next order goes once all places are taken: the oldest makes room.
    oldest: usize,
}

crate::state!(FillBook { orders, oldest });

impl Default for FillBook {
    fn default() -> Self {
        Self { orders: Vec::with_capacity(ORDERS_MAX), oldest: 0 }
    }
}

impl FillBook {
    /// The size to add to a position, with its sign: 0 for what is no fill, no sensible one, or known.
    pub fn signed_fill(&mut self, update: &OrderUpdate) -> i64 {
        if !OrderEvent::from_code(update.event).is_some_and(OrderEvent::is_fill) || update.side > 1 {
            return 0;
        }
        let known = self.orders.iter().rposition(|(id, _)| *id == update.id);
        let at = known.unwrap_or_else(|| self.remember(update.id));
        match self.orders[at].1.take(update.quantity.0, update.cumulative.0, i64::MAX) {
            Ok(true) if update.side == Side::Bid as u8 => update.quantity.0,
            Ok(true) => -update.quantity.0,
            Ok(false) | Err(_) => 0,
        }
    }

    fn remember(&mut self, id: OrderId) -> usize {
        if self.orders.len() < ORDERS_MAX {
            self.orders.push((id, Fills::default()));
            return self.orders.len() - 1;
        }
        let at = self.oldest;
        self.oldest = (at + 1) % ORDERS_MAX;
        self.orders[at] = (id, Fills::default());
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quantity;

    #[test]
    fn each_fill_moves_the_position_once() {
        let mut book = FillBook::default();
        let fill = |seq, side: Side, size, total| OrderUpdate {
            id: OrderId { seq, incarnation: 1, child: 0 },
            event: OrderEvent::PartFilled as u8,
            side: side as u8,
            quantity: Quantity(size),
            cumulative: Quantity(total),
            ..OrderUpdate::default()
        };
        assert_eq!(book.signed_fill(&fill(1, Side::Bid, 2, 5)), 2);
        assert_eq!(book.signed_fill(&fill(1, Side::Bid, 3, 3)), 3, "the earlier one, late");
        assert_eq!(book.signed_fill(&fill(1, Side::Bid, 2, 5)), 0, "again");
        assert_eq!(book.signed_fill(&fill(2, Side::Ask, 4, 4)), -4);
        let acknowledged = OrderUpdate { event: OrderEvent::Acknowledged as u8, ..fill(3, Side::Bid, 1, 1) };
        assert_eq!(book.signed_fill(&acknowledged), 0);
        for seq in 10..2_000 {
            assert_eq!(book.signed_fill(&fill(seq, Side::Bid, 1, 1)), 1);
        }
        assert_eq!(book.orders.len(), ORDERS_MAX);
    }
}
