//! Who is taken for dead when, and what is done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::within;

/// The supervision part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisionSection {
    /// Restarts of one process within `within_ms`, 0 to 100: more, and it is given up.
    pub restarts: u32,
    /// The while in which they are counted, 1,000 to 3,600,000 ms.
    pub within_ms: u32,
    /// An engine whose supervisor has been silent for this long lets only ways out leave, 500 to 600,000 ms.
    pub orphan_reduce_ms: u32,
    /// And after this long it takes its orders back and ends, up to 3,600,000 ms.
    pub orphan_end_ms: u32,
    /// An engine that has been silent for this long is ended and started again, 6,000 to 600,000 ms.
    pub engine_silence_ms: u32,
    /// Engine and supervisor both silent for this long: the guard halts and cancels everything, 500 to 600,000 ms.
    pub guard_silence_ms: u32,
}

impl Default for SupervisionSection {
    fn default() -> Self {
        Self {
            restarts: 3,
            within_ms: 60_000,
            orphan_reduce_ms: 3_000,
            orphan_end_ms: 60_000,
            engine_silence_ms: 15_000,
            guard_silence_ms: 5_000,
        }
    }
}

impl SupervisionSection {
    /// # Errors
    /// What is out of range.
    pub(super) fn check(&self) -> Result<(), String> {
        let ranges = [
            ("restarts", self.restarts, 0, 100),
            ("within_ms", self.within_ms, 1_000, 3_600_000),
            ("orphan_reduce_ms", self.orphan_reduce_ms, 500, 600_000),
            ("orphan_end_ms", self.orphan_end_ms, self.orphan_reduce_ms, 3_600_000),
            ("engine_silence_ms", self.engine_silence_ms, 6_000, 600_000),
            ("guard_silence_ms", self.guard_silence_ms, 500, 600_000),
        ];
        ranges.into_iter().try_for_each(|(name, value, low, high)| {
            within(&format!("supervision.{name}"), value.into(), low.into(), high.into())
        })
    }

    /// How long a venue plays on after the last word of a supervisor: longer than an orphaned engine needs for its end.
    #[must_use]
    pub fn venue_linger(&self) -> Duration {
        Duration::from_millis(u64::from(self.orphan_end_ms)) + Duration::from_secs(15)
    }
}
