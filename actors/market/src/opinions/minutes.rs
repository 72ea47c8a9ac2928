//! Returns of the last hours' minutes.

use kimera_numerics::ln;
use kimera_protocol::Nanos;

const MINUTE: Nanos = 60_000_000_000;
/// Returns kept: four hours.
const RETURNS_MAX: usize = 240;

/// Logarithmic returns between the last mids of minutes that follow one another.
#[derive(Default)]
pub(super) struct Minutes {
    /// The minute that goes on, and its newest mid.
    open: Option<(i64, f64)>,
    /// The last mid of the minute before.
    close: Option<f64>,
    returns: Vec<f64>,
}

impl Minutes {
    pub(super) fn moved(&mut self, mid: f64, time: Nanos) {
        let index = time.div_euclid(MINUTE);
        match &mut self.open {
            Some((minute, last)) if *minute == index => *last = mid,
            Some((minute, last)) => {
                // A quiet minute is one in which nothing moved.
                let quiet = usize::try_from(index - *minute - 1).unwrap_or(0).min(RETURNS_MAX);
                let ended = self.close.map(|close| ln(*last / close));
                self.close = Some(*last);
                let new: Vec<_> = ended.into_iter().chain(std::iter::repeat_n(0.0, quiet)).collect();
                self.open = Some((index, mid));
                self.returns.extend(new);
                let surplus = self.returns.len().saturating_sub(RETURNS_MAX);
                self.returns.drain(..surplus);
            }
            None => self.open = Some((index, mid)),
        }
    }

    /// Oldest first.
    pub(super) fn returns(&self) -> &[f64] {
        &self.returns
    }

    /// The next mid has none before it.
    pub(super) fn forget(&mut self) {
        (self.open, self.close) = (None, None);
        self.returns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_between_the_ends_of_minutes() {
        let mut of = Minutes::default();
        for (second, mid) in [(0, 100.0), (59, 110.0), (60, 90.0), (119, 121.0), (301, 50.0), (360, 60.0)] {
            of.moved(mid, second * 1_000_000_000);
        }
        let expected = [ln(121.0 / 110.0), 0.0, 0.0, 0.0, ln(50.0 / 121.0)];
        assert!(of.returns().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{:?}", of.returns());
        assert_eq!(of.returns().len(), expected.len());
        (6..1_000).for_each(|minute| of.moved(100.0, minute * MINUTE));
        assert_eq!(of.returns().len(), RETURNS_MAX);
        of.forget();
        of.moved(1.0, 0);
        assert!(of.returns().is_empty());
    }
}
