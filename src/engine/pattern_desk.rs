//! Patterns that somebody hands in while a run goes on: compiled, kept as a blob, and laid ready for their seat.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kimera_cep::PatternSet;
use kimera_journal::Blobs;
use kimera_protocol::PatternsLoaded;
use kimera_runtime::Counters;
use serde::Deserialize;
use serde_json::{Value, json};

use super::live::wait;
use crate::config::Config;
use crate::control::RpcError;
use crate::shelf::Ready;

/// Longest wait for the seat, and for the disk.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where they are handed in.
pub struct PatternDesk {
    /// Configuration of the run.
    config: Config,
    /// Where sets are laid.
    ready: Ready,
    /// One after the other.
    loading: Mutex<()>,
}

/// What `patterns.load` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    files: Vec<File>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For what is said of mistakes.
    name: PathBuf,
    text: String,
}

impl PatternDesk {
    /// A desk of a run.
    #[must_use]
    pub fn new(config: Config, ready: Ready) -> Self {
        Self { config, ready, loading: Mutex::new(()) }
    }

    /// The run's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Does all of it; `sequence` puts the record into the sequence. The answer comes when the seat has taken them and that is on
    /// disk, or says that it has not yet.
    ///
    /// # Errors
    /// As [`PatternDesk::make_ready`], and where the record does not get into the sequence.
    pub fn load(
        &self,
        params: &Value,
        counters: &Counters,
        sequence: impl FnOnce(PatternsLoaded) -> Result<Value, RpcError>,
    ) -> Result<Value, RpcError> {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let (loaded, names) = self.make_ready(params, counters)?;
        let count = |name: &str| counters.counter_of(name).get();
        let before = count("patterns.loads");
        let mut answer = sequence(loaded)?;
        let taken = wait(PATIENCE, || count("patterns.loads") > before);
        let seq = count("sequencer.seq");
        let durable = taken && wait(PATIENCE, || count("journal.durable_seq") >= seq);
        answer["patterns"] = json!(names);
        answer["taken"] = json!(taken);
        answer["durable"] = json!(durable);
        Ok(answer)
    }

    /// Compiles what was handed in and lays it ready: what is to be sequenced, and the patterns' names.
    ///
    /// # Errors
    /// A mistake in a pattern, with file, line and column; a run without a seat for patterns; a disk that is full.
    fn make_ready(
        &self,
        params: &Value,
        counters: &Counters,
    ) -> Result<(PatternsLoaded, Vec<String>), RpcError> {
        let asked: Parameters = serde_json::from_value(params.clone()).map_err(|e| {
            RpcError::parameters(format!("{e}; patterns are handed in with kimera cep load FILE"))
        })?;
        let seat = self.config.patterns.is_used();
        let root = self.config.state.as_ref().filter(|_| seat).ok_or_else(|| {
            RpcError::refused(
                "this run has no seat for patterns: start it with [patterns] files in its configuration",
            )
        })?;
        let texts = asked.files.iter().map(|file| (file.name.clone(), file.text.as_str()));
        self.config.compiled(texts).map_err(RpcError::parameters)?;
        // What is kept is what is compiled: whoever replays has this text alone.
        let text: String = asked.files.iter().flat_map(|file| [file.text.as_str(), "\n"]).collect();
        let whole = [(PathBuf::from("patterns"), text.as_str())].into_iter();
        let programs = self.config.compiled(whole).map_err(RpcError::parameters)?;
        if programs.is_empty() {
            return Err(RpcError::parameters("there is no pattern in it"));
        }
        let kept = Blobs::of(root).put(text.as_bytes());
        let blob = kept
            .map_err(|e| RpcError::refused(format!("cannot keep the patterns in {}: {e}", root.display())))?;
        let names: Vec<String> = programs.iter().map(|program| program.name.clone()).collect();
        let loaded = PatternsLoaded { blob, patterns: names.len() as u64, ..PatternsLoaded::default() };
        self.ready.lay(PatternSet::new(blob, programs, counters));
        Ok((loaded, names))
    }
}
