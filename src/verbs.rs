//! The small verbs: topology, stat, journal.

use std::fmt::Write;
use std::path::Path;

use kimera_journal::{JournalReader, Record};
use kimera_protocol::{
    Absent, Alert, CancelOrder, Checkpoint, Command, CommandCode, Consensus, Decision, Definition, Detector,
    ErrorKind, HoldReason, Kind, Message, NewOrder, News, Opinion, OrderEvent, OrderUpdate, OrphanAdopted,
    PatternMatch, PatternsLoaded, Phase, Prime, Quantity, Reading, Refusal, RefusalReason, Series, Severity,
    Status, Timer, Topic, Urgency, VenueStatus, Weights,
};
use kimera_runtime::counters::Snapshot;
use kimera_runtime::errors::ErrorLog;
use kimera_runtime::topology::Topology;
use serde_json::json;

use crate::cli::{StatVerb, StatWhat, print};
use crate::exit::{Exit, Failure};
use crate::machine::memory::MemoryReport;
use crate::report::{SCHEMA_VERSION, money};
use crate::snapshot::hex;
use crate::state::Layout;
use crate::utc;

/// The topology as a table.
#[must_use]
pub fn topology_table(topology: &Topology) -> String {
    let mut text = String::from("seat                  plane    sink  purpose\n");
    for seat in &topology.seats {
        let plane = format!("{:?}", seat.plane).to_lowercase();
        let sink = if seat.sink { "yes" } else { "" };
        let _ = writeln!(text, "{:<21} {plane:<8} {sink:<5} {}", seat.name, seat.purpose);
    }
    text.push_str("\nfrom                  to                    port      an input  holds\n");
    for edge in &topology.edges {
        let port = format!("{:?}", edge.port).to_lowercase();
        let _ = writeln!(
            text,
            "{:<21} {:<21} {port:<9} {:>8} {:>6}",
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

/// Distinct errors of every process of a run, as a table or as JSON.
///
/// # Errors
/// Where the directory or one of its error logs cannot be read.
pub fn errors(state: &Path, as_json: bool) -> Result<String, Failure> {
    let layout = Layout::of(state);
    if !state.is_dir() {
        return Err(Failure::asked_wrongly(format!("{} is no state directory", state.display())));
    }
    let (mut rows, mut table, mut lost) = (Vec::new(), String::new(), 0);
    for process in ["supervisor", "engine", "guard", "shadow"] {
        let path = layout.errors(process);
        if !path.exists() {
            continue;
        }
        let log = ErrorLog::open(&path)
            .map_err(|e| Failure::machine(format!("cannot read {}: {e}", path.display())))?;
        lost += log.lost();
        for e in log.entries() {
            let (first, last) = (utc::text(e.first_ms), utc::text(e.last_ms));
            let kind = e.kind.map_or("-", ErrorKind::name);
            let advice = e.kind.map_or("", ErrorKind::advice);
            let _ = writeln!(
                table,
                "{:>6} × {kind} {process}/{}: {}\n         {first} to {last}; {advice}",
                e.count, e.source, e.text
            );
            rows.push(json!({
                "process": process, "kind": kind, "source": e.source, "text": e.text, "count": e.count,
                "first_ms": e.first_ms, "last_ms": e.last_ms,
            }));
        }
    }
    if as_json {
        return Ok(json!({"schema_version": SCHEMA_VERSION, "errors": rows, "lost": lost}).to_string());
    }
    if lost > 0 {
        let _ = writeln!(table, "{lost} errors more found no room");
    }
    Ok(if table.is_empty() { "no errors".into() } else { table })
}

/// Prints counters, or memory.
///
/// # Errors
/// Where nothing has run there.
pub(crate) fn run_stat(a: &StatVerb) -> Result<Exit, Failure> {
    let text = match (&a.what, &a.counters) {
        (Some(StatWhat::Memory(a)), _) => {
            let report = MemoryReport::of(&a.state)?;
            if a.json { serde_json::to_string(&report).map_err(Failure::defect)? } else { report.table() }
        }
        (None, Some(a)) => {
            let (snapshot, value) = stat(&a.state)?;
            if a.json { value.to_string() } else { stat_table(&snapshot) }
        }
        (None, None) => return Err(Failure::usage("name a state directory: kimera stat state/a")),
    };
    print(&text)?;
    Ok(Exit::Ok)
}

/// The counters of a state directory as JSON.
///
/// # Errors
/// Where there is no counters file.
pub fn stat(state: &Path) -> Result<(Snapshot, serde_json::Value), Failure> {
    let path = Layout::of(state).counters();
    let snapshot =
        Snapshot::of_file(&path).map_err(|e| Failure::machine(format!("{}: {e}", path.display())))?;
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
    let mut reader = JournalReader::open(&Layout::of(state).journal()).map_err(Failure::data)?;
    let mut stat = JournalStat { segments: reader.segments(), ..JournalStat::default() };
    for record in reader.by_ref() {
        let record = record.map_err(Failure::data)?;
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
    let mut value = message_json(&record.message);
    value["segment"] = json!(record.segment);
    value["offset"] = json!(record.offset);
    value
}

/// A message as JSON: its place, and what it says.
#[must_use]
pub fn message_json(m: &Message) -> serde_json::Value {
    json!({
        "seq": m.header.seq,
        "time": m.header.time,
        "kind": m.kind().map_or("unknown", Kind::name),
        "mark": m.is_mark(),
        "instrument": m.header.instrument,
        "body": trading_body(m).unwrap_or_else(|| market_body(m)),
    })
}

/// What decisions, orders, their reports and commands say.
fn trading_body(m: &Message) -> Option<serde_json::Value> {
    let side = |code: u8| if code == 0 { "buy" } else { "sell" };
    let size = |q: Quantity| money(q.0);
    if let Some(d) = m.body::<Decision>() {
        let quote = |l: &kimera_protocol::Level| json!([l.price.0, size(l.size)]);
        let hold = HoldReason::from_code(d.hold).map(HoldReason::name);
        return Some(json!({
            "bid": quote(&d.bid), "ask": quote(&d.ask), "fair": d.fair, "signal": d.signal,
            "confidence": d.confidence, "position": money(d.position), "hold": hold, "toxicity": d.toxicity,
            "session": d.session, "strategy": d.strategy, "takes": d.urgency == Urgency::Take as u8,
            "edge_bps": d.edge_bps, "cost_bps": d.cost_bps, "horizon_ms": d.horizon_ms, "invalid_at": d.invalid_at,
        }));
    }
    if let Some(o) = m.body::<NewOrder>() {
        return Some(json!({
            "id": o.id.to_text().as_str(), "side": side(o.side), "price": o.price.0, "quantity": size(o.quantity),
            "strategy": o.strategy, "time_in_force": o.time_in_force, "flags": o.flags, "stamp_seq": o.stamp_seq,
            "limits_version": o.limits_version, "trading_epoch": o.trading_epoch, "send_by": o.send_by,
        }));
    }
    if let Some(c) = m.body::<CancelOrder>() {
        return Some(json!({"id": c.id.to_text().as_str()}));
    }
    if let Some(u) = m.body::<OrderUpdate>() {
        let event = OrderEvent::from_code(u.event).map(|e| format!("{e:?}").to_lowercase());
        return Some(json!({
            "id": u.id.to_text().as_str(), "event": event, "side": side(u.side), "price": u.price.0,
            "quantity": size(u.quantity), "cumulative": size(u.cumulative), "fee": money(u.fee),
            "trade_id": u.trade_id, "maker": u.maker == 1, "code": u.code, "venue_order_id": u.venue_order_id,
        }));
    }
    if let Some(r) = m.body::<Refusal>() {
        let reason = u8::try_from(r.reason).ok().and_then(RefusalReason::from_code).map(RefusalReason::name);
        return Some(json!({"id": r.id.to_text().as_str(), "reason": reason}));
    }
    if let Some(c) = m.body::<Command>() {
        let code = CommandCode::from_code(c.code).map(|c| format!("{c:?}").to_lowercase());
        if c.terms.number != 0 || c.session != 0 {
            let t = &c.terms;
            return Some(json!({
                "command": code, "place": c.session, "session": t.number, "kind": t.kind,
                "capital": money(t.capital), "exposure_bps": t.exposure_bps, "loss_bps": t.loss_bps,
            }));
        }
        return Some(json!({"command": code, "epoch": c.epoch}));
    }
    if let Some(o) = m.body::<OrphanAdopted>() {
        return Some(json!({
            "id": o.id.to_text().as_str(), "venue_order_id": o.venue_order_id, "side": side(o.side as u8),
            "price": o.price.0, "quantity": size(o.quantity),
        }));
    }
    if let Some(c) = m.body::<Consensus>() {
        return Some(json!({
            "p": c.p, "score": c.score, "confidence": c.confidence, "agreement": c.agreement, "conflict": c.conflict,
            "pressure": c.pressure, "voted": c.voted,
        }));
    }
    if let Some(w) = m.body::<Weights>() {
        let used = usize::try_from(w.members).unwrap_or(0).min(w.weights.len());
        return Some(json!({"weights": w.weights[..used], "resolved": w.resolved, "epoch": w.weight_epoch}));
    }
    if let Some(a) = m.body::<Absent>() {
        let to = (a.to != u64::MAX).then_some(a.to);
        return Some(json!({"seat": a.seat, "from": a.from, "to": to, "skipped": a.skipped == 1}));
    }
    if let Some(a) = m.body::<Alert>() {
        return Some(json!({
            "detector": Detector::from_code(a.detector).map(Detector::name),
            "severity": Severity::from_code(a.severity).map(Severity::name),
            "phase": Phase::from_code(a.phase).map(Phase::name),
            "begin": a.begin, "end": a.end, "first": a.first, "last": a.last, "score": a.score, "limit": a.limit,
        }));
    }
    if let Some(p) = m.body::<PatternMatch>() {
        let value = |(ty, word): (u8, u64)| match ty {
            1 => json!(word as i64),
            2 => json!(f64::from_bits(word)),
            3 => json!(word != 0),
            4 => json!({"word": word}),
            _ => serde_json::Value::Null,
        };
        let values: Vec<_> = (0..usize::from(p.values)).filter_map(|i| p.value(i)).map(value).collect();
        return Some(json!({
            "pattern": p.name(), "number": p.pattern, "first": p.first, "last": p.last, "certain": p.time, "values": values,
        }));
    }
    if let Some(n) = m.body::<News>() {
        return Some(json!({
            "headline": format!("{:016x}", n.headline), "source": format!("{:016x}", n.source),
            "compound": n.compound, "relevance": n.relevance, "published": n.published,
            "trusted": n.trusted == 1,
        }));
    }
    if let Some(r) = m.body::<Reading>() {
        return Some(json!({
            "series": Series::from_code(r.series).map(Series::name), "value": r.value, "price": r.price,
            "published": r.published,
        }));
    }
    if let Some(p) = m.body::<Prime>() {
        return Some(json!({
            "begins": p.begins, "close": p.close, "variance": p.variance, "volume": p.volume, "minutes": p.minutes,
            "source": format!("{:016x}", p.source),
        }));
    }
    if let Some(o) = m.body::<Opinion>() {
        return Some(json!({
            "topic": Topic::from_code(o.topic).map(Topic::name), "value": o.value, "second": o.second, "observations": o.observations,
            "status": u8::try_from(o.status).ok().and_then(Status::from_code).map(Status::name),
            "basis": o.basis, "valid_until": o.valid_until, "artefact": format!("{:016x}", o.artefact),
        }));
    }
    if let Some(p) = m.body::<PatternsLoaded>() {
        return Some(json!({"patterns": p.patterns, "blob": hex(&p.blob)}));
    }
    if let Some(d) = m.body::<Definition>() {
        let text = |units: i64| Quantity(units).to_string();
        return Some(json!({
            "tick": text(d.tick_units), "lot": text(d.lot_units), "size_min": text(d.size_min),
            "notional_min": text(d.notional_min), "status": d.status().name(),
        }));
    }
    if let Some(t) = m.body::<Timer>() {
        return Some(json!({"owner": t.owner, "id": t.id, "deadline": t.deadline}));
    }
    let status = m.body::<VenueStatus>()?;
    Some(json!({"venue": status.venue, "ready": status.ready == 1, "fallen": status.fallen}))
}

fn market_body(m: &Message) -> serde_json::Value {
    use kimera_protocol::{DepthBegin, Gapped, Levels, Started, Ticker, Trade};
    let level = |l: &kimera_protocol::Level| json!([l.price.0, l.size.to_string()]);
    if let Some(t) = m.body::<Ticker>() {
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
    }
}
