//! The market stage of the main line: takes every sequenced input, keeps the books, speaks at marks.

use kimera_protocol::{
    DepthBegin, Flags, Gapped, InstrumentId, Kind, Levels, Message, Nanos, Quote, Side, Ticker, Trade,
};
use kimera_runtime::{Actor, Input, Outbox, Port};

use crate::book::Book;
use crate::features::{FeatureConfig, FeatureSet};
use crate::one_market::{OneMarketConfig, OneMarkets};
use crate::top::Top;

/// What the stage needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketConfig {
    /// Instruments of the run.
    pub instruments: usize,
    /// Parameters of the estimators.
    pub features: FeatureConfig,
    /// Which of them are one market.
    pub one_market: OneMarketConfig,
}

/// Most outputs of one input: quote and features of a mark, or one message passed through.
pub const OUTPUTS_MAX: usize = 2;

struct InstrumentState {
    book: Book,
    features: FeatureSet,
    last_price: i64,
}

kimera_protocol::state!(InstrumentState { book, features, last_price });

/// The stage.
pub struct Market {
    instruments: Box<[InstrumentState]>,
    one_markets: OneMarkets,
    unknown: u64,
}

kimera_protocol::state!(Market { instruments, one_markets, unknown });

impl Market {
    /// Books without a level for every instrument.
    #[must_use]
    pub fn new(config: &MarketConfig) -> Self {
        let state = || InstrumentState {
            book: Book::new(),
            features: FeatureSet::new(config.features),
            last_price: 0,
        };
        Self {
            instruments: (0..config.instruments).map(|_| state()).collect(),
            one_markets: OneMarkets::new(&config.one_market),
            unknown: 0,
        }
    }

    /// The book of an instrument.
    #[must_use]
    pub fn book(&self, instrument: InstrumentId) -> Option<&Book> {
        self.instruments.get(usize::from(instrument.0)).map(|s| &s.book)
    }

    /// Markets that are on several venues.
    #[must_use]
    pub fn one_markets(&self) -> &OneMarkets {
        &self.one_markets
    }

    fn market_event(&mut self, kind: Kind, message: &Message, out: &mut Outbox) {
        let instrument = usize::from(message.header.instrument);
        let Some(state) = self.instruments.get_mut(instrument) else {
            self.unknown += 1;
            return;
        };
        state.apply(kind, message);
        if kind == Kind::Gapped {
            self.one_markets.gapped(instrument);
        }
        if message.is_mark() {
            let time = message.header.time;
            let top = state.book.state();
            let composite = self.one_markets.marked(instrument, &top, time);
            state.speak(message.instrument(), time, (&top, composite), out);
        }
    }
}

impl Actor for Market {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        match message.kind() {
            Some(
                kind @ (Kind::Ticker
                | Kind::Trade
                | Kind::DepthBegin
                | Kind::Levels
                | Kind::Gapped
                | Kind::FeedStatus),
            ) => self.market_event(kind, message, out),
            Some(Kind::Started) => {
                // Whatever the books held is of connections that are gone.
                self.instruments.iter_mut().for_each(InstrumentState::forget);
                self.one_markets.forget();
                out.forward(Port::Line, message);
            }
            // Everything else is for later stages.
            Some(kind) if kind.is_input() => out.forward(Port::Line, message),
            _ => self.unknown += 1,
        }
    }

    fn digest(&self) -> u64 {
        self.instruments.iter().fold(self.unknown ^ self.one_markets.digest(), |digest, state| {
            digest.rotate_left(17) ^ state.book.digest().wrapping_add(state.book.levels_dropped())
        })
    }
}

impl InstrumentState {
    fn forget(&mut self) {
        self.book.gapped();
        self.features.reset();
    }

    fn apply(&mut self, kind: Kind, message: &Message) {
        let time = message.header.time;
        match kind {
            Kind::Ticker if message.body::<Ticker>().is_some_and(|t| self.book.ticker(t)) => {
                self.features.book_moved(&self.book, time);
            }
            Kind::Trade => {
                if let Some(trade) = message.body::<Trade>() {
                    self.last_price = trade.price.0;
                    self.features.traded(trade);
                }
            }
            Kind::DepthBegin => {
                if let Some(begin) = message.body::<DepthBegin>() {
                    let taken = self.book.begin(begin);
                    if !taken || begin.snapshot != 0 {
                        self.features.reset();
                    }
                    self.end_of_frame(message, time);
                }
            }
            Kind::Levels => {
                if let Some(levels) = message.body::<Levels>() {
                    let (count, bids) = (usize::from(message.header.count), usize::from(message.header.bids));
                    let features = &mut self.features;
                    self.book.apply(levels, count, bids, |change| features.level_changed(change));
                    self.end_of_frame(message, time);
                }
            }
            Kind::Gapped if message.body::<Gapped>().is_some() => {
                self.book.gapped();
                self.features.reset();
            }
            _ => {}
        }
    }

    fn end_of_frame(&mut self, message: &Message, time: Nanos) {
        if message.header.flags & Flags::FRAME_END != 0 {
            self.features.book_moved(&self.book, time);
        }
    }

    /// What the later stages hear at a mark: the quote, then the features, which carry the mark.
    fn speak(
        &mut self,
        instrument: InstrumentId,
        time: Nanos,
        (top, composite): (&Top, (i64, i64)),
        out: &mut Outbox,
    ) {
        let (bid, ask) = self.book.best();
        out.send_unmarked(
            Port::Line,
            instrument,
            Quote {
                bid: bid.unwrap_or_default(),
                ask: ask.unwrap_or_default(),
                last_price: self.last_price,
                update_id: self.book.update_id(),
                venue_time: self.book.venue_time(),
                bid_depth: self.features.depth(Side::Bid),
                ask_depth: self.features.depth(Side::Ask),
                usable: u64::from(matches!(top, Top::Good { .. })),
                composite_bid: composite.0,
                composite_ask: composite.1,
            },
        );
        let features = self.features.evaluate(&self.book, time);
        out.send(Port::Line, instrument, features);
    }
}
