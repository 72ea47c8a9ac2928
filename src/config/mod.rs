//! The configuration: one typed tree with range checks; an unknown key is an error with line and column.

mod detectors;
mod log;
mod news;
mod opinions;
mod patterns;
mod sessions;
mod shadow;
mod supervision;
mod trading;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use detectors::{DetectorsSection, ReduceAt};
pub use log::LogSection;
pub use news::{HistorySection, NewsSection};
pub use opinions::OpinionsSection;
pub use patterns::{PatternsSection, point_at};
pub use sessions::{KindsSection, SessionSection, exposure_bps, loss_bps};
pub use shadow::{OnDivergence, ShadowSection};
pub use supervision::{GroupSection, Strategy, SupervisionSection, WayBack};
pub use trading::{
    AccountSection, ComplianceSection, EnsembleSection, ExecutionSection, PriorsSection, RiskSection,
    StrategySection, units,
};

use kimera_market::features::FeatureConfig;
use kimera_market::{MarketConfig, OneMarketConfig};
use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{Instrument, InstrumentId, VenueId};
use kimera_runtime::durability::Wait;
use kimera_runtime::plan::Plan;
use kimera_venues::binance::Market as BinanceMarket;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::machine::Machine;
use crate::machine::cores::{Chosen, choose, cores};

/// What kind of run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Paper trading on a recorded tape that the simulated venue plays.
    PaperRecorded,
}

/// Which venue market an instrument is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarketName {
    /// Binance spot.
    Spot,
    /// Binance USD-M futures.
    UsdM,
}

impl MarketName {
    /// The dialect.
    #[must_use]
    pub fn dialect(self) -> BinanceMarket {
        match self {
            Self::Spot => BinanceMarket::Spot,
            Self::UsdM => BinanceMarket::UsdM,
        }
    }

    /// Its name in the configuration and the venue's endpoints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::UsdM => "usdm",
        }
    }
}

/// An instrument and the feed that brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentSection {
    /// Seat of its feed.
    pub feed: String,
    /// Market.
    pub market: MarketName,
    /// Symbol.
    pub symbol: String,
    /// Smallest price step, a decimal.
    pub tick: String,
    /// Smallest size step of our orders, a decimal.
    pub lot: String,
    /// Levels a side of a snapshot, 5 to 2,000.
    pub snapshot_levels: u32,
    /// How often the venue is asked what it demands of orders, 1 to 3,600 s.
    #[serde(default = "definition_interval_s")]
    pub definition_interval_s: u32,
}

fn definition_interval_s() -> u32 {
    60
}

/// Parameters of the estimators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // The names say it; units last; defaults and sources are with `FeatureConfig`.
pub struct MarketSection {
    pub imbalance_decay: f64,
    pub order_flow_bucket_ms: u32,
    pub order_flow_half_life_buckets: f64,
    pub liquidity_ticks: u32,
    pub liquidity_bucket_ms: u32,
    pub kyle_bucket_ms: u32,
    pub kyle_half_life_buckets: f64,
    pub kyle_t_min: f64,
    pub variance_bar_ms: u32,
    pub variance_window_bars: u32,
    pub variance_scale_bars: u32,
    pub stale_after_ms: u32,
}

/// How the journal is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSection {
    /// Size of a segment, 1 to 1,024 MiB.
    pub segment_mib: u32,
    /// Longest wait of a record for its block, 0 to 100,000 µs.
    pub commit_interval_us: u32,
    /// When new orders wait for the journal.
    #[serde(default)]
    pub durability: DurabilityMode,
    /// With `async`: new orders wait where the journal has shown no progress for so long, 1 to 60,000 ms.
    #[serde(default = "lag_max_ms")]
    pub lag_max_ms: u32,
    /// Where the disk has said nothing for so long, what stands at the venue is taken back; more than `lag_max_ms`, and
    /// 60,001 ms at most. 0: 2,000, or just more than `lag_max_ms` where that is longer.
    #[serde(default)]
    pub take_back_ms: u32,
    /// Kept aside for the day the disk is full, 1 to 1,024 MiB: the end of a run still fits.
    #[serde(default = "reserve_mib")]
    pub reserve_mib: u32,
    /// Segments before the oldest snapshot are compressed.
    #[serde(default = "yes")]
    pub compress: bool,
    /// Segments that stay, newest first, 0 to 1,000,000; 0: all. None goes that a snapshot still needs.
    #[serde(default)]
    pub retain_segments: u32,
}

