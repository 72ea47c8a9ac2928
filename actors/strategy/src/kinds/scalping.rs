//! Scalping (model book 6.12): where the microprice leads the mid by more than it costs to wait in the book for it.

use kimera_protocol::{Decision, HoldReason, InstrumentId, Topic, Urgency};

use super::Costs;
use super::forecast::round_trip_bps;
use crate::account::Account;
use crate::scene::Scene;
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalpingConfig {
    /// Probability that an order that waits is filled, (0, 1].
    pub fill_probability: f64,
    /// What fills lose to those who know more, basis points; more where slow estimators say so.
    pub adverse_bps: f64,
    /// Longest time that a position is held, milliseconds.
    pub hold_ms: u32,
}

impl Default for ScalpingConfig {
    fn default() -> Self {
        Self { fill_probability: 0.6, adverse_bps: 0.5, hold_ms: 30_000 }
    }
}

/// The strategy; it remembers nothing.
pub struct Scalping {
    config: ScalpingConfig,
    costs: Costs,
    traded: InstrumentId,
}

kimera_protocol::state!(Scalping { } fixed { config, costs, traded });

impl Scalping {
    /// On this instrument.
    #[must_use]
    pub fn new(config: ScalpingConfig, costs: Costs, traded: InstrumentId) -> Self {
        Self { config, costs, traded }
    }
}

impl Strategy for Scalping {
    fn clear(&mut self) {}

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let market = scene.market(self.traded).ok_or(HoldReason::NoBook)?;
        let mid = market.mid(scene.time, scene.stale_after()).ok_or(HoldReason::NoBook)?;
        let (microprice, at) = market.microprice;
        if microprice <= 0.0 || scene.time.saturating_sub(at) > scene.stale_after() {
            return Err(HoldReason::NoFairPrice);
        }
        let lead_bps = (microprice - mid) / mid * 1e4;
        // What is held is held for the microprice to lead the other way, or for its time to pass.
        let held = account.holding(self.traded).position;
        let direction = if lead_bps > 0.0 { 1 } else { -1 };
        let topic = if direction > 0 { Topic::ToxicBid } else { Topic::ToxicAsk };
        let toxic = scene.opinions.get(topic, scene.time).unwrap_or_default();
        let adverse = self.config.adverse_bps * (1.0 + toxic);
        let cost =
            round_trip_bps(scene, self.traded, &self.costs, Urgency::Quote).ok_or(HoldReason::Unfit)?;
        let cost = cost + adverse;
        let edge = lead_bps.abs() * self.config.fill_probability;
        (decision.fair, decision.signal) = (microprice, (lead_bps / 10.0).clamp(-1.0, 1.0) as f32);
        (decision.edge_bps, decision.cost_bps) = (edge as f32, cost as f32);
        if held != 0 && (held > 0) == (direction > 0) {
            return Ok(Want::Stay);
        }
        if edge > cost {
            let horizon_ms = self.config.hold_ms;
            let urgency = Urgency::Quote;
            return Ok(Want::Enter(View {
                direction,
                strength: 1.0,
                probability: None,
                edge_bps: edge,
                horizon_ms,
                urgency,
            }));
        }
        if held == 0 { Err(HoldReason::NoEdge) } else { Ok(Want::Stay) }
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: false, by_heat: true, by_change: false }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }
}
