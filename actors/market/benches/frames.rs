//! Recorded frames of a venue, all kinds as they came: decoded, decoded into the book, and with every estimator evaluated behind each.
//! What the book and the estimators cost alone is measured on messages that are decoded already.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{BufRead, BufReader};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kimera_market::book::Book;
use kimera_market::features::{FeatureConfig, FeatureSet};
use kimera_protocol::{
    DepthBegin, Features, Flags, FrameRef, Instrument, InstrumentId, Levels, Message, Nanos, Ticker, Trade,
    VenueId,
};
use kimera_venues::FrameBuffer;
use kimera_venues::binance::{Market, MarketDecoder};

/// Frames between two evaluations of all estimators, as a mark follows each.
const FRAME_INTERVAL: Nanos = 1_000_000;

fn frames() -> Vec<String> {
    let path = format!("{}/../../data/binance-20240808/usdm_btcusdt_20240808.gz", env!("CARGO_MANIFEST_DIR"));
    let lines = BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    let frames = lines.map(|l| l.unwrap().split_once(' ').unwrap().1.to_owned());
    frames.filter(|f| f.starts_with("{\"stream\":\"btcusdt@")).collect()
}

fn decoder() -> MarketDecoder {
    let instrument = Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap();
    MarketDecoder::new(Market::UsdM, instrument)
}

/// A book with its estimators, or without.
struct Stage {
    book: Book,
    features: Option<FeatureSet>,
    time: Nanos,
}

impl Stage {
    /// Behind an empty snapshot that the first frame with depth follows.
    fn new(first: &DepthBegin, with_features: bool) -> Self {
        let mut book = Book::new();
        let snapshot = DepthBegin { snapshot: 1, last_id: first.previous_id, ..DepthBegin::default() };
        assert!(book.begin(&snapshot));
        let features = with_features.then(|| FeatureSet::new(FeatureConfig::default()));
        Self { book, features, time: 0 }
    }

    #[inline]
    fn take(&mut self, messages: &[Message]) -> Option<Features> {
        self.time += FRAME_INTERVAL;
        for message in messages {
            if let Some(ticker) = message.body::<Ticker>() {
                self.book.ticker(ticker);
            } else if let Some(begin) = message.body::<DepthBegin>() {
                assert!(self.book.begin(begin), "frame {}", begin.last_id);
            } else if let Some(levels) = message.body::<Levels>() {
                let (count, bids) = (usize::from(message.header.count), usize::from(message.header.bids));
                match &mut self.features {
                    Some(features) => self.book.apply(levels, count, bids, |c| features.level_changed(c)),
                    None => self.book.apply(levels, count, bids, |_| {}),
                }
            } else if let (Some(features), Some(trade)) = (&mut self.features, message.body::<Trade>()) {
                features.traded(trade);
            }
        }
        let ends = messages.last().is_some_and(|m| m.header.flags & Flags::FRAME_END != 0);
        let features = self.features.as_mut().filter(|_| ends)?;
        features.book_moved(&self.book, self.time);
        Some(features.evaluate(&self.book, self.time))
    }
}

fn whole(c: &mut Criterion) {
    let frames = frames();
    let (mut decoder, mut buffer) = (decoder(), FrameBuffer::new());
    let decoded: Vec<Vec<Message>> = frames
        .iter()
        .map(|frame| {
            buffer.begin(FrameRef::default(), 1);
            decoder.decode(frame.as_bytes(), &mut buffer).unwrap();
            buffer.messages().to_vec()
        })
        .collect();
    let first = *decoded.iter().flatten().find_map(|m| m.body::<DepthBegin>()).unwrap();
    let digest_of = |with_features: bool| {
        let mut stage = Stage::new(&first, with_features);
        for messages in &decoded {
            black_box(stage.take(messages));
        }
        stage.book.digest()
    };
    assert_eq!(digest_of(false), digest_of(true), "equal first");
    let mut group = c.benchmark_group(format!("{} recorded frames", frames.len()));
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("decoded", |b| {
        b.iter(|| {
            for frame in &frames {
                buffer.begin(FrameRef::default(), 1);
                black_box(decoder.decode(frame.as_bytes(), &mut buffer).unwrap());
            }
        });
    });
    for (name, with_features) in
        [("decoded, into the book", false), ("decoded, into the book, estimators", true)]
    {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut stage = Stage::new(&first, with_features);
                for frame in &frames {
                    buffer.begin(FrameRef::default(), 1);
                    decoder.decode(frame.as_bytes(), &mut buffer).unwrap();
                    black_box(stage.take(buffer.messages()));
                }
                stage.book.digest()
            });
        });
    }
    for (name, with_features) in [("into the book", false), ("into the book, estimators", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut stage = Stage::new(&first, with_features);
                for messages in &decoded {
                    black_box(stage.take(messages));
                }
                stage.book.digest()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
