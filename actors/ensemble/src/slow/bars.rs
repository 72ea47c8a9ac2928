//! Bars of an instrument in eight channels: what every slow part of a member looks at.

use kimera_numerics::ln;
use kimera_protocol::{Level, Nanos, Trade};

/// Channels of a bar.
pub const CHANNELS: usize = 8;
/// A bar in its channels, in this order: return of the mid; logarithm of high over low; logarithm of one and the volume in units of the base
/// asset; buyers' volume less sellers' over both; logarithm of one and the trades; spread in ticks; imbalance of the best sizes; return of the
/// other instrument in the same bar (0 where there is none).
pub type Bar = [f64; CHANNELS];
/// Place of the return.
pub const RETURN: usize = 0;
/// Place of the volume's logarithm.
pub const VOLUME: usize = 2;
/// Place of what buyers took more than sellers.
pub const FLOW: usize = 3;
/// Place of the trades.
pub const TRADES: usize = 4;
/// Place of the other instrument's return.
pub const OTHER: usize = 7;

/// What an instrument does between two ends of bars.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenBar {
    /// Mid at the end of the last bar; none before the first, and behind a hole.
    close: Option<f64>,
    mid: f64,
    high: f64,
    low: f64,
    /// Spread and imbalance of the newest best prices.
    spread: f64,
    imbalance: f64,
    /// Buyers' and sellers' volume, 1e-8.
    volume: (i64, i64),
    trades: u32,
}

impl OpenBar {
    /// Best prices, in ticks; what is no market is left out.
    pub(super) fn quoted(&mut self, bid: Level, ask: Level) {
        if bid.size.0 <= 0 || ask.size.0 <= 0 || bid.price.0 <= 0 || bid.price.0 >= ask.price.0 {
            return;
        }
        let mid = (bid.price.0 + ask.price.0) as f64 * 0.5;
        if self.mid == 0.0 {
            (self.high, self.low) = (mid, mid);
        }
        (self.mid, self.high, self.low) = (mid, self.high.max(mid), self.low.min(mid));
        self.spread = (ask.price.0 - bid.price.0) as f64;
        let (bids, asks) = (bid.size.0 as f64, ask.size.0 as f64);
        self.imbalance = (bids - asks) / (bids + asks);
    }

    pub(super) fn traded(&mut self, trade: &Trade) {
        if trade.size.0 > 0 {
            let side = if trade.aggressor > 0 { &mut self.volume.0 } else { &mut self.volume.1 };
            *side = side.saturating_add(trade.size.0);
            self.trades = self.trades.saturating_add(1);
        }
    }

    /// The newest mid, in ticks; none before the first.
    pub(super) fn mid(&self) -> Option<f64> {
        (self.mid > 0.0).then_some(self.mid)
    }

    /// Ends the bar; none where it has no mid at its beginning or none at its end. The other instrument's return is not known here.
    pub(super) fn end(&mut self) -> Option<Bar> {
        let mid = self.mid()?;
        let (bought, sold) = (units(self.volume.0), units(self.volume.1));
        let volume = bought + sold;
        let bar = self.close.map(|close| {
            let share = if volume > 0.0 { (bought - sold) / volume } else { 0.0 };
            let count = ln(1.0 + f64::from(self.trades));
            let range = ln(self.high / self.low);
            [ln(mid / close), range, ln(1.0 + volume), share, count, self.spread, self.imbalance, 0.0]
        });
        *self = Self { close: Some(mid), high: mid, low: mid, volume: (0, 0), trades: 0, ..*self };
        bar
    }
}

fn units(e8: i64) -> f64 {
    e8 as f64 * 1e-8
}

/// When bars end: all at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    length: Nanos,
    open: Option<i64>,
}

impl Grid {
    pub(super) fn new(length: Nanos) -> Self {
        Self { length: length.max(1), open: None }
    }

    /// Bars that have ended when something happens at a time.
    pub(super) fn ended(&mut self, time: Nanos) -> u64 {
        let bar = time.div_euclid(self.length);
        let ended = self.open.map_or(0, |open| bar.saturating_sub(open).max(0));
        self.open = Some(self.open.map_or(bar, |open| open.max(bar)));
        ended.unsigned_abs()
    }

    /// Length of a bar.
    pub(super) fn length(&self) -> Nanos {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Price, Quantity};

    fn level(price: i64, size: i64) -> Level {
        Level { price: Price(price), size: Quantity(size) }
    }

    #[test]
    fn a_bar_says_what_happened_between_its_ends() {
        let mut open = OpenBar::default();
        assert_eq!(open.end(), None, "no price yet");
        open.quoted(level(99, 1), level(101, 1));
        assert_eq!(open.end(), None, "no price at its beginning");
        open.quoted(level(109, 3), level(111, 1));
        open.quoted(level(104, 3), level(106, 1));
        open.quoted(level(107, 3), level(106, 1)); // no market
        open.traded(&Trade { size: Quantity(200_000_000), aggressor: 1, ..Trade::default() });
        open.traded(&Trade { size: Quantity(100_000_000), aggressor: -1, ..Trade::default() });
        let bar = open.end().unwrap();
        let expected = [ln(1.05), ln(1.1), ln(4.0), 1.0 / 3.0, ln(3.0), 2.0, 0.5, 0.0];
        assert!(bar.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{bar:?}");
        let quiet = open.end().unwrap();
        assert_eq!((quiet[0], quiet[1], quiet[2], quiet[3], quiet[4]), (0.0, 0.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn bars_end_by_the_grid() {
        let mut grid = Grid::new(10);
        assert_eq!([5, 9, 10, 19, 45, 3, 50].map(|time| grid.ended(time)), [0, 0, 1, 0, 3, 0, 1]);
    }
}
