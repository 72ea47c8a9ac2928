//! Patterns that run beside the line.

use std::path::{Path, PathBuf};

use kimera_cep::{Events, Mistake, Program};
use kimera_journal::Blobs;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::line;

/// Patterns of a run, at most: each is asked about every event.
const PATTERNS_MAX: usize = 32;

/// The patterns' part of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatternsSection {
    /// Pattern files. Their texts become part of the configuration when it is read: a replay needs no file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Pattern texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// The files that the last texts are from.
    #[serde(skip)]
    sources: Vec<PathBuf>,
}

impl PatternsSection {
    /// True where there is a pattern.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.text.is_empty()
    }

    /// The texts, each with the name it goes by: its file's, where it is from one.
    fn named(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let others = self.text.len() - self.sources.len();
        self.text.iter().enumerate().map(move |(i, text)| {
            let file = i.checked_sub(others).map(|i| self.sources[i].clone());
            (file.unwrap_or_else(|| PathBuf::from(format!("patterns.text[{}]", i + 1))), text.as_str())
        })
    }

    /// Takes the files' texts in, behind those that are there.
    pub(super) fn read(&mut self) -> Result<(), String> {
        for file in std::mem::take(&mut self.files) {
            let text = std::fs::read_to_string(&file)
                .map_err(|e| format!("patterns.files: cannot read {}: {e}", file.display()))?;
            self.text.push(text);
            self.sources.push(file);
        }
        Ok(())
    }
}

/// `FILE:LINE:COLUMN: what`, the line, and a mark below.
#[must_use]
pub fn point_at(file: &Path, text: &str, mistake: &Mistake) -> String {
    let place = mistake.place;
    let line = text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or("");
    let blanks: String = line
        .chars()
        .take(place.column.saturating_sub(1) as usize)
        .map(|c| if c == '\t' { c } else { ' ' })
        .collect();
    format!("{}:{}:{}: {}\n  {line}\n  {blanks}^", file.display(), place.line, place.column, mistake.what)
}

impl Config {
    /// The events that patterns are written about.
    ///
    /// # Errors
    /// Instruments that are none.
    pub fn events(&self) -> Result<Events, String> {
        let name =
            |s: &super::InstrumentSection| format!("{}_{}", s.market.name(), s.symbol.to_ascii_lowercase());
        let names: Vec<_> = self.instruments.iter().map(name).collect();
        Ok(Events::new(self.instruments()?, &names))
    }

    /// The configuration's own patterns, compiled.
    ///
    /// # Errors
    /// As [`Config::compiled`].
    pub fn patterns(&self) -> Result<Vec<Program>, String> {
        self.compiled(self.patterns.named())
    }

    /// The patterns of a blob of the run, compiled.
    ///
    /// # Errors
    /// A blob that is missing, or is no such text.
    pub fn patterns_of(&self, blob: &[u8; 32]) -> Result<Vec<Program>, String> {
        let root = self.state.as_ref().ok_or("patterns were loaded, and the run has no folder of blobs")?;
        let text = Blobs::of(root).get(blob).map_err(|e| e.to_string())?;
        let text = String::from_utf8(text).map_err(|e| format!("a blob of patterns is no text: {e}"))?;
        self.compiled([(PathBuf::from("loaded patterns"), text.as_str())].into_iter())
    }

    /// Texts of patterns, compiled; each with the name of where it is from.
    ///
    /// # Errors
    /// A mistake, with its line; a name that is there twice; too many.
    pub fn compiled<'a>(
        &self,
        texts: impl Iterator<Item = (PathBuf, &'a str)>,
    ) -> Result<Vec<Program>, String> {
        let events = self.events()?;
        let mut all: Vec<Program> = Vec::new();
        for (whole, text) in texts {
            let programs = kimera_cep::compile(text, events.schema())
                .map_err(|mistake| point_at(&whole, text, &mistake))?;
            for program in programs {
                if all.iter().any(|known| known.name == program.name) {
                    return Err(format!("patterns: two are called \"{}\"", program.name));
                }
                all.push(program);
            }
        }
        if all.len() > PATTERNS_MAX {
            return Err(format!("patterns: {} of them, at most {PATTERNS_MAX}", all.len()));
        }
        Ok(all)
    }

    /// The patterns' seat comes back as the detectors' does, where nobody says otherwise.
    pub(super) fn seat_patterns(&mut self) {
        let is_grouped =
            |seat: &str| self.supervision.groups.iter().any(|g| g.children.iter().any(|c| c == seat));
        let is_there = is_grouped(line::PATTERNS);
        if !self.patterns.is_used() {
            // As a patch may leave it.
            self.supervision.groups.iter_mut().for_each(|g| g.children.retain(|c| c != line::PATTERNS));
        }
        if !self.patterns.is_used() || is_there {
            return;
        }
        let groups = &mut self.supervision.groups;
        if let Some(group) = groups.iter_mut().find(|g| g.children.iter().any(|c| c == line::DETECTORS)) {
            group.children.push(line::PATTERNS.to_owned());
        }
    }
}
