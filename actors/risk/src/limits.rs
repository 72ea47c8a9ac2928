//! What may be. Integers throughout, so that a limit holds to the last unit.

use kimera_protocol::{AlertPolicy, Nanos};

/// Ten-thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BasisPoints(pub i64);

impl BasisPoints {
    /// 100 %.
    pub const ONE: i128 = 10_000;

    /// True where `part` is at most this share of `whole`, exactly: `part · 10,000 ≤ whole · share`. Overflow is no.
    #[must_use]
    pub fn holds(self, part: i128, whole: i128) -> bool {
        match (part.checked_mul(Self::ONE), whole.checked_mul(i128::from(self.0))) {
            (Some(part), Some(allowed)) => part <= allowed,
            _ => false,
        }
    }
}

/// The static facts of an instrument that the checks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentRules {
    /// Price step in 1e-8 of the quote asset.
    pub tick_units: i64,
    /// Size step of our orders in 1e-8 of the base asset, until the venue says another.
    pub lot_units: i64,
    /// Index of the base asset: exposures of one asset are added up.
    pub asset: u8,
    /// True where orders may be sent at all; a fair-value source is read only.
    pub tradable: bool,
}

/// The limits of a run. A later version may be tighter at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Counts changes; part of every stamp.
    pub version: u64,
    /// Equity at the start, in 1e-8 of the quote asset.
    pub equity_start: i64,
    /// Distance of a price from the market.
    pub collar: BasisPoints,
    /// The same for orders that make a position smaller.
    pub collar_reducing: BasisPoints,
    /// Size of one order, in 1e-8.
    pub order_size_max: i64,
    /// Notional of one order, in 1e-8 of the quote asset.
    pub order_notional_max: i64,
    /// Worst position of an instrument, as a share of equity.
    pub position: BasisPoints,
    /// Worst exposure of an asset, as a share of equity.
    pub asset: BasisPoints,
    /// Fall of equity from its highest point at which only reducing orders pass.
    pub drawdown: BasisPoints,
    /// Loss of a UTC day at which nothing passes until someone resumes on a later day.
    pub daily_loss: BasisPoints,
    /// Orders a second, over time.
    pub orders_per_second: u32,
    /// Orders at once.
    pub orders_burst: u32,
    /// How long the same order counts as a duplicate.
    pub duplicate_window: Nanos,
    /// Age of the market's price at which it is stale.
    pub stale_after: Nanos,
    /// How long a stamp is good for sending.
    pub send_within: Nanos,
    /// Working orders at a time, over all instruments.
    pub working_max: usize,
    /// Which alerts let only ways out pass, and for how long.
    pub alerts: AlertPolicy,
}

impl Default for Limits {
    /// The model book's defaults (4.1, 4.14) on an account of 100,000.
    fn default() -> Self {
        const UNIT: i64 = 100_000_000;
        const SECOND: Nanos = 1_000_000_000;
        Self {
            version: 1,
            equity_start: 100_000 * UNIT,
            collar: BasisPoints(300),
            collar_reducing: BasisPoints(1_000),
            order_size_max: UNIT,
            order_notional_max: 10_000 * UNIT,
            position: BasisPoints(1_000),
            asset: BasisPoints(2_000),
            drawdown: BasisPoints(1_000),
            daily_loss: BasisPoints(300),
            orders_per_second: 20,
            orders_burst: 50,
            duplicate_window: SECOND / 2,
            stale_after: SECOND,
            send_within: SECOND / 4,
            working_max: 128,
            alerts: AlertPolicy::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact() {
        // 10 % of 120: 12 is at most that, 12 and the smallest unit more is not.
        assert!(BasisPoints(1_000).holds(12_000_000, 120_000_000));
        assert!(!BasisPoints(1_000).holds(12_000_001, 120_000_000));
        assert!(!BasisPoints(1_000).holds(i128::MAX, i128::MAX), "overflow is no");
    }
}
