//! Exit codes, and failures that carry one.

use std::fmt;
use std::io::Write;

use kimera_runtime::world;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed; for comparisons: a difference.
    Failed = 1,
    /// Wrong arguments.
    Usage = 2,
    /// Configuration invalid.
    Configuration = 3,
    /// The supervisor, or whoever was asked, is not reachable.
    Unreachable = 4,
    /// Refused by risk, compliance or the engine's own rules.
    Refused = 5,
    /// The machine is not fit for what is asked of it.
    Unfit = 6,
    /// A blob or recording is missing.
    MissingBlob = 7,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What, where, what to do; and the code to end with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: Exit,
    /// The text.
    pub message: String,
}

impl Failure {
    /// A failure of the run itself.
    pub fn run(message: impl fmt::Display) -> Self {
        Self { code: Exit::Failed, message: message.to_string() }
    }

    /// A configuration that cannot be used.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self { code: Exit::Configuration, message: message.to_string() }
    }

    /// Arguments that cannot be used.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: Exit::Usage, message: message.to_string() }
    }

    /// What the engine's own rules do not allow; to try again changes nothing.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self { code: Exit::Refused, message: message.to_string() }
    }

    /// Something a replay or run needs is not there.
    pub fn missing(message: impl fmt::Display) -> Self {
        Self { code: Exit::MissingBlob, message: message.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says a line to whoever watches the log; in a world, to whoever looks into it.
pub fn say(line: &str) {
    if !world::say(line) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
