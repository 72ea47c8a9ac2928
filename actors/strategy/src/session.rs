//! A session: a strategy with capital, an account of its own, and what all of them have in common: sizes, stops, ways out.

use kimera_protocol::session::UNBOUND_BPS;
use kimera_protocol::{
    Decision, HoldReason, InstrumentId, Level, Loader, Nanos, Price, Quantity, Saver, SessionTerms, Side,
    State, StateError, Topic, TradingState, Urgency,
};

use crate::account::{Account, Holding};
use crate::kinds::pairs::taking_leg;
use crate::record::Record;
use crate::rules::{Rule, Sizing, kelly};
use crate::scene::Scene;
use crate::strategy::{LEGS_MAX, Leg, Strategy, View, Want};

/// What sessions have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionRules {
    /// Sizes.
    pub sizing: Sizing,
    /// Distance of the stop behind the best price since the entry, in volatilities over a span, and that span in seconds (model book 4.2).
    pub stop: (f64, f64),
    /// How much worse than the best price may be taken, basis points.
    pub slippage_bps: f64,
    /// Probability of a new regime from which on nobody enters who is bound by it.
    pub change_max: f64,
    /// How long nobody enters behind a position that was left; behind a stop it is the stop's span, where that is longer.
    pub rest: Nanos,
    /// Round trips after which it is looked whether the expectancy of thirty days lies below 0 at 95 %, which demotes; 0: never.
    pub demote_trips: u32,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            sizing: Sizing::default(),
            stop: (2.5, 60.0),
            slippage_bps: 5.0,
            change_max: 0.5,
            rest: 1_000_000_000,
            demote_trips: 30,
        }
    }
}

/// Distance of a stop, as a share of the price, where no volatility is known.
const STOP_SHARE: f64 = 0.05;

/// A position that is on the way or held.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Held {
    /// Milliseconds within which its reason is expected to come true; 0: no such time.
    horizon_ms: u32,
    /// Best mid since the entry, in ticks; 0 while there is none.
    best: f64,
    /// Where the position goes, in ticks: it moves with the best mid and is never taken back. 0 while there is none.
    stop: f64,
    /// It goes because of its stop.
    is_stopped: bool,
    /// Nobody enters before this time.
    rests_until: Nanos,
}

kimera_protocol::state!(Held { horizon_ms, best, stop, is_stopped, rests_until });

/// A place for a session: every kind sits there, made at the start, and one of them trades.
pub struct Session {
    rules: SessionRules,
    strategies: Box<[Box<dyn Strategy>]>,
    kind: usize,
    /// What the kind trades, and whether it quotes both sides.
    trades: [Option<InstrumentId>; LEGS_MAX],
    is_quoting: bool,
    /// What it has.
    pub account: Account,
    record: Record,
    held: Held,
    /// What was said last, by instrument of the strategy.
    said: [Decision; LEGS_MAX],
}

impl State for Session {
    fn save(&self, out: &mut Saver) {
        let Self { rules: _, strategies, kind, trades: _, is_quoting: _, account, record, held, said } = self;
        kind.save(out);
        if let Some(strategy) = strategies.get(*kind) {
            strategy.save(out);
        }
        account.save(out);
        record.save(out);
        held.save(out);
        said.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut kind = 0usize;
        kind.load(from)?;
        let strategy = self.strategies.get_mut(kind).ok_or_else(|| from.impossible("kind of strategy"))?;
        strategy.clear();
        strategy.load(from)?;
        self.sit(kind);
        self.account.load(from)?;
        self.record.load(from)?;
        self.held.load(from)?;
        self.said.load(from)
    }
}

/// What may be done at all now.
enum Door {
    Open,
    /// Only ways out, for this reason.
    WaysOut(HoldReason),
}

impl Session {
    /// A place with one strategy of every kind, over so many instruments.
    #[must_use]
    pub fn new(rules: SessionRules, strategies: Box<[Box<dyn Strategy>]>, instruments: usize) -> Self {
        let account = Account::new(instruments);
        let (held, said) = (Held::default(), Default::default());
        let mut session = Self {
            rules,
            strategies,
            kind: 0,
            trades: [None; LEGS_MAX],
            is_quoting: false,
            account,
            record: Record::default(),
            held,
            said,
        };
        session.sit(0);
        session
    }

    /// The strategy of a kind trades here.
    fn sit(&mut self, kind: usize) {
        self.kind = kind;
        let strategy = self.strategies.get(kind);
        self.trades = strategy.map_or([None; LEGS_MAX], |strategy| strategy.trades());
        self.is_quoting = strategy.is_some_and(|strategy| strategy.quotes());
    }

