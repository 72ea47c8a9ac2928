//! A journal in the sequencer's place: the same admission, inputs with the place and time they had.

use kimera_protocol::{Kind, Message, Seq};
use kimera_runtime::credit::InputClass;
use kimera_runtime::{Agent, Ports, Work};

use crate::door::Door;

/// Inputs of one duty cycle.
const INPUTS_PER_CYCLE: usize = 256;

/// Feeds recorded inputs through the door.
pub struct Replayer<I> {
    door: Door,
    inputs: I,
    next: Option<Message>,
    until: Seq,
}

impl<I: Iterator<Item = Message> + Send> Replayer<I> {
    /// Replays `inputs` up to and including seq `until`.
    #[must_use]
    pub fn new(door: Door, inputs: I, until: Seq) -> Self {
        Self { door, inputs, next: None, until }
    }
}

impl<I: Iterator<Item = Message> + Send> Agent for Replayer<I> {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        // What stages tell back was journaled when it was admitted: it is compared by their output hashes, not used.
        for port in &mut ports.inlets {
            while port.inlet.pop().is_some() {}
        }
        for done in 0..INPUTS_PER_CYCLE {
            let Some(mut message) = self.next.take().or_else(|| self.inputs.next()) else {
                return if done > 0 { Work::Done } else { Work::Idle };
            };
            if message.header.seq > self.until {
                return if done > 0 { Work::Done } else { Work::Idle };
            }
            debug_assert!(message.kind().is_some_and(Kind::is_input));
            if !self.door.admits(InputClass::Execution, 1) {
                self.next = Some(message);
                return if done > 0 { Work::Done } else { Work::Blocked };
            }
            message.header.ingress = 0;
            self.door.readmit(message, ports);
        }
        Work::Done
    }
}
