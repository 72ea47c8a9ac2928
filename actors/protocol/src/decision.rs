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
    /// Nothing to be seen that it would trade on.
    NoSignal = 9,
    /// What it sees is not worth what it costs to trade.
    NoEdge = 10,
    /// The market is in a state that this strategy keeps out of.
    Regime = 11,
    /// The forecast is no better than saying the commoner direction: nothing is left of the size.
    Pressure = 12,
    /// Its session is stopped, and has no position.
    Stopped = 13,
    /// Its capital does not buy one lot.
    Capital = 14,
    /// It holds what it has.
    Holding = 15,
    /// Nobody sends orders for an instrument that it trades.
    NotTradable = 16,
    /// It has just left a position, and rests before the next.
    Resting = 17,
    /// Its round trips of thirty days have an expectancy below 0 at 95 %: it takes no more risk until somebody starts it again.
    Demoted = 18,
}

impl HoldReason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::Halted,
        Self::VenueDown,
        Self::NoBook,
        Self::NoFairPrice,
        Self::Unfit,
        Self::NoSide,
        Self::Reducing,
        Self::MarketAlert,
        Self::NoSignal,
        Self::NoEdge,
        Self::Regime,
        Self::Pressure,
        Self::Stopped,
        Self::Capital,
        Self::Holding,
        Self::NotTradable,
        Self::Resting,
        Self::Demoted,
    ];

    /// The reason of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u8 == code)
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
            Self::NoSignal => "no-signal",
            Self::NoEdge => "no-edge",
            Self::Regime => "regime",
            Self::Pressure => "pressure",
            Self::Stopped => "stopped",
            Self::Capital => "capital",
            Self::Holding => "holding",
            Self::NotTradable => "not-tradable",
            Self::Resting => "resting",
            Self::Demoted => "demoted",
        }
    }
}

/// How what is wanted is traded. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// It waits in the book, and never takes.
    #[default]
    Quote = 0,
    /// It takes what is there up to its price; the rest expires.
    Take = 1,
}

impl Urgency {
    /// The urgency of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Quote),
            1 => Some(Self::Take),
            _ => None,
        }
    }
}

/// What a session wants from here on of one instrument: what should stand or be taken, replacing what it wanted before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Decision {
    /// To buy at, with the size wanted; size 0 for no bid.
    pub bid: Level,
    /// To sell at, with the size wanted; size 0 for no ask.
    pub ask: Level,
    /// Fair price in ticks, 0 where there is none.
    pub fair: f64,
    /// The session's position it was decided with, in 1e-8, with its sign.
    pub position: i64,
    /// Price in ticks at which the reason is gone; 0 where there is none.
    pub invalid_at: f64,
    /// Signal in [-1, 1] that it rests on.
    pub signal: f32,
    /// Confidence in it, in [0, 1].
    pub confidence: f32,
    /// Probabilities that a fill of the bid, and of the ask, loses more than it earns; 0 where none is known.
    pub toxicity: [f32; 2],
    /// What the trade is expected to earn before costs, basis points.
    pub edge_bps: f32,
    /// What it costs, in and out, basis points.
    pub cost_bps: f32,
    /// Milliseconds within which it is expected; 0 where it is not about a time.
    pub horizon_ms: u32,
    /// Number of the session's strategy.
    pub strategy: u16,
    /// [`HoldReason`] as its code; 0 where it wants something.
    pub hold: u8,
    /// [`Urgency`] as its code.
    pub urgency: u8,
    /// Place of the session, from 0.
    pub session: u8,
    /// Zero.
    pub reserved: [u8; 7],
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
            assert_eq!(HoldReason::from_code(reason as u8), Some(reason));
            assert_eq!(HoldReason::ALL.iter().filter(|r| r.name() == reason.name()).count(), 1);
        }
        assert_eq!(HoldReason::from_code(0), None);
    }
}
