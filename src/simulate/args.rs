//! Arguments of the simulation on the command line.

use super::SimulateOptions;
use super::script::Script;

/// Arguments of `kimera sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// Decides everything: market, network, disk, order of threads, and what goes wrong.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds, one behind the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Go on, seed by seed, until so many messages were handled: 1e9.
    #[arg(long, value_parser = amount)]
    events: Option<u64>,
    /// Market events in each firm.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(50..=10_000_000))]
    steps: u32,
    /// What goes wrong, instead of what the seed would draw: "1200:kill 3000:cut=/private/ws".
    #[arg(long)]
    script: Option<Script>,
    /// The venue tells nobody of this fill, counted from 1: has to be noticed.
    #[arg(long, hide = true)]
    drop_fill: Option<u64>,
    /// Threads [default: as many as there are cores].
    #[arg(long)]
    jobs: Option<usize>,
    /// Run each seed twice; both must be the same.
    #[arg(long)]
    twice: bool,
    /// Say what happened.
    #[arg(long)]
    trace: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// A count, also as `1e9`.
fn amount(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no count: 5000000 or 1e9");
    match text.split_once('e') {
        None => text.parse().map_err(|_| wrong()),
        Some((digits, power)) => {
            let power: u32 = power.parse().map_err(|_| wrong())?;
            let digits: u64 = digits.parse().map_err(|_| wrong())?;
            10u64.checked_pow(power).and_then(|p| p.checked_mul(digits)).ok_or_else(wrong)
        }
    }
}

impl SimArgs {
    /// As the simulation takes them.
    #[must_use]
    pub fn options(self) -> SimulateOptions {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        SimulateOptions {
            seed: self.seed,
            seeds: self.seeds,
            events: self.events,
            steps: self.steps,
            script: self.script,
            drop_fill: self.drop_fill,
            jobs: self.jobs.unwrap_or(cores),
            twice: self.twice,
            trace: self.trace,
            json: self.json,
        }
    }
}
