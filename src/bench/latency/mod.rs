//! `kimera bench latency`: how long the line takes, under which load, and why.
//!
//! * [`load`]: frames that come when they come; [`sockets`]: from socket to socket, with another process; [`kernel`]: io_uring
//!   there, and the kernel's own stamps
//! * [`histogram`]: percentiles and the files of the HdrHistogram tools; [`tail`]: why the slowest were slow
//! * [`report`]: one object; [`page`] and [`plot`]: the same for people who look

pub mod histogram;
pub mod kernel;
pub mod load;
pub mod page;
pub mod plot;
pub mod report;
pub mod sockets;
pub mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use kimera_journal::{Journal, JournalConfig, JournalFailure};
use kimera_protocol::{Header, Message, Ticker};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::clock::Tsc;
use kimera_runtime::net::tcp::SocketTuning;
use kimera_runtime::plan::{available_cores, pin_to_core};
use kimera_runtime::seat::{Cell, Ports};
use kimera_runtime::{Counters, Durability, Work};

use super::beside::{Beside, Scratch};
use super::pipeline::{Frames, Pipeline};
use crate::cli::print;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::log;
use crate::log::Category::System;
use crate::machine::{Machine, doctor};
use crate::report::SCHEMA_VERSION;
use crate::utc;
use histogram::{Latency, Percentiles, plain, write_log};
use load::{Load, Sample, Taken};
use report::{Fitness, Promise, Rate, Report, Scenario, Series, SocketScenario, Stage, Surroundings};
use sockets::Between;

/// Arguments of `kimera bench latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// Configuration file.
    #[arg(long, default_value = crate::cli::PROFILE)]
    config: PathBuf,
    /// Seconds of each load.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Frames a second of the evenly paced loads.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Core of the line [default: the last].
    #[arg(long)]
    core: Option<usize>,
    /// Folder for report.json, report.html, *.hgrm and latencies.hlog.
    #[arg(long, default_value = "state/latency")]
    out: PathBuf,
    /// Without the shadow: it needs a run of a minute to follow.
    #[arg(long)]
    no_shadow: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Frames that go through a new line before anything counts.
const WARM_UP: usize = 5_000;
/// Frames a second of the sweep.
const SWEEP: [u64; 10] =
    [10_000, 20_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000];
/// A line that does less of what is due does not keep up.
const KEEPS_UP: f64 = 0.98;

/// Histograms by the name of what they are of.
type Logs = Vec<(String, Latency)>;

/// What every measurement needs.
struct Lab<'a> {
    a: &'a LatencyArgs,
    config: Config,
    frames: Frames,
    tsc: Tsc,
    core: Option<usize>,
    others: Vec<usize>,
}

/// The journal on another core, until this is dropped.
struct Writing {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writing {
    fn start(config: &Config, folder: &Path, ports: Ports, core: Option<usize>) -> Result<Self, Failure> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).map_err(|e| cannot_write(folder, &e))?;
        let journal = JournalConfig {
            folder: folder.to_owned(),
            segment_bytes: u64::from(config.journal.segment_mib) << 20,
            commit_interval: u64::from(config.journal.commit_interval_us) * 1_000,
            reserve_bytes: 1 << 20,
            incarnation: 1,
            durability: Durability::new(config.journal.wait(), config.journal.patience()),
        };
        let counters = Counters::detached();
        let opened = Journal::create(journal, &counters, JournalFailure::default());
        let (journal, _) = opened.map_err(|e| cannot_write(folder, &e))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let write = move || {
            if let Some(core) = core {
                let _ = pin_to_core(core);
            }
            let mut seat = AgentSeat::new(journal, ports, false);
            while !stopped.load(Ordering::Acquire) {
                if seat.poll() != Work::Done {
                    std::thread::yield_now();
                }
            }
            seat.stop();
        };
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(write).map_err(Failure::machine)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn cannot_write(path: &Path, e: &dyn std::fmt::Display) -> Failure {
    Failure::machine(format!("cannot write {}: {e}; name another folder with --out", path.display()))
}

impl Lab<'_> {
    fn series(&self, ticks: impl Iterator<Item = u64>) -> Result<(Series, Latency), Failure> {
        let latency = Latency::of(ticks, self.tsc)?;
        Ok((Series { row: latency.row(), curve: latency.curve() }, latency))
    }

