//! Exit codes, and failures that carry one.

use std::fmt;

use kimera_protocol::ErrorKind;
use kimera_runtime::errors;

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

/// What, where, what to do; of which kind it is, and the code to end with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose matter it is.
    pub kind: ErrorKind,
    /// Exit code.
    pub code: Exit,
    /// The text.
    pub message: String,
}

impl Failure {
    /// A failure of a kind, with exit code 1.
    pub fn of(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, code: Exit::Failed, message: message.to_string() }
    }

    /// Bytes that are not what they claim to be.
    pub fn data(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Data, message)
    }

    /// Nobody answers.
    pub fn network(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Network, message)
    }

    /// A venue that contradicts itself or us.
    pub fn venue(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Venue, message)
    }

    /// What the machine does not give.
    pub fn machine(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Machine, message)
    }

    /// What must not happen.
    pub fn defect(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Defect, message)
    }

    /// A request that is well formed and asks for what is not there.
    pub fn asked_wrongly(message: impl fmt::Display) -> Self {
        Self::of(ErrorKind::Usage, message)
    }

    /// A configuration that cannot be used.
    pub fn configuration(message: impl fmt::Display) -> Self {
        Self { code: Exit::Configuration, ..Self::of(ErrorKind::Configuration, message) }
    }

    /// Arguments that cannot be used.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: Exit::Usage, ..Self::of(ErrorKind::Usage, message) }
    }

    /// What the engine's own rules do not allow; to try again changes nothing.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self { code: Exit::Refused, ..Self::of(ErrorKind::Refused, message) }
    }

    /// Something a replay or run needs is not there.
    pub fn missing(message: impl fmt::Display) -> Self {
        Self { code: Exit::MissingBlob, ..Self::of(ErrorKind::Data, message) }
    }

    /// Whoever was asked is not reachable.
    pub fn unreachable(message: impl fmt::Display) -> Self {
        Self { code: Exit::Unreachable, ..Self::of(ErrorKind::Network, message) }
    }

    /// Notes it among this process's distinct errors and in its log.
    pub fn note(&self, source: &str) {
        errors::note(self.kind, source, &self.message);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
