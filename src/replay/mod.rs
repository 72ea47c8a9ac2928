//! A journal through the same line: identical, or the first place where it is not.

mod line;
mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use kimera_journal::Tail;
use kimera_protocol::{Checkpoint, Kind, Message, Seq};
use kimera_runtime::seat::Tap;
use kimera_runtime::topology::Topology;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::counterfactual::Swap;
use crate::exit::Failure;
use crate::line::Probes;
use crate::replica::Replica;
use crate::report::SCHEMA_VERSION;
use crate::verbs;

pub use line::{Collector, Inputs, Recomputed, Sink, recompute, recompute_from};
pub(crate) use recorded::as_failure;
pub use recorded::{Recorded, STREAMS, Said, load, load_behind, load_from, load_latest, stream_of};

/// Which executor replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// One thread; the seed permutes the order in which seats are polled.
    Deterministic(u64),
    /// Threads of a plan, not pinned.
    Threaded(String),
}

/// Arguments of a replay.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// State directory of the run.
    pub state: PathBuf,
    /// Executor.
    pub executor: ExecutorChoice,
    /// Partial configuration put over the run's own.
    pub patch: Option<PathBuf>,
    /// Who says something else.
    pub swaps: Vec<Swap>,
    /// Where decisions and orders are written, a JSON object a line.
    pub said: Option<PathBuf>,
    /// Last input that is replayed.
    pub until: Seq,
    /// From the newest snapshot on, instead of from the beginning.
    pub from_snapshot: bool,
    /// A seat that is made to say one bit of something else, half way through.
    pub flip: Option<String>,
}

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// First input after the last point where both runs agreed.
    pub seq: Seq,
    /// Seat.
    pub seat: String,
    /// What differs.
    pub kind: String,
    /// In the journal.
    pub expected: String,
    /// In the replay.
    pub actual: String,
    /// The input by which it had happened.
    pub cause_seq: Seq,
}

/// What a replay says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// True where every output agrees.
    pub identical: bool,
    /// Last input before those that were replayed: that of a snapshot, or 0.
    pub behind: Seq,
    /// Inputs replayed.
    pub inputs: u64,
    /// Evaluations.
    pub marks: u64,
    /// Decisions at marks, holds included.
    pub decisions: u64,
    /// Orders that passed risk and compliance.
    pub orders: u64,
    /// Hash over every seat's last checkpoint.
    pub hash: String,
    /// Checkpoints compared.
    pub checkpoints: u64,
    /// How the journal ends.
    pub tail: String,
    /// The first difference.
    pub first_difference: Option<Difference>,
    /// How much would have been another, where the line was another.
    pub changed: Option<Changed>,
}

/// What another line would have said to the same inputs. Fills are inputs: they stay as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Decisions that are not the same.
    pub decisions: u64,
    /// Of so many.
    pub of: u64,
    /// Orders of the run.
    pub orders_before: u64,
    /// Orders of the other line.
    pub orders_after: u64,
}

fn changed(recorded: &Recorded, outcome: &Recomputed, options: &ReplayOptions) -> Option<Changed> {
    if options.patch.is_none() && options.swaps.is_empty() {
        return None;
    }
    let key = |m: &&Message| (m.header.seq, m.header.instrument);
    let before: BTreeMap<_, _> = recorded.said.decisions.iter().map(|m| (key(&m), m)).collect();
    let differs = |m: &&Message| before.get(&key(m)) != Some(m);
    let orders = |said: &Said| said.orders.iter().filter(|m| m.kind() == Some(Kind::NewOrder)).count() as u64;
    Some(Changed {
        decisions: outcome.said.decisions.iter().filter(differs).count() as u64,
        of: outcome.said.decisions.len() as u64,
        orders_before: orders(&recorded.said),
        orders_after: orders(&outcome.said),
    })
}

