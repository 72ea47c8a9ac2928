//! The kinds of strategies that come with the project, a module each.

pub mod arbitrage;
pub mod closes;
pub mod forecast;
pub mod making;
pub mod news;
pub mod opportunity;
pub mod pairs;
pub mod reversion;
pub mod scalping;
#[cfg(test)]
mod tests;
pub mod trend;

use kimera_protocol::InstrumentId;

use crate::strategy::Strategy;

pub use arbitrage::{CrossExchange, CrossExchangeConfig, Triangular, TriangularConfig};
pub use forecast::{Forecast, ForecastConfig};
pub use making::{MarketMaking, MarketMakingConfig, Model};
pub use news::{NewsTrading, NewsTradingConfig};
pub use opportunity::{Opportunity, OpportunityConfig};
pub use pairs::{Pairs, PairsConfig};
pub use reversion::{Reversion, ReversionConfig};
pub use scalping::{Scalping, ScalpingConfig};
pub use trend::{Momentum, MomentumConfig, Trend, TrendConfig};

/// What trading costs, basis points of the notional.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Fee of an order that waits.
    pub maker_bps: f64,
    /// Fee of an order that takes.
    pub taker_bps: f64,
    /// Share of what the price moves while an order is on its way that is lost to it (model book 6.1: φ).
    pub latency_share: f64,
    /// Seconds that an order is on its way.
    pub latency_s: f64,
}

impl Default for Costs {
    /// The public tier of the shipped recording's venue, and the model book's φ.
    fn default() -> Self {
        Self { maker_bps: 2.0, taker_bps: 5.0, latency_share: 0.4, latency_s: 0.05 }
    }
}

impl Costs {
    /// What is lost while an order is on its way, basis points: `σ·√Δt·φ` (model book 6.1).
    #[must_use]
    pub fn latency_bps(&self, relative_volatility: f64) -> f64 {
        relative_volatility * self.latency_s.max(0.0).sqrt() * self.latency_share * 1e4
    }
}

/// Instruments by the role they have in a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// What is traded.
    pub traded: InstrumentId,
    /// What it is compared with, where a kind needs such a one.
    pub other: Option<InstrumentId>,
    /// The third of a triangle.
    pub third: Option<InstrumentId>,
}

/// Parameters of every kind.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // The kinds by name.
pub struct KindsConfig {
    pub making: MarketMakingConfig,
    pub forecast: ForecastConfig,
    pub scalping: ScalpingConfig,
    pub momentum: MomentumConfig,
    pub trend: TrendConfig,
    pub reversion: ReversionConfig,
    pub opportunity: OpportunityConfig,
    pub pairs: PairsConfig,
    pub cross_exchange: CrossExchangeConfig,
    pub triangular: TriangularConfig,
    pub news: NewsTradingConfig,
    pub costs: Costs,
}

/// Makes strategies of a kind.
pub type Make = fn(&KindsConfig, &Roles) -> Box<dyn Strategy>;

/// A kind: its name, what it does, and who makes it.
pub type KindOf = (&'static str, &'static str, Make);

/// Every kind with its name. A kind's number, in journals and commands, is its place here: new ones go to the end.
pub const KINDS: [KindOf; 11] = [
    ("market-making", "quotes on both sides of a fair price", |c, _| {
        Box::new(MarketMaking::new(c.making.clone()))
    }),
    ("forecast", "follows the ensemble where it is strong, trusted and worth its cost", |c, r| {
        Box::new(Forecast::new(c.forecast, c.costs, r.traded))
    }),
    ("scalping", "takes the microprice's lead, for seconds", |c, r| {
        Box::new(Scalping::new(c.scalping, c.costs, r.traded))
    }),
    ("momentum", "two averages that part", |c, r| Box::new(Momentum::new(c.momentum, c.costs, r.traded))),
    ("trend", "the signs of three returns, scaled by volatility", |c, r| {
        Box::new(Trend::new(c.trend, c.costs, r.traded))
    }),
    ("mean-reversion", "fades what is far from its mean where variances say that it comes back", |c, r| {
        Box::new(Reversion::new(c.reversion, c.costs, r.traded))
    }),
    ("opportunity", "the fair price where the sources contradict each other", |c, r| {
        Box::new(Opportunity::new(c.opportunity, c.costs, r.traded))
    }),
    ("stat-arb", "two cointegrated prices that have parted", |c, r| {
        Box::new(Pairs::new(c.pairs, c.costs, *r))
    }),
    ("cross-exchange", "one thing at two venues, at two prices", |c, r| {
        Box::new(CrossExchange::new(c.cross_exchange, c.costs, *r))
    }),
    ("triangular", "three rates that do not multiply to one", |c, r| {
        Box::new(Triangular::new(c.triangular, c.costs, *r))
    }),
    ("news", "headlines of two sources or a trusted one, for a minute", |c, r| {
        Box::new(NewsTrading::new(c.news, c.costs, r.traded))
    }),
];

/// Number of the kind of a name.
#[must_use]
pub fn number_of(name: &str) -> Option<u16> {
    KINDS.iter().position(|(known, ..)| *known == name).and_then(|at| u16::try_from(at).ok())
}
