//! The events that patterns are written about, and how messages become them.
//!
//! | stream | events | fields |
//! |---|---|---|
//! | `trade` | `Trade` | instrument, price, qty, side (who took), notional |
//! | `quote` | `Quote` | instrument, bid, ask, bid_qty, ask_qty, mid, spread |
//! | `order` | `New`, `Open`, `Fill`, `Cancel`, `Reject`, `Expire` | instrument, id, side; of `New` and `Fill` price and qty; of `Fill` maker |
//! | `feed` | `Gap` | instrument, reason (1 chain, 2 disconnected, 3 overflow, 4 undecodable) |
//!
//! Prices are in the quote asset and sizes in the base asset, as people write them: `price == 61787.9` is exact. The orders are
//! our own. Words are `buy`, `sell` and the instruments' names.

use kimera_protocol::order::{NewOrder, OrderEvent, OrderId, OrderUpdate};
use kimera_protocol::{Gapped, Instrument, Kind, Message, Price, Quantity, Ticker, Trade};

use crate::schema::{Event, Schema, Type, Value};

const TRADE: usize = 0;
const QUOTE: usize = 1;
const NEW: usize = 2;
const OPEN: usize = 3;
const FILL: usize = 4;
const CANCEL: usize = 5;
const REJECT: usize = 6;
const EXPIRE: usize = 7;
const GAP: usize = 8;

/// Words before the instruments' names.
const SIDES: [&str; 2] = ["buy", "sell"];
/// Units of a size in one of the base asset.
const UNITS: f64 = 1e8;

/// Turns messages into events.
pub struct Events {
    schema: Schema,
    instruments: Vec<Instrument>,
    places: u64,
}

kimera_protocol::state!(Events { places } fixed { schema, instruments });

impl Events {
    /// For instruments with their names in patterns, in the order of their numbers.
    #[must_use]
    pub fn new(instruments: Vec<Instrument>, names: &[String]) -> Self {
        let order = [("instrument", Type::Symbol), ("id", Type::Int), ("side", Type::Symbol)];
        let new = [&order[..], &[("price", Type::Float), ("qty", Type::Float)]].concat();
        let fill = [&new[..], &[("maker", Type::Bool)]].concat();
        let number = |name| (name, Type::Float);
        let of = ("instrument", Type::Symbol);
        let trade = [of, number("price"), number("qty"), ("side", Type::Symbol), number("notional")];
        let quote = ["bid", "ask", "bid_qty", "ask_qty", "mid", "spread"].map(number);
        let mut schema = Schema::default()
            .with("trade", "Trade", &trade)
            .with("quote", "Quote", &[&[of], &quote[..]].concat())
            .with("order", "New", &new)
            .with("order", "Open", &order)
            .with("order", "Fill", &fill)
            .with("order", "Cancel", &order)
            .with("order", "Reject", &order)
            .with("order", "Expire", &order)
            .with("feed", "Gap", &[of, ("reason", Type::Int)])
            .with_symbols(&SIDES);
        schema.symbols.extend(names.iter().cloned());
        Self { schema, instruments, places: 0 }
    }

    /// What patterns may say.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The event a message is; none for those that are none, and for instruments that nobody knows.
    pub fn of(&mut self, message: &Message) -> Option<Event> {
        let instrument = self.instruments.get(usize::from(message.header.instrument))?;
        let mut event = match message.kind()? {
            Kind::Trade => trade(message, instrument, message.body()?),
            Kind::Ticker => quote(message, instrument, message.body()?),
            Kind::NewOrder => new_order(message, instrument, message.body()?),
            Kind::OrderUpdate => update(message, instrument, message.body()?)?,
            Kind::Gapped => {
                let reason = message.body::<Gapped>()?.reason;
                begin(GAP, message).with(1, Value::Int(reason as i64))
            }
            _ => return None,
        };
        self.places += 1;
        event.place = self.places;
        Some(event)
    }
}

fn begin(ty: usize, message: &Message) -> Event {
    let name = SIDES.len() as u32 + u32::from(message.header.instrument);
    Event::new(ty, message.header.seq, message.header.time).with(0, Value::Symbol(name))
}

/// Both are exact in a float, and the quotient is the nearest there is: what a person would write.
fn price(instrument: &Instrument, price: Price) -> Value {
    let scale = (0..instrument.price_decimals()).fold(1.0, |scale, _| scale * 10.0);
    Value::Float(price.0.saturating_mul(instrument.price_step()) as f64 / scale)
}

fn size(size: Quantity) -> Value {
    Value::Float(size.0 as f64 / UNITS)
}

fn number(value: Value) -> f64 {
    match value {
        Value::Float(value) => value,
        _ => f64::NAN,
    }
}

fn trade(message: &Message, instrument: &Instrument, trade: &Trade) -> Event {
    let (price, size) = (price(instrument, trade.price), size(trade.size));
    let notional = number(price) * number(size);
    begin(TRADE, message)
        .with(1, price)
        .with(2, size)
        .with(3, Value::Symbol(u32::from(trade.aggressor < 0)))
        .with(4, Value::Float(notional))
}

