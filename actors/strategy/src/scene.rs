//! What strategies may look at: the same for all of them, filled by the stage.

use kimera_numerics::{Volatility, VolatilityConfig};
use kimera_protocol::{
    Alert, AlertPolicy, Consensus, Features, InstrumentId, Nanos, Opinions, Quote, Trading,
};

use crate::fair::{FairConfig, FairPrice};
use crate::rules::Rule;

/// Place in [`Features`].
const MICROPRICE: usize = 0;
/// Seconds of a year.
const YEAR_S: f64 = 365.25 * 86_400.0;

/// Steps of an instrument, and whether orders for it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Price step in 1e-8 of the quote asset.
    pub tick_units: i64,
    /// Size step of our orders in 1e-8 of the base asset.
    pub lot_units: i64,
    /// Some gateway sends orders for it.
    pub tradable: bool,
}

/// What the scene needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneConfig {
    /// By instrument.
    pub instruments: Vec<Steps>,
    /// The one that is forecast, and traded where nothing else is said.
    pub traded: InstrumentId,
    /// The one whose price helps to find the fair one.
    pub other: Option<InstrumentId>,
    /// Fair price.
    pub fair: FairConfig,
    /// Volatility; its bars are the strategies' bars too.
    pub volatility: VolatilityConfig,
    /// Least score at which the forecast is a signal.
    pub score_min: f64,
    /// Least confidence at which it is.
    pub confidence_min: f64,
    /// Which alerts let only the way out stand, and for how long.
    pub alerts: AlertPolicy,
}

/// One instrument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Market {
    /// Its steps.
    pub steps: Steps,
    /// The newest quote.
    pub quote: Quote,
    /// Market time of the newest usable one.
    pub quote_time: Nanos,
    /// Twice the mid of the newest usable one, in ticks; 0 before the first.
    pub doubled_last: i64,
    /// Imbalance-weighted price in ticks, and the market time of it; 0 before the first.
    pub microprice: (f64, Nanos),
}

kimera_protocol::state!(Market { quote, quote_time, doubled_last, microprice } fixed { steps });

impl Market {
    /// Twice the mid, in ticks; none without a usable book of at most this age.
    #[must_use]
    pub fn doubled_mid(&self, now: Nanos, age_max: Nanos) -> Option<i64> {
        let fresh = self.quote.usable != 0 && now.saturating_sub(self.quote_time) <= age_max;
        fresh.then(|| self.quote.bid.price.0 + self.quote.ask.price.0)
    }

    /// The mid in ticks, as [`Market::doubled_mid`].
    #[must_use]
    pub fn mid(&self, now: Nanos, age_max: Nanos) -> Option<f64> {
        self.doubled_mid(now, age_max).map(|doubled| doubled as f64 / 2.0)
    }

    /// The last known mid in 1e-8 of the quote asset, however old; 0 before the first.
    #[must_use]
    pub fn last_mid_units(&self) -> i64 {
        self.doubled_last.saturating_mul(self.steps.tick_units) / 2
    }
}

/// A closed bar: strategies read the mids from the scene as they were at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Bars that have passed without any quote before it: more than a few are a hole.
    pub missed: u64,
}

/// Bars without a quote that are a hole: what is computed from bars begins anew.
pub const HOLE_BARS: u64 = 5;

/// The scene.
#[derive(Clone, Debug)]
pub struct Scene {
    config: SceneConfig,
    /// Market time of what is being handled.
    pub time: Nanos,
    /// What may leave.
    pub trading: Trading,
    /// The gateway can send.
    pub venue_ready: bool,
    /// The forecast that is held.
    pub consensus: Consensus,
    /// Its score where it is strong and trusted enough, else 0.
    pub signal: f64,
    /// What slow estimators think of the traded market.
    pub opinions: Opinions,
    /// Behind an alert: until when only the way out stands.
    pub held_until: Nanos,
    /// The fair price of the traded instrument.
    pub fair: FairPrice,
    /// Volatility of the traded instrument's mid.
    pub volatility: Volatility,
    markets: Box<[Market]>,
    /// Number of the bar that is open; none before the first quote.
    bar: Option<i64>,
    /// When it ends.
    bar_end: Nanos,
    /// Mids at the end of the last closed bar, in ticks, by instrument; 0 where there is none.
    closes: Box<[f64]>,
}

kimera_protocol::state!(Scene { time, trading, venue_ready, consensus, signal, opinions, held_until, fair, volatility, markets, bar, bar_end, closes } fixed { config });