/// Writes decisions and orders, a JSON object a line, in the order of their inputs.
fn write_said(path: &Path, said: &Said) -> Result<(), Failure> {
    let mut all: Vec<&Message> = said.decisions.iter().chain(&said.orders).collect();
    all.sort_by_key(|m| m.header.seq);
    let mut text = String::new();
    for message in all {
        text.push_str(&verbs::message_json(message).to_string());
        text.push('\n');
    }
    std::fs::write(path, text).map_err(|e| Failure::machine(format!("cannot write {}: {e}", path.display())))
}

/// Replays a state directory's journal and compares.
///
/// # Errors
/// As [`load`], and a patch that makes no configuration.
pub fn run(options: &ReplayOptions) -> Result<ReplayReport, Failure> {
    let recorded = match options.from_snapshot {
        true => load_latest(&options.state)?.0,
        false => load(&options.state)?,
    };
    let config = match &options.patch {
        None => recorded.config.clone(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::configuration(format!("cannot read patch {}: {e}", path.display())))?;
            let patched = recorded.config.patched(&text);
            patched.map_err(|e| Failure::configuration(format!("{}: {e}", path.display())))?
        }
    };
    let members = crate::line::members_of(&config);
    if let Some(swap) = options.swaps.iter().find(|s| !members.iter().any(|(name, _)| *name == s.member)) {
        let known = members.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!("--swap {}: this run has {known}", swap.member)));
    }
    let mut probes = Probes { swaps: options.swaps.clone(), ..Probes::default() };
    if let Some(seat) = &options.flip {
        let known = crate::line::compared_seats(&crate::line::topology(&config));
        if !known.contains(seat) {
            return Err(Failure::usage(format!("--flip {seat}: there are {}", known.join(", "))));
        }
        probes.flip = Some((seat.clone(), recorded.inputs.last().map_or(0, |m| m.header.seq / 2)));
    }
    let outcome = recompute_from(
        recorded.from.as_ref(),
        &config,
        &recorded.inputs,
        &options.executor,
        options.until,
        &probes,
    )?;
    let mut report = compare(&config, &recorded, &outcome, options.until)?;
    if let Some(path) = &options.said {
        write_said(path, &outcome.said)?;
    }
    report.changed = changed(&recorded, &outcome, options);
    let counterfactual = options.patch.is_some() || !options.swaps.is_empty();
    if counterfactual && report.first_difference.is_some() {
        let precise = first_changed_input(&recorded, &config, options)?;
        report.first_difference = precise.or(report.first_difference);
    }
    Ok(report)
}

/// The line from a state in the middle of a journal on: the first place where it does not say what the journal holds.
///
/// # Errors
/// As [`recompute`].
pub fn from_the_middle(recorded: &Recorded, cut: Seq) -> Result<Option<Difference>, Failure> {
    let config = &recorded.config;
    let (before, after): (Vec<Message>, Vec<Message>) =
        recorded.inputs.iter().copied().partition(|m| m.header.seq <= cut);
    let mut replica = Replica::new(config, &Probes::default(), recorded.from.as_ref())?;
    recorded.absences().iter().for_each(|absent| replica.note_absence(absent));
    replica.run(&before)?;
    let state = replica.state().ok_or_else(|| Failure::defect("a seat is empty"))?;
    let rest = Recorded {
        inputs: after.into(),
        from: Some(state),
        said: recorded.said.behind(cut),
        checkpoints: recorded.checkpoints.clone(),
        config: config.clone(),
        tail: recorded.tail.clone(),
        at: recorded.at.clone(),
        configuration: recorded.configuration,
    };
    let executor = ExecutorChoice::Deterministic(0);
    let (from, probes) = (rest.from.as_ref(), Probes::default());
    let replayed = recompute_from(from, config, &rest.inputs, &executor, Seq::MAX, &probes)?;
    Ok(compare(config, &rest, &replayed, Seq::MAX)?.first_difference)
}

