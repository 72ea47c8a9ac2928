//! A child process that does not outlive us.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kimera_runtime::process::terminate;

use crate::engine::venue_account::CREDENTIALS;
use crate::exit::{Exit, Failure};
use crate::state::Layout;

/// Longest wait for a child to end when asked.
const CHILD_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A child that does not outlive us.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `kimera` with these arguments; what it says goes to its log, credentials come by its environment.
    ///
    /// # Errors
    /// Where it cannot be started or its log cannot be written.
    pub fn start(
        name: &'static str,
        arguments: &[String],
        layout: &Layout,
        credentials: &[String; 2],
    ) -> Result<Self, Failure> {
        let log = layout.log(name);
        let fail = |e: std::io::Error| Failure::run(format!("cannot start the {name}: {e}"));
        // Appended to: what an earlier start said is worth keeping.
        let file = File::options().create(true).append(true).open(&log).map_err(|e| {
            Failure::run(format!("cannot write {}: {e}; choose another --state", log.display()))
        })?;
        let program = std::env::current_exe().map_err(fail)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(CREDENTIALS.into_iter().zip(credentials))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // A group of its own: Ctrl-C reaches us, and we decide what the children do.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        Ok(Self { name, child, log })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last line of its log: what it said when it died.
    #[must_use]
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("nothing in its log").to_owned()
    }

    /// Why it failed, in its own words.
    #[must_use]
    pub fn failure(&self, status: ExitStatus) -> Failure {
        let code = match status.code() {
            Some(3) => Exit::Configuration,
            Some(7) => Exit::MissingBlob,
            _ => Exit::Failed,
        };
        let words = self.last_words();
        let message = words.strip_prefix("kimera: ").unwrap_or(&words);
        Failure { code, message: format!("{}: {message} (log: {})", self.name, self.log.display()) }
    }

    /// Asks it to end, and ends it where it does not.
    pub fn stop(&mut self) {
        let _ = terminate(self.child.id());
        let deadline = Instant::now() + CHILD_STOP;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
