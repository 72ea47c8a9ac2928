//! The last values of a series, in order of their size: median and median distance without sorting anything.

use std::collections::VecDeque;

/// A window whose values are kept twice: as they came, and sorted.
#[derive(Clone, Debug)]
pub struct RankedWindow {
    length: usize,
    values: VecDeque<f64>,
    sorted: Vec<f64>,
}

kimera_protocol::state!(RankedWindow { values, sorted } fixed { length });

impl RankedWindow {
    /// For so many values, one at least.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let length = length.max(1);
        Self { length, values: VecDeque::with_capacity(length), sorted: Vec::with_capacity(length) }
    }

    /// Takes a value, and lets go the oldest where there is no place. One that is no number is left out. Cost: two binary
    /// searches, and a move of what lies between the two places.
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let value = value + 0.0; // one zero
        let place = |sorted: &[f64], value: f64| sorted.partition_point(|x| *x < value);
        if self.values.len() < self.length {
            self.sorted.insert(place(&self.sorted, value), value);
        } else if let Some(oldest) = self.values.pop_front() {
            let (from, to) = (place(&self.sorted, oldest), place(&self.sorted, value));
            if from < to {
                self.sorted.copy_within(from + 1..to, from);
                self.sorted[to - 1] = value;
            } else {
                self.sorted.copy_within(to..from, to + 1);
                self.sorted[to] = value;
            }
        }
        self.values.push_back(value);
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        self.values.clear();
        self.sorted.clear();
    }

    /// Values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// True where it has all it can have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sorted.len() == self.length
    }

    /// The middle; the mean of both where there are two.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let n = self.sorted.len();
        let upper = *self.sorted.get(n / 2)?;
        Some(if n % 2 == 1 { upper } else { 0.5 * (self.sorted[n / 2 - 1] + upper) })
    }

    /// Median of the distances from `middle`, in O(log n): values below it and above it are each in the order of their distance.
    #[must_use]
    pub fn median_distance(&self, middle: f64) -> Option<f64> {
        let n = self.sorted.len();
        let split = self.sorted.partition_point(|x| *x < middle);
        let upper = self.distance(n / 2, middle, split)?;
        Some(if n % 2 == 1 { upper } else { 0.5 * (self.distance(n / 2 - 1, middle, split)? + upper) })
    }

    /// The distance of rank `k`, from 0.
    fn distance(&self, k: usize, middle: f64, split: usize) -> Option<f64> {
        let (below, above) = (split, self.sorted.len() - split);
        let of_below = |i: usize| middle - self.sorted[split - 1 - i];
        let of_above = |i: usize| self.sorted[split + i] - middle;
        if k >= below + above {
            return None;
        }
        // How many of the k + 1 smallest lie below: the least number such that the next one below is not smaller than the last above.
        let (mut low, mut high) = ((k + 1).saturating_sub(above), below.min(k + 1));
        while low < high {
            let taken = usize::midpoint(low, high);
            let last_above = k - taken; // index of the last one above, where `taken` come from below
            if of_below(taken) < of_above(last_above) {
                low = taken + 1;
            } else {
                high = taken;
            }
        }
        let last_below = low.checked_sub(1).map(of_below);
        let last_above = (k + 1 - low).checked_sub(1).map(of_above);
        match (last_below, last_above) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }

    /// Mean of the distances from `middle`.
    #[must_use]
    pub fn mean_distance(&self, middle: f64) -> Option<f64> {
        let n = self.sorted.len();
        (n > 0).then(|| self.sorted.iter().map(|x| (x - middle).abs()).sum::<f64>() / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    fn middle(values: &[f64]) -> f64 {
        let n = values.len();
        if n % 2 == 1 { values[n / 2] } else { 0.5 * (values[n / 2 - 1] + values[n / 2]) }
    }

    proptest! {
        /// As if everything were sorted anew each time, to the last bit.
        #[test]
        fn agrees_with_sorting(values in proptest::collection::vec(-20i32..20, 1..80), length in 1usize..20) {
            let mut window = RankedWindow::new(length);
            for end in 1..=values.len() {
                window.push(f64::from(values[end - 1]) * 0.25);
                let kept: Vec<_> = values[end.saturating_sub(length)..end].iter().map(|v| f64::from(*v) * 0.25).collect();
                let median = middle(&sorted(kept.clone()));
                let distances = sorted(kept.iter().map(|x| (x - median).abs()).collect());
                prop_assert_eq!(window.median(), Some(median));
                prop_assert_eq!(window.median_distance(median), Some(middle(&distances)));
                prop_assert_eq!(window.len(), kept.len());
            }
        }
    }

    #[test]
    fn nothing_has_no_middle_and_nonsense_stays_out() {
        let mut window = RankedWindow::new(3);
        window.push(f64::NAN);
        assert!(window.is_empty() && window.median().is_none() && window.median_distance(0.0).is_none());
        assert!(window.mean_distance(0.0).is_none() && !window.is_full());
        [3.0, 1.0, 2.0, 9.0].into_iter().for_each(|x| window.push(x));
        assert_eq!((window.median(), window.is_full()), (Some(2.0), true));
        window.clear();
        assert!(window.is_empty());
    }

    /// A million values behind the window nothing has been lost.
    #[test]
    fn a_million_values_leave_no_trace() {
        let mut window = RankedWindow::new(256);
        let mut word = 1u64;
        let mut all = Vec::new();
        for _ in 0..1_000_000 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            let value = (word >> 40) as f64 / 1e3 - 8e3;
            window.push(value);
            all.push(value);
        }
        let last = sorted(all[all.len() - 256..].to_vec());
        assert_eq!(window.median(), Some(middle(&last)));
    }
}
