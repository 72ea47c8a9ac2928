//! Who holds what: a lock in the state directory with the identity of its holder, so that there is one process of a kind
//! and another one finds it.

use std::path::Path;

use kimera_runtime::files::{self, File};
use kimera_runtime::process::birth;
use kimera_runtime::world;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Which process: its number may be given to another one later, its number and birth may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Number.
    pub pid: u32,
    /// When it was started, as the kernel counts.
    pub born: u64,
}

impl Identity {
    /// The process of a number, while it lives.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        birth(pid).map(|born| Self { pid, born })
    }

    /// True while that very process lives.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// A lock that this process holds until it ends or drops it.
pub struct Claim(#[allow(dead_code)] File);

impl Claim {
    /// Takes the lock and writes down who has it.
    ///
    /// # Errors
    /// Where it cannot be written, or another `what` has it.
    pub fn take(path: &Path, what: &str) -> Result<Self, Failure> {
        let root = path.parent().unwrap_or(path).display();
        let fail = |e: std::io::Error| {
            Failure::machine(format!("cannot lock {}: {e}; choose a writable directory", path.display()))
        };
        let mut file = File::append(path).map_err(fail)?;
        if !file.lock_exclusively().map_err(fail)? {
            return Err(Failure::asked_wrongly(format!(
                "another {what} runs in the state directory {root}; stop it or choose another with --state"
            )));
        }
        if !world::active() {
            let identity = Identity::of(std::process::id());
            let text = serde_json::to_string(&identity).map_err(Failure::defect)?;
            file.set_len(0).map_err(fail)?;
            file.write_all(text.as_bytes()).map_err(fail)?;
        }
        Ok(Self(file))
    }

    /// Who has it and lives.
    #[must_use]
    pub fn holder(path: &Path) -> Option<Identity> {
        let text = files::read_to_string(path).ok()?;
        serde_json::from_str::<Identity>(&text).ok().filter(|identity| identity.is_alive())
    }

    /// True where somebody holds it.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let lock = File::open(path);
        lock.is_ok_and(|lock| lock.lock_exclusively().is_ok_and(|free| !free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_that_others_find_until_it_is_gone() {
        let path = std::env::temp_dir().join(format!("kimera-claim-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert_eq!((Claim::holder(&path), Claim::is_held(&path)), (None, false));
        let claim = Claim::take(&path, "thing").unwrap();
        assert_eq!(Claim::holder(&path), Identity::of(std::process::id()));
        assert!(Claim::is_held(&path));
        assert!(Claim::take(&path, "thing").err().unwrap().message.contains("another thing runs"));
        drop(claim);
        assert!(!Claim::is_held(&path));
        drop(Claim::take(&path, "thing").unwrap());
        // One that had this number before it.
        std::fs::write(&path, format!("{{\"pid\":{},\"born\":1}}", std::process::id())).unwrap();
        assert_eq!(Claim::holder(&path), None);
        std::fs::remove_file(&path).unwrap();
    }
}
