//! The order side of the configuration: account, strategy, execution, risk, compliance.

use kimera_compliance::surveillance::SurveillanceConfig;
use kimera_compliance::{ComplianceConfig, ConductConfig};
use kimera_ensemble::members::Roles;
use kimera_ensemble::outcomes::OPEN_MAX;
use kimera_ensemble::slow::pattern::memory::MEMORY_MAX;
use kimera_ensemble::weights::FLOOR;
use kimera_ensemble::{
    ContradictionConfig, EnsembleConfig, MacroConfig, PatternConfig, SlowConfig, ThermodynamicConfig,
    Weighing,
};
use kimera_execution::parent::ParentConfig;
use kimera_execution::{ExecutionConfig, Tradable};
use kimera_numerics::VolatilityConfig;
use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{Instrument, InstrumentId, InstrumentVersion, MEMBERS_MAX};
use kimera_risk::{BasisPoints, InstrumentRules, Limits};
use serde::{Deserialize, Serialize};

use super::{Config, within};
use crate::{extensions, line};

/// What the venue holds for us at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSection {
    /// Seat of the gateway.
    pub gateway: String,
    /// Money at the start, a decimal of the quote asset.
    pub capital: String,
}

/// The market maker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategySection {
    /// Number of the strategy in every order, 1 to 65,535.
    pub number: u16,
    /// Feed of the instrument that is traded.
    pub trades: String,
    /// Feed of the market whose price helps to find the fair one.
    pub follows: Option<String>,
    /// Size of a quote, a decimal.
    pub size: String,
    /// γ, for one tick and one quote size.
    pub risk_aversion: f64,
    /// A: fills a second at distance 0.
    pub fill_rate_per_s: f64,
    /// k: decay of the fill rate for one tick of distance.
    pub fill_decay_per_tick: f64,
    /// Maker fee, the floor of a quote's distance.
    pub maker_fee_bps: f64,
    /// Inventory in quote sizes at which a side stops.
    pub inventory_max: f64,
    /// How far quotes follow the signal, as a share of their distance, 0 to 1.
    pub lean: f64,
    /// Least score at which they follow it, 0 to 1.
    pub score_min: f64,
    /// Least confidence at which they follow it, 0 to 1.
    pub confidence_min: f64,
    /// Share of the followed market's price in the fair price, 0 to 1.
    pub follow_weight: f64,
    /// Half-life of the basis between the two markets.
    pub basis_half_life_ms: u32,
    /// Bars of the volatility.
    pub volatility_bar_ms: u32,
    /// Its half-life in bars.
    pub volatility_half_life_bars: f64,
    /// Bars before it is used.
    pub volatility_bars_min: u32,
    /// Age at which a price is not used any more.
    pub stale_after_ms: u32,
    /// A side whose fills lose with more than this probability stands further away, 0 to 1.
    #[serde(default = "toxic_above")]
    pub toxic_above: f64,
    /// By this factor, 1 to 100.
    #[serde(default = "toxic_factor")]
    pub toxic_factor: f64,
    /// Distances of the quotes: "glft" or "avellaneda-stoikov".
    #[serde(default = "model")]
    pub model: String,
    /// Horizon of avellaneda-stoikov, which moves along, in seconds.
    #[serde(default = "horizon_s")]
    pub horizon_s: f64,
}

