//! Where patterns come from that the sequence names: those that the running engine has made ready, and the blobs of the run.

use std::sync::{Arc, Mutex, PoisonError};

use kimera_cep::{PatternSet, PatternShelf};
use kimera_runtime::Counters;

use crate::config::Config;

/// Sets that wait there, at most: more were asked for than were taken, and the oldest has to be read again.
const READY_MAX: usize = 4;
/// Sets that wait to be freed, at most.
const USED_MAX: usize = 16;

struct Sets {
    ready: Vec<PatternSet>,
    /// Taken off their place; freed with the next one that is made ready.
    used: Vec<PatternSet>,
}

impl Default for Sets {
    fn default() -> Self {
        Self { ready: Vec::with_capacity(READY_MAX + 1), used: Vec::with_capacity(USED_MAX) }
    }
}

/// Sets that are ready for the line that runs, so that its seat neither reads nor compiles.
#[derive(Clone, Default)]
pub struct Ready(Arc<Mutex<Sets>>);

impl Ready {
    /// Lays a set there. Nothing is made or freed while the seat may wait for the lock.
    pub fn lay(&self, set: PatternSet) {
        let room = Vec::with_capacity(USED_MAX);
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = std::mem::replace(&mut sets.used, room);
        sets.ready.push(set);
        let oldest = (sets.ready.len() > READY_MAX).then(|| sets.ready.remove(0));
        drop(sets);
        drop((used, oldest));
    }

    fn take(&self, blob: &[u8; 32]) -> Option<PatternSet> {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sets.ready.iter().position(|set| set.blob() == blob)?;
        Some(sets.ready.remove(at))
    }

    /// What has no room is freed where it is.
    fn give_back(&self, set: PatternSet) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.used.len() < USED_MAX {
            sets.used.push(set);
        }
    }
}

/// The shelf of one line.
pub struct Shelf {
    /// Configuration of the run: events, and where its blobs lie.
    pub config: Config,
    /// Where matches are counted.
    pub counters: Counters,
    /// What is ready.
    pub ready: Ready,
    /// What is ready for the line that runs, once its seat is taken: before, it is another's.
    pub of_line: Ready,
}

impl PatternShelf for Shelf {
    fn take(&mut self, blob: &[u8; 32]) -> Result<PatternSet, String> {
        if let Some(set) = self.ready.take(blob) {
            return Ok(set);
        }
        let programs = self.config.patterns_of(blob)?;
        Ok(PatternSet::new(*blob, programs, &self.counters))
    }

    fn give_back(&mut self, set: PatternSet) {
        self.ready.give_back(set);
    }

    fn attach(&mut self, counters: &Counters) {
        self.counters = counters.clone();
        self.ready = self.of_line.clone();
    }
}