impl Scene {
    /// Nothing seen, and nothing may leave.
    #[must_use]
    pub fn new(config: SceneConfig) -> Self {
        let empty = |steps: &Steps| Market {
            steps: *steps,
            quote: Quote::default(),
            quote_time: 0,
            doubled_last: 0,
            microprice: (0.0, 0),
        };
        Self {
            time: 0,
            trading: Trading::default(),
            venue_ready: false,
            consensus: Consensus::default(),
            signal: 0.0,
            opinions: Opinions::about(config.traded),
            held_until: Nanos::MIN,
            fair: FairPrice::new(config.fair),
            volatility: Volatility::new(config.volatility),
            markets: config.instruments.iter().map(empty).collect(),
            bar: None,
            bar_end: Nanos::MIN,
            closes: vec![0.0; config.instruments.len()].into(),
            config,
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// An instrument; none where there is no such one.
    #[must_use]
    pub fn market(&self, of: InstrumentId) -> Option<&Market> {
        self.markets.get(usize::from(of.0))
    }

    /// Mid of an instrument at the end of the last closed bar, in ticks; none before the first.
    #[must_use]
    pub fn close(&self, of: InstrumentId) -> Option<f64> {
        self.closes.get(usize::from(of.0)).copied().filter(|close| *close > 0.0)
    }

    /// Age at which a price is not used any more.
    #[must_use]
    pub fn stale_after(&self) -> Nanos {
        self.config.fair.stale_after
    }

    /// The rule of cognitive pressure that holds.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule::of(&self.consensus)
    }

    /// Volatility of the traded instrument as a fraction a root second; none during warm-up.
    #[must_use]
    pub fn relative_volatility(&self) -> Option<f64> {
        let mid = self.market(self.config.traded)?.mid(self.time, Nanos::MAX)?;
        self.volatility.per_root_second().map(|ticks| ticks / mid)
    }

    /// The same as a fraction a root year.
    #[must_use]
    pub fn annual_volatility(&self) -> Option<f64> {
        self.relative_volatility().map(|v| v * YEAR_S.sqrt())
    }

    /// Takes a quote; a bar where one has closed by it.
    pub(crate) fn quote(&mut self, of: InstrumentId, quote: &Quote) -> Option<Bar> {
        let time = self.time;
        let bar = if quote.usable != 0 { self.cut(time) } else { None };
        let market = self.markets.get_mut(usize::from(of.0))?;
        market.quote = *quote;
        if quote.usable != 0 {
            market.quote_time = time;
            market.doubled_last = quote.bid.price.0.saturating_add(quote.ask.price.0);
            if of == self.config.traded {
                let mid = (quote.bid.price.0 + quote.ask.price.0) as f64 / 2.0;
                self.volatility.moved(mid, time);
            }
        }
        bar
    }

    #[inline]
    fn cut(&mut self, time: Nanos) -> Option<Bar> {
        if time < self.bar_end { None } else { self.close_bar(time) }
    }

    #[cold]
    fn close_bar(&mut self, time: Nanos) -> Option<Bar> {
        let length = self.config.volatility.bar.max(1);
        let now = time.div_euclid(length);
        self.bar_end = now.saturating_add(1).saturating_mul(length);
        let open = self.bar.replace(now)?;
        for (close, market) in self.closes.iter_mut().zip(&self.markets) {
            // What has no book at the end of a bar has no close, however good its last one was.
            *close = if market.quote.usable != 0 {
                (market.quote.bid.price.0 + market.quote.ask.price.0) as f64 / 2.0
            } else {
                0.0
            };
        }
        Some(Bar { missed: (now - open - 1) as u64 })
    }

    pub(crate) fn features(&mut self, of: InstrumentId, features: &Features) {
        if !features.status(MICROPRICE).is_usable() {
            return;
        }
        let time = self.time;
        let Some(market) = self.markets.get_mut(usize::from(of.0)) else { return };
        market.microprice = (features.microprice, time);
        let price = features.microprice * market.steps.tick_units as f64;
        if of == self.config.traded {
            self.fair.own(price, time);
        } else if self.config.other == Some(of) {
            self.fair.other(price, time);
        }
    }

    /// The forecast is held until the next one; it is a signal only where it is strong and trusted enough.
    pub(crate) fn consensus(&mut self, consensus: &Consensus) {
        let strong = consensus.score.abs() >= self.config.score_min;
        let trusted = consensus.confidence >= self.config.confidence_min;
        self.consensus = *consensus;
        self.signal = if consensus.voted != 0 && strong && trusted { consensus.score } else { 0.0 };
    }

    /// A detector's suspicion, about the traded market or the one that is followed.
    #[cold]
    pub(crate) fn alerted(&mut self, of: InstrumentId, alert: &Alert) {
        if (of == self.config.traded || self.config.other == Some(of))
            && let Some(until) = self.config.alerts.holds_until(alert, self.time)
        {
            self.held_until = until.max(self.held_until);
        }
    }

    /// A word that tells two scenes apart that differ.
    pub(crate) fn digest(&self) -> u64 {
        let market = self.market(self.config.traded);
        let words = [
            self.trading.state as u64,
            self.trading.epoch,
            self.held_until as u64 ^ self.opinions.digest(),
            self.signal.to_bits(),
            self.fair.at(market.map_or(0, |m| m.quote_time)).unwrap_or_default().to_bits(),
            self.volatility.per_root_second().unwrap_or_default().to_bits(),
        ];
        words.iter().fold(0, |d: u64, w| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{PERP, UNIT, config};
    use kimera_protocol::{Level, Price, Quantity};

    #[test]
    fn a_book_that_is_lost_leaves_its_last_price_and_no_price_overflows() {
        let mut scene = Scene::new(config().scene);
        let level = |price| Level { price: Price(price), size: Quantity(UNIT) };
        let quote = |bid, ask, usable| Quote { bid: level(bid), ask: level(ask), usable, ..Quote::default() };
        scene.quote(PERP, &quote(599_999, 600_001, 1));
        scene.quote(PERP, &quote(0, 0, 0));
        let market = scene.market(PERP).unwrap();
        assert_eq!((market.last_mid_units(), market.mid(0, 1)), (60_000 * UNIT, None));
        let most = kimera_protocol::instrument::PRICE_MAX;
        scene.quote(PERP, &quote(most - 1, most, 1));
        assert!(scene.market(PERP).unwrap().last_mid_units() > 0);
    }
}