/// Names of members from outside: known, each once, and no more than there is room for.
fn check_further(names: &[String]) -> Result<(), String> {
    let room = MEMBERS_MAX - line::MEMBERS.len();
    if names.len() > room {
        return Err(format!("ensemble.further: {} members, at most {room}", names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        if extensions::member(name).is_none() {
            let known: Vec<_> = extensions::MEMBERS.iter().map(|(name, ..)| *name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!(
                "ensemble.further: no member is called \"{name}\"; there are {known} (kimera new member NAME makes one)"
            ));
        }
        if names[..i].contains(name) {
            return Err(format!("ensemble.further: \"{name}\" is named twice"));
        }
    }
    Ok(())
}

fn model() -> String {
    "glft".into()
}

fn horizon_s() -> f64 {
    60.0
}

fn toxic_above() -> f64 {
    0.7
}

fn toxic_factor() -> f64 {
    2.0
}

fn weighing() -> String {
    Weighing::Skill.name().into()
}

fn bar_ms() -> u32 {
    1_000
}

fn cache_entries() -> u32 {
    kimera_ensemble::cache::ENTRIES as u32
}

fn pattern_memory() -> u32 {
    MEMORY_MAX as u32
}

/// Weights of the members at the start; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // The members by name, in the order of their numbers.
pub struct PriorsSection {
    pub contradiction: f64,
    pub thermodynamic: f64,
    pub pattern: f64,
    pub sentiment: f64,
    #[serde(rename = "macro")]
    pub macro_: f64,
}

/// Members that forecast, and what is made of their votes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleSection {
    /// Horizon of a forecast.
    pub horizon_ms: u32,
    /// Between two forecasts whose outcome is waited for.
    pub forecast_interval_ms: u32,
    /// Distance of the barriers, as a multiple of the volatility over the horizon.
    pub barrier_sigmas: f64,
    /// Outcomes between two changes of the weights.
    pub reweight_every: u32,
    /// Between two samples of the contradiction detector's errors.
    pub error_interval_ms: u32,
    /// Half-life of those errors, in samples.
    pub error_half_life_samples: f64,
    /// Errors before it votes.
    pub errors_min: u32,
    /// Who decides about weights: "skill", "hedge" or "fixed-share".
    #[serde(default = "weighing")]
    pub weighing: String,
    /// Bars that members look at beside the line, 100 to 3,600,000 ms.
    #[serde(default = "bar_ms")]
    pub bar_ms: u32,
    /// Windows that the pattern member remembers, 16 to 65,536: half a KiB each, in locked memory.
    #[serde(default = "pattern_memory")]
    pub pattern_memory: u32,
    /// Places of the decision cache, up to 65,536; 0 switches it off. Nothing that is said depends on it.
    #[serde(default = "cache_entries")]
    pub cache_entries: u32,
    /// Members that do not come with the project, by name, three at most; each begins with a weight of 0.02.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<String>,
    /// Weights at the start.
    pub priors: PriorsSection,
}

/// When quotes are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutionSection {
    /// Largest child order, a decimal.
    pub child_size_max: String,
    /// Distance from what is wanted at which a quote is replaced.
    pub requote_ticks: u32,
    /// Least time a quote stands before it is replaced for its price.
    pub requote_interval_ms: u32,
    /// After this without an answer a cancel is asked for again.
    pub cancel_retry_ms: u32,
    /// Wait of a side after an order was refused.
    pub refusal_pause_ms: u32,
}

/// Limits of the last gate, the model book's 4.1 and 4.14.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // The names say it; units last.
pub struct RiskSection {
    pub limits_version: u64,
    pub collar_bps: u32,
    pub collar_reducing_bps: u32,
    pub order_size_max: String,
    pub order_notional_max: String,
    pub position_bps: u32,
    pub asset_bps: u32,
    pub drawdown_bps: u32,
    pub daily_loss_bps: u32,
    pub orders_per_second: u32,
    pub orders_burst: u32,
    pub duplicate_window_ms: u32,
    pub stale_after_ms: u32,
    pub send_within_ms: u32,
    pub working_max: u32,
}

/// Rules of the venue and the law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // As above; meanings are with `ComplianceConfig`.
pub struct ComplianceSection {
    pub messages_max: u32,
    pub message_window_ms: u32,
    pub orders_per_trade_max: u32,
    pub orders_free: u32,
    pub order_to_trade_window_ms: u32,
    /// Behind conduct of ours that looks like manipulation only ways out leave for so long; 0: it is only said.
    #[serde(default = "conduct_hold_ms")]
    pub conduct_hold_ms: u32,
    /// An order is large from so many median sizes of a level on, 1e-6 to 1e6.
    #[serde(default = "conduct_large")]
    pub conduct_large: f64,
    /// How often large orders go behind fills on the other side anyway, 0.01 to 0.99.
    #[serde(default = "conduct_base_rate")]
    pub conduct_base_rate: f64,
}

