//! Both sides of a book, ordered by update identifiers and not by arrival.
//!
//! Depth frames change levels; tickers carry the best prices at an identifier of the same count and usually run
//! ahead of the depth stream. A ticker newer than the last depth frame overlays the best prices: levels it proves
//! gone are hidden until depth says so too. A ticker older than what is known changes nothing.

use kimera_protocol::{DepthBegin, Level, Levels, Nanos, Price, Quantity, Side, Ticker};

use crate::ladder::Ladder;
use crate::top::Top;

/// A change of one level by a depth frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// Side it is on.
    pub side: Side,
    /// Its price.
    pub price: Price,
    /// Size before.
    pub from: Quantity,
    /// Size after.
    pub to: Quantity,
}

/// The book of one instrument.
pub struct Book {
    bids: Ladder,
    asks: Ladder,
    /// A snapshot has been taken and the chain has held since.
    synchronised: bool,
    /// A depth frame is open: levels may follow.
    in_frame: bool,
    depth_id: u64,
    overlay: Option<Ticker>,
    venue_time: Nanos,
    chain_breaks: u64,
}

kimera_protocol::state!(Book {
    bids,
    asks,
    synchronised,
    in_frame,
    depth_id,
    overlay,
    venue_time,
    chain_breaks
});

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// An empty book without a snapshot.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bids: Ladder::new(Side::Bid),
            asks: Ladder::new(Side::Ask),
            synchronised: false,
            in_frame: false,
            depth_id: 0,
            overlay: None,
            venue_time: 0,
            chain_breaks: 0,
        }
    }

    /// Opens a depth frame. A delta without a snapshot, or one that does not follow the frame before it, is refused
    /// (false): its levels must not be applied.
    pub fn begin(&mut self, begin: &DepthBegin) -> bool {
        self.in_frame = false;
        if begin.snapshot != 0 {
            self.bids.clear();
            self.asks.clear();
            self.synchronised = true;
        } else if !self.synchronised {
            return false;
        } else if begin.previous_id != self.depth_id {
            self.chain_breaks += 1;
            self.synchronised = false;
            return false;
        }
        self.depth_id = begin.last_id;
        self.venue_time = self.venue_time.max(begin.venue_time);
        if self.overlay.is_some_and(|t| t.update_id <= begin.last_id) {
            self.overlay = None;
        }
        self.in_frame = true;
        true
    }

    /// Applies levels of the open frame, reporting each change.
    #[inline]
    pub fn apply(
        &mut self,
        levels: &Levels,
        count: usize,
        bids: usize,
        mut changed: impl FnMut(LevelChange),
    ) {
        if !self.in_frame {
            return;
        }
        for (i, level) in levels.levels.iter().take(count).enumerate() {
            let (side, ladder) =
                if i < bids { (Side::Bid, &mut self.bids) } else { (Side::Ask, &mut self.asks) };
            let from = ladder.set(level.price, level.size);
            if from != level.size {
                changed(LevelChange { side, price: level.price, from, to: level.size });
            }
        }
    }

    /// Takes a ticker; false where it is older than what is known.
    pub fn ticker(&mut self, ticker: &Ticker) -> bool {
        let newest = self.overlay.map_or(self.depth_id, |t| t.update_id.max(self.depth_id));
        if ticker.update_id <= newest {
            return false;
        }
        self.venue_time = self.venue_time.max(ticker.venue_time);
        self.overlay = Some(*ticker);
        true
    }

    /// The chain is broken: nothing is trusted until the next snapshot.
    pub fn gapped(&mut self) {
        self.synchronised = false;
        self.in_frame = false;
        self.overlay = None;
    }

    /// Best bid and ask, the newest of ticker and depth.
    #[inline]
    #[must_use]
    pub fn best(&self) -> (Option<Level>, Option<Level>) {
        match &self.overlay {
            Some(t) => (nonempty(t.bid), nonempty(t.ask)),
            None => (self.bids.best(), self.asks.best()),
        }
    }

    /// Best bid and ask, or why they may not be used.
    #[inline]
    #[must_use]
    pub fn state(&self) -> Top {
        if !self.synchronised {
            return Top::Gapped;
        }
        let (bid, ask) = self.best();
        Top::of_levels(bid, ask)
    }

    /// The first `N` levels of a side, with the ticker's best price where that is newer: levels the ticker proves
    /// gone are left out.
    #[must_use]
    pub fn top<const N: usize>(&self, side: Side) -> [Level; N] {
        let ladder = self.side(side);
        let Some(ticker) = &self.overlay else { return ladder.top::<N>() };
        let best = if side == Side::Bid { ticker.bid } else { ticker.ask };
        let mut levels = [Level::default(); N];
        if best.size.0 <= 0 {
            return levels;
        }
        if let Some((first, others)) = levels.split_first_mut() {
            *first = best;
            ladder.fill_worse(best.price, others);
        }
        levels
    }

    /// One side's levels as the depth stream left them.
    #[must_use]
    pub fn side(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// The newest update identifier known.
    #[must_use]
    pub fn update_id(&self) -> u64 {
        self.overlay.map_or(self.depth_id, |t| t.update_id.max(self.depth_id))
    }

    /// The venue's time of the newest event that carried one.
    #[must_use]
    pub fn venue_time(&self) -> Nanos {
        self.venue_time
    }

    /// Levels that did not fit far from the best price.
    #[must_use]
    pub fn levels_dropped(&self) -> u64 {
        self.bids.dropped() + self.asks.dropped()
    }

    /// Delta frames that did not follow the one before.
    #[must_use]
    pub fn chain_breaks(&self) -> u64 {
        self.chain_breaks
    }

    /// A digest of every level, independent of the order they are held in.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let sides = self.bids.digest().wrapping_mul(0xA076_1D64_78BD_642F) ^ self.asks.digest();
        self.depth_id
            ^ u64::from(self.synchronised).rotate_left(40)
            ^ sides.wrapping_mul(0xE703_7ED1_A0B4_28DB)
    }
}