fn reserve_mib() -> u32 {
    8
}

fn yes() -> bool {
    true
}

/// When new orders wait for the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityMode {
    /// Only where it does not keep up.
    #[default]
    Async,
    /// Until their cause is on disk.
    Gated,
}

fn lag_max_ms() -> u32 {
    250
}

/// Silence of the disk after which orders are taken back where nobody says another.
const TAKE_BACK_MS: u32 = 2_000;

impl JournalSection {
    /// Silence of the disk after which nothing is to stand at a venue.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let ms = match self.take_back_ms {
            0 => TAKE_BACK_MS.max(self.lag_max_ms + 1),
            ms => ms,
        };
        Duration::from_millis(ms.into())
    }

    /// As the gateway sees it.
    #[must_use]
    pub fn wait(&self) -> Wait {
        match self.durability {
            DurabilityMode::Async => Wait::Lagging(Duration::from_millis(self.lag_max_ms.into())),
            DurabilityMode::Gated => Wait::Gated,
        }
    }
}

/// Locked memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySection {
    /// Budget of the arena, 8 to 65,536 MiB.
    pub arena_mib: u32,
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name for reports.
    pub name: String,
    /// Kind of run.
    pub mode: Mode,
    /// Core plan: a name, or `auto`.
    pub plan: String,
    /// Folder of the tape.
    pub data: PathBuf,
    /// Instruments, in the order of their identifiers.
    #[serde(rename = "instrument")]
    pub instruments: Vec<InstrumentSection>,
    /// What the venue holds for us at the start.
    pub account: AccountSection,
    /// Members that forecast.
    pub ensemble: EnsembleSection,
    /// The market maker.
    pub strategy: StrategySection,
    /// Sessions beside the first one.
    #[serde(rename = "session", default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionSection>,
    /// Parameters of the kinds of strategies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kinds: KindsSection,
    /// Headlines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub news: NewsSection,
    /// What was before a run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub history: HistorySection,
    /// When quotes are replaced.
    pub execution: ExecutionSection,
    /// Limits.
    pub risk: RiskSection,
    /// Rules.
    pub compliance: ComplianceSection,
    /// Estimators.
    pub market: MarketSection,
    /// Detectors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detectors: DetectorsSection,
    /// Patterns beside the line.
    #[serde(default, skip_serializing_if = "is_default")]
    pub patterns: PatternsSection,
    /// Journal.
    pub journal: JournalSection,
    /// Slow estimators beside the line.
    #[serde(default)]
    pub opinions: OpinionsSection,
    /// Locked memory.
    pub memory: MemorySection,
    /// Who is taken for dead when.
    #[serde(default)]
    pub supervision: SupervisionSection,
    /// The second line.
    #[serde(default)]
    pub shadow: ShadowSection,
    /// What is said of a run. No part of what the run keeps of its configuration: it changes nothing of what it does.
    #[serde(default, skip_serializing)]
    pub log: LogSection,
    /// State directory of the run it is the configuration of: where blobs lie that inputs name. None before there is one.
    #[serde(skip)]
    pub state: Option<PathBuf>,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// A [`Failure`] that names file, line and column.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::configuration(format!("cannot read configuration {}: {e}", path.display()))
        })?;
        Self::parse(&text).map_err(|e| Failure::configuration(format!("{}: {e}", path.display())))
    }

    /// Reads a configuration text and checks every range.
    ///
    /// # Errors
    /// What is wrong, with line and column where the text itself is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.patterns.read()?;
        config.seat_patterns();
        config.seat_members();
        config.check()?;
        Ok(config)
    }

    /// The configuration with the keys of `patch` (a partial TOML text) put over it.
    ///
    /// # Errors
    /// What is wrong with the patch or with the result.
    pub fn patched(&self, patch: &str) -> Result<Self, String> {
        let mut base = toml::Table::try_from(self).map_err(|e| e.to_string())?;
        let over: toml::Table = toml::from_str(patch).map_err(|e| e.to_string())?;
        if over.get("patterns").is_some_and(|patterns| patterns.get("files").is_some()) {
            base.remove("patterns"); // other files, not more of them
        }
        merge(&mut base, over);
        let parsed = Self::parse(&base.to_string())?;
        Ok(Self { state: self.state.clone(), ..parsed })
    }

    /// The text that is kept as the run's blob.
    ///
    /// # Errors
    /// Where the tree has no TOML form.
    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    fn check(&self) -> Result<(), String> {
        if self.instruments.is_empty() || self.instruments.len() > 64 {
            return Err("there must be 1 to 64 [[instrument]] sections".into());
        }
        for (i, section) in self.instruments.iter().enumerate() {
            let name = &section.feed;
            within(
                &format!("instrument {name}: snapshot_levels"),
                section.snapshot_levels.into(),
                5.0,
                2_000.0,
            )?;
            within(
                &format!("instrument {name}: definition_interval_s"),
                section.definition_interval_s.into(),
                1.0,
                3_600.0,
            )?;
            if self.instruments[..i].iter().any(|other| other.feed == *name) {
                return Err(format!("two instruments have the feed \"{name}\""));
            }
        }
        self.instruments()?;
        self.check_trading()?;
        self.detectors.check()?;
        self.opinions.check()?;
        self.patterns()?;
        self.supervision.check(self)?;
        self.shadow.check()?;
        self.log.check()?;
        let m = &self.market;
        within("market.imbalance_decay", m.imbalance_decay, 0.0, 20.0)?;
        within("market.liquidity_ticks", m.liquidity_ticks.into(), 1.0, 1_000.0)?;
        within("market.kyle_t_min", m.kyle_t_min, 0.0, 100.0)?;
        for (name, value) in [
            ("order_flow_half_life_buckets", m.order_flow_half_life_buckets),
            ("kyle_half_life_buckets", m.kyle_half_life_buckets),
        ] {
            within(&format!("market.{name}"), value, 0.01, 1e9)?;
        }
        for (name, value) in [
            ("order_flow_bucket_ms", m.order_flow_bucket_ms),
            ("liquidity_bucket_ms", m.liquidity_bucket_ms),
            ("kyle_bucket_ms", m.kyle_bucket_ms),
            ("variance_bar_ms", m.variance_bar_ms),
            ("stale_after_ms", m.stale_after_ms),
        ] {
            within(&format!("market.{name}"), value.into(), 1.0, 86_400_000.0)?;
        }
        within("market.variance_scale_bars", m.variance_scale_bars.into(), 1.0, 10_000.0)?;
        within(
            "market.variance_window_bars",
            m.variance_window_bars.into(),
            f64::from(m.variance_scale_bars) + 3.0,
            1e6,
        )?;
        within("journal.segment_mib", self.journal.segment_mib.into(), 1.0, 1_024.0)?;
        within("journal.commit_interval_us", self.journal.commit_interval_us.into(), 0.0, 100_000.0)?;
        within("journal.lag_max_ms", self.journal.lag_max_ms.into(), 1.0, 60_000.0)?;
        if self.journal.take_back_ms > 0 {
            let least = f64::from(self.journal.lag_max_ms) + 1.0;
            within("journal.take_back_ms", self.journal.take_back_ms.into(), least, 60_001.0)?;
        }
        within("journal.reserve_mib", self.journal.reserve_mib.into(), 1.0, 1_024.0)?;
        within("journal.retain_segments", self.journal.retain_segments.into(), 0.0, 1e6)?;
        within("memory.arena_mib", self.memory.arena_mib.into(), 8.0, 65_536.0)
    }

    /// The instruments, in order.
    ///
    /// # Errors
    /// A tick or lot that is no positive decimal.
    pub fn instruments(&self) -> Result<Vec<Instrument>, String> {
        let build = |(i, s): (usize, &InstrumentSection)| {
            let units = |what: &str, text: &str| {
                parse_decimal(text.as_bytes(), UNIT_DECIMALS)
                    .map_err(|e| format!("instrument {}: {what} = \"{text}\": {e}", s.feed))
            };
            let id = InstrumentId(u16::try_from(i).map_err(|_| "too many instruments".to_string())?);
            Instrument::new(id, VenueId(i as u8), &s.symbol, units("tick", &s.tick)?, units("lot", &s.lot)?)
                .map_err(|_| format!("instrument {}: tick and lot must be positive", s.feed))
        };
        self.instruments.iter().enumerate().map(build).collect()
    }

    /// Instruments with one symbol are one market.
    fn one_market_config(&self) -> OneMarketConfig {
        let first =
            |s: &InstrumentSection| self.instruments.iter().position(|o| o.symbol == s.symbol).unwrap_or(0);
        let markets = self.instruments.iter().map(|s| u16::try_from(first(s)).unwrap_or(u16::MAX)).collect();
        OneMarketConfig {
            markets,
            ticks: self.tick_units().unwrap_or_default().into(),
            basis_half_life: i64::from(self.strategy.basis_half_life_ms) * 1_000_000,
            stale_after: i64::from(self.market.stale_after_ms) * 1_000_000,
        }
    }

    /// What the market stage needs.
    #[must_use]
    pub fn market_config(&self) -> MarketConfig {
        let m = &self.market;
        let ms = |value: u32| i64::from(value) * 1_000_000;
        MarketConfig {
            instruments: self.instruments.len(),
            one_market: self.one_market_config(),
            features: FeatureConfig {
                imbalance_decay: m.imbalance_decay,
                order_flow_bucket: ms(m.order_flow_bucket_ms),
                order_flow_half_life: m.order_flow_half_life_buckets,
                liquidity_ticks: i64::from(m.liquidity_ticks),
                liquidity_bucket: ms(m.liquidity_bucket_ms),
                kyle_bucket: ms(m.kyle_bucket_ms),
                kyle_half_life: m.kyle_half_life_buckets,
                kyle_t_min: m.kyle_t_min,
                variance_bar: ms(m.variance_bar_ms),
                variance_window: m.variance_window_bars as usize,
                variance_scale: m.variance_scale_bars as usize,
                stale_after: ms(m.stale_after_ms),
            },
        }
    }
}