fn conduct_hold_ms() -> u32 {
    60_000
}

fn conduct_large() -> f64 {
    SurveillanceConfig::default().large
}

fn conduct_base_rate() -> f64 {
    SurveillanceConfig::default().base_rate
}

pub(super) const fn ms(value: u32) -> i64 {
    value as i64 * 1_000_000
}

/// An amount in 1e-8; positive.
///
/// # Errors
/// What is wrong with it, by its name.
pub fn units(name: &str, text: &str) -> Result<i64, String> {
    match parse_decimal(text.as_bytes(), UNIT_DECIMALS) {
        Ok(value) if value > 0 => Ok(value),
        Ok(_) => Err(format!("{name} = \"{text}\" must be positive")),
        Err(e) => Err(format!("{name} = \"{text}\": {e}")),
    }
}

impl Config {
    /// The instrument that is traded.
    ///
    /// # Errors
    /// Where `strategy.trades` names no feed.
    pub fn traded(&self) -> Result<Instrument, String> {
        self.instrument_of("strategy.trades", &self.strategy.trades)
    }

    pub(super) fn instrument_of(&self, name: &str, feed: &str) -> Result<Instrument, String> {
        let known: Vec<_> = self.instruments.iter().map(|s| s.feed.as_str()).collect();
        let at = known.iter().position(|known| *known == feed);
        let at =
            at.ok_or_else(|| format!("{name} = \"{feed}\" is no feed; there are {}", known.join(", ")))?;
        Ok(self.instruments()?.swap_remove(at))
    }

    /// Money at the start, in 1e-8 of the quote asset.
    ///
    /// # Errors
    /// A text that is no positive decimal.
    pub fn capital(&self) -> Result<i64, String> {
        units("account.capital", &self.account.capital)
    }

    pub(super) fn volatility_config(&self) -> VolatilityConfig {
        let s = &self.strategy;
        VolatilityConfig {
            bar: ms(s.volatility_bar_ms),
            half_life_bars: s.volatility_half_life_bars,
            bars_min: s.volatility_bars_min.into(),
        }
    }

    /// What the contradiction detector needs.
    ///
    /// # Errors
    /// As [`Config::strategy_config`].
    pub fn contradiction_config(&self, member: usize) -> Result<ContradictionConfig, String> {
        let (s, e, traded) = (&self.strategy, &self.ensemble, self.traded()?);
        let other =
            s.follows.as_ref().map(|feed| self.instrument_of("strategy.follows", feed)).transpose()?;
        Ok(ContradictionConfig {
            member,
            traded: (traded.id, traded.tick_units),
            other: other.filter(|o| o.id != traded.id).map(|o| (o.id, o.tick_units)),
            error_interval: ms(e.error_interval_ms),
            error_half_life: e.error_half_life_samples,
            errors_min: e.errors_min.into(),
            basis_half_life: ms(s.basis_half_life_ms),
            stale_after: ms(s.stale_after_ms),
        })
    }

    /// What the macro analyser needs.
    ///
    /// # Errors
    /// Where the traded instrument is wrong.
    pub fn macro_config(&self, member: usize) -> Result<MacroConfig, String> {
        let traded = self.traded()?;
        Ok(MacroConfig {
            member,
            traded: (traded.id, traded.tick_units as f64 * 1e-8),
            stale_after: 36 * 3_600_000_000_000,
            observations_min: 30,
        })
    }

    /// What the thermodynamic member needs.
    #[must_use]
    pub fn thermodynamic_config(&self, member: usize) -> ThermodynamicConfig {
        ThermodynamicConfig {
            member,
            traded: self.traded_id(),
            horizon: ms(self.ensemble.horizon_ms),
            volatility: self.volatility_config(),
            stale_after: ms(self.strategy.stale_after_ms),
        }
    }

    /// What a member from outside is told.
    #[must_use]
    pub fn member_roles(&self, member: usize) -> Roles {
        let e = &self.ensemble;
        Roles { member, traded: self.traded_id(), horizon: ms(e.horizon_ms), bar: ms(e.bar_ms) }
    }

