//! Level updates into a book, with the best bid and ask read once a frame.
//!
//! Everybody gets the recording's depth, decoded and linked, in its own input type, built beforehand: the snapshot, then
//! every delta that follows it. Books are emptied before the clock starts; Kimera's empties itself where it meets the
//! snapshot, and that counts.

mod implementations;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kimera_market::ladder::{FAR_LEVELS, WINDOW_TICKS};
use kimera_protocol::{DepthBegin, FrameRef, Instrument, Kind as Body, Levels, Message, RollingHash};
use kimera_venues::{DepthSync, FrameBuffer, Verdict};

use crate::Setting;
use crate::input::{Kind, Source};
use crate::rounds::{Better, Contestant, Outcome, Race, compare};
use implementations::{Hash, Kimera, Maps, Nautilus, RegionOfInterest};

/// Times a run goes through the recording.
const PASSES: usize = 5;
/// The region of interest: so many per cent of the first mid price to each side.
const REGION_PER_CENT: i64 = 5;

/// One side's best level: its price in ticks and its size in 1e-8; zeros where there is none.
pub type Best = (i64, i64);

/// A level to be set, size 0 to take it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// On the bid side.
    pub is_bid: bool,
    /// In ticks.
    pub price: i64,
    /// In 1e-8.
    pub size: i64,
}

/// The recording's depth of one market.
#[derive(Clone)]
pub struct Depth {
    /// What is traded.
    pub instrument: Instrument,
    /// As the line's door passes it on.
    pub messages: Vec<Message>,
    /// The same level by level.
    pub rows: Vec<Row>,
    /// Rows up to the end of each frame.
    pub frame_ends: Vec<usize>,
    /// Lowest and highest tick of the region of interest.
    pub region: (i64, i64),
}

/// A book under test.
pub trait Book {
    /// Name in the table.
    const NAME: &'static str;
    /// What it is fed.
    type Input;

    /// The depth as its own type.
    fn input(depth: &Depth) -> Self::Input;

    /// An empty book.
    fn new(depth: &Depth) -> Self;

    /// Makes it empty again; not timed.
    fn clear(&mut self);

    /// Takes everything in, and shows best bid and ask behind each frame.
    fn apply(&mut self, input: &Self::Input, see: impl FnMut(Best, Best));

    /// Shows every level it holds.
    fn levels(&self, see: impl FnMut(Row));
}

/// What a book made of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    /// Every best bid and ask.
    bests: u64,
    /// Levels inside the region of interest at the end: how many, and the sum of their digests.
    inside: (u64, u64),
    /// The same of all levels.
    all: (u64, u64),
}

/// Runs a comparison for each market.
///
/// # Errors
/// A book that comes out differently.
pub fn run(setting: &Setting) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for source in Source::all(&setting.tape, &setting.config)? {
        let depth = &Depth::of(&source)?;
        equal(setting, source.name, depth)?;
        if !setting.control {
            outcomes.push(race(source.name, depth).run(setting)?);
        }
    }
    Ok(outcomes)
}

fn equal(setting: &Setting, market: &str, depth: &Depth) -> Result<()> {
    let mut changed = depth.clone();
    if setting.control {
        // The last one: no later update of the level hides it.
        if let Some(row) = changed.rows.last_mut() {
            row.size ^= 1;
        }
    }
    let reference = fingerprint::<Maps>(depth);
    let results = [
        (Maps::NAME.to_owned(), reference),
        (Kimera::NAME.to_owned(), fingerprint::<Kimera>(depth)),
        (Nautilus::NAME.to_owned(), fingerprint::<Nautilus>(&changed)),
        (Hash::NAME.to_owned(), fingerprint::<Hash>(depth)),
        // It does not hold the rest, and is not asked for it.
        (
            RegionOfInterest::NAME.to_owned(),
            Fingerprint { all: reference.all, ..fingerprint::<RegionOfInterest>(depth) },
        ),
    ];
    compare(&format!("books, {market}"), &results)
}

fn race<'a>(market: &str, depth: &'a Depth) -> Race<'a> {
    Race {
        title: format!(
            "books, {market}: {} level updates in {} frames",
            depth.rows.len(),
            depth.frame_ends.len()
        ),
        unit: "M updates/s",
        better: Better::More,
        metrics: &[""],
        contestants: vec![
            Contestant::ours(Kimera::NAME, timed::<Kimera>(depth)),
            Contestant::peer(RegionOfInterest::NAME, timed::<RegionOfInterest>(depth)),
            Contestant::peer(Hash::NAME, timed::<Hash>(depth)),
            Contestant::peer(Nautilus::NAME, timed::<Nautilus>(depth)),
            Contestant::peer(Maps::NAME, timed::<Maps>(depth)),
        ],
        notes: notes(depth),
    }
}

fn notes(depth: &Depth) -> Vec<String> {
    let (low, high) = depth.region;
    let outside = depth.rows.iter().filter(|row| !(low..=high).contains(&row.price)).count();
    let share = 100.0 * outside as f64 / depth.rows.len() as f64;
    let mut notes = vec![
        format!(
            "ROIVector drops what lies outside ticks {low} to {high}, {share:.1} % of the updates, and they count for it \
             all the same; equality is tested inside only"
        ),
        "ROIVector and HashMap hold no order of levels: the next best is a walk over ticks, a level that crosses moves \
         the other side's best; Kimera and the maps know the best N at any time"
            .into(),
        format!(
            "Kimera reads messages of {} bytes with up to six levels and checks the chain of identifiers; it holds \
             {WINDOW_TICKS} ticks around the best and {FAR_LEVELS} levels beyond a side, {} levels were given up; the \
             others read rows of their own type",
            size_of::<Message>(),
            given_up(depth)
        ),
    ];
    if !cfg!(target_feature = "sse4.1") {
        notes.push(
            "built without SSE4.1, where hftbacktest's rounding of price and size to ticks and lots is two calls a level: \
             RUSTFLAGS=\"-C target-cpu=native\" shows it at its best"
                .into(),
        );
    }
    notes
}

