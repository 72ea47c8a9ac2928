//! What a run says at its end: one stable JSON object, or a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use kimera_runtime::MarketClock;
use kimera_runtime::counters::{Quantiles, Snapshot};
use kimera_runtime::memory::ArenaReport;
use kimera_runtime::plan::Plan;
use serde::{Deserialize, Serialize};

use crate::state::State;

/// Version of every JSON object the program prints.
pub const SCHEMA_VERSION: u32 = 1;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The recording is over.
    TapeEnded,
    /// The market time asked for is over.
    TimeReached,
    /// A signal.
    Interrupted,
    /// The parent process is gone.
    ParentGone,
}

/// Latencies in nanoseconds, as the summary carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Quantiles by their usual names.
pub struct LatencyRow {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub count: u64,
}

impl From<Quantiles> for LatencyRow {
    fn from(q: Quantiles) -> Self {
        Self { p50: q.p50, p90: q.p90, p99: q.p99, p999: q.p999, max: q.max, count: q.count }
    }
}

/// The latency part of the summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From the socket read of a frame to the end of its evaluation at a mark.
    pub frame_to_mark: LatencyRow,
    /// Sampled handler times and commit times.
    pub stages: BTreeMap<String, LatencyRow>,
    /// Times the machine kept an idle core thread away, by thread.
    pub hiccups: BTreeMap<String, LatencyRow>,
}

/// What a feed counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Counters by their names.
pub struct FeedCounts {
    pub frames: u64,
    pub slow_path_frames: u64,
    pub undecodable_frames: u64,
    pub conflated_tickers: u64,
    pub gaps: u64,
    pub connections: u64,
    pub snapshots: u64,
}

/// What the engine leaves in its state directory and the launcher prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSummary {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Kind of run.
    pub mode: String,
    /// What the line of this build does.
    pub line: String,
    /// Why it ended.
    pub ended: EndReason,
    /// Start of an engine in this state directory.
    pub incarnation: u64,
    /// Core plan.
    pub plan: String,
    /// Market time covered.
    pub market_seconds: f64,
    /// Sequenced inputs.
    pub events: u64,
    /// Evaluations.
    pub marks: u64,
    /// By feed.
    pub feeds: BTreeMap<String, FeedCounts>,
    /// Nanoseconds.
    pub latency_ns: Latency,
    /// Allocations of sealed seats after start: 0.
    pub sealed_allocations: u64,
    /// Locked memory.
    pub arena_bytes: u64,
    /// True where it is locked.
    pub arena_locked: bool,
    /// What the machine refused.
    pub degraded: Vec<String>,
    /// Folder of the journal.
    pub journal: String,
}

impl EngineSummary {
    /// The summary of a run from its counters.
    #[must_use]
    #[allow(clippy::too_many_arguments)] // One call, at the end of a run.
    pub fn new(
        counters: &Snapshot,
        plan: &Plan,
        clock: &MarketClock,
        market_end: i64,
        ended: EndReason,
        state: &State,
        arena: &ArenaReport,
        degraded: Vec<String>,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            mode: "paper-recorded".into(),
            line: "market only".into(),
            ended,
            incarnation: counters.incarnation,
            plan: plan.name.clone(),
            market_seconds: (market_end - clock.origin) as f64 / 1e9,
            events: counters.counter("sequencer.seq"),
            marks: counters.counter("sequencer.marks"),
            feeds: feeds(counters),
            latency_ns: latency(counters),
            sealed_allocations: sum_of(counters, ".sealed_allocations"),
            arena_bytes: arena.used_bytes as u64,
            arena_locked: arena.locked,
            degraded,
            journal: state.layout().journal().display().to_string(),
        }
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} ({}), incarnation {}, plan {}",
            self.mode, self.line, self.incarnation, self.plan
        );
        let _ = writeln!(
            text,
            "  {:.1} s of market time, {} sequenced inputs, {} marks",
            self.market_seconds, self.events, self.marks
        );
        let _ = writeln!(
            text,
            "\n  feed           frames  slow path  undecodable  conflated  gaps  connections  snapshots"
        );
        for (name, f) in &self.feeds {
            let _ = writeln!(
                text,
                "  {name:<12} {:>8} {:>10} {:>12} {:>10} {:>5} {:>12} {:>10}",
                f.frames,
                f.slow_path_frames,
                f.undecodable_frames,
                f.conflated_tickers,
                f.gaps,
                f.connections,
                f.snapshots
            );
        }
        let _ = writeln!(
            text,
            "\n  latency, ns                 p50       p90       p99     p99.9        max      count"
        );
        let mut row = |name: &str, q: &LatencyRow| {
            let _ = writeln!(
                text,
                "  {name:<20} {:>10} {:>9} {:>9} {:>9} {:>10} {:>10}",
                q.p50, q.p90, q.p99, q.p999, q.max, q.count
            );
        };
        row("frame to mark", &self.latency_ns.frame_to_mark);
        self.latency_ns.stages.iter().for_each(|(name, q)| row(name, q));
        self.latency_ns.hiccups.iter().for_each(|(name, q)| row(&format!("hiccups {name}"), q));
        let locked = if self.arena_locked { "locked" } else { "not locked" };
        let _ = writeln!(
            text,
            "\n  {:.1} MiB of rings and books, {locked}; {} allocations in sealed seats",
            self.arena_bytes as f64 / 1_048_576.0,
            self.sealed_allocations
        );
        for line in &self.degraded {
            let _ = writeln!(text, "  degraded: {line}");
        }
        let _ = writeln!(text, "  journal: {}", self.journal);
        text
    }
}

fn feeds(counters: &Snapshot) -> BTreeMap<String, FeedCounts> {
    let names = counters.counters.iter().filter_map(|(label, _)| label.strip_suffix(".slow_path_frames"));
    let count = |name: &str, what: &str| counters.counter(&format!("{name}.{what}"));
    names
        .map(|name| {
            let feed = FeedCounts {
                frames: count(name, "frames"),
                slow_path_frames: count(name, "slow_path_frames"),
                undecodable_frames: count(name, "undecodable_frames"),
                conflated_tickers: count(name, "conflated_tickers"),
                gaps: count(name, "gaps"),
                connections: count(name, "connections"),
                snapshots: count(name, "snapshots"),
            };
            (name.to_owned(), feed)
        })
        .collect()
}

fn latency(counters: &Snapshot) -> Latency {
    let mut latency =
        Latency { frame_to_mark: counters.histogram("market.mark_age_ns").into(), ..Latency::default() };
    for (label, quantiles) in &counters.histograms {
        let row = LatencyRow::from(*quantiles);
        if let Some(name) = label.strip_suffix(".residence_ns") {
            latency.stages.insert(name.to_owned(), row);
        } else if let Some(name) = label.strip_prefix("thread.").and_then(|l| l.strip_suffix(".gap_ns")) {
            latency.hiccups.insert(name.to_owned(), row);
        } else if label == "journal.commit_ns" {
            latency.stages.insert("journal commit".to_owned(), row);
        }
    }
    latency
}

fn sum_of(counters: &Snapshot, suffix: &str) -> u64 {
    counters.counters.iter().filter(|(label, _)| label.ends_with(suffix)).map(|(_, value)| value).sum()
}
