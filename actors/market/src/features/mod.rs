//! The estimators of the model book, section 1, each in its own file; [`FeatureSet`] runs them for one instrument.

pub mod imbalance;
pub mod impact;
pub mod liquidity;
pub mod microprice;
mod next_levels;
pub mod order_flow;
pub mod volatility;

use kimera_numerics::Estimate;
use kimera_protocol::{Features, Level, Nanos, Side, Status, Trade};

use crate::book::{Book, LevelChange};
use crate::top::Top;
use imbalance::Imbalance;
use impact::KyleLambda;
use liquidity::LiquidityFlow;
use next_levels::NextLevels;
use order_flow::OrderFlow;
use volatility::Volatility;

/// Sizes are integers of 1e-8; estimators work in whole base units.
pub(crate) fn base_units(size: i64) -> f64 {
    size as f64 * 1e-8
}

/// Parameters of the estimators, with the model book's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureConfig {
    /// 1.2: decay of a level's weight with its rank.
    pub imbalance_decay: f64,
    /// 1.3: bucket of the order-flow imbalance.
    pub order_flow_bucket: Nanos,
    /// 1.3: half-life of the impact regression, in buckets.
    pub order_flow_half_life: f64,
    /// 1.4: ticks either side of the mid.
    pub liquidity_ticks: i64,
    /// 1.4: bucket of the liquidity flow.
    pub liquidity_bucket: Nanos,
    /// 1.5: bucket of Kyle's lambda.
    pub kyle_bucket: Nanos,
    /// 1.5: half-life, in buckets.
    pub kyle_half_life: f64,
    /// 1.5: least t statistic at which lambda is published.
    pub kyle_t_min: f64,
    /// 1.13: bar.
    pub variance_bar: Nanos,
    /// 1.13: bars of the window.
    pub variance_window: usize,
    /// 1.13: slow scale, in bars.
    pub variance_scale: usize,
    /// How long a last good value may stand in for a crossed book.
    pub stale_after: Nanos,
}

impl Default for FeatureConfig {
    fn default() -> Self {
        const SECOND: Nanos = 1_000_000_000;
        Self {
            imbalance_decay: 0.5,
            order_flow_bucket: SECOND,
            order_flow_half_life: 1_800.0,
            liquidity_ticks: 10,
            liquidity_bucket: SECOND,
            kyle_bucket: 60 * SECOND,
            kyle_half_life: 60.0,
            kyle_t_min: 2.0,
            variance_bar: SECOND,
            variance_window: 3_600,
            variance_scale: 30,
            stale_after: SECOND,
        }
    }
}

/// The estimators of one instrument.
pub struct FeatureSet {
    config: FeatureConfig,
    imbalance: Imbalance,
    /// Bids, asks.
    next_levels: [NextLevels; 2],
    order_flow: OrderFlow,
    liquidity: LiquidityFlow,
    kyle: KyleLambda,
    volatility: Volatility,
    last_microprice: Estimate,
    last_good: Nanos,
}

kimera_protocol::state!(FeatureSet { imbalance, order_flow, liquidity, kyle, volatility, last_microprice, last_good } fixed { config, next_levels });

impl FeatureSet {
    /// Estimators that have seen nothing.
    #[must_use]
    pub fn new(config: FeatureConfig) -> Self {
        Self {
            config,
            imbalance: Imbalance::new(config.imbalance_decay),
            next_levels: [NextLevels::default(); 2],
            order_flow: OrderFlow::new(config.order_flow_bucket, config.order_flow_half_life),
            liquidity: LiquidityFlow::new(config.liquidity_ticks, config.liquidity_bucket),
            kyle: KyleLambda::new(config.kyle_bucket, config.kyle_half_life, config.kyle_t_min),
            volatility: Volatility::new(config.variance_bar, config.variance_window, config.variance_scale),
            last_microprice: Estimate::default(),
            last_good: 0,
        }
    }

    /// A level changed inside a depth frame.
    #[inline]
    pub fn level_changed(&mut self, change: LevelChange) {
        self.liquidity.level_changed(change);
    }

    /// A public trade.
    pub fn traded(&mut self, trade: &Trade) {
        self.liquidity.traded(trade);
        self.kyle.traded(trade.aggressor.signum() as f64 * base_units(trade.size.0));
    }

