//! One order's state, moved by reports and by nothing else.

use super::fills::{FillError, Fills};
use super::life_cycle::{Move, OrderEvent, OrderState, next};
use super::{NewOrder, OrderId, OrderUpdate};
use crate::Quantity;

/// What a report did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The state may have changed; no money moved.
    Changed,
    /// A new fill: its size is to be booked, once.
    Filled,
    /// Known already.
    Known,
    /// As `Filled`, and it contradicts what was reported before.
    FilledAlarm,
    /// As `Changed`, and it contradicts what was reported before.
    ChangedAlarm,
    /// Not taken: it contradicts what is known and moves no money.
    Refused,
    /// Not taken: the fill does not fit. The order has to be asked about and counts as unknown until then.
    FillRefused(FillError),
}

impl Applied {
    /// True where a fill is to be booked.
    #[must_use]
    pub fn books_fill(self) -> bool {
        matches!(self, Self::Filled | Self::FilledAlarm)
    }

    /// True where someone has to look.
    #[must_use]
    pub fn is_alarm(self) -> bool {
        matches!(self, Self::FilledAlarm | Self::ChangedAlarm | Self::Refused | Self::FillRefused(_))
    }
}

/// An order as whoever follows it keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderRecord {
    /// The order.
    pub order: NewOrder,
    /// Where it stands.
    pub state: OrderState,
    fills: Fills,
}

crate::state!(OrderRecord { order, state, fills });

impl OrderRecord {
    /// An order that has passed risk.
    #[must_use]
    pub fn new(order: NewOrder) -> Self {
        Self { order, state: OrderState::Pending, fills: Fills::default() }
    }

    /// An order of which only fills were heard so far: nobody knows how large it is, so no fill is too much.
    #[must_use]
    pub fn stranger(id: OrderId, side: u8) -> Self {
        let order = NewOrder { id, side, quantity: Quantity(i64::MAX), ..NewOrder::default() };
        Self { order, state: OrderState::Canceled, fills: Fills::default() }
    }

    /// What the order really is becomes known; its fills stay. It may still be filled until the venue has been asked.
    pub fn identify(&mut self, order: NewOrder) {
        self.order = order;
        self.state = if self.filled() >= order.quantity.0 { OrderState::Filled } else { OrderState::Unknown };
    }

    /// Size filled, in 1e-8.
    #[must_use]
    pub fn filled(&self) -> i64 {
        self.fills.filled()
    }

    /// Size that may still be filled, in 1e-8: 0 once it is known not to stand any more.
    #[must_use]
    pub fn remaining(&self) -> i64 {
        if self.state.is_working() { self.order.quantity.0 - self.filled() } else { 0 }
    }

    /// Takes a report.
    pub fn apply(&mut self, update: &OrderUpdate) -> Applied {
        let Some(event) = OrderEvent::from_code(update.event) else { return Applied::Refused };
        if event.is_fill() { self.apply_fill(update) } else { self.apply_state(event) }
    }

    fn apply_state(&mut self, event: OrderEvent) -> Applied {
        match next(self.state, event) {
            Move::Stay => Applied::Known,
            Move::Refused => Applied::Refused,
            Move::To(state) => {
                self.state = self.standing(state);
                Applied::Changed
            }
            Move::Alarm(state) => {
                self.state = self.standing(state);
                Applied::ChangedAlarm
            }
        }
    }

    /// An order that stands and has fills is partly filled, whichever report comes first.
    fn standing(&self, state: OrderState) -> OrderState {
        if state == OrderState::Open && self.filled() > 0 { OrderState::Partial } else { state }
    }

