//! Arbitrage: one thing at two prices (model book 6.7), and three rates that do not multiply to one (6.8).
//!
//! Both trade from what lies at the venues already, all legs at once; a trade of which a leg is missing after a while is
//! made even again.

use kimera_protocol::{Decision, HoldReason, InstrumentId, Nanos, SessionTerms, Side};

use super::pairs::taking_leg;
use super::{Costs, Roles};
use crate::account::Account;
use crate::scene::{Market, Scene};
use crate::strategy::{LEGS_MAX, Strategy, Want};

/// Parameters of arbitrage between venues.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossExchangeConfig {
    /// Least gain after every cost, basis points.
    pub threshold_bps: f64,
    /// Cost of bringing the inventory back, basis points.
    pub inventory_bps: f64,
    /// Share of the capital that one trade takes.
    pub share: f64,
    /// Share of the capital that may lie at one venue, either way.
    pub inventory_share: f64,
    /// Age at which a book is not used any more.
    pub stale_after: Nanos,
    /// A trade whose legs are not both there after this is made even.
    pub leg_timeout: Nanos,
    /// How long nothing is tried behind a trade that came apart.
    pub rest: Nanos,
}

impl Default for CrossExchangeConfig {
    fn default() -> Self {
        Self {
            threshold_bps: 10.0,
            inventory_bps: 0.0,
            share: 0.1,
            inventory_share: 1.0,
            stale_after: 250_000_000,
            leg_timeout: 250_000_000,
            rest: 10_000_000_000,
        }
    }
}

/// What buying at `ask` and selling at `bid` earns, as a share of the ask: `[bid(1 − f_b) − ask(1 + f_a)]/ask − σ√(2Δt)·φ`.
#[must_use]
pub fn crossing_gain(ask: f64, bid: f64, fees: (f64, f64), volatility: f64, costs: &Costs) -> f64 {
    let latency = volatility * (2.0 * costs.latency_s.max(0.0)).sqrt() * costs.latency_share;
    (bid * (1.0 - fees.1) - ask * (1.0 + fees.0)) / ask - latency
}

/// Arbitrage between two instruments that are the same thing.
pub struct CrossExchange {
    config: CrossExchangeConfig,
    costs: Costs,
    roles: Roles,
    capital: i64,
    uneven_since: Option<Nanos>,
    /// Nothing is tried before this time.
    rests_until: Nanos,
}

kimera_protocol::state!(CrossExchange { capital, uneven_since, rests_until } fixed { config, costs, roles });

impl CrossExchange {
    /// Between the traded instrument and the other.
    #[must_use]
    pub fn new(config: CrossExchangeConfig, costs: Costs, roles: Roles) -> Self {
        Self { config, costs, roles, capital: 0, uneven_since: None, rests_until: Nanos::MIN }
    }

    /// A trade of the legs that has come apart is made even where it was made larger.
    fn even(&self, scene: &Scene, held: [(InstrumentId, i64); 2], excess: i64) -> Want {
        let same = held.iter().find(|(_, position)| *position != 0 && (*position > 0) == (excess > 0));
        let of = same.map_or(held[0].0, |(of, _)| *of);
        let side = if excess > 0 { Side::Ask } else { Side::Bid };
        let leg = scene.market(of).and_then(|m| taking_leg(of, m, side, excess.saturating_abs(), 10.0));
        Want::Legs([leg, None, None])
    }
}

/// Price of ticks in the quote asset.
fn price(market: &Market, ticks: i64) -> f64 {
    ticks as f64 * market.steps.tick_units as f64 / 1e8
}

impl Strategy for CrossExchange {
    fn clear(&mut self) {
        (self.uneven_since, self.rests_until) = (None, Nanos::MIN);
    }

