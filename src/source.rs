//! What can be looked into: a run's journal, or a folder with a recording.

use std::path::Path;

use kimera_protocol::Message;

use crate::config::Config;
use crate::exit::Failure;
use crate::state::Layout;
use crate::{recording, replay};

/// Its messages in order.
pub struct Source {
    /// The configuration: a run has its own.
    pub config: Config,
    /// Inputs and, of a run, its orders behind what caused them.
    pub messages: Vec<Message>,
    /// Frames that could not be read.
    pub unread: u64,
    /// It is a run's journal, and no recording.
    pub is_run: bool,
}

impl Source {
    /// Reads a folder with a recording, with the configuration of a file, or the state directory of a run.
    ///
    /// # Errors
    /// A folder that is neither, and what is wrong with it.
    pub fn open(folder: &Path, config: &Path) -> Result<Self, Failure> {
        if folder.join("tape.toml").exists() {
            let config = Config::load(config)?;
            let (messages, unread) = recording::messages(folder, &config)?;
            return Ok(Self { config, messages, unread, is_run: false });
        }
        if !Layout::of(folder).journal().exists() {
            let what = format!(
                "{} is neither a run's state directory nor a folder with a tape.toml",
                folder.display()
            );
            return Err(Failure::missing(what));
        }
        let recorded = replay::load(folder)?;
        let mut messages: Vec<Message> = recorded.inputs.to_vec();
        messages.extend_from_slice(&recorded.said.orders);
        // What an input has caused comes right behind it: the sort keeps what is equal in order.
        messages.sort_by_key(|m| m.header.seq);
        Ok(Self { config: recorded.config, messages, unread: 0, is_run: true })
    }
}
