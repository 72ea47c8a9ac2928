//! Does each member find what it is made for? A tape a member, on which the only thing to be known is planted: who knows it is right about what follows,
//! and nobody is where outcomes are dealt by chance; without that member the ensemble knows less.

use kimera_protocol::{
    DepthBegin, Flags, Header, InstrumentId, Kind, Level, Message, Nanos, News, Price, Quantity, Reading,
    Series, Ticker,
};

use super::forecasts::{forecasts, members};
use super::score::{Row, row};
use super::walk;
use crate::config::Config;

const HALF: Nanos = 500_000_000;
/// When tapes begin: any time will do.
const BEGIN: Nanos = 3_400_000_000 * HALF;

/// Even numbers in (−½, ½) from a seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }
}

/// Prices of spot and perpetual a second, and headlines.
struct Tape {
    messages: Vec<Message>,
    time: Nanos,
}

impl Tape {
    fn new() -> Self {
        let mut tape = Self { messages: Vec::new(), time: BEGIN };
        for instrument in [0, 1] {
            let begin = DepthBegin { snapshot: 1, messages: 1, ..DepthBegin::default() };
            tape.say(instrument, Flags::FRAME_END, begin, Kind::DepthBegin);
        }
        tape
    }

    fn say<B: kimera_protocol::Body>(&mut self, instrument: u16, flags: u8, body: B, kind: Kind) {
        let seq = self.messages.len() as u64 + 1;
        let header =
            Header { seq, time: self.time, flags, ..Header::unsequenced(kind, InstrumentId(instrument)) };
        self.messages.push(Message::new(header, body));
        self.time += 1;
    }

    /// Half a second with these prices: of spot first.
    fn half(&mut self, spot: f64, perp: f64) {
        let of = (self.time - BEGIN) / HALF;
        for (instrument, tick, price) in [(0, 0.01, spot), (1, 0.1, perp)] {
            let at = (price / tick).round() as i64;
            let level = |price: i64| Level { price: Price(price), size: Quantity(100_000_000) };
            let update_id = self.messages.len() as u64 + 1;
            let ticker = Ticker { bid: level(at - 1), ask: level(at + 1), update_id, ..Ticker::default() };
            self.say(instrument, Flags::FRAME_END | Flags::MARK, ticker, Kind::Ticker);
        }
        self.time = BEGIN + (of + 1) * HALF;
    }

    fn dollar(&mut self, value: f64, price: f64, published: Nanos) {
        let reading =
            Reading { series: Series::Dollar as u64, value, price, published, ..Reading::default() };
        self.say(0, 0, reading, Kind::Reading);
    }

    fn headline(&mut self, compound: f64) {
        let headline = self.messages.len() as u64;
        let published = self.time;
        let news =
            News { headline, source: 7, compound, relevance: 1.0, published, trusted: 1, ..News::default() };
        self.say(0, 0, news, Kind::News);
    }
}

/// Rows of a tape, with what came as it came or dealt by chance.
fn rows(tape: &Tape, shuffled: bool) -> Vec<Row> {
    let config = Config::parse(include_str!("../../config/profiles/paper.toml")).unwrap();
    let mut of = members(&config).unwrap();
    let names: Vec<_> = of.iter().map(|(name, _)| name.clone()).collect();
    let mut samples = forecasts(&config, &tape.messages, (false, 0), &mut of).unwrap().decided;
    assert!(samples.len() > 1_000, "{} forecasts were decided", samples.len());
    if shuffled {
        let mut classes: Vec<_> = samples.iter().map(|s| s.class).collect();
        walk::shuffle(&mut classes, 3);
        samples.iter_mut().zip(classes).for_each(|(s, class)| s.class = class);
    }
    let folds = walk::folds(&samples, walk::FOLDS);
    let rule = (config.strategy.score_min, config.strategy.confidence_min);
    let tested = folds.iter().map(|fold| fold.test.len()).sum();
    let share = walk::uniqueness(&samples);
    let said = walk::forecasters(&samples, &folds, &names, rule, 1);
    said.iter().map(|of| row(of, &samples, &share, tested)).collect()
}

