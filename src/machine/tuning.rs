//! Applies what a fast run wants of the kernel, and puts everything back.
//!
//! What held before is on disk before anything is changed, with who uses it: the last of them to go puts it back, and where
//! nobody is left to do so, the next start takes it over or `kimera tune restore` puts it back. A value that somebody else
//! has changed meanwhile is left as it is. A restart of the machine forgets all of it by itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kimera_runtime::limits::{self, Resource, UNLIMITED};
use kimera_runtime::process;
use serde::{Deserialize, Serialize};

use super::Machine;
use super::settings::{Setting, Wanted, settings};
use crate::exit::Failure;
use crate::log;
use crate::log::Category::System;

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Written.
    Set {
        /// What held before.
        before: String,
    },
    /// It was so already.
    Already {
        /// What holds.
        found: String,
    },
    /// This machine has no such thing.
    Absent,
    /// The machine refuses.
    Refused {
        /// What holds.
        found: String,
        /// In its words.
        reason: String,
    },
    /// A dry run: would be written.
    Would {
        /// What holds.
        before: String,
    },
}

/// A setting and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// Where.
    pub setting: String,
    /// What was wanted.
    pub wanted: String,
    /// What for.
    pub why: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A value to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    path: String,
    /// What was written there.
    set: String,
    /// Where and what to write to have it as it was.
    undo: (String, String),
}

/// Who wants the settings as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    pid: u32,
    birth: u64,
}

impl User {
    fn me() -> Self {
        let pid = std::process::id();
        Self { pid, birth: process::birth(pid).unwrap_or(0) }
    }

    fn lives(&self) -> bool {
        process::birth(self.pid) == Some(self.birth)
    }
}

/// What is on disk while settings are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    schema_version: u32,
    /// The kernel's name for the time since the machine was started.
    boot: String,
    users: Vec<User>,
    values: Vec<Kept>,
}

/// Settings of a machine, and where what held before is kept.
pub struct Tuning {
    machine: Machine,
    folder: PathBuf,
}

/// What `restore` did with a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Where.
    pub setting: String,
    /// What holds now.
    pub now: String,
    /// Empty where it is as it was before; else why it is not.
    pub left: String,
}

impl Tuning {
    /// Of this machine; what held before is kept in `/var/lib/kimera`, or in the user's own state folder.
    #[must_use]
    pub fn of(machine: Machine) -> Self {
        let shared = machine.path("/var/lib/kimera");
        let usable = process::own_uid() == 0 || machine.is_a_test();
        let home = || {
            let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
            let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
            state.unwrap_or_else(std::env::temp_dir).join("kimera")
        };
        let folder = if usable { shared } else { home() };
        Self { machine, folder }
    }

