//! Patterns that somebody hands in while a run goes on: compiled, kept as a blob, and laid ready for their seat.

use std::path::PathBuf;

use kimera_cep::PatternSet;
use kimera_journal::Blobs;
use kimera_protocol::PatternsLoaded;
use kimera_runtime::Counters;
use serde::Deserialize;
use serde_json::Value;

use crate::config::Config;
use crate::control::RpcError;
use crate::shelf::Ready;

/// Where they are handed in.
pub struct PatternDesk {
    /// Configuration of the run.
    pub config: Config,
    /// Where sets are laid.
    pub ready: Ready,
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
    /// Compiles what was handed in and lays it ready; what is to be sequenced, and the patterns' names.
    ///
    /// # Errors
    /// A mistake in a pattern, with file, line and column; a run without a seat for patterns; a disk that is full.
    pub fn make_ready(
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
        if !self.ready.lay(PatternSet::new(blob, programs, counters)) {
            return Err(RpcError::refused("too many patterns wait to be loaded; see kimera ctl tree"));
        }
        Ok((loaded, names))
    }
}