    /// Does something on a thread that has the line's core. Everybody else starts from one that has all of them.
    fn on_its_core<T: Send>(&self, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        let pinned = || match self.core {
            Some(core) if !pin_to_core(core) => Err(Failure::usage(format!("core {core} is not to be had"))),
            _ => work(),
        };
        let done = std::thread::scope(|scope| scope.spawn(pinned).join());
        done.unwrap_or_else(|_| Err(Failure::defect("the line panicked")))
    }

    /// A new line that has seen its first frames, and what a load does to it.
    fn taken(&self, load: Load, journal: bool, with_stages: bool) -> Result<Taken, Failure> {
        self.on_its_core(|| self.take(load, journal, with_stages))
    }

    fn take(&self, load: Load, journal: bool, with_stages: bool) -> Result<Taken, Failure> {
        let mut pipeline = Pipeline::new(&self.config, &Counters::detached())?;
        let folder = self.a.out.join("journal");
        let other = self.others.first().copied();
        let ports = if journal { pipeline.take_journal() } else { None };
        let writing = match ports {
            Some(ports) => Some(Writing::start(&self.config, &folder, ports, other)?),
            None => None,
        };
        let seconds = f64::from(self.a.seconds);
        let warm = load.begins_at(&self.frames, WARM_UP.min(self.frames.len() / 2), seconds);
        load::run(&mut pipeline, &self.frames, Load::Closed, (0, warm), false, self.tsc);
        let count = load.frames_within(&self.frames, warm, seconds);
        let taken = load::run(&mut pipeline, &self.frames, load, (warm, count), with_stages, self.tsc);
        drop(writing);
        let _ = std::fs::remove_dir_all(folder);
        Ok(taken)
    }

    fn scenario(
        &self,
        name: &str,
        load: Load,
        taken: &Taken,
        (journal, shadow): (bool, bool),
    ) -> Result<(Scenario, Latency), Failure> {
        let samples = || taken.samples.iter();
        let ordered = || samples().filter(|s| s.to_order > 0);
        let wide = |value: u32| u64::from(value);
        let (frame_to_order, latency) = self.series(ordered().map(|s| wide(s.queue) + wide(s.to_order)))?;
        let total = |s: &Sample| wide(s.queue) + wide(s.to_rest);
        let scenario = Scenario {
            name: name.into(),
            load,
            journal,
            shadow,
            frames: taken.samples.len(),
            frames_a_second: taken.samples.len() as f64 * 1e9 / self.tsc.to_ns(taken.ticks).max(1) as f64,
            frame_to_order,
            service: self.series(ordered().map(|s| wide(s.to_order)))?.0,
            queue: self.series(samples().map(|s| wide(s.queue)))?.0,
            frame_to_rest: self.series(samples().map(total))?.0,
            hiccups: self.series(taken.hiccups.iter().map(|t| wide(*t)))?.0,
        };
        Ok((scenario, latency))
    }

    fn sweep(&self) -> Result<Vec<Rate>, Failure> {
        let mut rates = Vec::new();
        for offered in SWEEP {
            let taken = self.taken(Load::Paced(offered), false, false)?;
            let (scenario, _) = self.scenario("sweep", Load::Paced(offered), &taken, (false, false))?;
            let saturated = scenario.frames_a_second < KEEPS_UP * offered as f64;
            rates.push(Rate {
                offered_a_second: offered,
                handled_a_second: scenario.frames_a_second,
                frame_to_rest: scenario.frame_to_rest.row,
                saturated,
            });
            if saturated {
                break;
            }
        }
        Ok(rates)
    }

