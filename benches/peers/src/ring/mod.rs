//! A message of 128 bytes from one end of a queue to the other: on one thread, in bursts, and between two cores.
//!
//! The messages are recorded ones. While times are taken a reader adds up three words of each, from both of its cache
//! lines; equality is tested beforehand over every word.

mod actors;
mod queues;

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kimera_protocol::{Message, RollingHash};
use kimera_runtime::plan::pin_to_core;
use kimera_venues::FrameBuffer;

use crate::Setting;
use crate::input::{Kind, Source};
use crate::rounds::{Better, Contestant, Outcome, Race, compare};
use actors::Mailbox;
use queues::{
    ByValue, Crossbeam, Disruptor, InPlace, Kanal, Queue, RtrbByValue, RtrbInPlace, Tokio, TokioParked,
};

/// Messages that go through again and again: they stay in the nearest cache.
const SOURCE: usize = 64;
/// Messages of a burst.
const BURST: usize = 16;
/// Times the source goes through in one run on one thread.
const PASSES: usize = 8_192;
/// The same for an actor, which is an order of magnitude slower.
const PASSES_ACTOR: usize = 512;
/// Round trips of a run between threads that spin.
const TRIPS: usize = 50_000;
/// The same where a thread sleeps and has to be woken.
const TRIPS_PARKED: usize = 4_000;

/// Runs the three comparisons.
///
/// # Errors
/// Somebody received something else; the recording cannot be had.
pub fn run(setting: &Setting) -> Result<Vec<Outcome>> {
    let source = messages(setting)?;
    let mailbox = Mailbox::new(setting.cores.first().copied());
    one_thread_equal(setting, &source, &mailbox)?;
    if setting.control {
        return Ok(Vec::new());
    }
    let mut outcomes = vec![single(&source, &mailbox).run(setting)?, bursts(&source, &mailbox).run(setting)?];
    if let [first, .., last] = setting.cores[..] {
        two_threads_equal(&source, &mailbox, first)?;
        outcomes.push(two_threads(&source, &mailbox, [first, last]).run(setting)?);
    } else if let Some(outcome) = outcomes.last_mut() {
        outcome.notes.push(
            "two threads are left out: there is one core, and spinning threads would wait for it".into(),
        );
    }
    Ok(outcomes)
}

