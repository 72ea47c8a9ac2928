//! Entropies of small distributions, in bits or nats as said.

use std::cell::Cell;

use crate::ln;

/// Shannon entropy in nats of `p`; zeros count nothing.
#[must_use]
pub fn shannon(p: &[f64]) -> f64 {
    -p.iter().filter(|x| **x > 0.0).fold(0.0, |sum, x| sum + x * ln(*x))
}

/// Orders of three values, from 0 to 5; equal values keep the order they came in (Bandt and Pompe 2002).
#[must_use]
pub fn ordinal_pattern(x: [f64; 3]) -> usize {
    let (ab, ac, bc) = (x[0] <= x[1], x[0] <= x[2], x[1] <= x[2]);
    match (ab, ac, bc) {
        (true, true, true) => 0,
        (true, true, false) => 1,
        (true, false, _) => 2,
        (false, true, _) => 3,
        (false, false, true) => 4,
        (false, false, false) => 5,
    }
}

/// Permutation entropy of order three over a sliding window of patterns, normalised to [0, 1].
#[derive(Clone, Debug)]
pub struct PermutationEntropy {
    window: Box<[u8]>,
    counts: [u32; 6],
    n: u64,
    last: [f64; 2],
    values: u64,
    /// The last answer, and the counts that it is of: it is asked for far more often than they change.
    known: Cell<([u32; 6], f64)>,
}

kimera_protocol::state!(PermutationEntropy { window, counts, n, last, values } fixed { known });

/// Patterns before it is published: five for each possible one.
const PATTERNS_MIN: u64 = 30;

impl PermutationEntropy {
    /// A window of `window` patterns.
    #[must_use]
    pub fn new(window: usize) -> Self {
        let window = vec![0; window.max(1)].into();
        Self { window, counts: [0; 6], n: 0, last: [0.0; 2], values: 0, known: Cell::default() }
    }

    /// Adds a value; one that is not finite is left out.
    pub fn add(&mut self, x: f64) {
        if !x.is_finite() {
            return;
        }
        if self.values >= 2 {
            let pattern = ordinal_pattern([self.last[0], self.last[1], x]);
            let slot = (self.n % self.window.len() as u64) as usize;
            if self.n >= self.window.len() as u64 {
                self.counts[usize::from(self.window[slot])] -= 1;
            }
            self.window[slot] = pattern as u8;
            self.counts[pattern] += 1;
            self.n += 1;
        }
        self.last = [self.last[1], x];
        self.values += 1;
    }

    /// The entropy, or `None` during warm-up.
    #[must_use]
    pub fn normalised(&self) -> Option<f64> {
        let held = self.n.min(self.window.len() as u64);
        (held >= PATTERNS_MIN.min(self.window.len() as u64)).then(|| {
            let (counts, known) = self.known.get();
            if counts == self.counts {
                return known;
            }
            let p = self.counts.map(|c| f64::from(c) / held as f64);
            let entropy = shannon(&p) / ln(6.0);
            self.known.set((self.counts, entropy));
            entropy
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Loader, Saver};

    const BIT: f64 = std::f64::consts::LN_2;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        // Model book 3.4: (4,7,9,10,6,11,3): H(3) = 1.52193 bits, normalised 0.588762.
        let mut counts = [0.0f64; 6];
        let x = [4.0, 7.0, 9.0, 10.0, 6.0, 11.0, 3.0];
        x.windows(3).for_each(|w| counts[ordinal_pattern([w[0], w[1], w[2]])] += 1.0);
        let entropy = shannon(&counts.map(|c| c / 5.0)) / BIT;
        near(entropy, 1.52193);
        near(entropy * BIT / ln(6.0), 0.588_762);
        near(shannon(&[0.7, 0.2, 0.1]) / BIT, 1.15678);
        near(shannon(&[0.7, 0.2, 0.1]) / ln(3.0), 0.729_847);
        let mut five = PermutationEntropy::new(5);
        x.iter().for_each(|v| five.add(*v));
        near(five.normalised().unwrap(), 0.588_762);
    }

    #[test]
    fn a_line_has_none_and_only_the_order_counts() {
        let mut line = PermutationEntropy::new(64);
        (0..100).for_each(|i| line.add(f64::from(i)));
        assert!(line.normalised().unwrap().abs() < 1e-12);
        let (mut a, mut b) = (PermutationEntropy::new(64), PermutationEntropy::new(64));
        let mut x = 1u32;
        for _ in 0..500 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f64::from(x >> 8);
            a.add(value);
            b.add(value * value + 7.0);
        }
        assert_eq!(a.normalised(), b.normalised());
        assert_eq!(a.normalised(), b.normalised(), "asked again");
        let mut loaded = PermutationEntropy::new(64);
        assert!(line.normalised().is_some(), "known before another state is loaded");
        Loader::new(&Saver::of(&a)).into_state(&mut line).unwrap();
        Loader::new(&Saver::of(&a)).into_state(&mut loaded).unwrap();
        assert_eq!((line.normalised(), loaded.normalised()), (a.normalised(), a.normalised()));
        assert!(a.normalised().unwrap() > 0.9);
        assert_eq!(PermutationEntropy::new(64).normalised(), None);
    }
}
