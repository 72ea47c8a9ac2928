//! What the laboratory says: one object, from which table, page and files are made.

use std::fmt::Write;

use kimera_runtime::net::tcp::SocketTuning;
use serde::Serialize;

use super::histogram::{Percentiles, Point};
use super::load::Load;
use super::tail::Tail;
use crate::machine::Machine;
use crate::machine::doctor;
use crate::machine::facts::Verdict;

/// A latency with its percentile plot.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// For tables.
    #[serde(flatten)]
    pub row: Percentiles,
    /// For plots.
    pub curve: Vec<Point>,
}

/// One load through one arrangement.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// Stable name.
    pub name: String,
    /// When frames came.
    pub load: Load,
    /// The journal was written by a thread on another core.
    pub journal: bool,
    /// A shadow computed on another core.
    pub shadow: bool,
    /// Frames that came.
    pub frames: usize,
    /// Frames a second, from the first to the end of the last.
    pub frames_a_second: f64,
    /// From when a frame was due until its order was signed.
    pub frame_to_order: Series,
    /// The same from when it had its turn.
    pub service: Series,
    /// From when a frame was due until it had its turn.
    pub queue: Series,
    /// From when a frame was due until the line was at rest.
    pub frame_to_rest: Series,
    /// Times the thread was kept away while it waited.
    pub hiccups: Series,
}

/// From socket to socket.
#[derive(Clone, Debug, Serialize)]
pub struct SocketScenario {
    /// Stable name.
    pub name: String,
    /// Frames a second.
    pub rate: u64,
    /// Asked of the socket.
    pub tuning: SocketTuning,
    /// The kernel took it.
    pub tuned: bool,
    /// From just before a frame was written to when its first order had been read, in the other process; *wire to wire*: from
    /// the kernel's stamp on the frame to its stamp on the order.
    pub round_trip: Series,
}

/// A stage of a frame that led to an order.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// What it took.
    #[serde(flatten)]
    pub row: Percentiles,
}

/// One rate of the sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Frames that were due a second.
    pub offered_a_second: u64,
    /// Frames that were done a second.
    pub handled_a_second: f64,
    /// From when a frame was due until the line was at rest.
    pub frame_to_rest: Percentiles,
    /// The line did not keep up.
    pub saturated: bool,
}

/// A row of the specification.
#[derive(Clone, Debug, Serialize)]
pub struct Promise {
    /// What.
    pub what: String,
    /// The limit: at most so many ns, or at least so many a second.
    pub limit: f64,
    /// `ns` or `1/s`.
    pub unit: &'static str,
    /// Half of them.
    pub p50: f64,
    /// What the limit is held against: 99 of 100, or the rate.
    pub measured: f64,
    /// How many times better than the limit; below 1 it is missed.
    pub factor: f64,
    /// How it was measured.
    pub how: String,
}

impl Promise {
    /// At most `limit` ns.
    #[must_use]
    pub fn at_most(what: &str, limit: f64, row: Percentiles, how: &str) -> Self {
        let measured = row.p99 as f64;
        let factor = limit / measured.max(1.0);
        Self { what: what.into(), limit, unit: "ns", p50: row.p50 as f64, measured, factor, how: how.into() }
    }

    /// At least `limit` a second.
    #[must_use]
    pub fn at_least(what: &str, limit: f64, measured: f64, how: &str) -> Self {
        let factor = measured / limit;
        Self { what: what.into(), limit, unit: "1/s", p50: measured, measured, factor, how: how.into() }
    }
}

/// What the machine is, and what it cannot be faster than.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Surroundings {
    /// Processor.
    pub processor: String,
    /// Processors there are.
    pub cores: usize,
    /// Core of the line.
    pub line_core: Option<usize>,
    /// Kernel.
    pub kernel: String,
    /// How the processor's speed is chosen.
    pub governor: String,
    /// Isolated processors.
    pub isolated: String,
    /// The kernel's clock.
    pub clock_source: String,
    /// Processes that wanted to run, over the last minute.
    pub load: String,
    /// Revision of the program.
    pub revision: String,
    /// A look at the time-stamp counter, ns.
    pub clock_look_ns: f64,
    /// A message through a ring on one thread, ns.
    pub ring_hop_ns: f64,
}