/// The core plans that come with the program, smallest first.
const PLANS: [(&str, usize, &str); 5] = [
    ("cores-2", 2, include_str!("../../config/plans/cores-2.toml")),
    ("cores-4", 4, include_str!("../../config/plans/cores-4.toml")),
    ("cores-8", 8, include_str!("../../config/plans/cores-8.toml")),
    ("cores-16", 16, include_str!("../../config/plans/cores-16.toml")),
    ("cores-32", 32, include_str!("../../config/plans/cores-32.toml")),
];

/// Every plan that comes with the program, smallest first.
///
/// # Errors
/// One that does not parse.
pub fn plans() -> Result<Vec<Plan>, Failure> {
    PLANS.iter().map(|(name, _, _)| plan(name)).collect()
}

/// The plan of a name, or for `auto` the one that fits the machine, put on its cores; and why.
///
/// # Errors
/// An unknown name, with the known ones.
pub fn chosen(name: &str, machine: &Machine, available: &[usize]) -> Result<Chosen, Failure> {
    if name != "auto" {
        let plan = plan(name)?;
        let why = vec![format!("{name}: asked for by name, on the cores it names")];
        return Ok(Chosen { plan, why });
    }
    let plans: Result<Vec<_>, Failure> = PLANS.iter().map(|(n, needs, _)| Ok((*needs, plan(n)?))).collect();
    choose(&plans?, &cores(machine, available)).map_err(Failure::configuration)
}

