//! The stage of the main line: a post-only market maker that says at every mark which quotes should stand.

use kimera_numerics::{Volatility, VolatilityConfig};
use kimera_protocol::{
    Alert, AlertPolicy, Command, Consensus, Decision, Features, FillBook, HoldReason, InstrumentId, Kind,
    Level, Message, Nanos, Opinion, Opinions, OrderUpdate, Price, Quantity, Quote, Timer, TimerOwner,
    TimerRequest, Topic, Trading, TradingState, VenueStatus,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::fair::{FairConfig, FairPrice};
use crate::glft::{Distances, GlftError, GlftModel};
use crate::maker::{MakerConfig, quotes};

/// Most outputs of one input: the input itself, a decision to execution and to the journal, a deadline.
pub const OUTPUTS_MAX: usize = 4;
/// Name of the one deadline: a look at whether the book is still fresh.
const LOOK: u64 = 1;
/// Places in [`Features`].
const MICROPRICE: usize = 0;

/// What the maker needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct StrategyConfig {
    /// Number of this strategy, in every order.
    pub strategy: u16,
    /// Instrument that is traded, with its tick in 1e-8.
    pub traded: (InstrumentId, i64),
    /// Instrument whose price helps to find the fair one, with its tick in 1e-8.
    pub other: Option<(InstrumentId, i64)>,
    /// Size of a quote, in 1e-8.
    pub size: i64,
    /// γ, for one tick and one quote size.
    pub risk_aversion: f64,
    /// A: fills a second at distance 0.
    pub fill_rate: f64,
    /// k: decay of the fill rate for one tick of distance.
    pub fill_decay: f64,
    /// Fee floor, inventory stop, lean.
    pub maker: MakerConfig,
    /// Least score at which quotes follow the signal.
    pub score_min: f64,
    /// Least confidence at which they do.
    pub confidence_min: f64,
    /// Fair price.
    pub fair: FairConfig,
    /// Probability of a loss beyond which a side stands further away, and by which factor (model book 6.6).
    pub toxic: (f64, f64),
    /// Volatility.
    pub volatility: VolatilityConfig,
    /// Which alerts let only the way out stand, and for how long.
    pub alerts: AlertPolicy,
    /// Market time between two looks at whether the book is still fresh.
    pub look_interval: Nanos,
}

/// What the stage counts for those who watch.
#[derive(Clone)]
pub struct StrategyMeters {
    decisions: Counter,
    quoted: Counter,
    leaned: Counter,
    widened: Counter,
    position: Counter,
    holds: Box<[Counter]>,
}

kimera_protocol::state!(StrategyMeters { decisions, quoted, leaned, widened, position, holds });

impl StrategyMeters {
    /// Counters `strategy.decisions` (marks), `strategy.quoted`, `strategy.leaned`, `strategy.widened`, `strategy.position` and `strategy.hold.<reason>`.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let holds = HoldReason::ALL.iter().map(|r| counters.counter(&format!("strategy.hold.{}", r.name())));
        Self {
            decisions: counters.counter("strategy.decisions"),
            quoted: counters.counter("strategy.quoted"),
            leaned: counters.counter("strategy.leaned"),
            widened: counters.counter("strategy.widened"),
            position: counters.counter("strategy.position"),
            holds: holds.collect(),
        }
    }

    fn count(&self, decision: &Decision, toxic_above: f64) {
        self.decisions.add(1);
        self.leaned.add(u64::from(decision.signal != 0.0));
        match HoldReason::from_code(decision.hold) {
            None => {
                self.quoted.add(1);
                self.widened.add(u64::from(decision.toxicity.iter().any(|p| *p > toxic_above)));
            }
            Some(reason) => {
                if let Some(i) = HoldReason::ALL.iter().position(|r| *r == reason) {
                    self.holds[i].add(1);
                }
            }
        }
    }
}

/// The stage.
pub struct MakerStage {
    config: StrategyConfig,
    model: Result<GlftModel, GlftError>,
    trading: Trading,
    venue_ready: bool,
    quote: Quote,
    quote_time: Nanos,
    fair: FairPrice,
    volatility: Volatility,
    signal: f64,
    confidence: f64,
    fills: FillBook,
    position: i64,
    /// Behind an alert: until when only the way out stands.
    held_until: Nanos,
    /// What slow estimators think of the traded market.
    opinions: Opinions,
    meters: StrategyMeters,
}

