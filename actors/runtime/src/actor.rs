//! The two traits everything on a core implements.
//!
//! An [`Actor`] is a pure state machine: (state, message) → (state, messages). It sees no clock but the message's
//! market time, performs no input or output and allocates nothing after start. An [`Agent`] has a duty cycle and may
//! own sockets and files; whatever it learns enters the system at the sequencer.

use kimera_protocol::{Body, Flags, Header, InstrumentId, Message, State};

use crate::seat::Ports;

/// Which of a seat's edges an output goes to; edges of one port all get a copy.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// Down the main line.
    Line = 0,
    /// To the journal's output log.
    Record = 1,
    /// Back to the sequencer.
    Feedback = 2,
    /// A member's vote to the join.
    Vote = 3,
    /// To a gateway.
    Orders = 4,
    /// From an agent to the sequencer.
    Input = 5,
}

/// What a poll achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing to do.
    Idle,
    /// Something was done.
    Done,
    /// Something waits, but an outlet or a join has to move first.
    Blocked,
}

/// One input of an actor.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The message, in seq order.
    pub message: &'a Message,
    /// The votes for this message's seq, one for each present joined inlet, in the topology's order; empty but at
    /// a mark of a seat that joins.
    pub joined: &'a [Message],
}

/// A deterministic component of the line or a branch. Its state can be taken out between two inputs and put into another
/// that was made from the same configuration.
pub trait Actor: Send + State {
    /// Handles one input; the outputs staged in `out` are sent after it returns, all or none.
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox);

    /// A digest of the state that outputs alone may not show, for checkpoints.
    fn digest(&self) -> u64 {
        0
    }
}

/// A component that talks to the outside: a bounded piece of work each time it is asked.
pub trait Agent: Send {
    /// Does some work without waiting for anything.
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work;

    /// Called once when the thread ends, after the last duty cycle.
    fn stop(&mut self, _ports: &mut Ports) {}

    /// Called once where it is told to stop or to make room for a new one while the rest runs on.
    fn leave(&mut self, _ports: &mut Ports) {}
}

/// Outputs of the handler that is running, sent when it has returned.
pub struct Outbox {
    /// As many as one input may cause; the first `length` are staged.
    staged: Box<[Message]>,
    ports: Box<[Port]>,
    length: usize,
    cause: Header,
}

impl Outbox {
    /// An outbox for at most `limit` outputs an input.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            staged: vec![Message::default(); limit].into(),
            ports: vec![Port::Line; limit].into(),
            length: 0,
            cause: Header::default(),
        }
    }

    /// Prepares for the handler of `input`: nothing staged, outputs caused by it.
    #[inline]
    pub fn begin(&mut self, input: &Message) {
        self.length = 0;
        self.cause = input.header;
    }

    /// Stages `body` for `port`, with the seq, time, flags and ingress stamp of the input.
    ///
    /// # Panics
    /// Where the handler sends more than the topology declares: only a bug can, and the seat takes it as one.
    #[inline]
    pub fn send<B: Body>(&mut self, port: Port, instrument: InstrumentId, body: B) {
        let header = Header { instrument: instrument.0, count: 0, bids: 0, ..self.cause };
        self.stage(port, Message::new(header, body));
    }

    /// As [`Outbox::send`] without the mark: for outputs that precede the evaluated one.
    ///
    /// # Panics
    /// As [`Outbox::send`].
    #[inline]
    pub fn send_unmarked<B: Body>(&mut self, port: Port, instrument: InstrumentId, body: B) {
        let flags = self.cause.flags & !Flags::MARK;
        let header = Header { instrument: instrument.0, count: 0, bids: 0, flags, ..self.cause };
        self.stage(port, Message::new(header, body));
    }

    /// Stages a message as it is: a pass-through to later stages.
    ///
    /// # Panics
    /// As [`Outbox::send`].
    #[inline]
    pub fn forward(&mut self, port: Port, message: &Message) {
        self.stage(port, *message);
    }

    #[inline]
    fn stage(&mut self, port: Port, message: Message) {
        let places = self.staged.get_mut(self.length).zip(self.ports.get_mut(self.length));
        let Some((place, of)) = places else { too_many() };
        *place = message;
        *of = port;
        self.length += 1;
    }

    /// What is staged, in order.
    #[inline]
    pub fn staged(&self) -> impl Iterator<Item = (Port, &Message)> {
        self.ports.iter().copied().zip(&self.staged).take(self.length)
    }

    /// Most outputs of one input.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.staged.len()
    }

    /// Changes the lowest bit of the first staged body; false where nothing is staged.
    pub fn flip_one_bit(&mut self) -> bool {
        let Some(first) = self.staged[..self.length].first_mut() else { return false };
        let mut words = *first.words();
        words[0] ^= 1;
        *first = Message::from_words(first.header, words);
        true
    }

    /// True where nothing is staged.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cold]
fn too_many() -> ! {
    panic!("more outputs than the topology declares for one input")
}
