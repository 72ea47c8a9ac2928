//! What stands, and why nothing does.

use kimera_protocol::{
    Body, CommandCode, Flags, Header, HoldReason, Level, OrderEvent, OrderId, Price, Quantity, Severity,
    Side, Started, Status, Topic,
};
use kimera_runtime::Counters;

use super::*;
use crate::rehearsal::{PERP, SPOT, config};

const SECOND: Nanos = 1_000_000_000;
const UNIT: i64 = 100_000_000;
const MICROPRICE: usize = 0;

struct Rig {
    stage: Strategies,
    time: Nanos,
}

impl Rig {
    /// A maker that may trade and has seen ten seconds of a market that moves.
    fn quoting() -> Self {
        let stage = Strategies::new(config(), StrategyMeters::new(&Counters::detached()));
        let mut rig = Self { stage, time: 0 };
        rig.send(SPOT, Started::default());
        rig.command(CommandCode::Resume, 1);
        rig.send(PERP, VenueStatus { ready: 1, ..VenueStatus::default() });
        for i in 0..10 {
            rig.mark(600_000 + 30 * (i % 2));
        }
        rig
    }

    fn send<B: Body>(&mut self, instrument: InstrumentId, body: B) -> Vec<(Port, Message)> {
        let flags = if matches!(B::KIND, Kind::Features | Kind::Consensus) { Flags::MARK } else { 0 };
        let header = Header { seq: 1, time: self.time, instrument: instrument.0, flags, ..Header::default() };
        let message = Message::new(header, body);
        let mut out = Outbox::new(OUTPUTS_MAX);
        out.begin(&message);
        self.stage.handle(Input { message: &message, joined: &[] }, &mut out);
        out.staged().map(|(port, m)| (port, *m)).collect()
    }

    fn command(&mut self, code: CommandCode, epoch: u64) -> Decision {
        decision(&self.send(SPOT, Command { code: code as u64, epoch, ..Command::default() }))
    }

    /// Moves time by a second and marks the market at a mid.
    fn mark(&mut self, mid: i64) -> Decision {
        self.time += SECOND;
        let level = |price| Level { price: Price(price), size: Quantity(UNIT) };
        let quote = Quote { bid: level(mid - 1), ask: level(mid + 1), usable: 1, ..Quote::default() };
        assert_eq!(self.send(PERP, quote).len(), 1, "risk needs the quote too");
        let mut features = Features { microprice: mid as f64, ..Features::default() };
        features.set_status(MICROPRICE, Status::Ok);
        assert!(self.send(PERP, features).is_empty(), "the decision waits for the forecast");
        self.forecast(0.0, 0.0)
    }

    fn forecast(&mut self, score: f64, confidence: f64) -> Decision {
        decision(&self.send(PERP, Consensus { score, confidence, voted: 1, ..Consensus::default() }))
    }

    fn fill(&mut self, side: Side, size: i64, seq: u64) -> Option<Decision> {
        let update = OrderUpdate {
            id: OrderId { seq, incarnation: 1, child: 0 },
            event: OrderEvent::Filled as u8,
            side: side as u8,
            quantity: Quantity(size),
            cumulative: Quantity(size),
            ..OrderUpdate::default()
        };
        let outputs = self.send(PERP, update);
        assert_eq!(outputs[0].1.kind(), Some(Kind::OrderUpdate), "execution hears of it first");
        outputs.iter().find_map(|(_, m)| m.body::<Decision>().copied())
    }
}

fn decision(outputs: &[(Port, Message)]) -> Decision {
    let of = |port| outputs.iter().find_map(|(p, m)| m.body::<Decision>().filter(|_| *p == port).copied());
    assert_eq!(of(Port::Line), of(Port::Record), "what is decided is journaled in full");
    of(Port::Line).unwrap()
}

fn hold(decision: Decision) -> Option<HoldReason> {
    assert!(decision.hold == 0 || (decision.bid.size.0, decision.ask.size.0) == (0, 0));
    HoldReason::from_code(decision.hold)
}

