//! Which returns a diffusion would hardly make (Lee and Mykland, Review of Financial Studies 21, 2008, definition 1 and lemma 1).

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

/// Returns with the instantaneous volatility before each, by bipower variation: `L = r / σ̂`, `σ̂² = Σ |r_j| |r_{j−1}| / (K − 2)`.
#[derive(Clone, Debug)]
pub struct LeeMykland {
    /// The last `K − 1` absolute returns.
    window: std::collections::VecDeque<f64>,
    length: usize,
    products: f64,
    threshold: f64,
}

kimera_protocol::state!(LeeMykland { window, products } fixed { length, threshold });

impl LeeMykland {
    /// With `K` returns a window, at least 4, and one false alarm at a level (0.01) among `n` returns.
    #[must_use]
    pub fn new(window: usize, n: u64, level: f64) -> Self {
        let length = window.max(4) - 1;
        let threshold = LargestReturn::of(n).threshold(level);
        Self { window: std::collections::VecDeque::with_capacity(length), length, products: 0.0, threshold }
    }

    /// A return: its standardised size, and whether it is a jump. Nothing while the window fills, or where nothing has moved.
    pub fn add(&mut self, log_return: f64) -> Option<(f64, bool)> {
        if !log_return.is_finite() {
            return None;
        }
        let judged = (self.window.len() == self.length && self.products > 0.0).then(|| {
            let deviation = (self.products / (self.length - 1) as f64).sqrt();
            let standardised = log_return / deviation;
            (standardised, standardised.abs() > self.threshold)
        });
        if self.window.len() == self.length {
            self.window.pop_front();
        }
        self.window.push_back(log_return.abs());
        // Summed anew: a sum that is moved would drift.
        let pairs = self.window.iter().zip(self.window.iter().skip(1));
        self.products = pairs.map(|(a, b)| a * b).sum();
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
}
