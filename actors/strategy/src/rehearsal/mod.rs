//! A stage for strategies to be tried on, without a line: one session of a kind on a tape from a seed. A market that fills what takes at its price, and what
//! waits one mark later, stands in for everything behind the stage.
//!
//! For tests, also of kinds that do not come with the project.

mod rig;

pub use rig::{
    Noise, PLACE, Rig, Second, cheap, everything, forecast, headlines, hear, lively, nothing, pair, pulled,
};

use kimera_numerics::VolatilityConfig;
use kimera_protocol::{AlertPolicy, InstrumentId, Nanos, SESSIONS_MAX, SessionTerms};

use crate::fair::FairConfig;
use crate::kinds::{
    Costs, CrossExchangeConfig, ForecastConfig, KindsConfig, MarketMakingConfig, Model, MomentumConfig,
    NewsTradingConfig, OpportunityConfig, PairsConfig, ReversionConfig, Roles, ScalpingConfig, TrendConfig,
    TriangularConfig,
};
use crate::maker::MakerConfig;
use crate::scene::{SceneConfig, Steps};
use crate::session::SessionRules;
use crate::stage::StrategyConfig;

/// A second of market time.
pub const SECOND: Nanos = 1_000_000_000;
/// One of anything, in 1e-8.
pub const UNIT: i64 = 100_000_000;
/// The spot market, in ticks of 0.01.
pub const SPOT: InstrumentId = InstrumentId(0);
/// The perpetual that is traded, in ticks of 0.1.
pub const PERP: InstrumentId = InstrumentId(1);
/// A third market, in ticks of 0.00001.
pub const CROSS: InstrumentId = InstrumentId(2);

/// Terms of a session; the first kind where there is none of this name.
pub fn terms(number: u16, kind: &str, capital: i64) -> SessionTerms {
    SessionTerms {
        number,
        kind: crate::kinds::number_of(kind).unwrap_or_default(),
        capital: capital * UNIT,
        exposure_bps: 10_000,
        loss_bps: 1_000,
        ..SessionTerms::default()
    }
}

/// Parameters of every kind.
pub fn kinds() -> KindsConfig {
    let making = MarketMakingConfig {
        traded: (PERP, UNIT / 10, UNIT / 1_000),
        size: (UNIT / 100, 100_000 * UNIT),
        model: Model::Glft,
        risk_aversion: 0.001,
        fill_rate: 0.3,
        fill_decay: 0.015,
        maker: MakerConfig { maker_fee: 0.0002, inventory_max: 3.0, lean: 0.5 },
        toxic: (0.7, 2.0),
    };
    let z = [2.0, 0.5, 4.0];
    KindsConfig {
        making,
        forecast: ForecastConfig { horizon_ms: 10_000, urgency: kimera_protocol::Urgency::Take },
        scalping: ScalpingConfig::default(),
        momentum: MomentumConfig { averages: (12, 26), enter: 1.5, skill: 0.05, bar_s: 1.0 },
        trend: TrendConfig {
            lookbacks: [5, 20, 60],
            volatility_target: 0.4,
            enter: 0.6,
            cusum: (0.5, 8.0),
            skill: 0.05,
            bar_s: 1.0,
        },
        reversion: ReversionConfig { window: 128, refit: 16, ratio_steps: 4, z, bar_s: 1.0 },
        opportunity: OpportunityConfig::default(),
        pairs: PairsConfig {
            window: 128,
            refit: 16,
            z,
            share: 0.1,
            slippage_bps: 5.0,
            leg_timeout: SECOND / 4,
            rest: 10 * SECOND,
        },
        cross_exchange: CrossExchangeConfig::default(),
        triangular: TriangularConfig::default(),
        news: NewsTradingConfig::default(),
        costs: Costs::default(),
    }
}

/// One maker at the first place.
pub fn config() -> StrategyConfig {
    let steps = |tick_units, lot_units| Steps { tick_units, lot_units, tradable: true };
    let scene = SceneConfig {
        instruments: vec![
            steps(UNIT / 100, UNIT / 100_000),
            steps(UNIT / 10, UNIT / 1_000),
            steps(UNIT / 100_000, UNIT / 1_000),
        ],
        traded: PERP,
        other: Some(SPOT),
        fair: FairConfig { other_weight: 0.5, basis_half_life: 60 * SECOND, stale_after: SECOND },
        volatility: VolatilityConfig { bar: SECOND, half_life_bars: 60.0, bars_min: 3 },
        score_min: 0.15,
        confidence_min: 0.55,
        alerts: AlertPolicy::default(),
    };
    StrategyConfig {
        scene,
        kinds: kinds(),
        roles: [Roles { traded: PERP, other: Some(SPOT), third: None }; SESSIONS_MAX],
        rules: SessionRules::default(),
        sessions: vec![terms(1, "market-making", 100_000)],
        look_interval: SECOND,
    }
}