    /// The line between two sockets, and nothing between them.
    fn sockets(&self) -> Result<(Vec<SocketScenario>, Logs), Failure> {
        let (mut rows, mut logs) = (Vec::new(), Vec::new());
        let (rate, warm) = (self.a.rate, WARM_UP.min(self.frames.len() / 2));
        let count = (rate * u64::from(self.a.seconds)).min((self.frames.len() - warm) as u64) as usize;
        let mut order_bytes = 400;
        let none = SocketTuning::default();
        for (what, with_line, tuning) in [
            ("the line", true, none),
            ("nothing", false, none),
            ("the line, SO_BUSY_POLL", true, SocketTuning { busy_poll_us: 50, ..none }),
            ("the line, TCP_QUICKACK", true, SocketTuning { quick_ack: true, ..none }),
        ] {
            let core = self.others.first().copied();
            let wire = self.on_its_core(|| {
                let mut pipeline = Pipeline::new(&self.config, &Counters::detached())?;
                load::run(&mut pipeline, &self.frames, Load::Closed, (0, warm), false, self.tsc);
                let between =
                    if with_line { Between::Line(&mut pipeline) } else { Between::Nothing(order_bytes) };
                sockets::run(&self.a.config, &self.frames, (rate, warm, count), core, tuning, between)
            })?;
            order_bytes = wire.order_bytes.max(1);
            let name = format!("socket to socket, {what} between");
            self.add_wire((&mut rows, &mut logs), &name, tuning, &wire)?;
        }
        let core = self.others.first().copied();
        let by_uring =
            self.on_its_core(|| kernel::run_by_uring(&self.a.config, (rate, warm, count), core, order_bytes));
        match by_uring {
            Ok(wire) => self.add_wire(
                (&mut rows, &mut logs),
                "socket to socket, nothing (io_uring) between",
                none,
                &wire,
            )?,
            // Where the kernel or a container forbids it there is nothing to compare.
            Err(e) => log::warn(System, &format!("no row for io_uring: {e}")),
        }
        let stamped = self.on_its_core(|| {
            let mut pipeline = Pipeline::new(&self.config, &Counters::detached())?;
            load::run(&mut pipeline, &self.frames, Load::Closed, (0, warm), false, self.tsc);
            kernel::wire_to_wire(&self.a.config, &self.frames, (rate, warm, count), core, &mut pipeline)
        });
        match stamped {
            Ok(took_ns) if !took_ns.is_empty() => {
                // Everything else is in ticks.
                let tick_ns = self.tsc.to_ns(1 << 40) as f64 / (1u64 << 40) as f64;
                let round_trips = took_ns.iter().map(|ns| (*ns as f64 / tick_ns) as u64).collect();
                let wire = sockets::Wire { round_trips, tuned: true, order_bytes };
                let name = "wire to wire, the line between";
                self.add_wire((&mut rows, &mut logs), name, none, &wire)?;
            }
            Ok(_) => log::warn(System, "no row from wire to wire: the kernel has stamped nothing"),
            Err(e) => log::warn(System, &format!("no row from wire to wire: {e}")),
        }
        Ok((rows, logs))
    }
}

impl Lab<'_> {
    fn add_wire(
        &self,
        (rows, logs): (&mut Vec<SocketScenario>, &mut Logs),
        what: &str,
        tuning: SocketTuning,
        wire: &sockets::Wire,
    ) -> Result<(), Failure> {
        let (round_trip, latency) = self.series(wire.round_trips.iter().copied())?;
        let name = what.to_owned();
        rows.push(SocketScenario {
            name: name.clone(),
            rate: self.a.rate,
            tuning,
            tuned: wire.tuned,
            round_trip,
        });
        logs.push((name, latency));
        Ok(())
    }
}

/// Each stage of the frames that led to an order, and sums of neighbouring ones: decision, execution.
fn stages(lab: &Lab<'_>, taken: &Taken, names: &[String]) -> Result<(Vec<Stage>, [Latency; 3]), Failure> {
    let ordered: Vec<&[u32]> = taken
        .stages
        .chunks_exact(names.len())
        .zip(&taken.samples)
        .filter(|(_, sample)| sample.to_order > 0)
        .map(|(stages, _)| stages)
        .collect();
    let row = |(i, name): (usize, &String)| {
        let latency = Latency::of(ordered.iter().map(|stages| u64::from(stages[i])), lab.tsc)?;
        Ok(Stage { stage: name.clone(), row: latency.row() })
    };
    let rows = names.iter().enumerate().map(row).collect::<Result<Vec<_>, Failure>>()?;
    let place = |name: &str| {
        let found = names.iter().position(|n| n == name);
        found.ok_or_else(|| Failure::defect(format!("the line has no stage \"{name}\"")))
    };
    let (market, decided) = (place(crate::line::MARKET)?, place(crate::line::STRATEGY)? + 1);
    let end = names.len() - 1;
    let sum = |from: usize, to: usize| {
        let of = |stages: &&[u32]| stages[from..to].iter().map(|t| u64::from(*t)).sum::<u64>();
        Latency::of(ordered.iter().map(of), lab.tsc)
    };
    Ok((rows, [sum(market, market + 1)?, sum(0, decided)?, sum(decided, end)?]))
}

