//! The log's thread: writes what was said, and says what the line does.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kimera_protocol::ErrorKind;
use kimera_runtime::executor::said as panic_words;
use kimera_runtime::plan::keep_to_cores;
use kimera_runtime::{Counter, Inlet, errors};

use super::file::Target;
use super::line::Names;
use super::record::Record;
use super::{Category, LOG, LogFormat, LogLevel, PLAIN, line};
use crate::config::LogSection;
use crate::exit::Failure;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 8_192;
/// Messages of the line that are looked at in a row: what was said meanwhile is written in between.
const MESSAGES_MAX: usize = 1_024;
/// Longest time a message of the line waits to be looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Longest wait, at the end, for what was said to be written: nobody waits for ever for a terminal that takes nothing.
const END: Duration = Duration::from_secs(2);

/// What the thread is told.
pub(super) enum Word {
    /// To be written.
    Line(String),
    /// What the line does is to be said from now on.
    Follow(Box<Followed>),
    /// No more comes.
    End,
}

/// What the line shows the log.
pub struct Followed {
    /// Messages that are worth a line.
    pub inlet: Inlet,
    /// What numbers in them are called.
    pub names: Names,
    /// Messages that found no room in the ring.
    pub shed: Counter,
    /// Is set to the lines that found no room behind it.
    pub lines_shed: Counter,
    /// Cores on which nothing hot runs: the thread keeps to them.
    pub cores: Vec<usize>,
}

/// The log of a process that runs for long. What was said is written when this is dropped.
pub struct Running {
    to_thread: SyncSender<Word>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Begins the log of a process: to its file in the state directory where its stderr is that file, and to stderr else.
///
/// # Errors
/// An environment that says nonsense about it; where the system gives no thread.
pub fn begin(process: &'static str, section: &LogSection, file: &Path) -> Result<Running, Failure> {
    let section = &LogSection::inherited(section)?;
    super::configure(process, section, false);
    errors::listen(said);
    if section.format == LogFormat::Json {
        std::panic::set_hook(Box::new(panicked));
    }
    let target = Target::of_stderr(file, u64::from(section.file_mib) << 20, section.files);
    let (to_thread, words) = sync_channel(WAITING_MAX);
    let ending = Arc::new(AtomicBool::new(false));
    let thread = Thread { words, target, ending: ending.clone(), follows: None, unwritten: 0, shed_told: 0 };
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || thread.run());
    let thread = thread.map_err(|e| Failure::machine(format!("cannot start the log's thread: {e}")))?;
    *LOG.to_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_thread.clone());
    Ok(Running { to_thread, ending, thread: Some(thread) })
}

/// A panic is a line too, where lines are objects.
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let words = panic_words(info.payload());
    tracing::error!(
        target: Category::System.name(), kind = ErrorKind::Defect.name(), place, "panicked: {words}"
    );
}

/// What is noted among the distinct errors is a line too.
fn said(kind: ErrorKind, source: &str, text: &str, times: u64) {
    if LOG.format.load(Ordering::Relaxed) == PLAIN {
        return; // who has started it reads it anyway
    }
    if kind == ErrorKind::Refused {
        tracing::warn!(target: Category::Risk.name(), kind = kind.name(), source, times, "{text}");
    } else {
        tracing::error!(target: Category::System.name(), kind = kind.name(), source, times, "{text}");
    }
}

impl Running {
    /// Says what the line does, as it comes.
    pub fn follow(&self, followed: Followed) {
        // The thread lives as long as this.
        let _ = self.to_thread.send(Word::Follow(Box::new(followed)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        LOG.to_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.ending.store(true, Ordering::Release);
        let _ = self.to_thread.try_send(Word::End); // to wake it
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < END {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    words: Receiver<Word>,
    target: Target,
    ending: Arc<AtomicBool>,
    follows: Option<Box<Followed>>,
    /// Lines that the disk did not take.
    unwritten: u64,
    /// What found no room and was spoken of.
    shed_told: u64,
}

impl Thread {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.words.recv_timeout(LOOK) {
                Ok(Word::Line(line)) => self.write(&line),
                Ok(Word::Follow(followed)) => {
                    if !followed.cores.is_empty() {
                        let _ = keep_to_cores(&followed.cores);
                    }
                    self.follows = Some(followed);
                }
                Ok(Word::End) | Err(RecvTimeoutError::Timeout) if self.ending.load(Ordering::Acquire) => {
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(Word::End) | Err(RecvTimeoutError::Timeout) => {}
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
        // Nobody else says anything by this thread any more, and what it says itself goes straight to stderr: what waits
        // comes first.
        while let Ok(word) = self.words.try_recv() {
            if let Word::Line(line) = word {
                self.write(&line);
            }
        }
        while self.look() == MESSAGES_MAX {}
    }

    /// Says what the line has done meanwhile: how many messages that was.
    fn look(&mut self) -> usize {
        let mut seen = 0;
        let mut shed = super::shed();
        if let Some(followed) = &mut self.follows {
            while seen < MESSAGES_MAX
                && let Some(message) = followed.inlet.pop()
            {
                line::say(&message, &followed.names);
                seen += 1;
            }
            followed.lines_shed.set(shed);
            shed += followed.shed.get();
        }
        if shed > self.shed_told {
            let text = format!("{} lines found no room in the log", shed - self.shed_told);
            self.shed_told = shed;
            self.write(&LOG.text(&Record::of_the_system(LogLevel::Warn, text, Vec::new())));
        }
        seen
    }

    fn write(&mut self, line: &str) {
        if self.unwritten > 0 {
            let text = format!("the log could not be written for {} lines", self.unwritten);
            // Part of the one that failed may stand there.
            let text = LOG.text(&Record::of_the_system(LogLevel::Error, text, Vec::new()));
            if self.target.write(&format!("\n{text}")).is_err() {
                self.unwritten += 1;
                return;
            }
            self.unwritten = 0;
        }
        self.unwritten += u64::from(self.target.write(line).is_err());
    }
}
