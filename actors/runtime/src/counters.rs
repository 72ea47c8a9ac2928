//! Counters and histograms in a file that other processes map and read, at no cost to the writer.
//!
//! Layout, all little-endian words of eight bytes: a header page, a directory of fixed entries, then the values.
//! Each counter has a line pair of its own; each has one writer, so an update is a load and a store.
//!
//! A histogram is log-linear: exact to 256, then 128 buckets an octave (relative error below 0.8 %) to 2³⁶ ns; above
//! that it counts an overflow. Its first four words are count, sum, maximum and overflow.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Loader, Saver, State, StateError};
use memmap2::{Mmap, MmapMut};

const MAGIC: u64 = u64::from_le_bytes(*b"KIMERACT");
const VERSION: u64 = 2;
const HEADER_WORDS: usize = 64;
const ENTRY_WORDS: usize = 16;
const ENTRIES_MAX: usize = 512;
const LABEL_BYTES: usize = (ENTRY_WORDS - 2) * 8;
const COUNTER_WORDS: usize = 16;
const VALUES_AT: usize = HEADER_WORDS + ENTRIES_MAX * ENTRY_WORDS;

const HISTOGRAM_HEAD: usize = 4;
const LINEAR: usize = 256;
const PER_OCTAVE: usize = 128;
const OCTAVES: usize = 28;
const BUCKETS: usize = LINEAR + OCTAVES * PER_OCTAVE;
const HISTOGRAM_WORDS: usize = (HISTOGRAM_HEAD + BUCKETS).next_multiple_of(COUNTER_WORDS);
const TOTAL_WORDS: usize = VALUES_AT + 384 * COUNTER_WORDS + 96 * HISTOGRAM_WORDS;

const KIND_COUNTER: u64 = 1;
const KIND_HISTOGRAM: u64 = 2;

/// Words of the header page by meaning.
mod head {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const PID: usize = 2;
    pub const INCARNATION: usize = 3;
    pub const ENTRIES: usize = 4;
    pub const HEARTBEAT: usize = 5;
}

/// Held only to keep the memory alive.
enum Backing {
    File(#[allow(dead_code)] MmapMut),
    Heap(#[allow(dead_code)] Box<[u64]>),
}

struct Memory {
    base: NonNull<AtomicU64>,
    _backing: Backing,
}

// SAFETY: the memory is only ever accessed through `AtomicU64`, and lives as long as the `Memory`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < TOTAL_WORDS);
        // SAFETY: every index handed out lies below TOTAL_WORDS, the size of the backing.
        unsafe { self.base.add(index).as_ref() }
    }
}

/// The registry of one process: hands out counters and histograms by label.
#[derive(Clone)]
pub struct Counters {
    memory: Arc<Memory>,
    next: Arc<Mutex<(usize, usize)>>,
}

impl Counters {
    /// Counters in memory of this process only, for tests and replays.
    #[must_use]
    pub fn detached() -> Self {
        let mut heap = vec![0u64; TOTAL_WORDS].into_boxed_slice();
        let base = NonNull::from(heap.as_mut()).cast();
        Self::over(Memory { base, _backing: Backing::Heap(heap) }, 0)
    }

    /// Counters in a mapped file, replacing what is there.
    ///
    /// # Errors
    /// Where the file cannot be created, sized or mapped.
    pub fn create(path: &Path, incarnation: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(TOTAL_WORDS as u64 * 8)?;
        // SAFETY: the file is ours alone to write (the state directory is locked); readers take torn values as such.
        let mut map = unsafe { MmapMut::map_mut(&file)? };
        let base = NonNull::new(map.as_mut_ptr().cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self::over(Memory { base, _backing: Backing::File(map) }, incarnation))
    }

    fn over(memory: Memory, incarnation: u64) -> Self {
        memory.word(head::VERSION).store(VERSION, Ordering::Relaxed);
        memory.word(head::PID).store(u64::from(std::process::id()), Ordering::Relaxed);
        memory.word(head::INCARNATION).store(incarnation, Ordering::Relaxed);
        memory.word(head::MAGIC).store(MAGIC, Ordering::Release);
        Self { memory: Arc::new(memory), next: Arc::new(Mutex::new((0, VALUES_AT))) }
    }

