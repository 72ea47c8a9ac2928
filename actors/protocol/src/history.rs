//! What a market did before a run: long windows are warm from the first minute where somebody has its history.

use bytemuck::{Pod, Zeroable};

use crate::Nanos;
use crate::message::{Body, Kind};

/// A minute, in nanoseconds as all times are.
pub const MINUTE: Nanos = 60_000_000_000;
/// An hour.
pub const HOUR: Nanos = 60 * MINUTE;
/// A day.
pub const DAY: Nanos = 24 * HOUR;
/// The least that an hour has of its sixty minutes.
pub const MINUTES_MIN: u64 = 50;

/// An hour of an instrument, as it was recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Prime {
    /// When the hour began: a whole hour.
    pub begins: Nanos,
    /// Price at its end, in the quote asset.
    pub close: f64,
    /// Sum of the squared logarithmic returns of its minutes.
    pub variance: f64,
    /// Volume, in units of the base asset.
    pub volume: f64,
    /// Minutes whose return is in the variance, of sixty; no fewer than [`MINUTES_MIN`].
    pub minutes: u64,
    /// Hash of what is in the file that says so, unpacked.
    pub source: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

impl Body for Prime {
    const KIND: Kind = Kind::Prime;
}

impl Prime {
    /// True where every number is one that it can be, and the hour is over.
    #[must_use]
    pub fn is_sensible(&self, now: Nanos) -> bool {
        self.begins.rem_euclid(HOUR) == 0
            && self.begins.saturating_add(HOUR) <= now
            && (MINUTES_MIN..=60).contains(&self.minutes)
            && (1e-12..1e12).contains(&self.close)
            && (0.0..1e3).contains(&self.variance)
            && (0.0..1e18).contains(&self.volume)
    }
}
