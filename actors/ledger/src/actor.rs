//! The last stage of the main line: books each fill once, whatever order its reports come in.

use kimera_protocol::order::OrderTable;
use kimera_protocol::{NewOrder, OrderRecord, OrderUpdate, OrphanAdopted, Quote};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::books::Books;

/// Orders followed at a time; the oldest that has ended makes room.
const ORDERS_MAX: usize = 1_024;

/// What the stage publishes for those who watch. Money in 1e-8 of the quote asset; what has a sign as two's complement.
#[derive(Clone)]
pub struct LedgerMeters {
    fills: Counter,
    alarms: Counter,
    cash: Counter,
    fees: Counter,
    realised: Counter,
    balanced: Counter,
    instruments: Box<[InstrumentMeters]>,
}

kimera_protocol::state!(LedgerMeters { fills, alarms, cash, fees, realised, balanced, instruments });

#[derive(Clone)]
struct InstrumentMeters {
    position: Counter,
    doubled_mid: Counter,
}

kimera_protocol::state!(InstrumentMeters { position, doubled_mid });

impl LedgerMeters {
    /// Counters `ledger.*`, and for each of `instruments` `ledger.position.<i>` and `ledger.doubled_mid.<i>` (ticks).
    #[must_use]
    pub fn new(counters: &Counters, instruments: usize) -> Self {
        let counter = |what: &str| counters.counter(&format!("ledger.{what}"));
        let of = |i: usize| InstrumentMeters {
            position: counter(&format!("position.{i}")),
            doubled_mid: counter(&format!("doubled_mid.{i}")),
        };
        Self {
            fills: counter("fills"),
            alarms: counter("alarms"),
            cash: counter("cash"),
            fees: counter("fees"),
            realised: counter("realised"),
            balanced: counter("balanced"),
            instruments: (0..instruments).map(of).collect(),
        }
    }
}

/// An amount in units of 1e-8, what is finer cut off.
fn units(amount: Decimal) -> u64 {
    let scaled = amount.checked_mul(Decimal::from(100_000_000)).map(|d| d.trunc());
    scaled.and_then(|d| d.to_i64()).unwrap_or(i64::MIN) as u64
}

/// The stage. It says nothing: it is where inputs end.
pub struct Ledger {
    books: Books,
    orders: OrderTable<OrderRecord>,
    fills: u64,
    alarms: u64,
    meters: LedgerMeters,
}

kimera_protocol::state!(Ledger { books, orders, fills, alarms, meters });

impl Ledger {
    /// A stage with these books.
    #[must_use]
    pub fn new(books: Books, meters: LedgerMeters) -> Self {
        let ledger = Self { books, orders: OrderTable::new(ORDERS_MAX), fills: 0, alarms: 0, meters };
        ledger.publish();
        ledger
    }

    fn publish(&self) {
        let m = &self.meters;
        m.fills.set(self.fills);
        m.alarms.set(self.alarms);
        m.cash.set(units(self.books.cash()));
        m.fees.set(units(self.books.fees()));
        m.realised.set(units(self.books.realised()));
        m.balanced.set(u64::from(self.books.balanced()));
        for (i, meters) in m.instruments.iter().enumerate() {
            meters.position.set(self.books.instrument(i as u16).map_or(0, |b| units(b.position)));
        }
    }

    /// The books.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Reports that contradicted something, or could not be booked.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms
    }

    /// Follows an order from now on; that there is no room for it, or that it is followed already, is an alarm.
    fn follow(&mut self, record: OrderRecord) {
        self.alarms += u64::from(!self.orders.insert(record));
    }

    fn report(&mut self, instrument: u16, update: &OrderUpdate) {
        if !self.orders.knows(update.id) {
            // Not one that passed here: of an earlier start, or not ours. Its money is booked all the same.
            let fills = kimera_protocol::OrderEvent::from_code(update.event).is_some_and(|e| e.is_fill());
            if !fills {
                return;
            }
            self.alarms += 1;
            let order = NewOrder {
                id: update.id,
                quantity: update.cumulative,
                side: update.side,
                ..NewOrder::default()
            };
            self.follow(OrderRecord::new(order));
        }
        let taken = self.orders.change(update.id, |record| (record.apply(update), record.order.side));
        let Some((applied, side)) = taken else { return };
        // The side is the order's own where it is known: a report cannot turn a purchase into a sale.
        let booked = OrderUpdate { side, ..*update };
        self.alarms += u64::from(applied.is_alarm());
        if applied.books_fill() {
            match self.books.fill(instrument, &booked) {
                Ok(_) => self.fills += 1,
                Err(_) => self.alarms += 1,
            }
        }
        self.publish();
    }
}

