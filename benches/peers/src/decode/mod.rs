//! A frame's bytes to integers: prices, sizes, identifiers, times.
//!
//! The general parsers read into structures that borrow their texts and turn decimals into integers as they come by, all
//! with the same function. They are told which kind of frame is next; Kimera's decoder finds out, verifies stream, symbol
//! and tick, and writes the messages that its line reads.

pub mod general;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kimera_protocol::{DepthBegin, FrameRef, Instrument, Levels, Message, RollingHash, Ticker, Trade};
use kimera_venues::FrameBuffer;
use kimera_venues::binance::Market;
use serde::Deserialize;

use crate::Setting;
use crate::input::{Batch, Kind, Source};
use crate::rounds::{Better, Contestant, Outcome, Race, compare};
use general::{Combined, Content, Depths, Event, Tickers, Trades};

/// Frames of a run, at least: the recording goes through as often as that takes.
const FRAMES: usize = 20_000;
const MILLISECOND: i64 = 1_000_000;

const OURS: &str = "Kimera decoder";
const SERDE: &str = concat!("serde_json ", env!("VERSION_SERDE_JSON"), " borrowed +i64");
const SIMD: &str = concat!("simd-json ", env!("VERSION_SIMD_JSON"), " borrowed +i64");
const SONIC: &str = concat!("sonic-rs ", env!("VERSION_SONIC_RS"), " borrowed +i64");

/// Runs a comparison for each market and kind of frame.
///
/// # Errors
/// Somebody reads something else in a frame, or cannot read it.
pub fn run(setting: &Setting) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for source in Source::all(&setting.tape, &setting.config)? {
        for kind in Kind::ALL {
            let outcome = match kind {
                Kind::Depth => race::<Depths>(setting, &source, kind)?,
                Kind::Trade => race::<Trades>(setting, &source, kind)?,
                Kind::Ticker => race::<Tickers>(setting, &source, kind)?,
            };
            outcomes.extend(outcome);
        }
    }
    Ok(outcomes)
}

fn race<E: Event>(setting: &Setting, source: &Source<'_>, kind: Kind) -> Result<Option<Outcome>> {
    let batch = &Batch::of(source.frames(kind));
    ensure!(batch.len() > 0, "the recording has no {} of {}", kind.stream(), source.name);
    let name = format!("decode, {} {}", source.name, kind.stream());
    let changed = if setting.control { batch.with_a_bit_turned() } else { batch.clone() };
    let symbol = &source.instrument.symbol;
    let results = [
        (OURS.to_owned(), content_of_ours(source, batch)?),
        (SERDE.to_owned(), content::<Serde, E>(batch, symbol)?),
        (SIMD.to_owned(), content_in_place::<E>(batch, symbol)?),
        (SONIC.to_owned(), content::<Sonic, E>(&changed, symbol)?),
    ];
    compare(&name, &results)?;
    drop(changed);
    if setting.control {
        return Ok(None);
    }
    let race = Race {
        title: format!("{name} ({} bytes a frame)", batch.whole().len() / batch.len()),
        unit: "ns a frame",
        better: Better::Less,
        metrics: &[""],
        contestants: vec![
            Contestant::ours(OURS, ours(source, batch)),
            Contestant::peer(SERDE, timed::<Serde, E>(batch)),
            Contestant::peer(SIMD, timed_in_place::<E>(batch)),
            Contestant::peer(SONIC, timed::<Sonic, E>(batch)),
        ],
        notes: if kind == Kind::Depth { vec![NOTE.to_owned()] } else { Vec::new() },
    };
    race.run(setting).map(Some)
}

const NOTE: &str = "levels come into vectors that grow (the peers) or into a buffer of messages that never does \
                    (Kimera); simd-json rewrites its input, which is copied before the clock starts; sonic-rs chooses \
                    its vector instructions when it is compiled, simd-json when it runs";

/// A parser that takes a text as it is.
trait TextParser {
    fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T>;
}

struct Serde;

impl TextParser for Serde {
    #[inline]
    fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
        serde_json::from_str(text).ok()
    }
}

struct Sonic;

impl TextParser for Sonic {
    #[inline]
    fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
        sonic_rs::from_str(text).ok()
    }
}

fn passes(batch: &Batch) -> usize {
    FRAMES.div_ceil(batch.len())
}

fn nanoseconds_each(took: Duration, batch: &Batch) -> f64 {
    took.as_nanos() as f64 / (passes(batch) * batch.len()) as f64
}

fn timed<P: TextParser, E: Event>(batch: &Batch) -> impl FnMut() -> Result<Vec<f64>> {
    move || {
        let mut refused = 0;
        let since = Instant::now();
        for _ in 0..passes(batch) {
            for text in batch.texts() {
                let frame: Option<Combined<'_, E::Of<'_>>> = P::parse(black_box(text));
                refused += usize::from(black_box(&frame).is_none());
            }
        }
        let took = since.elapsed();
        ensure!(refused == 0, "{refused} frames were refused");
        Ok(vec![nanoseconds_each(took, batch)])
    }
}

