//! Slow parts of members: what is remembered, fitted, or looked at over many bars. They sit beside the line, hear its inputs and say opinions, which
//! enter by the sequencer; a member's seat on the line votes with the newest one. No clock is read: the same inputs give the same opinions.
//!
//! * [`bars`]: what every one of them looks at
//! * [`pattern`]: what followed windows like this one (3.6, 3.7)
//! * [`regime`]: change points and regimes (3.5)
//! * [`fields`]: states as points that move (3.2)
//! * [`flow`]: how evenly takers spread over what they can do (3.4)
//! * [`hours`]: how hot, calm and driven a market is among its hours of months (3.4, 3.8)
//! * [`crowd`]: funding, longs against shorts, an index from outside (3.8, 3.9)
//! * [`pair`]: the line that two prices keep to (6.9)
//! * [`together`]: do markets move as one (3.9)

pub mod bars;
mod crowd;
mod fields;
mod flow;
mod hours;
mod pair;
pub mod pattern;
mod regime;
mod together;

use kimera_numerics::{Estimate, exp};
use kimera_protocol::{
    FeedState, FeedStatus, InstrumentId, Kind, Message, Nanos, Opinion, Prime, Reading, Seq, Status, TOPICS,
    Ticker, Topic, Trade,
};

use bars::{Bar, Grid, OTHER, OpenBar, RETURN, VOLUME};
use crowd::Crowd;
use fields::Fields;
use flow::Flow;
use hours::Hours;
use pair::Pair;
use pattern::{PatternConfig, Patterns};
use regime::Regime;
use together::Together;

/// Bars an opinion may be used.
const BARS_VALID: i64 = 5;
/// Bars without anything happening behind which everything begins anew.
const GAP_BARS: u64 = 60;

/// Parameters of the slow parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowConfig {
    /// Instruments.
    pub instruments: usize,
    /// The one that is traded.
    pub traded: InstrumentId,
    /// Its tick, in the quote asset.
    pub tick: f64,
    /// The other market that its price is compared with.
    pub other: Option<InstrumentId>,
    /// Length of a bar.
    pub bar: Nanos,
    /// Patterns.
    pub pattern: PatternConfig,
}

impl SlowConfig {
    /// How far back bars are remembered, in market time without pauses: what is older has left the memory. Hours and readings reach further.
    #[must_use]
    pub fn reach(&self) -> Nanos {
        let bars = self.pattern.memory.saturating_add(4 * pattern::embedding::WINDOW);
        self.bar.saturating_mul(bars as i64).saturating_add(self.pattern.horizon)
    }
}

/// What is thought of one topic.
#[derive(Clone, Copy, Debug)]
struct Thought {
    topic: Topic,
    estimate: Estimate,
    second: f64,
    /// How long it may be used; some bars where nothing is said.
    valid: Option<Nanos>,
}

impl Thought {
    fn new(topic: Topic, estimate: Estimate) -> Self {
        Self { topic, estimate, second: 0.0, valid: None }
    }

    fn with_second(self, second: f64) -> Self {
        Self { second, ..self }
    }

    fn valid_for(self, valid: Nanos) -> Self {
        Self { valid: Some(valid), ..self }
    }
}

/// Rank of a value among others, from 0 to 1; half of those that it is even with are below it.
fn rank_of(value: f64, others: impl Iterator<Item = f64>) -> f64 {
    let (n, twice_below) = others.fold((0u64, 0u64), |(n, below), other| {
        (n + 1, below + u64::from(other < value) + u64::from(other <= value))
    });
    twice_below as f64 / (2 * n).max(1) as f64
}

/// Every slow part.
pub struct SlowMembers {
    config: SlowConfig,
    grid: Grid,
    open: Box<[OpenBar]>,
    patterns: Patterns,
    regime: Regime,
    fields: Fields,
    flow: Flow,
    hours: Hours,
    crowd: Crowd,
    pair: Pair,
    together: Together,
    /// What is heard is older than bars are remembered: only hours are made of it.
    is_far: bool,
    /// The newest input heard; none before the first, and behind a hole.
    basis: Seq,
    thoughts: Vec<Thought>,
    /// Status that was said last of each topic, by instrument.
    said: Box<[[Option<Status>; TOPICS]]>,
    artefact: u64,
}

