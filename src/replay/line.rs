//! Inputs of a journal through the line of a configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Absent, Checkpoint, Kind, Message, Seq};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::executor::{DeterministicExecutor, ThreadedExecutor};
use kimera_runtime::seat::Cell;
use kimera_runtime::topology::{SEQUENCER, Wiring};
use kimera_runtime::{AbsenceGate, Agent, Counters, Ports, Tsc, Work};
use kimera_sequencer::{DoorState, Replayer};

use super::ExecutorChoice;
use super::recorded::Said;
use crate::config::{Config, plan};
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::snapshot::LineState;

/// What a replay computed.
#[derive(Debug, Default, PartialEq)]
pub struct Recomputed {
    /// Inputs that went through.
    pub inputs: u64,
    /// Evaluations among them.
    pub marks: u64,
    /// Checkpoints by seat index and boundary.
    pub checkpoints: BTreeMap<(u64, Seq), Checkpoint>,
    /// What is said in full.
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
    recompute_from(None, config, inputs, executor, until, probes)
}

/// Runs inputs through the line of a configuration, behind a state of it.
///
/// # Errors
/// As [`recompute`]; a state that does not fit the configuration.
pub fn recompute_from(
    from: Option<&LineState>,
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
        wiring.frontiers().note_absence(absent);
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
    let state =
        from.map_or_else(|| Ok(DoorState::default()), |from| from.put(&mut cells, &wiring.frontiers()))?;
    let missing = || Failure::defect("the topology lacks sequencer or journal");
    let (door_ports, journal_ports) =
        (wiring.take(SEQUENCER).ok_or_else(missing)?, wiring.take(line::JOURNAL).ok_or_else(missing)?);
    let gateway = wiring.take(&config.account.gateway).ok_or_else(missing)?;
    cells.push(Box::new(AgentSeat::new(Sink, gateway, false)));
    let last = inputs.last().map_or(0, |m| m.header.seq).min(until);
    let seen: Arc<Mutex<Recomputed>> = Arc::default();
    let progress = journal_ports.frontier.clone();
    let sinks = wiring.sinks();
    let replayer = Replayer::behind(state, wiring.sinks(), Inputs::new(inputs), until);
    cells.insert(0, Box::new(AgentSeat::new(replayer, door_ports, false)));
    cells.push(Box::new(AgentSeat::new(Collector(seen.clone()), journal_ports, false)));
    match executor {
        ExecutorChoice::Deterministic(seed) => {
            let mut executor = DeterministicExecutor::new(cells, *seed);
            executor.run_until_idle();
            drop(executor.finish());
        }
        ExecutorChoice::Threaded(name) => {
            let plan = line::with_guests(plan(name)?, &topology);
            plan.check(&topology, None).map_err(Failure::configuration)?;
            threaded(&plan, cells, &counters, || {
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
        .map_err(|e| Failure::machine(format!("cannot start a thread: {e}")))?;
    while !done() {
        if let Some(seat) = executor.failures().into_iter().next() {
            drop(executor.finish());
            return Err(Failure::defect(format!("seat {} panicked: {}", seat.seat, seat.message)));
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    // Checkpoints of the last inputs may still be in a ring: one more pass over everything.
    let (cells, failures) = executor.finish();
    if let Some(seat) = failures.into_iter().next() {
        return Err(Failure::defect(format!("seat {} panicked: {}", seat.seat, seat.message)));
    }
    let mut rest = DeterministicExecutor::new(cells, 0);
    rest.run_until_idle();
    drop(rest.finish());
    Ok(())
}
