//! Slow estimators beside the line.

use kimera_market::AnalystConfig;
use serde::{Deserialize, Serialize};

use super::{Config, within};

/// The slow estimators' part of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpinionsSection {
    /// They run.
    pub enabled: bool,
    /// Between two opinions on what moves by the second, 100 to 3,600,000 ms. Five times as long one may be used.
    pub every_ms: u32,
    /// Between two opinions on everything else, 1,000 to 86,400,000 ms, no less than `every_ms`.
    pub every_slow_ms: u32,
    /// How long behind a trade it is judged, 100 to 600,000 ms.
    pub horizon_ms: u32,
    /// Between two fits, 60,000 to 604,800,000 ms.
    pub refit_ms: u32,
    /// Time over which the volume of a day is measured before the first bucket of equal volume, 1,000 to 86,400,000 ms.
    pub volume_span_ms: u32,
    /// Buckets a day, 1 to 1,000,000.
    pub buckets_a_day: u32,
    /// Buckets of the probability of informed trading by volume, 2 to 1,000.
    pub buckets: u32,
}

impl Default for OpinionsSection {
    fn default() -> Self {
        let of = AnalystConfig::default();
        let ms = |ns: i64| (ns / 1_000_000) as u32;
        Self {
            enabled: true,
            every_ms: ms(of.every),
            every_slow_ms: ms(of.every_slow),
            horizon_ms: ms(of.horizon),
            refit_ms: ms(of.refit),
            volume_span_ms: ms(of.volume_span),
            buckets_a_day: of.buckets.0,
            buckets: of.buckets.1,
        }
    }
}

impl OpinionsSection {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, value, low, high) in [
            ("every_ms", self.every_ms, 100.0, 3.6e6),
            ("every_slow_ms", self.every_slow_ms, 1e3, 8.64e7),
            ("horizon_ms", self.horizon_ms, 100.0, 6e5),
            ("refit_ms", self.refit_ms, 6e4, 6.048e8),
            ("volume_span_ms", self.volume_span_ms, 1e3, 8.64e7),
            ("buckets_a_day", self.buckets_a_day, 1.0, 1e6),
            ("buckets", self.buckets, 2.0, 1e3),
        ] {
            within(&format!("opinions.{name}"), value.into(), low, high)?;
        }
        if self.every_ms > self.every_slow_ms {
            return Err("opinions.every_slow_ms is less than opinions.every_ms".into());
        }
        Ok(())
    }
}

impl Config {
    /// What the slow estimators need.
    ///
    /// # Errors
    /// Instruments that are none.
    pub fn analyst_config(&self) -> Result<AnalystConfig, String> {
        let o = &self.opinions;
        let ms = |value: u32| i64::from(value) * 1_000_000;
        Ok(AnalystConfig {
            ticks: self.tick_units()?.into(),
            every: ms(o.every_ms),
            every_slow: ms(o.every_slow_ms),
            horizon: ms(o.horizon_ms),
            refit: ms(o.refit_ms),
            volume_span: ms(o.volume_span_ms),
            buckets: (o.buckets_a_day, o.buckets),
        })
    }
}