    /// Where what held before is kept.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("tuning.json")
    }

    fn boot(&self) -> String {
        self.machine.read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// One process at a time.
    fn locked<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let failed = |e: io::Error| {
            Failure::machine(format!("cannot keep the machine's settings in {}: {e}", self.folder.display()))
        };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let lock = File::create(self.folder.join("tuning.lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        work()
    }

    /// What an earlier start has kept: of this boot, or nothing.
    fn saved(&self) -> Result<Saved, Failure> {
        let fresh = || Saved { schema_version: 1, boot: self.boot(), ..Saved::default() };
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(fresh()),
            Err(e) => return Err(Failure::machine(format!("cannot read {}: {e}", path.display()))),
        };
        let saved: Saved = serde_json::from_str(&text).map_err(|e| {
            Failure::data(format!(
                "{} is no file of ours ({e}); put the settings back by hand and remove it",
                path.display()
            ))
        })?;
        Ok(if saved.boot == self.boot() { saved } else { fresh() })
    }

    /// On disk, under its name, before anything else happens.
    fn keep(&self, saved: &Saved) -> Result<(), Failure> {
        let path = self.file();
        let partial = path.with_extension("partial");
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(saved)?;
            fs::write(&partial, text)?;
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e| {
            Failure::machine(format!(
                "nothing was changed: what held before cannot be kept in {}: {e}",
                path.display()
            ))
        })
    }

    /// True where a value may be written at all.
    fn may_write(&self, path: &str) -> io::Result<()> {
        File::options().write(true).open(self.machine.path(path)).map(|_| ())
    }

    /// Where and what to write later: `dirty_ratio` holds only where `dirty_bytes` is 0, and setting one clears the other.
    fn undo(&self, path: &str, before: &str) -> (String, String) {
        if path.ends_with("/dirty_ratio") {
            let bytes = path.replace("dirty_ratio", "dirty_bytes");
            if let Some(value) = self.machine.read(&bytes).filter(|value| value != "0") {
                return (bytes, value);
            }
        }
        (path.to_owned(), before.to_owned())
    }

    /// Writes what is not as it is wanted; with `dry_run` says what would be written.
    ///
    /// # Errors
    /// Where what held before cannot be kept: nothing is changed then.
    pub fn apply(&self, wanted: &Wanted, dry_run: bool) -> Result<Vec<Applied>, Failure> {
        let all = settings(&self.machine, wanted);
        let look = || all.iter().map(|setting| self.look(setting)).collect::<Vec<_>>();
        let would = |applied: &Applied| matches!(applied.outcome, Outcome::Would { .. });
        let looked = look();
        // Where there is nothing to write, who uses what an earlier start has changed is still to be known.
        if dry_run || (!looked.iter().any(would) && !self.file().exists()) {
            return Ok(looked);
        }
        self.locked(|| {
            // Looked at once more: somebody may have put something back meanwhile.
            let looked = look();
            let mut saved = self.saved()?;
            saved.users.retain(User::lives);
            saved.users.push(User::me());
            for (setting, applied) in all.iter().zip(&looked) {
                let Outcome::Would { before } = &applied.outcome else { continue };
                if !saved.values.iter().any(|kept| kept.path == setting.path) {
                    let undo = self.undo(&setting.path, before);
                    saved.values.push(Kept { path: setting.path.clone(), set: setting.wanted.clone(), undo });
                }
            }
            self.keep(&saved)?;
            Ok(all.iter().zip(looked).map(|(setting, applied)| self.write(setting, applied)).collect())
        })
    }

    fn look(&self, setting: &Setting) -> Applied {
        let outcome = match setting.current(&self.machine) {
            None => Outcome::Absent,
            Some(found) if setting.holds(&found) => Outcome::Already { found },
            Some(found) => match self.may_write(&setting.path) {
                Err(e) => Outcome::Refused { found, reason: e.to_string() },
                Ok(()) => Outcome::Would { before: found },
            },
        };
        Applied { setting: setting.path.clone(), wanted: setting.wanted.clone(), why: setting.why, outcome }
    }

    fn write(&self, setting: &Setting, mut applied: Applied) -> Applied {
        let Outcome::Would { before } = applied.outcome.clone() else { return applied };
        let wrote = self.machine.write(&setting.path, &setting.wanted);
        let found = setting.current(&self.machine).unwrap_or_default();
        applied.outcome = match wrote {
            Ok(()) if setting.holds(&found) => Outcome::Set { before },
            Ok(()) => {
                Outcome::Refused { reason: format!("the kernel took it and made it \"{found}\""), found }
            }
            Err(e) => Outcome::Refused { found, reason: e.to_string() },
        };
        applied
    }

    /// This process no longer needs the settings: where nobody else does, they are put back. With `force` they are put back
    /// whoever needs them.
    ///
    /// # Errors
    /// Where what held before cannot be read.
    pub fn restore(&self, force: bool) -> Result<Vec<Restored>, Failure> {
        if !self.file().exists() {
            return Ok(Vec::new());
        }
        self.locked(|| {
            let mut saved = self.saved()?;
            let me = User::me();
            saved.users.retain(|user| *user != me && user.lives());
            if !saved.users.is_empty() && !force {
                self.keep(&saved)?;
                let pids: Vec<_> = saved.users.iter().map(|user| user.pid.to_string()).collect();
                let left = format!("still used by process {}", pids.join(", "));
                return Ok(saved.values.iter().map(|kept| self.leave(kept, &left)).collect());
            }
            let restored = saved.values.iter().rev().map(|kept| self.put_back(kept)).collect();
            fs::remove_file(self.file()).map_err(|e| {
                Failure::machine(format!("everything is put back, but {} stays: {e}", self.file().display()))
            })?;
            Ok(restored)
        })
    }

    fn leave(&self, kept: &Kept, left: &str) -> Restored {
        let now = self.machine.read(&kept.path).unwrap_or_default();
        Restored { setting: kept.path.clone(), now, left: left.to_owned() }
    }

    fn put_back(&self, kept: &Kept) -> Restored {
        // As it was compared when it was written; what is a choice or a list reads otherwise than it is written.
        let forms = settings(&self.machine, &Wanted { hot: vec![0], others: vec![0], arena_mib: 0 });
        let form = forms.into_iter().find(|setting| setting.path == kept.path);
        let (now, ours) = match form.map(|setting| Setting { wanted: kept.set.clone(), ..setting }) {
            Some(setting) => {
                let now = setting.current(&self.machine).unwrap_or_default();
                let ours = setting.holds(&now);
                (now, ours)
            }
            None => (self.machine.read(&kept.path).unwrap_or_default(), false),
        };
        let (path, before) = &kept.undo;
        if now == *before && *path == kept.path {
            return self.leave(kept, "");
        }
        if !ours {
            return self.leave(kept, &format!("somebody has changed it to \"{now}\" meanwhile"));
        }
        match self.machine.write(path, before) {
            Ok(()) => self.leave(kept, ""),
            Err(e) => self.leave(kept, &e.to_string()),
        }
    }
}

