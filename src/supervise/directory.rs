//! The state directory of a run: the one asked for, or a fresh one; and its one supervisor.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::claim::Claim;
use crate::exit::{Failure, say};
use crate::state::Layout;

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
    say(&format!("degraded: {} is not writable here, the run goes to {}", home.display(), other.display()));
    other
}

/// Takes the directory for this supervisor: one at a time.
///
/// # Errors
/// Where it cannot be written or another supervisor has it.
pub fn take(state: &Path, layout: &Layout) -> Result<Claim, Failure> {
    std::fs::create_dir_all(state).map_err(|e| {
        Failure::run(format!("cannot make {}: {e}; choose another with --state", state.display()))
    })?;
    Claim::take(&layout.lock("supervisor"), "supervisor")
}

fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let good = std::fs::File::create(&probe).is_ok();
    let _ = std::fs::remove_file(&probe);
    good
}

/// UTC date and time as `YYYYMMDD-HHMMSS` (days to civil date after Howard Hinnant's public algorithm).
fn stamp() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) as i64;
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}
