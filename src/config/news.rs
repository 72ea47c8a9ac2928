//! Where headlines come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