    /// Somebody new sits here. What orders of an earlier start, whose beginning was lost, have left at this place stays: it is given back like anything
    /// else that the session holds.
    pub fn begin(&mut self, terms: &SessionTerms) {
        self.sit(usize::from(terms.kind).min(self.strategies.len().saturating_sub(1)));
        if self.account.is_flat() {
            self.account.clear();
            self.record = Record::default();
        }
        self.record.lift();
        (self.held, self.said) = (Held::default(), Default::default());
        if let Some(strategy) = self.strategies.get_mut(self.kind) {
            strategy.clear();
            strategy.weigh(terms);
        }
    }

    /// Takes a fill of its own, in units as [`Account::fill`] has them.
    pub fn fill(&mut self, of: InstrumentId, size: i64, price: i64, fee: i64, time: Nanos) {
        self.account.fill(of, size, price, fee, time);
        if self.account.is_flat() {
            self.record.is_flat_at(self.account.result(|_| 0), time, self.rules.demote_trips);
        }
    }

    /// Somebody has started it again, whatever it has lost.
    pub fn lift(&mut self) {
        self.record.lift();
    }

    /// Its expectancy lies below 0: only ways out are left.
    #[must_use]
    pub fn is_demoted(&self) -> bool {
        self.record.is_demoted()
    }

    /// It goes on, on other terms.
    pub fn weigh(&mut self, terms: &SessionTerms) {
        if let Some(strategy) = self.strategies.get_mut(self.kind) {
            strategy.weigh(terms);
        }
    }

    /// The strategy that trades here.
    pub fn strategy(&mut self) -> Option<&mut Box<dyn Strategy>> {
        self.strategies.get_mut(self.kind)
    }

    /// Decides, and calls `say` with what is wanted of each instrument where it is something else than before, or always.
    pub fn decide(
        &mut self,
        (terms, runs): (&SessionTerms, bool),
        scene: &Scene,
        place: usize,
        always: bool,
        mut say: impl FnMut(InstrumentId, &Decision),
    ) {
        let mut about = Decision { strategy: terms.number, session: place as u8, ..Decision::default() };
        let is_demoted = runs && self.record.is_demoted();
        let runs = runs && !is_demoted;
        if self.is_quoting && runs {
            let Some(of) = self.trades[0] else { return };
            about.position = self.account.position(of);
            if let Err(reason) = self.quoted(terms, scene, of, &mut about) {
                about.hold = reason as u8;
            }
            if always {
                say(of, &about);
            } else if is_news(&about, &self.said[0]) {
                self.said[0] = about;
                say(of, &about);
            }
            return;
        }
        let trades = self.trades;
        let wanted = self.wanted((terms, runs), scene, &trades, &mut about);
        for (i, of) in trades.iter().enumerate() {
            let Some(of) = *of else { continue };
            let mut decision = Decision { position: self.account.holding(of).position, ..about };
            match &wanted {
                Ok(levels) => {
                    (decision.bid, decision.ask, decision.urgency) =
                        (levels[i].bid, levels[i].ask, levels[i].urgency as u8);
                    if decision.bid.size.0 == 0 && decision.ask.size.0 == 0 {
                        decision.hold = HoldReason::Holding as u8;
                    }
                }
                Err(HoldReason::Stopped) if is_demoted => decision.hold = HoldReason::Demoted as u8,
                Err(reason) => decision.hold = *reason as u8,
            }
            if always || is_news(&decision, &self.said[i]) {
                self.said[i] = decision;
                say(of, &decision);
            }
        }
    }

    /// A maker's decision. Where it cannot quote nothing stands; what it holds it did not take for a reason that could be gone.
    fn quoted(
        &mut self,
        terms: &SessionTerms,
        scene: &Scene,
        of: InstrumentId,
        decision: &mut Decision,
    ) -> Result<(), HoldReason> {
        may_leave(scene)?;
        let market = scene.market(of).ok_or(HoldReason::NoBook)?;
        if !market.steps.tradable {
            return Err(HoldReason::NotTradable);
        }
        market.doubled_mid(scene.time, scene.stale_after()).ok_or(HoldReason::NoBook)?;
        if terms.loss_bps < UNBOUND_BPS && self.has_lost(terms, scene) {
            let all = self.all_out(scene, &self.trades)?;
            (decision.bid, decision.ask, decision.urgency) = (all[0].bid, all[0].ask, all[0].urgency as u8);
            return Ok(());
        }
        let strategy = self.strategies.get_mut(self.kind).ok_or(HoldReason::Stopped)?;
        let Want::Quotes { bid, ask } = strategy.want(scene, &self.account, decision)? else {
            return Err(HoldReason::NoSide);
        };
        (decision.bid, decision.ask) = quotes(&door(scene), decision.position, bid, ask)?;
        Ok(())
    }

