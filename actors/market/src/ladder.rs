//! One side of a book: sizes in a circular window of ticks around the best price, the rest in a far table.
//!
//! A level inside the window is one store and one bit; the best price is a search over a bitmap of bits. Levels
//! outside the window (a tenth of the updates of a liquid instrument) lie in a fixed open-addressing table. When the
//! best price nears the window's edge the window is re-centred and only what crosses the edge moves.

mod far_table;

use kimera_protocol::{Level, Price, Quantity, Side};

use far_table::{FAR_SLOTS, FarTable};

pub use far_table::FAR_LEVELS;

/// Ticks of the window: a power of two.
pub const WINDOW_TICKS: usize = 16_384;
const WORDS: usize = WINDOW_TICKS / 64;
const MASK: i64 = WINDOW_TICKS as i64 - 1;
/// The best price is kept at least this far from the window's edges.
const EDGE: i64 = WINDOW_TICKS as i64 / 8;

/// One side of a book.
pub struct Ladder {
    side: Side,
    /// First tick of the window.
    base: i64,
    sizes: Box<[i64]>,
    bits: Box<[u64]>,
    /// One bit for each word of `bits`.
    summary: [u64; WORDS.div_ceil(64)],
    far: FarTable,
    best: Option<i64>,
    levels: usize,
    /// Levels given up because the far table was full: always the farthest from the best price.
    dropped: u64,
    /// Sum of what each level adds.
    digest: u64,
    distances: Vec<i64>,
}

kimera_protocol::state!(Ladder { base, sizes, bits, summary, far, best, levels, dropped, digest, distances } fixed { side });

