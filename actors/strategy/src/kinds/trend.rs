//! Trends (model book 6.10): time-series momentum over three lookbacks (Moskowitz, Ooi and Pedersen 2012), and two averages
//! that part.
//!
//! What is expected of a signal is its information coefficient times the volatility over the horizon times its strength (Grinold
//! 1994): the coefficient is a parameter, and none has been found in the shipped data.

use kimera_protocol::{Decision, HoldReason, InstrumentId, Urgency};

use super::Costs;
use super::closes::Closes;
use super::forecast::round_trip_bps;
use crate::account::Account;
use crate::scene::{Bar, HOLE_BARS, Scene};
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// Longest lookback, in bars.
pub const LOOKBACK_MAX: u32 = 4_096;

/// Parameters of trend following.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrendConfig {
    /// Lookbacks in bars, shortest first.
    pub lookbacks: [u32; 3],
    /// Annualised volatility up to which a sign counts in full.
    pub volatility_target: f64,
    /// Least blend of the three at which a position is entered, (0, 1].
    pub enter: f64,
    /// Drift and height of the sum against the position (Page 1954) at which it is left, in deviations of a bar.
    pub cusum: (f64, f64),
    /// Information coefficient that is expected of the signal.
    pub skill: f64,
    /// Seconds of a bar.
    pub bar_s: f64,
}

/// Follows the signs of three returns.
pub struct Trend {
    config: TrendConfig,
    costs: Costs,
    traded: InstrumentId,
    closes: Closes,
    /// Mean sign in [−1, 1] at the last bar; none before there are enough.
    blend: Option<f64>,
    /// Sum against the direction of the blend, and that direction.
    against: (f64, i8),
    /// The sum has been too high: nothing more is entered in this direction.
    is_over: bool,
}

kimera_protocol::state!(Trend { closes, blend, against, is_over } fixed { config, costs, traded });

impl Trend {
    /// On this instrument.
    #[must_use]
    pub fn new(config: TrendConfig, costs: Costs, traded: InstrumentId) -> Self {
        let longest = config.lookbacks.iter().copied().max().unwrap_or(1).min(LOOKBACK_MAX);
        let closes = Closes::new(longest as usize + 1);
        Self { config, costs, traded, closes, blend: None, against: (0.0, 0), is_over: false }
    }

    fn signs(&self) -> Option<f64> {
        let now = self.closes.back(0)?;
        let mut sum = 0.0;
        for lookback in self.config.lookbacks {
            let then = self.closes.back(lookback as usize)?;
            sum += if now > then {
                1.0
            } else if now < then {
                -1.0
            } else {
                0.0
            };
        }
        Some(sum / self.config.lookbacks.len() as f64)
    }
}

fn direction_of(x: f64) -> i8 {
    i8::from(x > 0.0) - i8::from(x < 0.0)
}

impl Strategy for Trend {
    fn clear(&mut self) {
        self.closes.clear();
        (self.blend, self.against, self.is_over) = (None, (0.0, 0), false);
    }

    fn bar(&mut self, scene: &Scene, bar: Bar) {
        let Some(close) = scene.close(self.traded).filter(|_| bar.missed <= HOLE_BARS) else {
            self.clear();
            return;
        };
        let change = self.closes.back(0).map_or(0.0, |before| close - before);
        self.closes.push(close);
        self.blend = self.signs();
        let direction = self.blend.map_or(0, direction_of);
        if direction != self.against.1 {
            (self.against, self.is_over) = ((0.0, direction), false);
        }
        if let Some(volatility) = scene.volatility.per_root_second() {
            let deviations = change / (volatility * self.config.bar_s.sqrt());
            let (drift, height) = self.config.cusum;
            self.against.0 = (self.against.0 - f64::from(direction) * deviations - drift).max(0.0);
            self.is_over |= self.against.0 > height;
        }
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let blend = self.blend.ok_or(HoldReason::Unfit)?;
        let held = account.holding(self.traded).position;
        decision.signal = blend as f32;
        if held != 0 {
            let turned = (held > 0) != (blend > 0.0) || blend == 0.0;
            return Ok(if turned || self.is_over { Want::Leave(HoldReason::NoSignal) } else { Want::Stay });
        }
        if blend.abs() < self.config.enter || self.is_over {
            return Err(HoldReason::NoSignal);
        }
        let annual = scene.annual_volatility().ok_or(HoldReason::Unfit)?;
        let strength = blend.abs() * (self.config.volatility_target / annual).min(1.0);
        let seconds = f64::from(self.config.lookbacks[0]) * self.config.bar_s;
        let reach = scene.relative_volatility().ok_or(HoldReason::Unfit)? * seconds.sqrt() * 1e4;
        let cost = round_trip_bps(scene, self.traded, &self.costs, Urgency::Take);
        decision.cost_bps = cost.ok_or(HoldReason::NoBook)? as f32;
        Ok(Want::Enter(View {
            direction: direction_of(blend),
            strength,
            probability: None,
            edge_bps: self.config.skill * blend.abs() * reach,
            horizon_ms: 0,
            urgency: Urgency::Take,
        }))
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: true, by_heat: true, by_change: false }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }

    fn digest(&self) -> u64 {
        self.blend.unwrap_or(2.0).to_bits()
            ^ self.closes.taken().rotate_left(17)
            ^ self.against.0.to_bits().rotate_left(31)
    }
}

