//! The program as a user starts it, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kimera::control::Client;
use serde_json::{Value, json};

/// A folder that goes away with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kimera-prove-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program under test: beside this tool, one folder up.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("kimera")
}

/// The shipped profile with some lines replaced.
pub fn profile(changes: &[(&str, &str)]) -> String {
    let mut text =
        std::fs::read_to_string("config/profiles/paper.toml").expect("run from the project's folder");
    for (from, to) in changes {
        assert!(text.contains(from), "the profile has no line {from:?}");
        text = text.replace(from, to);
    }
    text
}

/// What a supervisor says is kept beside what its children say.
fn said(state: &Path) -> Stdio {
    let _ = std::fs::create_dir_all(state);
    let log = std::fs::File::options().create(true).append(true).open(state.join("supervisor.log"));
    log.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// A run of the whole program.
pub struct Run {
    pub child: Child,
    pub state: PathBuf,
}

impl Run {
    /// Starts `kimera supervise` with these arguments more.
    pub fn start(state: &Path, more: &[&str]) -> Self {
        let child = Command::new(program())
            .args(["supervise", "--json", "--state", state.to_str().unwrap()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said(state))
            .spawn()
            .expect("the program is built");
        Self { child, state: state.to_owned() }
    }

    /// Asks the engine; none while it does not answer.
    pub fn ask(&self, method: &str, params: &Value) -> Option<Value> {
        let socket = self.state.join("engine.sock");
        let mut client = Client::connect(&socket, Duration::from_secs(15)).ok()?;
        client.call(method, params).ok()?.ok()
    }

    pub fn status(&self) -> Option<Value> {
        self.ask("status", &json!({}))
    }

    /// Waits until the engine's status is as wanted; false where it is not in time, or the run has ended.
    pub fn wait(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.status().as_ref().is_some_and(&wanted) {
                return true;
            }
            if self.child.try_wait().ok().flatten().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Ends it in order and gives its summary.
    pub fn finish(mut self) -> Option<Value> {
        self.ask("shutdown", &json!({}));
        self.wait_for_summary()
    }

    /// The summary of a run that is ending.
    pub fn wait_for_summary(&mut self) -> Option<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().ok().flatten().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let mut text = String::new();
        std::io::Read::read_to_string(self.child.stdout.as_mut()?, &mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
