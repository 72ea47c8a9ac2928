//! What the children are started with, and what a dry run says.

use std::io::Write;
use std::path::Path;

use kimera_runtime::plan::available_cores;

use super::LaunchOptions;
use crate::config::{Config, chosen};
use crate::exit::{Exit, Failure};
use crate::machine::Machine;
use crate::state::Layout;

/// Arguments of the children.
pub struct Arguments {
    /// The simulated venue.
    pub venue: Vec<String>,
    /// The guard.
    pub guard: Vec<String>,
    /// The engine.
    pub engine: Vec<String>,
    /// The shadow.
    pub shadow: Vec<String>,
}

impl Arguments {
    /// For a run in this directory.
    #[must_use]
    pub fn new(options: &LaunchOptions, config: &Config, state: &Path) -> Self {
        let layout = Layout::of(state);
        Self {
            venue: venue(options, config, &layout),
            guard: guard(options, state),
            engine: engine(options, state, &layout),
            shadow: owned(&["shadow", "--state", &state.display().to_string()]),
        }
    }
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|a| (*a).to_owned()).collect()
}

fn venue(options: &LaunchOptions, config: &Config, layout: &Layout) -> Vec<String> {
    let text = |path: std::path::PathBuf| path.display().to_string();
    let (data, endpoints) = (config.data.display().to_string(), text(layout.endpoints()));
    let (account, clock) = (text(layout.venue_account()), text(layout.venue_clock()));
    let (speed, port) = (options.speed.to_string(), options.port.to_string());
    let linger = config.supervision.venue_linger().as_millis().to_string();
    let mut arguments = owned(&["venue", "--data", &data, "--speed", &speed, "--port", &port]);
    arguments.extend(owned(&["--endpoints", &endpoints, "--account", &account, "--clock", &clock]));
    arguments.extend(owned(&["--lock", &text(layout.lock("venue"))]));
    arguments.extend(owned(&["--pulse", &text(layout.pulse("supervisor")), "--linger-ms", &linger]));
    let name = options.plan.as_deref().unwrap_or(&config.plan);
    let cores = available_cores();
    let chosen = chosen(name, &Machine::default(), &cores);
    let others = chosen.map_or(Vec::new(), |chosen| chosen.plan.cores_for_others(&cores));
    if !others.is_empty() {
        let list: Vec<_> = others.iter().map(usize::to_string).collect();
        arguments.extend(["--cores".to_owned(), list.join(",")]);
    }
    if let Some(fill) = options.drop_fill {
        arguments.extend(["--drop-fill".to_owned(), fill.to_string()]);
    }
    arguments
}

fn guard(options: &LaunchOptions, state: &Path) -> Vec<String> {
    let (config, state) = (options.config.display().to_string(), state.display().to_string());
    owned(&["guard", "--config", &config, "--state", &state])
}

fn engine(options: &LaunchOptions, state: &Path, layout: &Layout) -> Vec<String> {
    let config = options.config.display().to_string();
    let (state, endpoints) = (state.display().to_string(), layout.endpoints().display().to_string());
    let mut arguments = owned(&["engine", "--config", &config, "--state", &state, "--endpoints", &endpoints]);
    arguments.push("--supervised".into());
    if let Some(ns) = options.market_ns {
        arguments.extend(["--for".to_owned(), format!("{}ms", ns / 1_000_000)]);
    }
    if options.canary {
        arguments.push("--canary".to_owned());
    }
    if options.faults {
        arguments.push("--faults".to_owned());
    }
    if let Some(plan) = &options.plan {
        arguments.extend(["--plan".to_owned(), plan.clone()]);
    }
    arguments
}

/// Says what would happen; the launch script has said what would be built.
///
/// # Errors
/// Where stdout cannot be written.
pub fn dry_run(state: &Path, arguments: &Arguments) -> Result<Exit, Failure> {
    let program = std::env::current_exe().map_or_else(|_| "kimera".into(), |p| p.display().to_string());
    let files = [
        "*.lock",
        "incarnation",
        "endpoints.json",
        "venue-clock.json",
        "paper-credentials",
        "counters",
        "kill",
        "*.pulse",
        "*.errors",
        "control.sock",
        "engine.sock",
        "audit.log",
        "venue-account.jsonl",
        "shadow.json",
        "shadow.sock",
        "snapshots/",
        "blobs/",
        "journal/",
        "summary.json",
        "*.log",
    ];
    let mut text = String::new();
    for file in files {
        text.push_str(&format!("write: {}\n", state.join(file).display()));
    }
    for arguments in [&arguments.venue, &arguments.guard, &arguments.engine, &arguments.shadow] {
        text.push_str(&format!("process: {program} {}\n", arguments.join(" ")));
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .map(|()| Exit::Ok)
        .map_err(|e| Failure::machine(format!("cannot write: {e}")))
}
