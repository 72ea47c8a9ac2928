//! Statistical arbitrage (model book 6.9): two prices that belong together (Engle and Granger 1987) and have parted.
//!
//! `y = α + β·x + spread`: a unit of the traded instrument against β of the other. Prices are in the quote asset.

use kimera_numerics::cointegration::{EngleGranger, Pull};
use kimera_protocol::{
    Decision, HoldReason, InstrumentId, Level, Nanos, Price, Quantity, SessionTerms, Side,
};

use super::closes::Closes;
use super::{Costs, Roles};
use crate::account::Account;
use crate::scene::{Bar, HOLE_BARS, Market, Scene};
use crate::strategy::{LEGS_MAX, Leg, Strategy, Want};

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairsConfig {
    /// Bars that are looked at.
    pub window: u32,
    /// Bars between two fits.
    pub refit: u32,
    /// Distances from the mean, in deviations, at which a position is entered, left, and given up.
    pub z: [f64; 3],
    /// Share of the capital that the first leg takes.
    pub share: f64,
    /// How much worse than the best price a leg may be taken at, basis points.
    pub slippage_bps: f64,
    /// A trade whose legs are not both there after this is taken back.
    pub leg_timeout: Nanos,
    /// How long nothing is tried behind a trade that came apart.
    pub rest: Nanos,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Fit {
    alpha: f64,
    beta: f64,
    mean: f64,
    deviation: f64,
}

kimera_protocol::state!(Fit { alpha, beta, mean, deviation });

/// The strategy.
pub struct Pairs {
    config: PairsConfig,
    costs: Costs,
    roles: Roles,
    closes: [Closes; 2],
    spread: Box<[f64]>,
    fit: Option<Fit>,
    /// What the pair was entered with: it is judged by that until it is left.
    entered: Option<Fit>,
    capital: i64,
    /// Since when the legs do not match.
    uneven_since: Option<Nanos>,
    /// Nothing is tried before this time.
    rests_until: Nanos,
}

kimera_protocol::state!(Pairs { closes, fit, entered, capital, uneven_since, rests_until } fixed { config, costs, roles, spread });

/// Share of the hedge that may be missing.
const UNEVEN: f64 = 0.25;

/// Price of a level in the quote asset.
fn price(market: &Market, ticks: f64) -> f64 {
    ticks * market.steps.tick_units as f64 / 1e8
}

/// A leg that takes at the best price, worse by at most `slippage_bps`.
#[must_use]
pub fn taking_leg(
    of: InstrumentId,
    market: &Market,
    side: Side,
    size: i64,
    slippage_bps: f64,
) -> Option<Leg> {
    let lots = size - size % market.steps.lot_units.max(1);
    let best = if side == Side::Bid { market.quote.ask } else { market.quote.bid };
    if lots <= 0 || best.size.0 <= 0 || best.price.0 <= 0 {
        return None;
    }
    let slip = (best.price.0 as f64 * slippage_bps.max(0.0) / 1e4).floor() as i64;
    let worst = if side == Side::Bid { best.price.0 + slip } else { (best.price.0 - slip).max(1) };
    Some(Leg { instrument: of, side, level: Level { price: Price(worst), size: Quantity(lots) } })
}

/// A leg that gives back what is held, if anything is.
fn closing_leg(of: InstrumentId, scene: &Scene, position: i64, slippage_bps: f64) -> Option<Leg> {
    let side = if position > 0 { Side::Ask } else { Side::Bid };
    let size = i64::try_from(position.unsigned_abs()).ok()?;
    taking_leg(of, scene.market(of)?, side, size, slippage_bps)
}

impl Pairs {
    /// On the traded instrument and the other.
    #[must_use]
    pub fn new(config: PairsConfig, costs: Costs, roles: Roles) -> Self {
        let window = config.window.max(50) as usize;
        Self {
            closes: [Closes::new(window), Closes::new(window)],
            spread: vec![0.0; window].into(),
            fit: None,
            entered: None,
            capital: 0,
            uneven_since: None,
            rests_until: Nanos::MIN,
            config,
            costs,
            roles,
        }
    }

    fn refit(&mut self) -> Option<Fit> {
        let (y, x) = (self.closes[0].all(), self.closes[1].all());
        let found = EngleGranger::fit_in(y, x, &mut self.spread)?;
        if !found.holds() || found.beta <= 0.0 {
            return None;
        }
        let pull = Pull::fit(&self.spread)?;
        let EngleGranger { alpha, beta, .. } = found;
        Some(Fit { alpha, beta, mean: pull.mean, deviation: pull.deviation })
    }

    fn enter(&self, scene: &Scene, fit: &Fit, z: f64, decision: &mut Decision) -> Result<Want, HoldReason> {
        let other = self.roles.other.ok_or(HoldReason::NoBook)?;
        let (a, b) = (scene.market(self.roles.traded), scene.market(other));
        let (a, b) = a.zip(b).ok_or(HoldReason::NoBook)?;
        let mid = a.last_mid_units() as f64 / 1e8;
        let spread_bps = |m: &Market| {
            let (bid, ask) = (m.quote.bid.price.0 as f64, m.quote.ask.price.0 as f64);
            (ask - bid) / (ask + bid) * 2e4
        };
        // Both legs, in and out.
        let cost = 4.0 * self.costs.taker_bps + spread_bps(a) + spread_bps(b);
        let edge = (z.abs() - self.config.z[1]) * fit.deviation / mid * 1e4;
        (decision.edge_bps, decision.cost_bps) = (edge as f32, cost as f32);
        if edge <= cost {
            return Err(HoldReason::NoEdge);
        }
        let size = self.config.share * self.capital as f64 / mid;
        if !size.is_finite() || size <= 0.0 || size > 1e18 {
            return Err(HoldReason::Capital);
        }
        let (first, second) = if z > 0.0 { (Side::Ask, Side::Bid) } else { (Side::Bid, Side::Ask) };
        let slip = self.config.slippage_bps;
        let one = taking_leg(self.roles.traded, a, first, size as i64, slip);
        let two = taking_leg(other, b, second, (size * fit.beta) as i64, slip);
        match (one, two) {
            (Some(one), Some(two)) => Ok(Want::Legs([Some(one), Some(two), None])),
            _ => Err(HoldReason::Capital),
        }
    }

    /// What is left of the pair, where it is to go.
    fn close(&self, scene: &Scene, other: InstrumentId, held: [i64; 2]) -> Want {
        let leg = |of, position| closing_leg(of, scene, position, self.config.slippage_bps);
        Want::Legs([leg(self.roles.traded, held[0]), leg(other, held[1]), None])
    }
}

impl Strategy for Pairs {
    fn clear(&mut self) {
        self.closes.iter_mut().for_each(Closes::clear);
        (self.fit, self.entered, self.uneven_since) = (None, None, None);
        self.rests_until = Nanos::MIN;
    }

    fn weigh(&mut self, terms: &SessionTerms) {
        self.capital = terms.capital;
    }

    fn bar(&mut self, scene: &Scene, bar: Bar) {
        let close = |of: Option<InstrumentId>| {
            let (of, market) = of.and_then(|of| Some((of, scene.market(of)?)))?;
            scene.close(of).map(|ticks| price(market, ticks))
        };
        let both = close(Some(self.roles.traded)).zip(close(self.roles.other));
        let Some((y, x)) = both.filter(|_| bar.missed <= HOLE_BARS) else {
            self.closes.iter_mut().for_each(Closes::clear);
            self.fit = None;
            return;
        };
        self.closes[0].push(y);
        self.closes[1].push(x);
        if self.closes[0].is_full()
            && self.closes[0].taken().is_multiple_of(u64::from(self.config.refit.max(1)))
        {
            self.fit = self.refit();
        }
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let other = self.roles.other.ok_or(HoldReason::NoBook)?;
        let held = [self.roles.traded, other].map(|of| account.holding(of).position);
        let is_flat = held == [0, 0];
        if is_flat {
            (self.entered, self.uneven_since) = (None, None);
        } else if self.entered.is_none() {
            self.entered = self.fit;
        }
        let beta = self.entered.map_or(1.0, |fit| fit.beta);
        let hedge = -(held[0] as f64) * beta;
        if !is_flat && (held[1] as f64 - hedge).abs() > UNEVEN * hedge.abs().max(1.0) {
            let since = *self.uneven_since.get_or_insert(scene.time);
            if scene.time.saturating_sub(since) >= self.config.leg_timeout {
                self.rests_until = scene.time.saturating_add(self.config.rest);
                return Ok(self.close(scene, other, held));
            }
            return Ok(Want::Stay);
        }
        self.uneven_since = None;
        let lost = self.closes[0].is_full() && self.fit.is_none();
        let Some(fit) = (if is_flat { self.fit } else { self.entered }) else {
            let reason = if lost { HoldReason::Regime } else { HoldReason::Unfit };
            return if is_flat { Err(reason) } else { Ok(self.close(scene, other, held)) };
        };
        let mids = [self.roles.traded, other].map(|of| {
            let market = scene.market(of)?;
            Some(price(market, market.mid(scene.time, scene.stale_after())?))
        });
        let (Some(y), Some(x)) = (mids[0], mids[1]) else { return Err(HoldReason::NoBook) };
        let z = (y - fit.alpha - fit.beta * x - fit.mean) / fit.deviation;
        let [enter, leave, give_up] = self.config.z;
        decision.signal = (-z / give_up).clamp(-1.0, 1.0) as f32;
        if !is_flat {
            let passed = (held[0] > 0) == (z > 0.0);
            let done = z.abs() < leave || z.abs() > give_up || passed || lost;
            return Ok(if done { self.close(scene, other, held) } else { Want::Stay });
        }
        if z.abs() <= enter || z.abs() > give_up {
            return Err(HoldReason::NoSignal);
        }
        if scene.time < self.rests_until {
            return Err(HoldReason::Resting);
        }
        self.enter(scene, &fit, z, decision)
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.roles.traded), self.roles.other, None]
    }

    fn digest(&self) -> u64 {
        self.closes[0].taken() ^ self.fit.map_or(0, |f| f.beta.to_bits() ^ f.mean.to_bits().rotate_left(13))
    }
}