    fn wanted(
        &mut self,
        (terms, runs): (&SessionTerms, bool),
        scene: &Scene,
        trades: &[Option<InstrumentId>; LEGS_MAX],
        decision: &mut Decision,
    ) -> Result<[Standing; LEGS_MAX], HoldReason> {
        let (first, mid) = ready(scene, trades)?;
        if !runs || (terms.loss_bps < UNBOUND_BPS && self.has_lost(terms, scene)) {
            return self.all_out(scene, trades);
        }
        let Self { strategies, kind, account, .. } = self;
        let strategy = strategies.get_mut(*kind).ok_or(HoldReason::Stopped)?;
        let wanted = strategy.want(scene, account, decision);
        let bound = strategy.bound();
        let holding = self.account.holding(first);
        let door = door(scene);
        match wanted {
            Ok(Want::Quotes { bid, ask }) => {
                let (bid, ask) = quotes(&door, holding.position, bid, ask)?;
                let mut all: [Standing; LEGS_MAX] = Default::default();
                all[0] = Standing { bid, ask, urgency: Urgency::Quote };
                Ok(all)
            }
            Ok(Want::Legs(legs)) => match door {
                Door::WaysOut(reason) if self.account.is_flat() => Err(reason),
                Door::WaysOut(_) => Ok(standing(&self.ways_out(legs), trades)),
                Door::Open => Ok(standing(&legs, trades)),
            },
            // Who trades several instruments at once holds them against each other: no stop of one price is one of theirs.
            Ok(Want::Stay) if trades[1].is_some() => Ok(Default::default()),
            Err(reason) if trades[1].is_some() => Err(reason),
            other => {
                let stop = self.follow(scene, holding, mid);
                decision.invalid_at = stop.unwrap_or_default();
                self.held.is_stopped |= is_behind(stop, mid, holding.position);
                let stopped = self.held.is_stopped || self.is_late(scene.time, holding);
                match other {
                    _ if stopped && holding.position != 0 => self.all_out(scene, trades),
                    Ok(Want::Enter(view)) if holding.position == 0 => {
                        (decision.edge_bps, decision.horizon_ms) = (view.edge_bps as f32, view.horizon_ms);
                        if let Door::WaysOut(reason) = door {
                            return Err(reason);
                        }
                        if scene.time < self.held.rests_until {
                            return Err(HoldReason::Resting);
                        }
                        if bound.by_change
                            && scene
                                .opinions
                                .get(Topic::ChangePoint, scene.time)
                                .is_some_and(|p| p > self.rules.change_max)
                        {
                            return Err(HoldReason::Regime);
                        }
                        self.enter(terms, scene, first, &view, (bound.by_pressure, bound.by_heat), decision)
                    }
                    Ok(Want::Enter(view)) if (holding.position > 0) == (view.direction > 0) => {
                        Ok(Default::default())
                    }
                    Ok(Want::Stay) if holding.position == 0 => Err(HoldReason::NoSignal),
                    Ok(Want::Stay) => Ok(Default::default()),
                    Err(reason) | Ok(Want::Leave(reason)) if holding.position == 0 => Err(reason),
                    // The way out: another direction, a reason that is gone, or nothing that it could judge by.
                    _ => self.all_out(scene, trades),
                }
            }
        }
    }

