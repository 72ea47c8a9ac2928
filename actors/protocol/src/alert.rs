//! What detectors say: that something looks out of the ordinary. Every one is a suspicion; what it means is for people.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::{Nanos, Seq};

/// What was looked for. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detector {
    /// A return far outside those of the last minutes.
    PriceSpike = 1,
    /// A return that a diffusion would hardly make.
    PriceJump = 2,
    /// More volume than this time of day has.
    VolumeSurge = 3,
    /// More trades than the last hours have.
    TradeBurst = 4,
    /// The mean of returns has moved.
    MomentumShift = 5,
    /// The price has fallen far, the book may have emptied in it.
    FlashCrash = 6,
    /// The same upwards.
    FlashRise = 7,
    /// Takers on one side have moved the price, and it was taken back.
    MomentumIgnition = 8,
    /// Price and volume leap together, and the price falls back.
    PumpAndDump = 9,
    /// Sizes of trades are not those that many traders make.
    WashTrading = 10,
    /// More messages a second than a market usually sends.
    QuoteStuffing = 11,
    /// Own large orders taken back behind fills on the other side.
    Spoofing = 12,
    /// The same with several prices at once.
    Layering = 13,
}

impl Detector {
    /// Every detector.
    pub const ALL: [Self; 13] = [
        Self::PriceSpike,
        Self::PriceJump,
        Self::VolumeSurge,
        Self::TradeBurst,
        Self::MomentumShift,
        Self::FlashCrash,
        Self::FlashRise,
        Self::MomentumIgnition,
        Self::PumpAndDump,
        Self::WashTrading,
        Self::QuoteStuffing,
        Self::Spoofing,
        Self::Layering,
    ];

    /// The detector of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|d| *d as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PriceSpike => "price-spike",
            Self::PriceJump => "price-jump",
            Self::VolumeSurge => "volume-surge",
            Self::TradeBurst => "trade-burst",
            Self::MomentumShift => "momentum-shift",
            Self::FlashCrash => "flash-crash",
            Self::FlashRise => "flash-rise",
            Self::MomentumIgnition => "momentum-ignition",
            Self::PumpAndDump => "pump-and-dump",
            Self::WashTrading => "wash-trading",
            Self::QuoteStuffing => "quote-stuffing",
            Self::Spoofing => "spoofing",
            Self::Layering => "layering",
        }
    }
}

/// How much an alert matters.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth a line.
    #[default]
    Notice = 1,
    /// Worth somebody's look.
    Warning = 2,
    /// Not a market to take risk in.
    Severe = 3,
}

impl Severity {
    /// The severity of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Notice, Self::Warning, Self::Severe].into_iter().find(|s| *s as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Severe => "severe",
        }
    }
}

/// Where what a detector follows has come to. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Suspected, and over: one observation.
    Seen = 1,
    /// It has begun, and is followed.
    Begun = 2,
    /// It has become worse.
    Worse = 3,
    /// It went as such things go: suspected.
    Confirmed = 4,
    /// It went otherwise.
    Dismissed = 5,
}

impl Phase {
    /// The phase of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        let all = [Self::Seen, Self::Begun, Self::Worse, Self::Confirmed, Self::Dismissed];
        all.into_iter().find(|p| *p as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Begun => "begun",
            Self::Worse => "worse",
            Self::Confirmed => "confirmed",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Something looks out of the ordinary.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Alert {
    /// [`Detector`] as its code.
    pub detector: u64,
    /// [`Severity`] as its code.
    pub severity: u64,
    /// [`Phase`] as its code.
    pub phase: u64,
    /// Sequencer's time from which on it was looked at.
    pub begin: Nanos,
    /// And up to which.
    pub end: Nanos,
    /// The evidence: first input of that time.
    pub first: Seq,
    /// And its last.
    pub last: Seq,
    /// What was measured, in the detector's own terms: a robust z, a standardised return, a fall as a fraction, a probability.
    pub score: f64,
    /// Beyond which it is an alert.
    pub limit: f64,
    /// Zero.
    pub reserved: [u64; 3],
}

impl Body for Alert {
    const KIND: Kind = Kind::Alert;
}

/// Which alerts end the taking of risk, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertPolicy {
    /// From this severity on.
    pub severity: Severity,
    /// For so long behind each; 0: never.
    pub hold: Nanos,
}

impl Default for AlertPolicy {
    /// A minute behind severe ones.
    fn default() -> Self {
        Self { severity: Severity::Severe, hold: 60_000_000_000 }
    }
}

impl AlertPolicy {
    /// Until when only orders that make a position smaller may leave, behind an alert at a time.
    #[must_use]
    pub fn holds_until(&self, alert: &Alert, time: Nanos) -> Option<Nanos> {
        let is_enough = alert.severity >= self.severity as u64;
        (self.hold > 0 && is_enough).then(|| time.saturating_add(self.hold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        assert!(Detector::ALL.into_iter().all(|d| Detector::from_code(d as u64) == Some(d)));
        assert_eq!(Detector::from_code(0), None);
        assert_eq!(Severity::from_code(3), Some(Severity::Severe));
        assert!(Severity::Notice < Severity::Warning && Severity::from_code(4).is_none());
        assert_eq!((Phase::from_code(4), Phase::from_code(6)), (Some(Phase::Confirmed), None));
    }
}
