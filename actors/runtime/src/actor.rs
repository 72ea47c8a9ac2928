//! The two traits everything on a core implements.
//!
//! An [`Actor`] is a pure state machine: (state, message) → (state, messages). It sees no clock but the message's
//! market time, performs no input or output and allocates nothing after start. An [`Agent`] has a duty cycle and may
//! own sockets and files; whatever it learns enters the system at the sequencer.

use kimera_protocol::{
    Body, Flags, Header, InstrumentId, Loader, Message, RollingHash, Saver, State, StateError,
};

use crate::counters::Counters;
use crate::seat::{PortOutlet, Ports};

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
    /// What detectors say: ahead of everything else about the same input.
    Alert = 5,
    /// From an agent to the sequencer: no actor's.
    Input = 6,
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
    pub joined: &'a [&'a Message],
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

    /// Counts there from now on, and goes on from what it has counted: for one that was made beside the line and takes a seat
    /// in it. Nothing to do where nothing is counted.
    fn attach(&mut self, _counters: &Counters) {}
}

/// Whoever makes actors by a table has them in boxes.
impl Actor for Box<dyn Actor> {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        (**self).handle(input, out);
    }

    fn digest(&self) -> u64 {
        (**self).digest()
    }

    fn attach(&mut self, counters: &Counters) {
        (**self).attach(counters);
    }
}