    /// A frame or ticker has been applied: the best prices may be new.
    pub fn book_moved(&mut self, book: &Book, time: Nanos) {
        let Top::Good { bid, ask } = book.state() else {
            self.order_flow.skip();
            return;
        };
        let mid = mid(bid, ask);
        self.order_flow.quote(bid, ask, mid, time);
        self.kyle.moved(mid, time);
        self.volatility.moved(mid, time);
        self.liquidity.moved(book, bid.price, ask.price, time);
    }

    /// The book was lost: everything that compares with the previous book starts anew.
    pub fn reset(&mut self) {
        self.order_flow.reset();
        self.liquidity.reset();
        self.kyle.reset();
    }

    /// Depth near the mid on a side, in 1e-8.
    #[must_use]
    pub fn depth(&self, side: Side) -> i64 {
        self.liquidity.depth(side)
    }

    /// Every estimate at a mark.
    pub fn evaluate(&mut self, book: &Book, time: Nanos) -> Features {
        let state = book.state();
        let status = state.status();
        let microprice = if let Top::Good { bid, ask } = state {
            self.last_good = time;
            self.last_microprice = Estimate::ok(microprice::weighted_mid(bid, ask), 1);
            self.last_microprice
        } else {
            self.held_microprice(status, time)
        };
        let (bid, ask) = book.best();
        let [bids, asks] = &mut self.next_levels;
        let (bids, asks) = (bids.top(book, Side::Bid, bid), asks.top(book, Side::Ask, ask));
        let imbalance = self.imbalance.evaluate(&bids, &asks, status);
        let variance = self.volatility.family();
        let estimates = [
            microprice,
            imbalance,
            self.order_flow.flow(),
            self.order_flow.impact(),
            self.liquidity.flow(),
            self.kyle.lambda(),
            variance.realised,
            variance.bipower,
            variance.median,
            variance.two_scales,
            variance.jump,
        ];
        pack(&estimates)
    }

    /// D-book: a crossed book holds the last good value for a while, then it is stale.
    fn held_microprice(&self, status: Status, time: Nanos) -> Estimate {
        if status != Status::Crossed || self.last_microprice.n == 0 {
            return Estimate::degenerate(status, 0);
        }
        let stale = time.saturating_sub(self.last_good) > self.config.stale_after;
        Estimate { status: if stale { Status::Stale } else { Status::Crossed }, ..self.last_microprice }
    }
}

/// The middle of two best prices, in ticks.
#[inline]
pub(crate) fn mid(bid: Level, ask: Level) -> f64 {
    (bid.price.0 + ask.price.0) as f64 * 0.5
}

fn pack(estimates: &[Estimate; 11]) -> Features {
    let value = |i: usize| estimates[i].value;
    let mut features = Features {
        microprice: value(0),
        imbalance: value(1),
        order_flow: value(2),
        order_flow_impact: value(3),
        liquidity_flow: value(4),
        kyle_lambda: value(5),
        realised_variance: value(6),
        bipower_variation: value(7),
        median_variance: value(8),
        two_scales_variance: value(9),
        jump_variance: value(10),
        statuses: 0,
    };
    for (i, estimate) in estimates.iter().enumerate() {
        features.set_status(i, estimate.status);
    }
    features
}

/// Which bucket of a length a time lies in. A time in the bucket of the one before costs no division.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    length: Nanos,
    /// The bucket of the last time, and its first nanosecond.
    last: (i64, Nanos),
}

impl Buckets {
    pub(crate) fn new(length: Nanos) -> Self {
        Self { length: length.max(1), last: (0, 0) }
    }

    #[inline]
    pub(crate) fn of(&mut self, time: Nanos) -> i64 {
        let (index, first) = self.last;
        if time >= first && (time.wrapping_sub(first) as u64) < self.length as u64 {
            return index;
        }
        let index = time.div_euclid(self.length);
        // Where the first nanosecond is none the next time is divided again.
        self.last = index.checked_mul(self.length).map_or((0, 0), |first| (index, first));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_that_of_the_division(
            length in prop_oneof![Just(i64::MAX), 1i64..5, 1i64..i64::MAX],
            times in proptest::collection::vec(prop_oneof![-20i64..20, any::<i64>()], 1..50),
        ) {
            let mut buckets = Buckets::new(length);
            for time in times {
                prop_assert_eq!(buckets.of(time), time.div_euclid(length));
                prop_assert_eq!(buckets.of(time), time.div_euclid(length));
            }
        }
    }
}
