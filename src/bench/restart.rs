//! How long a start takes: from each snapshot that is kept, and from the beginning.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::print;
use crate::exit::{Exit, Failure};
use crate::line::Probes;
use crate::replay::{load, load_from};
use crate::replica::Replica;
use crate::report::SCHEMA_VERSION;
use crate::snapshot::Snapshot;
use crate::state::Layout;

/// Arguments of `kimera bench restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// State directory of a run.
    state: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// One way to start.
struct Start {
    behind: u64,
    inputs: usize,
    /// Snapshot and journal read and checked.
    read: f64,
    /// State put in its place, inputs gone through.
    computed: f64,
}

fn start(a: &RestartArgs, snapshot: Option<u64>) -> Result<Start, Failure> {
    let begun = Instant::now();
    let recorded = match snapshot {
        None => load(&a.state)?,
        Some(seq) => load_from(&a.state, Some(Snapshot::read(&Layout::of(&a.state).snapshots(), seq)?))?,
    };
    let read = begun.elapsed().as_secs_f64();
    let mut replica = Replica::new(&recorded.config, &Probes::default(), recorded.from.as_ref())?;
    recorded.absences().iter().for_each(|absent| replica.note_absence(absent));
    replica.run(&recorded.inputs)?;
    let computed = begun.elapsed().as_secs_f64() - read;
    Ok(Start { behind: recorded.behind(), inputs: recorded.inputs.len(), read, computed })
}

/// Measures.
///
/// # Errors
/// A journal that cannot be read.
pub fn run(a: &RestartArgs) -> Result<Exit, Failure> {
    let mut starts = Vec::new();
    for seq in Snapshot::all(&Layout::of(&a.state).snapshots()) {
        starts.push(start(a, Some(seq))?);
    }
    starts.push(start(a, None)?);
    if a.json {
        let of = |s: &Start| json!({"behind": s.behind, "inputs": s.inputs, "read_s": s.read, "computed_s": s.computed});
        print(
            &json!({"schema_version": SCHEMA_VERSION, "starts": starts.iter().map(of).collect::<Vec<_>>()})
                .to_string(),
        )?;
        return Ok(Exit::Ok);
    }
    let mut text = format!(
        "{:>14}{:>12}{:>12}{:>12}{:>12}\n",
        "behind input", "inputs", "read, s", "computed, s", "all, s"
    );
    for s in &starts {
        text.push_str(&format!(
            "{:>14}{:>12}{:>12.3}{:>12.3}{:>12.3}\n",
            s.behind,
            s.inputs,
            s.read,
            s.computed,
            s.read + s.computed
        ));
    }
    print(&text)?;
    Ok(Exit::Ok)
}
