//! Mean reversion (model book 6.11): fades what lies far from its mean, only where variances grow more slowly than a walk's
//! (Lo and MacKinlay 1988) and the regime has not just changed.

use kimera_numerics::cointegration::Pull;
use kimera_numerics::variance_ratio::variance_ratio;
use kimera_protocol::{Decision, HoldReason, InstrumentId, Urgency};

use super::Costs;
use super::closes::Closes;
use super::forecast::round_trip_bps;
use crate::account::Account;
use crate::scene::{Bar, HOLE_BARS, Scene};
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// One-sided 5 % point of the normal distribution.
const NORMAL_95: f64 = 1.644_853_6;

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReversionConfig {
    /// Bars that are looked at.
    pub window: u32,
    /// Bars between two fits.
    pub refit: u32,
    /// Steps whose variance is compared with that of one.
    pub ratio_steps: u32,
    /// Distances from the mean, in deviations, at which a position is entered, left, and given up.
    pub z: [f64; 3],
    /// Seconds of a bar.
    pub bar_s: f64,
}

/// What is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fit {
    mean: f64,
    deviation: f64,
    half_life_bars: f64,
}

kimera_protocol::state!(Fit { mean, deviation, half_life_bars });

/// The strategy.
pub struct Reversion {
    config: ReversionConfig,
    costs: Costs,
    traded: InstrumentId,
    closes: Closes,
    /// Room for returns.
    returns: Box<[f64]>,
    /// None where prices are not pulled back.
    fit: Option<Fit>,
}

kimera_protocol::state!(Reversion { closes, fit } fixed { config, costs, traded, returns });

/// How far a variance ratio of `n` returns over `q` lies from a walk's 1, in deviations (homoscedastic: model book 1.15; Lo and MacKinlay 1988, eq. 14).
#[must_use]
pub fn ratio_z(ratio: f64, n: usize, q: usize) -> f64 {
    let (n, q) = (n as f64, q as f64);
    (ratio - 1.0) / (2.0 * (2.0 * q - 1.0) * (q - 1.0) / (3.0 * q * n)).sqrt()
}

impl Reversion {
    /// On this instrument.
    #[must_use]
    pub fn new(config: ReversionConfig, costs: Costs, traded: InstrumentId) -> Self {
        let window = config.window.max(8) as usize;
        let (closes, returns) = (Closes::new(window), vec![0.0; window - 1].into());
        Self { config, costs, traded, closes, returns, fit: None }
    }

    /// None where a walk would do as well.
    fn refit(&mut self) -> Option<Fit> {
        let closes = self.closes.all();
        for (to, pair) in self.returns.iter_mut().zip(closes.windows(2)) {
            *to = pair[1] / pair[0] - 1.0;
        }
        let q = self.config.ratio_steps as usize;
        let ratio = variance_ratio(&self.returns, q);
        let z = ratio_z(ratio.value, self.returns.len(), q);
        let comes_back = ratio.status.is_usable() && z < -NORMAL_95;
        if !comes_back {
            return None;
        }
        let pull = Pull::fit(closes)?;
        Some(Fit { mean: pull.mean, deviation: pull.deviation, half_life_bars: pull.half_life_steps })
    }
}

impl Strategy for Reversion {
    fn clear(&mut self) {
        self.closes.clear();
        self.fit = None;
    }

    fn bar(&mut self, scene: &Scene, bar: Bar) {
        let Some(close) = scene.close(self.traded).filter(|_| bar.missed <= HOLE_BARS) else {
            self.clear();
            return;
        };
        self.closes.push(close);
        if self.closes.is_full() && self.closes.taken().is_multiple_of(u64::from(self.config.refit.max(1))) {
            self.fit = self.refit();
        }
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let held = account.holding(self.traded).position;
        let Some(fit) = self.fit else {
            let reason = if self.closes.is_full() { HoldReason::Regime } else { HoldReason::Unfit };
            return if held == 0 { Err(reason) } else { Ok(Want::Leave(reason)) };
        };
        let market = scene.market(self.traded).ok_or(HoldReason::NoBook)?;
        let mid = market.mid(scene.time, scene.stale_after()).ok_or(HoldReason::NoBook)?;
        let z = (mid - fit.mean) / fit.deviation;
        let [enter, leave, give_up] = self.config.z;
        (decision.fair, decision.signal) = (fit.mean, (-z / give_up).clamp(-1.0, 1.0) as f32);
        if held != 0 {
            let passed = (held > 0) == (z > 0.0);
            let done = z.abs() < leave || z.abs() > give_up || passed;
            return Ok(if done { Want::Leave(HoldReason::NoSignal) } else { Want::Stay });
        }
        if z.abs() <= enter || z.abs() > give_up {
            return Err(HoldReason::NoSignal);
        }
        let horizon_bars = 2.0 * fit.half_life_bars;
        // Behind two half-lives three quarters of the way back have been gone.
        let back = (mid - fit.mean).abs() * 0.75;
        let cost = round_trip_bps(scene, self.traded, &self.costs, Urgency::Quote);
        decision.cost_bps = cost.ok_or(HoldReason::Unfit)? as f32;
        Ok(Want::Enter(View {
            direction: if z > 0.0 { -1 } else { 1 },
            strength: 1.0,
            probability: None,
            edge_bps: back / mid * 1e4,
            horizon_ms: (horizon_bars * self.config.bar_s * 1e3).clamp(1.0, 8.64e7) as u32,
            urgency: Urgency::Quote,
        }))
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: true, by_heat: false, by_change: true }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }

    fn digest(&self) -> u64 {
        self.closes.taken() ^ self.fit.map_or(0, |f| f.mean.to_bits() ^ f.deviation.to_bits().rotate_left(13))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_its_own_deviation() {
        // Two steps, 100 returns: the variance of the ratio is 1/100.
        assert!((ratio_z(0.8, 100, 2) + 2.0).abs() < 1e-12);
        assert!(ratio_z(1.0, 100, 5).abs() < 1e-12);
    }
}
