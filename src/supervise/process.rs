//! A child process: started by us, or taken up from a supervisor that has gone.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kimera_runtime::process::{kill, terminate};

use kimera_protocol::ErrorKind;
use kimera_runtime::errors::ErrorLog;

use crate::claim::{Claim, Identity};
use crate::config::LogSection;
use crate::credentials::CREDENTIALS;
use crate::exit::{Exit, Failure};
use crate::log::record::last_words;
use crate::state::Layout;

/// Longest wait for a child to end when asked.
const CHILD_STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Exit code of a process whose main thread panicked.
const PANICKED: i32 = 101;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was not our child: nobody has told us.
    Gone,
}

impl Ended {
    /// True where it has fallen, and not because of what it was told.
    #[must_use]
    pub fn fell(self) -> bool {
        match self {
            Self::Code(code) => code == Exit::Failed as i32 || code == PANICKED,
            Self::Signal(_) | Self::Gone => true,
        }
    }
}

/// A child.
pub struct Process {
    name: &'static str,
    identity: Identity,
    child: Option<Child>,
    log: PathBuf,
    /// Where in it this start begins.
    log_from: u64,
    /// Its distinct errors.
    errors: PathBuf,
    /// When it was started or taken up, Unix milliseconds.
    since_ms: u64,
    ended: Option<Ended>,
}

/// Bytes at the end of a log in which last words are looked for.
const TAIL_BYTES: u64 = 64 << 10;

/// The end of a log, from where a start begins; from its own beginning where it is another file since.
fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
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
        log_section: &LogSection,
    ) -> Result<Self, Failure> {
        let log = layout.log(name);
        let fail = |e: std::io::Error| Failure::machine(format!("cannot start the {name}: {e}"));
        // Appended to: what an earlier start said is worth keeping.
        let file = File::options().create(true).append(true).open(&log).map_err(|e| {
            Failure::machine(format!("cannot write {}: {e}; choose another --state", log.display()))
        })?;
        let log_from = file.metadata().map_or(0, |m| m.len());
        let since_ms = now_ms();
        let program = std::env::current_exe().map_err(fail)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(CREDENTIALS.into_iter().zip(credentials))
            .envs([log_section.to_environment()?])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // A group of its own: Ctrl-C reaches us, and we decide what the children do.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        let identity = Identity::of(child.id()).unwrap_or(Identity { pid: child.id(), born: 0 });
        Ok(Self {
            name,
            identity,
            child: Some(child),
            log,
            log_from,
            errors: layout.errors(name),
            since_ms,
            ended: None,
        })
    }

    /// Takes up a process that an earlier supervisor has started and that lives.
    #[must_use]
    pub fn adopt(name: &'static str, layout: &Layout) -> Option<Self> {
        let identity = Claim::holder(&layout.lock(name))?;
        Some(Self {
            name,
            identity,
            child: None,
            log: layout.log(name),
            errors: layout.errors(name),
            log_from: 0,
            since_ms: 0,
            ended: None,
        })
    }

    /// Which process it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            self.ended = match &mut self.child {
                Some(child) => child.try_wait().ok().flatten().map(|status| {
                    status
                        .code()
                        .map_or_else(|| status.signal().map_or(Ended::Gone, Ended::Signal), Ended::Code)
                }),
                None => (!self.identity.is_alive()).then_some(Ended::Gone),
            };
        }
        self.ended
    }

    /// Why it failed, in its own words where it had time for some.
    #[must_use]
    pub fn failure(&self, ended: Ended) -> Failure {
        let code = match ended {
            Ended::Code(3) => Exit::Configuration,
            Ended::Code(7) => Exit::MissingBlob,
            _ => Exit::Failed,
        };
        let words = last_words(&tail(&self.log, self.log_from).unwrap_or_default());
        let log = self.errors.exists().then(|| ErrorLog::open(&self.errors).ok()).flatten();
        let entries = log.map(|log| log.entries()).unwrap_or_default();
        let of_this_start = entries.into_iter().filter(|e| e.last_ms >= self.since_ms);
        let newest = of_this_start.max_by_key(|e| e.last_ms).and_then(|e| e.kind);
        let kind = match code {
            Exit::Configuration => ErrorKind::Configuration,
            Exit::MissingBlob => ErrorKind::Data,
            _ => newest.filter(|_| ended == Ended::Code(Exit::Failed as i32)).unwrap_or(ErrorKind::Defect),
        };
        let message = match ended {
            Ended::Signal(signal) => format!("killed by signal {signal}; before that: {words}"),
            Ended::Gone => format!("gone; before that: {words}"),
            Ended::Code(_) => words,
        };
        Failure {
            code,
            ..Failure::of(kind, format!("{}: {message} (log: {})", self.name, self.log.display()))
        }
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        if self.ended().is_none() {
            let _ = terminate(self.identity.pid);
        }
    }

    /// Asks it to end, and ends it where it does not.
    pub fn stop(&mut self) {
        self.terminate();
        let deadline = Instant::now() + CHILD_STOP;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.kill();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            let _ = kill(self.identity.pid);
            if let Some(child) = &mut self.child {
                let _ = child.wait();
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_of_this_start() {
        let path = std::env::temp_dir().join(format!("kimera-tail-{}", std::process::id()));
        let before = "kimera: the engine was ended: seat risk panicked\n";
        std::fs::write(&path, [before.as_bytes(), b"\xff\nkilled in the middle of th\n"].concat()).unwrap();
        let words = |from| last_words(&tail(&path, from).unwrap());
        assert_eq!(words(before.len() as u64), "killed in the middle of th");
        assert_eq!(words(0), "the engine was ended: seat risk panicked");
        assert_eq!(words(1_000_000), "the engine was ended: seat risk panicked", "another file since");
        std::fs::write(&path, ["line\n".repeat(100_000).as_str(), "the end\n"].concat()).unwrap();
        assert!(tail(&path, 0).unwrap().len() as u64 <= TAIL_BYTES);
        assert_eq!(words(0), "the end");
        std::fs::remove_file(&path).unwrap();
    }
}
