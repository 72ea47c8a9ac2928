//! Patterns that are at work together, and where others come from while they are.

use kimera_runtime::{Counter, Counters};

use crate::language::Program;
use crate::matcher::{Bounds, Matcher};

/// How much a pattern keeps on the line: less than over what is recorded, for it is part of every snapshot.
pub const BOUNDS: Bounds = Bounds { runs_per_key: 64, runs: 256, events_per_run: 64, events: 1_024 };

/// Compiled patterns with everything they need, nothing under way: where they take their place nothing is allocated.
pub struct PatternSet {
    blob: [u8; 32],
    pub(crate) matchers: Box<[Matcher]>,
    /// Matches found, by pattern.
    pub(crate) matches: Box<[Counter]>,
}

// Which set it is is saved and loaded by who has it: another one has to be there before its state is.
kimera_protocol::state!(PatternSet { matchers, matches } fixed { blob });

impl PatternSet {
    /// A set at rest, counted as `patterns.matches.<name>`. `blob` is the BLAKE3 of the text it was compiled from; zeros for
    /// the configuration's own.
    #[must_use]
    pub fn new(blob: [u8; 32], programs: Vec<Program>, counters: &Counters) -> Self {
        let matches = programs.iter().map(|program| of_matches(counters, program)).collect();
        let matchers = programs.into_iter().map(|program| Matcher::new(program, BOUNDS)).collect();
        Self { blob, matchers, matches }
    }

    /// Counts there from now on, and goes on from what it has counted.
    pub(crate) fn attach(&mut self, counters: &Counters) {
        for (matcher, matches) in self.matchers.iter().zip(&mut self.matches) {
            let found = matches.get();
            *matches = of_matches(counters, matcher.program());
            matches.set(found);
        }
    }

    /// BLAKE3 of its text; zeros for the configuration's own.
    #[must_use]
    pub fn blob(&self) -> &[u8; 32] {
        &self.blob
    }
}

/// A name that was there before goes on counting.
fn of_matches(counters: &Counters, program: &Program) -> Counter {
    counters.counter(&format!("patterns.matches.{}", program.name))
}

/// Where a set comes from that the sequence names, and where one goes that is not used any more.
pub trait PatternShelf: Send {
    /// A set at rest.
    ///
    /// # Errors
    /// Why there is none: its text is missing, or is none.
    fn take(&mut self, blob: &[u8; 32]) -> Result<PatternSet, String>;

    /// Takes back what is not used any more: it is not freed on a hot thread.
    fn give_back(&mut self, set: PatternSet);

    /// Its line is the one that runs from now on, and counts there.
    fn attach(&mut self, counters: &Counters);
}

/// A shelf for patterns that stay as they are.
pub struct EmptyShelf;

impl PatternShelf for EmptyShelf {
    fn take(&mut self, _: &[u8; 32]) -> Result<PatternSet, String> {
        Err("there is nothing but the configuration's own patterns".into())
    }

    fn give_back(&mut self, _: PatternSet) {}

    fn attach(&mut self, _: &Counters) {}
}