impl Actor for Ledger {
    fn handle(&mut self, input: Input<'_>, _out: &mut Outbox) {
        let message = input.message;
        if let Some(order) = message.body::<NewOrder>() {
            self.follow(OrderRecord::new(*order));
        } else if let Some(orphan) = message.body::<OrphanAdopted>() {
            if self.orders.change(orphan.id, |stranger| stranger.identify(orphan.order())).is_none() {
                self.follow(OrderRecord::new(orphan.order()));
            }
        } else if let Some(update) = message.body::<OrderUpdate>() {
            self.report(message.header.instrument, update);
        } else if let Some(quote) = message.body::<Quote>()
            && quote.usable != 0
            && let Some(meters) = self.meters.instruments.get(usize::from(message.header.instrument))
        {
            meters.doubled_mid.set((quote.bid.price.0 + quote.ask.price.0) as u64);
        }
    }

    fn digest(&self) -> u64 {
        let mantissa = |d: Decimal| d.normalize().mantissa() as u64;
        let words = [self.books.cash(), self.books.realised(), self.books.fees()].map(mantissa);
        words.iter().fold(self.alarms, |digest, word| {
            digest.rotate_left(21) ^ word.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Body, Header, Message, OrderEvent, OrderId, Price, Quantity, Side};
    use proptest::prelude::*;

    const UNIT: i64 = 100_000_000;

    fn handle<B: Body>(ledger: &mut Ledger, body: B) {
        let message = Message::new(Header::default(), body);
        let mut out = Outbox::new(0);
        out.begin(&message);
        ledger.handle(Input { message: &message, joined: &[] }, &mut out);
    }

    fn order(seq: u64, quantity: i64) -> NewOrder {
        NewOrder {
            id: OrderId { seq, incarnation: 1, child: 0 },
            quantity: Quantity(quantity),
            ..NewOrder::default()
        }
    }

    fn report(seq: u64, event: OrderEvent, size: i64, total: i64) -> OrderUpdate {
        OrderUpdate {
            id: OrderId { seq, incarnation: 1, child: 0 },
            event: event as u8,
            price: Price(100),
            quantity: Quantity(size),
            cumulative: Quantity(total),
            fee: size / 1_000,
            ..OrderUpdate::default()
        }
    }

    fn ledger() -> Ledger {
        let meters = LedgerMeters::new(&Counters::detached(), 1);
        Ledger::new(Books::new(1_000 * UNIT, &[UNIT]), meters)
    }

    #[test]
    fn a_strangers_fill_is_booked_and_raises_an_alarm() {
        let mut ledger = ledger();
        handle(
            &mut ledger,
            OrderUpdate { side: Side::Ask as u8, ..report(9, OrderEvent::Filled, UNIT, UNIT) },
        );
        assert_eq!(ledger.books().instrument(0).unwrap().position, (-1).into());
        assert_eq!(ledger.alarms(), 1);
        handle(&mut ledger, report(10, OrderEvent::Canceled, 0, 0));
        assert_eq!(ledger.alarms(), 1);
    }

    proptest! {
        /// Shuffled, doubled and late reports leave the same books as the reports in order.
        #[test]
        fn the_order_of_reports_does_not_matter(sizes in proptest::collection::vec(1i64..UNIT, 1..8), picks in proptest::collection::vec(any::<prop::sample::Index>(), 0..40)) {
            let total: i64 = sizes.iter().sum();
            let mut sum = 0;
            let mut reports = vec![report(1, OrderEvent::Acknowledged, 0, 0)];
            for size in &sizes {
                sum += size;
                reports.push(report(1, OrderEvent::PartFilled, *size, sum));
            }
            reports.push(report(1, OrderEvent::Canceled, 0, 0));
            let run = |sequence: &[OrderUpdate]| {
                let mut ledger = ledger();
                handle(&mut ledger, order(1, total + UNIT));
                sequence.iter().for_each(|r| handle(&mut ledger, *r));
                assert!(ledger.books().balanced());
                (ledger.books().clone(), ledger.alarms())
            };
            let shuffled: Vec<_> = picks.iter().map(|p| reports[p.index(reports.len())]).chain(reports.iter().rev().copied()).collect();
            prop_assert_eq!(run(&reports), run(&shuffled));
        }
    }
}
