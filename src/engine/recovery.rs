//! What an earlier start has left: its journal goes through the line before anything live takes a seat, and everything it
//! knew of orders is handed to the gateway, which asks the venue about it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_journal::{JournalReader, Tail, archive};
use kimera_protocol::{Message, Nanos, Seq};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::seat::{Cell, Ports};
use kimera_runtime::topology::Frontiers;
use kimera_runtime::{Frontier, Work, failpoint, files};
use kimera_sequencer::{DoorState, Replayer, Resumed};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::orders::OrderTable;
use crate::replay::{Collector, Inputs, Recomputed, Recorded, Sink, load_latest};
use crate::state::State;

/// The journal of an earlier start.
pub struct Earlier {
    /// The newest snapshot and what comes behind it; all of it, where there is none.
    pub recorded: Recorded,
    /// Snapshots that were passed over, and why.
    pub passed_over: Vec<String>,
}

/// What was taken up, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// Inputs that went through the line again.
    pub inputs: u64,
    /// Last input in the snapshot it began with; 0 where there was none.
    pub snapshot: Seq,
    /// Wall time of that.
    pub seconds: f64,
    /// How the journal ended.
    pub tail: String,
    /// Bytes that were cut off its end: a block that was being written.
    pub torn_bytes: u64,
    /// Orders that may still stand, as far as the journal knows.
    pub orders_working: u64,
    /// Orders of ours at the venue that the journal does not have.
    pub orphans: u64,
    /// Fills that the venue had and the journal did not.
    pub fills_found: u64,
    /// Where the line said something else than the journal holds: then only ways out leave.
    pub diverged: Option<String>,
    /// True once every order was explained and the venue's account agreed with the books.
    pub explained: bool,
}

/// The ends of the rings that agents sit at.
pub struct Ends {
    /// The one door.
    pub sequencer: Ports,
    /// The gateway's.
    pub gateway: Ports,
    /// The journal's.
    pub journal: Ports,
}

/// What the line has become.
pub struct Recovered {
    /// Where a live sequencer goes on.
    pub resumed: Resumed,
    /// Every order the line has ever sent, as the reports have left it.
    pub orders: OrderTable,
    /// What the run before has said and not written down.
    pub missing: Vec<Message>,
    /// For people.
    pub report: RecoveryReport,
}

impl Earlier {
    /// Reads the journal of the state directory, if there is one.
    ///
    /// # Errors
    /// Damage, another configuration, or a venue whose clock is behind the journal.
    pub fn load(state: &State, configuration: &[u8; 32], now: i64) -> Result<Option<Self>, Failure> {
        let folder = state.layout().journal();
        if !archive::has_journal(&folder) {
            return Ok(None);
        }
        if files::exists(&folder.join("000001.kj")) && is_empty(&folder) {
            // A start that ended before its first record was on disk has left nothing to take up.
            let cleared = files::remove_dir_all(&folder);
            cleared.map_err(|e| Failure::machine(format!("cannot clear {}: {e}", folder.display())))?;
            return Ok(None);
        }
        let (recorded, passed_over) = load_latest(state.root())?;
        let at = &recorded.at;
        let earlier = || format!("{} holds the journal of an earlier run", state.root().display());
        if is_ahead((at.seq, at.time), now) {
            return Err(Failure::refused(format!(
                "{} that had got further than the venue's clock is; give this run a directory of its own with --state",
                earlier()
            )));
        }
        if recorded.configuration != *configuration {
            return Err(Failure::configuration(format!(
                "{} with another configuration; start it with the one it had, or give this run a directory of its own",
                earlier()
            )));
        }
        Ok(Some(Self { recorded, passed_over }))
    }
}

/// True where a journal got further than a clock that has gone on since could be. The clock stands before its start, and every input is told from the one
/// before by a nanosecond at least: so far, and no further, a journal may be ahead.
fn is_ahead((seq, time): (Seq, Nanos), now: Nanos) -> bool {
    time.saturating_sub(now) > i64::try_from(seq).unwrap_or(i64::MAX)
}

/// True where a journal holds no input and has no damage: its first segment alone, with a header or with nothing yet.
fn is_empty(folder: &Path) -> bool {
    if files::exists(&folder.join("000002.kj")) {
        return false;
    }
    let untouched =
        || files::read(&folder.join("000001.kj")).is_ok_and(|bytes| bytes.iter().all(|b| *b == 0));
    match JournalReader::open(folder) {
        Ok(mut reader) => reader.by_ref().all(|record| record.is_ok()) && reader.resume_point().seq == 0,
        Err(_) => untouched(),
    }
}

