//! Sessions and the kinds of strategies that trade in them.

use kimera_numerics::VolatilityConfig;
use kimera_protocol::session::UNBOUND_BPS;
use kimera_protocol::{InstrumentId, SESSIONS_MAX, SessionTerms, Urgency};
use kimera_strategy::kinds::trend::LOOKBACK_MAX;
use kimera_strategy::kinds::{
    Costs, CrossExchangeConfig, ForecastConfig, KindsConfig, MarketMakingConfig, Model, MomentumConfig,
    NewsTradingConfig, OpportunityConfig, PairsConfig, ReversionConfig, Roles, ScalpingConfig, TrendConfig,
    TriangularConfig,
};
use kimera_strategy::rules::Sizing;
use kimera_strategy::scene::{SceneConfig, Steps};
use kimera_strategy::session::SessionRules;
use kimera_strategy::{FairConfig, MakerConfig, StrategyConfig};
use serde::{Deserialize, Serialize};

use super::trading::{ms, units};
use super::{Config, within};
use crate::extensions;

/// A session beside the first one, which `[strategy]` describes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSection {
    /// Number of the strategy in every order: the session's identity, 1 to 65,535.
    pub number: u16,
    /// Kind of strategy.
    pub kind: String,
    /// Its share of the account, a decimal of the quote asset.
    pub capital: String,
    /// Largest worst-case exposure in ten-thousandths of its capital.
    #[serde(default = "exposure_bps")]
    pub exposure_bps: u32,
    /// Loss from which on only ways out leave, in ten-thousandths of its capital.
    #[serde(default = "loss_bps")]
    pub loss_bps: u32,
    /// Feed of the instrument it trades [strategy.trades].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trades: Option<String>,
    /// Feed of a second instrument, for kinds that need one [strategy.follows].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Feed of a third one, for triangles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub third: Option<String>,
}

/// Exposure of a session, where nothing is said: as much as its capital.
pub fn exposure_bps() -> u32 {
    10_000
}

/// Loss of a session, where nothing is said: a tenth of its capital.
pub fn loss_bps() -> u32 {
    1_000
}

/// Parameters of the kinds of strategies. The model book names their sources (4.2, 4.10, 6.1, 6.6 to 6.12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // The names say it; units last. Meanings are with each kind's own configuration.
pub struct KindsSection {
    pub base_risk: f64,
    pub volatility_target: f64,
    pub stop_sigmas: f64,
    pub stop_span_s: f64,
    pub slippage_bps: f64,
    pub change_max: f64,
    pub taker_fee_bps: f64,
    pub latency_ms: f64,
    pub latency_share: f64,
    pub skill: f64,
    pub forecast_takes: bool,
    pub trend_lookbacks_bars: [u32; 3],
    pub trend_enter: f64,
    pub trend_cusum_drift: f64,
    pub trend_cusum_height: f64,
    pub momentum_fast_bars: u32,
    pub momentum_slow_bars: u32,
    pub momentum_enter: f64,
    pub reversion_window_bars: u32,
    pub reversion_refit_bars: u32,
    pub reversion_steps: u32,
    pub z_enter: f64,
    pub z_leave: f64,
    pub z_give_up: f64,
    pub scalping_fill_probability: f64,
    pub scalping_adverse_bps: f64,
    pub scalping_hold_ms: u32,
    pub opportunity_hold_ms: u32,
    pub pairs_window_bars: u32,
    pub pairs_refit_bars: u32,
    pub pairs_share: f64,
    pub leg_timeout_ms: u32,
    pub torn_rest_ms: u32,
    pub rest_ms: u32,
    /// Round trips, each time, after which a session whose expectancy of thirty days lies below 0 at 95 % takes no more risk, 0 to 100,000; 0: never.
    pub demote_trips: u32,
    pub arbitrage_threshold_bps: f64,
    pub arbitrage_inventory_bps: f64,
    pub arbitrage_inventory_share: f64,
    pub arbitrage_share: f64,
    pub arbitrage_stale_ms: u32,
    pub triangle_threshold_bps: f64,
    pub triangle_pause_ms: u32,
    pub news_skill_bps: f64,
}

