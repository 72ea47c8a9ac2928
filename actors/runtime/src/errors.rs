//! The distinct errors of a process, each once, with how often it came, when first and when last: in a mapped file that can
//! be read while the process runs and after it has died.
//!
//! Two errors are the same where source and text are, numbers apart. A record is written before its count is: who reads a
//! count reads a whole record.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kimera_protocol::ErrorKind;

use crate::mapped::MappedWords;
use crate::world;

const MAGIC: &[u8; 8] = b"KIMERAER";
/// Distinct errors that are kept; of those that come later only the number is.
pub const ERRORS_MAX: usize = 128;
const RECORD_WORDS: usize = 64;
const COUNT: usize = 0;
const FIRST: usize = 1;
const LAST: usize = 2;
const KEY: usize = 3;
/// The kind's code in the uppermost byte, bytes of the source in the rest of the upper half, of the text in the lower one.
const LENGTHS: usize = 4;
const BYTES_AT: usize = 5;
const BYTES_MAX: usize = (RECORD_WORDS - BYTES_AT) * 8;
/// After the records: errors that found no room.
const LOST: usize = ERRORS_MAX * RECORD_WORDS;

/// An error that came at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorEntry {
    /// Of which kind it is; none where the program that wrote it knew no kinds.
    pub kind: Option<ErrorKind>,
    /// Who had it.
    pub source: String,
    /// What it said when it came first.
    pub text: String,
    /// How often.
    pub count: u64,
    /// When first, Unix milliseconds.
    pub first_ms: u64,
    /// When last, Unix milliseconds.
    pub last_ms: u64,
}

/// The mapped file. One process writes.
pub struct ErrorLog {
    words: MappedWords,
    writing: Mutex<()>,
}

/// Source and text without their numbers, as one number (FNV-1a).
fn key(source: &str, text: &str) -> u64 {
    let plain = text.bytes().filter(|b| !b.is_ascii_digit());
    let bytes = source.bytes().chain(std::iter::once(0)).chain(plain);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// As much of a text as fits, cut between characters.
fn fitting(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl ErrorLog {
    /// Opens the file and goes on with what it holds; makes it where there is none.
    ///
    /// # Errors
    /// Where it cannot be made or mapped, or is no error log.
    pub fn open(path: &Path) -> io::Result<Self> {
        let words = MappedWords::open(path, MAGIC, &[0; LOST + 1], "error log")?;
        Ok(Self { words, writing: Mutex::new(()) })
    }

    fn get(&self, record: usize, word: usize) -> u64 {
        self.words.word(record * RECORD_WORDS + word).load(Ordering::Acquire)
    }

    fn set(&self, record: usize, word: usize, value: u64) {
        self.words.word(record * RECORD_WORDS + word).store(value, Ordering::Release);
    }

    /// Notes an error: how often it has come.
    pub fn note(&self, kind: ErrorKind, source: &str, text: &str) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let key = key(source, text);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for record in 0..ERRORS_MAX {
            let count = self.get(record, COUNT);
            if count == 0 {
                self.write(record, key, (kind, source, text), now);
                return 1;
            }
            if self.get(record, KEY) == key {
                self.set(record, LAST, now);
                self.set(record, COUNT, count + 1);
                return count + 1;
            }
        }
        self.words.word(LOST).fetch_add(1, Ordering::AcqRel) + 1
    }

    fn write(&self, record: usize, key: u64, what: (ErrorKind, &str, &str), now: u64) {
        let (kind, source, text) = what;
        let source = fitting(source, 64);
        let text = fitting(text, BYTES_MAX - source.len());
        let bytes = [source.as_bytes(), text.as_bytes()].concat();
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.set(record, BYTES_AT + i, u64::from_le_bytes(word));
        }
        let lengths = (source.len() as u64) << 32 | text.len() as u64;
        self.set(record, LENGTHS, (kind as u64) << 56 | lengths);
        self.set(record, KEY, key);
        self.set(record, FIRST, now);
        self.set(record, LAST, now);
        self.set(record, COUNT, 1);
    }

    /// Every distinct error, in the order in which they came first.
    #[must_use]
    pub fn entries(&self) -> Vec<ErrorEntry> {
        let entry = |record: usize| {
            let count = self.get(record, COUNT);
            let lengths = self.get(record, LENGTHS);
            let kind = ErrorKind::from_code((lengths >> 56) as u8);
            let (source, text) = ((lengths >> 32 & 0x00ff_ffff) as usize, (lengths & 0xffff_ffff) as usize);
            if count == 0 || source + text > BYTES_MAX {
                return None;
            }
            let bytes: Vec<u8> = (0..(source + text).div_ceil(8))
                .flat_map(|i| self.get(record, BYTES_AT + i).to_le_bytes())
                .collect();
            let said = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            Some(ErrorEntry {
                kind,
                source: said(&bytes[..source]),
                text: said(&bytes[source..source + text]),
                count,
                first_ms: self.get(record, FIRST),
                last_ms: self.get(record, LAST),
            })
        };
        (0..ERRORS_MAX).map_while(entry).collect()
    }

    /// Errors that found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.words.word(LOST).load(Ordering::Acquire)
    }
}

