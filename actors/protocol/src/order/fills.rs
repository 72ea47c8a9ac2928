//! Which part of an order is filled.
//!
//! A venue reports each fill with its size and the size filled in all after it: the fill covers the stretch between
//! the two. Stretches that have been seen are known, so a report that comes twice changes nothing, and reports in any
//! order end the same.

/// Stretches that do not touch, at most: more disorder than that is refused and has to be asked about.
pub const STRETCHES_MAX: usize = 8;

/// Why a report of a fill was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The size is not positive or larger than the total.
    #[error("the fill makes no sense: size and total do not fit")]
    Nonsense,
    /// More is filled than was ordered.
    #[error("the venue reports more filled than was ordered")]
    Overfill,
    /// Part of the stretch was reported before with other bounds.
    #[error("the fill overlaps one that was reported before")]
    Overlap,
    /// Too many gaps between what has been reported.
    #[error("too many fills are missing between those reported")]
    TooManyGaps,
}

/// The filled stretches of one order, in 1e-8, merged and ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fills {
    stretches: [(i64, i64); STRETCHES_MAX],
    used: usize,
}

crate::state!(Fills { stretches, used });

impl Fills {
    /// Size filled, as far as reported.
    #[must_use]
    pub fn filled(&self) -> i64 {
        self.stretches[..self.used].iter().map(|(from, to)| to - from).sum()
    }

    /// Takes a report: true where it was new, false where it was known.
    ///
    /// # Errors
    /// [`FillError`]; nothing is changed then.
    pub fn take(&mut self, size: i64, total: i64, ordered: i64) -> Result<bool, FillError> {
        if size <= 0 || total < size {
            return Err(FillError::Nonsense);
        }
        if total > ordered {
            return Err(FillError::Overfill);
        }
        let (from, to) = (total - size, total);
        // Where the new stretch goes among the known ones.
        let mut at = 0;
        while at < self.used && self.stretches[at].1 < from {
            at += 1;
        }
        if at < self.used {
            let (known_from, known_to) = self.stretches[at];
            if known_from <= from && to <= known_to {
                return Ok(false);
            }
            let touches_below = known_to == from;
            if !touches_below && known_from < to {
                return Err(FillError::Overlap);
            }
            if touches_below {
                return self.extend(at, to);
            }
            if known_from == to {
                self.stretches[at].0 = from;
                return Ok(true);
            }
        }
        if self.used == STRETCHES_MAX {
            return Err(FillError::TooManyGaps);
        }
        self.stretches.copy_within(at..self.used, at + 1);
        self.stretches[at] = (from, to);
        self.used += 1;
        Ok(true)
    }

    /// Lengthens stretch `at` to `to`, joining the next one where they meet.
    fn extend(&mut self, at: usize, to: i64) -> Result<bool, FillError> {
        if at + 1 < self.used {
            let (next_from, next_to) = self.stretches[at + 1];
            if next_from < to {
                return Err(FillError::Overlap);
            }
            if next_from == to {
                self.stretches[at].1 = next_to;
                self.stretches.copy_within(at + 2..self.used, at + 1);
                self.used -= 1;
                return Ok(true);
            }
        }
        self.stretches[at].1 = to;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lies_are_refused_and_change_nothing() {
        let mut fills = Fills::default();
        assert_eq!(fills.take(3, 3, 10), Ok(true));
        let before = fills;
        assert_eq!(fills.take(3, 3, 10), Ok(false));
        assert_eq!(fills.take(0, 3, 10), Err(FillError::Nonsense));
        assert_eq!(fills.take(4, 3, 10), Err(FillError::Nonsense));
        assert_eq!(fills.take(9, 12, 10), Err(FillError::Overfill));
        assert_eq!(fills.take(4, 5, 10), Err(FillError::Overlap));
        assert_eq!(fills.take(5, 5, 10), Err(FillError::Overlap));
        assert_eq!(fills, before);
    }

    #[test]
    fn disorder_has_a_limit() {
        let mut fills = Fills::default();
        for i in 0..STRETCHES_MAX as i64 {
            assert_eq!(fills.take(1, 2 * i + 2, 100), Ok(true));
        }
        assert_eq!(fills.take(1, 90, 100), Err(FillError::TooManyGaps));
        assert_eq!(fills.take(1, 3, 100), Ok(true), "what joins two stretches still fits");
        assert_eq!(fills.filled(), STRETCHES_MAX as i64 + 1);
    }

    proptest! {
        #[test]
        fn shuffled_and_doubled_reports_end_the_same(
            sizes in proptest::collection::vec(1i64..1_000, 1..9),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let mut total = 0;
            let reports: Vec<(i64, i64)> = sizes.iter().map(|s| { total += s; (*s, total) }).collect();
            let mut fills = Fills::default();
            // Any reports, any number of times, and then all of them backwards.
            for index in order {
                let (size, after) = reports[index.index(reports.len())];
                prop_assert!(fills.take(size, after, total).is_ok());
            }
            for (size, after) in reports.iter().rev() {
                prop_assert!(fills.take(*size, *after, total).is_ok());
            }
            prop_assert_eq!(fills.filled(), total);
            prop_assert_eq!(fills.used, 1);
        }
    }
}
