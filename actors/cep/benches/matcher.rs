//! What an event costs with the patterns that ship: one at a time, and all of `market.cep` with two more of its kind each.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kimera_cep::{Bounds, Event, Events, Matcher, compile};
use kimera_protocol::{
    Header, Instrument, InstrumentId, Level, Message, Price, Quantity, Ticker, Trade, VenueId,
};

const PATTERNS: &str = include_str!("../../../config/patterns/market.cep");
const EVENTS: usize = 20_000;

/// A walk: three best prices to a trade, as the shipped recording has it.
fn events() -> (Events, Vec<Event>) {
    let instrument = Instrument::new(InstrumentId(0), VenueId(0), "BTCUSDT", 10_000_000, 100_000).unwrap();
    let mut events = Events::new(vec![instrument], &["usdm_btcusdt".to_owned()]);
    let (mut price, mut random) = (617_879i64, 1u64);
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let all = (1..=EVENTS as u64)
        .map(|seq| {
            let header = Header { seq, time: seq as i64 * 3_000_000, ..Header::default() };
            if next(30) == 0 {
                price += next(7) as i64 - 3;
            }
            let level =
                |price, size: u64| Level { price: Price(price), size: Quantity(size as i64 * 100_000) };
            let message = if next(4) == 0 {
                let times = if next(50) == 0 { 1_000 } else { 1 }; // a large one now and then
                let size = Quantity(next(1_000) as i64 * 100_000 * times);
                let aggressor = 1 - 2 * next(2) as i64;
                Message::new(header, Trade { price: Price(price), size, aggressor, ..Trade::default() })
            } else {
                let (bid, ask) = (level(price, next(9_000)), level(price + 1, next(9_000)));
                Message::new(header, Ticker { bid, ask, ..Ticker::default() })
            };
            events.of(&message).unwrap()
        })
        .collect();
    (events, all)
}

fn matcher(c: &mut Criterion) {
    let (events, all) = events();
    let programs = compile(PATTERNS, events.schema()).unwrap();
    let mut group = c.benchmark_group("an event");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let mut measure = |name: &str, mut matchers: Vec<Matcher>| {
        let mut found = 0u64;
        let mut past = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                // Time goes on from one pass to the next.
                past += EVENTS as u64;
                for event in &all {
                    let mut event = *event;
                    (event.place, event.time) = (event.place + past, event.time + past as i64 * 3_000_000);
                    for matcher in &mut matchers {
                        matcher.event(&event, &mut |_| found += 1);
                    }
                }
            });
        });
        assert!(found > 0 || past == 0 || name == "silence", "{name} finds nothing");
    };
    for program in &programs {
        let name = program.name.clone();
        if ["spread_stays_open", "leap_and_return"].contains(&name.as_str()) {
            continue; // the walk has no spread and no leaps
        }
        measure(&name, vec![Matcher::new(program.clone(), Bounds::default())]);
    }
    let ten = programs.iter().chain(&programs).map(|p| Matcher::new(p.clone(), Bounds::default())).collect();
    measure("ten patterns", ten);
}

criterion_group!(benches, matcher);
criterion_main!(benches);