/// The plan of a name, with the cores it names.
///
/// # Errors
/// An unknown name, with the known ones.
pub fn plan(name: &str) -> Result<Plan, Failure> {
    let Some((_, _, text)) = PLANS.iter().find(|(n, _, _)| *n == name) else {
        let known: Vec<_> = PLANS.iter().map(|(n, _, _)| *n).collect();
        return Err(Failure::configuration(format!(
            "there is no core plan \"{name}\"; known: auto, {}",
            known.join(", ")
        )));
    };
    toml::from_str(text).map_err(|e| Failure::configuration(format!("core plan {name}: {e}")))
}

fn within(name: &str, value: f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} = {value} is outside {low} to {high}"))
    }
}

/// What nobody has set is not kept: a configuration without it stays the one it was.
fn is_default<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => merge(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: &str = include_str!("../../config/profiles/paper.toml");

    #[test]
    fn the_shipped_profile_is_good_and_survives_its_own_text() {
        let config = Config::parse(PAPER).unwrap();
        assert_eq!(Config::parse(&config.to_text().unwrap()).unwrap(), config);
        let ticks: Vec<_> = config.instruments().unwrap().iter().map(|i| i.tick_units).collect();
        assert_eq!(ticks, [1_000_000, 10_000_000]);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |from: &str, to: &str| Config::parse(&PAPER.replace(from, to)).unwrap_err();
        let unknown = wrong("liquidity_ticks = 10", "liquidity_tick = 10");
        assert!(unknown.contains("liquidity_tick") && unknown.contains("line"), "{unknown}");
        assert!(
            wrong("liquidity_ticks = 10", "liquidity_ticks = 0")
                .contains("market.liquidity_ticks = 0 is outside")
        );
        assert!(wrong("\nbar_ms = 1000", "\nbar_ms = 7000").contains("divides a minute"));
        assert!(wrong("\nbar_ms = 1000", "\nbar_ms = 0").contains("ensemble.bar_ms = 0 is outside"));
        assert!(wrong("tick = \"0.01\"", "tick = \"0\"").contains("must be positive"));
        assert!(wrong("tick = \"0.01\"", "tick = \"x\"").contains("not a decimal"));
        assert!(wrong("feed = \"feed.usdm\"", "feed = \"feed.spot\"").contains("two instruments"));
        assert!(plan("cores-3").unwrap_err().message.contains("known: auto, cores-2, cores-4"));
    }

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let config = Config::parse(PAPER).unwrap();
        let patched = config.patched("[market]\nliquidity_ticks = 20\n").unwrap();
        assert_eq!(patched.market.liquidity_ticks, 20);
        assert_eq!(patched.patched("[market]\nliquidity_ticks = 10\n").unwrap(), config);
        assert!(config.patched("[market]\nnothing = 1\n").is_err());
    }

    #[test]
    fn other_processes_keep_off_the_line() {
        let others = |name: &str, cores: &[usize]| plan(name).unwrap().cores_for_others(cores);
        assert_eq!(others("cores-2", &[0, 1]), [0]);
        assert_eq!(others("cores-4", &[0, 1, 2, 3]), [0]);
        assert_eq!(others("cores-4", &[0, 1, 2, 3, 4, 5]), [0, 4, 5]);
        assert!(others("cores-2", &[1]).is_empty());
    }

    #[test]
    fn auto_takes_what_the_machine_has() {
        let nowhere = Machine::at(Path::new("/nonexistent"));
        let auto =
            |cores: usize| chosen("auto", &nowhere, &(0..cores).collect::<Vec<_>>()).unwrap().plan.name;
        let of = [(1, 2), (3, 2), (7, 4), (8, 8), (31, 16), (64, 32)];
        of.iter().for_each(|(cores, plan)| assert_eq!(auto(*cores), format!("cores-{plan}"), "{cores}"));
    }
}
