//! The state directory: lock, incarnation, and where everything lies. One engine a directory.

use std::path::{Path, PathBuf};

use kimera_runtime::files::{self, File};

use crate::claim::Claim;
use crate::exit::Failure;

/// A state directory that this process holds.
pub struct State {
    root: PathBuf,
    incarnation: u64,
    _lock: Claim,
}

/// Where things lie in a state directory.
#[derive(Clone, Debug)]
pub struct Layout(PathBuf);

impl Layout {
    /// The layout under `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Segments of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// States of the line behind some input, with their manifests.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// What the shadow says of itself.
    #[must_use]
    pub fn shadow(&self) -> PathBuf {
        self.0.join("shadow.json")
    }

    /// Counters and histograms.
    #[must_use]
    pub fn counters(&self) -> PathBuf {
        self.0.join("counters")
    }

    /// What the engine says at its end.
    #[must_use]
    pub fn summary(&self) -> PathBuf {
        self.0.join("summary.json")
    }

    /// Where the venue listens.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.0.join("endpoints.json")
    }

    /// What may leave.
    #[must_use]
    pub fn kill_word(&self) -> PathBuf {
        self.0.join("kill")
    }

    /// The simulated venue's own account.
    #[must_use]
    pub fn venue_account(&self) -> PathBuf {
        self.0.join("venue-account.jsonl")
    }

    /// A process says here that it is alive.
    #[must_use]
    pub fn pulse(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.pulse"))
    }

    /// Where it exists, nothing may leave: a halt that anybody with the right to the directory can make.
    #[must_use]
    pub fn halt_file(&self) -> PathBuf {
        self.0.join("HALT")
    }

    /// Held by the one process of a kind.
    #[must_use]
    pub fn lock(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.lock"))
    }

    /// The venue's clock, for a venue that comes back.
    #[must_use]
    pub fn venue_clock(&self) -> PathBuf {
        self.0.join("venue-clock.json")
    }

    /// Credentials of the paper account that the supervisor has made; its owner's alone.
    #[must_use]
    pub fn paper_credentials(&self) -> PathBuf {
        self.0.join("paper-credentials")
    }

    /// Distinct errors of a process.
    #[must_use]
    pub fn errors(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.errors"))
    }

    /// Stages of the line that have died, and on which input.
    #[must_use]
    pub fn deaths(&self) -> PathBuf {
        self.0.join("deaths.json")
    }

    /// Control socket of a process.
    #[must_use]
    pub fn socket(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.sock"))
    }

    /// What was asked of the control sockets, by whom.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.0.join("audit.log")
    }

    /// Log of a child process.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.0.join(format!("{process}.log"))
    }
}

impl State {
    /// Takes the directory: makes it, locks it, counts the start.
    ///
    /// # Errors
    /// Where it cannot be written or another engine holds it.
    pub fn take(root: &Path) -> Result<Self, Failure> {
        let fail = |what: &str, e: std::io::Error| {
            Failure::machine(format!(
                "cannot {what} in the state directory {}: {e}; choose a writable one with --state",
                root.display()
            ))
        };
        files::create_dir_all(root).map_err(|e| fail("make anything", e))?;
        let lock = Claim::take(&Layout::of(root).lock("engine"), "engine")?;
        let path = root.join("incarnation");
        let before = match files::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u64>().map_err(|_| {
                Failure::data(format!("{} does not hold a number; restore it from a copy", path.display()))
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(fail("read the incarnation", e)),
        };
        let incarnation = before + 1;
        replace(&path, incarnation.to_string().as_bytes()).map_err(|e| fail("write the incarnation", e))?;
        Ok(Self { root: root.to_owned(), incarnation, _lock: lock })
    }

    /// Where things lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::of(&self.root)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Starts of an engine in this directory, this one included.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// True where an engine runs in this directory: its lock is held.
#[must_use]
pub fn is_held(root: &Path) -> bool {
    Claim::is_held(&Layout::of(root).lock("engine"))
}

/// Replaces a file durably: never half written, old or new after a crash.
///
/// # Errors
/// Where the directory cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    files::rename(&partial, path)?;
    path.parent().map_or(Ok(()), files::sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_a_directory_and_each_start_counts() {
        let root = std::env::temp_dir().join(format!("kimera-state-{}", std::process::id()));
        let first = State::take(&root).unwrap();
        assert_eq!(first.incarnation(), 1);
        let second = State::take(&root).err().unwrap();
        assert!(second.message.contains("another engine runs"), "{second}");
        drop(first);
        assert_eq!(State::take(&root).unwrap().incarnation(), 2);
        std::fs::write(root.join("incarnation"), "x").unwrap();
        assert!(State::take(&root).err().unwrap().message.contains("does not hold a number"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
