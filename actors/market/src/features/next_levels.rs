//! The levels behind the best price of a side, read from the book only where they may be others than before: most marks follow a best price that
//! has only another size.

use kimera_protocol::{Level, Price, Side};

use super::imbalance::LEVELS;
use crate::book::Book;

/// The last ones that were read, and what they were read from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NextLevels {
    /// Digest and window of the side, and the price they lie behind.
    of: Option<(u64, i64, Price)>,
    levels: [Level; LEVELS - 1],
}

impl NextLevels {
    /// The first levels of a side that has `best` for its best: as [`Book::top`] says.
    #[inline]
    pub(super) fn top(&mut self, book: &Book, side: Side, best: Option<Level>) -> [Level; LEVELS] {
        let mut top = [Level::default(); LEVELS];
        let Some(best) = best else { return top };
        let ladder = book.side(side);
        let of = Some((ladder.digest(), ladder.window(), best.price));
        if self.of != of {
            self.of = of;
            self.levels = Default::default();
            ladder.fill_worse(best.price, &mut self.levels);
        }
        top[0] = best;
        top[1..].copy_from_slice(&self.levels);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{DepthBegin, Levels, Quantity, Ticker};
    use proptest::prelude::*;

    proptest! {
        /// Depth frames and best prices in any order: what is kept is never older than what the book says.
        #[test]
        fn they_are_always_those_of_the_book(
            steps in proptest::collection::vec((any::<bool>(), 0i64..40, 0i64..3, 0i64..40, 0i64..3), 1..200),
        ) {
            let (mut book, mut next) = (Book::new(), [NextLevels::default(); 2]);
            let (mut id, mut previous_id) = (10, 10);
            book.begin(&DepthBegin { snapshot: 1, last_id: id, ..DepthBegin::default() });
            let level = |price, size| Level { price: Price(price), size: Quantity(size) };
            for (is_ticker, bid, bid_size, ask, ask_size) in steps {
                let (bid, ask) = (level(1_000 - bid, bid_size), level(1_001 + ask, ask_size));
                id += 1;
                if is_ticker {
                    // Best prices run ahead of the depth stream.
                    book.ticker(&Ticker { update_id: id + 2, bid, ask, ..Ticker::default() });
                } else {
                    let mut levels = Levels::default();
                    (levels.levels[0], levels.levels[1]) = (bid, ask);
                    let begin = DepthBegin { previous_id, last_id: id, ..DepthBegin::default() };
                    prop_assert!(book.begin(&begin), "{id}");
                    previous_id = id;
                    book.apply(&levels, 2, 1, |_| {});
                }
                let best = book.best();
                for (next, (side, best)) in next.iter_mut().zip([(Side::Bid, best.0), (Side::Ask, best.1)]) {
                    prop_assert_eq!(next.top(&book, side, best), book.top::<LEVELS>(side));
                }
            }
        }
    }
}
