//! A mean that has moved (Page, Biometrika 41, 1954): two cumulative sums, one a side.

/// `S⁺ = max(0, S⁺ + x − k)`, `S⁻ = max(0, S⁻ − x − k)` over standardised returns; beyond `h` it is an alarm, and both begin anew
/// (model book 2.3; k = 0.5, h = 5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cusum {
    slack: f64,
    limit: f64,
    up: f64,
    down: f64,
}

kimera_protocol::state!(Cusum { up, down } fixed { slack, limit });

/// Which way a mean has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Up.
    Up,
    /// Down.
    Down,
}

impl Cusum {
    /// With slack `k` and limit `h`, in standard deviations.
    #[must_use]
    pub fn new(slack: f64, limit: f64) -> Self {
        Self { slack, limit, up: 0.0, down: 0.0 }
    }

    /// The two sums.
    #[must_use]
    pub fn sums(&self) -> (f64, f64) {
        (self.up, self.down)
    }

    /// A standardised value; one that is no number is left out.
    pub fn add(&mut self, x: f64) -> Option<Shift> {
        if !x.is_finite() {
            return None;
        }
        self.up = (self.up + x - self.slack).max(0.0);
        self.down = (self.down - x - self.slack).max(0.0);
        let shift = if self.up > self.limit {
            Some(Shift::Up)
        } else {
            (self.down > self.limit).then_some(Shift::Down)
        };
        if shift.is_some() {
            (self.up, self.down) = (0.0, 0.0);
        }
        shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::{Matrix, normal_cdf};

    #[test]
    fn published_values() {
        let mut cusum = Cusum::new(0.5, 5.0);
        let path = [0.2, 1.1, 0.9, 2.0, 1.5].map(|x| {
            cusum.add(x);
            cusum.sums().0
        });
        for (sum, expected) in path.into_iter().zip([0.0, 0.6, 1.0, 2.5, 3.5]) {
            assert!((sum - expected).abs() < 1e-12);
        }
    }

    /// Steps of one side until its alarm: a Markov chain over cells of the sum (Brook and Evans, Biometrika 59, 1972).
    fn run_length(limit: f64, mean: f64) -> f64 {
        let cells = 400;
        let width = 2.0 * limit / (2.0 * f64::from(cells) - 1.0);
        let mut moves = Matrix::zeros(cells as usize, cells as usize);
        for i in 0..cells {
            for j in 0..cells {
                let upper = f64::from(j - i) * width + 0.5 * width + 0.5 - mean;
                let below = if j == 0 { 0.0 } else { normal_cdf(upper - width) };
                moves.set(i as usize, j as usize, normal_cdf(upper) - below);
            }
        }
        let mut ones = Matrix::zeros(cells as usize, 1);
        (0..cells as usize).for_each(|i| ones.set(i, 0, 1.0));
        // Only the right side has as many rows as the chain has cells.
        let mut right = Matrix::zeros(cells as usize, 1);
        (0..cells as usize).for_each(|i| right.set(i, 0, ones.at(i, 0)));
        moves.solve_one_minus(&right).unwrap().at(0, 0)
    }

    #[test]
    fn run_lengths_are_the_published_ones() {
        // Two sides: 1/L = 1/L⁺ + 1/L⁻.
        let both =
            |limit: f64, mean: f64| 1.0 / (1.0 / run_length(limit, mean) + 1.0 / run_length(limit, -mean));
        for (limit, still, moved) in [(4.0, 167.68, 8.38), (5.0, 465.4, 10.38)] {
            assert!((both(limit, 0.0) / still - 1.0).abs() < 2e-3, "{}", both(limit, 0.0));
            assert!((both(limit, 1.0) / moved - 1.0).abs() < 2e-3, "{}", both(limit, 1.0));
        }
    }

    #[test]
    fn both_ways_alike_and_anew_behind_an_alarm() {
        let (mut up, mut down) = (Cusum::new(0.5, 5.0), Cusum::new(0.5, 5.0));
        for _ in 0..3 {
            assert_eq!((up.add(2.0), down.add(-2.0), up.add(f64::NAN)), (None, None, None));
        }
        assert_eq!((up.add(2.0), down.add(-2.0)), (Some(Shift::Up), Some(Shift::Down)));
        assert_eq!(up.sums(), (0.0, 0.0));
    }
}