/// The very input at which a patched line first says something else: both lines are run and their outputs compared
/// input by input.
fn first_changed_input(
    recorded: &Recorded,
    patched: &Config,
    options: &ReplayOptions,
) -> Result<Option<Difference>, Failure> {
    let seats = crate::line::compared_seats(&crate::line::topology(patched));
    let tapped = |config: &Config, swaps: &[Swap]| -> Result<BTreeMap<String, Tap>, Failure> {
        let taps: BTreeMap<String, Tap> = seats.iter().map(|s| (s.clone(), Tap::default())).collect();
        let probes = Probes { taps, swaps: swaps.to_vec(), ..Probes::default() };
        let (from, executor) = (recorded.from.as_ref(), ExecutorChoice::Deterministic(0));
        recompute_from(from, config, &recorded.inputs, &executor, options.until, &probes)?;
        Ok(probes.taps)
    };
    let (before, after) = (tapped(&recorded.config, &[])?, tapped(patched, &options.swaps)?);
    let differences = seats.iter().filter_map(|seat| {
        let old = before.get(seat)?.lock().unwrap_or_else(PoisonError::into_inner);
        let new = after.get(seat)?.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (0..old.len().max(new.len())).find(|&i| old.get(i) != new.get(i))?;
        let show = |entry: Option<&(Seq, u64)>| {
            entry.map_or("nothing".into(), |(s, h)| format!("seq {s}, hash {h:016x}"))
        };
        let seq = old.get(at).into_iter().chain(new.get(at)).map(|(s, _)| *s).min()?;
        Some(Difference {
            seq,
            seat: seat.clone(),
            kind: "outputs".into(),
            expected: show(old.get(at)),
            actual: show(new.get(at)),
            cause_seq: seq,
        })
    });
    Ok(differences.min_by_key(|d| d.seq))
}

fn compare(
    config: &Config,
    recorded: &Recorded,
    replayed: &Recomputed,
    until: Seq,
) -> Result<ReplayReport, Failure> {
    let is_other = *config != recorded.config;
    let topology = crate::line::topology(config);
    let last = recorded.inputs.last().map_or(0, |m| m.header.seq).min(until);
    let compared = crate::line::compared_seats(&topology);
    let indices: BTreeMap<u64, &String> =
        compared.iter().filter_map(|name| Some((u64::from(topology.index_of(name)?), name))).collect();
    for (index, name) in &indices {
        // Another configuration may have seats that the run did not.
        let long_enough = last >= kimera_runtime::seat::CHECKPOINT_INTERVAL || recorded.tail == Tail::Closed;
        if !is_other
            && long_enough
            && until == Seq::MAX
            && !recorded.checkpoints.keys().any(|(seat, _)| seat == index)
        {
            return Err(Failure::defect(format!("seat {name} has no output hash in the journal")));
        }
    }
    // A checkpoint is made when the first input at or after its boundary arrives, or behind the one that stops.
    let stopped = recorded.inputs.last().is_some_and(|m| m.is_stop() && m.header.seq <= last);
    let reach = last + u64::from(stopped);
    let expected = recorded.expected_of(replayed).filter(|((_, boundary), _)| *boundary <= reach);
    let mut boundaries: BTreeSet<(Seq, u64)> =
        expected.map(|((seat, boundary), _)| (*boundary, *seat)).collect();
    if until == Seq::MAX && recorded.tail == Tail::Closed {
        boundaries.extend(replayed.checkpoints.keys().map(|(seat, boundary)| (*boundary, *seat)));
    }
    let mut first_difference = None;
    let mut agreed: BTreeMap<u64, Seq> = BTreeMap::new();
    for (boundary, seat) in &boundaries {
        let (old, new) =
            (recorded.checkpoints.get(&(*seat, *boundary)), replayed.checkpoints.get(&(*seat, *boundary)));
        if old == new {
            agreed.insert(*seat, *boundary);
        } else if first_difference.is_none() {
            first_difference = Some(Difference {
                seq: agreed.get(seat).copied().unwrap_or(recorded.behind() + 1),
                seat: indices.get(seat).map_or_else(|| format!("seat {seat}"), |name| (*name).clone()),
                kind: "checkpoint".into(),
                expected: describe_checkpoint(old),
                actual: describe_checkpoint(new),
                cause_seq: boundary.saturating_sub(1),
            });
        }
    }
    // What is in the journal in full is compared in full, and names the very input.
    let in_full = first_said(recorded, replayed, last);
    first_difference = earlier(&topology, first_difference, in_full);
    let decisions = replayed.said.decisions.iter().filter(|m| m.is_mark()).count() as u64;
    let is_order = |m: &&Message| m.kind() == Some(Kind::NewOrder);
    Ok(ReplayReport {
        schema_version: SCHEMA_VERSION,
        identical: first_difference.is_none()
            && (!boundaries.is_empty() || !recorded.said.decisions.is_empty()),
        behind: recorded.behind(),
        inputs: replayed.inputs,
        marks: replayed.marks,
        decisions,
        orders: replayed.said.orders.iter().filter(is_order).count() as u64,
        hash: format!("{:016x}", total_hash(&replayed.checkpoints)),
        checkpoints: boundaries.len() as u64,
        tail: format!("{:?}", recorded.tail).to_lowercase(),
        first_difference,
        changed: None,
    })
}

