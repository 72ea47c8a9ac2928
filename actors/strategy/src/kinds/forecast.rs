//! Follows the ensemble: acts where the score is strong, the confidence is enough, and what is expected is more than it costs
//! (model book 3.13).

use kimera_protocol::{Decision, HoldReason, InstrumentId, Urgency};

use super::Costs;
use crate::account::Account;
use crate::scene::Scene;
use crate::strategy::{Bound, LEGS_MAX, Strategy, View, Want};

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastConfig {
    /// Horizon of the forecast, milliseconds.
    pub horizon_ms: u32,
    /// Takes, or waits in the book.
    pub urgency: Urgency,
}

/// The strategy; the scene's signal is its only state.
pub struct Forecast {
    config: ForecastConfig,
    costs: Costs,
    traded: InstrumentId,
}

kimera_protocol::state!(Forecast { } fixed { config, costs, traded });

impl Forecast {
    /// On this instrument.
    #[must_use]
    pub fn new(config: ForecastConfig, costs: Costs, traded: InstrumentId) -> Self {
        Self { config, costs, traded }
    }
}

/// What a round trip costs, basis points: fees both ways, the spread where it takes, and what is lost on the way.
pub(crate) fn round_trip_bps(
    scene: &Scene,
    traded: InstrumentId,
    costs: &Costs,
    urgency: Urgency,
) -> Option<f64> {
    let market = scene.market(traded)?;
    let mid = market.mid(scene.time, scene.stale_after())?;
    let spread = (market.quote.ask.price.0 - market.quote.bid.price.0) as f64 / mid * 1e4;
    // The way out takes in any case: it has to be possible.
    let fees = match urgency {
        Urgency::Quote => costs.maker_bps + costs.taker_bps + spread / 2.0,
        Urgency::Take => 2.0 * costs.taker_bps + spread,
    };
    Some(fees + costs.latency_bps(scene.relative_volatility()?))
}

impl Strategy for Forecast {
    fn clear(&mut self) {}

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        (decision.signal, decision.confidence) = (scene.signal as f32, scene.consensus.confidence as f32);
        let held = account.holding(self.traded).position;
        if scene.signal == 0.0 {
            // Its reason is the forecast's horizon: within it, what is held stays.
            return if held == 0 { Err(HoldReason::NoSignal) } else { Ok(Want::Stay) };
        }
        let volatility = scene.relative_volatility().ok_or(HoldReason::Unfit)?;
        let cost = round_trip_bps(scene, self.traded, &self.costs, self.config.urgency);
        let reach = volatility * (f64::from(self.config.horizon_ms) / 1e3).sqrt() * 1e4;
        decision.cost_bps = cost.ok_or(HoldReason::NoBook)? as f32;
        Ok(Want::Enter(View {
            direction: if scene.signal > 0.0 { 1 } else { -1 },
            strength: scene.consensus.confidence,
            probability: Some(scene.consensus.confidence),
            edge_bps: scene.signal.abs() * reach,
            horizon_ms: self.config.horizon_ms,
            urgency: self.config.urgency,
        }))
    }

    fn bound(&self) -> Bound {
        Bound { by_pressure: true, ..Bound::default() }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.traded), None, None]
    }
}
