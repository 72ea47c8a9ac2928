//! Trades where independent sources of the price contradict each other (model book 3.1, 4.9): towards the fair price that the
//! other sources have, where the way there is longer than it costs.

use kimera_protocol::{Decision, HoldReason, InstrumentId, Urgency};

use super::Costs;
use super::forecast::round_trip_bps;
use crate::account::Account;
use crate::rules::Rule;
use crate::scene::Scene;
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpportunityConfig {
    /// Longest time that a position is held, milliseconds.
    pub hold_ms: u32,
}

impl Default for OpportunityConfig {
    fn default() -> Self {
        Self { hold_ms: 10_000 }
    }
}

/// The strategy; it remembers nothing.
pub struct Opportunity {
    config: OpportunityConfig,
    costs: Costs,
    traded: InstrumentId,
}

kimera_protocol::state!(Opportunity { } fixed { config, costs, traded });

impl Opportunity {
    /// On this instrument.
    #[must_use]
    pub fn new(config: OpportunityConfig, costs: Costs, traded: InstrumentId) -> Self {
        Self { config, costs, traded }
    }
}

impl Strategy for Opportunity {
    fn clear(&mut self) {}

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let held = account.holding(self.traded).position;
        let otherwise = |reason| if held == 0 { Err(reason) } else { Ok(Want::Stay) };
        let market = scene.market(self.traded).ok_or(HoldReason::NoBook)?;
        let mid = market.mid(scene.time, scene.stale_after()).ok_or(HoldReason::NoBook)?;
        let fair = scene.fair.at(scene.time).ok_or(HoldReason::NoFairPrice)?;
        let fair = fair / market.steps.tick_units as f64;
        let gap_bps = (fair - mid) / mid * 1e4;
        (decision.fair, decision.signal) = (fair, (gap_bps / 10.0).clamp(-1.0, 1.0) as f32);
        if scene.rule() != Rule::Opportunity {
            return otherwise(HoldReason::NoSignal);
        }
        let cost = round_trip_bps(scene, self.traded, &self.costs, Urgency::Take).ok_or(HoldReason::Unfit)?;
        (decision.edge_bps, decision.cost_bps) = (gap_bps.abs() as f32, cost as f32);
        if gap_bps.abs() <= cost {
            return otherwise(HoldReason::NoEdge);
        }
        Ok(Want::Enter(View {
            direction: if gap_bps > 0.0 { 1 } else { -1 },
            strength: 1.0,
            probability: None,
            edge_bps: gap_bps.abs(),
            horizon_ms: self.config.hold_ms,
            urgency: Urgency::Take,
        }))
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: true, ..Bound::default() }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }
}