impl Ladder {
    /// An empty side.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            base: 0,
            sizes: vec![0; WINDOW_TICKS].into(),
            bits: vec![0; WORDS].into(),
            summary: [0; WORDS.div_ceil(64)],
            far: FarTable::new(),
            best: None,
            levels: 0,
            dropped: 0,
            digest: 0,
            distances: Vec::with_capacity(FAR_LEVELS),
        }
    }

    /// Levels given up so far because the far table was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Removes every level.
    pub fn clear(&mut self) {
        self.sizes.fill(0);
        self.bits.fill(0);
        self.summary = [0; WORDS.div_ceil(64)];
        self.far.clear();
        self.best = None;
        self.levels = 0;
        self.digest = 0;
    }

    /// A digest of every level, however they came about: it moves with each change, for who asks often.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// First tick of the window: levels outside are not looked through.
    #[must_use]
    pub fn window(&self) -> i64 {
        self.base
    }

    /// Levels held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels
    }

    /// True without levels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels == 0
    }

    /// The best level.
    #[inline]
    #[must_use]
    pub fn best(&self) -> Option<Level> {
        self.best.map(|tick| Level { price: Price(tick), size: self.size_at(Price(tick)) })
    }

    #[inline]
    fn in_window(&self, tick: i64) -> bool {
        // One comparison for both edges.
        (tick.wrapping_sub(self.base) as u64) < WINDOW_TICKS as u64
    }

    /// The size at a price, 0 where there is none.
    #[inline]
    #[must_use]
    pub fn size_at(&self, price: Price) -> Quantity {
        if self.in_window(price.0) {
            Quantity(self.sizes[(price.0 & MASK) as usize])
        } else {
            Quantity(self.far.get(price.0))
        }
    }

    /// Sets the size at a price and returns the one before; 0 removes the level. Negative sizes count as 0.
    #[inline]
    pub fn set(&mut self, price: Price, size: Quantity) -> Quantity {
        let (tick, size) = (price.0, size.0.max(0));
        if self.best.is_none() && size > 0 && self.levels == 0 {
            self.base = centred(tick);
        }
        let old = if self.in_window(tick) {
            self.set_near(tick, size)
        } else {
            let old = self.far.get(tick);
            self.set_far(tick, size);
            old
        };
        self.levels = self.levels + usize::from(size > 0) - usize::from(old > 0);
        self.digest = self.digest.wrapping_add(share(tick, size)).wrapping_sub(share(tick, old));
        if size > 0 {
            if self.best.is_none_or(|best| self.better(tick, best)) {
                self.best = Some(tick);
                self.keep_centred();
            }
        } else if self.best == Some(tick) {
            self.best = self.search_best();
            self.keep_centred();
        }
        Quantity(old)
    }

    #[inline]
    fn better(&self, a: i64, b: i64) -> bool {
        match self.side {
            Side::Bid => a > b,
            Side::Ask => a < b,
        }
    }

    #[inline]
    fn set_near(&mut self, tick: i64, size: i64) -> i64 {
        let slot = (tick & MASK) as usize;
        let old = std::mem::replace(&mut self.sizes[slot], size);
        let (word, bit) = (slot / 64, 1u64 << (slot % 64));
        if size > 0 {
            self.bits[word] |= bit;
            self.summary[word / 64] |= 1 << (word % 64);
        } else {
            self.bits[word] &= !bit;
            if self.bits[word] == 0 {
                self.summary[word / 64] &= !(1 << (word % 64));
            }
        }
        old
    }

    /// Sets a level outside the window; where the far table is full, the farthest eighth of it is given up first.
    fn set_far(&mut self, tick: i64, size: i64) {
        if self.far.set(tick, size) {
            return;
        }
        self.give_up_farthest(tick);
        let kept = self.far.set(tick, size);
        debug_assert!(kept, "room was made");
    }

    #[cold]
    fn give_up_farthest(&mut self, newest: i64) {
        let from = self.best.unwrap_or(newest);
        let distance = |tick: i64| (tick - from).abs();
        self.distances.clear();
        self.distances
            .extend((0..FAR_SLOTS).filter_map(|slot| self.far.slot(slot)).map(|(tick, _)| distance(tick)));
        let nearest = self.distances.len() - self.distances.len() / 8;
        let (_, limit, _) = self.distances.select_nth_unstable(nearest);
        let limit = *limit;
        let mut slot = 0;
        while slot < FAR_SLOTS {
            match self.far.slot(slot) {
                Some((tick, size)) if distance(tick) >= limit => {
                    self.far.set(tick, 0);
                    self.digest = self.digest.wrapping_sub(share(tick, size));
                    self.levels -= 1;
                    self.dropped += 1;
                }
                _ => slot += 1,
            }
        }
    }

    /// The best price from scratch: the window first, and the far table where the window is empty.
    fn search_best(&self) -> Option<i64> {
        if self.levels == 0 {
            return None;
        }
        let inside = match self.side {
            Side::Bid => self.last_at_or_below(self.base + MASK),
            Side::Ask => self.first_at_or_above(self.base),
        };
        // The best price is always kept inside the window, so a far level matters only once the window is empty.
        inside.or_else(|| self.far.best(self.side))
    }

    /// Keeps the best price away from the edges of the window.
    #[inline]
    fn keep_centred(&mut self) {
        if let Some(best) = self.best {
            let offset = best.wrapping_sub(self.base);
            if !(EDGE..WINDOW_TICKS as i64 - EDGE).contains(&offset) {
                self.recentre(centred(best));
            }
        }
    }

    /// Moves the window: what leaves goes to the far table, what enters comes from it.
    #[cold]
    fn recentre(&mut self, base: i64) {
        let old_base = std::mem::replace(&mut self.base, base);
        for offset in 0..WINDOW_TICKS as i64 {
            let tick = old_base + offset;
            let size = self.sizes[(tick & MASK) as usize];
            if size > 0 && !self.in_window(tick) {
                self.set_near(tick, 0);
                self.set_far(tick, size);
            }
        }
        let mut slot = 0;
        while slot < FAR_SLOTS {
            match self.far.slot(slot) {
                Some((tick, size)) if self.in_window(tick) => {
                    self.far.set(tick, 0);
                    self.set_near(tick, size);
                    // The removal may have moved another level into this slot: look again.
                }
                _ => slot += 1,
            }
        }
    }

    /// Highest occupied tick of the window at or below `tick`.
    fn last_at_or_below(&self, tick: i64) -> Option<i64> {
        let mut tick = tick.min(self.base + MASK);
        while tick >= self.base {
            let slot = (tick & MASK) as usize;
            let word = self.bits[slot / 64] & (u64::MAX >> (63 - slot % 64));
            if word != 0 {
                let found = tick - (slot % 64) as i64 + 63 - i64::from(word.leading_zeros());
                // A word can span the seam of the circle only if the base is not a multiple of 64; it is.
                return Some(found);
            }
            tick -= (slot % 64) as i64 + 1;
            tick = self.skip_empty_down(tick);
        }
        None
    }

    /// Lowest occupied tick of the window at or above `tick`.
    fn first_at_or_above(&self, tick: i64) -> Option<i64> {
        let mut tick = tick.max(self.base);
        let end = self.base + MASK;
        while tick <= end {
            let slot = (tick & MASK) as usize;
            let word = self.bits[slot / 64] & (u64::MAX << (slot % 64));
            if word != 0 {
                return Some(tick - (slot % 64) as i64 + i64::from(word.trailing_zeros()));
            }
            tick += 64 - (slot % 64) as i64;
            tick = self.skip_empty_up(tick);
        }
        None
    }

    /// Steps over words the summary knows to be empty, downwards.
    fn skip_empty_down(&self, mut tick: i64) -> i64 {
        while tick >= self.base {
            let word = (tick & MASK) as usize / 64;
            if self.summary[word / 64] & (1 << (word % 64)) != 0 {
                break;
            }
            tick -= 64;
        }
        tick
    }

    /// Steps over words the summary knows to be empty, upwards.
    fn skip_empty_up(&self, mut tick: i64) -> i64 {
        while tick <= self.base + MASK {
            let word = (tick & MASK) as usize / 64;
            if self.summary[word / 64] & (1 << (word % 64)) != 0 {
                break;
            }
            tick += 64;
        }
        tick
    }

    /// The levels next to `price`, away from the other side, best first, as many as `levels` has places; how many there are.
    /// Only inside the window.
    #[inline]
    pub fn fill_worse(&self, price: Price, levels: &mut [Level]) -> usize {
        let mut places = levels.iter_mut();
        let mut put = |tick: i64| {
            let size = Quantity(self.sizes[(tick & MASK) as usize]);
            places.next().map(|place| *place = Level { price: Price(tick), size }).is_some()
        };
        let mut count = 0;
        match self.side {
            Side::Bid => self.walk_down(price.0 - 1, |tick| put(tick).then(|| count += 1).is_some()),
            Side::Ask => self.walk_up(price.0 + 1, |tick| put(tick).then(|| count += 1).is_some()),
        }
        count
    }

    /// Occupied ticks of the window at or above one, upwards, until `take` wants no more.
    #[inline]
    fn walk_up(&self, from: i64, mut take: impl FnMut(i64) -> bool) {
        let from = from.max(self.base);
        let end = self.base + MASK;
        let mut start = from & !63;
        let mut keep = u64::MAX << (from & 63);
        while start <= end {
            let mut word = self.bits[(start & MASK) as usize / 64] & keep;
            while word != 0 {
                if !take(start + i64::from(word.trailing_zeros())) {
                    return;
                }
                word &= word - 1;
            }
            keep = u64::MAX;
            start = self.skip_empty_up(start + 64);
        }
    }

    /// Occupied ticks of the window at or below one, downwards, until `take` wants no more.
    #[inline]
    fn walk_down(&self, from: i64, mut take: impl FnMut(i64) -> bool) {
        let from = from.min(self.base + MASK);
        let mut start = from & !63;
        let mut keep = u64::MAX >> (63 - (from & 63));
        while start >= self.base {
            let mut word = self.bits[(start & MASK) as usize / 64] & keep;
            while word != 0 {
                let bit = 63 - word.leading_zeros();
                if !take(start + i64::from(bit)) {
                    return;
                }
                word ^= 1 << bit;
            }
            keep = u64::MAX;
            start = self.skip_empty_down(start - 1) & !63;
        }
    }

    /// The first `N` levels from the best on; sizes 0 where there are fewer.
    #[must_use]
    pub fn top<const N: usize>(&self) -> [Level; N] {
        let mut levels = [Level::default(); N];
        if let (Some(best), Some((first, others))) = (self.best(), levels.split_first_mut()) {
            *first = best;
            self.fill_worse(best.price, others);
        }
        levels
    }

    /// Sum of sizes from `from` to `to`, both included; only inside the window.
    #[must_use]
    pub fn depth_between(&self, from: Price, to: Price) -> i64 {
        let mut sum = 0i64;
        let mut next = self.first_at_or_above(from.0);
        while let Some(tick) = next.filter(|&t| t <= to.0) {
            sum = sum.saturating_add(self.sizes[(tick & MASK) as usize]);
            next = self.first_at_or_above(tick + 1);
        }
        sum
    }

    /// Every level, unordered: for digests and comparisons.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        let near = (0..WINDOW_TICKS as i64).filter_map(|offset| {
            let tick = self.base + offset;
            let size = self.sizes[(tick & MASK) as usize];
            (size > 0).then_some(Level { price: Price(tick), size: Quantity(size) })
        });
        let far = (0..FAR_SLOTS).filter_map(|slot| self.far.slot(slot));
        near.chain(far.map(|(tick, size)| Level { price: Price(tick), size: Quantity(size) }))
    }
}