    fn apply_fill(&mut self, update: &OrderUpdate) -> Applied {
        match self.fills.take(update.quantity.0, update.cumulative.0, self.order.quantity.0) {
            Ok(false) => return Applied::Known,
            Ok(true) => {}
            Err(error) => {
                if self.state.is_working() {
                    self.state = OrderState::Unknown;
                }
                return Applied::FillRefused(error);
            }
        }
        // Whether it is the last one is what the fills say, not what the report calls itself: the last fill may be
        // reported before an earlier one.
        let complete = self.filled() == self.order.quantity.0;
        let event = if complete { OrderEvent::Filled } else { OrderEvent::PartFilled };
        match next(self.state, event) {
            Move::To(state) => {
                self.state = state;
                Applied::Filled
            }
            Move::Alarm(state) => {
                self.state = state;
                Applied::FilledAlarm
            }
            Move::Stay | Move::Refused => Applied::FilledAlarm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(quantity: i64) -> OrderRecord {
        OrderRecord::new(NewOrder { quantity: Quantity(quantity), ..NewOrder::default() })
    }

    fn fill(size: i64, total: i64) -> OrderUpdate {
        let event = OrderEvent::PartFilled as u8;
        OrderUpdate { event, quantity: Quantity(size), cumulative: Quantity(total), ..OrderUpdate::default() }
    }

    fn event(event: OrderEvent) -> OrderUpdate {
        OrderUpdate { event: event as u8, ..OrderUpdate::default() }
    }

    #[test]
    fn a_fill_after_the_cancel_is_booked() {
        let mut order = record(10);
        assert_eq!(order.apply(&event(OrderEvent::Acknowledged)), Applied::Changed);
        assert_eq!(order.apply(&event(OrderEvent::Canceled)), Applied::Changed);
        assert_eq!(order.remaining(), 0);
        assert_eq!(order.apply(&fill(4, 4)), Applied::Filled);
        assert_eq!((order.state, order.filled()), (OrderState::Canceled, 4));
        assert_eq!(order.apply(&fill(6, 10)), Applied::Filled);
        assert_eq!(order.state, OrderState::Filled);
    }

    #[test]
    fn every_fill_of_a_stranger_is_booked_and_it_is_charged_once_it_is_known() {
        let mut order = OrderRecord::stranger(OrderId::default(), 0);
        assert_eq!(order.apply(&fill(4, 4)), Applied::Filled);
        assert_eq!(order.apply(&fill(3, 7)), Applied::Filled);
        assert_eq!((order.apply(&fill(3, 7)), order.remaining()), (Applied::Known, 0));
        order.identify(NewOrder { quantity: Quantity(10), ..NewOrder::default() });
        assert_eq!((order.state, order.remaining()), (OrderState::Unknown, 3));
        assert_eq!(order.apply(&fill(3, 10)), Applied::Filled);
        assert_eq!(order.state, OrderState::Filled);
    }

    #[test]
    fn a_silent_order_counts_until_it_is_explained() {
        let mut order = record(10);
        order.apply(&event(OrderEvent::Silent));
        assert_eq!((order.state, order.remaining()), (OrderState::Unknown, 10));
        assert_eq!(order.apply(&event(OrderEvent::NotFound)), Applied::Changed);
        assert_eq!((order.state, order.remaining()), (OrderState::Rejected, 0));
        assert_eq!(order.apply(&fill(10, 10)), Applied::FilledAlarm, "the venue's word was wrong");
    }

    #[test]
    fn a_lying_fill_is_refused_and_the_order_is_unknown() {
        let mut order = record(10);
        order.apply(&event(OrderEvent::Acknowledged));
        assert_eq!(order.apply(&fill(11, 11)), Applied::FillRefused(FillError::Overfill));
        assert_eq!((order.state, order.filled(), order.remaining()), (OrderState::Unknown, 0, 10));
        let unheard = OrderUpdate { event: 99, ..OrderUpdate::default() };
        assert_eq!(order.apply(&unheard), Applied::Refused);
    }

    proptest! {
        /// Fills and states in any order, doubled at will: each fill is booked once and the end is the same.
        #[test]
        fn every_order_of_reports_books_each_fill_once(
            sizes in proptest::collection::vec(1i64..50, 1..8),
            rest in 0i64..50,
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut total = 0;
            let mut reports = vec![event(OrderEvent::Acknowledged)];
            reports.extend(sizes.iter().map(|s| { total += s; fill(*s, total) }));
            if rest > 0 {
                reports.push(event(OrderEvent::Canceled));
            }
            let mut order = record(total + rest);
            let mut booked = 0;
            let shuffled = picks.iter().map(|p| reports[p.index(reports.len())]);
            for report in shuffled.chain(reports.iter().rev().copied()) {
                let applied = order.apply(&report);
                prop_assert!(!applied.is_alarm(), "{applied:?} at {report:?}");
                if applied.books_fill() {
                    booked += report.quantity.0;
                }
                prop_assert!(order.filled() + order.remaining() <= order.order.quantity.0);
            }
            prop_assert_eq!((booked, order.filled(), order.remaining()), (total, total, 0));
            prop_assert_eq!(order.state, if rest > 0 { OrderState::Canceled } else { OrderState::Filled });
        }
    }
}
