//! Slope of a regression through the origin with decaying weights.

/// `y = slope · x` over observations whose weight decays by a factor a step.
///
/// Kyle's lambda and the impact of order flow are both of this form (Kyle 1985; Cont, Kukanov, Stoikov 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecayedSlope {
    decay: f64,
    xx: f64,
    xy: f64,
    yy: f64,
    weight: f64,
    n: u64,
}

kimera_protocol::state!(DecayedSlope { xx, xy, yy, weight, n } fixed { decay });

impl DecayedSlope {
    /// `decay` in (0, 1]: the weight an observation keeps when the next one comes.
    #[must_use]
    pub fn new(decay: f64) -> Self {
        Self { decay, xx: 0.0, xy: 0.0, yy: 0.0, weight: 0.0, n: 0 }
    }

    /// Adds an observation; one that is not finite is left out.
    pub fn add(&mut self, x: f64, y: f64) {
        if !(x.is_finite() && y.is_finite()) {
            return;
        }
        self.xx = self.decay * self.xx + x * x;
        self.xy = self.decay * self.xy + x * y;
        self.yy = self.decay * self.yy + y * y;
        self.weight = self.decay * self.weight + 1.0;
        self.n += 1;
    }

    /// The slope, or `None` where x has not varied.
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        (self.xx > 0.0).then(|| self.xy / self.xx)
    }

    /// The slope's t statistic, or `None` with fewer than three observations or a perfect fit.
    #[must_use]
    pub fn t_statistic(&self) -> Option<f64> {
        let slope = self.slope()?;
        let residual = self.yy - slope * self.xy;
        if self.n < 3 || residual <= 0.0 {
            return None;
        }
        let variance = residual / (self.weight - 1.0).max(1.0);
        Some(slope * (self.xx / variance).sqrt())
    }

    /// Observations added.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(decay: f64) -> DecayedSlope {
        let mut slope = DecayedSlope::new(decay);
        for (x, y) in [(1.0, 0.012), (-2.0, -0.018), (3.0, 0.031), (-1.0, -0.009)] {
            slope.add(x, y);
        }
        slope
    }

    #[test]
    fn published_values() {
        // Model book 1.5.
        assert!((fit(1.0).slope().unwrap() - 0.01).abs() < 1e-12);
        assert!((fit(0.5).slope().unwrap() - 0.009_962_26).abs() < 1e-8);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let mut slope = DecayedSlope::new(1.0);
        assert_eq!(slope.slope(), None);
        slope.add(f64::NAN, 1.0);
        slope.add(0.0, 1.0);
        assert_eq!((slope.slope(), slope.n()), (None, 1));
    }
}
