//! Market making: post-only quotes around a fair price (model book 6.6).

use kimera_protocol::{Decision, HoldReason, InstrumentId, Level, Price, Quantity, SessionTerms, Topic};

use crate::account::Account;
use crate::glft::{Distances, GlftError, GlftModel};
use crate::maker::{MakerConfig, quotes};
use crate::scene::Scene;
use crate::stoikov::Stoikov;
use crate::strategy::{LEGS_MAX, Strategy, Want};

/// Which distances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// Without an end of time.
    Glft,
    /// With a horizon that moves along, in seconds.
    AvellanedaStoikov {
        /// Seconds.
        horizon_s: f64,
    },
}

/// Parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketMakingConfig {
    /// Instrument, with its tick in 1e-8 of the quote asset and its lot in 1e-8 of the base asset.
    pub traded: (InstrumentId, i64, i64),
    /// Size of a quote in 1e-8, for this much capital in 1e-8; another capital has its share of it.
    pub size: (i64, i64),
    /// Which distances.
    pub model: Model,
    /// γ, for one tick and one quote size.
    pub risk_aversion: f64,
    /// A: fills a second at distance 0.
    pub fill_rate: f64,
    /// k: decay of the fill rate for one tick of distance.
    pub fill_decay: f64,
    /// Fee floor, inventory stop, lean.
    pub maker: MakerConfig,
    /// Probability of a loss beyond which a side stands further away, and by which factor (model book 6.6).
    pub toxic: (f64, f64),
}

enum Distancer {
    Glft(GlftModel),
    Stoikov(Stoikov),
    Unfit,
}

impl Distancer {
    fn new(c: &MarketMakingConfig) -> Self {
        let made = match c.model {
            Model::Glft => GlftModel::new(c.risk_aversion, c.fill_rate, c.fill_decay).map(Self::Glft),
            Model::AvellanedaStoikov { horizon_s } => {
                Stoikov::new(c.risk_aversion, c.fill_decay, horizon_s).map(Self::Stoikov)
            }
        };
        made.unwrap_or(Self::Unfit)
    }

    fn distances(&self, volatility: f64, inventory: f64) -> Result<Distances, GlftError> {
        match self {
            Self::Glft(model) => Ok(model.at(volatility)?.distances(inventory)),
            Self::Stoikov(model) => model.distances(volatility, inventory),
            Self::Unfit => Err(GlftError::Unfit),
        }
    }
}

/// The strategy.
pub struct MarketMaking {
    config: MarketMakingConfig,
    distancer: Distancer,
    /// Size of a quote on the session's terms, in 1e-8.
    size: i64,
}

kimera_protocol::state!(MarketMaking { size } fixed { config, distancer });

impl MarketMaking {
    /// A maker with the configured size.
    #[must_use]
    pub fn new(config: MarketMakingConfig) -> Self {
        Self { distancer: Distancer::new(&config), size: config.size.0, config }
    }
}

impl Strategy for MarketMaking {
    fn clear(&mut self) {
        self.size = self.config.size.0;
    }

    fn weigh(&mut self, terms: &SessionTerms) {
        let ((size, whole), (_, _, lot)) = (self.config.size, self.config.traded);
        let share = i128::from(size) * i128::from(terms.capital.max(0)) / i128::from(whole.max(1));
        let share = i64::try_from(share).unwrap_or(size);
        self.size = share - share % lot.max(1);
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let c = &self.config;
        let (traded, tick_units, _) = c.traded;
        let time = scene.time;
        let quote = &scene.market(traded).ok_or(HoldReason::NoBook)?.quote;
        let fair = scene.fair.at(time).ok_or(HoldReason::NoFairPrice)? / tick_units as f64;
        (decision.fair, decision.signal) = (fair, scene.signal as f32);
        decision.confidence = scene.consensus.confidence as f32;
        if self.size <= 0 {
            return Err(HoldReason::Capital);
        }
        let volatility = scene.volatility.per_root_second().ok_or(HoldReason::Unfit)?;
        let inventory = account.position(traded) as f64 / self.size as f64;
        let distances = self.distancer.distances(volatility, inventory).map_err(|_| HoldReason::Unfit)?;
        let best = |level: Level| (level.size.0 > 0).then_some(level);
        let toxicity = [Topic::ToxicBid, Topic::ToxicAsk]
            .map(|topic| scene.opinions.get(topic, time).unwrap_or_default());
        decision.toxicity = toxicity.map(|p| p as f32);
        let [bid, ask] = toxicity.map(|p| if p > c.toxic.0 { c.toxic.1 } else { 1.0 });
        let widen = Distances { bid, ask };
        let best = (best(quote.bid), best(quote.ask));
        let q = quotes(&c.maker, fair, distances, widen, scene.signal, inventory, best);
        let level = |price: Option<Price>| {
            price.map_or_else(Level::default, |price| Level { price, size: Quantity(self.size) })
        };
        Ok(Want::Quotes { bid: level(q.bid), ask: level(q.ask) })
    }

    fn quotes(&self) -> bool {
        true
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.config.traded.0), None, None]
    }

    fn digest(&self) -> u64 {
        self.size as u64
    }
}