/// The first messages of the recording's best prices and depth, as decoders make them.
fn messages(setting: &Setting) -> Result<Vec<Message>> {
    let sources = Source::all(&setting.tape, &setting.config)?;
    let source = sources.first().context("the recording has no market")?;
    let (mut decoder, mut buffer, mut messages) = (source.decoder(), FrameBuffer::new(), Vec::new());
    for (ticker, depth) in source.frames(Kind::Ticker).zip(source.frames(Kind::Depth)) {
        for frame in [ticker, depth] {
            source.decode(&mut decoder, frame, &mut buffer)?;
            messages.extend_from_slice(buffer.messages());
        }
        if messages.len() >= SOURCE {
            break;
        }
    }
    messages.truncate(SOURCE);
    ensure!(messages.len() == SOURCE, "the recording has too few frames");
    // As the door does; and the stamp is no zero, so that all words count.
    for (seq, message) in (1..).zip(&mut messages) {
        message.header.seq = seq;
        message.header.ingress = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    Ok(messages)
}

/// Three words of a message: its number, and the last one of each cache line.
#[inline]
fn glance(message: &Message) -> u64 {
    let words = message.words();
    message.header.seq.wrapping_add(words[3]).wrapping_add(words[11])
}

/// Every word of a message.
fn read_all(hash: &mut RollingHash, message: &Message) {
    message.header.words().iter().chain(message.words()).for_each(|word| hash.update_word(*word));
}

/// What `times` messages of the source add up to.
fn expected(source: &[Message], times: usize) -> u64 {
    let sum = |messages: &[Message]| messages.iter().map(glance).fold(0, u64::wrapping_add);
    let whole = sum(source).wrapping_mul((times / source.len()) as u64);
    whole.wrapping_add(sum(&source[..times % source.len()]))
}

fn nanoseconds_each(since: Instant, messages: usize) -> f64 {
    since.elapsed().as_nanos() as f64 / messages as f64
}

/// The hash of what came out of a queue, message by message and in bursts.
fn received<Q: Queue>(source: &[Message]) -> (String, u64) {
    let (mut input, mut output) = Q::make();
    let mut hash = RollingHash::default();
    for message in source {
        if Q::send(&mut input, message) {
            Q::take(&mut output, |message| read_all(&mut hash, message));
        }
    }
    for burst in source.chunks(BURST) {
        if Q::send_all(&mut input, burst) {
            Q::take_all(&mut output, BURST, |message| read_all(&mut hash, message));
        }
    }
    (Q::NAME.to_owned(), hash.value())
}

fn one_thread_equal(setting: &Setting, source: &[Message], mailbox: &Mailbox) -> Result<()> {
    let mut changed = source.to_vec();
    if setting.control {
        changed[SOURCE / 2].header.time ^= 1;
    }
    let mut by_hand = RollingHash::default();
    source.iter().chain(source).for_each(|message| read_all(&mut by_hand, message));
    let results = [
        ("the source".to_owned(), by_hand.value()),
        received::<InPlace>(source),
        received::<ByValue>(source),
        received::<RtrbInPlace>(source),
        received::<RtrbByValue>(source),
        received::<Disruptor>(source),
        received::<Crossbeam>(&changed),
        received::<Kanal>(source),
        received::<Tokio>(source),
        mailbox.received(source)?,
    ];
    compare("ring hop on one thread", &results)
}

/// One message in, one message out.
fn hop<'a, Q: Queue + 'a>(source: &'a [Message]) -> impl FnMut() -> Result<Vec<f64>> + 'a {
    let (mut input, mut output) = Q::make();
    move || {
        let (mut sum, mut sent) = (0u64, true);
        let since = Instant::now();
        for _ in 0..PASSES {
            for message in black_box(source) {
                sent &= Q::send(&mut input, message);
                Q::take(&mut output, |message| sum = sum.wrapping_add(glance(black_box(message))));
            }
        }
        let each = nanoseconds_each(since, PASSES * SOURCE);
        ensure!(sent && sum == expected(source, PASSES * SOURCE), "{} lost a message", Q::NAME);
        Ok(vec![each])
    }
}

/// Sixteen messages in, sixteen out.
fn burst<'a, Q: Queue + 'a>(source: &'a [Message]) -> impl FnMut() -> Result<Vec<f64>> + 'a {
    let (mut input, mut output) = Q::make();
    move || {
        let (mut sum, mut sent) = (0u64, true);
        let since = Instant::now();
        for _ in 0..PASSES {
            for burst in black_box(source).chunks_exact(BURST) {
                sent &= Q::send_all(&mut input, burst);
                Q::take_all(&mut output, BURST, |message| sum = sum.wrapping_add(glance(black_box(message))));
            }
        }
        let each = nanoseconds_each(since, PASSES * SOURCE);
        ensure!(sent && sum == expected(source, PASSES * SOURCE), "{} lost a message", Q::NAME);
        Ok(vec![each])
    }
}

const MAILBOX_NOTE: &str = "actix: a message by itself, or the last one of a burst, is sent and awaited, those before it \
                            are do_send: there is no other way to know that an actor has seen them";

fn single<'a>(source: &'a [Message], mailbox: &'a Mailbox) -> Race<'a> {
    Race {
        title: "ring hop, one thread, one message at a time (128 bytes)".into(),
        unit: "ns a message",
        better: Better::Less,
        metrics: &[""],
        contestants: vec![
            Contestant::ours(InPlace::NAME, hop::<InPlace>(source)),
            Contestant::ours(ByValue::NAME, hop::<ByValue>(source)),
            Contestant::peer(RtrbInPlace::NAME, hop::<RtrbInPlace>(source)),
            Contestant::peer(RtrbByValue::NAME, hop::<RtrbByValue>(source)),
            Contestant::peer(Disruptor::NAME, hop::<Disruptor>(source)),
            Contestant::peer(Crossbeam::NAME, hop::<Crossbeam>(source)),
            Contestant::peer(Kanal::NAME, hop::<Kanal>(source)),
            Contestant::peer(Tokio::NAME, hop::<Tokio>(source)),
            Contestant::peer(actors::NAME, move || mailbox.hop(source, PASSES_ACTOR, 1)),
        ],
        notes: vec![MAILBOX_NOTE.into()],
    }
}

fn bursts<'a>(source: &'a [Message], mailbox: &'a Mailbox) -> Race<'a> {
    Race {
        title: format!("ring hop, one thread, bursts of {BURST} (128 bytes)"),
        unit: "ns a message",
        better: Better::Less,
        metrics: &[""],
        contestants: vec![
            Contestant::ours(InPlace::NAME, burst::<InPlace>(source)),
            Contestant::ours(ByValue::NAME, burst::<ByValue>(source)),
            Contestant::peer(RtrbInPlace::NAME, burst::<RtrbInPlace>(source)),
            Contestant::peer(RtrbByValue::NAME, burst::<RtrbByValue>(source)),
            Contestant::peer(Disruptor::NAME, burst::<Disruptor>(source)),
            Contestant::peer(Crossbeam::NAME, burst::<Crossbeam>(source)),
            Contestant::peer(Kanal::NAME, burst::<Kanal>(source)),
            Contestant::peer(Tokio::NAME, burst::<Tokio>(source)),
            Contestant::peer(actors::NAME, move || mailbox.hop(source, PASSES_ACTOR, BURST)),
        ],
        notes: vec![MAILBOX_NOTE.into()],
    }
}

/// Sends `trips` messages to a thread on another core, one at a time, and has each sent back.
fn ping_pong<Q: Queue>(
    source: &[Message],
    trips: usize,
    core: usize,
    mut see: impl FnMut(&Message),
) -> Result<f64> {
    let (mut there, mut arrives) = Q::make();
    let (mut back, mut returns) = Q::make();
    let (is_ready, is_pinned) = (AtomicBool::new(false), AtomicBool::new(false));
    let each = std::thread::scope(|scope| {
        scope.spawn(|| {
            is_pinned.store(pin_to_core(core), Ordering::Relaxed);
            is_ready.store(true, Ordering::Release);
            let mut answer = |message: &Message| {
                while !Q::send(&mut back, message) {
                    spin_loop();
                }
            };
            for _ in 0..trips {
                while !Q::take(&mut arrives, &mut answer) {
                    spin_loop();
                }
            }
        });
        while !is_ready.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let since = Instant::now();
        for message in source.iter().cycle().take(trips) {
            while !Q::send(&mut there, message) {
                spin_loop();
            }
            while !Q::take(&mut returns, &mut see) {
                spin_loop();
            }
        }
        nanoseconds_each(since, 2 * trips)
    });
    ensure!(is_pinned.load(Ordering::Relaxed), "core {core} is not to be had");
    Ok(each)
}

fn returned<Q: Queue>(source: &[Message], core: usize) -> Result<(String, u64)> {
    let mut hash = RollingHash::default();
    ping_pong::<Q>(source, source.len(), core, |message| read_all(&mut hash, message))?;
    Ok((Q::NAME.to_owned(), hash.value()))
}

fn two_threads_equal(source: &[Message], mailbox: &Mailbox, core: usize) -> Result<()> {
    let mut by_hand = RollingHash::default();
    source.iter().for_each(|message| read_all(&mut by_hand, message));
    let results = [
        ("the source".to_owned(), by_hand.value()),
        returned::<InPlace>(source, core)?,
        returned::<ByValue>(source, core)?,
        returned::<RtrbInPlace>(source, core)?,
        returned::<RtrbByValue>(source, core)?,
        returned::<Disruptor>(source, core)?,
        returned::<Crossbeam>(source, core)?,
        returned::<Kanal>(source, core)?,
        returned::<Tokio>(source, core)?,
        returned::<TokioParked>(source, core)?,
        mailbox.returned(source)?,
    ];
    compare("ring hop between two threads", &results)
}

fn trip<'a, Q: Queue + 'a>(
    source: &'a [Message],
    trips: usize,
    core: usize,
) -> impl FnMut() -> Result<Vec<f64>> + 'a {
    move || {
        let mut sum = 0u64;
        let see = |message: &Message| sum = sum.wrapping_add(glance(message));
        let each = ping_pong::<Q>(source, trips, core, see)?;
        ensure!(sum == expected(source, trips), "{} lost a message", Q::NAME);
        Ok(vec![each])
    }
}

fn two_threads<'a>(source: &'a [Message], mailbox: &'a Mailbox, cores: [usize; 2]) -> Race<'a> {
    let [other, own] = cores;
    Race {
        title: format!("ring hop, two threads on cores {own} and {other}, round trip / 2 (128 bytes)"),
        unit: "ns a message",
        better: Better::Less,
        metrics: &[""],
        contestants: vec![
            Contestant::ours(InPlace::NAME, trip::<InPlace>(source, TRIPS, other)),
            Contestant::ours(ByValue::NAME, trip::<ByValue>(source, TRIPS, other)),
            Contestant::peer(RtrbInPlace::NAME, trip::<RtrbInPlace>(source, TRIPS, other)),
            Contestant::peer(RtrbByValue::NAME, trip::<RtrbByValue>(source, TRIPS, other)),
            Contestant::peer(Disruptor::NAME, trip::<Disruptor>(source, TRIPS, other)),
            Contestant::peer(Crossbeam::NAME, trip::<Crossbeam>(source, TRIPS, other)),
            Contestant::peer(Kanal::NAME, trip::<Kanal>(source, TRIPS, other)),
            Contestant::peer(Tokio::NAME, trip::<Tokio>(source, TRIPS, other)),
            Contestant::peer(TokioParked::NAME, trip::<TokioParked>(source, TRIPS_PARKED, other)),
            Contestant::peer(actors::NAME_PARKED, move || mailbox.trip(source, TRIPS_PARKED)),
        ],
        notes: vec![
            "everybody spins but those marked (parks): their threads sleep, and being woken is in the figure; an \
             actor cannot spin on its mailbox"
                .into(),
        ],
    }
}
