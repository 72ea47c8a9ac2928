//! Programs of other revisions: checked out and built beside this one, once for each commit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::PROFILE;
use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;

/// A program of a revision.
#[derive(Clone, Debug)]
pub struct Build {
    /// The commit; nothing for this very program.
    pub commit: Option<String>,
    program: PathBuf,
    profile: PathBuf,
}

fn git(arguments: &[&str]) -> Result<String, Failure> {
    let out = Command::new("git").args(arguments).output();
    let out = out.map_err(|e| Failure::machine(format!("cannot start git: {e}")))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        return Err(Failure::usage(format!("git {}: {}", arguments.join(" "), said.trim())));
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

impl Build {
    /// The program of a revision; `.` is this very one. One that was built before is used again.
    ///
    /// # Errors
    /// A revision that does not exist here, or does not build.
    pub fn of(revision: &str) -> Result<Self, Failure> {
        if revision == "." {
            let program = std::env::current_exe().map_err(Failure::machine)?;
            return Ok(Self { commit: None, program, profile: PROFILE.into() });
        }
        let commit = git(&["rev-parse", "--verify", &format!("{revision}^{{commit}}")])?;
        let root = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
        let folder = root.join("target/revisions").join(&commit);
        let program = folder.join("build/release/kimera");
        if !program.exists() {
            Self::build(&folder, &commit)?;
        }
        // Another revision may not know what this one's profile says, and the other way round.
        let profile = folder.join("profile.toml");
        if !profile.exists() {
            let text = git(&["show", &format!("{commit}:{PROFILE}")])?;
            std::fs::write(&profile, text + "\n").map_err(Failure::machine)?;
        }
        Ok(Self { commit: Some(commit), program, profile })
    }

    fn build(folder: &Path, commit: &str) -> Result<(), Failure> {
        let sources = folder.join("sources");
        let text = sources.display().to_string();
        if !sources.exists() {
            git(&["worktree", "prune"])?;
            git(&["worktree", "add", "--detach", "--force", &text, commit])?;
        }
        log::say(System, &format!("building {commit}"));
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked", "--quiet", "--bin", "kimera"])
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", folder.join("build"))
            .stdout(Stdio::null())
            .status()
            .map_err(|e| Failure::machine(format!("cannot start cargo: {e}")))?;
        let removed = git(&["worktree", "remove", "--force", &text]);
        if !built.success() {
            return Err(Failure::defect(format!("{commit} does not build")));
        }
        removed.map(|_| ())
    }

    /// Where it lies.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The profile that it ships.
    #[must_use]
    pub fn profile(&self) -> &Path {
        &self.profile
    }
}