/// Sends the journal through the line; gives the ends of the rings back.
///
/// # Errors
/// Where the line does not take all of it.
pub fn catch_up(
    earlier: &Earlier,
    line: &mut [Box<dyn Cell>],
    ends: Ends,
    (sinks, frontiers): (&[Arc<Frontier>], &Frontiers),
) -> Result<(Ends, Recovered), Failure> {
    let begun = monotonic_ns();
    let (door, mut orders) = match &earlier.recorded.from {
        Some(state) => (state.put(line, frontiers)?, state.orders()?),
        None => (DoorState::default(), OrderTable::default()),
    };
    let seen: Arc<Mutex<Recomputed>> = Arc::default();
    let inputs = Inputs::new(&earlier.recorded.inputs);
    let replayer = Replayer::behind(door, sinks.to_vec(), inputs, Seq::MAX);
    let mut door = AgentSeat::new(replayer, ends.sequencer, false);
    let mut sink = AgentSeat::new(Sink, ends.gateway, false);
    let mut collector = AgentSeat::new(Collector(seen.clone()), ends.journal, false);
    // Feeds and the like have no input here and connect only when they are polled: they are not.
    let is_line = |cell: &&mut Box<dyn Cell>| cell.is_sealed();
    let mut idle = 0;
    while idle < 2 {
        let mut worked = door.poll() == Work::Done;
        for cell in line.iter_mut().filter(is_line) {
            worked |= cell.poll() == Work::Done;
        }
        worked |= sink.poll() == Work::Done;
        worked |= collector.poll() == Work::Done;
        idle = if worked { 0 } else { idle + 1 };
    }
    let (replayer, mut sequencer) = door.into_parts();
    let resumed = replayer.into_resumed(&mut sequencer);
    let last = earlier.recorded.at.seq;
    if resumed.seq != last {
        return Err(Failure::defect(format!(
            "the line stopped at input {} of {last} of the journal",
            resumed.seq
        )));
    }
    let (gateway, journal) = (sink.into_parts().1, collector.into_parts().1);
    let replayed = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    failpoint::hit("recovery.replayed");
    orders.follow(&replayed.said.orders, earlier.recorded.inputs.iter());
    let working = orders.working() as u64;
    let (tail, torn_bytes) = match earlier.recorded.tail {
        Tail::Torn { bytes, .. } => ("torn", bytes),
        Tail::Closed => ("closed", 0),
        Tail::Open | Tail::Unknown => ("open", 0),
    };
    let report = RecoveryReport {
        inputs: earlier.recorded.inputs.len() as u64,
        snapshot: earlier.recorded.behind(),
        seconds: monotonic_ns().saturating_sub(begun) as f64 / 1e9,
        tail: tail.into(),
        torn_bytes,
        orders_working: working,
        diverged: diverged(earlier, &replayed),
        ..RecoveryReport::default()
    };
    let missing = missing(earlier, &replayed);
    Ok((Ends { sequencer, gateway, journal }, Recovered { resumed, orders, missing, report }))
}

/// The first place where the line has not said again what the journal holds.
fn diverged(earlier: &Earlier, replayed: &Recomputed) -> Option<String> {
    let streams = earlier.recorded.said.streams().into_iter().zip(replayed.said.streams());
    let differs = |old: &[Message], new: &[Message]| {
        let known = old.iter().filter(|m| m.header.seq <= earlier.recorded.at.seq);
        known
            .zip(new.iter().map(Some).chain(std::iter::repeat(None)))
            .find(|(o, n)| Some(*o) != *n)
            .map(|(o, _)| o.header.seq)
    };
    let said = streams.filter_map(|((_, old), (_, new))| differs(old, new)).min();
    let last = earlier.recorded.at.seq;
    let mut checkpoints = earlier.recorded.expected_of(replayed);
    let hash = checkpoints.find(|(key, c)| key.1 <= last && replayed.checkpoints.get(*key) != Some(*c));
    let seq = said.or(hash.map(|(key, _)| key.1))?;
    Some(format!(
        "the line does not say again what the journal holds (input {seq}): only ways out leave; look with kimera replay"
    ))
}

/// What the line says in full, and checkpoints, that the journal does not have: its writer had not got to them.
fn missing(earlier: &Earlier, replayed: &Recomputed) -> Vec<Message> {
    let recorded = &earlier.recorded;
    let mut missing = Vec::new();
    for ((_, old), (_, new)) in recorded.said.streams().into_iter().zip(replayed.said.streams()) {
        let had = old.iter().filter(|m| m.header.seq <= recorded.at.seq).count();
        missing.extend(new.iter().skip(had));
    }
    let header = |boundary| kimera_protocol::Header { seq: boundary, ..kimera_protocol::Header::default() };
    let unsaid = replayed.checkpoints.iter().filter(|(key, _)| !recorded.checkpoints.contains_key(*key));
    missing.extend(unsaid.map(|((_, boundary), checkpoint)| Message::new(header(*boundary), *checkpoint)));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_has_not_started_is_not_behind() {
        // Two inputs before the start: the second a nanosecond later.
        assert!(!is_ahead((2, 1_001), 1_000) && !is_ahead((2, 1_002), 1_000));
        assert!(is_ahead((2, 1_003), 1_000), "nothing makes that of two inputs");
        assert!(!is_ahead((2, 999), 1_000));
    }
}
