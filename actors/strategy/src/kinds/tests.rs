//! Every kind on tapes from a seed: what it does where its signal is planted, nothing where there is none, and the same again.
//!
//! The stage decides, and a market that fills what takes at its price (and what waits, one mark later) stands in for everything behind it.

use kimera_protocol::{
    Body, Command, CommandCode, Consensus, Decision, Features, Flags, Header, HoldReason, Level, Message,
    News, Opinion, OrderEvent, OrderId, OrderUpdate, Price, Quantity, Quote, RollingHash, Side, Started,
    Status, Topic, Urgency, VenueStatus,
};
use kimera_runtime::{Actor, Counters, Input, Outbox, Port};

use super::*;
use crate::stage::{OUTPUTS_MAX, Strategies, StrategyConfig, StrategyMeters};
use crate::testing::{CROSS, PERP, SECOND, SPOT, UNIT, config, terms};

/// A seeded walk's steps, near enough to normal with deviation 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        (0..12).fold(-6.0, |sum, _| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            sum + (self.0 >> 11) as f64 / (1u64 << 53) as f64
        })
    }
}

/// What the market says at a second: mids in units of the quote asset, the lead of the microprice in ticks, and the forecast.
#[derive(Clone, Copy)]
struct Second {
    spot: f64,
    perp: f64,
    cross: f64,
    lead: f64,
    consensus: Consensus,
}

impl Default for Second {
    fn default() -> Self {
        let consensus = Consensus {
            voted: 1,
            pressure: 0.5,
            confidence: 0.6,
            levels: [0.0, 0.5],
            ..Consensus::default()
        };
        Self { spot: 60_000.0, perp: 60_000.0, cross: 0.05, lead: 0.0, consensus }
    }
}

/// One session of a kind, traded against a market that gives what is taken.
struct Rig {
    stage: Strategies,
    time: i64,
    seq: u64,
    hash: RollingHash,
    decisions: Vec<(InstrumentId, Decision)>,
    fills: u64,
    /// What waits in the book and is filled at the next second.
    waiting: Option<(InstrumentId, Side, Level)>,
    /// Nothing is filled at this instrument.
    closed: Option<InstrumentId>,
    /// Ticks from the mid to either side.
    spread: i64,
}

const PLACE: u32 = 1;

impl Rig {
    fn of(kind: &str, change: impl Fn(&mut StrategyConfig)) -> Self {
        let mut config = config();
        config.sessions.push(terms(2, kind, 100_000));
        let roles = Roles { traded: PERP, other: Some(SPOT), third: None };
        config.roles[1] = roles;
        change(&mut config);
        let stage = Strategies::new(config, StrategyMeters::new(&Counters::detached()));
        let mut rig = Self {
            stage,
            time: 0,
            seq: 0,
            hash: RollingHash::default(),
            decisions: Vec::new(),
            fills: 0,
            waiting: None,
            closed: None,
            spread: 1,
        };
        rig.send(SPOT, 0, Started::default());
        rig.send(SPOT, 0, Command { code: CommandCode::Resume as u64, epoch: 1, ..Command::default() });
        rig.send(PERP, 0, VenueStatus { ready: 1, ..VenueStatus::default() });
        rig
    }

