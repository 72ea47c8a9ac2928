//! What the service manager is told (`Type=notify`): ready, alive, ending. Without one nothing is said.
//!
//! A manager that does not listen lets whoever tells it something wait; so a thread of its own tells, and the supervisor goes
//! on.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

enum Word {
    Ready(String),
    Alive,
    Ending,
}

/// The service manager's end of the supervisor's main loop.
pub struct Service {
    words: Option<SyncSender<Word>>,
    said: Receiver<()>,
    /// A sign of life is due so often.
    every: Option<Duration>,
    last: Instant,
}

/// Words that may wait for a manager that does not listen; what comes then is lost.
const WORDS: usize = 8;
/// Longest wait for the last word to be heard.
const LAST_WORD: Duration = Duration::from_millis(200);

impl Default for Service {
    /// As the environment says.
    fn default() -> Self {
        // Half of what the manager allows, as it recommends.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let (words, heard) = sync_channel(WORDS);
        let (told, said) = sync_channel(1);
        let tell = move || {
            for word in heard {
                say(&word);
                if matches!(word, Word::Ending) {
                    let _ = told.try_send(());
                }
            }
        };
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let started = listens && std::thread::Builder::new().name("service".into()).spawn(tell).is_ok();
        Self { words: started.then_some(words), said, every, last: Instant::now() }
    }
}

impl Service {
    /// Everybody has been started.
    pub fn ready(&self, status: &str) {
        self.tell(Word::Ready(status.to_owned()));
    }

    /// The main loop has come round.
    pub fn alive(&mut self) {
        if self.every.is_some_and(|every| self.last.elapsed() >= every) {
            self.last = Instant::now();
            self.tell(Word::Alive);
        }
    }

    /// The run is ending: what takes long from here on is no hang.
    pub fn ending(&self) {
        if self.tell(Word::Ending) {
            let _ = self.said.recv_timeout(LAST_WORD);
        }
    }

    fn tell(&self, word: Word) -> bool {
        self.words.as_ref().is_some_and(|words| words.try_send(word).is_ok())
    }
}

/// Waits where the manager does not listen.
fn say(word: &Word) {
    // Nothing depends on its being heard.
    let _ = match word {
        Word::Ready(status) => sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]),
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Word::Ending => sd_notify::notify(&[NotifyState::Stopping]),
    };
}