/// What a level adds to the digest; a size of 0 adds nothing.
#[inline]
fn share(tick: i64, size: i64) -> u64 {
    let tick = (tick as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let wide = u128::from(tick).wrapping_mul(u128::from((size as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)));
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// A window base that puts `tick` in the middle, on a word boundary.
fn centred(tick: i64) -> i64 {
    (tick - WINDOW_TICKS as i64 / 2) & !63
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The plainest book there is, to compare with.
    fn reference(updates: &[(i64, i64)]) -> BTreeMap<i64, i64> {
        let mut book = BTreeMap::new();
        for &(tick, size) in updates {
            if size == 0 {
                book.remove(&tick);
            } else {
                book.insert(tick, size);
            }
        }
        book
    }

    fn digest(ladder: &Ladder) -> u64 {
        ladder.levels().fold(0, |sum, level| sum.wrapping_add(share(level.price.0, level.size.0)))
    }

    fn agree(side: Side, updates: &[(i64, i64)]) {
        let mut ladder = Ladder::new(side);
        for (i, &(tick, size)) in updates.iter().enumerate() {
            ladder.set(Price(tick), Quantity(size));
            let expected = reference(&updates[..=i]);
            let best = match side {
                Side::Bid => expected.last_key_value(),
                Side::Ask => expected.first_key_value(),
            };
            assert_eq!(
                ladder.best().map(|l| (l.price.0, l.size.0)),
                best.map(|(t, s)| (*t, *s)),
                "after update {i}"
            );
        }
        let expected = reference(updates);
        let mut all: Vec<_> = ladder.levels().map(|l| (l.price.0, l.size.0)).collect();
        all.sort_unstable();
        assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(all.len(), ladder.len());
        assert_eq!(ladder.digest(), digest(&ladder), "it has moved with every change");
    }

    fn updates() -> impl Strategy<Value = Vec<(i64, i64)>> {
        // Near ticks often, far ticks sometimes, removals often, jumps of the whole market now and then.
        let tick = prop_oneof![
            6 => 600_000i64..600_040,
            2 => 590_000i64..610_000,
            1 => -50_000i64..2_000_000,
        ];
        proptest::collection::vec((tick, prop_oneof![Just(0i64), 1i64..9]), 1..120)
    }

    proptest! {
        #[test]
        fn bids_equal_the_reference(updates in updates()) { agree(Side::Bid, &updates); }

        #[test]
        fn asks_equal_the_reference(updates in updates()) { agree(Side::Ask, &updates); }

        #[test]
        fn walks_and_sums_equal_the_reference(updates in proptest::collection::vec((600_000i64..600_200, 0i64..5), 1..80)) {
            let mut ladder = Ladder::new(Side::Ask);
            for &(tick, size) in &updates {
                ladder.set(Price(tick), Quantity(size));
            }
            let expected = reference(&updates);
            let top = ladder.top::<5>();
            let mut walk: Vec<_> = expected.iter().take(5).map(|(t, s)| (*t, *s)).collect();
            walk.resize(5, (0, 0));
            prop_assert_eq!(top.map(|l| (l.price.0, l.size.0)).to_vec(), walk);
            let sum: i64 = expected.range(600_010..=600_100).map(|(_, s)| s).sum();
            prop_assert_eq!(ladder.depth_between(Price(600_010), Price(600_100)), sum);
        }
    }

    #[test]
    fn a_full_far_table_gives_up_the_farthest_and_says_so() {
        let mut ladder = Ladder::new(Side::Bid);
        ladder.set(Price(1_000_000), Quantity(5));
        let far: Vec<i64> = (0..FAR_LEVELS as i64 + 10).map(|i| i * 7).collect();
        for &tick in &far {
            ladder.set(Price(tick), Quantity(1));
        }
        assert_eq!(ladder.dropped(), FAR_LEVELS as u64 / 8);
        assert_eq!(ladder.len() as u64, 1 + far.len() as u64 - ladder.dropped());
        assert_eq!(ladder.digest(), digest(&ladder));
        // What was given up is the farthest; everything nearer is there.
        let kept = |tick: i64| ladder.size_at(Price(tick)).0 == 1;
        let lost = far.iter().filter(|t| !kept(**t)).count();
        assert!(far[..lost].iter().all(|t| !kept(*t)) && far[lost..].iter().all(|t| kept(*t)));
        ladder.set(Price(1_000_000), Quantity(0));
        assert_eq!(ladder.best().map(|l| l.price.0), far.last().copied());
    }
}