    /// The counter another part of this process registered; a detached one where there is none.
    #[must_use]
    pub fn counter_of(&self, label: &str) -> Counter {
        Counter(self.find(label, KIND_COUNTER).map(|at| (self.memory.clone(), at)))
    }

    /// Where the values of a label are.
    fn find(&self, label: &str, kind: u64) -> Option<usize> {
        let word = |i: usize| self.memory.word(i).load(Ordering::Acquire);
        let label = label_words(label);
        (0..(word(head::ENTRIES) as usize).min(ENTRIES_MAX)).find_map(|entry| {
            let at = HEADER_WORDS + entry * ENTRY_WORDS;
            let is_it = word(at) == kind && label.iter().zip(at + 2..).all(|(known, i)| word(i) == *known);
            is_it.then(|| word(at + 1) as usize)
        })
    }

    fn register(&self, label: &str, kind: u64, words: usize) -> Option<usize> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.find(label, kind) {
            return Some(known);
        }
        let (entry, value) = *next;
        if entry >= ENTRIES_MAX || value + words > TOTAL_WORDS {
            return None;
        }
        let at = HEADER_WORDS + entry * ENTRY_WORDS;
        for (i, part) in label_words(label).into_iter().enumerate() {
            self.memory.word(at + 2 + i).store(part, Ordering::Relaxed);
        }
        self.memory.word(at + 1).store(value as u64, Ordering::Relaxed);
        self.memory.word(at).store(kind, Ordering::Release);
        *next = (entry + 1, value + words);
        self.memory.word(head::ENTRIES).store(entry as u64 + 1, Ordering::Release);
        Some(value)
    }

    /// The counter of a label, made where there is none; a detached one where the file is full (its value is then nowhere to be
    /// read).
    #[must_use]
    pub fn counter(&self, label: &str) -> Counter {
        Counter(self.register(label, KIND_COUNTER, COUNTER_WORDS).map(|at| (self.memory.clone(), at)))
    }

    /// As [`Counters::counter`], a histogram.
    #[must_use]
    pub fn histogram(&self, label: &str) -> Histogram {
        Histogram(self.register(label, KIND_HISTOGRAM, HISTOGRAM_WORDS).map(|at| (self.memory.clone(), at)))
    }

    /// Says "alive" to readers: any growing number.
    pub fn heartbeat(&self, value: u64) {
        self.memory.word(head::HEARTBEAT).store(value, Ordering::Release);
    }

    /// Everything as a reader would see it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let word = |i: usize| self.memory.word(i).load(Ordering::Acquire);
        Snapshot::read(TOTAL_WORDS, word).unwrap_or_default()
    }
}

/// A number with one writer. The default is detached and counts nothing.
#[derive(Clone, Default)]
pub struct Counter(Option<(Arc<Memory>, usize)>);

impl Counter {
    /// False for one whose value is nowhere to be read.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.0.is_some()
    }

    /// Adds `by`.
    #[inline]
    pub fn add(&self, by: u64) {
        if let Some((memory, at)) = &self.0 {
            let word = memory.word(*at);
            word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
        }
    }

    /// Sets the value: a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        if let Some((memory, at)) = &self.0 {
            memory.word(*at).store(value, Ordering::Release);
        }
    }

    /// The value; 0 where detached.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.as_ref().map_or(0, |(memory, at)| memory.word(*at).load(Ordering::Acquire))
    }
}

/// What was counted up to a snapshot goes on from there.
impl State for Counter {
    fn save(&self, out: &mut Saver) {
        self.get().save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut value = 0u64;
        value.load(from)?;
        self.set(value);
        Ok(())
    }
}

/// A log-linear histogram with one writer. The default is detached and records nothing.
#[derive(Clone, Default)]
pub struct Histogram(Option<(Arc<Memory>, usize)>);

fn bucket_of(value: u64) -> Option<usize> {
    if value < LINEAR as u64 {
        return Some(value as usize);
    }
    let exponent = 63 - value.leading_zeros() as usize;
    let octave = exponent - 8;
    (octave < OCTAVES)
        .then(|| LINEAR + octave * PER_OCTAVE + ((value >> (exponent - 7)) as usize & (PER_OCTAVE - 1)))
}

