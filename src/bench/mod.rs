//! Measurements of the program by itself.
//!
//! * [`pipeline`]: from a frame's bytes to a signed order's, on one thread
//! * [`latency`]: the laboratory: loads, sockets, tails, the page
//! * [`compare`]: two builds, or one build in two surroundings, in rounds beside one another; [`beside`]: who works meanwhile
//! * [`restart`]: how long a start takes
//! * [`statistics`]: medians and intervals
//! * [`waterfall`]: the same, stage by stage

pub mod beside;
pub mod compare;
pub mod latency;
pub mod pipeline;
pub mod restart;
pub mod statistics;
pub mod waterfall;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kimera_runtime::Counters;
use kimera_runtime::clock::Tsc;
use kimera_runtime::plan::{available_cores, pin_to_core};
use serde::{Deserialize, Serialize};

use crate::cli::print;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::report::SCHEMA_VERSION;
use crate::state::Layout;
use pipeline::{Frames, Pipeline};
use waterfall::{StageRow, Waterfall};

/// Arguments of `kimera bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// A frame's bytes to a signed order's bytes, on one pinned thread, over the shipped recording
    FrameToOrder(FrameToOrderArgs),
    /// Two revisions, or two surroundings of one, in interleaved rounds. Example: kimera bench compare HEAD~1 .
    Compare(compare::CompareArgs),
    /// The laboratory: paced and recorded loads, sockets, journal and shadow beside it; a report and a page
    Latency(latency::LatencyArgs),
    /// The other end of the laboratory's sockets.
    #[command(hide = true)]
    LatencyPeer(latency::sockets::PeerArgs),
    /// How long a start takes, from each snapshot of a run and from its beginning
    Restart(restart::RestartArgs),
}

/// Arguments of one measurement.
#[derive(Debug, Args)]
pub struct FrameToOrderArgs {
    /// Configuration file.
    #[arg(long, default_value = "config/profiles/paper.toml")]
    config: PathBuf,
    /// Passes over the recording that count, behind one that does not.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    passes: u32,
    /// Core of the thread [default: the last].
    #[arg(long)]
    core: Option<usize>,
    /// The line spins for so many per cent of its time more: shows that a change would be found.
    #[arg(long, hide = true, default_value_t = 0)]
    slower: u64,
    /// Measures a part of the recording for each line "PART OF" on stdin, and answers with fingerprint and times.
    #[arg(long, hide = true)]
    serve: bool,
    /// State directory in which the line keeps its counters, as a run does: `kimera stat` reads them there.
    #[arg(long, hide = true)]
    counters: Option<PathBuf>,
    /// Another pass, that says how long each stage takes for a frame that leads to an order.
    #[arg(long)]
    stages: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

impl FrameToOrderArgs {
    /// A line before its first frame.
    fn pipeline(&self, config: &Config) -> Result<Pipeline, Failure> {
        let Some(state) = &self.counters else { return Pipeline::new(config, &Counters::detached()) };
        let path = Layout::of(state).counters();
        let failed = |e: std::io::Error| Failure::machine(format!("cannot make {}: {e}", path.display()));
        // A new file for each line: whoever reads the one before goes on with that.
        let partial = path.with_extension("partial");
        let counters = Counters::create(&partial, 0).map_err(failed)?;
        std::fs::rename(&partial, &path).map_err(failed)?;
        Pipeline::new(config, &counters)
    }
}

/// Percentiles of one metric, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Half of them take no longer.
    pub p50: f64,
    /// 9 of 10.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// How many there were.
    pub count: u64,
}

impl Row {
    fn of(ticks: &mut [u64], tsc: Tsc) -> Self {
        ticks.sort_unstable();
        let at = |q: f64| {
            let last = ticks.len().saturating_sub(1);
            ticks.get((last as f64 * q) as usize).map_or(0.0, |t| tsc.to_ns(*t * 16) as f64 / 16.0)
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), count: ticks.len() as u64 }
    }
}

/// What one measurement says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Frames that led to an order.
    pub frame_to_order: Row,
    /// Frames, until the line was at rest again.
    pub frame_to_rest: Row,
    /// Each stage of a frame that led to an order, where it was asked for: timed in a pass of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRow>,
    /// Hash of every order's bytes: equal, or it is not the same work.
    pub fingerprint: String,
    /// True where the thread had its core.
    pub pinned: bool,
}