/// A side that is empty has no price; then there is no mid either.
fn quote(message: &Message, instrument: &Instrument, ticker: &Ticker) -> Event {
    let side = |price_at: Price, size: Quantity| {
        if size.0 > 0 { number(price(instrument, price_at)) } else { f64::NAN }
    };
    let (bid, ask) = (side(ticker.bid.price, ticker.bid.size), side(ticker.ask.price, ticker.ask.size));
    // In ticks first: half of a sum and a difference of decimals would not be what a person writes.
    let ticks = |ticks: i64| number(price(instrument, Price(ticks)));
    let both = ticker.bid.price.0.saturating_add(ticker.ask.price.0);
    let is_there = |value: f64| if (bid + ask).is_nan() { f64::NAN } else { value };
    begin(QUOTE, message)
        .with(1, Value::Float(bid))
        .with(2, Value::Float(ask))
        .with(3, size(ticker.bid.size))
        .with(4, size(ticker.ask.size))
        .with(5, Value::Float(is_there(ticks(both) / 2.0)))
        .with(6, Value::Float(is_there(ticks(ticker.ask.price.0.saturating_sub(ticker.bid.price.0)))))
}

/// One number for an order: the start of the engine that made it, its input, and which child of it.
fn identity(id: OrderId) -> Value {
    let start = u64::from(id.incarnation) << 48;
    Value::Int((start ^ id.seq.wrapping_mul(1_000).wrapping_add(u64::from(id.child % 1_000))) as i64)
}

fn new_order(message: &Message, instrument: &Instrument, order: &NewOrder) -> Event {
    begin(NEW, message)
        .with(1, identity(order.id))
        .with(2, Value::Symbol(order.side.min(1).into()))
        .with(3, price(instrument, order.price))
        .with(4, size(order.quantity))
}

fn update(message: &Message, instrument: &Instrument, update: &OrderUpdate) -> Option<Event> {
    let is = |event: OrderEvent| update.event == event as u8;
    let ty = if is(OrderEvent::Acknowledged) || is(OrderEvent::FoundOpen) {
        OPEN
    } else if is(OrderEvent::PartFilled) || is(OrderEvent::Filled) {
        FILL
    } else if is(OrderEvent::Canceled) {
        CANCEL
    } else if is(OrderEvent::Rejected) || is(OrderEvent::Unsent) || is(OrderEvent::NotFound) {
        REJECT
    } else if is(OrderEvent::Expired) {
        EXPIRE
    } else {
        return None;
    };
    let mut event =
        begin(ty, message).with(1, identity(update.id)).with(2, Value::Symbol(update.side.min(1).into()));
    if ty == FILL {
        event = event.with(3, price(instrument, update.price)).with(4, size(update.quantity));
        event = event.with(5, Value::Bool(update.maker != 0));
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bounds, Matcher, compile};
    use kimera_protocol::{Header, InstrumentId, Level, VenueId};

    fn events() -> Events {
        let instrument =
            Instrument::new(InstrumentId(0), VenueId(0), "BTCUSDT", 10_000_000, 100_000).unwrap();
        Events::new(vec![instrument], &["usdm_btcusdt".to_owned()])
    }

    fn level(price: i64, size: i64) -> Level {
        Level { price: Price(price), size: Quantity(size) }
    }

    #[test]
    fn a_price_is_the_number_that_a_person_writes() {
        let mut events = events();
        let text = "pattern p on quote: q:Quote[bid == 61787.9 and ask == 61788.2 and spread == 0.3 and mid == 61788.05 \
                    and bid_qty == 0.001 and instrument == usdm_btcusdt] emit q.bid";
        let program = compile(text, events.schema()).unwrap().remove(0);
        let ticker = Ticker { bid: level(617_879, 100_000), ask: level(617_882, 1), ..Ticker::default() };
        let event = events.of(&Message::new(Header { seq: 7, ..Header::default() }, ticker)).unwrap();
        let mut matcher = Matcher::new(program, Bounds::default());
        let mut count = 0;
        matcher.event(&event, &mut |found| {
            count += 1;
            assert_eq!(found.values, [Some(Value::Float(61_787.9))]);
        });
        assert_eq!(count, 1);
    }

    #[test]
    fn what_is_not_there_is_missing_and_not_zero() {
        let mut events = events();
        let ticker = Ticker { bid: level(617_879, 100_000), ..Ticker::default() };
        let event = events.of(&Message::new(Header::default(), ticker)).unwrap();
        assert_eq!(event.present, 0b001_1011, "no ask, no mid, no spread");
        let foreign = Header { instrument: 9, ..Header::default() };
        assert!(events.of(&Message::new(foreign, ticker)).is_none());
        let silent = OrderUpdate { event: OrderEvent::Silent as u8, ..OrderUpdate::default() };
        assert!(events.of(&Message::new(Header::default(), silent)).is_none());
        let fill =
            OrderUpdate { event: OrderEvent::Filled as u8, side: 1, maker: 1, ..OrderUpdate::default() };
        let event = events.of(&Message::new(Header::default(), fill)).unwrap();
        assert_eq!((usize::from(event.ty), event.words[2], event.words[5], event.place), (FILL, 1, 1, 2));
    }
}
