//! `kimera bisect REV_A REV_B`: two builds over the journal of one run, and the first decision on which they differ.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::{Value, json};

use crate::builds::Build;
use crate::cli::print;
use crate::exit::{Exit, Failure};
use crate::report::SCHEMA_VERSION;

/// Arguments of `kimera bisect`.
#[derive(Debug, Args)]
pub struct BisectArgs {
    /// A revision, or `.` for this very program.
    a: String,
    /// Another one.
    b: String,
    /// State directory of a run.
    #[arg(long)]
    state: PathBuf,
    /// Partial configuration put over the run's own in the second: what a change of parameters does to both.
    #[arg(long)]
    patch: Option<PathBuf>,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Decisions and orders of a build, a JSON object a line.
fn said(revision: &str, a: &BisectArgs, patch: Option<&Path>, file: &Path) -> Result<Vec<String>, Failure> {
    let build = Build::of(revision)?;
    let mut command = Command::new(build.program());
    command.arg("replay").arg(&a.state).arg("--json").arg("--said").arg(file);
    if let Some(patch) = patch {
        command.arg("--patch").arg(patch);
    }
    let out = command.stdin(Stdio::null()).output().map_err(Failure::machine)?;
    let text = std::fs::read_to_string(file);
    let _ = std::fs::remove_file(file);
    let text = text.map_err(|_| {
        let why = String::from_utf8_lossy(&out.stderr);
        Failure::defect(format!("{revision} does not replay {}: {}", a.state.display(), why.trim()))
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Finds the first decision or order on which they differ.
///
/// # Errors
/// A revision that cannot be built, or cannot replay the journal.
pub fn run(a: &BisectArgs) -> Result<Exit, Failure> {
    let file = std::env::temp_dir().join(format!("kimera-bisect-{}.jsonl", std::process::id()));
    let first = said(&a.a, a, None, &file)?;
    let second = said(&a.b, a, a.patch.as_deref(), &file)?;
    let at = (0..first.len().max(second.len())).find(|&i| first.get(i) != second.get(i));
    let parsed = |line: Option<&String>| line.and_then(|l| serde_json::from_str::<Value>(l).ok());
    let Some(at) = at else {
        let text = format!("{} and {} say the same: {} decisions and orders", a.a, a.b, first.len());
        let value = json!({"schema_version": SCHEMA_VERSION, "same": true, "said": first.len()});
        print(&if a.json { value.to_string() } else { text })?;
        return Ok(Exit::Ok);
    };
    let (old, new) = (parsed(first.get(at)), parsed(second.get(at)));
    let seq = [&old, &new].into_iter().flatten().filter_map(|v| v["seq"].as_u64()).min();
    let differ =
        first.iter().zip(&second).filter(|(a, b)| a != b).count() + first.len().abs_diff(second.len());
    let value = json!({
        "schema_version": SCHEMA_VERSION, "same": false, "seq": seq, "a": old, "b": new, "differ": differ,
    });
    let show = |v: &Option<Value>| v.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
    let text = format!(
        "they differ first at input {}\n  {}: {}\n  {}: {}\n{differ} of {} decisions and orders are other ones; see: kimera explain {} {}",
        seq.unwrap_or(0),
        a.a,
        show(&old),
        a.b,
        show(&new),
        first.len().max(second.len()),
        a.state.display(),
        seq.unwrap_or(0),
    );
    print(&if a.json { value.to_string() } else { text })?;
    Ok(Exit::Failed)
}
