//! Where headlines, readings and what was before a run come from.

use std::path::PathBuf;

use kimera_ensemble::SentimentConfig;
use serde::{Deserialize, Serialize};

use super::Config;
use super::trading::ms;

/// Headlines: none where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewsSection {
    /// A file that somebody appends to, a JSON object a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A datagram socket `news.sock` in the state directory.
    pub socket: bool,
    /// Names of sources that are believed alone.
    pub trusted: Vec<String>,
}

impl NewsSection {
    /// Somebody is listened to.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.socket || self.file.is_some()
    }
}

/// What was before a run: nothing where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySection {
    /// Minutes of the traded instrument, as Binance's archive has them (`.csv`, `.csv.gz`): the hours of the ninety days before a run are told to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<PathBuf>,
}

impl Config {
    /// What the sentiment member needs.
    #[must_use]
    pub fn sentiment_config(&self, member: usize) -> SentimentConfig {
        SentimentConfig { member, traded: self.traded_id(), horizon: ms(self.ensemble.horizon_ms) }
    }
}
