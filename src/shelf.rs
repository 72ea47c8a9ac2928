//! Where patterns come from that the sequence names: those that the running engine has made ready, and the blobs of the run.

use std::sync::{Arc, Mutex, PoisonError};

use kimera_cep::{PatternSet, PatternShelf};
use kimera_runtime::Counters;

use crate::config::Config;

/// Sets that wait there, at most: more were asked for than were taken.
const READY_MAX: usize = 8;

#[derive(Default)]
struct Sets {
    ready: Vec<PatternSet>,
    /// Taken off their place; freed with the next one that is made ready.
    used: Vec<PatternSet>,
}

/// Sets that are ready for the line that runs, so that its seat neither reads nor compiles.
#[derive(Clone, Default)]
pub struct Ready(Arc<Mutex<Sets>>);

impl Ready {
    /// Lays a set there; false where there are too many already.
    pub fn lay(&self, set: PatternSet) -> bool {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.ready.len() >= READY_MAX {
            return false;
        }
        sets.used.clear();
        sets.used.reserve(READY_MAX + 1);
        sets.ready.push(set);
        true
    }

    fn take(&self, blob: &[u8; 32]) -> Option<PatternSet> {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = sets.ready.iter().position(|set| set.blob() == blob)?;
        Some(sets.ready.remove(at))
    }

    /// What has no room is freed where it is.
    fn give_back(&self, set: PatternSet) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.used.len() < sets.used.capacity() {
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
}
