//! A frame's bytes to the bytes of a signed order.
//!
//! Two comparisons. The whole line (decoder, book feed, sequencer, books, members, ensemble, strategy, execution, risk,
//! compliance, the order's text and its signature) against the public pieces of `nautilus-binance`, which decode, format and
//! sign and do nothing between: different work. And the same work on both sides: a best price decoded, an order at the bid
//! written and signed.

mod nautilus;
mod pieces;
mod signatures;

use anyhow::{Result, anyhow, bail, ensure};
use kimera::bench::pipeline::{Frames, Pipeline};
use kimera_protocol::RollingHash;
use kimera_runtime::{Counters, Tsc};

use crate::Setting;
use crate::input::{Batch, Kind, Source};
use crate::rounds::{Better, Contestant, Outcome, Race, compare, quantile};
use nautilus::Nautilus;
use pieces::Pieces;
use signatures::Checker;

/// The secret of the account for which the whole line signs.
const LINE_SECRET: &str = "not-a-secret";
/// Key and secret of the orders that are the same work.
const KEY: &str = "measured";
const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
/// Size of every order of the same work, in 1e-8: 0.010.
const SIZE: i64 = 1_000_000;
/// Times as fast as the pieces the whole line is to be.
const GOAL: f64 = 2.5;

const LINE: &str = "Kimera, the whole line";
const LINE_TICKERS: &str = "Kimera, the whole line, best prices only";
const PIECES: &str = "Kimera: decode, write, sign";
const THEIRS: &str = concat!("nautilus-binance ", env!("VERSION_NAUTILUS_BINANCE"), ": decode, write, sign");

/// Writes orders from frames, one way or another.
trait Writer {
    /// The order that a frame leads to, signed; the next call may reuse it.
    fn order(&mut self, index: usize, frame: &[u8]) -> Result<&[u8]>;
}

/// Runs both comparisons.
///
/// # Errors
/// A signature is wrong, an order is not the same, or a line cannot be built.
pub fn run(setting: &Setting) -> Result<Vec<Outcome>> {
    let sources = Source::all(&setting.tape, &setting.config)?;
    let Some(source) = sources.iter().find(|source| source.name == "usdm") else {
        bail!("no USD-M in the recording")
    };
    let (frames, events) = (Batch::of(source.frames(Kind::Ticker)), Batch::of(source.events(Kind::Ticker)));
    let (mut ours, mut theirs) = (Pieces::new(source)?, Nautilus::new()?);
    equal(setting, &frames, &events, &mut ours, &mut theirs)?;
    if setting.control {
        return Ok(Vec::new());
    }
    let recorded = Frames::load(&setting.config.data).map_err(|e| anyhow!("{e}"))?;
    let orders = verify_line(setting, &recorded)?;
    let expected = line(setting)?.run(&recorded).fingerprint;
    let through = |frames: fn(&str) -> bool| through_the_line(setting, &recorded, expected, frames);
    let mut whole = whole([through(|_| true), through(is_ticker)], &events, &mut theirs).run(setting)?;
    whole.notes.push(format!(
        "{orders} orders and cancels of the line, every signature computed once more by hmac and sha2"
    ));
    whole.notes.push(goal(&whole));
    let same = same(&frames, &events, &mut ours, &mut theirs).run(setting)?;
    Ok(vec![whole, same])
}

/// Both sides' orders say the same, and are signed as hmac and sha2 sign them.
fn equal(
    setting: &Setting,
    frames: &Batch,
    events: &Batch,
    ours: &mut Pieces,
    theirs: &mut Nautilus,
) -> Result<()> {
    ensure!(frames.len() == events.len(), "{} frames hold {} events", frames.len(), events.len());
    let changed = if setting.control { events.with_a_bit_turned() } else { events.clone() };
    let (mut by_us, mut by_them) = (Checker::new(SECRET)?, Checker::new(SECRET)?);
    for (index, (frame, event)) in frames.texts().zip(changed.texts()).enumerate() {
        by_us.check(ours.order(index, frame.as_bytes())?)?;
        by_them.check(theirs.order(index, event.as_bytes())?)?;
    }
    let results = [(PIECES.to_owned(), by_us.result()), (THEIRS.to_owned(), by_them.result())];
    compare("order, the same work", &results)
}

/// Sends the recording through the line once, and computes every signature again: how many there were.
fn verify_line(setting: &Setting, frames: &Frames) -> Result<u64> {
    let mut pipeline = line(setting)?;
    let mut checker = Checker::new(LINE_SECRET)?;
    let mut wrong = None;
    for index in 0..frames.len() {
        pipeline.prepare_without_text(frames, index);
        let mut leave = |_: usize, bytes: &[u8]| {
            if let Err(error) = checker.check(bytes) {
                wrong.get_or_insert(error);
            }
        };
        pipeline.send_text(frames, index, frames.text(index), &mut leave, &mut ());
    }
    if let Some(error) = wrong {
        return Err(error.context("an order of the line"));
    }
    ensure!(checker.orders() > 0, "the line sent no order");
    Ok(checker.orders())
}