    fn weigh(&mut self, terms: &SessionTerms) {
        self.capital = terms.capital;
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let c = &self.config;
        let (first, second) = (self.roles.traded, self.roles.other.ok_or(HoldReason::NoBook)?);
        let held = [first, second].map(|of| (of, account.holding(of).position));
        let (a, b) = scene.market(first).zip(scene.market(second)).ok_or(HoldReason::NoBook)?;
        let excess = held[0].1.saturating_add(held[1].1);
        let lot = a.steps.lot_units.max(b.steps.lot_units).max(1);
        if excess.unsigned_abs() >= lot.unsigned_abs() {
            let since = *self.uneven_since.get_or_insert(scene.time);
            if scene.time.saturating_sub(since) < c.leg_timeout {
                return Ok(Want::Stay);
            }
            self.rests_until = scene.time.saturating_add(c.rest);
            return Ok(self.even(scene, held, excess));
        }
        self.uneven_since = None;
        if scene.time < self.rests_until {
            return Err(HoldReason::Resting);
        }
        if [a, b].into_iter().any(|m| m.doubled_mid(scene.time, c.stale_after).is_none()) {
            return Err(HoldReason::NoBook);
        }
        let volatility = scene.relative_volatility().ok_or(HoldReason::Unfit)?;
        let fee = self.costs.taker_bps / 1e4;
        let gain = |buy: &Market, sell: &Market| {
            let (ask, bid) = (price(buy, buy.quote.ask.price.0), price(sell, sell.quote.bid.price.0));
            (crossing_gain(ask, bid, (fee, fee), volatility, &self.costs) * 1e4 - c.inventory_bps, ask)
        };
        let (forth, back) = (gain(a, b), gain(b, a));
        let ((gain_bps, ask), buy, sell) = if forth.0 >= back.0 {
            (forth, (first, a), (second, b))
        } else {
            (back, (second, b), (first, a))
        };
        (decision.edge_bps, decision.cost_bps) = (gain_bps as f32, c.threshold_bps as f32);
        let is_worth_it = gain_bps > c.threshold_bps;
        if !is_worth_it {
            return Err(HoldReason::NoEdge);
        }
        let units = |share: f64| (share * self.capital as f64 / ask).clamp(0.0, 1e17) as i64;
        let room = |of: InstrumentId, sign: i64| {
            let position = account.holding(of).position.saturating_mul(sign);
            units(c.inventory_share).saturating_sub(position).max(0)
        };
        let size = units(c.share)
            .min(buy.1.quote.ask.size.0)
            .min(sell.1.quote.bid.size.0)
            .min(room(buy.0, 1))
            .min(room(sell.0, -1));
        let size = size - size % lot;
        let legs = (
            taking_leg(buy.0, buy.1, Side::Bid, size, 0.0),
            taking_leg(sell.0, sell.1, Side::Ask, size, 0.0),
        );
        match legs {
            (Some(one), Some(two)) => Ok(Want::Legs([Some(one), Some(two), None])),
            _ => Err(HoldReason::Capital),
        }
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.roles.traded), self.roles.other, None]
    }

    fn digest(&self) -> u64 {
        self.capital as u64
    }
}

/// Parameters of arbitrage round a triangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TriangularConfig {
    /// Least gain after fees, basis points.
    pub threshold_bps: f64,
    /// Share of the capital that one round takes.
    pub share: f64,
    /// Age at which a book is not used any more.
    pub stale_after: Nanos,
    /// Time between two rounds, so that the first is over when the next begins.
    pub pause: Nanos,
    /// A round of which a leg is missing after this is made even.
    pub leg_timeout: Nanos,
}

impl Default for TriangularConfig {
    fn default() -> Self {
        Self {
            threshold_bps: 1.0,
            share: 0.1,
            stale_after: 250_000_000,
            pause: 1_000_000_000,
            leg_timeout: 250_000_000,
        }
    }
}

/// What three conversions in a row earn: `Π rate·(1 − fee) − 1`.
#[must_use]
pub fn cycle_gain(rates: [f64; 3], fee: f64) -> f64 {
    rates.iter().fold(1.0, |product, rate| product * rate * (1.0 - fee)) - 1.0
}

