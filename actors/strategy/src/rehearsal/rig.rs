//! The rig and its tapes.

use kimera_protocol::{
    Body, Command, CommandCode, Consensus, Decision, Features, Flags, Header, HoldReason, InstrumentId,
    Level, Message, News, OrderEvent, OrderId, OrderUpdate, Price, Quantity, Quote, RollingHash, Side,
    Started, Status, Urgency, VenueStatus,
};
use kimera_runtime::{Actor, Counters, Input, Outbox, Port};

use super::{CROSS, PERP, SECOND, SPOT, UNIT, config, terms};
use crate::kinds::*;
use crate::stage::{OUTPUTS_MAX, Strategies, StrategyConfig, StrategyMeters};

/// A seeded walk's steps, near enough to normal with deviation 1.
pub struct Noise(pub u64);

impl Noise {
    /// The next step.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> f64 {
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
pub struct Second {
    /// Mid of the spot market.
    pub spot: f64,
    /// Mid of the perpetual.
    pub perp: f64,
    /// Mid of the third market.
    pub cross: f64,
    /// By how many ticks the microprice leads.
    pub lead: f64,
    /// What the ensemble says.
    pub consensus: Consensus,
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
pub struct Rig {
    /// The stage.
    pub stage: Strategies,
    /// Market time.
    pub time: i64,
    /// Messages so far.
    pub seq: u64,
    /// Hash of everything that it has said.
    pub hash: RollingHash,
    /// Everything that it has said.
    pub decisions: Vec<(InstrumentId, Decision)>,
    /// Its fills.
    pub fills: u64,
    /// What waits in the book and is filled at the next second.
    pub waiting: Option<(InstrumentId, Side, Level)>,
    /// Nothing is filled at this instrument.
    pub closed: Option<InstrumentId>,
    /// Ticks from the mid to either side.
    pub spread: i64,
}

/// Its place.
pub const PLACE: u32 = 1;

impl Rig {
    /// A session of a kind that comes with the project, at the second place, with what is changed of the configuration.
    #[must_use]
    pub fn of(kind: &str, change: impl Fn(&mut StrategyConfig)) -> Self {
        Self::with(&[], kind, change)
    }

    /// The same for a kind among these that do not.
    #[must_use]
    pub fn with(further: &[KindOf], kind: &str, change: impl Fn(&mut StrategyConfig)) -> Self {
        let mut config = config();
        let mut own = terms(2, kind, 100_000);
        if let Some(at) = further.iter().position(|(name, ..)| *name == kind) {
            own.kind = (KINDS.len() + at) as u16;
        }
        config.sessions.push(own);
        let roles = Roles { traded: PERP, other: Some(SPOT), third: None };
        config.roles[1] = roles;
        change(&mut config);
        let stage = Strategies::with_kinds(config, StrategyMeters::new(&Counters::detached()), further);
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

    /// A message to the stage; what the session says is noted, and traded.
    pub fn send<B: Body>(&mut self, of: InstrumentId, flags: u8, body: B) {
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
    pub fn trade(&mut self, of: InstrumentId, decision: &Decision) {
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

    /// A fill of the session.
    pub fn fill(&mut self, of: InstrumentId, side: Side, level: Level) {
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

    /// A second of the market.
    pub fn second(&mut self, s: &Second) {
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

    /// What it holds.
    #[must_use]
    pub fn position(&self, of: InstrumentId) -> i64 {
        self.stage.session(PLACE as usize).map_or(0, |s| s.account.holding(of).position)
    }

    /// What was decided last.
    #[must_use]
    pub fn last(&self) -> Decision {
        self.decisions.last().map_or_else(Decision::default, |d| d.1)
    }

    /// Why it wanted nothing last.
    #[must_use]
    pub fn hold(&self) -> Option<HoldReason> {
        HoldReason::from_code(self.last().hold)
    }
}

/// A market that goes nowhere and says nothing.
pub fn nothing(rig: &mut Rig, seconds: usize) {
    let mut noise = Noise(7);
    for _ in 0..seconds {
        let perp = 60_000.0 + 0.3 * noise.next();
        rig.second(&Second { perp, spot: perp, ..Second::default() });
    }
}

/// A tape with everything in it: drifts, swings, leads, forecasts, and prices that part.
pub fn everything(rig: &mut Rig) {
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

/// Fees of nearly nothing, and signals that are believed.
pub fn cheap(config: &mut StrategyConfig) {
    let k = &mut config.kinds;
    k.costs = Costs { maker_bps: 0.01, taker_bps: 0.01, ..Costs::default() };
    (k.trend.skill, k.momentum.skill) = (1.0, 1.0);
    k.cross_exchange.threshold_bps = 1.0;
}

/// Headlines: source, tone, seconds of age at the next second; those of source 99 are one and the same.
pub fn hear(rig: &mut Rig, of: &[(u64, f64, i64)], trusted: u64) {
    for (i, (source, compound, age)) in of.iter().enumerate() {
        let news = News {
            headline: if *source == 99 { 99 } else { 1 + i as u64 },
            source: *source,
            compound: *compound,
            relevance: 1.0,
            published: rig.time + SECOND - age * SECOND,
            trusted,
            ..News::default()
        };
        rig.send(PERP, 0, news);
    }
}

/// A market that has had a usual spread for a while, then these headlines, and a second more.
#[must_use]
pub fn headlines(of: &[(u64, f64, i64)], trusted: u64) -> Rig {
    let mut rig = Rig::of("news", |_| ());
    lively(&mut rig, 70, &Second::default());
    hear(&mut rig, of, trusted);
    rig.second(&Second::default());
    rig
}

/// A forecast of this score at this pressure and temperature, in a market that moves ten basis points a second.
pub fn forecast(score: f64, pressure: f64, temperature: f32) -> Second {
    let mut s = Second::default();
    s.consensus = Consensus { score, pressure, levels: [0.0, temperature], ..s.consensus };
    s
}

/// A market that moves seven basis points a second and comes back, and otherwise looks like this.
pub fn lively(rig: &mut Rig, seconds: usize, like: &Second) {
    let mut noise = Noise(5);
    for _ in 0..seconds {
        let perp = 60_000.0 + 40.0 * noise.next();
        rig.second(&Second { perp, spot: perp, ..*like });
    }
}

/// A price that is pulled back to its mean.
pub fn pulled(rig: &mut Rig, seconds: usize, persistence: f64) {
    let mut noise = Noise(13);
    let mut gap = 0.0;
    for _ in 0..seconds {
        gap = persistence * gap + 40.0 * noise.next();
        rig.second(&Second { perp: 60_000.0 + gap, spot: 60_000.0 + gap, ..Second::default() });
    }
}

/// Two prices that belong together, and part by `gap` for a while.
pub fn pair(rig: &mut Rig, seconds: usize, gap: f64) {
    let mut noise = Noise(17);
    let (mut spot, mut spread) = (60_000.0, 0.0);
    for i in 0..seconds {
        spot += 5.0 * noise.next();
        spread = 0.5 * spread + 10.0 * noise.next();
        let extra = if i + 10 > seconds { gap } else { 0.0 };
        rig.second(&Second { perp: spot + spread + extra, spot, ..Second::default() });
    }
}
