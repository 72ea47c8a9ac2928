//! A journal through the same line: identical, or the first place where it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kimera_journal::format::CODE_EPOCH;
use kimera_journal::{Blobs, Fault, JournalReader, Tail};
use kimera_protocol::{Absent, Checkpoint, Kind, Message, Seq, Started};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::executor::{DeterministicExecutor, ThreadedExecutor};
use kimera_runtime::seat::{Cell, Tap};
use kimera_runtime::topology::{SEQUENCER, Topology, Wiring};
use kimera_runtime::{AbsenceGate, Agent, Counters, Ports, Tsc, Work};
use kimera_sequencer::{Door, Replayer};
use serde::Serialize;

use crate::config::{Config, plan};
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::report::SCHEMA_VERSION;
use crate::state::Layout;
use crate::verbs;

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
    /// Last input that is replayed.
    pub until: Seq,
    /// A seat that is made to say one bit of something else, half way through.
    pub flip: Option<String>,
}

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// A journal in memory.
pub struct Recorded {
    /// Configuration of the run.
    pub config: Config,
    /// Inputs in order.
    pub inputs: Arc<[Message]>,
    /// Checkpoints by seat index and boundary.
    pub checkpoints: BTreeMap<(u64, Seq), Checkpoint>,
    /// What was decided and sent, in full.
    pub said: Said,
    /// How the journal ends.
    pub tail: Tail,
}

/// Decisions and orders in full, each in its stage's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What strategy wanted.
    pub decisions: Vec<Message>,
    /// Orders and cancels that went to a gateway.
    pub orders: Vec<Message>,
}

impl Said {
    /// Keeps a message that is one of them, without its ingress stamp.
    fn keep(&mut self, mut message: Message) {
        message.header.ingress = 0;
        match message.kind() {
            Some(Kind::Decision) => self.decisions.push(message),
            Some(Kind::NewOrder | Kind::CancelOrder | Kind::CancelAll) => self.orders.push(message),
            _ => {}
        }
    }

    /// Drops what was caused by later inputs: they are not in the journal any more.
    fn up_to(&mut self, last: Seq) {
        self.decisions.retain(|m| m.header.seq <= last);
        self.orders.retain(|m| m.header.seq <= last);
    }
}

/// Reads the journal of a state directory, with its configuration.
///
/// # Errors
/// Damage (1), a missing blob (7), a journal of another code epoch.
pub fn load(state: &Path) -> Result<Recorded, Failure> {
    let mut reader = JournalReader::open(&Layout::of(state).journal()).map_err(as_failure)?;
    let (mut inputs, mut checkpoints, mut said) = (Vec::new(), BTreeMap::new(), Said::default());
    for record in reader.by_ref() {
        let message = record.map_err(as_failure)?.message;
        if let Some(checkpoint) = message.body::<Checkpoint>() {
            checkpoints.insert((checkpoint.seat, checkpoint.boundary), *checkpoint);
        } else if message.kind().is_some_and(Kind::is_input) {
            if message.kind() == Some(Kind::Started) {
                // What an earlier start said of inputs that it lost is of other inputs than those that follow.
                let last = message.header.seq - 1;
                said.up_to(last);
                checkpoints.retain(|(_, boundary), _| *boundary <= message.header.seq);
            }
            inputs.push(message);
        } else {
            said.keep(message);
        }
    }
    let started = inputs.first().and_then(|m| m.body::<Started>());
    let started =
        started.ok_or_else(|| Failure::run("the journal does not begin with the record of a start"))?;
    if started.code_epoch != CODE_EPOCH {
        return Err(Failure::run(format!(
            "the journal was written by code epoch {}, this program is of epoch {CODE_EPOCH}: replay it with the program that wrote it",
            started.code_epoch
        )));
    }
    let blob = Blobs::of(state).get(&started.configuration).map_err(Failure::missing)?;
    let config = Config::parse(&String::from_utf8_lossy(&blob)).map_err(Failure::configuration)?;
    Ok(Recorded { config, inputs: inputs.into(), checkpoints, said, tail: reader.tail().clone() })
}

fn as_failure(fault: Fault) -> Failure {
    match fault {
        Fault::MissingSegment { .. } | Fault::NoJournal(_) => Failure::missing(fault),
        _ => Failure::run(fault),
    }
}

/// Replays a state directory's journal and compares.
///
/// # Errors
/// As [`load`], and a patch that makes no configuration.
pub fn run(options: &ReplayOptions) -> Result<ReplayReport, Failure> {
    let recorded = load(&options.state)?;
    let config = match &options.patch {
        None => recorded.config.clone(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::configuration(format!("cannot read patch {}: {e}", path.display())))?;
            let patched = recorded.config.patched(&text);
            patched.map_err(|e| Failure::configuration(format!("{}: {e}", path.display())))?
        }
    };
    let mut probes = Probes::default();
    if let Some(seat) = &options.flip {
        let known = line::compared_seats(&line::topology(&config));
        if !known.contains(seat) {
            return Err(Failure::usage(format!("--flip {seat}: there are {}", known.join(", "))));
        }
        probes.flip = Some((seat.clone(), recorded.inputs.last().map_or(0, |m| m.header.seq / 2)));
    }
    let outcome = recompute(&config, &recorded.inputs, &options.executor, options.until, &probes)?;
    let mut report = compare(&config, &recorded, &outcome, options.until)?;
    if options.patch.is_some() && report.first_difference.is_some() {
        let precise = first_changed_input(&recorded, &config, options)?;
        report.first_difference = precise.or(report.first_difference);
    }
    Ok(report)
}