kimera_protocol::state!(MakerStage { trading, venue_ready, quote, quote_time, fair, volatility, signal, confidence, fills, position, held_until, opinions, meters } fixed { config, model });

impl MakerStage {
    /// A maker that has seen nothing and may not trade yet.
    #[must_use]
    pub fn new(config: StrategyConfig, meters: StrategyMeters) -> Self {
        Self {
            trading: Trading::default(),
            venue_ready: false,
            quote: Quote::default(),
            quote_time: 0,
            fair: FairPrice::new(config.fair),
            volatility: Volatility::new(config.volatility),
            signal: 0.0,
            confidence: 0.0,
            fills: FillBook::default(),
            position: 0,
            held_until: Nanos::MIN,
            opinions: Opinions::about(config.traded.0),
            meters,
            model: GlftModel::new(config.risk_aversion, config.fill_rate, config.fill_decay),
            config,
        }
    }

    /// The position by fills, in 1e-8, with its sign.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    fn is_traded(&self, message: &Message) -> bool {
        message.instrument() == self.config.traded.0
    }

    fn quote(&mut self, message: &Message, quote: &Quote) {
        if !self.is_traded(message) {
            return;
        }
        self.quote = *quote;
        if quote.usable != 0 {
            self.quote_time = message.header.time;
            let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
            self.volatility.moved(mid, message.header.time);
        }
    }

    fn features(&mut self, message: &Message, features: &Features) {
        let (time, traded) = (message.header.time, self.is_traded(message));
        let other = self.config.other.filter(|(id, _)| *id == message.instrument());
        if !features.status(MICROPRICE).is_usable() {
            return;
        }
        if traded {
            self.fair.own(features.microprice * self.config.traded.1 as f64, time);
        } else if let Some((_, tick)) = other {
            self.fair.other(features.microprice * tick as f64, time);
        }
    }

    /// A detector's suspicion, about the traded market or the one that is followed: said with the next decision, which
    /// comes with the input's own mark where it is one.
    #[cold]
    fn alerted(&mut self, message: &Message, alert: &Alert) {
        let is_other = self.config.other.is_some_and(|(id, _)| id == message.instrument());
        if (self.is_traded(message) || is_other)
            && let Some(until) = self.config.alerts.holds_until(alert, message.header.time)
        {
            self.held_until = until.max(self.held_until);
        }
    }

    /// The forecast is held until the next one; quotes lean on it only where it is strong and trusted enough.
    fn consensus(&mut self, consensus: &Consensus) {
        let strong = consensus.score.abs() >= self.config.score_min;
        let trusted = consensus.confidence >= self.config.confidence_min;
        self.confidence = consensus.confidence;
        self.signal = if consensus.voted != 0 && strong && trusted { consensus.score } else { 0.0 };
    }

    /// What should stand from here on.
    fn decide(&self, time: Nanos) -> Decision {
        let mut decision = Decision {
            position: self.position,
            strategy: u64::from(self.config.strategy),
            signal: self.signal,
            confidence: self.confidence,
            ..Decision::default()
        };
        match self.wanted(time, &mut decision) {
            Ok(()) => decision,
            Err(reason) => {
                let none = Level::default();
                Decision { bid: none, ask: none, hold: reason as u64, ..decision }
            }
        }
    }

    fn wanted(&self, time: Nanos, decision: &mut Decision) -> Result<(), HoldReason> {
        if self.trading.state == TradingState::Halted {
            return Err(HoldReason::Halted);
        }
        if !self.venue_ready {
            return Err(HoldReason::VenueDown);
        }
        let age = time.saturating_sub(self.quote_time);
        if self.quote.usable == 0 || age > self.config.fair.stale_after {
            return Err(HoldReason::NoBook);
        }
        let fair = self.fair.at(time).ok_or(HoldReason::NoFairPrice)? / self.config.traded.1 as f64;
        decision.fair = fair;
        let volatility = self.volatility.per_root_second().ok_or(HoldReason::Unfit)?;
        let c = &self.config;
        let glft = self.model.and_then(|model| model.at(volatility)).map_err(|_| HoldReason::Unfit)?;
        let inventory = self.position as f64 / c.size as f64;
        let distances = glft.distances(inventory);
        let best = |level: Level| (level.size.0 > 0).then_some(level);
        let (bid, ask) = (best(self.quote.bid), best(self.quote.ask));
        let toxicity = [Topic::ToxicBid, Topic::ToxicAsk].map(|topic| self.opinions.get(topic, time));
        decision.toxicity = toxicity.map(Option::unwrap_or_default);
        let [bid_factor, ask_factor] = decision.toxicity.map(|p| if p > c.toxic.0 { c.toxic.1 } else { 1.0 });
        let widen = Distances { bid: bid_factor, ask: ask_factor };
        let q = quotes(&c.maker, fair, distances, widen, self.signal, inventory, (bid, ask));
        let (bid_size, ask_size) = self.sizes(time)?;
        let level = |price: Option<Price>, size| {
            price
                .filter(|_| size > 0)
                .map_or_else(Level::default, |price| Level { price, size: Quantity(size) })
        };
        (decision.bid, decision.ask) = (level(q.bid, bid_size), level(q.ask, ask_size));
        if decision.bid.size.0 == 0 && decision.ask.size.0 == 0 { Err(HoldReason::NoSide) } else { Ok(()) }
    }

    /// Sizes of bid and ask: where only the way out is open, the side that leads out and no more than the position.
    fn sizes(&self, time: Nanos) -> Result<(i64, i64), HoldReason> {
        let size = self.config.size;
        let is_active = self.trading.state == TradingState::Active;
        if is_active && time >= self.held_until {
            return Ok((size, size));
        }
        match self.position {
            0 => Err(if is_active { HoldReason::MarketAlert } else { HoldReason::Reducing }),
            long if long > 0 => Ok((0, size.min(long))),
            short => Ok((size.min(short.saturating_neg()), 0)),
        }
    }

    fn say(&self, message: &Message, out: &mut Outbox) {
        let decision = self.decide(message.header.time);
        if message.is_mark() {
            self.meters.count(&decision, self.config.toxic.0);
        }
        out.send(Port::Line, self.config.traded.0, decision);
        out.send(Port::Record, self.config.traded.0, decision);
    }

    fn look_again(&self, time: Nanos, out: &mut Outbox) {
        let request = TimerRequest {
            owner: TimerOwner::Strategy as u64,
            id: LOOK,
            deadline: time.saturating_add(self.config.look_interval),
            ..TimerRequest::default()
        };
        out.send(Port::Feedback, InstrumentId(0), request);
    }
}

