//! What is logged, how, and how much of it stays. It changes nothing of what a run does: it is no part of what the run keeps
//! of its configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::log::{Category, LogFormat, LogLevel};

/// Variable by which children log as their parent does.
const ENVIRONMENT: &str = "KIMERA_LOG";

/// The log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// How lines look.
    pub format: LogFormat,
    /// Most that is logged.
    pub level: LogLevel,
    /// The same for some categories.
    pub levels: BTreeMap<Category, LogLevel>,
    /// A file of this size is kept aside and a new one begun, 1 to 65,536 MiB.
    pub file_mib: u32,
    /// Files that are kept aside, 0 to 1,000.
    pub files: u32,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LogLevel::Info,
            levels: BTreeMap::new(),
            file_mib: 64,
            files: 4,
        }
    }
}

impl LogSection {
    /// Most that is logged of a category.
    #[must_use]
    pub fn level_of(&self, category: Category) -> LogLevel {
        self.levels.get(&category).copied().unwrap_or(self.level)
    }

    /// What the process that started this one says in its environment, where it says something; else `otherwise`.
    ///
    /// # Errors
    /// A variable that is no such section.
    pub fn inherited(otherwise: &Self) -> Result<Self, Failure> {
        let Ok(text) = std::env::var(ENVIRONMENT) else { return Ok(otherwise.clone()) };
        let section: Self = serde_json::from_str(&text)
            .map_err(|e| Failure::configuration(format!("{ENVIRONMENT} is no [log] section as JSON: {e}")))?;
        section.check().map_err(|e| Failure::configuration(format!("{ENVIRONMENT}: {e}")))?;
        Ok(section)
    }

    /// As the environment of a child carries it.
    ///
    /// # Errors
    /// None that a section can cause.
    pub fn to_environment(&self) -> Result<(&'static str, String), Failure> {
        serde_json::to_string(self).map(|text| (ENVIRONMENT, text)).map_err(Failure::defect)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first that is left.
    pub fn check(&self) -> Result<(), String> {
        super::within("log.file_mib", self.file_mib.into(), 1.0, 65_536.0)?;
        super::within("log.files", self.files.into(), 0.0, 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_has_its_own_level_or_everybodys() {
        let text = "format = \"json\"\nlevel = \"warn\"\n[levels]\ntrading = \"debug\"";
        let section: LogSection = toml::from_str(text).unwrap();
        assert_eq!(section.level_of(Category::Trading), LogLevel::Debug);
        assert_eq!(section.level_of(Category::Security), LogLevel::Warn);
        assert_eq!((section.format, section.check()), (LogFormat::Json, Ok(())));
        let unknown = toml::from_str::<LogSection>("[levels]\nweather = \"debug\"").unwrap_err().to_string();
        assert!(unknown.contains("weather") && unknown.contains("security"), "{unknown}");
        let many = LogSection { files: 1_001, ..LogSection::default() };
        assert!(many.check().unwrap_err().contains("log.files"));
    }
}
