//! What a process says while it runs: lines of six categories, as text or JSON, each with its fields.
//!
//! Nothing on the hot plane logs. What the line does is seen by the journal's thread, which shows what is worth a line to the
//! log's thread by a ring that sheds ([`line`]); everybody else says what they have to say by `tracing`. A line is formatted
//! where it is said and written by the log's thread: nobody waits for a disk or a terminal.
//!
//! * [`record`]: a line's form; [`line`]: what of the line is worth one
//! * [`file`]: where lines go, and how files change
//! * [`thread`]: who writes them

pub mod file;
pub mod line;
pub mod record;
pub mod thread;

use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, OnceLock, PoisonError};

use kimera_protocol::ErrorKind;
use kimera_runtime::{errors, world};
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::config::LogSection;
use crate::exit::Failure;
use record::Record;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Orders, fills, who may send.
    Trading,
    /// Feeds and what is wrong with them.
    Market,
    /// What risk refuses, and trading states.
    Risk,
    /// What the rules refuse.
    Compliance,
    /// Processes, seats, disk, memory.
    System,
    /// Who asked for what, and who was turned away.
    Security,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Trading, Self::Market, Self::Risk, Self::Compliance, Self::System, Self::Security];

    /// Its name: the target of its events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trading => "trading",
            Self::Market => "market",
            Self::Risk => "risk",
            Self::Compliance => "compliance",
            Self::System => "system",
            Self::Security => "security",
        }
    }

    /// The category of an event; what other libraries say is of the system.
    fn of(metadata: &Metadata<'_>) -> Self {
        Self::ALL.into_iter().find(|c| c.name() == metadata.target()).unwrap_or(Self::System)
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level, category, what, fields.
    #[default]
    Text,
    /// An object a line: docs/schema/log.json.
    Json,
}

/// Most that is logged of a category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What somebody has to look at.
    Error,
    /// What somebody should look at.
    Warn,
    /// How things are.
    #[default]
    Info,
    /// Why they are so.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    fn of(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Only the text of a line: what a person who has started something reads.
const PLAIN: u8 = 2;

/// How this process logs. A program has one: `tracing` has one subscriber.
struct Log {
    /// Most, by category.
    levels: [AtomicU8; Category::ALL.len()],
    format: AtomicU8,
    process: Mutex<&'static str>,
    to_thread: Mutex<Option<SyncSender<thread::Word>>>,
    /// Lines that found no room.
    shed: AtomicU64,
}

static LOG: Log = Log {
    levels: [const { AtomicU8::new(LogLevel::Info as u8) }; Category::ALL.len()],
    format: AtomicU8::new(PLAIN),
    process: Mutex::new("kimera"),
    to_thread: Mutex::new(None),
    shed: AtomicU64::new(0),
};

impl Log {
    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        let most = self.levels[Category::of(metadata) as usize].load(Ordering::Relaxed);
        LogLevel::of(metadata.level()) as u8 <= most
    }

    fn text(&self, record: &Record) -> String {
        let process = *self.process.lock().unwrap_or_else(PoisonError::into_inner);
        match self.format.load(Ordering::Relaxed) {
            PLAIN => record.plain(),
            json if json == LogFormat::Json as u8 => record.json(process),
            _ => record.text(),
        }
    }

    fn deliver(&self, line: String, matters: bool) {
        // Written behind the lock: a terminal that takes nothing holds up who writes to it, and nobody else.
        if let Some(line) = self.hand_over(line, matters) {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// Gives a line to the thread that writes; back where it is to be written here.
    fn hand_over(&self, line: String, matters: bool) -> Option<String> {
        let to_thread = self.to_thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(to_thread) = to_thread.as_ref() else { return Some(line) };
        match to_thread.try_send(thread::Word::Line(line)) {
            // Nobody writes any more: not in silence.
            Err(TrySendError::Disconnected(thread::Word::Line(line))) => Some(line),
            // What somebody has to look at is not shed for what is only said.
            Err(TrySendError::Full(thread::Word::Line(line))) if matters => Some(line),
            Err(TrySendError::Full(_)) => {
                self.shed.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

/// Takes what is said by `tracing`.
struct Recorder;

impl<S: Subscriber> Layer<S> for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        LOG.takes(metadata)
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes() // levels are known later than the first line is said
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        None
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let record = Record::of(event, Category::of(event.metadata()));
        LOG.deliver(LOG.text(&record), record.level == LogLevel::Error);
    }
}

/// From now on what is said by `tracing` is heard; to be called once, first of all.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Recorder));
    });
}