impl State for Box<dyn Actor> {
    fn save(&self, out: &mut Saver) {
        (**self).save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        (**self).load(from)
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

/// Ports that actors have.
const PORTS: usize = Port::Input as usize;
/// A port that the seat has no ring for.
const NOWHERE: u8 = u8::MAX;
/// Among the outlets in which something is written: the places of what nobody reads.
const SPARE: u8 = 1 << 7;
const _: () = assert!(PORTS < 8, "a bit each");

/// Where an output lies until the handler has returned.
#[derive(Clone, Copy)]
struct Staged {
    port: Port,
    /// Its ring, or [`NOWHERE`]: then `slot` is one of the spare places.
    outlet: u8,
    slot: u32,
}

/// Outputs of the handler that is running, sent when it has returned. They are written once, into the slots of the rings in
/// which their readers will find them, and said all together.
///
/// In the order in which a handler needs it, on as few cache lines as can be.
#[repr(C)]
pub struct Outbox {
    of: [u8; PORTS],
    /// Where something is written that was not said: a bit an outlet, the highest for the spare places.
    open: u8,
    /// Where each lies is kept, for who wants to see what is staged.
    keeps: bool,
    length: usize,
    /// Inputs for whose outputs there is certainly room.
    rooms: u64,
    /// Everything that was ever sent or staged, and how that was before the handler.
    hash: RollingHash,
    hash_before: RollingHash,
    /// One a port.
    outlets: Box<[PortOutlet]>,
    cause: Header,
    /// For what is sent by a port that nobody reads; as many as one input may cause.
    spare: Box<[Message]>,
    staged: Vec<Staged>,
}

impl Outbox {
    /// An outbox for at most `limit` outputs an input that nobody reads.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let mut outbox = Self::with_outlets(limit, Vec::new());
        outbox.keep(true);
        outbox
    }

    /// From now on [`Outbox::staged`] has something to show, or not: a look at it is for tests and explanations.
    pub(crate) fn keep(&mut self, keeps: bool) {
        self.keeps = keeps;
        self.staged.reserve_exact(if keeps { self.spare.len() } else { 0 });
    }

    /// An outbox for at most `limit` outputs an input, with the rings they go to.
    #[must_use]
    pub fn with_outlets(limit: usize, outlets: Vec<PortOutlet>) -> Self {
        let mut of = [NOWHERE; PORTS];
        for (i, outlet) in outlets.iter().enumerate() {
            debug_assert_eq!(of[outlet.port as usize], NOWHERE, "one ring a port");
            of[outlet.port as usize] = i as u8;
        }
        Self {
            of,
            open: 0,
            keeps: false,
            length: 0,
            rooms: 0,
            hash: RollingHash::default(),
            hash_before: RollingHash::default(),
            outlets: outlets.into(),
            cause: Header::default(),
            spare: vec![Message::default(); limit].into(),
            staged: Vec::new(),
        }
    }

    /// Prepares for the handler of `input`: nothing staged, outputs caused by it.
    #[inline]
    pub fn begin(&mut self, input: &Message) {
        if self.open != 0 {
            self.take_back();
        }
        self.hash_before = self.hash;
        self.length = 0;
        if self.keeps {
            self.staged.clear();
        }
        self.cause = input.header;
    }

    #[cold]
    fn take_back(&mut self) {
        self.outlets.iter_mut().for_each(|o| o.outlet.take_back());
        self.hash = self.hash_before;
        self.length = 0;
        self.staged.clear();
        self.open = 0;
    }

    /// True where every ring can take the most one input may send. To be asked once an input.
    #[inline]
    #[must_use]
    pub fn have_room(&mut self) -> bool {
        if self.rooms == 0 && !self.look_for_room() {
            return false;
        }
        self.rooms -= 1;
        true
    }

    #[cold]
    fn look_for_room(&mut self) -> bool {
        let room = |o: &mut PortOutlet| {
            let known = o.outlet.has_room(o.per_input).then(|| o.outlet.known_room());
            known.map_or(0, |known| known.checked_div(o.per_input as u64).unwrap_or(u64::MAX))
        };
        self.rooms = self.outlets.iter_mut().map(room).min().unwrap_or(u64::MAX);
        self.rooms > 0
    }

    /// Hash of everything that was sent.
    #[inline]
    #[must_use]
    pub(crate) fn hash(&mut self) -> &mut RollingHash {
        &mut self.hash
    }

    /// As [`Outbox::hash`], to be looked at.
    pub(crate) fn saved_hash(&self) -> RollingHash {
        self.hash
    }

    /// How many are staged.
    #[inline]
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Lets everybody see what is staged.
    #[inline]
    pub(crate) fn say(&mut self) {
        let mut open = std::mem::take(&mut self.open) & !SPARE;
        while open != 0 {
            if let Some(out) = self.outlets.get_mut(open.trailing_zeros() as usize) {
                out.outlet.say();
            }
            open &= open - 1;
        }
    }

    /// Sends one message at once, beside what handlers cause; nothing where nobody reads the port or there is no room.
    pub(crate) fn push(&mut self, port: Port, message: &Message) {
        if let Some(out) = self.outlets.get_mut(usize::from(self.of[port as usize])) {
            let _ = out.outlet.push(message);
        }
        self.rooms = 0; // as it was counted there was more
    }

    /// Stages `body` for `port`, with the seq, time, flags and ingress stamp of the input.
    ///
    /// # Panics
    /// Where the handler sends more than the topology declares: only a bug can, and the seat takes it as one.
    #[inline]
    pub fn send<B: Body>(&mut self, port: Port, instrument: InstrumentId, body: B) {
        self.send_with(self.cause.flags, port, instrument, body);
    }

    /// As [`Outbox::send`] without the mark: for outputs that precede the evaluated one.
    ///
    /// # Panics
    /// As [`Outbox::send`].
    #[inline]
    pub fn send_unmarked<B: Body>(&mut self, port: Port, instrument: InstrumentId, body: B) {
        self.send_with(self.cause.flags & !Flags::MARK, port, instrument, body);
    }

    /// Written where its readers will find it: a copy of what was written a moment ago, in other pieces than it was written
    /// in, would wait until it is out of the processor's store buffer.
    #[inline]
    fn send_with<B: Body>(&mut self, flags: u8, port: Port, instrument: InstrumentId, body: B) {
        let header = Header { instrument: instrument.0, count: 0, bids: 0, flags, ..self.cause };
        let (place, hash) = self.reserve(port);
        *place = Message::new(header, body);
        mix_in(hash, place);
    }

    /// Stages a message as it is: a pass-through to later stages.
    ///
    /// # Panics
    /// As [`Outbox::send`].
    #[inline]
    pub fn forward(&mut self, port: Port, message: &Message) {
        let (place, hash) = self.reserve(port);
        *place = *message;
        mix_in(hash, message);
    }

    /// A place for the next message, and the hash it is to be mixed into. Compiled once: a copy in every actor's handler
    /// would not be in the processor's nearest instruction cache.
    #[inline(never)]
    fn reserve(&mut self, port: Port) -> (&mut Message, &mut RollingHash) {
        let at = self.length;
        if at >= self.spare.len() {
            too_many();
        }
        let outlet = self.of[port as usize];
        let (slot, place) = match self.outlets.get_mut(usize::from(outlet)) {
            Some(out) => {
                self.open |= 1 << (outlet & 7);
                out.outlet.reserve().unwrap_or_else(|| too_many())
            }
            None => {
                self.open |= SPARE;
                (at, &mut self.spare[at])
            }
        };
        if self.keeps {
            self.staged.push(Staged { port, outlet, slot: slot as u32 });
        }
        self.length = at + 1;
        (place, &mut self.hash)
    }

    #[inline]
    fn at(&self, staged: Staged) -> &Message {
        let slot = staged.slot as usize;
        let in_ring = self.outlets.get(usize::from(staged.outlet)).and_then(|out| out.outlet.staged(slot));
        in_ring.unwrap_or_else(|| &self.spare[slot])
    }

    /// What is staged, in order, where it is kept.
    #[inline]
    pub fn staged(&self) -> impl Iterator<Item = (Port, &Message)> {
        self.staged.iter().map(|staged| (staged.port, self.at(*staged)))
    }

    /// Most outputs of one input.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.spare.len()
    }

    /// Changes the lowest bit of the first staged body; false where nothing is staged, or where it was said already.
    pub fn flip_one_bit(&mut self) -> bool {
        let all: Vec<_> = self.staged().map(|(port, message)| (port, *message)).collect();
        if all.is_empty() || self.open == 0 {
            return false;
        }
        // Written once more, the first of them changed.
        self.take_back();
        for (i, (port, message)) in all.into_iter().enumerate() {
            let mut words = *message.words();
            words[0] ^= u64::from(i == 0);
            self.forward(port, &Message::from_words(message.header, words));
        }
        true
    }

    /// True where nothing is staged.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Compiled once, as [`Outbox::reserve`] is.
#[inline(never)]
fn mix_in(hash: &mut RollingHash, message: &Message) {
    hash.update(message);
}

#[cold]
fn too_many() -> ! {
    panic!("more outputs than the topology declares for one input")
}
