//! `kimera doctor`: is this machine fit for a run whose latencies may be published?

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use kimera_runtime::limits;
use kimera_runtime::plan::available_cores;
use serde::Serialize;

use super::Machine;
use super::cores::Chosen;
use super::facts::{Fact, Judged, Verdict};
use super::settings::Wanted;
use super::tuning::{self, Applied, Outcome, Restored, Tuning};
use crate::cli::print;
use crate::config::{Config, chosen};
use crate::exit::{Exit, Failure};
use crate::report::SCHEMA_VERSION;

/// `kimera doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Configuration file.
    #[arg(long, default_value = crate::cli::PROFILE)]
    config: PathBuf,
    /// Core plan instead of the configuration's.
    #[arg(long)]
    plan: Option<String>,
    /// Where runs are kept.
    #[arg(long, default_value = "state")]
    state: PathBuf,
    /// One JSON object on stdout (docs/schema/doctor.json).
    #[arg(long)]
    json: bool,
}

/// `kimera tune`.
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// show, apply or restore.
    #[arg(value_enum, default_value_t = Action::Show)]
    action: Action,
    /// Configuration file.
    #[arg(long, default_value = crate::cli::PROFILE)]
    config: PathBuf,
    /// Core plan instead of the configuration's.
    #[arg(long)]
    plan: Option<String>,
    /// With restore: also where a process still needs the settings.
    #[arg(long)]
    force: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// What would be written, and what is so already.
    Show,
    /// Writes it; what held before is kept.
    Apply,
    /// Puts everything back as it was.
    Restore,
}

/// Everything `doctor` says.
#[derive(Debug, Serialize)]
pub struct Report {
    schema_version: u32,
    /// The worst of them.
    pub verdict: Verdict,
    /// The plan, and why it is this one.
    pub plan: Chosen,
    /// Fact by fact.
    pub facts: Vec<Fact>,
}

/// What a run with this plan wants of the machine.
#[must_use]
pub fn wanted(config: &Config, chosen: &Chosen, available: &[usize]) -> Wanted {
    let others = chosen.plan.cores_for_others(available);
    let hot = available.iter().copied().filter(|core| !others.contains(core)).collect();
    Wanted { hot, others, arena_mib: config.memory.arena_mib }
}

/// Looks at the machine.
///
/// # Errors
/// An unknown plan.
pub fn examine(
    machine: &Machine,
    config: &Config,
    plan: Option<&str>,
    state: &std::path::Path,
) -> Result<Report, Failure> {
    let available = available_cores();
    let chosen = chosen(plan.unwrap_or(&config.plan), machine, &available)?;
    let wanted = wanted(config, &chosen, &available);
    let clock = limits::clock_sync().ok();
    let facts = Judged { machine, available, wanted, state, clock }.facts();
    let verdict = facts.iter().map(|fact| fact.verdict).max().unwrap_or(Verdict::Pass);
    Ok(Report { schema_version: SCHEMA_VERSION, verdict, plan: chosen, facts })
}

impl Report {
    /// How many facts have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.facts.iter().filter(|fact| fact.verdict == verdict).count()
    }

    fn table(&self) -> String {
        let mut text = String::new();
        self.plan.why.iter().for_each(|why| {
            let _ = writeln!(text, "plan  {why}");
        });
        for fact in &self.facts {
            let (verdict, id) = (fact.verdict.name(), &fact.id);
            let _ = writeln!(text, "{verdict}  {:<8} {id}: {}", fact.group, fact.found);
            if fact.verdict != Verdict::Pass {
                let _ = writeln!(text, "               wanted: {}\n               {}", fact.wanted, fact.fix);
            }
        }
        let _ = writeln!(
            text,
            "{} pass, {} warn, {} fail: latencies measured here are {}",
            self.count(Verdict::Pass),
            self.count(Verdict::Warn),
            self.count(Verdict::Fail),
            if self.verdict == Verdict::Fail { "unofficial" } else { "official" }
        );
        text
    }
}

/// `kimera doctor`.
///
/// # Errors
/// Where the configuration cannot be used.
pub fn run(a: &DoctorArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let report = examine(&Machine::default(), &config, a.plan.as_deref(), &a.state)?;
    let text = if a.json { serde_json::to_string(&report).map_err(Failure::defect)? } else { report.table() };
    print(&text)?;
    Ok(if report.verdict == Verdict::Fail { Exit::Unfit } else { Exit::Ok })
}

#[derive(Serialize)]
struct Tuned<'a> {
    schema_version: u32,
    /// Where what held before is kept.
    kept_in: PathBuf,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    settings: &'a [Applied],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    restored: &'a [Restored],
}

/// `kimera tune`.
///
/// # Errors
/// Where what held before cannot be kept or read.
pub fn tune(a: &TuneArgs) -> Result<Exit, Failure> {
    let machine = Machine::default();
    let tuning = Tuning::of(machine.clone());
    let say = |settings: &[Applied], restored: &[Restored], text: String| {
        let tuned = Tuned { schema_version: SCHEMA_VERSION, kept_in: tuning.file(), settings, restored };
        print(&if a.json { serde_json::to_string(&tuned).map_err(Failure::defect)? } else { text })
    };
    if a.action == Action::Restore {
        let restored = tuning.restore(a.force)?;
        say(&[], &restored, restored_text(&restored))?;
        let left = restored.iter().any(|r| !r.left.is_empty());
        return Ok(if left { Exit::Failed } else { Exit::Ok });
    }
    let config = Config::load(&a.config)?;
    let available = available_cores();
    let chosen = chosen(a.plan.as_deref().unwrap_or(&config.plan), &machine, &available)?;
    let wanted = wanted(&config, &chosen, &available);
    let applied = tuning.apply(&wanted, a.action == Action::Show)?;
    say(&applied, &[], format!("{}{}\n", tuning::table(&applied), tuning::summary(&applied)))?;
    let refused = applied.iter().any(|a| matches!(a.outcome, Outcome::Refused { .. }));
    Ok(if refused { Exit::Failed } else { Exit::Ok })
}

fn restored_text(restored: &[Restored]) -> String {
    if restored.is_empty() {
        return "nothing to put back".into();
    }
    let row = |r: &Restored| match r.left.as_str() {
        "" => format!("restored {}: {}\n", r.setting, r.now),
        why => format!("left     {}: {}: {why}\n", r.setting, r.now),
    };
    restored.iter().map(row).collect()
}
