//! A line beside the one that runs: the same actors on one thread, fed with inputs that a journal holds.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Absent, Message, Seq};
use kimera_runtime::agent_seat::AgentSeat;
use kimera_runtime::executor::said;
use kimera_runtime::seat::Cell;
use kimera_runtime::topology::{SEQUENCER, Topology, Wiring};
use kimera_runtime::world::Killed;
use kimera_runtime::{AbsenceGate, Counters, Frontier, Tsc, Work};
use kimera_sequencer::{DoorState, Replayer};

use crate::config::Config;
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::orders::OrderTable;
use crate::replay::{Collector, Recomputed, Sink};
use crate::snapshot::LineState;

/// Inputs that wait for the replica's door.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<VecDeque<Message>>>);

impl Iterator for Waiting {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A line on the calling thread.
pub struct Replica {
    /// Seats and edges.
    pub topology: Topology,
    wiring: Wiring,
    cells: Vec<Box<dyn Cell>>,
    door: AgentSeat<Replayer<Waiting>>,
    sink: AgentSeat<Sink>,
    collector: AgentSeat<Collector>,
    waiting: Waiting,
    seen: Arc<Mutex<Recomputed>>,
    orders: OrderTable,
    counters: Counters,
    seq: Seq,
}

impl Replica {
    /// A line of this configuration before its first input, or behind a state of it.
    ///
    /// # Errors
    /// Where the line cannot be built, or the state does not fit.
    pub fn new(config: &Config, probes: &Probes, from: Option<&LineState>) -> Result<Self, Failure> {
        let topology = line::topology(config);
        let mut wiring = Wiring::build(&topology).map_err(Failure::configuration)?;
        let (counters, gate) = (Counters::detached(), AbsenceGate::new());
        let mut cells =
            line::cells(config, &topology, &mut wiring, &counters, Tsc::calibrate(), probes, &gate)?;
        let mut take = |name: &str| {
            wiring.take(name).ok_or_else(|| Failure::defect(format!("the topology has no seat \"{name}\"")))
        };
        let (door, journal, gateway) =
            (take(SEQUENCER)?, take(line::JOURNAL)?, take(&config.account.gateway)?);
        let (state, orders) = match from {
            Some(from) => (from.put(&mut cells, &wiring.frontiers())?, from.orders()?),
            None => (DoorState::default(), OrderTable::default()),
        };
        let (waiting, seen) = (Waiting::default(), Arc::<Mutex<Recomputed>>::default());
        let seq = state.seq;
        let replayer = Replayer::behind(state, wiring.sinks(), waiting.clone(), Seq::MAX);
        Ok(Self {
            topology,
            wiring,
            cells,
            door: AgentSeat::new(replayer, door, false),
            sink: AgentSeat::new(Sink, gateway, false),
            collector: AgentSeat::new(Collector(seen.clone()), journal, false),
            waiting,
            seen,
            orders,
            counters,
            seq,
        })
    }

    /// Somebody is out, or leaves an input out: to be known before the input it begins with.
    pub fn note_absence(&self, absent: &Absent) {
        self.wiring.frontiers().note_absence(absent);
    }

    /// Progress and absences of a seat.
    #[must_use]
    pub fn frontier(&self, seat: &str) -> Option<Arc<Frontier>> {
        self.wiring.frontier(seat)
    }

    /// Last input that went through.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Orders as the reports have left them.
    #[must_use]
    pub fn orders(&self) -> &OrderTable {
        &self.orders
    }

    /// What the line counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sends inputs through the line, to its last seat; what it has said about them is given back.
    ///
    /// # Errors
    /// Where the line does not take all of them.
    ///
    /// # Panics
    /// Where a stage does.
    pub fn run(&mut self, inputs: &[Message]) -> Result<Recomputed, Failure> {
        let Some(last) = inputs.last().map(|m| m.header.seq) else { return Ok(Recomputed::default()) };
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).extend(inputs);
        let mut idle = 0;
        while idle < 2 {
            let mut worked = self.door.poll() == Work::Done;
            for cell in &mut self.cells {
                worked |= cell.poll() == Work::Done;
            }
            worked |= self.sink.poll() == Work::Done;
            worked |= self.collector.poll() == Work::Done;
            idle = if worked { 0 } else { idle + 1 };
        }
        let left = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        if left > 0 {
            return Err(Failure::defect(format!("the line stopped {left} inputs before {last}")));
        }
        self.seq = last;
        let said = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.orders.follow(&said.said.orders, inputs);
        Ok(said)
    }

    /// As [`Replica::run`], for inputs that somebody may not survive.
    ///
    /// # Errors
    /// As [`Replica::run`], and where a stage panics: the replica is not to be used then.
    pub fn try_run(&mut self, inputs: &[Message]) -> Result<Recomputed, Failure> {
        match catch_unwind(AssertUnwindSafe(|| self.run(inputs))) {
            Ok(result) => result,
            Err(killed) if killed.is::<Killed>() => resume_unwind(killed),
            Err(panic) => {
                Err(Failure::defect(format!("a stage beside the line panicked: {}", said(panic.as_ref()))))
            }
        }
    }

    /// Its state behind the last input; None where somebody's seat is empty.
    pub fn state(&mut self) -> Option<LineState> {
        self.orders.prune();
        let door = self.door.with(Replayer::state)?;
        LineState::take(&self.cells, &door, &self.orders, &self.wiring.frontiers())
    }

    /// An actor, to be looked at.
    #[must_use]
    pub fn actor<A: 'static>(&self, seat: &str) -> Option<&A> {
        self.cells.iter().find(|cell| cell.name() == seat)?.actor()?.downcast_ref()
    }

    /// State of one actor alone.
    #[must_use]
    pub fn actor_state(&self, seat: &str) -> Option<Vec<u8>> {
        self.cells.iter().find(|cell| cell.name() == seat)?.save_actor()
    }

    /// A seat with who sits there, for another seat of its kind. The replica ends with it.
    #[must_use]
    pub fn take_cell(mut self, seat: &str) -> Option<Box<dyn Cell>> {
        let at = self.cells.iter().position(|cell| cell.name() == seat)?;
        Some(self.cells.swap_remove(at))
    }
}
