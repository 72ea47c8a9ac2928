//! What strategy wants, and why it wants nothing.

use bytemuck::{Pod, Zeroable};

use crate::market::Level;
use crate::message::{Body, Kind};

/// Why a decision quotes on neither side. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldReason {
    /// Trading is halted.
    Halted = 1,
    /// No gateway that can send.
    VenueDown = 2,
    /// The instrument's book is not synchronised, crossed, one-sided or too old.
    NoBook = 3,
    /// No fair price that may be used.
    NoFairPrice = 4,
    /// Volatility or the fill model is not known well enough.
    Unfit = 5,
    /// Both sides are stopped: inventory, or prices that would not be prices.
    NoSide = 6,
    /// Only orders that make the position smaller may leave, and there is no position.
    Reducing = 7,
    /// A detector suspects what is no market to take risk in, and there is no position.
    MarketAlert = 8,
}

impl HoldReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Halted,
        Self::VenueDown,
        Self::NoBook,
        Self::NoFairPrice,
        Self::Unfit,
        Self::NoSide,
        Self::Reducing,
        Self::MarketAlert,
    ];

    /// The reason of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u64 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::VenueDown => "venue-down",
            Self::NoBook => "no-book",
            Self::NoFairPrice => "no-fair-price",
            Self::Unfit => "unfit",
            Self::NoSide => "no-side",
            Self::Reducing => "reducing",
            Self::MarketAlert => "market-alert",
        }
    }
}

/// What strategy wants from here on for one instrument: the quotes that should stand, replacing what it wanted before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Decision {
    /// To buy at, with the size wanted; size 0 for no bid.
    pub bid: Level,
    /// To sell at, with the size wanted; size 0 for no ask.
    pub ask: Level,
    /// Fair price in ticks, 0 where there is none.
    pub fair: f64,
    /// Signal in [-1, 1] that the quotes lean on.
    pub signal: f64,
    /// Confidence in it, in [0, 1].
    pub confidence: f64,
    /// Position it was decided with, in 1e-8, with its sign.
    pub position: i64,
    /// [`HoldReason`] as its code; 0 where it quotes.
    pub hold: u64,
    /// Strategy.
    pub strategy: u64,
    /// Probabilities that a fill of the bid, and of the ask, loses more than it earns; 0 where none is known.
    pub toxicity: [f64; 2],
}

impl Body for Decision {
    const KIND: Kind = Kind::Decision;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_codes_and_names_of_their_own() {
        for reason in HoldReason::ALL {
            assert_eq!(HoldReason::from_code(reason as u64), Some(reason));
            assert_eq!(HoldReason::ALL.iter().filter(|r| r.name() == reason.name()).count(), 1);
        }
        assert_eq!(HoldReason::from_code(0), None);
    }
}
