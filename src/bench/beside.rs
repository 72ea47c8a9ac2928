//! Who works on the other cores while something is measured, and where they find something to work on.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kimera_runtime::plan::available_cores;

use crate::exit::Failure;

/// Readers on the other cores, again and again until this is dropped.
pub struct Beside(Vec<Child>);

/// What one of them does: a second line over the journal of a run, a look at the counters of the line that is measured, an
/// explanation.
fn reader(what: &str, run: &Path, measured: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    match what {
        "shadow" => vec!["shadow".into(), "--once".into(), "--whole".into(), "--state".into(), path(run)],
        "stat" => vec!["stat".into(), path(measured), "--json".into()],
        _ => vec!["explain".into(), path(run), "5000".into()],
    }
}

impl Beside {
    /// Starts them, and lets them wait.
    ///
    /// # Errors
    /// One that does not do what it is there for.
    pub fn start(what: &[&str], core: usize, run: &Path, measured: &Path) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::machine)?;
        let others: Vec<String> =
            available_cores().into_iter().filter(|c| *c != core).map(|c| c.to_string()).collect();
        let mut children = Self(Vec::new());
        for what in what {
            let arguments = reader(what, run, measured);
            // One that does not do what it is there for would be no reader.
            let once = Command::new(&own).args(&arguments).output().map_err(Failure::machine)?;
            if !once.status.success() {
                let said = String::from_utf8_lossy(&once.stderr);
                return Err(Failure::defect(format!("+{what} does not run: {}", said.trim())));
            }
            let mut command = Command::new(if others.is_empty() { "sh" } else { "taskset" });
            if !others.is_empty() {
                command.args(["-c", &others.join(","), "sh"]);
            }
            // As long as whoever measures lives: it may be interrupted, and then nobody ends them.
            command.args(["-c", "while kill -0 $PPID 2>/dev/null; do \"$@\"; done", "-"]);
            if *what == "shadow" {
                command.args(["nice", "-n", "19"]);
            }
            command.arg(&own).args(&arguments).process_group(0);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            children
                .0
                .push(command.spawn().map_err(|e| Failure::machine(format!("cannot start {what}: {e}")))?);
        }
        children.pause();
        Ok(children)
    }

    /// Lets them wait.
    pub fn pause(&self) {
        self.0.iter().for_each(|child| kimera_runtime::process::pause_group(child.id()));
    }

    /// Lets them go on.
    pub fn go_on(&self) {
        self.0.iter().for_each(|child| kimera_runtime::process::resume_group(child.id()));
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The whole group: the shell and what it has started.
            kimera_runtime::process::kill_group(child.id());
            let _ = child.wait();
        }
    }
}

/// A folder for what is measured and what is read meanwhile; it goes away with this.
pub struct Scratch(PathBuf);

/// Beginning of a scratch folder's name; its process comes behind it.
const SCRATCH: &str = "kimera-compare-";

/// Takes away what processes have left that were ended before they could.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Scratch {
    /// A fresh one.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make() -> Result<Self, Failure> {
        sweep(&std::env::temp_dir());
        let path = std::env::temp_dir().join(format!("{SCRATCH}{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(Failure::machine)?;
        Ok(Self(path))
    }

    /// Where a side keeps its counters.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn side(&self, i: usize) -> Result<PathBuf, Failure> {
        let path = self.0.join(format!("side-{i}"));
        std::fs::create_dir_all(&path).map_err(Failure::machine)?;
        Ok(path)
    }

    /// A short run of the shipped recording, for those who read one.
    ///
    /// # Errors
    /// Where it does not end well.
    pub fn run(&self) -> Result<PathBuf, Failure> {
        let (own, state) = (std::env::current_exe().map_err(Failure::machine)?, self.0.join("run"));
        let status = Command::new(own)
            .args(["supervise", "--for", "120s", "--speed", "20", "--json", "--state"])
            .arg(&state)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(Failure::machine)?;
        if status.success() {
            Ok(state)
        } else {
            Err(Failure::defect("the run that is to be read did not end well"))
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_have_left_is_taken_away() {
        let folder = std::env::temp_dir().join(format!("kimera-sweep-{}", std::process::id()));
        let of = |process: &str| folder.join(format!("{SCRATCH}{process}"));
        let ours = std::process::id().to_string();
        for process in [ours.as_str(), "4294967295", "else"] {
            std::fs::create_dir_all(of(process).join("run")).unwrap();
        }
        sweep(&folder);
        let left = [ours.as_str(), "4294967295", "else"].map(|process| of(process).exists());
        assert_eq!(left, [true, false, true], "who lives keeps it; a dead one's goes; another's is not ours");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