    /// What the ensemble needs.
    #[must_use]
    pub fn ensemble_config(&self) -> EnsembleConfig {
        let e = &self.ensemble;
        let mut prior = [0.0; MEMBERS_MAX];
        let p = e.priors;
        let weights = [p.contradiction, p.thermodynamic, p.pattern, p.sentiment, p.macro_];
        // Members from outside begin with the least that a member has, at the cost of all others alike (model book 3.3).
        let members = line::members_of(self);
        let further = members.len().saturating_sub(weights.len()).min(MEMBERS_MAX - weights.len());
        for (place, weight) in prior.iter_mut().zip(weights) {
            *place = weight * (1.0 - FLOOR * further as f64);
        }
        prior[weights.len()..][..further].fill(FLOOR);
        EnsembleConfig {
            members: members.iter().map(|(name, _)| (*name).to_owned()).collect(),
            prior,
            traded: self.traded_id(),
            horizon: ms(e.horizon_ms),
            forecast_interval: ms(e.forecast_interval_ms),
            barrier_sigmas: e.barrier_sigmas,
            reweight_every: e.reweight_every.into(),
            weighing: Weighing::of(&e.weighing).unwrap_or_default(),
            volatility: self.volatility_config(),
            cache_entries: e.cache_entries as usize,
        }
    }

    /// What the slow parts of members need.
    #[must_use]
    pub fn slow_config(&self) -> SlowConfig {
        let e = &self.ensemble;
        let pattern = PatternConfig {
            memory: e.pattern_memory as usize,
            horizon: ms(e.horizon_ms),
            barrier_sigmas: e.barrier_sigmas,
            volatility: self.volatility_config(),
        };
        let (instruments, traded) = (self.instruments.len(), self.traded_id());
        // Where either of them is none nobody gets as far as this.
        let tick = self.traded().map_or(0.0, |of| of.tick_units as f64 * 1e-8);
        let follows = |feed: &String| self.instrument_of("strategy.follows", feed).ok();
        let other = self.strategy.follows.as_ref().and_then(follows).map(|of| of.id);
        let other = other.filter(|of| *of != traded);
        SlowConfig { instruments, traded, tick, other, bar: ms(e.bar_ms), pattern }
    }

    /// What execution needs.
    ///
    /// # Errors
    /// What is wrong, by its name.
    pub fn execution_config(&self) -> Result<ExecutionConfig, String> {
        let (traded, e) = (self.traded()?, &self.execution);
        Ok(ExecutionConfig {
            tradable: vec![Tradable {
                instrument: traded.id,
                venue: traded.venue.0,
                configured: InstrumentVersion::configured(traded.tick_units, traded.lot_units),
            }],
            parent: ParentConfig {
                child_size_max: units("execution.child_size_max", &e.child_size_max)?,
                requote_ticks: e.requote_ticks.into(),
                requote_interval: ms(e.requote_interval_ms),
                cancel_retry: ms(e.cancel_retry_ms),
                refusal_pause: ms(e.refusal_pause_ms),
            },
        })
    }

    /// What risk needs: limits, and the rules of every instrument.
    ///
    /// # Errors
    /// What is wrong, by its name.
    pub fn risk_config(&self) -> Result<(Limits, Vec<InstrumentRules>), String> {
        let r = &self.risk;
        let share = |bps: u32| BasisPoints(bps.into());
        let limits = Limits {
            version: r.limits_version,
            equity_start: self.capital()?,
            collar: share(r.collar_bps),
            collar_reducing: share(r.collar_reducing_bps),
            order_size_max: units("risk.order_size_max", &r.order_size_max)?,
            order_notional_max: units("risk.order_notional_max", &r.order_notional_max)?,
            position: share(r.position_bps),
            asset: share(r.asset_bps),
            drawdown: share(r.drawdown_bps),
            daily_loss: share(r.daily_loss_bps),
            orders_per_second: r.orders_per_second,
            orders_burst: r.orders_burst,
            duplicate_window: ms(r.duplicate_window_ms),
            stale_after: ms(r.stale_after_ms),
            send_within: ms(r.send_within_ms),
            working_max: r.working_max as usize,
            alerts: self.alert_policy(),
        };
        let traded = self.traded()?.id;
        let rules = |i: &Instrument| InstrumentRules {
            tick_units: i.tick_units,
            lot_units: i.lot_units,
            asset: 0, // every instrument of this profile has the same base asset
            tradable: i.id == traded,
        };
        Ok((limits, self.instruments()?.iter().map(rules).collect()))
    }