/// The fee at which nothing is left of it: `1 − (Π rate)^(−1/3)`.
#[must_use]
pub fn breakeven_fee(rates: [f64; 3]) -> f64 {
    let product: f64 = rates.iter().product();
    1.0 - kimera_numerics::exp(-kimera_numerics::ln(product) / 3.0)
}

/// Round a triangle: the first instrument is the first asset in money, the second the second asset in the first, the third the
/// second asset in money.
pub struct Triangular {
    config: TriangularConfig,
    costs: Costs,
    roles: Roles,
    capital: i64,
    last_round: Option<Nanos>,
    uneven_since: Option<Nanos>,
}

kimera_protocol::state!(Triangular { capital, last_round, uneven_since } fixed { config, costs, roles });

impl Triangular {
    /// On these three.
    #[must_use]
    pub fn new(config: TriangularConfig, costs: Costs, roles: Roles) -> Self {
        Self { config, costs, roles, capital: 0, last_round: None, uneven_since: None }
    }

    /// What is left over of the second asset, and of the first, when every leg is counted: a lot of either is a leg that is missing.
    fn left_over(account: &Account, ids: [InstrumentId; 3], markets: [&Market; 3]) -> [i64; 2] {
        let [first, second, third] = ids.map(|id| account.holding(id));
        // The second instrument is paid in the first asset.
        let paid = i64::try_from(second.cost / 100_000_000).unwrap_or(i64::MAX);
        let over = [second.position.saturating_add(third.position), first.position.saturating_sub(paid)];
        let lots =
            [markets[1].steps.lot_units.max(markets[2].steps.lot_units), 2 * markets[0].steps.lot_units];
        std::array::from_fn(|i| if over[i].abs() >= lots[i].max(1) { over[i] } else { 0 })
    }

    /// Sides of the three legs, their sizes in 1e-8, and the gain, for one way round.
    fn round(&self, markets: [&Market; 3], forward: bool) -> ([(Side, i64); 3], f64) {
        let fee = self.costs.taker_bps / 1e4;
        let ask = |i: usize| price(markets[i], markets[i].quote.ask.price.0);
        let bid = |i: usize| price(markets[i], markets[i].quote.bid.price.0);
        let sides =
            if forward { [Side::Bid, Side::Bid, Side::Ask] } else { [Side::Ask, Side::Ask, Side::Bid] };
        let rates =
            if forward { [1.0 / ask(0), 1.0 / ask(1), bid(2)] } else { [1.0 / ask(2), bid(1), bid(0)] };
        let there = |i: usize| {
            let level = if sides[i] == Side::Bid { markets[i].quote.ask } else { markets[i].quote.bid };
            level.size.0 as f64
        };
        let between = if forward { ask(1) } else { bid(1) };
        let money = if forward { bid(2) } else { ask(2) };
        let wanted = self.config.share * self.capital as f64 / money;
        let second = wanted.min(there(1)).min(there(2)).min(there(0) / between);
        let second = if second.is_finite() { second.clamp(0.0, 1e17) as i64 } else { 0 };
        let lot = markets[1].steps.lot_units.max(markets[2].steps.lot_units).max(1);
        let second = second - second % lot;
        let first = (second as f64 * between) as i64;
        let sizes = [first - first % markets[0].steps.lot_units.max(1), second, second];
        (std::array::from_fn(|i| (sides[i], sizes[i])), cycle_gain(rates, fee))
    }
}

impl Strategy for Triangular {
    fn clear(&mut self) {
        (self.last_round, self.uneven_since) = (None, None);
    }

    fn weigh(&mut self, terms: &SessionTerms) {
        self.capital = terms.capital;
    }

