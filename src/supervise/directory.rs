//! The state directory of a run: the one asked for, or a fresh one; and its one supervisor.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::claim::Claim;
use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;
use crate::state::Layout;
use crate::utc;

/// The directory asked for, or a fresh one under `state/`, or in the system's temporary folder where `state/` is not
/// ours to write. A dry run tries nothing.
pub fn state_directory(asked: Option<&Path>, dry_run: bool) -> PathBuf {
    if let Some(path) = asked {
        return path.to_owned();
    }
    let name = format!("run-{}-{}", stamp(), std::process::id());
    let home = PathBuf::from("state");
    if dry_run || (std::fs::create_dir_all(&home).is_ok() && writable(&home)) {
        return home.join(name);
    }
    let other = std::env::temp_dir().join(format!("kimera-{name}"));
    log::warn(
        System,
        &format!("degraded: {} is not writable here, the run goes to {}", home.display(), other.display()),
    );
    other
}

/// Takes the directory for this supervisor: one at a time.
///
/// # Errors
/// Where it cannot be written or another supervisor has it.
pub fn take(state: &Path, layout: &Layout) -> Result<Claim, Failure> {
    std::fs::create_dir_all(state).map_err(|e| {
        Failure::machine(format!("cannot make {}: {e}; choose another with --state", state.display()))
    })?;
    Claim::take(&layout.lock("supervisor"), "supervisor")
}

fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let good = std::fs::File::create(&probe).is_ok();
    let _ = std::fs::remove_file(&probe);
    good
}

/// UTC date and time as `YYYYMMDD-HHMMSS`.
fn stamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) as i64;
    let [year, month, day, hour, minute, second] = utc::civil(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}