    /// What compliance needs.
    #[must_use]
    pub fn compliance_config(&self) -> ComplianceConfig {
        let c = &self.compliance;
        ComplianceConfig {
            messages_max: c.messages_max.into(),
            message_window: ms(c.message_window_ms),
            orders_per_trade_max: c.orders_per_trade_max.into(),
            orders_free: c.orders_free.into(),
            order_to_trade_window: ms(c.order_to_trade_window_ms),
        }
    }

    /// How our own conduct is watched.
    #[must_use]
    pub fn conduct_config(&self) -> ConductConfig {
        let c = &self.compliance;
        let (large, base_rate) = (c.conduct_large, c.conduct_base_rate);
        let surveillance = SurveillanceConfig { large, base_rate, ..SurveillanceConfig::default() };
        ConductConfig { surveillance, hold: ms(c.conduct_hold_ms) }
    }

    /// Instruments by number with their price steps, for the books.
    ///
    /// # Errors
    /// As [`Config::instruments`].
    pub fn tick_units(&self) -> Result<Vec<i64>, String> {
        Ok(self.instruments()?.iter().map(|i| i.tick_units).collect())
    }

    /// Number of the instrument that is traded.
    #[must_use]
    pub fn traded_id(&self) -> InstrumentId {
        self.traded().map_or(InstrumentId(0), |i| i.id)
    }