/// The largest value a bucket counts.
fn bucket_top(bucket: usize) -> u64 {
    if bucket < LINEAR {
        return bucket as u64;
    }
    let (octave, step) = ((bucket - LINEAR) / PER_OCTAVE, (bucket - LINEAR) % PER_OCTAVE);
    let shift = octave + 1;
    (((PER_OCTAVE + step + 1) as u64) << shift) - 1
}

impl Histogram {
    /// True where what is recorded goes somewhere: who would have to look at a clock for it can do without.
    #[inline]
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.0.is_some()
    }

    /// Counts `value`.
    #[inline]
    pub fn record(&self, value: u64) {
        let Some((memory, at)) = &self.0 else { return };
        let bump = |index: usize, by: u64| {
            let word = memory.word(at + index);
            word.store(word.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        };
        match bucket_of(value) {
            Some(bucket) => bump(HISTOGRAM_HEAD + bucket, 1),
            None => bump(3, 1),
        }
        bump(1, value);
        let maximum = memory.word(at + 2);
        if value > maximum.load(Ordering::Relaxed) {
            maximum.store(value, Ordering::Relaxed);
        }
        let count = memory.word(*at);
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

/// What a histogram says, in its own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest value.
    pub max: u64,
    /// Values counted.
    pub count: u64,
}

/// Everything a counters file says at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Process that writes.
    pub pid: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its heartbeat.
    pub heartbeat: u64,
    /// Counters by label, in order of registration.
    pub counters: Vec<(String, u64)>,
    /// Histograms by label, in order of registration.
    pub histograms: Vec<(String, Quantiles)>,
}

/// Why a file is no counters file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or mapped.
    #[error("cannot read counters: {0}")]
    Io(#[from] io::Error),
    /// The content is not ours or of another version.
    #[error("not a counters file of this version")]
    Format,
}

impl Snapshot {
    /// Maps and reads the counters file of another process.
    ///
    /// # Errors
    /// [`ReadError`] where it is missing, too short, or something else.
    pub fn of_file(path: &Path) -> Result<Self, ReadError> {
        let file = std::fs::File::open(path)?;
        // SAFETY: read-only and private to us; the writer's concurrent stores are read word by word.
        let map = unsafe { Mmap::map(&file)? };
        let words = map.len() / 8;
        let word = |i: usize| {
            // SAFETY: `i < words` at every call below, the mapping is page-aligned and lives here.
            unsafe { (*map.as_ptr().cast::<AtomicU64>().add(i)).load(Ordering::Acquire) }
        };
        Self::read(words, word).ok_or(ReadError::Format)
    }

    /// The counter of a label, or 0.
    #[must_use]
    pub fn counter(&self, label: &str) -> u64 {
        self.counters.iter().find(|(l, _)| l == label).map_or(0, |(_, v)| *v)
    }

    /// The sum of all counters whose labels end so.
    #[must_use]
    pub fn sum_of(&self, suffix: &str) -> u64 {
        self.counters.iter().filter(|(l, _)| l.ends_with(suffix)).map(|(_, v)| v).sum()
    }

    /// The quantiles of a label's histogram, or an empty one.
    #[must_use]
    pub fn histogram(&self, label: &str) -> Quantiles {
        self.histograms.iter().find(|(l, _)| l == label).map_or_else(Quantiles::default, |(_, q)| *q)
    }

    fn read(words: usize, word: impl Fn(usize) -> u64) -> Option<Self> {
        if words < VALUES_AT || word(head::MAGIC) != MAGIC || word(head::VERSION) != VERSION {
            return None;
        }
        let mut snapshot = Self {
            pid: word(head::PID),
            incarnation: word(head::INCARNATION),
            heartbeat: word(head::HEARTBEAT),
            ..Self::default()
        };
        for entry in 0..(word(head::ENTRIES) as usize).min(ENTRIES_MAX) {
            let at = HEADER_WORDS + entry * ENTRY_WORDS;
            let label = label_at(at, &word);
            let value = usize::try_from(word(at + 1)).ok()?;
            match word(at) {
                KIND_COUNTER if value < words => snapshot.counters.push((label, word(value))),
                KIND_HISTOGRAM if value.checked_add(HISTOGRAM_WORDS)? <= words => {
                    snapshot.histograms.push((label, quantiles(|i| word(value + i))));
                }
                _ => return None,
            }
        }
        Some(snapshot)
    }
}

