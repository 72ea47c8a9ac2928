//! A stage of the line that has panicked: where exactly it died, and a state for another one to go on with. Meanwhile its seat
//! takes nothing, so credit runs out, nothing new is admitted, and nothing leaves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kimera_protocol::Seq;

/// Between a stage's seat and whoever computes its state again.
#[derive(Debug, Default)]
pub struct Mend {
    /// Somebody is there who makes another one: not while an earlier start's journal goes through the line.
    armed: AtomicBool,
    /// The input it died on; 0 while it works.
    died_on: AtomicU64,
    /// Messages about that input that it had handled before.
    handled: AtomicU64,
    ready: AtomicBool,
    state: Mutex<Option<Vec<u8>>>,
}

impl Mend {
    /// From here on another one can be made.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// The seat's side: true where another one can be made.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire)
    }

    /// The input on which somebody has died, and how many messages about it were handled before; none while all is well.
    #[must_use]
    pub fn wanted(&self) -> Option<(Seq, u64)> {
        let seq = self.died_on.load(Ordering::Acquire);
        (seq > 0).then(|| (seq, self.handled.load(Ordering::Acquire)))
    }

    /// Hands over the state that the one who died had before that message.
    pub fn deliver(&self, state: Vec<u8>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        self.ready.store(true, Ordering::Release);
    }

    /// The seat's side: somebody has died.
    pub(crate) fn died(&self, seq: Seq, handled: u64) {
        self.handled.store(handled, Ordering::Release);
        self.died_on.store(seq, Ordering::Release);
    }

    /// The seat's side: the state, once it is there.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        if !self.ready.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state.try_lock().ok()?.take();
        self.ready.store(false, Ordering::Release);
        state
    }

    /// The seat's side: somebody works there again.
    pub(crate) fn mended(&self) {
        self.died_on.store(0, Ordering::Release);
    }
}