/// The member knows, more than chance and by a distance; where outcomes are dealt it does not; and where nobody else could know, the ensemble knows less
/// without it.
fn is_found(tape: &Tape, member: &str, least: f64, alone: bool) {
    let of = |rows: &[Row], name: &str| rows.iter().find(|row| row.name == name).unwrap().clone();
    let told = rows(tape, false);
    let own = of(&told, member);
    assert!(own.decisions > 300 && own.interval.0 > 0.5 && own.accuracy.unwrap() > least, "{own:?}");
    assert!(own.directional.unwrap() > 3.0, "{own:?}");
    if alone {
        let (with, without) = (of(&told, "ensemble, always"), of(&told, &format!("without {member}")));
        let (with, without) = (with.skill.unwrap(), without.skill.unwrap_or(f64::NEG_INFINITY));
        assert!(with > without, "skill {with} with {member}, {without} without");
    }
    // Of directions, not of shares: who says up as often as it comes is right more than half the time.
    let dealt = of(&rows(tape, true), member);
    assert!(dealt.directional.unwrap() < 3.0 && dealt.mcc.abs() < 0.1, "{dealt:?}");
}

#[test]
fn contradiction_finds_a_market_that_leads() {
    let (mut tape, mut chance, mut spot) = (Tape::new(), Chance(5), vec![60_000.0; 10]);
    for _ in 0..3_000 {
        let last = spot[spot.len() - 1];
        spot.push(last + 8.0 * chance.next());
        // The perpetual is where spot was four seconds ago, and something of its own.
        tape.half(last, spot[spot.len() - 9] + 30.0 + chance.next());
    }
    is_found(&tape, "contradiction", 0.65, true);
}

#[test]
fn thermodynamic_finds_flow_that_goes_on() {
    let (mut tape, mut chance, mut price, mut step) = (Tape::new(), Chance(9), 60_000.0, 0.0);
    for _ in 0..3_000 {
        step = 0.9 * step + 2.0 * chance.next();
        price += step;
        tape.half(price + 3.0 * chance.next(), price);
    }
    // What goes on is also a pattern that comes again, and contradiction reads the same flow.
    is_found(&tape, "thermodynamic", 0.6, false);
}

#[test]
fn pattern_finds_what_comes_again() {
    let (mut tape, mut chance) = (Tape::new(), Chance(13));
    for i in 0..3_000 {
        // Forty seconds, again and again.
        let phase = f64::from(i % 80) / 80.0;
        let shape = if phase < 0.7 { phase / 0.7 } else { (1.0 - phase) / 0.3 };
        tape.half(60_000.0 + 3.0 * chance.next(), 60_000.0 + 60.0 * shape + 2.0 * chance.next());
    }
    is_found(&tape, "pattern", 0.8, true);
}

#[test]
fn sentiment_finds_that_prices_go_where_headlines_point() {
    let (mut tape, mut chance, mut price, mut said) = (Tape::new(), Chance(17), 60_000.0, 0.0);
    for i in 0..3_000 {
        if i % 150 == 10 {
            // Loud enough to be heard over what was said before, which fades within half an hour.
            let loud = if chance.next() > 0.0 { 0.9 } else { -0.9 };
            tape.headline(loud);
            said = if said * loud < 0.0 { 0.0 } else { said } + loud;
        }
        price += 4.0 * chance.next() + 0.5 * f64::clamp(said, -1.0, 1.0);
        tape.half(price + chance.next(), price);
    }
    is_found(&tape, "sentiment", 0.6, true);
}

#[test]
fn macro_finds_what_has_not_followed_yet() {
    let (mut tape, mut chance, mut dollar, mut price) = (Tape::new(), Chance(21), 100.0, 60_000.0);
    // A year of days before: the asset does the opposite of the dollar, within the day.
    for day in -300..0 {
        let step = 0.01 * chance.next();
        dollar *= 1.0 + step;
        price *= 1.0 - step + 0.001 * chance.next();
        tape.dollar(dollar, price, BEGIN + day * 86_400 * 2 * HALF);
    }
    let mut missing = 0.0;
    for i in 0..3_000 {
        if i % 150 == 10 {
            let step = 0.012 * chance.next();
            dollar *= 1.0 + step;
            let now = tape.time;
            tape.dollar(dollar, price, now);
            missing = -step * price / 150.0;
        }
        price += missing + chance.next();
        tape.half(price + chance.next(), price);
    }
    // What is missing comes in over minutes: whoever sees a drift sees it too.
    is_found(&tape, "macro", 0.6, false);
}
