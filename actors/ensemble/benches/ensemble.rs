//! What a mark costs: all fast members; votes into a consensus, remembered and computed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kimera_ensemble::cache::{DecisionCache, ENTRIES, Key};
use kimera_ensemble::pool::{conflict, pool};
use kimera_ensemble::{
    Contradiction, ContradictionConfig, Macro, MacroConfig, Pattern, Sentiment, SentimentConfig,
    Thermodynamic, ThermodynamicConfig, members, sketch,
};
use kimera_numerics::VolatilityConfig;
use kimera_protocol::{
    Body, Features, Flags, Header, InstrumentId, Level, Message, Nanos, News, Opinion, Price, Quantity,
    Quote, Reading, Sketch, Status, Topic, Vote,
};
use kimera_runtime::{Actor, Input, Outbox};

const SECOND: Nanos = 1_000_000_000;
/// The weights that the configuration begins with.
const WEIGHTS: [f64; 5] = [0.30, 0.25, 0.20, 0.15, 0.10];

struct Bench {
    members: Vec<Box<dyn Actor>>,
    out: Outbox,
    /// What members have said at the last mark.
    said: Vec<Vote>,
}

impl Bench {
    fn new() -> Self {
        let traded = InstrumentId(1);
        let volatility = VolatilityConfig { bar: SECOND, half_life_bars: 30.0, bars_min: 10 };
        let contradiction = ContradictionConfig {
            member: 0,
            traded: (traded, 10),
            other: Some((InstrumentId(0), 1)),
            error_interval: SECOND / 2,
            error_half_life: 1_000.0,
            errors_min: 20,
            basis_half_life: 60 * SECOND,
            stale_after: SECOND,
        };
        let thermodynamic =
            ThermodynamicConfig { member: 1, traded, horizon: 10 * SECOND, volatility, stale_after: SECOND };
        let world =
            MacroConfig { member: 4, traded: (traded, 0.1), stale_after: i64::MAX, observations_min: 30 };
        let members: Vec<Box<dyn Actor>> = vec![
            Box::new(Contradiction::new(contradiction)),
            Box::new(Thermodynamic::new(thermodynamic)),
            Box::new(Pattern::new(2, traded)),
            Box::new(Sentiment::new(SentimentConfig { member: 3, traded, horizon: 10 * SECOND })),
            Box::new(Macro::new(world)),
        ];
        Self { members, out: Outbox::new(members::OUTPUTS_MAX), said: Vec::new() }
    }

    /// To every member.
    fn tell<B: Body>(&mut self, instrument: u16, time: Nanos, flags: u8, body: B) {
        let message = Message::new(Header { seq: 1, time, instrument, flags, ..Header::default() }, body);
        self.said.clear();
        for member in &mut self.members {
            self.out.begin(&message);
            member.handle(Input { message: &message, joined: &[] }, &mut self.out);
            self.said.extend(self.out.staged().filter_map(|(_, m)| m.body::<Vote>().copied()));
        }
    }

    fn mark(&mut self, instrument: u16, time: Nanos, mid: i64, wobble: f64) {
        self.quote(instrument, time, mid);
        self.features(instrument, time, mid, wobble);
    }

    fn quote(&mut self, instrument: u16, time: Nanos, mid: i64) {
        let level = |price| Level { price: Price(price), size: Quantity(1) };
        let quote = Quote { bid: level(mid - 1), ask: level(mid + 1), usable: 1, ..Quote::default() };
        self.tell(instrument, time, 0, quote);
    }

    fn features(&mut self, instrument: u16, time: Nanos, mid: i64, wobble: f64) {
        let mut features = Features {
            microprice: mid as f64 + wobble,
            order_flow: wobble,
            order_flow_impact: 0.3,
            ..Features::default()
        };
        (0..4).for_each(|i| features.set_status(i, Status::Ok));
        self.tell(instrument, time, Flags::MARK, features);
    }

    /// Five minutes in which everybody gets something to go by; the time behind them.
    fn warm(&mut self) -> Nanos {
        let (mut x, mut mid) = (7u64, 10_000i64);
        for i in 0..1_200 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let wobble = (x % 100) as f64 / 100.0 - 0.5;
            mid += (x >> 32) as i64 % 3 - 1;
            self.mark(0, i * SECOND / 4, 10 * mid, wobble);
            self.mark(1, i * SECOND / 4 + 1, mid, wobble);
        }
        let time = 300 * SECOND;
        let said = |topic: Topic, value| Opinion {
            topic: topic as u64,
            value,
            observations: 16,
            status: Status::Ok as u64,
            basis: 9,
            valid_until: i64::MAX,
            ..Opinion::default()
        };
        self.tell(1, time, 0, said(Topic::PatternDown, 0.3));
        self.tell(1, time, 0, said(Topic::PatternUp, 0.4));
        let news = News {
            headline: 5,
            source: 1,
            compound: 0.5,
            relevance: 1.0,
            published: time,
            ..News::default()
        };
        self.tell(1, time, 0, news);
        for day in 0..60 {
            let value = 100.0 + (day * 7 % 11) as f64 * 0.1;
            let reading =
                Reading { series: 2, value, price: 1_000.0 - value, published: day, ..Reading::default() };
            self.tell(1, time, 0, reading);
        }
        time
    }
}

fn at_a_mark(c: &mut Criterion) {
    let mut bench = Bench::new();
    let time = bench.warm();
    bench.mark(1, time, 10_000, 0.1);
    let voting = bench.said.iter().filter(|vote| vote.abstains == 0).count();
    assert_eq!(voting, 5, "all have something to go by: {:?}", bench.said);
    let sketches: Vec<Sketch> = bench.said.iter().map(|vote| vote.sketch).collect();
    let mut wobble = 0.0;
    c.bench_function("all fast members, their votes at a mark", |b| {
        b.iter(|| {
            wobble = if wobble > 0.4 { -0.4 } else { wobble + 0.01 };
            bench.features(1, time, 10_000, wobble);
            black_box(bench.said.len())
        });
    });
    c.bench_function("all fast members, a quote", |b| b.iter(|| bench.quote(1, time, 10_000)));

    let compute = |sketches: &[u64]| {
        let votes: [_; 5] = std::array::from_fn(|m| sketch::read(Sketch::from_word(sketches[m])));
        pool(&votes, &WEIGHTS).map(|pooled| (pooled.p, pooled.agreement, conflict(&votes)))
    };
    // As many different questions as there are in a minute of the recording.
    let keys: Vec<Key> = (0..512i16)
        .map(|i| {
            let mut key = Key::default();
            key.sketches.iter_mut().zip(&sketches).for_each(|(word, sketch)| *word = sketch.word());
            key.sketches[0] = Sketch::new(kimera_protocol::Form::Tilt, i % 64, i / 64).word();
            key
        })
        .collect();
    let mut group = c.benchmark_group("a consensus");
    for (name, places) in [("remembered", ENTRIES), ("computed", 0)] {
        let mut cache = DecisionCache::new(places);
        for key in &keys {
            let _ = cache.get(key, 0, || compute(&key.sketches[..5]));
        }
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 37) % keys.len();
                let key = &keys[at];
                black_box(cache.get(key, 0, || compute(&key.sketches[..5])))
            });
        });
    }
}

criterion_group!(benches, at_a_mark);
criterion_main!(benches);
