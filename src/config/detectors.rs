//! What detectors look for, and what an alert does.

use kimera_cep::DetectorsConfig;
use kimera_cep::watch::WatchConfig;
use kimera_protocol::{AlertPolicy, Severity};
use serde::{Deserialize, Serialize};

use super::{Config, within};

/// From which alerts on only ways out leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReduceAt {
    /// Never.
    Never,
    /// Warnings and severe ones.
    Warning,
    /// Severe ones.
    #[default]
    Severe,
}

/// The detectors' part of the configuration. What is not here has the model book's values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorsSection {
    /// From which alerts on only ways out leave, on every instrument with the same asset.
    pub reduce_at: ReduceAt,
    /// For so long behind each, 1 to 86,400,000 ms.
    pub hold_ms: u32,
    /// A return of a second is a spike beyond this robust z, 1 to 1,000.
    pub spike_z: f64,
    /// Share of days with a false jump among their minutes, 1e-9 to 0.5.
    pub jump_level: f64,
    /// A volume of five minutes is a surge beyond this robust z, 1 to 1,000.
    pub surge_z: f64,
    /// A number of trades in a minute is a burst where it has less than this probability, 1e-300 to 0.5.
    pub burst_probability: f64,
    /// Slack of the cumulative sums of minutes' returns, in deviations, 0 to 10.
    pub shift_slack: f64,
    /// Their limit, 0.1 to 1,000.
    pub shift_limit: f64,
    /// A fall or rise in five minutes is one from this fraction on, 0.0001 to 0.9.
    pub fall_min: f64,
    /// And from so many deviations on, 0 to 100.
    pub fall_deviations: f64,
    /// Takers on one side in ten seconds, 2 to 1,000.
    pub ignition_trades: u32,
    /// That move the price by so many deviations, 0.1 to 100.
    pub ignition_deviations: f64,
    /// Messages in a second are out of the ordinary beyond so many deviations, 1 to 10,000.
    pub stuffing_z: f64,
    /// Sizes of trades are judged; not where a venue has few of them.
    pub washing: bool,
    /// Between two alerts of a detector that looks at one span only, 0 to 86,400,000 ms.
    pub quiet_ms: u32,
}

impl Default for DetectorsSection {
    fn default() -> Self {
        let of = WatchConfig::default();
        Self {
            reduce_at: ReduceAt::default(),
            hold_ms: 60_000,
            spike_z: of.spike_z,
            jump_level: of.jump_level,
            surge_z: of.surge_z,
            burst_probability: of.burst_probability,
            shift_slack: of.shift_slack,
            shift_limit: of.shift_limit,
            fall_min: of.crash.fall_min,
            fall_deviations: of.crash.fall_deviations,
            ignition_trades: of.ignition.trades as u32,
            ignition_deviations: of.ignition.deviations,
            stuffing_z: of.stuffing_z,
            washing: of.washing,
            quiet_ms: (of.quiet / 1_000_000) as u32,
        }
    }
}

impl DetectorsSection {
    pub(super) fn check(&self) -> Result<(), String> {
        let checks = [
            ("hold_ms", f64::from(self.hold_ms), 1.0, 8.64e7),
            ("spike_z", self.spike_z, 1.0, 1e3),
            ("jump_level", self.jump_level, 1e-9, 0.5),
            ("surge_z", self.surge_z, 1.0, 1e3),
            ("burst_probability", self.burst_probability, 1e-300, 0.5),
            ("shift_slack", self.shift_slack, 0.0, 10.0),
            ("shift_limit", self.shift_limit, 0.1, 1e3),
            ("fall_min", self.fall_min, 1e-4, 0.9),
            ("fall_deviations", self.fall_deviations, 0.0, 100.0),
            ("ignition_trades", f64::from(self.ignition_trades), 2.0, 1e3),
            ("ignition_deviations", self.ignition_deviations, 0.1, 100.0),
            ("stuffing_z", self.stuffing_z, 1.0, 1e4),
            ("quiet_ms", f64::from(self.quiet_ms), 0.0, 8.64e7),
        ];
        checks
            .into_iter()
            .try_for_each(|(name, value, low, high)| within(&format!("detectors.{name}"), value, low, high))
    }
}

impl Config {
    /// What the detectors' seat needs.
    #[must_use]
    pub fn detectors_config(&self) -> DetectorsConfig {
        let (d, mut watch) = (&self.detectors, WatchConfig::default());
        watch.spike_z = d.spike_z;
        watch.jump_level = d.jump_level;
        watch.surge_z = d.surge_z;
        watch.burst_probability = d.burst_probability;
        watch.shift_slack = d.shift_slack;
        watch.shift_limit = d.shift_limit;
        watch.crash.fall_min = d.fall_min;
        watch.crash.fall_deviations = d.fall_deviations;
        watch.ignition.trades = d.ignition_trades as usize;
        watch.ignition.deviations = d.ignition_deviations;
        watch.stuffing_z = d.stuffing_z;
        watch.washing = d.washing;
        watch.quiet = i64::from(d.quiet_ms) * 1_000_000;
        DetectorsConfig { instruments: self.instruments.len(), watch }
    }

    /// What an alert does.
    #[must_use]
    pub fn alert_policy(&self) -> AlertPolicy {
        let hold = i64::from(self.detectors.hold_ms) * 1_000_000;
        match self.detectors.reduce_at {
            ReduceAt::Never => AlertPolicy { severity: Severity::Severe, hold: 0 },
            ReduceAt::Warning => AlertPolicy { severity: Severity::Warning, hold },
            ReduceAt::Severe => AlertPolicy { severity: Severity::Severe, hold },
        }
    }
}