    /// Takes what is wanted and says how it is to stand.
    fn enter(
        &mut self,
        terms: &SessionTerms,
        scene: &Scene,
        of: InstrumentId,
        view: &View,
        (by_pressure, by_heat): (bool, bool),
        decision: &mut Decision,
    ) -> Result<[Standing; LEGS_MAX], HoldReason> {
        let market = scene.market(of).ok_or(HoldReason::NoBook)?;
        let is_worth_it = view.edge_bps > f64::from(decision.cost_bps);
        if !is_worth_it {
            return Err(HoldReason::NoEdge);
        }
        let rule = scene.rule();
        if by_heat && rule == Rule::Hot {
            return Err(HoldReason::Regime);
        }
        let factor = if by_pressure { rule.factor() } else { 1.0 };
        if factor <= 0.0 {
            return Err(HoldReason::Pressure);
        }
        let volatility = scene.annual_volatility().ok_or(HoldReason::Unfit)?;
        let share = self.rules.sizing.share(view.strength, volatility).ok_or(HoldReason::Unfit)?;
        let most = view.probability.map_or(share, |p| kelly(p, 1.0) / 2.0);
        let share = share.min(most) * factor;
        let price = market.last_mid_units() as f64;
        let size = share * terms.capital as f64 / price * 1e8;
        if !(size > 0.0 && size < 1e17) {
            return Err(HoldReason::Capital);
        }
        let size = size as i64 - size as i64 % market.steps.lot_units.max(1);
        let side = if view.direction > 0 { Side::Bid } else { Side::Ask };
        // A cold market gets nothing that takes.
        let urgency = if by_pressure && rule == Rule::Cold { Urgency::Quote } else { view.urgency };
        let leg = match urgency {
            Urgency::Take => taking_leg(of, market, side, size, self.rules.slippage_bps),
            Urgency::Quote => {
                let best = if side == Side::Bid { market.quote.bid } else { market.quote.ask };
                let level = Level { price: best.price, size: Quantity(size) };
                (size > 0 && best.price.0 > 0).then_some(Leg { instrument: of, side, level })
            }
        };
        let leg = leg.ok_or(HoldReason::Capital)?;
        self.held = Held { horizon_ms: view.horizon_ms, ..Held::default() };
        let mut all: [Standing; LEGS_MAX] = Default::default();
        all[0] = Standing::of(&leg, urgency);
        Ok(all)
    }

    /// Moves the stop along with the price: the price at which the position goes, where there is one.
    fn follow(&mut self, scene: &Scene, holding: Holding, mid: f64) -> Option<f64> {
        if holding.position == 0 {
            if self.held.best > 0.0 {
                // It has just been left.
                let span = if self.held.is_stopped { (self.rules.stop.1 * 1e9) as Nanos } else { 0 };
                let rest = self.rules.rest.max(span);
                self.held = Held { rests_until: scene.time.saturating_add(rest), ..Held::default() };
            }
            return None;
        }
        let is_long = holding.position > 0;
        let best = self.held.best;
        let better = best <= 0.0 || (is_long && mid > best) || (!is_long && mid < best);
        if better {
            self.held.best = mid;
        }
        let (sigmas, span_s) = self.rules.stop;
        let distance = scene.volatility.per_root_second().map(|v| sigmas * v * span_s.sqrt());
        // Before any volatility is known: a share of the price (model book 4.2).
        let distance = distance.or((self.held.stop <= 0.0).then_some(mid * STOP_SHARE));
        if let Some(distance) = distance {
            let sign = if is_long { 1.0 } else { -1.0 };
            let stop = self.held.best - sign * distance;
            let is_nearer = self.held.stop <= 0.0 || (stop - self.held.stop) * sign > 0.0;
            if is_nearer {
                self.held.stop = stop;
            }
        }
        Some(self.held.stop).filter(|stop| *stop > 0.0)
    }

    /// Of these legs, what makes a holding smaller, and no more than that.
    fn ways_out(&self, legs: [Option<Leg>; LEGS_MAX]) -> [Option<Leg>; LEGS_MAX] {
        legs.map(|leg| {
            let mut leg = leg?;
            let held = self.account.holding(leg.instrument).position;
            let leads_out = (leg.side == Side::Ask && held > 0) || (leg.side == Side::Bid && held < 0);
            leg.level.size = Quantity(leg.level.size.0.min(held.saturating_abs()));
            leads_out.then_some(leg)
        })
    }

    /// True where the session has lost its share of its capital, at the last known prices: what it holds goes, and nothing more is entered.
    fn has_lost(&self, terms: &SessionTerms, scene: &Scene) -> bool {
        if self.account.fills() == 0 {
            return false;
        }
        let price = |of| scene.market(of).map_or(0, |market| market.last_mid_units());
        let result = self.account.result(price);
        !terms.holds(1i128.saturating_sub(result), terms.loss_bps)
    }

    fn is_late(&self, now: Nanos, holding: Holding) -> bool {
        let horizon = i64::from(self.held.horizon_ms) * 1_000_000;
        holding.position != 0 && horizon > 0 && now.saturating_sub(holding.since) > horizon
    }

