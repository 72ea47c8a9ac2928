//! A mean that forgets with time (model book 0: x̂ ← x̂ + α (x − x̂), α = 1 − 2^(−Δt/h)).

use kimera_protocol::Nanos;

use crate::exp;

/// The mean, and when it was last moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecayedMean {
    half_life: Nanos,
    value: Option<(f64, Nanos)>,
}

kimera_protocol::state!(DecayedMean { value } fixed { half_life });

impl DecayedMean {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(half_life: Nanos) -> Self {
        Self { half_life: half_life.max(1), value: None }
    }

    /// Takes a value at a time; one that is not finite is left out.
    pub fn add(&mut self, x: f64, time: Nanos) {
        if !x.is_finite() {
            return;
        }
        let mean = self.value.map_or(x, |(mean, last)| {
            let half_lives = time.saturating_sub(last).max(0) as f64 / self.half_life as f64;
            mean + (1.0 - exp(-std::f64::consts::LN_2 * half_lives)) * (x - mean)
        });
        self.value = Some((mean, time));
    }

    /// The mean, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        self.value.map(|v| v.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_way_in_a_half_life() {
        let mut mean = DecayedMean::new(60);
        assert_eq!(mean.get(), None);
        mean.add(10.0, 0);
        mean.add(20.0, 60);
        assert!((mean.get().unwrap() - 15.0).abs() < 1e-12);
        mean.add(f64::NAN, 61);
        mean.add(99.0, 60);
        assert!((mean.get().unwrap() - 15.0).abs() < 1e-12, "no time has passed");
    }
}
