//! The second line that follows the journal.

use serde::{Deserialize, Serialize};

use super::within;

/// What becomes of a run whose shadow says something else than its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDivergence {
    /// Everything is halted.
    Halt,
    /// It is said, and the run goes on.
    Report,
}

/// The shadow part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShadowSection {
    /// False: the run has none, and a start goes through the whole journal.
    pub enabled: bool,
    /// Least time between two snapshots, 100 to 86,400,000 ms.
    pub snapshot_every_ms: u32,
    /// Snapshots kept, 1 to 1,000.
    pub keep: u32,
    /// What a difference leads to.
    pub on_divergence: OnDivergence,
}

impl Default for ShadowSection {
    fn default() -> Self {
        Self { enabled: true, snapshot_every_ms: 60_000, keep: 3, on_divergence: OnDivergence::Halt }
    }
}

impl ShadowSection {
    /// # Errors
    /// What is out of range.
    pub(super) fn check(&self) -> Result<(), String> {
        within("shadow.snapshot_every_ms", self.snapshot_every_ms.into(), 100.0, 86.4e6)?;
        within("shadow.keep", self.keep.into(), 1.0, 1_000.0)
    }
}