    fn send<B: Body>(&mut self, of: InstrumentId, flags: u8, body: B) {
        self.seq += 1;
        let header = Header { seq: self.seq, time: self.time, instrument: of.0, flags, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        self.stage.handle(Input { message: &message, joined: &[] }, &mut out);
        let said: Vec<Message> =
            out.staged().filter(|(port, _)| *port == Port::Line).map(|(_, m)| *m).collect();
        for m in said {
            let Some(decision) = m.body::<Decision>().filter(|d| u32::from(d.session) == PLACE) else {
                continue;
            };
            self.hash.update(&m);
            self.decisions.push((m.instrument(), *decision));
            self.trade(m.instrument(), decision);
        }
    }

    /// What takes is filled at once; what waits is noted.
    fn trade(&mut self, of: InstrumentId, decision: &Decision) {
        self.waiting = self.waiting.filter(|w| w.0 != of);
        for (side, level) in [(Side::Bid, decision.bid), (Side::Ask, decision.ask)] {
            if level.size.0 == 0 || self.closed == Some(of) {
                continue;
            }
            if decision.urgency == Urgency::Take as u8 {
                self.fill(of, side, level);
            } else {
                self.waiting = Some((of, side, level));
            }
        }
    }

    fn fill(&mut self, of: InstrumentId, side: Side, level: Level) {
        self.fills += 1;
        let child = PLACE * kimera_protocol::CHILDREN_PER_SESSION;
        let update = OrderUpdate {
            id: OrderId { seq: self.seq, incarnation: 1, child },
            event: OrderEvent::Filled as u8,
            side: side as u8,
            price: level.price,
            quantity: level.size,
            cumulative: level.size,
            fee: 1,
            ..OrderUpdate::default()
        };
        self.send(of, 0, update);
    }

    fn second(&mut self, s: &Second) {
        self.time += SECOND;
        if let Some((of, side, level)) = self.waiting.take() {
            self.fill(of, side, level);
        }
        for (of, price, tick) in [(SPOT, s.spot, 0.01), (CROSS, s.cross, 0.000_01), (PERP, s.perp, 0.1)] {
            let mid = (price / tick).round() as i64;
            let level = |price| Level { price: Price(price), size: Quantity(10 * UNIT) };
            let quote = Quote {
                bid: level(mid - self.spread),
                ask: level(mid + self.spread),
                usable: 1,
                ..Quote::default()
            };
            self.send(of, 0, quote);
            let mut features = Features { microprice: mid as f64 + s.lead, ..Features::default() };
            features.set_status(0, Status::Ok);
            self.send(of, Flags::MARK, features);
        }
        self.send(PERP, Flags::MARK, s.consensus);
    }

    fn position(&self, of: InstrumentId) -> i64 {
        self.stage.session(PLACE as usize).unwrap().account.holding(of).position
    }

    fn last(&self) -> Decision {
        self.decisions.last().unwrap().1
    }

    fn hold(&self) -> Option<HoldReason> {
        HoldReason::from_code(self.last().hold)
    }
}

/// A market that goes nowhere and says nothing.
fn nothing(rig: &mut Rig, seconds: usize) {
    let mut noise = Noise(7);
    for _ in 0..seconds {
        let perp = 60_000.0 + 0.3 * noise.next();
        rig.second(&Second { perp, spot: perp, ..Second::default() });
    }
}

/// A tape with everything in it: drifts, swings, leads, forecasts, and prices that part.
fn everything(rig: &mut Rig) {
    let mut noise = Noise(11);
    let mut level: f64 = 60_000.0;
    for i in 0..600u32 {
        let drift = if (200..350).contains(&i) { 12.0 } else { 0.0 };
        level += drift + 3.0 * noise.next();
        let gap = if i % 97 > 90 { 120.0 } else { 0.0 };
        let forecast = if i % 50 > 40 { 0.6 } else { 0.0 };
        let mut s = Second { perp: level, spot: level + gap, ..Second::default() };
        s.lead = if i % 61 > 55 { 90.0 } else { 0.0 };
        s.consensus.score = forecast;
        s.consensus.levels = [if gap > 0.0 { 0.9 } else { 0.1 }, 0.5];
        rig.second(&s);
    }
}

#[test]
fn nothing_is_traded_where_there_is_no_signal() {
    for (kind, ..) in KINDS.iter().skip(1).filter(|(kind, ..)| *kind != "triangular") {
        let mut rig = Rig::of(kind, |_| ());
        nothing(&mut rig, 400);
        assert_eq!(rig.fills, 0, "{kind}: {:?}", rig.decisions.last());
        assert!(rig.hold().is_some(), "{kind} says why");
    }
}

/// A tape on which a kind trades.
fn own_tape(kind: &str, rig: &mut Rig) {
    match kind {
        "mean-reversion" => pulled(rig, 600, 0.8),
        "stat-arb" => pair(rig, 400, 40.0),
        _ => everything(rig),
    }
}

#[test]
fn every_kind_decides_the_same_again() {
    // What a change of a kind changes is meant, or is found here.
    for (kind, hash, fills) in FROZEN {
        let run = || {
            let mut rig = Rig::of(kind, cheap);
            own_tape(kind, &mut rig);
            (rig.hash.value(), rig.fills)
        };
        let first = run();
        assert!(first.1 > 0, "{kind} trades");
        assert_eq!(first, run(), "{kind}: the same tape, the same decisions");
        assert_eq!(first, (hash, fills), "{kind}");
    }
}

const FROZEN: [(&str, u64, u64); 9] = [
    ("market-making", 0x9754_1AF8_9E54_034C, 595),
    ("forecast", 0x9AEE_49A8_FB27_9255, 23),
    ("scalping", 0x55B4_891B_2A56_B0D9, 18),
    ("momentum", 0xB8EA_BA81_A9B3_357C, 6),
    ("trend", 0xA0C0_4189_09EB_8707, 29),
    ("mean-reversion", 0x3B28_C2F3_06E3_BF34, 24),
    ("opportunity", 0xF5AE_1C94_8604_9408, 12),
    ("stat-arb", 0x6508_68B5_9DA3_58A0, 62),
    ("cross-exchange", 0x8757_D535_D86D_EB28, 24),
];

/// Fees of nearly nothing, and signals that are believed.
fn cheap(config: &mut StrategyConfig) {
    let k = &mut config.kinds;
    k.costs = Costs { maker_bps: 0.01, taker_bps: 0.01, ..Costs::default() };
    (k.trend.skill, k.momentum.skill) = (1.0, 1.0);
    k.cross_exchange.threshold_bps = 1.0;
}

/// A market that has had a usual spread for a while, and these headlines: source, tone, seconds of age.
fn headlines(of: &[(u64, f64, i64)], trusted: u64) -> Rig {
    let mut rig = Rig::of("news", |_| ());
    lively(&mut rig, 70, &Second::default());
    for (i, (source, compound, age)) in of.iter().enumerate() {
        let news = News {
            headline: 1 + i as u64 / 2 * u64::from(*source == 99) + i as u64 * u64::from(*source != 99),
            source: *source,
            compound: *compound,
            relevance: 1.0,
            published: rig.time + SECOND - age * SECOND,
            trusted,
            ..News::default()
        };
        rig.send(PERP, 0, news);
    }
    rig.second(&Second::default());
    rig
}

#[test]
fn news_are_traded_that_two_sources_say_and_that_are_young() {
    let held = |of: &[(u64, f64, i64)], trusted| headlines(of, trusted).position(PERP);
    assert!(held(&[(1, 0.6, 0), (2, 0.6, 5)], 0) > 0);
    assert!(held(&[(1, -0.6, 0), (2, -0.6, 5)], 0) < 0);
    assert_eq!(held(&[(1, 0.9, 0), (1, 0.9, 1)], 0), 0, "one source is not enough");
    assert!(held(&[(1, 0.6, 0)], 1) > 0, "a trusted one is");
    assert!(held(&[(1, 0.6, 60), (2, 0.6, 60)], 0) > 0);
    assert_eq!(held(&[(1, 0.6, 61), (2, 0.6, 61)], 0), 0, "older than a minute");
    assert_eq!(held(&[(1, 0.6, 0), (2, -0.6, 0)], 0), 0, "they say opposite things");
    // The same headline twice, by two names: once.
    let twice = headlines(&[(99, 0.15, 0), (99, 0.15, 0)], 1);
    assert_eq!((twice.position(PERP), twice.hold()), (0, Some(HoldReason::NoSignal)));
    // Half of a full position, for a minute.
    let mut rig = headlines(&[(1, 0.6, 0), (2, 0.6, 0)], 0);
    lively(&mut rig, 55, &Second::default());
    assert!(rig.position(PERP) > 0, "{:?}", rig.last());
    lively(&mut rig, 10, &Second::default());
    assert_eq!(rig.position(PERP), 0);
    // A source whose clock is ahead: nobody is believed.
    let ahead = headlines(&[(1, 0.6, -3), (2, 0.6, 0)], 0);
    assert_eq!((ahead.position(PERP), ahead.hold()), (0, Some(HoldReason::Unfit)));
}

#[test]
fn a_spread_that_is_too_wide_keeps_out_of_the_news() {
    let mut rig = headlines(&[], 0);
    for source in 1..3 {
        let news = News {
            headline: source,
            source,
            compound: 0.6,
            relevance: 1.0,
            published: rig.time,
            ..News::default()
        };
        rig.send(PERP, 0, news);
    }
    rig.spread = 3;
    rig.second(&Second::default());
    assert_eq!((rig.position(PERP), rig.hold()), (0, Some(HoldReason::Regime)));
}

/// A forecast of this score at this pressure and temperature, in a market that moves ten basis points a second.
fn forecast(score: f64, pressure: f64, temperature: f32) -> Second {
    let mut s = Second::default();
    s.consensus = Consensus { score, pressure, levels: [0.0, temperature], ..s.consensus };
    s
}

fn lively(rig: &mut Rig, seconds: usize, like: &Second) {
    let mut noise = Noise(5);
    for _ in 0..seconds {
        let perp = 60_000.0 + 40.0 * noise.next();
        rig.second(&Second { perp, spot: perp, ..*like });
    }
}

#[test]
fn a_forecast_is_followed_where_it_is_strong_and_worth_its_cost() {
    let size_at = |pressure: f64, temperature: f32| {
        let mut rig = Rig::of("forecast", |_| ());
        lively(&mut rig, 30, &forecast(0.0, pressure, temperature));
        assert_eq!(rig.hold(), Some(HoldReason::NoSignal));
        lively(&mut rig, 2, &forecast(0.6, pressure, temperature));
        rig
    };
    let usual = size_at(0.5, 0.5);
    let d = usual.decisions.iter().map(|d| d.1).find(|d| d.bid.size.0 > 0).unwrap();
    assert!(d.edge_bps > d.cost_bps && d.cost_bps > 5.0 && d.horizon_ms == 10_000, "{d:?}");
    assert_eq!(d.urgency, Urgency::Take as u8);
    // 2 % · 0.6 / (1 + volatility) of the capital, in whole lots.
    let held = usual.position(PERP);
    assert!(held > 0 && held % (UNIT / 1_000) == 0 && held < UNIT / 50, "{held}");
    // The specification's rules: more pressure leaves less, and at last nothing.
    let pressed = size_at(0.85, 0.5).position(PERP);
    assert!((pressed - held / 2).abs() <= UNIT / 500 && pressed < held, "{pressed} {held}");
    let none = size_at(1.0, 0.5);
    assert_eq!((none.position(PERP), none.hold()), (0, Some(HoldReason::Pressure)));
    let hot = size_at(0.5, 0.9).position(PERP);
    assert!((hot - held / 2).abs() <= UNIT / 500, "{hot} {held}");
    // A cold market gets nothing that takes: the order waits.
    let cold = size_at(0.5, 0.1);
    let waits = cold.decisions.iter().map(|d| d.1).find(|d| d.bid.size.0 > 0).unwrap();
    assert_eq!(waits.urgency, Urgency::Quote as u8);
    // A direction that is gone is left, and a horizon that has passed.
    let mut rig = usual;
    lively(&mut rig, 1, &forecast(-0.6, 0.5, 0.5));
    assert!(rig.position(PERP) <= 0, "{:?}", rig.last());
    let mut rig = size_at(0.5, 0.5);
    lively(&mut rig, 12, &forecast(0.0, 0.5, 0.5));
    assert_eq!(rig.position(PERP), 0, "{:?}", rig.last());
    // Where nothing moves nothing can be earned.
    let mut still = Rig::of("forecast", |_| ());
    nothing(&mut still, 30);
    still.second(&forecast(0.9, 0.5, 0.5));
    assert_eq!(still.hold(), Some(HoldReason::NoEdge));
}

#[test]
fn what_follows_momentum_keeps_out_of_a_hot_market() {
    for kind in ["trend", "momentum", "scalping"] {
        let run = |temperature: f32| {
            let mut rig = Rig::of(kind, cheap);
            let mut noise = Noise(3);
            for i in 0..200 {
                let perp = 60_000.0 + 30.0 * f64::from(i) + 10.0 * noise.next();
                let mut s = Second { perp, spot: perp, lead: 900.0, ..Second::default() };
                s.consensus.levels[1] = temperature;
                rig.second(&s);
            }
            rig
        };
        let usual = run(0.5);
        assert!(usual.fills > 0 && usual.position(PERP) > 0, "{kind}: {:?}", usual.last());
        let hot = run(0.81);
        assert_eq!((hot.fills, hot.hold()), (0, Some(HoldReason::Regime)), "{kind}");
    }
}

#[test]
fn a_trend_that_turns_is_left() {
    for kind in ["trend", "momentum"] {
        let mut rig = Rig::of(kind, cheap);
        let mut noise = Noise(3);
        let mut price = 60_000.0;
        let mut go = |rig: &mut Rig, seconds, drift: f64| {
            for _ in 0..seconds {
                price += drift + 10.0 * noise.next();
                rig.second(&Second { perp: price, spot: price, ..Second::default() });
            }
        };
        go(&mut rig, 200, 30.0);
        assert!(rig.position(PERP) > 0, "{kind}");
        go(&mut rig, 150, -30.0);
        assert!(rig.position(PERP) < 0, "{kind}: first out, then the other way");
    }
}

#[test]
fn the_stop_moves_along_and_is_never_taken_back() {
    let mut rig = Rig::of("trend", |config| {
        cheap(config);
        config.kinds.trend.cusum.1 = 1e9;
        config.rules.stop = (2.5, 20.0);
    });
    let mut noise = Noise(3);
    let mut price = 60_000.0;
    let mut stops = Vec::new();
    for _ in 0..200 {
        price += 30.0 + 10.0 * noise.next();
        rig.second(&Second { perp: price, spot: price, ..Second::default() });
        stops.push(rig.stage.session(1).map(|s| s.stop_best()).unwrap_or_default());
    }
    assert!(rig.position(PERP) > 0 && stops.last() > stops.get(100));
    // It falls at once by more than the stop's distance: out, long before sixty bars have turned.
    price -= 900.0;
    rig.second(&Second { perp: price, spot: price, ..Second::default() });
    assert_eq!(rig.position(PERP), 0, "{:?}", rig.last());
}

#[test]
fn a_lead_of_the_microprice_is_scalped_only_beyond_its_cost() {
    let with = |lead: f64| {
        let mut rig = Rig::of("scalping", |_| ());
        let before = if lead > 1_000.0 { 0.0 } else { lead };
        lively(&mut rig, 10, &Second { lead: before, ..Second::default() });
        lively(&mut rig, 3, &Second { lead, ..Second::default() });
        rig
    };
    let small = with(300.0);
    assert_eq!((small.fills, small.hold()), (0, Some(HoldReason::NoEdge)));
    let d = small.last();
    assert!(d.edge_bps > 0.0 && d.edge_bps <= d.cost_bps);
    let mut large = with(1_200.0);
    assert!(large.position(PERP) > 0, "{:?}", large.last());
    // It holds for half a minute at most.
    lively(&mut large, 27, &Second { lead: 1.0, ..Second::default() });
    assert!(large.position(PERP) > 0);
    lively(&mut large, 4, &Second { lead: 1.0, ..Second::default() });
    assert_eq!(large.position(PERP), 0);
    // Fills that lose to those who know more cost more.
    let mut toxic = Rig::of("scalping", |config| config.kinds.scalping.adverse_bps = 4.0);
    let opinion = Opinion {
        topic: Topic::ToxicBid as u64,
        value: 0.9,
        status: Status::Ok as u64,
        valid_until: i64::MAX,
        ..Opinion::default()
    };
    toxic.send(PERP, 0, opinion);
    lively(&mut toxic, 13, &Second { lead: 1_200.0, ..Second::default() });
    assert_eq!(toxic.hold(), Some(HoldReason::NoEdge));
}

/// A price that is pulled back to its mean.
fn pulled(rig: &mut Rig, seconds: usize, persistence: f64) {
    let mut noise = Noise(13);
    let mut gap = 0.0;
    for _ in 0..seconds {
        gap = persistence * gap + 40.0 * noise.next();
        rig.second(&Second { perp: 60_000.0 + gap, spot: 60_000.0 + gap, ..Second::default() });
    }
}

#[test]
fn what_is_pulled_back_is_faded_and_a_walk_is_not() {
    let mut rig = Rig::of("mean-reversion", |_| ());
    pulled(&mut rig, 600, 0.8);
    assert!(rig.fills > 1, "{:?}", rig.last());
    let entries = rig.decisions.iter().map(|d| d.1).filter(|d| d.hold == 0 && d.position == 0);
    for d in entries {
        let buys = d.bid.size.0 > 0;
        assert_eq!(buys, d.signal > 0.0, "against the distance from the mean: {d:?}");
        assert!(d.edge_bps > d.cost_bps);
    }
    // A walk: as rarely as chance has it.
    let mut walk = Rig::of("mean-reversion", |_| ());
    pulled(&mut walk, 2_000, 1.0);
    assert!(walk.fills * 600 * 4 < rig.fills * 2_000, "{} of {}", walk.fills, rig.fills);
    // Behind a change of the regime nothing is entered.
    let mut changed = Rig::of("mean-reversion", |_| ());
    let opinion = Opinion {
        topic: Topic::ChangePoint as u64,
        value: 0.6,
        status: Status::Ok as u64,
        valid_until: i64::MAX,
        ..Opinion::default()
    };
    changed.send(PERP, 0, opinion);
    pulled(&mut changed, 600, 0.8);
    assert_eq!(changed.fills, 0);
    assert!(changed.decisions.iter().any(|d| d.1.hold == HoldReason::Regime as u8));
}

#[test]
fn a_contradiction_is_an_opportunity_where_the_way_is_longer_than_it_costs() {
    let with = |level: f32, gap: f64| {
        let mut rig = Rig::of("opportunity", |_| ());
        lively(&mut rig, 20, &Second::default());
        let mut s = Second { spot: 60_000.0 + gap, ..Second::default() };
        s.consensus.levels[0] = level;
        rig.second(&s);
        rig
    };
    assert!(with(0.61, 400.0).position(PERP) > 0, "{:?}", with(0.61, 400.0).last());
    assert!(with(0.61, -400.0).position(PERP) < 0);
    assert_eq!(with(0.6, 400.0).hold(), Some(HoldReason::NoSignal), "the level itself is not beyond it");
    assert_eq!(with(0.9, 100.0).hold(), Some(HoldReason::NoEdge));
}

/// Two prices that belong together, and part by `gap` for a while.
fn pair(rig: &mut Rig, seconds: usize, gap: f64) {
    let mut noise = Noise(17);
    let (mut spot, mut spread) = (60_000.0, 0.0);
    for i in 0..seconds {
        spot += 5.0 * noise.next();
        spread = 0.5 * spread + 10.0 * noise.next();
        let extra = if i + 10 > seconds { gap } else { 0.0 };
        rig.second(&Second { perp: spot + spread + extra, spot, ..Second::default() });
    }
}

#[test]
fn a_pair_that_has_parted_is_traded_on_both_legs() {
    let fees = |config: &mut StrategyConfig| config.kinds.costs.taker_bps = 0.01;
    let mut rig = Rig::of("stat-arb", fees);
    pair(&mut rig, 400, 40.0);
    let (perp, spot) = (rig.position(PERP), rig.position(SPOT));
    assert!(perp < 0 && spot > 0, "{perp} {spot} {:?}", rig.last());
    assert!((spot + perp).abs() < -perp / 5, "about one against one: {perp} {spot}");
    // Two walks are no pair.
    let mut walks = Rig::of("stat-arb", fees);
    let (mut noise, mut one, mut other) = (Noise(19), 60_000.0, 50_000.0);
    for _ in 0..400 {
        one += 20.0 * noise.next();
        other += 20.0 * noise.next();
        walks.second(&Second { perp: one, spot: other, ..Second::default() });
    }
    let entered = walks.fills;
    assert!(entered <= 4, "{entered}");
    // A leg that is not filled: the other is given back.
    let mut torn = Rig::of("stat-arb", fees);
    torn.closed = Some(SPOT);
    pair(&mut torn, 400, 40.0);
    let most = torn.decisions.iter().map(|d| d.1.position.abs()).max().unwrap_or_default();
    assert!(most > 0 && torn.position(SPOT) == 0);
    torn.closed = Some(SPOT);
    lively(&mut torn, 3, &Second::default());
    assert_eq!(torn.position(PERP), 0, "{:?}", torn.last());
}

#[test]
fn two_prices_of_one_thing_are_traded_beyond_the_threshold() {
    let at = |gap_bps: f64, closed: Option<InstrumentId>| {
        let mut rig = Rig::of("cross-exchange", |_| ());
        rig.closed = closed;
        lively(&mut rig, 10, &Second::default());
        let s = Second { spot: 60_000.0 * (1.0 + gap_bps / 1e4), ..Second::default() };
        rig.second(&s);
        rig.second(&s);
        rig
    };
    // Twice 5 in fees and 10 that are to be left.
    assert_eq!((at(19.0, None).fills, at(19.0, None).hold()), (0, Some(HoldReason::NoEdge)));
    let rig = at(30.0, None);
    assert!(rig.position(PERP) > 0 && rig.position(PERP) == -rig.position(SPOT), "{:?}", rig.last());
    let back = at(-30.0, None);
    assert!(back.position(PERP) < 0);
    // Only so much may lie at a venue.
    let mut full = at(30.0, None);
    for _ in 0..40 {
        full.second(&Second { spot: 60_180.0, ..Second::default() });
    }
    let capital = 100_000.0 / 60_000.0 * UNIT as f64;
    assert!(full.position(PERP) as f64 <= capital && full.position(PERP) as f64 > 0.9 * capital);
    // A leg that is missing: even again, and nothing more meanwhile.
    let mut torn = at(30.0, Some(SPOT));
    assert_eq!((torn.position(PERP), torn.hold()), (0, Some(HoldReason::Resting)), "{:?}", torn.last());
    let fills = torn.fills;
    for _ in 0..8 {
        torn.second(&Second { spot: 60_180.0, ..Second::default() });
    }
    assert_eq!(torn.fills, fills);
}

#[test]
fn three_rates_that_do_not_multiply_to_one() {
    let at = |eth: f64| {
        let mut rig = Rig::of("triangular", |config| {
            config.roles[1] = Roles { traded: PERP, other: Some(CROSS), third: Some(SPOT) };
        });
        for _ in 0..20 {
            rig.second(&Second { spot: eth, cross: 0.05, perp: 60_000.0, ..Second::default() });
        }
        rig
    };
    let none = at(3_000.0);
    assert_eq!((none.fills, none.hold()), (0, Some(HoldReason::NoEdge)));
    let forth = at(3_030.0);
    assert!(forth.position(PERP) > 0 && forth.position(CROSS) > 0 && forth.position(SPOT) < 0);
    assert_eq!(forth.position(CROSS), -forth.position(SPOT));
    let needed = forth.position(CROSS) as f64 * 0.05;
    assert!(
        (forth.position(PERP) as f64 / needed - 1.0).abs() < 0.05,
        "what is bought first pays for the second"
    );
    let back = at(2_970.0);
    assert!(back.position(PERP) < 0 && back.position(CROSS) < 0 && back.position(SPOT) > 0);
}

#[test]
fn a_session_that_is_stopped_gives_back_what_it_holds_and_wants_nothing() {
    let mut rig = Rig::of("forecast", |_| ());
    lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
    lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
    assert!(rig.position(PERP) > 0);
    let stop = Command { code: CommandCode::SessionStop as u64, session: 1, ..Command::default() };
    rig.send(SPOT, 0, stop);
    assert_eq!(rig.position(PERP), 0);
    let fills = rig.fills;
    lively(&mut rig, 5, &forecast(0.9, 0.5, 0.5));
    assert_eq!((rig.fills, rig.hold()), (fills, Some(HoldReason::Stopped)));
    // Somebody else at its place begins with nothing.
    let start = Command {
        code: CommandCode::SessionStart as u64,
        session: 1,
        terms: terms(9, "scalping", 50_000),
        ..Command::default()
    };
    rig.send(SPOT, 0, start);
    assert_eq!(rig.last().strategy, 9);
    assert_eq!(rig.stage.session(1).unwrap().account.fills(), 0);
    // More capital, larger positions.
    let size = |capital: i64| {
        let mut rig = Rig::of("forecast", |_| ());
        lively(&mut rig, 30, &forecast(0.0, 0.5, 0.5));
        let weigh = Command {
            code: CommandCode::SessionWeigh as u64,
            session: 1,
            terms: terms(77, "trend", capital),
            ..Command::default()
        };
        rig.send(SPOT, 0, weigh);
        lively(&mut rig, 2, &forecast(0.6, 0.5, 0.5));
        assert_eq!(rig.last().strategy, 2, "its number stays");
        rig.position(PERP)
    };
    let (one, three) = (size(100_000), size(300_000));
    assert!((three - 3 * one).abs() <= 3 * UNIT / 1_000, "{one} {three}");
    assert_eq!(size(10), 0, "not one lot");
}

#[test]
fn an_instrument_that_nobody_trades_is_left_alone() {
    let mut rig = Rig::of("cross-exchange", |config| config.scene.instruments[0].tradable = false);
    lively(&mut rig, 5, &Second { spot: 70_000.0, ..Second::default() });
    assert_eq!((rig.fills, rig.hold()), (0, Some(HoldReason::NotTradable)));
}

#[test]
fn a_snapshot_in_the_middle_changes_nothing() {
    use kimera_protocol::{Loader, Saver};
    for (kind, ..) in FROZEN {
        let mut whole = Rig::of(kind, cheap);
        everything(&mut whole);
        let mut other = Rig::of(kind, cheap);
        let bytes = Saver::of(&whole.stage);
        Loader::new(&bytes).into_state(&mut other.stage).unwrap();
        (other.time, other.seq, other.waiting) = (whole.time, whole.seq, whole.waiting);
        (whole.hash, other.hash) = (RollingHash::default(), RollingHash::default());
        everything(&mut whole);
        everything(&mut other);
        assert_eq!(other.hash.value(), whole.hash.value(), "{kind}");
        assert_eq!(other.stage.digest(), whole.stage.digest(), "{kind}");
    }
}