/// The very input at which a patched line first says something else: both lines are run and their outputs compared
/// input by input.
fn first_changed_input(
    recorded: &Recorded,
    patched: &Config,
    options: &ReplayOptions,
) -> Result<Option<Difference>, Failure> {
    let seats = line::compared_seats(&line::topology(patched));
    let tapped = |config: &Config| -> Result<BTreeMap<String, Tap>, Failure> {
        let taps: BTreeMap<String, Tap> = seats.iter().map(|s| (s.clone(), Tap::default())).collect();
        let probes = Probes { taps, ..Probes::default() };
        recompute(config, &recorded.inputs, &ExecutorChoice::Deterministic(0), options.until, &probes)?;
        Ok(probes.taps)
    };
    let (before, after) = (tapped(&recorded.config)?, tapped(patched)?);
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

/// What a replay computed.
#[derive(Debug, Default, PartialEq)]
pub struct Recomputed {
    /// Inputs that went through.
    pub inputs: u64,
    /// Evaluations among them.
    pub marks: u64,
    /// Checkpoints by seat index and boundary.
    pub checkpoints: BTreeMap<(u64, Seq), Checkpoint>,
    /// Decisions and orders in full.
    pub said: Said,
}

/// Sits in a gateway's seat: takes orders and sends nothing.
pub struct Sink;

impl Agent for Sink {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        let mut result = Work::Idle;
        for port in &mut ports.inlets {
            let upstream = port.writer.get();
            while port.inlet.pop().is_some() {
                result = Work::Done;
            }
            ports.frontier.advance(upstream);
        }
        result
    }
}

/// Sits in the journal's seat and collects what would have been written.
pub struct Collector(pub Arc<Mutex<Recomputed>>);

impl Agent for Collector {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Work::Idle;
        for port in &mut ports.inlets {
            while let Some(message) = port.inlet.pop() {
                result = Work::Done;
                if let Some(checkpoint) = message.body::<Checkpoint>() {
                    seen.checkpoints.insert((checkpoint.seat, checkpoint.boundary), *checkpoint);
                } else if !message.kind().is_some_and(Kind::is_input) {
                    seen.said.keep(message);
                } else {
                    seen.inputs += 1;
                    seen.marks += u64::from(message.is_mark());
                    ports.frontier.advance(message.header.seq);
                }
            }
        }
        result
    }
}

/// The inputs of a journal, shared by however many replays.
pub struct Inputs {
    of: Arc<[Message]>,
    next: usize,
}

impl Inputs {
    /// From the first on.
    #[must_use]
    pub fn new(of: &Arc<[Message]>) -> Self {
        Self { of: of.clone(), next: 0 }
    }
}

impl Iterator for Inputs {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let message = self.of.get(self.next).copied();
        self.next += 1;
        message
    }
}

