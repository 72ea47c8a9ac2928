//! Which returns a diffusion would hardly make (Lee and Mykland, Review of Financial Studies 21, 2008, definition 1 and lemma 1).

use std::collections::VecDeque;

use kimera_numerics::ln;

/// The law of the largest of `n` standardised returns (model book 2.1b).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LargestReturn {
    /// Where it lies.
    pub location: f64,
    /// How wide.
    pub scale: f64,
}

impl LargestReturn {
    /// Of so many returns, two at least.
    #[must_use]
    pub fn of(n: u64) -> Self {
        let c = (2.0 / std::f64::consts::PI).sqrt();
        let logs = ln(n.max(2) as f64);
        let root = (2.0 * logs).sqrt();
        let location = root / c - (ln(std::f64::consts::PI) + ln(logs)) / (2.0 * c * root);
        Self { location, scale: 1.0 / (c * root) }
    }

    /// Beyond it a standardised return is a jump, with a false alarm among `n` at this level.
    #[must_use]
    pub fn threshold(&self, level: f64) -> f64 {
        self.location - self.scale * ln(-ln(1.0 - level))
    }
}

/// One in the integers that absolute returns are kept as: sums of their products are then exact, and can be moved along without end.
const ONE: f64 = (1u64 << 52) as f64;

/// Returns with the instantaneous volatility before each, by bipower variation: `L = r / σ̂`, `σ̂² = Σ |r_j| |r_{j−1}| / (K − 2)`.
#[derive(Clone, Debug)]
pub struct LeeMykland {
    /// The last `K − 1` absolute returns, in parts of [`ONE`]; a return beyond ±1 counts as 1.
    window: VecDeque<u64>,
    length: usize,
    /// Sum of the products of neighbours, exactly.
    products: i128,
    threshold: f64,
}

kimera_protocol::state!(LeeMykland { window, products } fixed { length, threshold });

impl LeeMykland {
    /// With `K` returns a window, at least 4, and one false alarm at a level (0.01) among `n` returns.
    #[must_use]
    pub fn new(window: usize, n: u64, level: f64) -> Self {
        let length = window.max(4) - 1;
        let threshold = LargestReturn::of(n).threshold(level);
        Self { window: VecDeque::with_capacity(length), length, products: 0, threshold }
    }

    /// Beyond which a standardised return is a jump.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// A return: its standardised size, and whether it is a jump. Nothing while the window fills, or where nothing has moved.
    pub fn add(&mut self, log_return: f64) -> Option<(f64, bool)> {
        if !log_return.is_finite() {
            return None;
        }
        let is_full = self.window.len() == self.length;
        let judged = (is_full && self.products > 0).then(|| {
            let deviation = (self.products as f64 / (ONE * ONE) / (self.length - 1) as f64).sqrt();
            let standardised = log_return / deviation;
            (standardised, standardised.abs() > self.threshold)
        });
        let product = |a: u64, b: u64| i128::from(a) * i128::from(b);
        if is_full
            && let Some(oldest) = self.window.pop_front()
            && let Some(next) = self.window.front()
        {
            self.products -= product(oldest, *next);
        }
        let size = (log_return.abs().min(1.0) * ONE) as u64;
        if let Some(newest) = self.window.back() {
            self.products += product(*newest, size);
        }
        self.window.push_back(size);
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-5;
        let largest = LargestReturn::of(1_000);
        assert!(near(largest.location, 4.139_64) && near(largest.scale, 0.337_191), "{largest:?}");
        assert!(near((largest.threshold(0.01) - largest.location) / largest.scale, 4.600_15));
        assert!(near(largest.threshold(0.01), 5.690_77));
        assert!(near(LargestReturn::of(1_440).threshold(0.01), 5.777_48));
    }

    #[test]
    fn a_jump_is_one_and_what_is_usual_is_none() {
        let mut detector = LeeMykland::new(100, 1_440, 0.01);
        let mut word = 0x9E37_79B9_7F4A_7C15u64;
        let mut noise = || {
            (0..12).fold(-6.0, |sum, _| {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                sum + (word >> 11) as f64 / (1u64 << 53) as f64
            })
        };
        let alarms =
            (0..20_000).filter(|_| detector.add(1e-4 * noise()).is_some_and(|(_, is_jump)| is_jump)).count();
        assert!(alarms <= 2, "{alarms} false alarms in 14 times 1,440 returns at 1 %");
        assert!(detector.add(2e-3).is_some_and(|(size, is_jump)| is_jump && size > 10.0));
        assert!(detector.add(f64::NAN).is_none());
        let mut still = LeeMykland::new(10, 1_000, 0.01);
        assert!((0..30).all(|_| still.add(0.0).is_none()), "nothing has moved");
    }

    /// The sum that moves along is the sum of the window, also behind a million returns.
    #[test]
    fn it_agrees_with_the_whole_window_after_a_million_returns() {
        let mut detector = LeeMykland::new(725, 1_440, 0.01);
        let (mut word, mut all) = (7u64, Vec::new());
        let mut last = None;
        for i in 0..1_000_001 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            let size = if i % 7_919 == 0 { 1e-2 } else { 1e-4 };
            let log_return = size * ((word >> 11) as f64 / (1u64 << 53) as f64 - 0.5);
            last = detector.add(log_return).map(|(standardised, _)| (standardised, log_return));
            all.push(log_return.abs());
        }
        let before = &all[all.len() - 725..all.len() - 1];
        let products: f64 = before.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let (standardised, log_return) = last.unwrap();
        let batch = log_return / (products / 723.0).sqrt();
        assert!((standardised / batch - 1.0).abs() < 1e-9, "{standardised} {batch}");
    }
}