fn given_up(depth: &Depth) -> u64 {
    let mut book = Kimera::new(depth);
    book.apply(&Kimera::input(depth), |_, _| {});
    book.levels_dropped()
}

/// What tells one level from another.
fn digest(row: Row) -> u64 {
    let word = (row.price as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (row.size as u64).wrapping_mul(0xD1B5_4A32_D192_ED03)
        ^ u64::from(row.is_bid);
    (word ^ (word >> 29)).wrapping_mul(0xA076_1D64_78BD_642F)
}

fn fingerprint<B: Book>(depth: &Depth) -> Fingerprint {
    let mut book = B::new(depth);
    let mut bests = RollingHash::default();
    book.apply(&B::input(depth), |bid, ask| {
        [bid.0, bid.1, ask.0, ask.1].iter().for_each(|word| bests.update_word(*word as u64));
    });
    let (mut inside, mut all) = ((0u64, 0u64), (0u64, 0u64));
    book.levels(|row| {
        let digest = digest(row);
        all = (all.0 + 1, all.1.wrapping_add(digest));
        if (depth.region.0..=depth.region.1).contains(&row.price) {
            inside = (inside.0 + 1, inside.1.wrapping_add(digest));
        }
    });
    Fingerprint { bests: bests.value(), inside, all }
}

fn timed<B: Book>(depth: &Depth) -> impl FnMut() -> Result<Vec<f64>> {
    let (mut book, input) = (B::new(depth), B::input(depth));
    let mut expected = None;
    move || {
        let (mut took, mut sum) = (Duration::ZERO, 0u64);
        for _ in 0..PASSES {
            book.clear();
            let since = Instant::now();
            book.apply(black_box(&input), |bid, ask| {
                sum = sum
                    .wrapping_add((bid.0 ^ bid.1) as u64)
                    .wrapping_add((ask.0 ^ ask.1).rotate_left(8) as u64);
            });
            took += since.elapsed();
        }
        ensure!(*expected.get_or_insert(sum) == sum, "{} is not the same twice", B::NAME);
        Ok(vec![(PASSES * depth.rows.len()) as f64 / took.as_secs_f64() / 1e6])
    }
}

impl Depth {
    /// Decodes a market's depth and links it to the snapshot, as the feed does.
    fn of(source: &Source<'_>) -> Result<Self> {
        let (mut decoder, mut buffer) = (source.decoder(), FrameBuffer::new());
        let mut depth = Self {
            instrument: source.instrument.clone(),
            messages: Vec::new(),
            rows: Vec::new(),
            frame_ends: Vec::new(),
            region: (0, 0),
        };
        let text = source.snapshot().with_context(|| format!("no snapshot of {}", source.name))?;
        decoder.decode_snapshot(text.as_bytes(), FrameRef::default(), &mut buffer)?;
        let begin = kimera_venues::binance::depth_of(&buffer).context("the snapshot is no depth")?;
        let mut sync = DepthSync::new(source.market.chain_rule());
        sync.snapshot(begin.last_id, None);
        depth.push(&buffer);
        depth.region = depth.region_of_interest()?;
        for frame in source.frames(Kind::Depth) {
            source.decode(&mut decoder, frame, &mut buffer)?;
            let begin =
                buffer.messages_mut().first_mut().and_then(|message| message.body_mut::<DepthBegin>());
            match sync.delta(begin.context("a depth frame without a beginning")?) {
                Verdict::Emit => depth.push(&buffer),
                // Frames before the snapshot are not held back here, but it holds what is in them.
                Verdict::Drop => {}
                verdict => anyhow::bail!("the chain of {} is broken: {verdict:?}", source.name),
            }
        }
        Ok(depth)
    }

    fn push(&mut self, buffer: &FrameBuffer) {
        self.messages.extend_from_slice(buffer.messages());
        for message in buffer.messages() {
            debug_assert!(message.kind().is_some_and(|kind| matches!(kind, Body::DepthBegin | Body::Levels)));
            let Some(body) = message.body::<Levels>() else { continue };
            let (count, bids) = (usize::from(message.header.count), usize::from(message.header.bids));
            let rows = body.levels.iter().take(count).enumerate();
            self.rows.extend(rows.map(|(i, l)| Row { is_bid: i < bids, price: l.price.0, size: l.size.0 }));
        }
        self.frame_ends.push(self.rows.len());
    }

    /// Around the middle of the snapshot, which is all there is so far.
    fn region_of_interest(&self) -> Result<(i64, i64)> {
        let side =
            |is_bid: bool| self.rows.iter().filter(move |row| row.is_bid == is_bid).map(|row| row.price);
        let (bid, ask) = (side(true).max().context("no bids")?, side(false).min().context("no asks")?);
        let middle = i64::midpoint(bid, ask);
        let reach = middle * REGION_PER_CENT / 100;
        Ok((middle - reach, middle + reach))
    }
}

/// Rows of a book's own type, and where each frame ends.
pub struct Framed<T> {
    rows: Vec<T>,
    ends: Vec<usize>,
}

impl<T> Framed<T> {
    /// Every row as another type.
    pub fn of(depth: &Depth, row: impl FnMut(&Row) -> T) -> Self {
        Self { rows: depth.rows.iter().map(row).collect(), ends: depth.frame_ends.clone() }
    }

    /// Each frame's rows.
    #[inline]
    pub fn frames(&self) -> impl Iterator<Item = &[T]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.rows[start..*end])
    }
}
