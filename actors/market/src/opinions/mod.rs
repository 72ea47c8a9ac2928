//! Slow estimators of the model book, section 1, over what a run hears: those that fit, that look at minutes and days, or that need what comes
//! later. [`Analyst`] sits beside the line and is fed with its inputs; what it thinks enters by the sequencer as [`Opinion`]s.
//!
//! It reads no clock: the same messages give the same opinions, so what a run has said can be computed again from its journal.

mod desk;
mod minutes;
mod toxicity;

use kimera_numerics::Estimate;
use kimera_protocol::{
    FeedState, FeedStatus, InstrumentId, Kind, Message, Nanos, Opinion, Ticker, Topic, Trade,
};

use desk::Desk;

const SECOND: Nanos = 1_000_000_000;

/// Parameters of the slow estimators, with the model book's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalystConfig {
    /// Tick of each instrument, in 1e-8 of the quote asset.
    pub ticks: Box<[i64]>,
    /// Between two opinions on what moves by the second; they may be used five times as long.
    pub every: Nanos,
    /// Between two opinions on everything else; they may be used five times as long.
    pub every_slow: Nanos,
    /// 1.8 and 1.11: how long behind a trade it is judged.
    pub horizon: Nanos,
    /// 1.11 and 1.12: between two fits.
    pub refit: Nanos,
    /// 1.9: time over which a day's volume is measured before the first bucket.
    pub volume_span: Nanos,
    /// 1.9: buckets a day, and buckets of the sum.
    pub buckets: (u32, u32),
}

impl Default for AnalystConfig {
    fn default() -> Self {
        Self {
            ticks: Box::default(),
            every: SECOND,
            every_slow: 60 * SECOND,
            horizon: 5 * SECOND,
            refit: 3_600 * SECOND,
            volume_span: 3_600 * SECOND,
            buckets: (50, 50),
        }
    }
}

/// What is thought of one topic.
#[derive(Clone, Copy, Debug)]
struct Thought {
    topic: Topic,
    estimate: Estimate,
    artefact: u64,
}

/// Every instrument under every slow estimator.
pub struct Analyst {
    config: AnalystConfig,
    desks: Box<[Desk]>,
    /// When it thinks next: of what moves by the second, and of everything.
    next: (Nanos, Nanos),
    thoughts: Vec<Thought>,
}

impl Analyst {
    /// Has heard nothing yet.
    #[must_use]
    pub fn new(config: AnalystConfig) -> Self {
        let desks = config.ticks.iter().map(|&tick| Desk::new(&config, tick)).collect();
        Self { config, desks, next: (0, 0), thoughts: Vec::new() }
    }

    /// True for what it listens to.
    #[must_use]
    pub fn listens_to(kind: Kind) -> bool {
        matches!(kind, Kind::Ticker | Kind::Trade | Kind::FeedStatus | Kind::Started)
    }

    /// Takes an input; where its time is beyond the next one to think at, what is thought of everything before it is said first.
    pub fn hear(&mut self, message: &Message, mut say: impl FnMut(InstrumentId, Opinion)) {
        let Some(kind) = message.kind().filter(|kind| Self::listens_to(*kind)) else { return };
        let header = &message.header;
        if kind == Kind::Started {
            self.forget();
            return;
        }
        if header.time >= self.next.0 {
            self.think(header.time, &mut say);
            let later = |every: Nanos| (header.time.div_euclid(every.max(1)) + 1) * every.max(1);
            let slow = if header.time >= self.next.1 { later(self.config.every_slow) } else { self.next.1 };
            self.next = (later(self.config.every), slow);
        }
        let Some(desk) = self.desks.get_mut(usize::from(header.instrument)) else { return };
        desk.heard(header.seq);
        if let Some(ticker) = message.body::<Ticker>() {
            desk.quoted(ticker.bid, ticker.ask, header.time);
        } else if let Some(trade) = message.body::<Trade>() {
            desk.traded(trade, header.time);
        } else if message.body::<FeedStatus>().is_some_and(|s| s.state != FeedState::Connected as u64) {
            desk.forget();
        }
    }

    /// Something was not heard: what follows is not compared with what was before.
    pub fn forget(&mut self) {
        self.desks.iter_mut().for_each(Desk::forget);
    }

    fn think(&mut self, now: Nanos, say: &mut impl FnMut(InstrumentId, Opinion)) {
        let is_slow = now >= self.next.1;
        for (desk, instrument) in self.desks.iter_mut().zip(0u16..) {
            desk.think(now, is_slow, &mut self.thoughts);
            for thought in self.thoughts.drain(..) {
                let lasts =
                    if desk::is_slow(thought.topic) { self.config.every_slow } else { self.config.every };
                let opinion = Opinion {
                    topic: thought.topic as u64,
                    value: thought.estimate.value,
                    observations: thought.estimate.n,
                    status: thought.estimate.status as u64,
                    basis: desk.basis(),
                    valid_until: now.saturating_add(lasts.saturating_mul(5)),
                    artefact: thought.artefact,
                    second: 0.0,
                    reserved: [0; 4],
                };
                say(InstrumentId(instrument), opinion);
            }
        }
    }
}

/// A word for what something was computed with.
fn artefact(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

#[cfg(test)]
mod tests;
