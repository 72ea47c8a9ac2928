//! Recorded frames through the fast path, the slow path and a foreign parser, side by side.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{BufRead, BufReader};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kimera_protocol::{FrameRef, Instrument, InstrumentId, VenueId};
use kimera_venues::FrameBuffer;
use kimera_venues::binance::{Market, MarketDecoder};

fn frames(kind: &str, count: usize) -> Vec<String> {
    let path = format!("{}/../../data/binance-20240808/usdm_btcusdt_20240808.gz", env!("CARGO_MANIFEST_DIR"));
    let lines = BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    let frames = lines.map(|l| l.unwrap().split_once(' ').unwrap().1.to_owned());
    frames.filter(|f| f.starts_with(&format!("{{\"stream\":\"btcusdt@{kind}"))).take(count).collect()
}

fn decode(c: &mut Criterion) {
    let instrument = Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap();
    for kind in ["bookTicker", "trade", "depth"] {
        let frames = frames(kind, 2_000);
        let levels: usize = frames.iter().map(|f| f.matches("\",\"").count()).sum();
        let mut group =
            c.benchmark_group(format!("decode {kind} ({} level pairs a frame)", levels / frames.len()));
        group.throughput(Throughput::Elements(frames.len() as u64));
        let mut decoder = MarketDecoder::new(Market::UsdM, instrument.clone());
        let mut out = FrameBuffer::new();
        group.bench_function("fast path", |b| {
            b.iter(|| {
                for frame in &frames {
                    out.begin(FrameRef::default(), 1);
                    black_box(decoder.decode(frame.as_bytes(), &mut out).unwrap());
                }
            });
        });
        assert_eq!(decoder.slow_frames(), 0);
        group.bench_function("slow path", |b| {
            b.iter(|| {
                for frame in &frames {
                    out.begin(FrameRef::default(), 1);
                    black_box(decoder.decode_generic(frame.as_bytes(), &mut out).unwrap());
                }
            });
        });
        group.bench_function("sonic-rs to a value", |b| {
            b.iter(|| {
                for frame in &frames {
                    black_box(sonic_rs::from_str::<sonic_rs::Value>(frame).unwrap());
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