    pub(super) fn check_trading(&self) -> Result<(), String> {
        let s = &self.strategy;
        self.capital()?;
        self.kinds.check()?;
        self.strategy_config()?;
        self.execution_config()?;
        self.risk_config()?;
        for (name, value, low, high) in [
            ("strategy.number", f64::from(s.number), 1.0, 65_535.0),
            ("strategy.risk_aversion", s.risk_aversion, 1e-9, 1e3),
            ("strategy.toxic_above", s.toxic_above, 0.0, 1.0),
            ("compliance.conduct_large", self.compliance.conduct_large, 1e-6, 1e6),
            ("compliance.conduct_base_rate", self.compliance.conduct_base_rate, 0.01, 0.99),
            ("compliance.conduct_hold_ms", self.compliance.conduct_hold_ms.into(), 0.0, 8.64e7),
            ("strategy.toxic_factor", s.toxic_factor, 1.0, 100.0),
            ("strategy.fill_rate_per_s", s.fill_rate_per_s, 1e-9, 1e6),
            ("strategy.fill_decay_per_tick", s.fill_decay_per_tick, 1e-9, 1e3),
            ("strategy.maker_fee_bps", s.maker_fee_bps, 0.0, 1_000.0),
            ("strategy.inventory_max", s.inventory_max, 0.0, 1e6),
            ("strategy.lean", s.lean, 0.0, 1.0),
            ("strategy.horizon_s", s.horizon_s, 0.0, 86_400.0),
            ("strategy.score_min", s.score_min, 0.0, 1.0),
            ("strategy.confidence_min", s.confidence_min, 0.0, 1.0),
            ("ensemble.barrier_sigmas", self.ensemble.barrier_sigmas, 1e-6, 100.0),
            ("ensemble.error_half_life_samples", self.ensemble.error_half_life_samples, 0.01, 1e9),
            ("the sum of ensemble.priors", self.ensemble_config().prior.iter().sum(), 0.999_999, 1.000_001),
            ("strategy.follow_weight", s.follow_weight, 0.0, 1.0),
            ("strategy.volatility_half_life_bars", s.volatility_half_life_bars, 0.01, 1e9),
        ] {
            within(name, value, low, high)?;
        }
        let (e, r, c) = (&self.execution, &self.risk, &self.compliance);
        for (name, value, low) in [
            ("strategy.basis_half_life_ms", s.basis_half_life_ms, 1),
            ("strategy.volatility_bar_ms", s.volatility_bar_ms, 1),
            ("strategy.volatility_bars_min", s.volatility_bars_min, 1),
            ("strategy.stale_after_ms", s.stale_after_ms, 1),
            ("ensemble.horizon_ms", self.ensemble.horizon_ms, 1),
            ("ensemble.forecast_interval_ms", self.ensemble.forecast_interval_ms, 1),
            ("ensemble.reweight_every", self.ensemble.reweight_every, 10),
            ("ensemble.error_interval_ms", self.ensemble.error_interval_ms, 1),
            ("ensemble.errors_min", self.ensemble.errors_min, 3),
            ("execution.requote_ticks", e.requote_ticks, 1),
            ("execution.requote_interval_ms", e.requote_interval_ms, 0),
            ("execution.cancel_retry_ms", e.cancel_retry_ms, 1),
            ("execution.refusal_pause_ms", e.refusal_pause_ms, 1),
            ("risk.orders_per_second", r.orders_per_second, 1),
            ("risk.orders_burst", r.orders_burst, 1),
            ("risk.duplicate_window_ms", r.duplicate_window_ms, 0),
            ("risk.stale_after_ms", r.stale_after_ms, 1),
            ("risk.send_within_ms", r.send_within_ms, 1),
            ("compliance.messages_max", c.messages_max, 1),
            ("compliance.message_window_ms", c.message_window_ms, 1),
            ("compliance.orders_per_trade_max", c.orders_per_trade_max, 1),
            ("compliance.orders_free", c.orders_free, 1),
            ("compliance.order_to_trade_window_ms", c.order_to_trade_window_ms, 1),
        ] {
            within(name, value.into(), low.into(), 86_400_000.0)?;
        }
        check_further(&self.ensemble.further)?;
        for (name, weight) in line::members_of(self).iter().zip(self.ensemble_config().prior) {
            within(&format!("ensemble.priors.{}", name.0), weight, 0.0, 1.0)?;
        }
        if Weighing::of(&self.ensemble.weighing).is_none() {
            let names = Weighing::ALL.map(Weighing::name).join(", ");
            return Err(format!("ensemble.weighing is \"{}\": it is one of {names}", self.ensemble.weighing));
        }
        let bar_ms = self.ensemble.bar_ms;
        within("ensemble.bar_ms", bar_ms.into(), 100.0, 60_000.0)?;
        if 60_000 % bar_ms != 0 {
            return Err(format!(
                "ensemble.bar_ms is {bar_ms}: hours are made of bars, so it divides a minute (60000)"
            ));
        }
        for (name, ms) in
            [("bar_ms", self.ensemble.bar_ms), ("forecast_interval_ms", self.ensemble.forecast_interval_ms)]
        {
            let open = self.ensemble.horizon_ms / ms.max(1);
            if open as usize > OPEN_MAX {
                return Err(format!(
                    "ensemble.horizon_ms is {open} times ensemble.{name}: at most {OPEN_MAX} forecasts wait for their outcome"
                ));
            }
        }
        within("ensemble.pattern_memory", self.ensemble.pattern_memory.into(), 16.0, MEMORY_MAX as f64)?;
        within("ensemble.cache_entries", self.ensemble.cache_entries.into(), 0.0, 65_536.0)?;
        within("risk.working_max", r.working_max.into(), 1.0, 512.0)?;
        for (name, bps) in [
            ("risk.collar_bps", r.collar_bps),
            ("risk.collar_reducing_bps", r.collar_reducing_bps),
            ("risk.position_bps", r.position_bps),
            ("risk.asset_bps", r.asset_bps),
            ("risk.drawdown_bps", r.drawdown_bps),
            ("risk.daily_loss_bps", r.daily_loss_bps),
        ] {
            within(name, bps.into(), 1.0, 10_000.0)?;
        }
        Ok(())
    }
}