impl Surroundings {
    /// As the kernel describes them.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        let read = |path: &str| machine.read(path).filter(|t| !t.is_empty());
        let info = read("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let unknown = || "not said".to_owned();
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").unwrap_or_else(unknown);
        let isolated = read("/sys/devices/system/cpu/isolated").unwrap_or_else(|| "none".into());
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        Self {
            processor: model.map_or_else(unknown, |(_, name)| name.trim().to_owned()),
            cores: kimera_runtime::plan::available_cores().len(),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            governor,
            isolated,
            clock_source: read(source).unwrap_or_else(unknown),
            load: read("/proc/loadavg").unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// What doctor says of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Fitness {
    /// The worst fact.
    pub verdict: Verdict,
    /// Facts that fail, with what was found.
    pub failing: Vec<String>,
    /// How many warn.
    pub warnings: usize,
}

impl Fitness {
    /// Of a report of doctor's.
    #[must_use]
    pub fn of(report: &doctor::Report) -> Self {
        let failing = report.facts.iter().filter(|f| f.verdict == Verdict::Fail);
        Self {
            verdict: report.verdict,
            failing: failing.map(|f| format!("{}: {}", f.id, f.found)).collect(),
            warnings: report.count(Verdict::Warn),
        }
    }
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this object.
    pub schema_version: u32,
    /// When, UTC.
    pub at: String,
    /// Doctor fails nothing: these figures may be published.
    pub official: bool,
    /// Why, or why not.
    pub fitness: Fitness,
    /// Where.
    pub surroundings: Surroundings,
    /// Loads in one process.
    pub scenarios: Vec<Scenario>,
    /// From socket to socket.
    pub sockets: Vec<SocketScenario>,
    /// Stage by stage.
    pub stages: Vec<Stage>,
    /// More and more frames, until they are too many.
    pub sweep: Vec<Rate>,
    /// The specification, row by row.
    pub specification: Vec<Promise>,
    /// The slowest frames.
    pub tail: Tail,
}

/// Nanoseconds for people.
#[must_use]
pub fn ns_text(ns: f64) -> String {
    let (value, unit) = match ns {
        n if n < 1_000.0 => return format!("{n:.0} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

impl Report {
    /// As people read it.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let stamp = if self.official { "OFFICIAL" } else { "UNOFFICIAL" };
        let _ = writeln!(
            text,
            "{stamp}: {}, {} cores, kernel {}, revision {}",
            self.surroundings.processor,
            self.surroundings.cores,
            self.surroundings.kernel,
            self.surroundings.revision
        );
        for failing in &self.fitness.failing {
            let _ = writeln!(text, "  doctor fails {failing}");
        }
        self.scenarios_table(&mut text);
        let _ = writeln!(
            text,
            "\n{:<46}{:>11}{:>11}{:>11}{:>11}",
            "stage of a frame that led to an order", "p50", "p90", "p99", "p99.9"
        );
        for stage in &self.stages {
            let row = |r: &Percentiles| {
                [r.p50, r.p90, r.p99, r.p999].map(|ns| format!("{:>11}", ns_text(ns as f64)))
            };
            let _ = writeln!(text, "{:<46}{}", format!("  {}", stage.stage), row(&stage.row).concat());
        }
        let _ = writeln!(
            text,
            "\n{:>12}{:>12}{:>11}{:>11}{:>11}",
            "offered/s", "handled/s", "p50", "p99", "p99.9"
        );
        for rate in &self.sweep {
            let r = &rate.frame_to_rest;
            let row = [r.p50, r.p99, r.p999].map(|ns| format!("{:>11}", ns_text(ns as f64))).concat();
            let end = if rate.saturated { "  saturated" } else { "" };
            let _ = writeln!(text, "{:>12}{:>12.0}{row}{end}", rate.offered_a_second, rate.handled_a_second);
        }
        let _ = writeln!(
            text,
            "\n{:<34}{:>14}{:>14}{:>14}{:>16}",
            "specification", "limit", "p50", "p99 or rate", "times better"
        );
        for p in &self.specification {
            let value = |v: f64| if p.unit == "ns" { ns_text(v) } else { format!("{v:.0}/s") };
            let _ = writeln!(
                text,
                "{:<34}{:>14}{:>14}{:>14}{:>16}",
                p.what,
                value(p.limit),
                value(p.p50),
                value(p.measured),
                format!("{:.1}{}", p.factor, if p.factor < 1.0 { " missed" } else { "" })
            );
        }
        let _ =
            writeln!(text, "\nslowest, above {}: {:?}", ns_text(self.tail.above_ns as f64), self.tail.labels);
        for o in self.tail.slowest.iter().take(5) {
            let _ = writeln!(
                text,
                "  frame {} ({} bytes) {}: {}",
                o.frame,
                o.bytes,
                ns_text(o.total_ns as f64),
                o.detail
            );
        }
        text
    }

    fn scenarios_table(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n{:<46}{:>11}{:>11}{:>11}{:>11}{:>9}",
            "", "p50", "p99", "p99.9", "max", "count"
        );
        let mut row = |name: &str, r: &Percentiles| {
            if r.count == 0 {
                return;
            }
            let values =
                [r.p50, r.p99, r.p999, r.max].map(|ns| format!("{:>11}", ns_text(ns as f64))).concat();
            let _ = writeln!(text, "{name:<46}{values}{:>9}", r.count);
        };
        for s in &self.scenarios {
            row(&format!("{}: frame to order", s.name), &s.frame_to_order.row);
            row("  of it served", &s.service.row);
            row("  every frame: to rest", &s.frame_to_rest.row);
            row("  hiccups of the idle thread", &s.hiccups.row);
        }
        for s in &self.sockets {
            row(&s.name, &s.round_trip.row);
        }
    }
}
