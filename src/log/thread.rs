//! The log's thread: writes what was said, and says what the line does.

use std::path::Path;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kimera_protocol::ErrorKind;
use kimera_runtime::{Inlet, errors};

use super::file::Target;
use super::line::Names;
use super::{Category, LOG, LogLevel, PLAIN, line, say_at};
use crate::config::LogSection;
use crate::exit::Failure;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 8_192;
/// Messages of the line that are looked at in a row: what was said meanwhile is written in between.
const MESSAGES_MAX: usize = 1_024;
/// Longest time a message of the line waits to be looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What the thread is told.
pub(super) enum Word {
    /// To be written.
    Line(String),
    /// What the line does is to be said from now on.
    Follow(Inlet, Names),
    /// No more comes.
    End,
}

/// The log of a process that runs for long. What was said is written when this is dropped.
pub struct Running {
    to_thread: SyncSender<Word>,
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
    let target = Target::of_stderr(file, u64::from(section.file_mib) << 20, section.files);
    let (to_thread, words) = sync_channel(WAITING_MAX);
    let thread = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || Thread { words, target, follows: None, unwritten: 0, shed_told: 0 }.run())
        .map_err(|e| Failure::machine(format!("cannot start the log's thread: {e}")))?;
    *LOG.to_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(to_thread.clone());
    Ok(Running { to_thread, thread: Some(thread) })
}

/// What is noted among the distinct errors is a line too.
fn said(kind: ErrorKind, source: &str, text: &str) {
    if LOG.format.load(std::sync::atomic::Ordering::Relaxed) == PLAIN {
        return; // who has started it reads it anyway
    }
    if kind == ErrorKind::Refused {
        tracing::warn!(target: Category::Risk.name(), kind = kind.name(), source, "{text}");
    } else {
        tracing::error!(target: Category::System.name(), kind = kind.name(), source, "{text}");
    }
}

impl Running {
    /// Says what the line does, as it comes out of `inlet`.
    pub fn follow(&self, inlet: Inlet, names: Names) {
        // The thread lives as long as this.
        let _ = self.to_thread.send(Word::Follow(inlet, names));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        LOG.to_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.to_thread.send(Word::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    words: Receiver<Word>,
    target: Target,
    follows: Option<(Inlet, Names)>,
    /// Lines that the disk did not take.
    unwritten: u64,
    /// Lines without room that were spoken of.
    shed_told: u64,
}

impl Thread {
    fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.words.recv_timeout(LOOK) {
                Ok(Word::Line(line)) => self.write(&line),
                Ok(Word::Follow(inlet, names)) => self.follows = Some((inlet, names)),
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
        // Nobody else says anything by this thread any more: the line's last messages are written from here.
        self.look();
        while let Ok(Word::Line(line)) = self.words.try_recv() {
            self.write(&line);
        }
    }

    fn look(&mut self) {
        if let Some((inlet, names)) = &mut self.follows {
            for _ in 0..MESSAGES_MAX {
                let Some(message) = inlet.pop() else { break };
                line::say(&message, names);
            }
        }
        let shed = super::shed();
        if shed > self.shed_told {
            let text = format!("{} lines found no room in the log", shed - self.shed_told);
            self.shed_told = shed;
            say_at(Category::System, LogLevel::Warn, &text);
        }
    }

    fn write(&mut self, line: &str) {
        if self.unwritten > 0 {
            let text = format!("the log could not be written for {} lines\n", self.unwritten);
            if self.target.write(&text).is_err() {
                self.unwritten += 1;
                return;
            }
            self.unwritten = 0;
        }
        self.unwritten += u64::from(self.target.write(line).is_err());
    }
}
