//! Kimera's pieces beside published ones, in one run.
//!
//! Everybody gets the same input. What they make of it has to be equal before anything is timed; then they take turns,
//! round by round, and the tables say medians, spread and Kimera's factor, where it loses as plainly as where it wins.
//!
//! * [`ring`]: a message from one end of a queue to the other
//! * [`decode`]: a frame's bytes to integers
//! * [`books`]: level updates into a book
//! * [`order`]: a frame's bytes to the bytes of a signed order
//! * [`input`]: the recording, cut up for all of them
//! * [`rounds`]: who runs when, what is equal, statistics; [`table`]: how it is said; [`facts`]: on which machine

mod books;
mod decode;
mod facts;
mod input;
mod order;
mod ring;
mod rounds;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use kimera::config::Config;
use kimera_runtime::plan::{available_cores, pin_to_core};
use kimera_simulator::Tape;

use facts::Facts;
use rounds::{Outcome, Unequal};

/// A change of the control went unnoticed: the comparison is worth nothing.
const UNNOTICED: u8 = 3;

/// Kimera's pieces beside published ones: same input, equal results first, then rounds in turns.
#[derive(Debug, Parser)]
#[command(name = "bench-peers", version)]
struct Arguments {
    /// Rounds that count, behind one that does not.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Only these, with commas between.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    only: Vec<Group>,
    /// Everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Gives one of each comparison an input that differs by one bit, and measures nothing: has to end with code 1 and
    /// name it. Code 3 where it was not noticed.
    #[arg(long)]
    control: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// A message through a queue
    Ring,
    /// A frame's bytes to integers
    Decode,
    /// Level updates into a book
    Books,
    /// A frame's bytes to a signed order's
    Order,
}

/// What every comparison needs to know.
pub struct Setting {
    /// Kimera's configuration for the recording that ships with it.
    config: Config,
    /// The recording.
    tape: Tape,
    /// Cores this process may use; the last one is this thread's.
    cores: Vec<usize>,
    /// Rounds that count.
    rounds: u32,
    /// One input is changed, and nothing is timed.
    control: bool,
}

impl Setting {
    fn new(arguments: &Arguments, cores: Vec<usize>) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let config = Config::load(&root.join("config/profiles/paper.toml"));
        let mut config = config.map_err(|e| anyhow!("cannot load the configuration: {e}"))?;
        config.data = root.join(&config.data);
        let tape = Tape::load(&config.data).context("cannot load the recording")?;
        Ok(Self { config, tape, cores, rounds: arguments.rounds, control: arguments.control })
    }
}

impl Group {
    fn run(self, setting: &Setting) -> Result<Vec<Outcome>> {
        match self {
            Self::Ring => ring::run(setting),
            Self::Decode => decode::run(setting),
            Self::Books => books::run(setting),
            Self::Order => order::run(setting),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let cores = available_cores();
    let pinned = cores.last().is_some_and(|core| pin_to_core(*core));
    let facts = Facts::gather(&cores, pinned);
    let mut out = std::io::stdout();
    write!(out, "{}", facts.text())?;
    let setting = Setting::new(arguments, cores)?;
    let groups = if arguments.only.is_empty() { Group::value_variants() } else { &arguments.only };
    if arguments.control {
        return control(groups, &setting);
    }
    let mut outcomes = Vec::new();
    for group in groups {
        for outcome in group.run(&setting)? {
            write!(out, "{}", table::text(&outcome))?;
            out.flush()?;
            outcomes.push(outcome);
        }
    }
    let load = facts::load().unwrap_or_default();
    write!(out, "{}\nload at the end {load}\n", table::losses(&outcomes))?;
    if let Some(path) = &arguments.json {
        let report = serde_json::json!({ "facts": facts, "load_at_the_end": load, "rounds": setting.rounds, "groups": outcomes });
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every group has to notice its change.
fn control(groups: &[Group], setting: &Setting) -> Result<ExitCode> {
    let mut code = ExitCode::FAILURE;
    for group in groups {
        let name = group.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        match group.run(setting) {
            Err(error) if error.is::<Unequal>() => {
                writeln!(std::io::stderr(), "bench-peers: {name}: {error:#}")?;
            }
            Err(error) => return Err(error),
            Ok(_) => {
                writeln!(std::io::stderr(), "bench-peers: {name}: the change was not noticed")?;
                code = ExitCode::from(UNNOTICED);
            }
        }
    }
    Ok(code)
}