/// `simd-json` takes its input to pieces: a fresh copy lies ready each time.
fn timed_in_place<E: Event>(batch: &Batch) -> impl FnMut() -> Result<Vec<f64>> {
    let mut bytes = batch.whole().as_bytes().to_vec();
    let mut buffers = simd_json::Buffers::default();
    move || {
        let (mut refused, mut took) = (0, Duration::ZERO);
        for _ in 0..passes(batch) {
            bytes.copy_from_slice(batch.whole().as_bytes());
            let since = Instant::now();
            for range in batch.ranges() {
                let text = black_box(&mut bytes[range]);
                let frame: Option<Combined<'_, E::Of<'_>>> =
                    simd_json::serde::from_slice_with_buffers(text, &mut buffers).ok();
                refused += usize::from(black_box(&frame).is_none());
            }
            took += since.elapsed();
        }
        ensure!(refused == 0, "{refused} frames were refused");
        Ok(vec![nanoseconds_each(took, batch)])
    }
}

fn ours(source: &Source<'_>, batch: &Batch) -> impl FnMut() -> Result<Vec<f64>> {
    let (mut decoder, mut buffer) = (source.decoder(), FrameBuffer::new());
    move || {
        let mut refused = 0;
        let since = Instant::now();
        for _ in 0..passes(batch) {
            for text in batch.texts() {
                buffer.begin(FrameRef::default(), 0);
                refused += usize::from(decoder.decode(black_box(text.as_bytes()), &mut buffer).is_err());
                black_box(buffer.messages());
            }
        }
        let took = since.elapsed();
        ensure!(refused == 0, "{refused} frames were refused");
        ensure!(decoder.slow_frames() == 0, "{} frames took the slow path", decoder.slow_frames());
        Ok(vec![nanoseconds_each(took, batch)])
    }
}

fn read<'a, C: Content + 'a>(
    frame: Option<Combined<'a, C>>,
    symbol: &str,
    hash: &mut RollingHash,
) -> Result<()> {
    let frame = frame.context("a frame was refused")?;
    ensure!(frame.data.symbol() == symbol, "a frame of {}", frame.data.symbol());
    ensure!(frame.stream.contains('@'), "a frame of no stream");
    frame.data.words(&mut |word| hash.update_word(word));
    Ok(())
}

/// The hash of everything in the frames.
fn content<P: TextParser, E: Event>(batch: &Batch, symbol: &str) -> Result<u64> {
    let mut hash = RollingHash::default();
    for text in batch.texts() {
        read::<E::Of<'_>>(P::parse(text), symbol, &mut hash)?;
    }
    Ok(hash.value())
}

fn content_in_place<E: Event>(batch: &Batch, symbol: &str) -> Result<u64> {
    let mut hash = RollingHash::default();
    let mut bytes = batch.whole().as_bytes().to_vec();
    let mut buffers = simd_json::Buffers::default();
    for range in batch.ranges() {
        let frame = simd_json::serde::from_slice_with_buffers(&mut bytes[range], &mut buffers).ok();
        read::<E::Of<'_>>(frame, symbol, &mut hash)?;
    }
    Ok(hash.value())
}

/// The same of the messages that Kimera makes of them.
fn content_of_ours(source: &Source<'_>, batch: &Batch) -> Result<u64> {
    let mut hash = RollingHash::default();
    let (mut decoder, mut buffer) = (source.decoder(), FrameBuffer::new());
    for text in batch.texts() {
        source.decode(&mut decoder, text, &mut buffer)?;
        words(source.market, &source.instrument, buffer.messages(), &mut |word| hash.update_word(word));
    }
    Ok(hash.value())
}

/// Shows what [`Content::words`] shows of the same frame.
fn words(market: Market, instrument: &Instrument, messages: &[Message], see: &mut impl FnMut(u64)) {
    let price = |price: kimera_protocol::Price| (price.0 * instrument.tick_units) as u64;
    let milliseconds = |time: i64| (time / MILLISECOND) as u64;
    for message in messages {
        if let Some(ticker) = message.body::<Ticker>() {
            see(ticker.update_id);
            see(milliseconds(ticker.venue_time));
            for level in [ticker.bid, ticker.ask] {
                see(price(level.price));
                see(level.size.0 as u64);
            }
        } else if let Some(trade) = message.body::<Trade>() {
            see(milliseconds(trade.venue_time));
            see(milliseconds(trade.trade_time));
            see(trade.trade_id);
            see(price(trade.price));
            see(trade.size.0 as u64);
            see(u64::from(trade.aggressor < 0));
        } else if let Some(begin) = message.body::<DepthBegin>() {
            see(milliseconds(begin.venue_time));
            see(begin.first_id);
            see(begin.last_id);
            see(if market == Market::UsdM { begin.previous_id } else { 0 });
            see(u64::from(begin.bid_levels));
            see(u64::from(begin.ask_levels));
        } else if let Some(levels) = message.body::<Levels>() {
            for level in levels.levels.iter().take(usize::from(message.header.count)) {
                see(price(level.price));
                see(level.size.0 as u64);
            }
        }
    }
}
