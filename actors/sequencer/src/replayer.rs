//! A journal in the sequencer's place: the same admission, inputs with the place and time they had.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use kimera_protocol::{Kind, Message, Nanos, OrderId, Refusal, Seq, Timer, TimerRequest};
use kimera_runtime::credit::InputClass;
use kimera_runtime::{Agent, Frontier, Ports, Work};

use crate::door::Door;
use crate::timers::Timers;

/// Inputs of one duty cycle.
const INPUTS_PER_CYCLE: usize = 256;

/// Feeds recorded inputs through the door.
pub struct Replayer<I> {
    door: Door,
    inputs: I,
    next: Option<Message>,
    until: Seq,
    timers: Timers,
    /// Refusals that the line has told back and the journal has not yet.
    refusals: VecDeque<Message>,
    marks: u64,
    /// Orders whose refusal is in the journal, and which the line has not told back yet.
    refused: BTreeSet<OrderId>,
}

/// What the door knows behind an input, for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct DoorState {
    /// Last input.
    pub seq: Seq,
    /// Its market time.
    pub time: Nanos,
    /// It was the last of a run.
    stopped: bool,
    timers: Timers,
    refusals: Vec<Message>,
    marks: u64,
    refused: Vec<OrderId>,
}

kimera_protocol::state!(DoorState { seq, time, stopped, timers, refusals, marks, refused });

/// What a live sequencer goes on with behind a replay.
#[derive(Debug)]
pub struct Resumed {
    /// Last input.
    pub seq: Seq,
    /// Its market time.
    pub time: Nanos,
    /// Deadlines that are still to come.
    pub timers: Timers,
    /// Refusals that were told back and never became inputs: they are the first to.
    pub refusals: VecDeque<Message>,
    /// Marks so far.
    pub marks: u64,
}

impl<I: Iterator<Item = Message> + Send> Replayer<I> {
    /// Replays `inputs` up to and including seq `until`.
    #[must_use]
    pub fn new(door: Door, inputs: I, until: Seq) -> Self {
        Self {
            door,
            inputs,
            next: None,
            until,
            timers: Timers::default(),
            refusals: VecDeque::new(),
            marks: 0,
            refused: BTreeSet::new(),
        }
    }

    /// Goes on behind a snapshot: `inputs` are those that come after it.
    #[must_use]
    pub fn behind(state: DoorState, sinks: Vec<Arc<Frontier>>, inputs: I, until: Seq) -> Self {
        let mut door = Door::resume(state.seq, state.time, sinks);
        if state.stopped {
            door.stop();
        }
        Self {
            timers: state.timers,
            refusals: state.refusals.into(),
            marks: state.marks,
            refused: state.refused.into_iter().collect(),
            ..Self::new(door, inputs, until)
        }
    }
}

impl<I> Replayer<I> {
    /// What the door knows; to be asked when the line has come to rest.
    pub fn state(&mut self, ports: &mut Ports) -> DoorState {
        self.hear(ports);
        DoorState {
            seq: self.door.seq(),
            time: self.door.time(),
            stopped: self.door.stopped(),
            timers: self.timers.clone(),
            refusals: self.refusals.iter().copied().collect(),
            marks: self.marks,
            refused: self.refused.iter().copied().collect(),
        }
    }

    /// What stages tell back was journaled when it was admitted: it is compared by their output hashes, and used only
    /// where the journal ends before it.
    fn hear(&mut self, ports: &mut Ports) {
        for port in &mut ports.inlets {
            while let Some(message) = port.inlet.pop() {
                if let Some(request) = message.body::<TimerRequest>() {
                    self.timers.request(request);
                } else if let Some(refusal) = message.body::<Refusal>()
                    && !self.refused.remove(&refusal.id)
                {
                    self.refusals.push_back(message);
                }
            }
        }
    }

    /// An input that answers what was told back.
    fn note(&mut self, message: &Message) {
        self.marks += u64::from(message.is_mark());
        if let Some(timer) = message.body::<Timer>() {
            self.timers.fired(timer);
        } else if let Some(refusal) = message.body::<Refusal>() {
            let told = |m: &Message| m.body::<Refusal>().is_some_and(|r| r.id == refusal.id);
            match self.refusals.iter().position(told) {
                Some(at) => drop(self.refusals.remove(at)),
                None => drop(self.refused.insert(refusal.id)),
            }
        }
    }

    /// Where a live sequencer goes on; the line is done with everything.
    #[must_use]
    pub fn into_resumed(mut self, ports: &mut Ports) -> Resumed {
        self.hear(ports);
        Resumed {
            seq: self.door.seq(),
            time: self.door.time(),
            timers: self.timers,
            refusals: self.refusals,
            marks: self.marks,
        }
    }
}

impl<I: Iterator<Item = Message> + Send> Agent for Replayer<I> {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        self.hear(ports);
        for done in 0..INPUTS_PER_CYCLE {
            let Some(mut message) = self.next.take().or_else(|| self.inputs.next()) else {
                return if done > 0 { Work::Done } else { Work::Idle };
            };
            if message.header.seq > self.until {
                return if done > 0 { Work::Done } else { Work::Idle };
            }
            debug_assert!(message.kind().is_some_and(Kind::is_input));
            if message.kind() == Some(Kind::Started) {
                self.door.reopen();
            }
            if !self.door.admits(InputClass::Execution, 1) {
                self.next = Some(message);
                return if done > 0 { Work::Done } else { Work::Blocked };
            }
            message.header.ingress = 0;
            self.note(&message);
            self.door.readmit(&message, ports);
        }
        Work::Done
    }
}