/// Runs inputs through the line of a configuration.
///
/// # Errors
/// Where the line cannot be built or a seat panics.
pub fn recompute(
    config: &Config,
    inputs: &Arc<[Message]>,
    executor: &ExecutorChoice,
    until: Seq,
    probes: &Probes,
) -> Result<Recomputed, Failure> {
    let topology = line::topology(config);
    let mut wiring = Wiring::build(&topology).map_err(Failure::configuration)?;
    // Who stayed out in the run stays out here, from the same input on.
    for absent in inputs.iter().filter_map(|m| m.body::<Absent>()) {
        wiring.note_absence(absent);
    }
    let counters = Counters::detached();
    let mut cells = line::cells(
        config,
        &topology,
        &mut wiring,
        &counters,
        Tsc::calibrate(),
        probes,
        &AbsenceGate::new(),
    )?;
    let missing = || Failure::run("the topology lacks sequencer or journal");
    let (door_ports, journal_ports) =
        (wiring.take(SEQUENCER).ok_or_else(missing)?, wiring.take(line::JOURNAL).ok_or_else(missing)?);
    let gateway = wiring.take(&config.account.gateway).ok_or_else(missing)?;
    cells.push(Box::new(AgentSeat::new(Sink, gateway, false)));
    let door = Door::new(wiring.sinks());
    let last = inputs.last().map_or(0, |m| m.header.seq).min(until);
    let seen: Arc<Mutex<Recomputed>> = Arc::default();
    let progress = journal_ports.frontier.clone();
    let sinks = wiring.sinks();
    let replayer = Replayer::new(door, Inputs::new(inputs), until);
    cells.insert(0, Box::new(AgentSeat::new(replayer, door_ports, false)));
    cells.push(Box::new(AgentSeat::new(Collector(seen.clone()), journal_ports, false)));
    match executor {
        ExecutorChoice::Deterministic(seed) => {
            let mut executor = DeterministicExecutor::new(cells, *seed);
            executor.run_until_idle();
            drop(executor.finish());
        }
        ExecutorChoice::Threaded(name) => {
            threaded(&plan(name, usize::MAX)?, cells, &counters, || {
                progress.get() >= last && sinks.iter().all(|s| s.get() >= last)
            })?;
        }
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(seen)
}

fn threaded(
    plan: &kimera_runtime::plan::Plan,
    cells: Vec<Box<dyn Cell>>,
    counters: &Counters,
    done: impl Fn() -> bool,
) -> Result<(), Failure> {
    let executor = ThreadedExecutor::start(plan, cells, counters, false)
        .map_err(|e| Failure::run(format!("cannot start a thread: {e}")))?;
    while !done() {
        if let Some(seat) = executor.failures().into_iter().next() {
            drop(executor.finish());
            return Err(Failure::run(format!("seat {} panicked: {}", seat.seat, seat.message)));
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    // Checkpoints of the last inputs may still be in a ring: one more pass over everything.
    let (cells, failures) = executor.finish();
    if let Some(seat) = failures.into_iter().next() {
        return Err(Failure::run(format!("seat {} panicked: {}", seat.seat, seat.message)));
    }
    let mut rest = DeterministicExecutor::new(cells, 0);
    rest.run_until_idle();
    drop(rest.finish());
    Ok(())
}

fn compare(
    config: &Config,
    recorded: &Recorded,
    replayed: &Recomputed,
    until: Seq,
) -> Result<ReplayReport, Failure> {
    let topology = line::topology(config);
    let last = recorded.inputs.last().map_or(0, |m| m.header.seq).min(until);
    let compared = line::compared_seats(&topology);
    let indices: BTreeMap<u64, &String> =
        compared.iter().filter_map(|name| Some((u64::from(topology.index_of(name)?), name))).collect();
    for (index, name) in &indices {
        let long_enough = last >= kimera_runtime::seat::CHECKPOINT_INTERVAL || recorded.tail == Tail::Closed;
        if long_enough && until == Seq::MAX && !recorded.checkpoints.keys().any(|(seat, _)| seat == index) {
            return Err(Failure::run(format!("seat {name} has no output hash in the journal")));
        }
    }
    // A checkpoint is made when the first input at or after its boundary arrives, or behind the one that stops.
    let stopped = recorded.inputs.last().is_some_and(|m| m.is_stop() && m.header.seq <= last);
    let reach = last + u64::from(stopped);
    let expected = recorded.checkpoints.iter().filter(|((_, boundary), _)| *boundary <= reach);
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
                seq: agreed.get(seat).copied().unwrap_or(1),
                seat: indices.get(seat).map_or_else(|| format!("seat {seat}"), |name| (*name).clone()),
                kind: "checkpoint".into(),
                expected: describe(old),
                actual: describe(new),
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
        inputs: replayed.inputs,
        marks: replayed.marks,
        decisions,
        orders: replayed.said.orders.iter().filter(is_order).count() as u64,
        hash: format!("{:016x}", total_hash(&replayed.checkpoints)),
        checkpoints: boundaries.len() as u64,
        tail: format!("{:?}", recorded.tail).to_lowercase(),
        first_difference,
    })
}

/// Which of two differences came first. A decision or an order names the very input; where a seat before it differs in the
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

/// The first decision or order that is not the same in both.
fn first_said(recorded: &Recorded, replayed: &Recomputed, last: Seq) -> Option<Difference> {
    let (mut old, mut new) = (recorded.said.clone(), replayed.said.clone());
    old.up_to(last);
    new.up_to(last);
    let closed = recorded.tail == Tail::Closed;
    let streams =
        [(line::STRATEGY, &old.decisions, &new.decisions), (line::COMPLIANCE, &old.orders, &new.orders)];
    let differences = streams.into_iter().filter_map(|(seat, old, new)| {
        // A journal that was cut off may lack the last of them.
        let length = if closed { old.len().max(new.len()) } else { old.len() };
        let at = (0..length).find(|&i| old.get(i) != new.get(i))?;
        let (old, new) = (old.get(at), new.get(at));
        let seq = old.into_iter().chain(new).map(|m| m.header.seq).min()?;
        let show =
            |m: Option<&Message>| m.map_or_else(|| "nothing".into(), |m| verbs::message_json(m).to_string());
        let kind = old.or(new).and_then(Message::kind).map_or("unknown", Kind::name);
        Some(Difference {
            seq,
            seat: seat.into(),
            kind: kind.into(),
            expected: show(old),
            actual: show(new),
            cause_seq: seq,
        })
    });
    differences.min_by_key(|d| d.seq)
}

fn describe(checkpoint: Option<&Checkpoint>) -> String {
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