/// Lines are as the configuration says from here on. A person at a terminal gets text without times.
pub fn configure(process: &'static str, section: &LogSection, foreground: bool) {
    for category in Category::ALL {
        set_level(category, section.level_of(category));
    }
    let plain = foreground && section.format == LogFormat::Text;
    LOG.format.store(if plain { PLAIN } else { section.format as u8 }, Ordering::Relaxed);
    *LOG.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
}

/// How much of a category is logged, from now on.
pub fn set_level(category: Category, level: LogLevel) {
    LOG.levels[category as usize].store(level as u8, Ordering::Relaxed);
}

/// How much of a category is logged.
#[must_use]
pub fn level(category: Category) -> LogLevel {
    let code = LOG.levels[category as usize].load(Ordering::Relaxed);
    LogLevel::ALL.into_iter().find(|level| *level as u8 == code).unwrap_or_default()
}

/// The last thing a process says: why it failed. To stderr at once, whoever writes else.
pub fn last(failure: &Failure) {
    let text = if LOG.format.load(Ordering::Relaxed) == LogFormat::Json as u8 {
        let kind = ("kind".to_owned(), failure.kind.name().into());
        LOG.text(&Record::of_the_system(LogLevel::Error, failure.message.clone(), vec![kind]))
    } else {
        format!("kimera: {failure}\n")
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Lines that found no room so far.
#[must_use]
pub fn shed() -> u64 {
    LOG.shed.load(Ordering::Relaxed)
}

/// Says something without fields; in a world, to whoever looks into it.
pub fn say_at(category: Category, level: LogLevel, text: &str) {
    if world::say(text) {
        return;
    }
    // A call site has one target and one level, so there is one for each.
    macro_rules! at {
        ($category:expr) => {
            match level {
                LogLevel::Off => {}
                LogLevel::Error => tracing::error!(target: $category.name(), "{text}"),
                LogLevel::Warn => tracing::warn!(target: $category.name(), "{text}"),
                LogLevel::Info => tracing::info!(target: $category.name(), "{text}"),
                LogLevel::Debug => tracing::debug!(target: $category.name(), "{text}"),
                LogLevel::Trace => tracing::trace!(target: $category.name(), "{text}"),
            }
        };
    }
    match category {
        Category::Trading => at!(Category::Trading),
        Category::Market => at!(Category::Market),
        Category::Risk => at!(Category::Risk),
        Category::Compliance => at!(Category::Compliance),
        Category::System => at!(Category::System),
        Category::Security => at!(Category::Security),
    }
}

/// Notes what went wrong among this process's distinct errors, and says it.
pub fn fault(kind: ErrorKind, source: &str, text: &str) {
    errors::note(kind, source, text);
    // Where there is no log what is noted says nothing.
    if world::active() || LOG.format.load(Ordering::Relaxed) == PLAIN {
        alarm(Category::System, &format!("{source}: {text}"));
    }
}

/// Says how things are.
pub fn say(category: Category, text: &str) {
    say_at(category, LogLevel::Info, text);
}

/// Says what somebody should look at.
pub fn warn(category: Category, text: &str) {
    say_at(category, LogLevel::Warn, text);
}

/// Says what somebody has to look at.
pub fn alarm(category: Category, text: &str) {
    say_at(category, LogLevel::Error, text);
}

#[cfg(test)]
mod tests;
