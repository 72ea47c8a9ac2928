//! News (model book 6.13; Tetlock 2007): headlines of two independent sources, or of one that is trusted alone, for a minute
//! behind their publication, in a market whose spread is what it usually is.

use kimera_numerics::exp;
use kimera_protocol::{Decision, HoldReason, InstrumentId, Nanos, News, Urgency};

use super::Costs;
use super::forecast::round_trip_bps;
use crate::account::Account;
use crate::scene::{Bar, Scene};
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// Headlines that are remembered.
const HEADLINES: usize = 32;
/// Spreads of bars that the usual one is found in.
const SPREADS: usize = 63;
/// A headline from further in the future than this is of a clock that is wrong.
const SKEW: Nanos = 1_000_000_000;

/// Weight of a headline that says something, at least.
const LEAST: f64 = 0.05;

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewsTradingConfig {
    /// Time after which a headline's weight has fallen to 1/e.
    pub decay: Nanos,
    /// Oldest headline that is traded on.
    pub age_max: Nanos,
    /// Least signal, without sign.
    pub enter: f64,
    /// Share of a full position.
    pub share: f64,
    /// How many times the usual spread is too wide.
    pub spread_max: f64,
    /// What a signal of 1 is expected to move the price by, basis points: a parameter, not a finding.
    pub skill_bps: f64,
}

impl Default for NewsTradingConfig {
    fn default() -> Self {
        Self {
            decay: 1_800_000_000_000,
            age_max: 60_000_000_000,
            enter: 0.2,
            share: 0.5,
            spread_max: 2.0,
            skill_bps: 30.0,
        }
    }
}

/// The strategy.
pub struct NewsTrading {
    config: NewsTradingConfig,
    costs: Costs,
    traded: InstrumentId,
    headlines: [News; HEADLINES],
    /// Headlines heard since the beginning.
    heard: u64,
    /// A source's clock is ahead of ours: nothing is believed any more.
    is_skewed: bool,
    spreads: [f64; SPREADS],
    bars: u64,
}

kimera_protocol::state!(NewsTrading { headlines, heard, is_skewed, spreads, bars } fixed { config, costs, traded });

impl NewsTrading {
    /// On this instrument.
    #[must_use]
    pub fn new(config: NewsTradingConfig, costs: Costs, traded: InstrumentId) -> Self {
        Self {
            config,
            costs,
            traded,
            headlines: [News::default(); HEADLINES],
            heard: 0,
            is_skewed: false,
            spreads: [0.0; SPREADS],
            bars: 0,
        }
    }

    fn known(&self) -> &[News] {
        &self.headlines[..(self.heard as usize).min(HEADLINES)]
    }

    /// The sum of what is young enough, and whether enough of them say so.
    fn signal(&self, now: Nanos) -> (f64, bool) {
        let age = |n: &News| now.saturating_sub(n.published).max(0);
        let young = || self.known().iter().filter(|n| age(n) <= self.config.age_max);
        let sum =
            young().fold(0.0, |sum, n| sum + n.weight() * exp(-(age(n) as f64) / self.config.decay as f64));
        // Only who says the same, and says something, confirms it.
        let same = || young().filter(|n| n.weight() * sum > 0.0 && n.weight().abs() >= LEAST);
        let first = same().next().map(|n| n.source);
        let is_enough = same().any(|n| n.trusted == 1) || same().any(|n| Some(n.source) != first);
        (sum, is_enough)
    }

    /// The median of the last bars' spreads, in ticks; none before they are full.
    fn usual_spread(&self) -> Option<f64> {
        if self.bars < SPREADS as u64 {
            return None;
        }
        let mut sorted = self.spreads;
        sorted.sort_unstable_by(f64::total_cmp);
        Some(sorted[SPREADS / 2])
    }
}

impl Strategy for NewsTrading {
    fn clear(&mut self) {
        (self.headlines, self.heard) = ([News::default(); HEADLINES], 0);
        (self.is_skewed, self.spreads, self.bars) = (false, [0.0; SPREADS], 0);
    }

    fn bar(&mut self, scene: &Scene, _bar: Bar) {
        let Some(market) = scene.market(self.traded).filter(|m| m.quote.usable != 0) else { return };
        let spread = (market.quote.ask.price.0 - market.quote.bid.price.0) as f64;
        self.spreads[(self.bars % SPREADS as u64) as usize] = spread;
        self.bars += 1;
    }

    fn news(&mut self, scene: &Scene, news: &News) {
        if !news.is_sensible() || self.known().iter().any(|n| n.headline == news.headline) {
            return;
        }
        self.is_skewed |= news.published.saturating_sub(scene.time) > SKEW;
        self.headlines[(self.heard % HEADLINES as u64) as usize] = *news;
        self.heard += 1;
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let held = account.holding(self.traded).position;
        let otherwise = |reason| if held == 0 { Err(reason) } else { Ok(Want::Stay) };
        if self.is_skewed {
            return if held == 0 { Err(HoldReason::Unfit) } else { Ok(Want::Leave(HoldReason::Unfit)) };
        }
        if self.heard == 0 {
            return otherwise(HoldReason::NoSignal);
        }
        let (signal, is_enough) = self.signal(scene.time);
        decision.signal = signal.clamp(-1.0, 1.0) as f32;
        if !is_enough || signal.abs() < self.config.enter {
            return otherwise(HoldReason::NoSignal);
        }
        let market = scene.market(self.traded).ok_or(HoldReason::NoBook)?;
        let spread = (market.quote.ask.price.0 - market.quote.bid.price.0) as f64;
        let usual = self.usual_spread().ok_or(HoldReason::Unfit)?;
        if spread > self.config.spread_max * usual {
            return otherwise(HoldReason::Regime);
        }
        let cost = round_trip_bps(scene, self.traded, &self.costs, Urgency::Take);
        decision.cost_bps = cost.ok_or(HoldReason::Unfit)? as f32;
        Ok(Want::Enter(View {
            direction: if signal > 0.0 { 1 } else { -1 },
            strength: self.config.share,
            probability: None,
            edge_bps: signal.abs().min(1.0) * self.config.skill_bps,
            horizon_ms: (self.config.age_max / 1_000_000).clamp(1, i64::from(u32::MAX)) as u32,
            urgency: Urgency::Take,
        }))
    }

    fn bound(&self) -> Bound {
        Bound::default()
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }

    fn digest(&self) -> u64 {
        self.heard ^ self.bars.rotate_left(17) ^ u64::from(self.is_skewed) << 63
    }
}
