//! What detectors look at: seconds and minutes of a market, by the sequencer's time.

use kimera_protocol::{Nanos, Seq};

/// A second in ns.
pub const SECOND: Nanos = 1_000_000_000;

/// A span of a market's time that something happened in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bar {
    /// Number of the span since the epoch.
    pub index: i64,
    /// Inputs that it is made of, and the times of both.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
    /// Time of the first.
    pub begin: Nanos,
    /// Time of the last.
    pub end: Nanos,
    /// Highest mid, ticks; 0 where there was none.
    pub high: f64,
    /// Last mid, ticks; 0 where there was none.
    pub close: f64,
    /// Last spread, ticks.
    pub spread: f64,
    /// Base units traded.
    pub volume: f64,
    /// Trades.
    pub trades: u64,
    /// Messages about the instrument.
    pub messages: u64,
}

kimera_protocol::state!(Bar {
    index,
    first,
    last,
    begin,
    end,
    high,
    close,
    spread,
    volume,
    trades,
    messages
});

impl Bar {
    /// A span that begins with an input.
    #[inline]
    #[must_use]
    pub fn begun(index: i64, seq: Seq, time: Nanos) -> Self {
        Self { index, first: seq, last: seq, begin: time, end: time, ..Self::default() }
    }

    /// One message more.
    #[inline]
    pub fn heard(&mut self, seq: Seq, time: Nanos) {
        (self.last, self.end) = (seq, time);
        self.messages += 1;
    }

    /// The best prices, ticks.
    #[inline]
    pub fn quoted(&mut self, mid: f64, spread: f64) {
        self.high = self.high.max(mid);
        (self.close, self.spread) = (mid, spread);
    }

    /// A trade, base units.
    #[inline]
    pub fn traded(&mut self, size: f64) {
        self.volume += size;
        self.trades += 1;
    }

    /// Takes what a shorter span behind it has.
    pub fn extend(&mut self, by: &Self) {
        (self.last, self.end) = (by.last, by.end);
        self.high = self.high.max(by.high);
        if by.close > 0.0 {
            (self.close, self.spread) = (by.close, by.spread);
        }
        self.volume += by.volume;
        self.trades += by.trades;
        self.messages += by.messages;
    }
}