/// Parameters of momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MomentumConfig {
    /// Bars of the fast average, and of the slow one: α = 2/(n + 1).
    pub averages: (u32, u32),
    /// Distance of the two, in its own deviations, at which a position is entered.
    pub enter: f64,
    /// Information coefficient that is expected of the signal.
    pub skill: f64,
    /// Seconds of a bar.
    pub bar_s: f64,
}

/// Follows the distance of two averages.
pub struct Momentum {
    config: MomentumConfig,
    costs: Costs,
    traded: InstrumentId,
    /// Deviation of the distance of both for a walk with steps of deviation 1.
    scale: f64,
    fast: f64,
    slow: f64,
    bars: u64,
}

kimera_protocol::state!(Momentum { fast, slow, bars } fixed { config, costs, traded, scale });

/// Weight of the newest value in an average of `n` (model book 6.10).
#[must_use]
pub fn average_step(n: u32) -> f64 {
    2.0 / (f64::from(n) + 1.0)
}

/// Deviation of the distance of two averages of a walk with steps of deviation 1: an average lags by `Σ (1 − α)^(k+1) r_(t−k)`, so the variance is
/// `Σ (a^k − b^k)²` over k from 1, with a and b the complements of both steps.
#[must_use]
pub fn distance_deviation((fast, slow): (u32, u32)) -> f64 {
    let (a, b) = (1.0 - average_step(slow), 1.0 - average_step(fast));
    let sum = |x: f64| x / (1.0 - x);
    (sum(a * a) - 2.0 * sum(a * b) + sum(b * b)).max(0.0).sqrt()
}

impl Momentum {
    /// On this instrument.
    #[must_use]
    pub fn new(config: MomentumConfig, costs: Costs, traded: InstrumentId) -> Self {
        let scale = distance_deviation(config.averages);
        Self { config, costs, traded, scale, fast: 0.0, slow: 0.0, bars: 0 }
    }

    /// Distance of the averages in the deviations it would have if the price were a walk; none during warm-up, of three times the slow one.
    fn z(&self, scene: &Scene) -> Option<f64> {
        let deviation = scene.volatility.per_root_second()? * self.config.bar_s.sqrt() * self.scale;
        let is_warm = self.bars >= 3 * u64::from(self.config.averages.1);
        (is_warm && deviation > 0.0).then(|| (self.fast - self.slow) / deviation)
    }
}

impl Strategy for Momentum {
    fn clear(&mut self) {
        (self.fast, self.slow, self.bars) = (0.0, 0.0, 0);
    }

    fn bar(&mut self, scene: &Scene, bar: Bar) {
        let Some(close) = scene.close(self.traded).filter(|_| bar.missed <= HOLE_BARS) else {
            self.clear();
            return;
        };
        if self.bars == 0 {
            (self.fast, self.slow) = (close, close);
        }
        self.bars += 1;
        let (fast, slow) = self.config.averages;
        self.fast += average_step(fast) * (close - self.fast);
        self.slow += average_step(slow) * (close - self.slow);
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let z = self.z(scene).ok_or(HoldReason::Unfit)?;
        let held = account.holding(self.traded).position;
        decision.signal = (z / 3.0).clamp(-1.0, 1.0) as f32;
        if held != 0 {
            let turned = (held > 0) != (z > 0.0);
            return Ok(if turned { Want::Leave(HoldReason::NoSignal) } else { Want::Stay });
        }
        if z.abs() <= self.config.enter {
            return Err(HoldReason::NoSignal);
        }
        let seconds = f64::from(self.config.averages.1) * self.config.bar_s;
        let reach = scene.relative_volatility().ok_or(HoldReason::Unfit)? * seconds.sqrt() * 1e4;
        let cost = round_trip_bps(scene, self.traded, &self.costs, Urgency::Take);
        decision.cost_bps = cost.ok_or(HoldReason::NoBook)? as f32;
        Ok(Want::Enter(View {
            direction: direction_of(z),
            strength: (z.abs() / 3.0).min(1.0),
            probability: None,
            edge_bps: self.config.skill * z.abs() * reach,
            horizon_ms: 0,
            urgency: Urgency::Take,
        }))
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: true, by_heat: true, by_change: false }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }

    fn digest(&self) -> u64 {
        self.fast.to_bits() ^ self.slow.to_bits().rotate_left(17) ^ self.bars.rotate_left(31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // Model book 6.10.
        assert!((average_step(20) - 0.095_238).abs() < 1e-6);
        assert!(((40.0f64 / 80.0).min(1.0) - 0.5).abs() < 1e-12);
        assert_eq!([direction_of(-0.2), direction_of(0.0), direction_of(3.0)], [-1, 0, 1]);
    }

    #[test]
    fn the_distance_of_averages_has_its_deviation() {
        // By the sum itself.
        let (a, b): (f64, f64) = (1.0 - average_step(26), 1.0 - average_step(12));
        let (mut sum, mut of_a, mut of_b) = (0.0, 1.0, 1.0);
        for _ in 1..2_000 {
            (of_a, of_b) = (of_a * a, of_b * b);
            sum += (of_a - of_b) * (of_a - of_b);
        }
        assert!((distance_deviation((12, 26)) - f64::sqrt(sum)).abs() < 1e-12);
        assert!(distance_deviation((12, 12)).abs() < 1e-6);
    }
}
