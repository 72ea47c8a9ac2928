//! Level updates into the ladder and into a plain map, and the estimators at a mark.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kimera_market::Market;
use kimera_market::features::FeatureConfig;
use kimera_market::ladder::Ladder;
use kimera_market::{MarketConfig, OneMarketConfig};
use kimera_protocol::{
    DepthBegin, Flags, Header, InstrumentId, Kind, Level, Levels, Message, Price, Quantity, Side, Ticker,
};
use kimera_runtime::{Actor, Input, Outbox};

/// A walk of prices with removals, as a liquid book has them.
fn updates() -> Vec<(i64, i64)> {
    let (mut state, mut mid) = (1u64, 618_000i64);
    (0..10_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            mid += (state >> 62) as i64 - 1;
            let far = if state.is_multiple_of(10) { 20_000 } else { 0 };
            (mid - ((state >> 40) % 200) as i64 - far, ((state >> 20) % 4) as i64 * 1_000)
        })
        .collect()
}

fn book(c: &mut Criterion) {
    let updates = updates();
    let mut group = c.benchmark_group("10,000 level updates");
    group.throughput(Throughput::Elements(updates.len() as u64));
    let mut ladder = Ladder::new(Side::Bid);
    let mut map = BTreeMap::new();
    for &(tick, size) in &updates {
        ladder.set(Price(tick), Quantity(size));
        if size == 0 {
            map.remove(&tick)
        } else {
            map.insert(tick, size)
        };
    }
    assert_eq!(ladder.best().map(|l| l.price.0), map.last_key_value().map(|(t, _)| *t), "equal first");
    group.bench_function("ladder", |b| {
        b.iter(|| {
            for &(tick, size) in &updates {
                ladder.set(Price(tick), Quantity(size));
            }
            black_box(ladder.best())
        });
    });
    group.bench_function("BTreeMap", |b| {
        b.iter(|| {
            for &(tick, size) in &updates {
                if size == 0 {
                    map.remove(&tick)
                } else {
                    map.insert(tick, size)
                };
            }
            black_box(map.last_key_value().map(|(t, _)| *t))
        });
    });
    group.finish();
}

fn mark(c: &mut Criterion) {
    let mut market = Market::new(&MarketConfig {
        instruments: 1,
        features: FeatureConfig::default(),
        one_market: OneMarketConfig::default(),
    });
    let mut out = Outbox::new(2);
    let mut handle = |message: &Message| {
        out.begin(message);
        market.handle(Input { message, joined: &[] }, &mut out);
        black_box(out.is_empty())
    };
    let mut header = Header::unsequenced(Kind::DepthBegin, InstrumentId(0));
    header.time = 1;
    handle(&Message::new(header, DepthBegin { snapshot: 1, last_id: 1, ..DepthBegin::default() }));
    for price in 0..100 {
        let mut body = Levels::default();
        body.levels[0] = Level { price: Price(1_000 - price), size: Quantity(100_000_000) };
        body.levels[1] = Level { price: Price(1_001 + price), size: Quantity(100_000_000) };
        handle(&Message::new(Header { count: 2, bids: 1, flags: Flags::FRAME_END, time: 2, ..header }, body));
    }
    let mut id = 1u64;
    c.bench_function("ticker and evaluation at a mark", |b| {
        b.iter(|| {
            id += 1;
            let size = Quantity(100_000_000 + (id % 7) as i64);
            let ticker = Ticker {
                update_id: id,
                bid: Level { price: Price(1_000), size },
                ask: Level { price: Price(1_001), size: Quantity(90_000_000) },
                ..Ticker::default()
            };
            let flags = Flags::FRAME_END | Flags::MARK;
            handle(&Message::new(Header { time: id as i64 * 10_000, flags, ..header }, ticker))
        });
    });
}

criterion_group!(benches, book, mark);
criterion_main!(benches);