/// Measures, and writes what it has found.
///
/// # Errors
/// What could not be had or written.
pub fn run(a: &LatencyArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let machine = Machine::default();
    let examined = doctor::examine(&machine, &config, None, &a.out)?;
    let frames = Frames::load(&config.data)?;
    std::fs::create_dir_all(&a.out).map_err(|e| cannot_write(&a.out, &e))?;
    let cores = available_cores();
    let core = a.core.or_else(|| cores.last().copied());
    if let Some(core) = core.filter(|core| !cores.contains(core)) {
        return Err(Failure::usage(format!("core {core} is none of {cores:?}")));
    }
    let others = cores.into_iter().filter(|c| Some(*c) != core).collect();
    let lab = Lab { a, config, frames, tsc: Tsc::calibrate(), core, others };
    let begun = Instant::now();
    let fitness = Fitness::of(&examined);
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        at: utc::text(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)),
        official: fitness.failing.is_empty(),
        fitness,
        surroundings: surroundings(&lab, &machine),
        scenarios: Vec::new(),
        sockets: Vec::new(),
        stages: Vec::new(),
        sweep: Vec::new(),
        specification: Vec::new(),
        tail: tail::Tail::default(),
    };
    let mut logs = loads(&lab, &mut report)?;
    log::say(System, "sockets");
    let (sockets, more) = lab.sockets()?;
    report.sockets = sockets;
    logs.extend(more);
    log::say(System, "sweep");
    report.sweep = lab.sweep()?;
    specification_of_rates(&mut report);
    write(&lab, &report, &logs, begun)?;
    let text = if a.json { serde_json::to_string(&report).map_err(Failure::defect)? } else { report.table() };
    print(&text)?;
    if !a.json {
        print(&format!("\n{}", a.out.join("report.html").display()))?;
    }
    Ok(Exit::Ok)
}

/// The loads in this process: with journal and shadow and without, evenly paced and as recorded.
fn loads(lab: &Lab<'_>, report: &mut Report) -> Result<Logs, Failure> {
    let paced = Load::Paced(lab.a.rate);
    let plain = (false, false);
    let mut logs = Vec::new();
    let mut add = |report: &mut Report, name: &str, load, taken: &Taken, with| -> Result<(), Failure> {
        let (scenario, latency) = lab.scenario(name, load, taken, with)?;
        logs.push((name.to_owned(), latency));
        report.scenarios.push(scenario);
        Ok(())
    };
    log::say(System, "one frame at a time");
    add(report, "one at a time", Load::Closed, &lab.taken(Load::Closed, false, false)?, plain)?;
    log::say(System, "evenly paced");
    let first = lab.taken(paced, false, false)?;
    add(report, "evenly paced", paced, &first, plain)?;
    log::say(System, "as recorded, the busiest seconds");
    let recorded = lab.taken(Load::Recorded(1), false, false)?;
    add(report, "as recorded", Load::Recorded(1), &recorded, plain)?;
    log::say(System, "with the journal");
    let journaled = lab.taken(paced, true, false)?;
    same_orders(&journaled, &first)?;
    add(report, "with the journal", paced, &journaled, (true, false))?;
    if !lab.a.no_shadow {
        log::say(System, "with journal and shadow");
        let scratch = Scratch::make()?;
        let run = scratch.run()?;
        let beside = Beside::start(&["shadow"], lab.core.unwrap_or(0), &run, &scratch.side(0)?)?;
        beside.go_on();
        let taken = lab.taken(paced, true, false)?;
        drop(beside);
        same_orders(&taken, &first)?;
        add(report, "with journal and shadow", paced, &taken, (true, true))?;
    }
    log::say(System, "stage by stage, twice");
    let names = Pipeline::new(&lab.config, &Counters::detached())?.stages();
    let (once, again) = (lab.taken(paced, true, true)?, lab.taken(paced, true, true)?);
    same_orders(&once, &first)?;
    same_orders(&again, &first)?;
    report.tail = tail::tail(&lab.frames, &once, &again, &names, lab.tsc);
    let (rows, [cache, decision, execution]) = stages(lab, &once, &names)?;
    report.stages = rows;
    let how = "stage by stage, evenly paced, with the journal";
    report.specification = vec![
        Promise::at_most("cache (book and features)", 10_000.0, cache.row(), how),
        Promise::at_most("decision", 50_000.0, decision.row(), how),
        Promise::at_most("execution (to signed bytes)", 100_000.0, execution.row(), how),
    ];
    Ok(logs)
}

