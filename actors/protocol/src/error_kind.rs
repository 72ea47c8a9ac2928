//! The eight kinds of error there are: who has to do something about it, and what. Every error that leaves a component is of
//! one of them; logs and the counts of distinct errors carry it.

/// What kind of error it is. The numbers are written to disk.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Arguments, a request or a method that make no sense.
    Usage = 1,
    /// A configuration that cannot be used.
    Configuration = 2,
    /// Bytes that are not what they claim to be, or are missing: a frame, a journal, a snapshot, a recording.
    Data = 3,
    /// Nobody answers, or the way there is broken.
    Network = 4,
    /// A venue refuses, or contradicts itself or our books.
    Venue = 5,
    /// Not allowed: by risk, compliance, the kill switch or the engine's own rules.
    Refused = 6,
    /// Disk, memory, cores, limits, permissions: the machine does not give what is needed.
    Machine = 7,
    /// Ours: a panic, a difference where there must be none, a promise not kept.
    Defect = 8,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Usage,
        Self::Configuration,
        Self::Data,
        Self::Network,
        Self::Venue,
        Self::Refused,
        Self::Machine,
        Self::Defect,
    ];

    /// The kind of a code read from a file.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Its name in logs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Data => "data",
            Self::Network => "network",
            Self::Venue => "venue",
            Self::Refused => "refused",
            Self::Machine => "machine",
            Self::Defect => "defect",
        }
    }

    /// What is to be done about it, in general.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Usage => "ask differently",
            Self::Configuration => "change the configuration",
            Self::Data => "look at where the bytes come from; restore them from a copy",
            Self::Network => "look at the way there; it is tried again by itself",
            Self::Venue => "compare with the venue's own account before trading goes on",
            Self::Refused => "nothing, or change limits or rules on purpose",
            Self::Machine => "give the machine what it lacks",
            Self::Defect => "keep the state directory and report it",
        }
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_code_a_name_and_advice_of_its_own() {
        for (i, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(ErrorKind::from_code(kind as u8), Some(kind));
            assert_eq!(kind as usize, i + 1);
            let others = ErrorKind::ALL.into_iter().filter(|other| *other != kind);
            assert!(others.clone().all(|o| o.name() != kind.name() && o.advice() != kind.advice()));
        }
        assert_eq!((ErrorKind::from_code(0), ErrorKind::from_code(9)), (None, None));
    }
}