/// What this process, and those it starts, ask for themselves.
#[must_use]
pub fn for_this_process(machine: &Machine) -> (Vec<Applied>, Option<File>) {
    let limit = |name: &str, resource: Resource, wanted: u64, why| {
        let before = resource.get().map_or(0, |(now, _)| now);
        let outcome = match resource.raise(wanted) {
            _ if before >= wanted => Outcome::Already { found: limit_text(before) },
            Ok(now) if now >= wanted => Outcome::Set { before: limit_text(before) },
            Ok(now) => Outcome::Refused { found: limit_text(now), reason: "not without privileges".into() },
            Err(e) => Outcome::Refused { found: limit_text(before), reason: e.to_string() },
        };
        Applied { setting: format!("limit {name}"), wanted: limit_text(wanted), why, outcome }
    };
    let before = limits::timer_slack_ns().unwrap_or(0);
    let slack = match limits::set_timer_slack_ns(1) {
        true => Outcome::Set { before: before.to_string() },
        false => Outcome::Refused { found: before.to_string(), reason: "refused".into() },
    };
    let device = Path::new("/dev/cpu_dma_latency");
    let awake = limits::stay_awake(&machine.path("/dev/cpu_dma_latency"));
    let kept = match &awake {
        Some(_) => Outcome::Set { before: "not held".into() },
        None if !machine.path("/dev/cpu_dma_latency").exists() => Outcome::Absent,
        None => Outcome::Refused { found: "not held".into(), reason: "not without privileges".into() },
    };
    let rows = vec![
        limit("nofile", Resource::OpenFiles, 1_048_576, "a socket a venue, a file a segment"),
        limit("memlock", Resource::LockedMemory, UNLIMITED, "rings and books are locked in memory"),
        limit("rtprio", Resource::RealTimePriority, 99, "hot threads may ask for real-time scheduling"),
        Applied {
            setting: "timer slack, ns".into(),
            wanted: "1".into(),
            why: "sleepers are woken when they asked to be",
            outcome: slack,
        },
        Applied {
            setting: device.display().to_string(),
            wanted: "0 µs".into(),
            why: "processors stay out of deep sleep while this runs",
            outcome: kept,
        },
    ];
    (rows, awake)
}

/// A limit for people.
#[must_use]
pub fn limit_text(limit: u64) -> String {
    if limit == UNLIMITED { "unlimited".into() } else { limit.to_string() }
}

/// One line: how many were set, were so already, are not there, were refused.
#[must_use]
pub fn summary(applied: &[Applied]) -> String {
    let count = |of: fn(&Outcome) -> bool| applied.iter().filter(|a| of(&a.outcome)).count();
    let mut text = format!(
        "tuning: {} set, {} were so already, {} not on this machine, {} refused",
        count(|o| matches!(o, Outcome::Set { .. })),
        count(|o| matches!(o, Outcome::Already { .. })),
        count(|o| matches!(o, Outcome::Absent)),
        count(|o| matches!(o, Outcome::Refused { .. })),
    );
    let refused: Vec<_> =
        applied.iter().filter(|a| matches!(a.outcome, Outcome::Refused { .. })).map(short).collect();
    if !refused.is_empty() {
        let shown = refused.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
        let more = refused.len().saturating_sub(6);
        text += &format!(" ({shown}{})", if more > 0 { format!(" and {more} more") } else { String::new() });
    }
    text
}

fn short(applied: &Applied) -> String {
    applied.setting.rsplit_once("/sys/").map_or(applied.setting.as_str(), |(_, rest)| rest).to_owned()
}

/// A line a setting.
#[must_use]
pub fn table(applied: &[Applied]) -> String {
    let row = |a: &Applied| match &a.outcome {
        Outcome::Set { before } => format!("set      {}: {before} -> {} ({})\n", a.setting, a.wanted, a.why),
        Outcome::Would { before } => {
            format!("would    {}: {before} -> {} ({})\n", a.setting, a.wanted, a.why)
        }
        Outcome::Already { found } => format!("is so    {}: {found}\n", a.setting),
        Outcome::Absent => format!("absent   {}\n", a.setting),
        Outcome::Refused { found, reason } => {
            format!("refused  {}: stays {found}, {} wanted: {reason}\n", a.setting, a.wanted)
        }
    };
    applied.iter().map(row).collect()
}

/// The settings for as long as this lives.
pub struct Held {
    tuning: Tuning,
    _awake: Option<File>,
}

impl Held {
    /// Applies everything, for this process and the machine; what became of it.
    ///
    /// # Errors
    /// Where what held before cannot be kept.
    pub fn take(machine: Machine, wanted: &Wanted) -> Result<(Self, Vec<Applied>), Failure> {
        let (mut rows, awake) = for_this_process(&machine);
        let tuning = Tuning::of(machine);
        rows.extend(tuning.apply(wanted, false)?);
        Ok((Self { tuning, _awake: awake }, rows))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.tuning.restore(false) {
            Ok(restored) => restored.iter().filter(|r| !r.left.is_empty()).for_each(|r| {
                log::warn(System, &format!("tuning: {} is left at \"{}\": {}", r.setting, r.now, r.left));
            }),
            Err(e) => log::warn(System, &format!("tuning: {e}; kimera tune restore tries again")),
        }
    }
}

#[cfg(test)]
mod tests;
