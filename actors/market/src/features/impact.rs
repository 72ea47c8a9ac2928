//! 1.5 Kyle's lambda: price change per unit of signed volume (Kyle 1985; Hasbrouck 2009).

use kimera_numerics::{DecayedSlope, Estimate, decay_of_half_life};
use kimera_protocol::{Nanos, Status};

use super::Buckets;

/// Regresses a bucket's mid change on its signed volume.
pub struct KyleLambda {
    buckets: Buckets,
    t_min: f64,
    /// What the regression says: it is asked at every mark, and hears of something when a bucket is closed.
    lambda: Estimate,
    regression: DecayedSlope,
    index: Option<i64>,
    volume: f64,
    start_mid: f64,
    last_mid: f64,
}

kimera_protocol::state!(KyleLambda { lambda, regression, index, volume, start_mid, last_mid } fixed { buckets, t_min });

impl KyleLambda {
    /// Buckets of `length`, half-life in buckets, published from a t statistic above `t_min`.
    #[must_use]
    pub fn new(length: Nanos, half_life: f64, t_min: f64) -> Self {
        Self {
            buckets: Buckets::new(length),
            t_min,
            lambda: Estimate::warmup(0),
            regression: DecayedSlope::new(decay_of_half_life(half_life)),
            index: None,
            volume: 0.0,
            start_mid: 0.0,
            last_mid: 0.0,
        }
    }

    /// A trade of signed volume in base units.
    pub fn traded(&mut self, signed_volume: f64) {
        self.volume += signed_volume;
    }

    /// The mid, in ticks, at a time; closes the bucket where the time has left it.
    pub fn moved(&mut self, mid: f64, time: Nanos) {
        let index = self.buckets.of(time);
        match self.index {
            Some(open) if open == index => {}
            Some(_) => {
                self.regression.add(self.volume, self.last_mid - self.start_mid);
                self.lambda = lambda(&self.regression, self.t_min);
                self.start_mid = self.last_mid;
                self.volume = 0.0;
            }
            None => {
                self.start_mid = mid;
                self.volume = 0.0;
            }
        }
        self.index = Some(index);
        self.last_mid = mid;
    }

    /// The book was lost: the running bucket is dropped.
    pub fn reset(&mut self) {
        self.index = None;
        self.volume = 0.0;
    }

    /// Lambda in ticks per base unit; a negative one is reported as 0, clamped.
    #[must_use]
    pub fn lambda(&self) -> Estimate {
        self.lambda
    }
}

fn lambda(regression: &DecayedSlope, t_min: f64) -> Estimate {
    let n = regression.n();
    let Some(slope) = regression.slope() else {
        return if n == 0 { Estimate::warmup(0) } else { Estimate::degenerate(Status::ZeroVariance, n) };
    };
    match regression.t_statistic() {
        Some(t) if t.abs() > t_min => Estimate::clamped(slope, 0.0, f64::MAX, n),
        _ => Estimate { status: Status::Warmup, ..Estimate::clamped(slope, 0.0, f64::MAX, n) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_pair_volume_with_the_move_of_the_same_bucket() {
        let mut kyle = KyleLambda::new(10, 1e9, 2.0);
        let mut mid = 1_000.0;
        kyle.moved(mid, 0);
        let noise = [0.1, -0.1, 0.05, -0.05, 0.0];
        for step in 1..=30i64 {
            let volume = [1.0, -2.0, 3.0, -1.0][step as usize % 4];
            kyle.traded(volume);
            mid += 0.5 * volume + noise[step as usize % 5];
            kyle.moved(mid, step * 10 - 1);
            kyle.moved(mid, step * 10);
        }
        let lambda = kyle.lambda();
        assert_eq!(lambda.status, Status::Ok);
        assert!((lambda.value - 0.5).abs() < 0.02, "{lambda:?}");
    }

    #[test]
    fn no_volume_is_degenerate_and_a_negative_slope_is_clamped() {
        let mut kyle = KyleLambda::new(10, 1e9, 2.0);
        assert_eq!(kyle.lambda().status, Status::Warmup);
        kyle.moved(1.0, 0);
        kyle.moved(2.0, 10);
        assert_eq!(kyle.lambda().status, Status::ZeroVariance);
        for step in 2..30i64 {
            let volume = [1.0, -2.0, 3.0][step as usize % 3];
            kyle.traded(volume);
            let before = kyle.last_mid;
            kyle.moved(before - volume - 0.01 * (step % 2) as f64, step * 10 - 1);
            kyle.moved(kyle.last_mid, step * 10);
        }
        assert_eq!((kyle.lambda().value, kyle.lambda().status), (0.0, Status::Clamped));
    }
}
