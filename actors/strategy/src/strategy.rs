//! What a strategy is: it hears bars, looks at the scene, and says what it wants. Everything else (size, limits, stops, the
//! ways out) is the session's, the same for all.

use kimera_protocol::{Decision, HoldReason, InstrumentId, Level, News, SessionTerms, Side, State, Urgency};

use crate::account::Account;
use crate::scene::{Bar, Scene};

/// Most orders of one trade over several instruments.
pub const LEGS_MAX: usize = 3;

/// A part of a trade over several instruments; all of them take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Instrument.
    pub instrument: InstrumentId,
    /// Buys or sells.
    pub side: Side,
    /// Worst price and size.
    pub level: Level,
}

/// A view on the traded instrument. Which way, and why; how much is the session's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// To be long (1) or short (−1).
    pub direction: i8,
    /// How far it is to be believed, in [0, 1]: its share of a full position.
    pub strength: f64,
    /// Probability that the direction is right, where there is one: no more than half of Kelly's share is taken then.
    pub probability: Option<f64>,
    /// What is expected of it before costs, basis points of the price.
    pub edge_bps: f64,
    /// Within how long, milliseconds; a position that is older goes.
    pub horizon_ms: u32,
    /// Takes, or waits in the book.
    pub urgency: Urgency,
}

/// What a strategy wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Want {
    /// Quotes on both sides; a size of 0 is none.
    Quotes {
        /// To buy at.
        bid: Level,
        /// To sell at.
        ask: Level,
    },
    /// A position, if there is none; the same direction again holds what there is, the other closes it.
    Enter(View),
    /// What there is stays.
    Stay,
    /// What there is goes, for this reason.
    Leave(HoldReason),
    /// A trade over several instruments, now.
    Legs([Option<Leg>; LEGS_MAX]),
}

/// What of the specification's rules binds a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Its entries shrink with the ensemble's pressure (model book 4.9).
    pub by_pressure: bool,
    /// It follows momentum: it does not enter a hot market.
    pub by_heat: bool,
    /// It does not enter behind a change of the regime.
    pub by_change: bool,
}

/// A strategy. Behind the door it is a pure state machine: no clock, no random numbers, no memory taken after the start.
pub trait Strategy: State + Send {
    /// Forgets everything.
    fn clear(&mut self);

    /// Goes on, or begins, on these terms.
    fn weigh(&mut self, _terms: &SessionTerms) {}

    /// A bar has closed.
    fn bar(&mut self, _scene: &Scene, _bar: Bar) {}

    /// A headline.
    fn news(&mut self, _scene: &Scene, _news: &News) {}

    /// What it wants now. What it knows of fair price, signal, confidence or toxicity it writes into `decision`.
    ///
    /// # Errors
    /// Why it wants nothing.
    fn want(&mut self, scene: &Scene, account: &Account, decision: &mut Decision)
    -> Result<Want, HoldReason>;

    /// Which rules bind it.
    fn bound(&self) -> Bound {
        Bound::default()
    }

    /// It quotes both sides: where it cannot, nothing of it stands, and what it holds stays.
    fn quotes(&self) -> bool {
        false
    }

    /// The instruments it trades.
    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX];

    /// A word that tells two states apart that differ.
    fn digest(&self) -> u64 {
        0
    }
}