/// Which of two differences came first. What is said in full names the very input; where a seat before it differs in the
/// same stretch, that seat is the cause, and it had happened by that input.
fn earlier(topology: &Topology, coarse: Option<Difference>, exact: Option<Difference>) -> Option<Difference> {
    let (coarse, exact) = match (coarse, exact) {
        (Some(coarse), Some(exact)) => (coarse, exact),
        (coarse, exact) => return coarse.or(exact),
    };
    if exact.seq > coarse.cause_seq {
        return Some(coarse);
    }
    let upstream = topology.index_of(&coarse.seat) < topology.index_of(&exact.seat);
    if upstream && coarse.seq <= exact.seq {
        return Some(Difference { cause_seq: exact.seq, ..coarse });
    }
    Some(exact)
}

/// The first decision, order, alert or match that is not the same in both.
fn first_said(recorded: &Recorded, replayed: &Recomputed, last: Seq) -> Option<Difference> {
    let (mut old, mut new) = (recorded.said.clone(), replayed.said.clone());
    old.up_to(last);
    new.up_to(last);
    let closed = recorded.tail == Tail::Closed;
    let streams = old.streams().into_iter().zip(new.streams());
    let differences = streams.filter_map(|((seat, old), (_, new))| {
        // A journal that was cut off may lack the last of them.
        let length = if closed { old.len().max(new.len()) } else { old.len() };
        let at = (0..length).find(|&i| old.get(i) != new.get(i))?;
        let (old, new) = (old.get(at), new.get(at));
        let seq = old.into_iter().chain(new).map(|m| m.header.seq).min()?;
        let kind = old.or(new).and_then(Message::kind).map_or("unknown", Kind::name);
        Some(Difference {
            seq,
            seat: seat.into(),
            kind: kind.into(),
            expected: describe_message(old),
            actual: describe_message(new),
            cause_seq: seq,
        })
    });
    differences.min_by_key(|d| d.seq)
}

/// A message as reports show it.
pub(crate) fn describe_message(message: Option<&Message>) -> String {
    message.map_or_else(|| "nothing".into(), |m| verbs::message_json(m).to_string())
}

/// A checkpoint as reports show it.
pub(crate) fn describe_checkpoint(checkpoint: Option<&Checkpoint>) -> String {
    checkpoint.map_or_else(
        || "nothing".into(),
        |c| format!("{} outputs, hash {:016x}, state {:016x}", c.outputs, c.outputs_hash, c.state_digest),
    )
}

/// One number for a whole replay: every checkpoint of every seat, in order.
#[must_use]
pub fn total_hash(checkpoints: &BTreeMap<(u64, Seq), Checkpoint>) -> u64 {
    let mut hash = kimera_protocol::RollingHash::default();
    for ((seat, boundary), checkpoint) in checkpoints {
        for word in [*seat, *boundary, checkpoint.outputs_hash, checkpoint.outputs, checkpoint.state_digest] {
            hash.update_word(word);
        }
    }
    hash.value()
}