impl Default for KindsSection {
    fn default() -> Self {
        let (costs, rules, scalping) = (Costs::default(), SessionRules::default(), ScalpingConfig::default());
        let (crossing, triangle) = (CrossExchangeConfig::default(), TriangularConfig::default());
        let whole_ms = |ns: i64| (ns / 1_000_000) as u32;
        Self {
            base_risk: rules.sizing.base_risk,
            volatility_target: 0.4,
            stop_sigmas: rules.stop.0,
            stop_span_s: rules.stop.1,
            slippage_bps: rules.slippage_bps,
            change_max: rules.change_max,
            taker_fee_bps: costs.taker_bps,
            latency_ms: costs.latency_s * 1e3,
            latency_share: costs.latency_share,
            skill: 0.05,
            forecast_takes: false,
            trend_lookbacks_bars: [60, 300, 1_200],
            trend_enter: 0.6,
            trend_cusum_drift: 0.5,
            trend_cusum_height: 8.0,
            momentum_fast_bars: 12,
            momentum_slow_bars: 26,
            momentum_enter: 1.5,
            reversion_window_bars: 256,
            reversion_refit_bars: 32,
            reversion_steps: 4,
            z_enter: 2.0,
            z_leave: 0.5,
            z_give_up: 4.0,
            scalping_fill_probability: scalping.fill_probability,
            scalping_adverse_bps: scalping.adverse_bps,
            scalping_hold_ms: scalping.hold_ms,
            opportunity_hold_ms: OpportunityConfig::default().hold_ms,
            pairs_window_bars: 512,
            pairs_refit_bars: 64,
            pairs_share: 0.1,
            leg_timeout_ms: whole_ms(crossing.leg_timeout),
            torn_rest_ms: whole_ms(crossing.rest),
            rest_ms: whole_ms(rules.rest),
            demote_trips: rules.demote_trips,
            arbitrage_threshold_bps: crossing.threshold_bps,
            arbitrage_inventory_bps: crossing.inventory_bps,
            arbitrage_inventory_share: crossing.inventory_share,
            arbitrage_share: crossing.share,
            arbitrage_stale_ms: whole_ms(crossing.stale_after),
            triangle_threshold_bps: triangle.threshold_bps,
            triangle_pause_ms: whole_ms(triangle.pause),
            news_skill_bps: NewsTradingConfig::default().skill_bps,
        }
    }
}

