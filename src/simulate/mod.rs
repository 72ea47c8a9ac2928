//! Whole firms in virtual time: a seed decides market, network, disk, order of threads and everything that goes wrong; what
//! must hold is looked at all the time; what fails is shrunk to one line.
//!
//! * [`firm`]: one firm: engine, supervisor's rules, venue; [`script`]: what goes wrong in it
//! * [`checks`]: what must hold; [`args`]: the command line

pub mod args;
pub mod checks;
pub mod firm;
pub mod script;

use std::io::Write;
use std::panic::{PanicHookInfo, set_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kimera_runtime::world;
use serde_json::json;

use crate::engine::interrupt_flag;
use crate::exit::{Exit, Failure};
use crate::line;
use crate::log;
use crate::log::Category::System;
use firm::{Outcome, Plan};
use script::Script;

/// Arguments of a simulation.
#[derive(Clone, Debug)]
pub struct SimulateOptions {
    /// First seed.
    pub seed: u64,
    /// Seeds, one behind the other.
    pub seeds: u64,
    /// Goes on until so many messages were handled; the number of seeds then does not matter.
    pub events: Option<u64>,
    /// Market events a firm.
    pub steps: u32,
    /// What goes wrong, instead of what the seed would draw.
    pub script: Option<Script>,
    /// The venue tells nobody of this fill.
    pub drop_fill: Option<u64>,
    /// Threads.
    pub jobs: usize,
    /// Each seed twice: both must be the same.
    pub twice: bool,
    /// Say what happened.
    pub trace: bool,
    /// One JSON object on stdout.
    pub json: bool,
}

/// Milliseconds of wall time a market event takes, about: faults come in the first three quarters of a run.
const MS_PER_STEP: f64 = 1.0;

/// A seed that failed.
struct Failed {
    plan: Plan,
    outcome: Outcome,
}

/// What all seeds came to.
#[derive(Default)]
struct Total {
    seeds: AtomicU64,
    inputs: AtomicU64,
    handled: AtomicU64,
    delivered: AtomicU64,
    writes: AtomicU64,
    orders: AtomicU64,
    fills: AtomicU64,
    starts: AtomicU64,
    snapshots: AtomicU64,
    /// Minutes of wall time that something was said about.
    minutes: AtomicU64,
    failed: Mutex<Option<Failed>>,
}

impl Total {
    fn add(&self, outcome: &Outcome) {
        let counts = [
            (&self.seeds, 1),
            (&self.inputs, outcome.inputs),
            (&self.handled, outcome.handled),
            (&self.delivered, outcome.delivered),
            (&self.writes, outcome.writes),
            (&self.orders, outcome.orders),
            (&self.fills, outcome.fills),
            (&self.starts, outcome.starts),
            (&self.snapshots, outcome.snapshots),
        ];
        for (counter, by) in counts {
            counter.fetch_add(by, Ordering::AcqRel);
        }
    }

    /// Once a minute: how far it is.
    fn tell(&self, options: &SimulateOptions, begun: Instant) {
        let minute = begun.elapsed().as_secs() / 60;
        if self.minutes.fetch_max(minute, Ordering::AcqRel) < minute {
            let (seeds, handled) = (self.seeds.load(Ordering::Acquire), self.handled.load(Ordering::Acquire));
            let of = options.events.map_or_else(String::new, |events| format!(" of {:.1e}", events as f64));
            log::say(
                System,
                &format!(
                    "{minute} min: {seeds} firms, {:.2e}{of} messages handled, no violation",
                    handled as f64
                ),
            );
        }
    }
}

/// Runs seeds until all are done, one fails, or somebody interrupts.
///
/// # Errors
/// Where a firm cannot be built.
pub fn run(options: &SimulateOptions) -> Result<Exit, Failure> {
    quiet_panics();
    let topology = line::topology(&firm::config()?);
    let seats: Vec<&str> = topology.seats.iter().filter(|s| s.is_placed()).map(|s| s.name.as_str()).collect();
    let (total, next, stop) = (Total::default(), AtomicU64::new(0), AtomicBool::new(false));
    let interrupted = interrupt_flag()?;
    let begun = Instant::now();
    let problem: Mutex<Option<Failure>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) && !interrupted.load(Ordering::Acquire) {
                    match work(options, &seats, &next, &total) {
                        Ok(true) => total.tell(options, begun),
                        Ok(false) => stop.store(true, Ordering::Release),
                        Err(e) => {
                            stop.store(true, Ordering::Release);
                            *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                        }
                    }
                }
            });
        }
    });
    if let Some(failure) = problem.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let failed = total.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let shrunk = failed.map(|f| shrink(f.plan, f.outcome)).transpose()?;
    report(options, &total, seconds, shrunk.as_ref())?;
    Ok(match shrunk {
        Some(_) => Exit::Failed,
        None if interrupted.load(Ordering::Acquire) => Exit::Interrupted,
        None => Exit::Ok,
    })
}