#[test]
fn quotes_stand_either_side_behind_the_fee() {
    let d = Rig::quoting().mark(600_000);
    assert_eq!(hold(d), None);
    assert_eq!((d.bid.size.0, d.ask.size.0), (UNIT / 100, UNIT / 100));
    // The fee is 120 ticks of 600,000; the distance comes on top.
    assert!(d.bid.price.0 < 600_000 - 120 - 60 && d.ask.price.0 > 600_000 + 120 + 60, "{d:?}");
    assert!((d.ask.price.0 + d.bid.price.0 - 1_200_000).abs() <= 1, "flat, they are even");
}

#[test]
fn quotes_lean_on_a_forecast_that_is_strong_and_trusted() {
    let mut rig = Rig::quoting();
    let even = rig.mark(600_000);
    let weak = rig.forecast(0.14, 0.9);
    let doubtful = rig.forecast(0.5, 0.54);
    assert_eq!((weak.bid, weak.ask, weak.signal), (even.bid, even.ask, 0.0));
    assert_eq!((doubtful.bid, doubtful.ask), (even.bid, even.ask));
    let up = rig.forecast(0.5, 0.55);
    assert!(up.bid.price > even.bid.price && up.ask.price > even.ask.price);
    let down = rig.forecast(-0.5, 0.55);
    assert!(down.bid.price < even.bid.price && (down.signal, down.confidence) == (-0.5, 0.55));
}

/// The side whose fills lose stands twice as far away, as long as that is thought; the other stays.
#[test]
fn a_side_that_is_toxic_stands_further_away() {
    let mut rig = Rig::quoting();
    let even = rig.mark(600_000);
    let opinion = |topic: Topic, value, valid_until| Opinion {
        topic: topic as u64,
        value,
        status: Status::Ok as u64,
        valid_until,
        ..Opinion::default()
    };
    let until = rig.time + 3 * SECOND;
    assert!(rig.send(PERP, opinion(Topic::ToxicBid, 0.8, until)).is_empty(), "it ends here");
    rig.send(PERP, opinion(Topic::ToxicAsk, 0.7, until));
    rig.send(SPOT, opinion(Topic::ToxicAsk, 0.9, until));
    let wide = rig.mark(600_000);
    assert_eq!(wide.toxicity, [0.8, 0.7]);
    let far = |d: &Decision| (600_000 - d.bid.price.0, d.ask.price.0 - 600_000);
    let ((bid, ask), (bid_before, ask_before)) = (far(&wide), far(&even));
    assert!(bid > 2 * bid_before - 20 && bid < 2 * bid_before + 20, "{bid} {bid_before}");
    assert!((ask - ask_before).abs() < 10, "at the limit it is not beyond it: {ask} {ask_before}");
    rig.send(PERP, Opinion { status: Status::Warmup as u64, ..opinion(Topic::ToxicBid, 0.9, until) });
    assert_eq!(rig.mark(600_000).toxicity, [0.0, 0.7], "what is too little is not used");
    rig.send(PERP, opinion(Topic::ToxicBid, 0.9, until));
    assert!(far(&rig.mark(600_000)).0 > bid_before + 50);
    assert_eq!(rig.mark(600_000).toxicity, [0.0; 2], "it is not valid any more");
}

#[test]
fn inventory_moves_the_quotes_and_stops_the_side_that_adds() {
    let mut rig = Rig::quoting();
    let flat = rig.mark(600_000);
    assert!(rig.fill(Side::Bid, UNIT / 100, 7).is_some(), "a fill changes what should stand at once");
    assert_eq!(rig.fill(Side::Bid, UNIT / 100, 7), None, "told twice it is known");
    let long = rig.mark(600_000);
    assert!(long.bid.price < flat.bid.price && long.ask.price < flat.ask.price);
    rig.fill(Side::Bid, 2 * UNIT / 100, 8);
    let full = rig.mark(600_000);
    assert_eq!((full.bid.size.0, full.ask.size.0), (0, UNIT / 100));
    assert_eq!(full.position, 3 * UNIT / 100);
}