    fn want(
        &mut self,
        scene: &Scene,
        account: &Account,
        decision: &mut Decision,
    ) -> Result<Want, HoldReason> {
        let ids = [Some(self.roles.traded), self.roles.other, self.roles.third];
        let [Some(one), Some(two), Some(three)] = ids else { return Err(HoldReason::NoBook) };
        let ids = [one, two, three];
        let [Some(a), Some(b), Some(c)] = ids.map(|id| scene.market(id)) else {
            return Err(HoldReason::NoBook);
        };
        let markets = [a, b, c];
        let is_fresh = |m: &&Market| m.doubled_mid(scene.time, self.config.stale_after).is_some();
        if !markets.iter().all(is_fresh) {
            return Err(HoldReason::NoBook);
        }
        let over = Self::left_over(account, ids, markets);
        if over != [0, 0] {
            let since = *self.uneven_since.get_or_insert(scene.time);
            if scene.time.saturating_sub(since) < self.config.leg_timeout {
                return Ok(Want::Stay);
            }
            let side = |over: i64| if over > 0 { Side::Ask } else { Side::Bid };
            let even = |at: usize, over: i64| {
                taking_leg(ids[at], markets[at], side(over), over.saturating_abs(), 10.0)
            };
            self.last_round = Some(scene.time);
            return Ok(Want::Legs([even(2, over[0]), even(0, over[1]), None]));
        }
        self.uneven_since = None;
        let (forth, back) = (self.round(markets, true), self.round(markets, false));
        let (legs, gain) = if forth.1 >= back.1 { forth } else { back };
        (decision.edge_bps, decision.cost_bps) = ((gain * 1e4) as f32, self.config.threshold_bps as f32);
        let is_worth_it = gain * 1e4 > self.config.threshold_bps;
        if !is_worth_it {
            return Err(HoldReason::NoEdge);
        }
        let is_early =
            self.last_round.is_some_and(|last| scene.time.saturating_sub(last) < self.config.pause);
        if is_early {
            return Err(HoldReason::NoSignal);
        }
        let made: [_; 3] = std::array::from_fn(|i| taking_leg(ids[i], markets[i], legs[i].0, legs[i].1, 0.0));
        if made.iter().any(Option::is_none) {
            return Err(HoldReason::Capital);
        }
        self.last_round = Some(scene.time);
        Ok(Want::Legs(made))
    }

    fn trades(&self) -> [Option<InstrumentId>; LEGS_MAX] {
        [Some(self.roles.traded), self.roles.other, self.roles.third]
    }

    fn digest(&self) -> u64 {
        self.capital as u64 ^ self.last_round.unwrap_or_default() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // Model book 6.7: 100.00 and 100.30, ten basis points each.
        let free = Costs { latency_s: 0.0, ..Costs::default() };
        let gain = crossing_gain(100.0, 100.3, (0.001, 0.001), 0.0, &free) * 1e4;
        assert!((gain - 9.97).abs() < 1e-6 && gain <= CrossExchangeConfig::default().threshold_bps, "{gain}");
        // 60 % a year over 200 ms: 0.4 of what the price moves meanwhile (6, at the end).
        let costs = Costs { latency_s: 0.2, latency_share: 0.4, ..Costs::default() };
        let sigma = 0.6 / (365.0f64 * 86_400.0).sqrt();
        assert!((costs.latency_bps(sigma) - 0.477_818 * 0.4).abs() < 1e-3, "{}", costs.latency_bps(sigma));
        // 6.8.
        let rates = [1.0 / 50_000.0, 16.8, 3_000.0];
        assert!((cycle_gain(rates, 0.001) - 0.004_979_02).abs() < 1e-8);
        assert!((breakeven_fee(rates) - 0.002_652_53).abs() < 1e-8);
        assert!(cycle_gain(rates, breakeven_fee(rates)).abs() < 1e-12);
        assert!(cycle_gain([1.0 / 50_000.0, 16.0, 3_000.0], 0.0) < 0.0);
    }
}
