//! The books, each through its own interface.

use std::collections::BTreeMap;

use hftbacktest::depth::{HashMapMarketDepth, L2MarketDepth, MarketDepth, ROIVectorMarketDepth};
use hftbacktest::types::Side as HftSide;
use kimera_protocol::fixed::UNIT;
use kimera_protocol::{DepthBegin, Flags, Instrument, Level, Levels, Message, Side};
use nautilus_model::data::{BookOrder, OrderBookDelta};
use nautilus_model::enums::{BookAction, BookType, OrderSide};
use nautilus_model::identifiers::InstrumentId;
use nautilus_model::orderbook::OrderBook;
use nautilus_model::types::{Price, Quantity};

use super::{Best, Book, Depth, Framed, Row};

/// Kimera's book, with the messages that the line's market stage reads.
pub struct Kimera(kimera_market::Book);

impl Kimera {
    /// Levels that did not fit far from the best price.
    pub fn levels_dropped(&self) -> u64 {
        self.0.levels_dropped()
    }
}

fn best_of(level: Option<Level>) -> Best {
    level.map_or((0, 0), |level| (level.price.0, level.size.0))
}

impl Book for Kimera {
    const NAME: &'static str = "Kimera book";
    type Input = Vec<Message>;

    fn input(depth: &Depth) -> Vec<Message> {
        depth.messages.clone()
    }

    fn new(_: &Depth) -> Self {
        Self(kimera_market::Book::new())
    }

    fn clear(&mut self) {}

    fn apply(&mut self, input: &Vec<Message>, mut see: impl FnMut(Best, Best)) {
        for message in input {
            if let Some(levels) = message.body::<Levels>() {
                let (count, bids) = (usize::from(message.header.count), usize::from(message.header.bids));
                self.0.apply(levels, count, bids, |_| {});
            } else if let Some(begin) = message.body::<DepthBegin>() {
                self.0.begin(begin);
            }
            if message.header.flags & Flags::FRAME_END != 0 {
                let (bid, ask) = self.0.best();
                see(best_of(bid), best_of(ask));
            }
        }
    }

    fn levels(&self, mut see: impl FnMut(Row)) {
        for (side, is_bid) in [(Side::Bid, true), (Side::Ask, false)] {
            let levels = self.0.side(side).levels();
            levels.for_each(|level| see(Row { is_bid, price: level.price.0, size: level.size.0 }));
        }
    }
}

/// Two ordered maps: the control.
pub struct Maps {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Book for Maps {
    const NAME: &'static str = "control: two BTreeMap<i64, i64>";
    type Input = Framed<Row>;

    fn input(depth: &Depth) -> Framed<Row> {
        Framed::of(depth, |row| *row)
    }

    fn new(_: &Depth) -> Self {
        Self { bids: BTreeMap::new(), asks: BTreeMap::new() }
    }

    fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    fn apply(&mut self, input: &Framed<Row>, mut see: impl FnMut(Best, Best)) {
        for frame in input.frames() {
            for row in frame {
                let side = if row.is_bid { &mut self.bids } else { &mut self.asks };
                if row.size > 0 {
                    side.insert(row.price, row.size);
                } else {
                    side.remove(&row.price);
                }
            }
            let best = |level: Option<(&i64, &i64)>| level.map_or((0, 0), |(price, size)| (*price, *size));
            see(best(self.bids.last_key_value()), best(self.asks.first_key_value()));
        }
    }

    fn levels(&self, mut see: impl FnMut(Row)) {
        self.bids.iter().for_each(|(price, size)| see(Row { is_bid: true, price: *price, size: *size }));
        self.asks.iter().for_each(|(price, size)| see(Row { is_bid: false, price: *price, size: *size }));
    }
}

/// A price in ticks, or a size, as the number nearest to its decimal.
fn float(count: i64, units: i64) -> f64 {
    (i128::from(count) * i128::from(units)) as f64 / UNIT as f64
}

/// A size in 1e-8 again.
fn units(size: f64) -> i64 {
    (size * UNIT as f64).round() as i64
}

fn is_tick(tick: i64) -> bool {
    tick != hftbacktest::depth::INVALID_MIN && tick != hftbacktest::depth::INVALID_MAX
}

/// What `hftbacktest`'s books are fed.
pub struct HftRow {
    is_bid: bool,
    price: f64,
    size: f64,
}

fn hft_input(depth: &Depth) -> Framed<HftRow> {
    let tick = depth.instrument.tick_units;
    Framed::of(depth, |row| HftRow {
        is_bid: row.is_bid,
        price: float(row.price, tick),
        size: float(row.size, 1),
    })
}

fn hft_steps(instrument: &Instrument) -> (f64, f64) {
    // Sizes on the book are finer than the venue's own lot.
    (float(1, instrument.tick_units), float(1, 1))
}

#[inline]
fn hft_apply<B: L2MarketDepth + MarketDepth>(
    book: &mut B,
    input: &Framed<HftRow>,
    mut see: impl FnMut(Best, Best),
) {
    for frame in input.frames() {
        for row in frame {
            if row.is_bid {
                book.update_bid_depth(row.price, row.size, 0);
            } else {
                book.update_ask_depth(row.price, row.size, 0);
            }
        }
        let best = |tick: i64, size: f64| if is_tick(tick) { (tick, units(size)) } else { (0, 0) };
        see(best(book.best_bid_tick(), book.best_bid_qty()), best(book.best_ask_tick(), book.best_ask_qty()));
    }
}

/// `hftbacktest`'s book over hash maps.
pub struct Hash(HashMapMarketDepth);

impl Book for Hash {
    const NAME: &'static str = concat!("hftbacktest ", env!("VERSION_HFTBACKTEST"), " HashMap");
    type Input = Framed<HftRow>;