/// Loads over the same frames are the same work.
fn same_orders(taken: &Taken, expected: &Taken) -> Result<(), Failure> {
    if taken.fingerprint == expected.fingerprint {
        return Ok(());
    }
    Err(Failure::defect("two loads over the same frames did not send the same orders"))
}

/// What the specification says of sockets and rates.
fn specification_of_rates(report: &mut Report) {
    let rows = &mut report.specification;
    let socket = |name: &str| {
        let found = report.sockets.iter().find(|s| s.name.contains(name)).map(|s| s.round_trip.row);
        found.filter(|row| row.count > 0)
    };
    if let Some(row) = socket("nothing between") {
        rows.push(Promise::at_most("network (both ways, loopback)", 350_000.0, row, "socket to socket"));
    }
    if let Some(row) = socket("the line between") {
        rows.push(Promise::at_most("total (socket to socket)", 500_000.0, row, "socket to socket"));
    }
    let Some(one) = report.scenarios.first() else { return };
    let kept = report.sweep.iter().filter(|r| !r.saturated).map(|r| r.offered_a_second as f64);
    let updates = kept.fold(0.0, f64::max);
    rows.push(Promise::at_least(
        "updates a second",
        10_000.0,
        updates,
        "the highest rate of the sweep that was kept up with",
    ));
    let how = "one over the time that half of them take";
    let mut one_over = |what: &str, took: Option<Percentiles>| {
        if let Some(row) = took.filter(|row| row.count > 0) {
            rows.push(Promise::at_least(what, 1_000.0, 1e9 / row.p50.max(1) as f64, how));
        }
    };
    one_over("trades a second (orders signed)", Some(one.service.row));
    let risk = report.stages.iter().find(|s| s.stage == crate::line::RISK);
    one_over("risk checks a second", risk.map(|s| s.row));
    rows.push(Promise::at_least("decisions a second", 500.0, one.frames_a_second, "one at a time"));
}

/// The machine, the revision, and what nothing here can be faster than.
fn surroundings(lab: &Lab<'_>, machine: &Machine) -> Surroundings {
    let mut looks: Vec<u64> = (0..10_001).map(|_| Tsc::now()).collect();
    looks = looks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    looks.sort_unstable();
    let (mut out, mut inlet) = kimera_runtime::ring::ring(64);
    let message = Message::new(Header::default(), Ticker::default());
    const HOPS: u64 = 100_000;
    let begun = Tsc::now();
    for _ in 0..HOPS {
        let sent = out.push(std::hint::black_box(&message));
        debug_assert!(sent);
        std::hint::black_box(inlet.peek().map(|m| m.header.seq));
        inlet.advance();
    }
    let hops = lab.tsc.to_ns(Tsc::now().saturating_sub(begun)) as f64;
    let revision = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let revision = revision
        .ok()
        .filter(|o| o.status.success())
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    Surroundings {
        line_core: lab.core,
        revision: revision.unwrap_or_else(|| env!("CARGO_PKG_VERSION").into()),
        clock_look_ns: lab.tsc.to_ns(looks.get(looks.len() / 2).copied().unwrap_or(0) * 16) as f64 / 16.0,
        ring_hop_ns: hops / HOPS as f64,
        ..Surroundings::of(machine)
    }
}

fn write(lab: &Lab<'_>, report: &Report, logs: &[(String, Latency)], begun: Instant) -> Result<(), Failure> {
    let out = &lab.a.out;
    let put = |name: &str, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|e| cannot_write(&path, &e))
    };
    put("report.json", serde_json::to_string_pretty(report).map_err(Failure::defect)?)?;
    put("report.html", page::page(report))?;
    for (name, latency) in logs {
        put(&format!("{}.hgrm", plain(name)), latency.hgrm())?;
    }
    write_log(&out.join("latencies.hlog"), logs, begun.elapsed())
}
