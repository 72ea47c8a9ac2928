//! What the market stage says at a mark.

use bytemuck::{Pod, Zeroable};

use crate::Nanos;
use crate::market::Level;
use crate::message::{Body, Kind};

/// Side of a book, an order or a trade's aggressor.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Buyers.
    Bid = 0,
    /// Sellers.
    Ask = 1,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }
}

/// How far an estimate may be trusted. Only `Ok` and `Clamped` may be used to increase risk.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Too few observations yet.
    #[default]
    Warmup = 0,
    /// Usable.
    Ok = 1,
    /// Usable, held at its bound.
    Clamped = 2,
    /// Last good value, older than it may be.
    Stale = 3,
    /// The book is empty.
    EmptyBook = 4,
    /// One side of the book is empty.
    OneSided = 5,
    /// Bid at or above ask.
    Crossed = 6,
    /// Zero variance or zero denominator.
    ZeroVariance = 7,
    /// Neighbouring changes go together where they should go against one another.
    PositiveAutocovariance = 8,
}

impl Status {
    /// True where the value may be used to increase risk.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ok | Self::Clamped)
    }

    /// Name for tables and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Ok => "ok",
            Self::Clamped => "clamped",
            Self::Stale => "stale",
            Self::EmptyBook => "empty-book",
            Self::OneSided => "one-sided",
            Self::Crossed => "crossed",
            Self::ZeroVariance => "zero-variance",
            Self::PositiveAutocovariance => "positive-autocovariance",
        }
    }

    /// The status of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Warmup,
            1 => Self::Ok,
            2 => Self::Clamped,
            3 => Self::Stale,
            4 => Self::EmptyBook,
            5 => Self::OneSided,
            6 => Self::Crossed,
            7 => Self::ZeroVariance,
            8 => Self::PositiveAutocovariance,
            _ => return None,
        })
    }
}

/// The book's best prices at a mark.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Quote {
    /// Best bid; size 0 where there is none.
    pub bid: Level,
    /// Best ask; size 0 where there is none.
    pub ask: Level,
    /// Last trade price in ticks, 0 before the first.
    pub last_price: i64,
    /// The newest update identifier the book holds.
    pub update_id: u64,
    /// The venue's time of that update.
    pub venue_time: Nanos,
    /// Total size within the liquidity window on the bid side, in 1e-8.
    pub bid_depth: i64,
    /// Total size within the liquidity window on the ask side, in 1e-8.
    pub ask_depth: i64,
    /// 1 where the book is synchronised, two-sided and not crossed.
    pub usable: u64,
    /// Best bid of the whole market over its venues, in this one's prices, 1e-8 of the quote asset; 0 where fewer than two can be believed.
    pub composite_bid: i64,
    /// Best ask of the same; between venues it may lie below the bid.
    pub composite_ask: i64,
}

impl Body for Quote {
    const KIND: Kind = Kind::Quote;
}

/// Values in [`Features`].
pub const FEATURES_MAX: usize = 11;

/// The estimators at a mark, with four bits of [`Status`] each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Features {
    /// Imbalance-weighted fair price in ticks.
    pub microprice: f64,
    /// Multi-level order-book imbalance in [-1, 1].
    pub imbalance: f64,
    /// Order-flow imbalance of the running bucket, in base units.
    pub order_flow: f64,
    /// Price move per unit of order flow, ticks per base unit.
    pub order_flow_impact: f64,
    /// Net depth change near the mid in [-1, 1].
    pub liquidity_flow: f64,
    /// Kyle's lambda, ticks per base unit.
    pub kyle_lambda: f64,
    /// Realised variance of the window.
    pub realised_variance: f64,
    /// Bipower variation of the window.
    pub bipower_variation: f64,
    /// Median realised variance of the window.
    pub median_variance: f64,
    /// Two-scales realised variance of the window.
    pub two_scales_variance: f64,
    /// Jump part of the variance.
    pub jump_variance: f64,
    /// [`Status`] of each value above, four bits each, the first lowest.
    pub statuses: u64,
}

impl Body for Features {
    const KIND: Kind = Kind::Features;
}

impl Features {
    /// Names of the values, in order.
    pub const NAMES: [&'static str; FEATURES_MAX] = [
        "microprice",
        "imbalance",
        "order_flow",
        "order_flow_impact",
        "liquidity_flow",
        "kyle_lambda",
        "realised_variance",
        "bipower_variation",
        "median_variance",
        "two_scales_variance",
        "jump_variance",
    ];

    /// The values, in order.
    #[must_use]
    pub fn values(&self) -> [f64; FEATURES_MAX] {
        let words: &[f64; FEATURES_MAX + 1] = bytemuck::must_cast_ref(self);
        std::array::from_fn(|i| words[i])
    }

    /// Status of value `index`.
    #[must_use]
    pub fn status(&self, index: usize) -> Status {
        Status::from_code(((self.statuses >> (4 * index)) & 0xF) as u8).unwrap_or_default()
    }

    /// Sets the status of value `index`.
    pub fn set_status(&mut self, index: usize, status: Status) {
        self.statuses &= !(0xF << (4 * index));
        self.statuses |= u64::from(status as u8) << (4 * index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_packed_apart() {
        let mut features = Features { jump_variance: 2.5, ..Features::default() };
        features.set_status(10, Status::Clamped);
        features.set_status(0, Status::Crossed);
        features.set_status(0, Status::Ok);
        assert_eq!(
            (features.status(0), features.status(1), features.status(10)),
            (Status::Ok, Status::Warmup, Status::Clamped)
        );
        assert!((features.values()[10] - 2.5).abs() < f64::EPSILON);
    }
}
