//! Readings of the world's prices and yields: what a macro analyser goes by.

use bytemuck::{Pod, Zeroable};

use crate::Nanos;
use crate::message::{Body, Kind};

/// Series that are read. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    /// Yield of two years, per cent.
    TwoYear = 0,
    /// Break-even inflation, per cent.
    Breakeven = 1,
    /// The dollar against a basket.
    Dollar = 2,
    /// An index of shares.
    Equity = 3,
    /// What holders of a perpetual pay each other, per cent of the position at a time.
    Funding = 4,
    /// Longs against shorts: a ratio.
    LongShort = 5,
    /// An index of fear and greed from outside, 0 to 100.
    FearGreed = 6,
}

/// Series that there are.
pub const SERIES: usize = 7;
/// The first of them, that say what the world does; the others say what the market's crowd does.
pub const WORLD_SERIES: usize = 4;

impl Series {
    /// Every one.
    pub const ALL: [Self; SERIES] = [
        Self::TwoYear,
        Self::Breakeven,
        Self::Dollar,
        Self::Equity,
        Self::Funding,
        Self::LongShort,
        Self::FearGreed,
    ];

    /// The series of a code.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as u64 == code)
    }

    /// Name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoYear => "two-year",
            Self::Breakeven => "breakeven",
            Self::Dollar => "dollar",
            Self::Equity => "equity",
            Self::Funding => "funding",
            Self::LongShort => "long-short",
            Self::FearGreed => "fear-greed",
        }
    }

    /// From one reading to the next: percentage points of a yield, logarithm of a price's ratio.
    #[must_use]
    pub fn is_positive(self) -> bool {
        matches!(self, Self::Dollar | Self::Equity | Self::LongShort)
    }

    /// True where it says what the world does, false where it says what the market's crowd does.
    #[must_use]
    pub fn is_of_the_world(self) -> bool {
        (self as usize) < WORLD_SERIES
    }
}

/// A value of a series, as it was known when it was published.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Reading {
    /// [`Series`] as its code.
    pub series: u64,
    /// The value.
    pub value: f64,
    /// What the traded asset cost then, in the quote asset; 0 where nobody says: what it costs when this is heard.
    pub price: f64,
    /// When it was published: not the day that it is of.
    pub published: Nanos,
    /// Zero.
    pub reserved: [u64; 8],
}

impl Body for Reading {
    const KIND: Kind = Kind::Reading;
}

impl Reading {
    /// True where everything is what it can be.
    #[must_use]
    pub fn is_sensible(&self) -> bool {
        let Some(series) = Series::from_code(self.series) else { return false };
        // Yields beyond a hundred per cent, and prices beyond what a number can be divided by, are mistakes.
        let is_value = match series {
            Series::FearGreed => (0.0..=100.0).contains(&self.value),
            of if of.is_positive() => self.value > 1e-9 && self.value < 1e12,
            _ => self.value.abs() <= 100.0,
        };
        is_value && (0.0..1e12).contains(&self.price)
    }
}