impl KindsSection {
    pub(super) fn check(&self) -> Result<(), String> {
        let lookbacks = self.trend_lookbacks_bars.map(f64::from);
        for (name, value, low, high) in [
            ("base_risk", self.base_risk, 1e-6, 1.0),
            ("volatility_target", self.volatility_target, 1e-3, 100.0),
            ("stop_sigmas", self.stop_sigmas, 0.1, 1e3),
            ("stop_span_s", self.stop_span_s, 0.1, 8.64e4),
            ("slippage_bps", self.slippage_bps, 0.0, 300.0),
            ("change_max", self.change_max, 0.0, 1.0),
            ("taker_fee_bps", self.taker_fee_bps, 0.0, 1e3),
            ("latency_ms", self.latency_ms, 0.0, 1e4),
            ("latency_share", self.latency_share, 0.0, 10.0),
            ("skill", self.skill, 0.0, 1.0),
            ("trend_lookbacks_bars[0]", lookbacks[0], 1.0, lookbacks[1]),
            ("trend_lookbacks_bars[1]", lookbacks[1], 1.0, lookbacks[2]),
            ("trend_lookbacks_bars[2]", lookbacks[2], 1.0, LOOKBACK_MAX.into()),
            ("trend_enter", self.trend_enter, 0.01, 1.0),
            ("trend_cusum_drift", self.trend_cusum_drift, 0.0, 10.0),
            ("trend_cusum_height", self.trend_cusum_height, 0.1, 1e3),
            ("momentum_fast_bars", self.momentum_fast_bars.into(), 1.0, self.momentum_slow_bars.into()),
            ("momentum_slow_bars", self.momentum_slow_bars.into(), 2.0, 1e5),
            ("momentum_enter", self.momentum_enter, 0.0, 100.0),
            ("reversion_window_bars", self.reversion_window_bars.into(), 64.0, 4_096.0),
            ("reversion_refit_bars", self.reversion_refit_bars.into(), 1.0, 4_096.0),
            ("reversion_steps", self.reversion_steps.into(), 2.0, 15.0),
            ("z_leave", self.z_leave, 0.0, self.z_enter),
            ("z_enter", self.z_enter, 0.1, self.z_give_up),
            ("z_give_up", self.z_give_up, 0.1, 1e3),
            ("scalping_fill_probability", self.scalping_fill_probability, 1e-3, 1.0),
            ("scalping_adverse_bps", self.scalping_adverse_bps, 0.0, 1e3),
            ("scalping_hold_ms", self.scalping_hold_ms.into(), 1.0, 8.64e7),
            ("opportunity_hold_ms", self.opportunity_hold_ms.into(), 1.0, 8.64e7),
            ("pairs_window_bars", self.pairs_window_bars.into(), 64.0, 4_096.0),
            ("pairs_refit_bars", self.pairs_refit_bars.into(), 1.0, 4_096.0),
            ("pairs_share", self.pairs_share, 1e-6, 1.0),
            ("leg_timeout_ms", self.leg_timeout_ms.into(), 1.0, 6e4),
            ("torn_rest_ms", self.torn_rest_ms.into(), 1.0, 8.64e7),
            ("rest_ms", self.rest_ms.into(), 1.0, 8.64e7),
            ("demote_trips", self.demote_trips.into(), 0.0, 1e5),
            ("arbitrage_threshold_bps", self.arbitrage_threshold_bps, 0.0, 1e4),
            ("arbitrage_inventory_bps", self.arbitrage_inventory_bps, 0.0, 1e4),
            ("arbitrage_inventory_share", self.arbitrage_inventory_share, 0.0, 100.0),
            ("arbitrage_share", self.arbitrage_share, 1e-6, 1.0),
            ("arbitrage_stale_ms", self.arbitrage_stale_ms.into(), 1.0, 6e4),
            ("triangle_threshold_bps", self.triangle_threshold_bps, 0.0, 1e4),
            ("news_skill_bps", self.news_skill_bps, 0.0, 1e4),
            ("triangle_pause_ms", self.triangle_pause_ms.into(), 1.0, 8.64e7),
        ] {
            within(&format!("kinds.{name}"), value, low, high)?;
        }
        Ok(())
    }
}

impl Config {
    /// The scene that strategies see.
    fn scene_config(&self) -> Result<SceneConfig, String> {
        let s = &self.strategy;
        let traded = self.traded()?;
        let other =
            s.follows.as_ref().map(|feed| self.instrument_of("strategy.follows", feed)).transpose()?;
        let steps = |i: &kimera_protocol::Instrument| Steps {
            tick_units: i.tick_units,
            lot_units: i.lot_units,
            tradable: self.is_tradable(i.id),
        };
        Ok(SceneConfig {
            instruments: self.instruments()?.iter().map(steps).collect(),
            traded: traded.id,
            other: other.map(|o| o.id).filter(|id| *id != traded.id),
            fair: FairConfig {
                other_weight: s.follow_weight,
                basis_half_life: ms(s.basis_half_life_ms),
                stale_after: ms(s.stale_after_ms),
            },
            volatility: self.volatility_config(),
            score_min: s.score_min,
            confidence_min: s.confidence_min,
            alerts: self.alert_policy(),
        })
    }

    /// Some gateway sends orders for it.
    #[must_use]
    pub fn is_tradable(&self, instrument: InstrumentId) -> bool {
        instrument == self.traded_id()
    }

    fn making_config(&self) -> Result<MarketMakingConfig, String> {
        let (s, traded) = (&self.strategy, self.traded()?);
        let size = units("strategy.size", &s.size)?;
        if size % traded.lot_units != 0 {
            return Err(format!("strategy.size = \"{}\" is no multiple of the lot of {}", s.size, s.trades));
        }
        let model = match s.model.as_str() {
            "glft" => Model::Glft,
            "avellaneda-stoikov" => Model::AvellanedaStoikov { horizon_s: s.horizon_s },
            other => {
                return Err(format!("strategy.model is \"{other}\": it is one of glft, avellaneda-stoikov"));
            }
        };
        Ok(MarketMakingConfig {
            traded: (traded.id, traded.tick_units, traded.lot_units),
            size: (size, self.capital()?),
            model,
            risk_aversion: s.risk_aversion,
            fill_rate: s.fill_rate_per_s,
            fill_decay: s.fill_decay_per_tick,
            maker: MakerConfig {
                maker_fee: s.maker_fee_bps / 1e4,
                inventory_max: s.inventory_max,
                lean: s.lean,
            },
            toxic: (s.toxic_above, s.toxic_factor),
        })
    }