    fn input(depth: &Depth) -> Framed<HftRow> {
        hft_input(depth)
    }

    fn new(depth: &Depth) -> Self {
        let (tick, lot) = hft_steps(&depth.instrument);
        Self(HashMapMarketDepth::new(tick, lot))
    }

    fn clear(&mut self) {
        self.0.clear_depth(HftSide::None, 0.0);
    }

    fn apply(&mut self, input: &Framed<HftRow>, see: impl FnMut(Best, Best)) {
        hft_apply(&mut self.0, input, see);
    }

    fn levels(&self, mut see: impl FnMut(Row)) {
        for (is_bid, side) in [(true, &self.0.bid_depth), (false, &self.0.ask_depth)] {
            side.iter().for_each(|(price, size)| see(Row { is_bid, price: *price, size: units(*size) }));
        }
    }
}

/// `hftbacktest`'s book over a vector of the ticks around the middle.
pub struct RegionOfInterest(ROIVectorMarketDepth);

impl Book for RegionOfInterest {
    const NAME: &'static str = concat!("hftbacktest ", env!("VERSION_HFTBACKTEST"), " ROIVector ±5 %");
    type Input = Framed<HftRow>;

    fn input(depth: &Depth) -> Framed<HftRow> {
        hft_input(depth)
    }

    fn new(depth: &Depth) -> Self {
        let (tick, lot) = hft_steps(&depth.instrument);
        let (low, high) = depth.region;
        let price = |ticks| float(ticks, depth.instrument.tick_units);
        Self(ROIVectorMarketDepth::new(tick, lot, price(low), price(high)))
    }

    fn clear(&mut self) {
        self.0.clear_depth(HftSide::None, 0.0);
    }

    fn apply(&mut self, input: &Framed<HftRow>, see: impl FnMut(Best, Best)) {
        hft_apply(&mut self.0, input, see);
    }

    fn levels(&self, mut see: impl FnMut(Row)) {
        for (is_bid, side) in [(true, &self.0.bid_depth), (false, &self.0.ask_depth)] {
            for (price, size) in (self.0.roi_lb..).zip(side).filter(|(_, size)| **size > 0.0) {
                see(Row { is_bid, price, size: units(*size) });
            }
        }
    }
}

/// `nautilus-model`'s book by price, fed a delta at a time.
pub struct Nautilus {
    book: OrderBook,
    /// Units of the last decimal it keeps in a tick, and in 1e-8.
    tick_raw: i64,
    size_raw: u64,
}

/// Its numbers keep nine decimals.
const RAW_IN_UNIT: i64 = 10;

fn nautilus_id() -> InstrumentId {
    InstrumentId::from("BTCUSDT-PERP.BINANCE")
}

impl Nautilus {
    fn best(&self, price: Option<Price>, size: Option<Quantity>) -> Best {
        let (Some(price), Some(size)) = (price, size) else { return (0, 0) };
        (price.raw / self.tick_raw, (size.raw / self.size_raw) as i64)
    }
}

impl Book for Nautilus {
    const NAME: &'static str =
        concat!("nautilus-model ", env!("VERSION_NAUTILUS_MODEL"), " OrderBook L2_MBP");
    type Input = Framed<OrderBookDelta>;

    fn input(depth: &Depth) -> Framed<OrderBookDelta> {
        let (id, instrument) = (nautilus_id(), &depth.instrument);
        Framed::of(depth, |row| {
            let order = BookOrder::new(
                if row.is_bid { OrderSide::Buy } else { OrderSide::Sell },
                Price::new(float(row.price, instrument.tick_units), instrument.price_decimals() as u8),
                Quantity::new(float(row.size, 1), kimera_protocol::fixed::UNIT_DECIMALS as u8),
                0,
            );
            // As its own adapter turns a level into a delta.
            let action = if row.size == 0 { BookAction::Delete } else { BookAction::Update };
            OrderBookDelta::new(id, action, order, 0, 0, 0.into(), 0.into())
        })
    }

    fn new(depth: &Depth) -> Self {
        Self {
            book: OrderBook::new(nautilus_id(), BookType::L2_MBP),
            tick_raw: depth.instrument.tick_units * RAW_IN_UNIT,
            size_raw: RAW_IN_UNIT as u64,
        }
    }

    fn clear(&mut self) {
        self.book.reset();
    }

    fn apply(&mut self, input: &Framed<OrderBookDelta>, mut see: impl FnMut(Best, Best)) {
        for frame in input.frames() {
            for delta in frame {
                // Refused only for another instrument or a delta without a side, and then the results differ.
                let _ = self.book.apply_delta(delta);
            }
            let book = &self.book;
            see(
                self.best(book.best_bid_price(), book.best_bid_size()),
                self.best(book.best_ask_price(), book.best_ask_size()),
            );
        }
    }

    fn levels(&self, mut see: impl FnMut(Row)) {
        let bids = self.book.bids(None).map(|level| (true, level));
        for (is_bid, level) in bids.chain(self.book.asks(None).map(|level| (false, level))) {
            let price = level.price.value.raw / self.tick_raw;
            see(Row { is_bid, price, size: (level.size_raw() / self.size_raw) as i64 });
        }
    }
}
