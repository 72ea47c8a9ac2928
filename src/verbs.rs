//! The small verbs: topology, stat, journal.

use std::fmt::Write;
use std::path::Path;

use kimera_journal::{JournalReader, Record};
use kimera_protocol::{Checkpoint, Kind};
use kimera_runtime::counters::Snapshot;
use kimera_runtime::topology::Topology;
use serde_json::json;

use crate::exit::Failure;
use crate::report::SCHEMA_VERSION;
use crate::state::Layout;

/// The topology as a table.
#[must_use]
pub fn topology_table(topology: &Topology) -> String {
    let mut text = String::from("seat           plane    sink  purpose\n");
    for seat in &topology.seats {
        let plane = format!("{:?}", seat.plane).to_lowercase();
        let sink = if seat.sink { "yes" } else { "" };
        let _ = writeln!(text, "{:<14} {plane:<8} {sink:<5} {}", seat.name, seat.purpose);
    }
    text.push_str("\nfrom           to             port      an input  holds\n");
    for edge in &topology.edges {
        let port = format!("{:?}", edge.port).to_lowercase();
        let _ = writeln!(
            text,
            "{:<14} {:<14} {port:<9} {:>8} {:>6}",
            edge.from, edge.to, edge.per_input, edge.capacity
        );
    }
    text
}

/// The topology for Graphviz.
#[must_use]
pub fn topology_dot(topology: &Topology) -> String {
    let mut text = String::from("digraph kimera {\n  rankdir=LR;\n  node [shape=box];\n");
    for seat in &topology.seats {
        let _ = writeln!(text, "  \"{}\" [tooltip=\"{}\"];", seat.name, seat.purpose);
    }
    for edge in &topology.edges {
        let _ = writeln!(text, "  \"{}\" -> \"{}\" [label=\"{}\"];", edge.from, edge.to, edge.capacity);
    }
    text.push_str("}\n");
    text
}

/// The counters of a state directory as JSON.
///
/// # Errors
/// Where there is no counters file.
pub fn stat(state: &Path) -> Result<(Snapshot, serde_json::Value), Failure> {
    let path = Layout::of(state).counters();
    let snapshot = Snapshot::of_file(&path).map_err(|e| Failure::run(format!("{}: {e}", path.display())))?;
    let counters: serde_json::Map<_, _> =
        snapshot.counters.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let histograms: serde_json::Map<_, _> =
        snapshot.histograms.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let value = json!({
        "schema_version": SCHEMA_VERSION,
        "pid": snapshot.pid,
        "incarnation": snapshot.incarnation,
        "counters": counters,
        "histograms": histograms,
    });
    Ok((snapshot, value))
}

/// Counters for people.
#[must_use]
pub fn stat_table(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for (label, value) in &snapshot.counters {
        let _ = writeln!(text, "{label:<40} {value:>20}");
    }
    for (label, q) in &snapshot.histograms {
        let _ = writeln!(
            text,
            "{label:<40} p50 {:>9}  p90 {:>9}  p99 {:>9}  p99.9 {:>9}  max {:>10}  n {:>9}",
            q.p50, q.p90, q.p99, q.p999, q.max, q.count
        );
    }
    text
}

/// What a journal holds.
#[derive(Debug, Default)]
pub struct JournalStat {
    /// Records by kind.
    pub kinds: std::collections::BTreeMap<&'static str, u64>,
    /// Last input.
    pub last_seq: u64,
    /// Market time of the first and last input.
    pub times: Option<(i64, i64)>,
    /// Segments.
    pub segments: u64,
    /// How it ends.
    pub tail: String,
    /// Chain hash of the last block, in hex.
    pub chain: String,
}

/// Reads a journal from start to end, checking everything, and calls `each` with every record.
///
/// # Errors
/// The first fault.
pub fn read_journal(state: &Path, mut each: impl FnMut(&Record)) -> Result<JournalStat, Failure> {
    let mut reader = JournalReader::open(&Layout::of(state).journal()).map_err(Failure::run)?;
    let mut stat = JournalStat { segments: reader.segments(), ..JournalStat::default() };
    for record in reader.by_ref() {
        let record = record.map_err(Failure::run)?;
        let kind = record.message.kind();
        *stat.kinds.entry(kind.map_or("unknown", Kind::name)).or_default() += 1;
        if kind.is_some_and(Kind::is_input) {
            stat.last_seq = record.message.header.seq;
            let time = record.message.header.time;
            stat.times = Some((stat.times.map_or(time, |(first, _)| first), time));
        }
        each(&record);
    }
    stat.tail = format!("{:?}", reader.tail()).to_lowercase();
    stat.chain = reader.chain_hash().iter().map(|b| format!("{b:02x}")).collect();
    Ok(stat)
}

/// A record on one line of JSON.
#[must_use]
pub fn record_json(record: &Record) -> serde_json::Value {
    use kimera_protocol::{DepthBegin, Gapped, Levels, Started, Ticker, Trade};
    let m = &record.message;
    let level = |l: &kimera_protocol::Level| json!([l.price.0, l.size.to_string()]);
    let body = if let Some(t) = m.body::<Ticker>() {
        json!({"update_id": t.update_id, "bid": level(&t.bid), "ask": level(&t.ask), "frame": [t.frame.epoch, t.frame.number]})
    } else if let Some(t) = m.body::<Trade>() {
        json!({"trade_id": t.trade_id, "price": t.price.0, "size": t.size.to_string(), "aggressor": t.aggressor, "frame": [t.frame.epoch, t.frame.number]})
    } else if let Some(d) = m.body::<DepthBegin>() {
        json!({"first_id": d.first_id, "last_id": d.last_id, "previous_id": d.previous_id, "snapshot": d.snapshot != 0, "bids": d.bid_levels, "asks": d.ask_levels, "frame": [d.frame.epoch, d.frame.number]})
    } else if let Some(l) = m.body::<Levels>() {
        let count = usize::from(m.header.count).min(l.levels.len());
        json!({"bids": m.header.bids, "levels": l.levels[..count].iter().map(level).collect::<Vec<_>>()})
    } else if let Some(g) = m.body::<Gapped>() {
        json!({"reason": g.reason, "expected": g.expected, "got": g.got})
    } else if let Some(c) = m.body::<Checkpoint>() {
        json!({"seat": c.seat, "boundary": c.boundary, "outputs": c.outputs, "hash": format!("{:016x}", c.outputs_hash)})
    } else if let Some(s) = m.body::<Started>() {
        json!({"incarnation": s.incarnation, "code_epoch": s.code_epoch, "origin": s.origin, "speed": s.speed})
    } else {
        json!({})
    };
    json!({
        "seq": m.header.seq,
        "time": m.header.time,
        "kind": m.kind().map_or("unknown", Kind::name),
        "mark": m.is_mark(),
        "instrument": m.header.instrument,
        "segment": record.segment,
        "offset": record.offset,
        "body": body,
    })
}