static OURS: OnceLock<ErrorLog> = OnceLock::new();

/// From now on this process notes its errors there. The first call holds.
///
/// # Errors
/// As [`ErrorLog::open`].
pub fn keep_in(path: &Path) -> io::Result<()> {
    if OURS.get().is_none() {
        let _ = OURS.set(ErrorLog::open(path)?);
    }
    Ok(())
}

/// Is told of an error: kind, source, text, and how often it has come.
pub type Listener = fn(ErrorKind, &str, &str, u64);

static LISTENER: OnceLock<Listener> = OnceLock::new();

/// From now on this is told of an error when it comes for the first, second, fourth, eighth … time. The first call holds.
pub fn listen(listener: Listener) {
    let _ = LISTENER.set(listener);
}

/// Notes an error of this process, where it keeps them. Nothing in a world.
pub fn note(kind: ErrorKind, source: &str, text: &str) {
    if world::active() {
        return;
    }
    let times = OURS.get().map_or(1, |log| log.note(kind, source, text));
    if let Some(listener) = LISTENER.get().filter(|_| times.is_power_of_two()) {
        listener(kind, source, text, times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_once_numbers_apart_and_what_finds_no_room_is_counted() {
        let path = std::env::temp_dir().join(format!("kimera-errors-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let log = ErrorLog::open(&path).unwrap();
        assert_eq!(log.note(ErrorKind::Defect, "market", "panicked at input 17"), 1);
        assert_eq!(log.note(ErrorKind::Defect, "market", "panicked at input 230"), 2);
        log.note(ErrorKind::Defect, "risk", "panicked at input 17");
        log.note(ErrorKind::Defect, "feed", &"ä".repeat(1_000));
        drop(log);
        let log = ErrorLog::open(&path).unwrap();
        let seen = log.entries();
        let counts: Vec<_> = seen.iter().map(|e| (e.source.as_str(), e.count)).collect();
        assert_eq!(counts, [("market", 2), ("risk", 1), ("feed", 1)]);
        assert!(seen.iter().all(|e| e.kind == Some(ErrorKind::Defect)));
        assert_eq!(seen[0].text, "panicked at input 17");
        assert!(seen[0].last_ms >= seen[0].first_ms && seen[0].first_ms > 0);
        assert!(seen[2].text.starts_with('ä') && seen[2].text.len() > 400, "cut between characters");
        let letter = |i: usize| char::from_u32(0x4e00 + i as u32).unwrap().to_string();
        (0..ERRORS_MAX).for_each(|i| assert!(log.note(ErrorKind::Defect, "many", &letter(i)) > 0));
        assert_eq!((log.entries().len(), log.lost()), (ERRORS_MAX, 3));
        std::fs::remove_file(&path).unwrap();
    }
}