    fn kinds_config(&self) -> Result<KindsConfig, String> {
        let k = &self.kinds;
        let VolatilityConfig { bar, .. } = self.volatility_config();
        let bar_s = bar as f64 * 1e-9;
        let z = [k.z_enter, k.z_leave, k.z_give_up];
        let leg_timeout = ms(k.leg_timeout_ms);
        let urgency = if k.forecast_takes { Urgency::Take } else { Urgency::Quote };
        Ok(KindsConfig {
            making: self.making_config()?,
            forecast: ForecastConfig { horizon_ms: self.ensemble.horizon_ms, urgency },
            scalping: ScalpingConfig {
                fill_probability: k.scalping_fill_probability,
                adverse_bps: k.scalping_adverse_bps,
                hold_ms: k.scalping_hold_ms,
            },
            momentum: MomentumConfig {
                averages: (k.momentum_fast_bars, k.momentum_slow_bars),
                enter: k.momentum_enter,
                skill: k.skill,
                bar_s,
            },
            trend: TrendConfig {
                lookbacks: k.trend_lookbacks_bars,
                volatility_target: k.volatility_target,
                enter: k.trend_enter,
                cusum: (k.trend_cusum_drift, k.trend_cusum_height),
                skill: k.skill,
                bar_s,
            },
            reversion: ReversionConfig {
                window: k.reversion_window_bars,
                refit: k.reversion_refit_bars,
                ratio_steps: k.reversion_steps,
                z,
                bar_s,
            },
            opportunity: OpportunityConfig { hold_ms: k.opportunity_hold_ms },
            pairs: PairsConfig {
                window: k.pairs_window_bars,
                refit: k.pairs_refit_bars,
                z,
                share: k.pairs_share,
                slippage_bps: k.slippage_bps,
                leg_timeout,
                rest: ms(k.torn_rest_ms),
            },
            cross_exchange: CrossExchangeConfig {
                threshold_bps: k.arbitrage_threshold_bps,
                inventory_bps: k.arbitrage_inventory_bps,
                share: k.arbitrage_share,
                inventory_share: k.arbitrage_inventory_share,
                stale_after: ms(k.arbitrage_stale_ms),
                leg_timeout,
                rest: ms(k.torn_rest_ms),
            },
            triangular: TriangularConfig {
                threshold_bps: k.triangle_threshold_bps,
                share: k.arbitrage_share,
                stale_after: ms(k.arbitrage_stale_ms),
                pause: ms(k.triangle_pause_ms),
                leg_timeout,
            },
            news: NewsTradingConfig { skill_bps: k.news_skill_bps, ..NewsTradingConfig::default() },
            costs: Costs {
                maker_bps: self.strategy.maker_fee_bps,
                taker_bps: k.taker_fee_bps,
                latency_share: k.latency_share,
                latency_s: k.latency_ms / 1e3,
            },
        })
    }

    /// Terms of every session, the first one's first.
    ///
    /// # Errors
    /// What is wrong, by its name.
    pub fn session_terms(&self) -> Result<Vec<SessionTerms>, String> {
        let first = SessionTerms {
            number: self.strategy.number,
            kind: 0,
            capital: self.capital()?,
            exposure_bps: UNBOUND_BPS,
            loss_bps: UNBOUND_BPS,
            ..SessionTerms::default()
        };
        let mut all = vec![first];
        for section in &self.sessions {
            let name = format!("session {}", section.number);
            let kind = extensions::number_of(&section.kind).ok_or_else(|| {
                format!("{name}: kind is \"{}\": it is one of {}", section.kind, extensions::kind_names())
            })?;
            if section.number == 0 || all.iter().any(|known| known.number == section.number) {
                return Err(format!("{name}: numbers are 1 to 65,535, and each is given once"));
            }
            all.push(SessionTerms {
                number: section.number,
                kind,
                capital: units(&format!("{name}: capital"), &section.capital)?,
                exposure_bps: section.exposure_bps.into(),
                loss_bps: section.loss_bps.into(),
                ..SessionTerms::default()
            });
        }
        let given = all[1..].iter().fold(0i64, |sum, t| sum.saturating_add(t.capital));
        if given > all[0].capital {
            return Err("the [[session]]s have more capital than the account".into());
        }
        for section in &self.sessions {
            let name = |what: &str| format!("session {}: {what}", section.number);
            within(&name("exposure_bps"), section.exposure_bps.into(), 1.0, UNBOUND_BPS as f64)?;
            within(&name("loss_bps"), section.loss_bps.into(), 1.0, UNBOUND_BPS as f64)?;
        }
        if all.len() > SESSIONS_MAX {
            return Err(format!("there are {} [[session]]s: at most {}", all.len() - 1, SESSIONS_MAX - 1));
        }
        Ok(all)
    }