#[test]
fn each_hold_has_its_reason() {
    let mut rig = Rig::quoting();
    assert_eq!(hold(rig.command(CommandCode::Halt, 2)), Some(HoldReason::Halted));
    assert_eq!(hold(rig.command(CommandCode::Resume, 2)), None);
    let down = rig.send(PERP, VenueStatus::default());
    assert_eq!(hold(decision(&down)), Some(HoldReason::VenueDown));
    rig.send(PERP, VenueStatus { ready: 1, ..VenueStatus::default() });
    assert_eq!(hold(rig.command(CommandCode::Reduce, 2)), Some(HoldReason::Reducing));
    let shorter = rig.fill(Side::Ask, UNIT / 200, 9).unwrap();
    assert_eq!((shorter.bid.size.0, shorter.ask.size.0), (UNIT / 200, 0), "only the way out, only so far");

    let stage = Strategies::new(config(), StrategyMeters::new(&Counters::detached()));
    let mut fresh = Rig { stage, time: 0 };
    let timer = Timer { owner: TimerOwner::Strategy as u64, id: LOOK, ..Timer::default() };
    let now = |rig: &mut Rig| hold(decision(&rig.send(SPOT, timer)));
    assert_eq!(now(&mut fresh), Some(HoldReason::Halted), "nobody has said that it may");
    fresh.command(CommandCode::Resume, 1);
    fresh.send(PERP, VenueStatus { ready: 1, ..VenueStatus::default() });
    assert_eq!(now(&mut fresh), Some(HoldReason::NoBook));
    let level = |price| Level { price: Price(price), size: Quantity(UNIT) };
    fresh.send(PERP, Quote { bid: level(599_999), ask: level(600_001), usable: 1, ..Quote::default() });
    assert_eq!(now(&mut fresh), Some(HoldReason::NoFairPrice));
    let mut features = Features { microprice: 600_000.0, ..Features::default() };
    features.set_status(MICROPRICE, Status::Ok);
    fresh.send(PERP, features);
    assert_eq!(now(&mut fresh), Some(HoldReason::Unfit));
}

#[test]
fn a_book_that_grows_old_is_noticed_without_a_mark() {
    let mut rig = Rig::quoting();
    let timer = Timer { owner: TimerOwner::Strategy as u64, id: LOOK, ..Timer::default() };
    let soon = rig.send(SPOT, timer);
    assert_eq!(hold(decision(&soon)), None);
    rig.time += 2 * SECOND;
    let late = rig.send(SPOT, timer);
    assert_eq!(hold(decision(&late)), Some(HoldReason::NoBook));
    let request = late.iter().find_map(|(p, m)| m.body::<TimerRequest>().filter(|_| *p == Port::Feedback));
    assert_eq!(request.map(|r| r.deadline), Some(rig.time + SECOND));
    let other = Timer { owner: 99, ..timer };
    assert_eq!(rig.send(SPOT, other).len(), 1, "another stage's deadline is passed on");
}

#[test]
fn behind_a_severe_alert_only_the_way_out_stands() {
    let mut rig = Rig::quoting();
    let alert = |severity: Severity| Alert { severity: severity as u64, ..Alert::default() };
    assert!(rig.send(PERP, alert(Severity::Warning)).is_empty());
    assert_eq!(hold(rig.mark(600_000)), None, "a warning stops nothing");
    // About the market that is followed: the same asset.
    rig.send(SPOT, alert(Severity::Severe));
    assert_eq!(hold(rig.mark(600_000)), Some(HoldReason::MarketAlert));
    let position = rig.fill(Side::Bid, UNIT / 200, 40).unwrap();
    assert_eq!((hold(position), position.bid.size.0, position.ask.size.0), (None, 0, UNIT / 200));
    for _ in 0..57 {
        rig.mark(600_000);
    }
    let d = rig.mark(600_000);
    assert_eq!((d.bid.size.0, d.ask.size.0), (0, UNIT / 200), "59 seconds behind it");
    let d = rig.mark(600_000);
    assert_eq!((d.bid.size.0, d.ask.size.0), (UNIT / 100, UNIT / 100), "a minute behind it");
}

/// A maker that cannot quote does not throw away what it holds.
#[test]
fn inventory_stays_where_nothing_can_be_quoted() {
    let mut rig = Rig::quoting();
    rig.fill(Side::Bid, UNIT / 100, 7);
    // The feed was away: no volatility is known any more.
    rig.time += 30 * SECOND;
    let d = rig.mark(600_000);
    assert_eq!((hold(d), d.position), (Some(HoldReason::Unfit), UNIT / 100));
    assert_eq!((d.bid.size.0, d.ask.size.0), (0, 0));
}