fn plan_of(options: &SimulateOptions, seed: u64, seats: &[&str]) -> Plan {
    let span = (f64::from(options.steps) * MS_PER_STEP * 0.75) as u64;
    let script = options.script.clone().unwrap_or_else(|| Script::of_seed(seed, span, seats));
    Plan { seed, steps: options.steps, script, drop_fill: options.drop_fill, patch: String::new() }
}

/// Runs the next seed; false where there is none, or it has failed.
fn work(options: &SimulateOptions, seats: &[&str], next: &AtomicU64, total: &Total) -> Result<bool, Failure> {
    let number = next.fetch_add(1, Ordering::AcqRel);
    let enough = match options.events {
        Some(events) => total.handled.load(Ordering::Acquire) >= events,
        None => number >= options.seeds,
    };
    if enough {
        return Ok(false);
    }
    let plan = plan_of(options, options.seed.wrapping_add(number), seats);
    let mut outcome = firm::run(&plan)?;
    if options.trace {
        let mut err = std::io::stderr().lock();
        for line in &outcome.said {
            let _ = writeln!(err, "seed {} {line}", plan.seed);
        }
    }
    if options.twice && outcome.violation.is_none() {
        let again = firm::run(&plan)?;
        if again != outcome {
            outcome.violation = Some("the same seed has not done the same twice".into());
        }
    }
    total.add(&outcome);
    if outcome.violation.is_none() {
        return Ok(true);
    }
    let mut failed = total.failed.lock().unwrap_or_else(PoisonError::into_inner);
    failed.get_or_insert(Failed { plan, outcome });
    Ok(false)
}

/// Takes away whatever is not needed for the failure: faults one by one, then the end of the tape.
fn shrink(plan: Plan, outcome: Outcome) -> Result<Failed, Failure> {
    let mut best = Failed { plan, outcome };
    let mut at = 0;
    while at < best.plan.script.0.len() {
        let mut smaller = best.plan.clone();
        smaller.script.0.remove(at);
        let outcome = firm::run(&smaller)?;
        if outcome.violation.is_some() {
            best = Failed { plan: smaller, outcome };
        } else {
            at += 1;
        }
    }
    for _ in 0..6 {
        let smaller = Plan { steps: best.plan.steps / 2, ..best.plan.clone() };
        if smaller.steps < 100 {
            break;
        }
        let outcome = firm::run(&smaller)?;
        if outcome.violation.is_none() {
            break;
        }
        best = Failed { plan: smaller, outcome };
    }
    Ok(best)
}

fn report(
    options: &SimulateOptions,
    total: &Total,
    seconds: f64,
    failed: Option<&Failed>,
) -> Result<(), Failure> {
    let get = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    let command =
        |p: &Plan| format!("kimera sim --seed {} --steps {} --script \"{}\"", p.seed, p.steps, p.script);
    let mut out = std::io::stdout().lock();
    let done = if options.json {
        let failure = failed.map(|f| {
            json!({"violation": f.outcome.violation, "command": command(&f.plan), "seed": f.plan.seed, "said": f.outcome.said})
        });
        let text = json!({
            "schema_version": 1, "good": failed.is_none(), "seed": options.seed, "seeds": get(&total.seeds), "steps": options.steps,
            "inputs": get(&total.inputs), "handled": get(&total.handled), "delivered": get(&total.delivered),
            "writes": get(&total.writes), "orders": get(&total.orders), "fills": get(&total.fills),
            "starts": get(&total.starts), "from_snapshots": get(&total.snapshots), "seconds": seconds, "failure": failure,
        });
        writeln!(out, "{text}")
    } else {
        let handled = get(&total.handled);
        let mut text = format!(
            "{} firms from seed {}: {} inputs, {handled} messages handled, {} pieces delivered, {} writes; {} starts ({} from snapshots), {} orders, {} fills; {:.1} s, {:.2} M messages/s\n",
            get(&total.seeds),
            options.seed,
            get(&total.inputs),
            get(&total.delivered),
            get(&total.writes),
            get(&total.starts),
            get(&total.snapshots),
            get(&total.orders),
            get(&total.fills),
            seconds,
            handled as f64 / seconds / 1e6,
        );
        match failed {
            None => text.push_str("no violation"),
            Some(f) => {
                for line in &f.outcome.said {
                    text.push_str(line);
                    text.push('\n');
                }
                let what = f.outcome.violation.as_deref().unwrap_or_default();
                text.push_str(&format!("VIOLATION: {what}\n  {}", command(&f.plan)));
            }
        }
        writeln!(out, "{text}")
    };
    done.map_err(|e| Failure::machine(format!("cannot write the report: {e}")))
}

/// Panics that a firm was asked for are its own matter: they are noted there.
fn quiet_panics() {
    let noted = |info: &PanicHookInfo<'_>| {
        if !world::say(&format!("panic: {info}")) {
            let _ = writeln!(std::io::stderr(), "{info}");
        }
    };
    set_hook(Box::new(noted));
}