impl Actor for MakerStage {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        let time = message.header.time;
        if let Some(features) = message.body::<Features>() {
            self.features(message, features);
            return;
        }
        if let Some(consensus) = message.body::<Consensus>() {
            self.consensus(consensus);
            self.say(message, out);
            return;
        }
        if let Some(alert) = message.body::<Alert>() {
            self.alerted(message, alert);
            return;
        }
        if let Some(timer) = message.body::<Timer>()
            && timer.owner == TimerOwner::Strategy as u64
        {
            // Without marks nobody else would notice that the book has grown old.
            self.look_again(time, out);
            self.say(message, out);
            return;
        }
        if let Some(opinion) = message.body::<Opinion>() {
            // Nobody behind it has a use for it.
            self.opinions.hear(message.instrument(), opinion);
            return;
        }
        out.forward(Port::Line, message);
        if let Some(quote) = message.body::<Quote>() {
            self.quote(message, quote);
        } else if let Some(update) = message.body::<OrderUpdate>() {
            let fill = if self.is_traded(message) { self.fills.signed_fill(update) } else { 0 };
            if fill != 0 {
                self.position = self.position.saturating_add(fill);
                self.meters.position.set(self.position as u64);
                self.say(message, out);
            }
        } else if let Some(command) = message.body::<Command>() {
            if self.trading.apply(command) {
                self.say(message, out);
            }
        } else if let Some(status) = message.body::<VenueStatus>() {
            self.venue_ready = status.ready != 0;
            self.say(message, out);
        } else if message.kind() == Some(Kind::Started) {
            // Another start: nothing may leave, and no gateway has said that it can.
            self.trading = Trading::default();
            self.venue_ready = false;
            self.look_again(time, out);
        }
    }

    fn digest(&self) -> u64 {
        let words = [
            self.position as u64,
            self.trading.state as u64,
            self.trading.epoch,
            self.held_until as u64 ^ self.opinions.digest(),
            self.signal.to_bits(),
            self.fair.at(self.quote_time).unwrap_or_default().to_bits(),
            self.volatility.per_root_second().unwrap_or_default().to_bits(),
        ];
        words.iter().fold(0, |d: u64, w| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

#[cfg(test)]
mod tests;