fn nonempty(level: Level) -> Option<Level> {
    (level.size.0 > 0).then_some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(snapshot: u32, previous_id: u64, last_id: u64) -> DepthBegin {
        DepthBegin { snapshot, previous_id, last_id, ..DepthBegin::default() }
    }

    fn levels(of: &[(i64, i64)]) -> Levels {
        let mut body = Levels::default();
        for (slot, &(price, size)) in body.levels.iter_mut().zip(of) {
            *slot = Level { price: Price(price), size: Quantity(size) };
        }
        body
    }

    fn synchronised() -> Book {
        let mut book = Book::new();
        assert!(book.begin(&begin(1, 0, 10)));
        book.apply(&levels(&[(100, 5), (99, 6), (101, 7), (102, 8)]), 4, 2, |_| {});
        book
    }

    fn prices(book: &Book) -> (Option<i64>, Option<i64>) {
        let (bid, ask) = book.best();
        (bid.map(|l| l.price.0), ask.map(|l| l.price.0))
    }

    #[test]
    fn nothing_is_applied_before_a_snapshot_or_after_a_break() {
        let mut book = Book::new();
        assert!(!book.begin(&begin(0, 9, 10)));
        book.apply(&levels(&[(100, 5)]), 1, 1, |_| unreachable!());
        assert_eq!((prices(&book), book.state()), ((None, None), Top::Gapped));
        let mut book = synchronised();
        assert!(!book.begin(&begin(0, 11, 12)), "12 does not follow 10");
        book.apply(&levels(&[(100, 0)]), 1, 1, |_| unreachable!());
        assert_eq!((book.state(), book.chain_breaks()), (Top::Gapped, 1));
        assert!(book.begin(&begin(1, 0, 20)), "a snapshot mends it");
    }

    #[test]
    fn tickers_and_depth_are_ordered_by_identifier() {
        let mut book = synchronised();
        let ticker = |update_id, bid, ask| Ticker {
            update_id,
            bid: Level { price: Price(bid), size: Quantity(1) },
            ask: Level { price: Price(ask), size: Quantity(1) },
            ..Ticker::default()
        };
        assert!(!book.ticker(&ticker(9, 98, 103)), "older than the snapshot");
        assert!(book.ticker(&ticker(12, 99, 102)));
        assert_eq!(prices(&book), (Some(99), Some(102)));
        assert_eq!(book.top::<3>(Side::Bid)[0].price, Price(99));
        assert!(book.begin(&begin(0, 10, 11)));
        assert_eq!(prices(&book), (Some(99), Some(102)), "the ticker is still newer");
        assert!(book.begin(&begin(0, 11, 12)));
        assert_eq!(prices(&book), (Some(100), Some(101)), "depth has caught up");
    }

    #[test]
    fn each_degenerate_book_has_its_name() {
        let level = |price, size| Level { price: Price(price), size: Quantity(size) };
        let mut book = synchronised();
        assert_eq!(book.state(), Top::Good { bid: level(100, 5), ask: level(101, 7) });
        assert!(book.begin(&begin(0, 10, 11)));
        book.apply(&levels(&[(101, 3)]), 1, 1, |_| {});
        assert_eq!(book.state(), Top::Crossed { bid: level(101, 3), ask: level(101, 7) });
        book.apply(&levels(&[(101, 0), (100, 0), (99, 0)]), 3, 3, |_| {});
        assert_eq!(book.state(), Top::OneSided(Side::Ask, level(101, 7)));
        book.apply(&levels(&[(101, 0), (102, 0)]), 2, 0, |_| {});
        assert_eq!(book.state(), Top::Empty);
        book.gapped();
        assert_eq!(book.state(), Top::Gapped);
    }
}