impl SlowMembers {
    /// Have heard nothing yet. Room for what is remembered of patterns is taken here; what links it grows with it.
    #[must_use]
    pub fn new(config: SlowConfig) -> Self {
        let p = config.pattern;
        let words = [
            pattern::embedding::SEED,
            fields::SEED,
            config.bar as u64,
            config.tick.to_bits(),
            config.other.map_or(u64::MAX, |other| other.0.into()),
            p.memory as u64,
            p.horizon as u64,
            p.barrier_sigmas.to_bits(),
            p.volatility.bar as u64,
            p.volatility.half_life_bars.to_bits(),
            p.volatility.bars_min,
        ];
        let artefact = words.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, word| {
            (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        Self {
            grid: Grid::new(config.bar),
            open: vec![OpenBar::default(); config.instruments].into(),
            patterns: Patterns::new(config.pattern),
            regime: Regime::default(),
            fields: Fields::new(config.instruments),
            flow: Flow::default(),
            hours: Hours::default(),
            crowd: Crowd::default(),
            pair: Pair::default(),
            together: Together::new(config.instruments),
            is_far: false,
            basis: 0,
            thoughts: Vec::new(),
            said: vec![[None; TOPICS]; config.instruments].into(),
            artefact,
            config,
        }
    }

    /// True for what they listen to.
    #[must_use]
    pub fn listens_to(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::Ticker | Kind::Trade | Kind::FeedStatus | Kind::Started | Kind::Reading | Kind::Prime
        )
    }

    /// What followed windows like the present one.
    #[must_use]
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Takes an input of an earlier start and says nothing; of one from before bars are remembered only hours and readings are kept.
    pub fn recall(&mut self, message: &Message, is_far: bool) {
        self.is_far = is_far;
        self.hear(message, |_, _| {});
        self.is_far = false;
    }

    /// Takes an input; where bars have ended by then, what is thought of everything before it is said first.
    pub fn hear(&mut self, message: &Message, mut say: impl FnMut(InstrumentId, Opinion)) {
        let Some(kind) = message.kind().filter(|kind| Self::listens_to(*kind)) else { return };
        let header = &message.header;
        if kind == Kind::Started {
            self.forget();
            return;
        }
        match self.grid.ended(header.time) {
            0 => {}
            ended if ended > GAP_BARS => self.forget(),
            ended => (0..ended).rev().for_each(|later| self.end(header.time, later, &mut say)),
        }
        self.basis = header.seq;
        let instrument = usize::from(header.instrument);
        let Some(open) = self.open.get_mut(instrument) else { return };
        if let Some(ticker) = message.body::<Ticker>() {
            open.quoted(ticker.bid, ticker.ask);
            if header.instrument == self.config.traded.0
                && !self.is_far
                && let Some(mid) = open.mid()
            {
                self.patterns.moved(mid, header.time);
            }
        } else if let Some(trade) = message.body::<Trade>() {
            open.traded(trade);
        } else if let Some(reading) = message.body::<Reading>() {
            self.crowd.read(reading, header.time);
        } else if let Some(prime) = message.body::<Prime>() {
            if header.instrument == self.config.traded.0 {
                self.hours.told(prime, header.time);
            }
        } else if message.body::<FeedStatus>().is_some_and(|s| s.state != FeedState::Connected as u64) {
            *open = OpenBar::default();
            self.lost(instrument);
        }
    }

    /// An instrument's stream has a hole.
    fn lost(&mut self, instrument: usize) {
        let is_traded = instrument == usize::from(self.config.traded.0);
        self.fields.forget(instrument);
        self.together.forget(instrument);
        if is_traded {
            self.patterns.forget();
            self.regime.forget();
            self.flow.forget();
            self.hours.forget();
        }
        if is_traded || self.config.other.is_some_and(|other| usize::from(other.0) == instrument) {
            self.pair.forget();
        }
    }

    /// Something was not heard: what follows is not compared with what was before. What was learnt stays.
    pub fn forget(&mut self) {
        self.basis = 0;
        self.said.iter_mut().for_each(|said| *said = [None; TOPICS]);
        self.open.iter_mut().for_each(|open| *open = OpenBar::default());
        (0..self.config.instruments).for_each(|instrument| self.lost(instrument));
    }

    /// A bar ends, `later` bars before the one that is open now.
    fn end(&mut self, now: Nanos, later: u64, say: &mut impl FnMut(InstrumentId, Opinion)) {
        let length = self.grid.length();
        let time = (now.div_euclid(length) - later as i64) * length;
        if self.is_far {
            self.end_far(time);
            return;
        }
        let mut ended: Vec<_> = self.open.iter_mut().map(OpenBar::end).collect();
        let returns: Vec<_> = ended.iter().map(|bar| bar.map(|bar| bar[RETURN])).collect();
        for (i, bar) in ended.iter_mut().enumerate() {
            let other = returns.iter().enumerate().find(|(j, of)| *j != i && of.is_some());
            if let (Some(bar), Some((_, Some(of)))) = (bar, other) {
                bar[OTHER] = *of;
            }
        }
        let traded = usize::from(self.config.traded.0);
        // The traded one last: what compares markets needs the others first.
        let order = (0..ended.len()).filter(|i| *i != traded).chain([traded]);
        for instrument in order {
            let Some(bar) = ended.get(instrument).copied().flatten() else { continue };
            let is_traded = instrument == traded;
            self.fields.ended(instrument, is_traded, &bar, time, &mut self.thoughts);
            if let Some(mid) = self.open[instrument].mid() {
                self.together.priced(instrument, mid);
                if is_traded {
                    self.traded_ended(bar, mid, time);
                }
            }
            self.say(instrument, time, say);
        }
        if ended.get(traded).is_some_and(Option::is_some)
            && let Some(other) = self.config.other.map(|other| usize::from(other.0))
            && ended.get(other).is_some_and(Option::is_some)
            && let (Some(price), Some(against)) = (self.open[traded].mid(), self.open[other].mid())
        {
            self.pair.ended(price, against, length, &mut self.thoughts);
        }
        self.together.ended(time, &mut self.thoughts);
        self.crowd.ended(time, &mut self.thoughts);
        self.say(traded, time, say);
    }

    /// A bar ends of which nothing is remembered but its hour.
    fn end_far(&mut self, time: Nanos) {
        let traded = usize::from(self.config.traded.0);
        for (instrument, open) in self.open.iter_mut().enumerate() {
            if let Some(bar) = open.end().filter(|_| instrument == traded)
                && let Some(mid) = open.mid()
            {
                self.hours.ended(mid * self.config.tick, volume(&bar), time, &mut self.thoughts);
            }
        }
        self.thoughts.clear();
    }

    /// The traded instrument's bar has ended with a mid.
    fn traded_ended(&mut self, bar: Bar, mid: f64, time: Nanos) {
        let thoughts = &mut self.thoughts;
        self.regime.ended(bar[RETURN], thoughts);
        self.patterns.ended(bar, mid, time, thoughts);
        self.flow.ended(&bar, time, thoughts);
        self.hours.ended(mid * self.config.tick, volume(&bar), time, thoughts);
    }

    /// Says what is thought of an instrument; what cannot be used yet, or any more, is said once, and nothing where nothing was heard behind a hole.
    fn say(&mut self, instrument: usize, time: Nanos, say: &mut impl FnMut(InstrumentId, Opinion)) {
        if self.basis == 0 {
            self.thoughts.clear();
            return;
        }
        let Some(said) = self.said.get_mut(instrument) else { return };
        let usual = self.grid.length().saturating_mul(BARS_VALID);
        for thought in self.thoughts.drain(..) {
            let status = thought.estimate.status;
            let before = said[thought.topic as usize - 1].replace(status);
            if !status.is_usable() && before == Some(status) {
                continue;
            }
            let opinion = Opinion {
                topic: thought.topic as u64,
                value: thought.estimate.value,
                observations: thought.estimate.n,
                status: status as u64,
                basis: self.basis,
                valid_until: time.saturating_add(thought.valid.unwrap_or(usual)),
                artefact: self.artefact,
                second: if thought.second.is_finite() { thought.second } else { 0.0 },
                reserved: [0; 4],
            };
            say(InstrumentId(instrument as u16), opinion);
        }
    }
}

/// Volume of a bar, in units of the base asset.
fn volume(bar: &Bar) -> f64 {
    (exp(bar[VOLUME]) - 1.0).max(0.0)
}

#[cfg(test)]
mod tests;
