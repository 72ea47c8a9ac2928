//! The best prices of a book of any depth, or why there are none that could be used: what may be done with them is said by the
//! type, and not by a price of nothing.

use kimera_protocol::{Level, Nanos, Side, Status};

/// Best prices. `O` is what stands at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top<O = Level> {
    /// Nothing was ever taken, or the stream has a gap: what was known is not trusted.
    Gapped,
    /// The last word is older than it may be, where somebody asks at a time.
    Stale {
        /// By how much its age is over the limit.
        by: Nanos,
    },
    /// Nothing stands.
    Empty,
    /// One side only.
    OneSided(Side, O),
    /// A bid at or above an ask: both cannot be true.
    Crossed {
        /// Best bid.
        bid: O,
        /// Best ask.
        ask: O,
    },
    /// Both sides, apart from one another.
    Good {
        /// Best bid.
        bid: O,
        /// Best ask.
        ask: O,
    },
}

impl<O> Top<O> {
    /// What two sides are together; `is_crossed` compares bid and ask.
    #[inline]
    pub fn of(bid: Option<O>, ask: Option<O>, is_crossed: impl Fn(&O, &O) -> bool) -> Self {
        match (bid, ask) {
            (None, None) => Self::Empty,
            (Some(bid), None) => Self::OneSided(Side::Bid, bid),
            (None, Some(ask)) => Self::OneSided(Side::Ask, ask),
            (Some(bid), Some(ask)) if is_crossed(&bid, &ask) => Self::Crossed { bid, ask },
            (Some(bid), Some(ask)) => Self::Good { bid, ask },
        }
    }

    /// The status of an estimate from these prices: a book that is not there is one that is still to come.
    #[inline]
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Gapped => Status::Warmup,
            Self::Stale { .. } => Status::Stale,
            Self::Empty => Status::EmptyBook,
            Self::OneSided(..) => Status::OneSided,
            Self::Crossed { .. } => Status::Crossed,
            Self::Good { .. } => Status::Ok,
        }
    }
}

impl Top {
    /// As [`Top::of`], for levels.
    #[inline]
    #[must_use]
    pub fn of_levels(bid: Option<Level>, ask: Option<Level>) -> Self {
        Self::of(bid, ask, |bid, ask| bid.price >= ask.price)
    }
}