/// The label of the directory entry at `at`.
/// A label as its entry holds it: as much as there is room for.
fn label_words(label: &str) -> [u64; LABEL_BYTES / 8] {
    let mut text = [0u8; LABEL_BYTES];
    let used = label.len().min(LABEL_BYTES);
    text[..used].copy_from_slice(&label.as_bytes()[..used]);
    let (words, _) = text.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

fn label_at(at: usize, word: &impl Fn(usize) -> u64) -> String {
    let mut text = [0u8; LABEL_BYTES];
    for (i, chunk) in text.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = word(at + 2 + i).to_le_bytes();
    }
    let end = text.iter().position(|&b| b == 0).unwrap_or(LABEL_BYTES);
    String::from_utf8_lossy(&text[..end]).into_owned()
}

fn quantiles(word: impl Fn(usize) -> u64) -> Quantiles {
    let total: u64 = (0..BUCKETS).map(|b| word(HISTOGRAM_HEAD + b)).sum::<u64>() + word(3);
    let max = word(2);
    let at = |permille: u64| {
        let rank = (u128::from(total) * u128::from(permille)).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            seen += word(HISTOGRAM_HEAD + bucket);
            if seen >= rank {
                return bucket_top(bucket).min(max);
            }
        }
        max
    };
    if total == 0 {
        return Quantiles::default();
    }
    Quantiles { p50: at(500), p90: at(900), p99: at(990), p999: at(999), max, count: total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_reader_sees_what_was_written() {
        let dir = std::env::temp_dir().join(format!("kimera-counters-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("counters");
        let counters = Counters::create(&path, 7).unwrap();
        let frames = counters.counter("feed.spot.frames");
        let age = counters.histogram("market.mark_age_ns");
        frames.add(3);
        frames.add(4);
        for value in 1..=1000 {
            age.record(value);
        }
        age.record(u64::MAX);
        let seen = Snapshot::of_file(&path).unwrap();
        assert_eq!((seen.incarnation, seen.counter("feed.spot.frames")), (7, 7));
        let q = seen.histogram("market.mark_age_ns");
        assert_eq!((q.count, q.max), (1001, u64::MAX));
        assert!((500..=504).contains(&q.p50), "{q:?}");
        std::fs::write(&path, b"something else").unwrap();
        assert!(matches!(Snapshot::of_file(&path), Err(ReadError::Format)));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_label_is_one_counter() {
        let counters = Counters::detached();
        counters.counter("patterns.loads").add(3);
        let _ = counters.histogram("patterns.loads");
        let again = counters.counter("patterns.loads");
        again.add(4);
        assert_eq!((again.get(), counters.snapshot().counter("patterns.loads")), (7, 7));
        assert_eq!(counters.snapshot().counters.len(), 1);
        // Also where there is no room for the whole of it.
        let long = "x".repeat(LABEL_BYTES + 5);
        counters.counter(&long).add(1);
        counters.counter(&long).add(1);
        assert_eq!((counters.counter_of(&long).get(), counters.snapshot().counters.len()), (2, 2));
    }

    #[test]
    fn a_full_registry_loses_the_counter_not_the_program() {
        let counters = Counters::detached();
        for i in 0..400 {
            counters.counter(&format!("c{i}")).add(1);
        }
        let _ = counters.histogram("late");
        assert!(counters.snapshot().counters.len() <= ENTRIES_MAX);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_within_a_percent(value in 0u64..(1 << 36)) {
            let bucket = bucket_of(value).unwrap();
            let top = bucket_top(bucket);
            prop_assert!(top >= value);
            prop_assert!((top - value) as f64 <= value as f64 / 128.0);
            prop_assert!(bucket == 0 || bucket_top(bucket - 1) < value);
        }
    }
}