    /// Instruments by role, for every place.
    fn session_roles(&self) -> Result<[Roles; SESSIONS_MAX], String> {
        let scene = self.scene_config()?;
        let mut roles = [Roles { traded: scene.traded, other: scene.other, third: None }; SESSIONS_MAX];
        for (section, roles) in self.sessions.iter().zip(&mut roles[1..]) {
            let id = |what: &str, feed: &Option<String>| {
                let name = format!("session {}: {what}", section.number);
                feed.as_ref().map(|feed| self.instrument_of(&name, feed).map(|i| i.id)).transpose()
            };
            roles.traded = id("trades", &section.trades)?.unwrap_or(roles.traded);
            roles.other = id("against", &section.against)?.or(roles.other);
            roles.third = id("third", &section.third)?;
            if !self.is_tradable(roles.traded) {
                return Err(format!(
                    "session {}: no gateway sends orders for {}",
                    section.number,
                    section.trades.as_deref().unwrap_or_default()
                ));
            }
        }
        Ok(roles)
    }

    /// What the strategy stage needs.
    ///
    /// # Errors
    /// What is wrong, by its name.
    pub fn strategy_config(&self) -> Result<StrategyConfig, String> {
        let (k, sessions) = (&self.kinds, self.session_terms()?);
        let sizing = Sizing { base_risk: k.base_risk, volatility_target: 0.0 };
        let config = StrategyConfig {
            scene: self.scene_config()?,
            kinds: self.kinds_config()?,
            roles: self.session_roles()?,
            rules: SessionRules {
                sizing,
                stop: (k.stop_sigmas, k.stop_span_s),
                slippage_bps: k.slippage_bps,
                change_max: k.change_max,
                rest: ms(k.rest_ms),
                demote_trips: k.demote_trips,
            },
            sessions,
            look_interval: ms(self.strategy.stale_after_ms),
        };
        for (terms, roles) in config.sessions.iter().zip(&config.roles) {
            self.check_legs(terms, &config.kinds, roles)?;
        }
        Ok(config)
    }

    /// Every instrument that a session trades has somebody who sends orders for it.
    fn check_legs(&self, terms: &SessionTerms, kinds: &KindsConfig, roles: &Roles) -> Result<(), String> {
        let Some((name, _, make)) = extensions::kind(terms.kind) else { return Ok(()) };
        let trades = make(kinds, roles).trades();
        let needed = match *name {
            "stat-arb" | "cross-exchange" => 2,
            "triangular" => 3,
            _ => 1,
        };
        let missing = trades.iter().flatten().find(|id| !self.is_tradable(**id));
        if let Some(section) = missing.and_then(|id| self.instruments.get(usize::from(id.0))) {
            return Err(format!(
                "session {}: {name} trades {needed} instruments, and no gateway sends orders for {}",
                terms.number, section.feed
            ));
        }
        let mut distinct: Vec<_> = trades.iter().flatten().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < needed {
            return Err(format!(
                "session {}: {name} trades {needed} different instruments; name them by trades, against and third",
                terms.number
            ));
        }
        Ok(())
    }

    /// A session with these terms may begin at this place; why not.
    ///
    /// # Errors
    /// The reason.
    pub fn may_begin(&self, terms: &SessionTerms, place: usize) -> Result<(), String> {
        let roles = self.session_roles()?;
        let roles = roles.get(place).ok_or("there is no such place")?;
        self.check_legs(terms, &self.kinds_config()?, roles)
    }
}