fn line(setting: &Setting) -> Result<Pipeline> {
    Pipeline::new(&setting.config, &Counters::detached()).map_err(|e| anyhow!("{e}"))
}

const METRICS: &[&str] = &["p50", "p99"];

fn percentiles(ticks: &[u64], tsc: Tsc) -> Vec<f64> {
    let ns: Vec<f64> = ticks.iter().map(|ticks| tsc.to_ns(ticks * 16) as f64 / 16.0).collect();
    vec![quantile(&ns, 0.5), quantile(&ns, 0.99)]
}

/// Times each frame's way to its order.
fn each<'a>(batch: &'a Batch, writer: &'a mut impl Writer) -> impl FnMut() -> Result<Vec<f64>> + 'a {
    let tsc = Tsc::calibrate();
    let mut ticks = Vec::with_capacity(batch.len());
    move || {
        ticks.clear();
        for (index, text) in batch.texts().enumerate() {
            let begun = Tsc::now();
            let order = writer.order(index, std::hint::black_box(text.as_bytes()))?;
            std::hint::black_box(order);
            ticks.push(Tsc::now().saturating_sub(begun));
        }
        Ok(percentiles(&ticks, tsc))
    }
}

fn is_ticker(text: &str) -> bool {
    text.split_once('@').is_some_and(|(_, stream)| stream.starts_with(Kind::Ticker.stream()))
}

/// Sends the recording through a line of its own each time; frames of the chosen kind that led to an order count.
fn through_the_line<'a>(
    setting: &'a Setting,
    frames: &'a Frames,
    expected: u64,
    counts: fn(&str) -> bool,
) -> impl FnMut() -> Result<Vec<f64>> + 'a {
    let tsc = Tsc::calibrate();
    move || {
        let (mut pipeline, mut hash, mut ticks) = (line(setting)?, RollingHash::default(), Vec::new());
        for index in 0..frames.len() {
            pipeline.prepare(frames, index);
            let moments = pipeline.send(frames, index, &mut hash, &mut ());
            let signed = moments.signed.filter(|_| !frames.is_snapshot(index));
            if let Some(signed) = signed.filter(|_| std::str::from_utf8(frames.text(index)).is_ok_and(counts))
            {
                ticks.push(signed.saturating_sub(moments.begun));
            }
        }
        ensure!(hash.value() == expected, "the line did not send the same orders twice");
        Ok(percentiles(&ticks, tsc))
    }
}

fn whole<'a>(
    [all, tickers]: [impl FnMut() -> Result<Vec<f64>> + 'a; 2],
    events: &'a Batch,
    theirs: &'a mut Nautilus,
) -> Race<'a> {
    Race {
        title: "frame to signed order, everything on, against pieces with nothing between: DIFFERENT WORK".into(),
        unit: "ns",
        better: Better::Less,
        metrics: METRICS,
        contestants: vec![
            Contestant::ours(LINE, all),
            Contestant::ours(LINE_TICKERS, tickers),
            Contestant::peer(THEIRS, each(events, theirs)),
        ],
        notes: vec![
            "ours: decoder, book feed, sequencer, books, five members, ensemble, strategy, execution, risk, compliance, \
             text, signature, over every frame that led to an order or a cancel, depth frames among them"
                .into(),
            "theirs: a best price decoded, an order's text, its signature; no cache, strategy, risk, bus or order object"
                .into(),
        ],
    }
}

/// What the goal says of the medians.
fn goal(whole: &Outcome) -> String {
    let verdict = whole.metrics.first().and_then(|metric| metric.rows.last()).and_then(|row| row.verdict);
    let factor = verdict.map_or(0.0, |verdict| verdict.factor);
    let word = if factor >= GOAL { "reached" } else { "missed" };
    format!("goal, with everything on {GOAL} × as fast at p50 as the pieces: {word} ({factor:.2} ×)")
}

fn same<'a>(
    frames: &'a Batch,
    events: &'a Batch,
    ours: &'a mut Pieces,
    theirs: &'a mut Nautilus,
) -> Race<'a> {
    Race {
        title: format!("best price to signed order, the same work on both sides, {} frames", frames.len()),
        unit: "ns",
        better: Better::Less,
        metrics: METRICS,
        contestants: vec![
            Contestant::ours(PIECES, each(frames, ours)),
            Contestant::peer(THEIRS, each(events, theirs)),
        ],
        notes: vec![
            "both ask the wall clock for the order's time; ours reads the frame with its stream's wrapper, 44 bytes more"
                .into(),
            "ours begins each signature with what never changes of the text, theirs makes its key anew each time, and goes \
             through a JSON value twice"
                .into(),
        ],
    }
}