    /// Gives back everything that is held, by taking.
    fn all_out(
        &self,
        scene: &Scene,
        trades: &[Option<InstrumentId>; LEGS_MAX],
    ) -> Result<[Standing; LEGS_MAX], HoldReason> {
        if self.account.is_flat() {
            return Err(HoldReason::Stopped);
        }
        let legs = trades.map(|of| {
            let of = of?;
            let position = self.account.holding(of).position;
            let side = if position > 0 { Side::Ask } else { Side::Bid };
            let size = i64::try_from(position.unsigned_abs()).ok()?;
            taking_leg(of, scene.market(of)?, side, size, self.rules.slippage_bps)
        });
        Ok(standing(&legs, trades))
    }

    /// Where the position goes, in ticks; 0 without one.
    #[must_use]
    pub fn stop(&self) -> f64 {
        self.held.stop
    }

    /// A word that tells two sessions apart that differ.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let strategy = self.strategies.get(self.kind).map_or(0, |strategy| strategy.digest());
        self.account.digest()
            ^ self.record.digest()
            ^ strategy.rotate_left(23)
            ^ (self.kind as u64) << 56
            ^ self.held.best.to_bits()
    }
}

/// What should stand of one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Standing {
    bid: Level,
    ask: Level,
    urgency: Urgency,
}

impl Standing {
    fn of(leg: &Leg, urgency: Urgency) -> Self {
        let none = Level::default();
        let (bid, ask) = if leg.side == Side::Bid { (leg.level, none) } else { (none, leg.level) };
        Self { bid, ask, urgency }
    }
}

fn standing(
    legs: &[Option<Leg>; LEGS_MAX],
    trades: &[Option<InstrumentId>; LEGS_MAX],
) -> [Standing; LEGS_MAX] {
    trades.map(|of| {
        let leg = legs.iter().flatten().find(|leg| Some(leg.instrument) == of);
        leg.map_or_else(Standing::default, |leg| Standing::of(leg, Urgency::Take))
    })
}

fn door(scene: &Scene) -> Door {
    if scene.trading.state != TradingState::Active {
        Door::WaysOut(HoldReason::Reducing)
    } else if scene.time < scene.held_until {
        Door::WaysOut(HoldReason::MarketAlert)
    } else {
        Door::Open
    }
}

/// Quotes; where only ways out are open, the side that leads out, of no more than the position.
fn quotes(door: &Door, position: i64, mut bid: Level, mut ask: Level) -> Result<(Level, Level), HoldReason> {
    if let Door::WaysOut(reason) = door {
        match position {
            0 => return Err(*reason),
            long if long > 0 => (bid, ask.size) = (Level::default(), Quantity(ask.size.0.min(long))),
            short => {
                (ask, bid.size) = (Level::default(), Quantity(bid.size.0.min(short.saturating_neg())));
            }
        }
    }
    if bid.size.0 == 0 && ask.size.0 == 0 { Err(HoldReason::NoSide) } else { Ok((bid, ask)) }
}

/// Orders could leave.
#[inline]
fn may_leave(scene: &Scene) -> Result<(), HoldReason> {
    if scene.trading.state == TradingState::Halted {
        return Err(HoldReason::Halted);
    }
    if scene.venue_ready { Ok(()) } else { Err(HoldReason::VenueDown) }
}

/// Orders could leave, and the first instrument has a fresh book: that instrument and its mid.
#[inline]
fn ready(
    scene: &Scene,
    trades: &[Option<InstrumentId>; LEGS_MAX],
) -> Result<(InstrumentId, f64), HoldReason> {
    may_leave(scene)?;
    let first = trades[0].ok_or(HoldReason::NoBook)?;
    // A leg that nobody sends would leave the others alone.
    let is_tradable = |of: &InstrumentId| scene.market(*of).is_some_and(|m| m.steps.tradable);
    if !trades.iter().flatten().all(is_tradable) {
        return Err(HoldReason::NotTradable);
    }
    let market = scene.market(first).ok_or(HoldReason::NoBook)?;
    let mid = market.mid(scene.time, scene.stale_after()).ok_or(HoldReason::NoBook)?;
    Ok((first, mid))
}

fn is_behind(stop: Option<f64>, mid: f64, position: i64) -> bool {
    stop.is_some_and(|stop| (position > 0 && mid <= stop) || (position < 0 && mid >= stop))
}

/// Something else is wanted than was said.
fn is_news(decision: &Decision, said: &Decision) -> bool {
    let what = |d: &Decision| {
        let (bid, ask): ((Price, Quantity), (Price, Quantity)) =
            ((d.bid.price, d.bid.size), (d.ask.price, d.ask.size));
        (bid, ask, d.hold, d.urgency, d.position, d.strategy)
    };
    what(decision) != what(said)
}