impl Measured {
    /// As lines for people.
    fn table(&self) -> String {
        let row = |name: &str, r: &Row| {
            format!("{name:<22}{:>9.0}{:>9.0}{:>9.0}{:>9}\n", r.p50, r.p90, r.p99, r.count)
        };
        let mut text = format!("{:<22}{:>9}{:>9}{:>9}{:>9}\n", "ns", "p50", "p90", "p99", "count");
        text += &row("frame to order", &self.frame_to_order);
        text += &row("frame to rest", &self.frame_to_rest);
        text += &self.stages.iter().map(|s| row(&format!("  {}", s.stage), &s.took)).collect::<String>();
        if !self.pinned {
            text += "the thread could not be pinned\n";
        }
        text
    }
}

/// Measures.
///
/// # Errors
/// What could not be had; two revisions that do not do the same.
pub fn run(a: &BenchArgs) -> Result<Exit, Failure> {
    match &a.what {
        Bench::FrameToOrder(a) if a.serve => serve(a),
        Bench::FrameToOrder(a) => {
            let measured = frame_to_order(a)?;
            let text = if a.json {
                serde_json::to_string(&measured).map_err(Failure::defect)?
            } else {
                measured.table()
            };
            print(&text)?;
            Ok(Exit::Ok)
        }
        Bench::Compare(a) => compare::run(a),
        Bench::Latency(a) => latency::run(a),
        Bench::LatencyPeer(a) => latency::sockets::peer(a),
        Bench::Restart(a) => restart::run(a),
    }
}

/// One frame of so many is named among those that led to no order.
const RESTS: usize = 32;

/// Measures parts of the recording as it is told to, so that two programs can take turns in short steps.
fn serve(a: &FrameToOrderArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let frames = Frames::load(&config.data)?;
    if let Some(core) = a.core {
        let _ = pin_to_core(core);
    }
    let tsc = Tsc::calibrate();
    let mut pipeline = a.pipeline(&config)?;
    for line in std::io::stdin().lines() {
        let line = line.map_err(Failure::machine)?;
        let asked = line.split_once(' ').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        let Some((part, of)) = asked.filter(|(part, of): &(usize, usize)| part < of) else {
            return Err(Failure::usage(format!("\"{line}\" names no part, as 0 8 does")));
        };
        if part == 0 {
            pipeline = a.pipeline(&config)?.slower_by(a.slower);
        }
        let pass = pipeline.run_part(&frames, part, of, &mut ());
        let ns = |ticks: &[u64], step: usize| {
            let text = ticks.iter().step_by(step).map(|t| tsc.to_ns(*t).to_string());
            text.collect::<Vec<_>>().join(" ")
        };
        let (orders, rests) = (ns(&pass.frame_to_order, 1), ns(&pass.frame_to_rest, RESTS));
        print(&format!("{:016x};{orders};{rests}", pass.fingerprint))?;
    }
    Ok(Exit::Ok)
}

fn frame_to_order(a: &FrameToOrderArgs) -> Result<Measured, Failure> {
    let config = Config::load(&a.config)?;
    let frames = Frames::load(&config.data)?;
    let core = a.core.or_else(|| available_cores().last().copied());
    let pinned = core.is_some_and(pin_to_core);
    let tsc = Tsc::calibrate();
    // Caches and branch predictors learn in one that does not count; each pass begins with a line of its own.
    let fingerprint = a.pipeline(&config)?.run(&frames).fingerprint;
    let (mut orders, mut rests) = (Vec::new(), Vec::new());
    for _ in 0..a.passes {
        let pass = a.pipeline(&config)?.slower_by(a.slower).run(&frames);
        if pass.fingerprint != fingerprint {
            return Err(Failure::defect("two passes over the same frames did not send the same orders"));
        }
        orders.extend(pass.frame_to_order);
        rests.extend(pass.frame_to_rest);
    }
    let mut stages = Vec::new();
    if a.stages {
        let mut pipeline = a.pipeline(&config)?;
        let mut waterfall = Waterfall::new(pipeline.stages());
        pipeline.run_part(&frames, 0, 1, &mut waterfall);
        stages = waterfall.rows(tsc);
    }
    Ok(Measured {
        schema_version: SCHEMA_VERSION,
        frame_to_order: Row::of(&mut orders, tsc),
        frame_to_rest: Row::of(&mut rests, tsc),
        stages,
        fingerprint: format!("{fingerprint:016x}"),
        pinned,
    })
}
