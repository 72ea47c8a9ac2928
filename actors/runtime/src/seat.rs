//! A seat owns an actor's rings, order of work, progress and hash; the actor owns only its state.
//!
//! A handler is atomic: before it the seat makes sure every outlet has room for the declared maximum, after it one
//! straight block sends the outputs and takes the input. A panic leaves nothing half sent, and the actor that
//! panicked is never used again: a member's seat stays and answers nothing from then on, any other ends the engine.

use std::any::Any;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Checkpoint, Header, Kind, Loader, Message, Saver, Seq, State, StateError};

use crate::absence::{AbsenceGate, Rejoin};
use crate::actor::{Actor, Outbox, Port, Work};
use crate::clock::Tsc;
use crate::counters::{Counter, Histogram};
use crate::credit::Frontier;
use crate::health::Health;
use crate::mend::Mend;
use crate::ring::{Inlet, Outlet};
use stage::Stage;

/// Inputs between two checkpoints of a seat's output hash.
pub const CHECKPOINT_INTERVAL: Seq = 4096;
/// Messages a seat handles before the next seat has its turn.
const BATCH: usize = 64;
/// One handler call in this many is timed.
const SAMPLE: u32 = 64;
/// Votes one mark can join.
pub const JOINS_MAX: usize = 16;

/// Something a core thread or the deterministic executor polls.
pub trait Cell: Send {
    /// Does a bounded amount of work.
    fn poll(&mut self) -> Work;

    /// Called once when the executor stops.
    fn stop(&mut self) {}

    /// The seat's name in the topology.
    fn name(&self) -> &str;

    /// True for cells whose polls must not allocate.
    fn is_sealed(&self) -> bool;

    /// The actor, as an `Option` of its type: for another seat of its kind. None where there is none.
    fn take_actor(&mut self) -> Option<Box<dyn Any + Send>> {
        None
    }

    /// The actor, to be looked at between two inputs.
    fn actor(&self) -> Option<&dyn Any> {
        None
    }

    /// The actor's state as bytes. None for agents, and where nobody sits.
    fn save_actor(&self) -> Option<Vec<u8>> {
        None
    }

    /// Actor, output hash and progress as bytes, between two inputs. None for agents, and where nobody sits.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }

    /// Puts what was saved in their place.
    ///
    /// # Errors
    /// Bytes that are no state of this seat. It is not to be polled then.
    fn load(&mut self, _state: &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

/// The outlet of a port, with what the topology says of it: every edge of the port reads it.
pub struct PortOutlet {
    /// The actor's port.
    pub port: Port,
    /// Most messages one input may send here.
    pub per_input: usize,
    /// The ring.
    pub outlet: Outlet,
}

/// A seat's ends of its edges, lent to whoever sits there.
pub struct Ports {
    /// Name in the topology.
    pub name: String,
    /// Index in the topology.
    pub seat: u16,
    /// Inlets with the writer's frontier, in the topology's order.
    pub inlets: Vec<PortInlet>,
    /// Outlets, one a port, in the topology's order.
    pub outlets: Vec<PortOutlet>,
    /// Own progress.
    pub frontier: Arc<Frontier>,
}

/// An inlet and who writes to it.
pub struct PortInlet {
    /// Name of the writing seat.
    pub from: String,
    /// The port of the writer that feeds it.
    pub port: Port,
    /// The ring.
    pub inlet: Inlet,
    /// Progress of the writer.
    pub writer: Arc<Frontier>,
}

impl Ports {
    /// True where every outlet can take the most one input may send.
    #[inline]
    #[must_use]
    pub fn have_room(&mut self) -> bool {
        self.outlets.iter_mut().all(|o| o.outlet.has_room(o.per_input))
    }

    /// Sends one message by `port`, to everyone who reads it; false where the ring was full (an agent's matter, never a
    /// seat's).
    #[inline]
    pub fn send(&mut self, port: Port, message: &Message) -> bool {
        let mut all = true;
        for out in self.outlets.iter_mut().filter(|o| o.port == port) {
            all &= out.outlet.push(message);
        }
        all
    }
}

/// What a seat measures about itself; every field may be a detached counter.
#[derive(Clone, Default)]
pub struct SeatMeters {
    /// Inputs handled.
    pub inputs: Counter,
    /// Outputs sent.
    pub outputs: Counter,
    /// Polls that found an outlet without room. Behind the door this stays 0.
    pub blocked: Counter,
    /// Sampled handler time, ns.
    pub residence: Histogram,
    /// Age of a mark when its outputs are sent: ingress to here, ns.
    pub mark_age: Histogram,
}

kimera_protocol::state!(SeatMeters { inputs, outputs, blocked } fixed { residence, mark_age });

/// Everything that seats say about one input, and how long they take for it.
#[derive(Clone, Default)]
pub struct Watch {
    /// The input.
    pub seq: Seq,
    /// What was said, by seat.
    pub said: Arc<Mutex<Vec<(String, Message)>>>,
    /// How long each message about it took, in ticks of the time-stamp counter, by seat.
    pub took: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Watch {
    /// Watches an input.
    #[must_use]
    pub fn new(seq: Seq) -> Self {
        Self { seq, ..Self::default() }
    }

    #[cold]
    fn note(&self, seat: &str, outbox: &Outbox, ticks: u64) {
        let said = outbox.staged().map(|(_, m)| (seat.to_owned(), *m));
        self.said.lock().unwrap_or_else(PoisonError::into_inner).extend(said);
        self.took.lock().unwrap_or_else(PoisonError::into_inner).push((seat.to_owned(), ticks));
    }
}

/// A seat with a deterministic actor.
///
/// What is the same for every seat is in [`Desk`] and compiled once: the line's code has to fit the processor's nearest
/// instruction cache, which a copy for each actor's type would fill several times over.
pub struct Seat<A> {
    who: Who<A>,
    desk: Desk,
}

/// Who sits there.
struct Who<A> {
    actor: Option<A>,
    /// Set where the line waits for another actor after a panic.
    stage: Option<Stage<A>>,
}

/// What a panic leaves.
type Panic = Box<dyn Any + Send>;

/// Who sits there, whatever its type.
trait Sitter {
    /// The actor's handler, for which what it causes is staged; what it said where it panicked. Nothing where nobody is there.
    fn act(&mut self, message: &Message, joined: &[Message], outbox: &mut Outbox) -> Result<(), Panic>;

    /// The actor has panicked.
    fn fall(&mut self, desk: &mut Desk, message: &Message, panic: Panic) -> Handled;

    /// A message for a member that is out.
    fn be_out(&mut self, desk: &mut Desk, message: &Message);

    /// A member goes, as it was told to.
    fn leave(&mut self);

    /// Somebody sits there.
    fn is_there(&self) -> bool;

    /// Somebody else takes the seat, once his state is there.
    fn take_the_seat(&mut self, desk: &mut Desk) -> Work;

    /// Nobody sits there yet, and somebody is to.
    fn is_awaited(&self) -> bool;

    /// The state's digest; 0 where nobody sits there.
    fn digest(&self) -> u64;
}

/// Everything of a seat but its actor.
struct Desk {
    /// The seat's name, number and frontier; its ends are below.
    ports: Ports,
    primary: PortInlet,
    /// Joined at the primary's marks.
    sides: Box<[PortInlet]>,
    outbox: Outbox,
    joined: Vec<Message>,
    outputs: u64,
    next_checkpoint: Seq,
    meters: SeatMeters,
    tsc: Tsc,
    samples: u32,
    tap: Option<Tap>,
    watch: Option<Watch>,
    flip: Option<Seq>,
    /// Set where the line goes on without this seat after a panic.
    member: Option<Member>,
    /// Messages about one input are counted.
    counts: bool,
    at: (Seq, u64),
    /// Nothing is taken from this message of this input on.
    stop: Option<(Seq, u64)>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// The actor has handled it.
    Yes,
    /// There is nobody, or nobody is to: it is passed over.
    Nobody,
    /// It is still to be handled.
    Held,
}

/// What a seat needs that can be out.
struct Member {
    gate: Arc<AbsenceGate>,
    rejoin: Arc<Rejoin>,
    /// What has arrived for the actor that is to come.
    kept: Option<Vec<Message>>,
    /// Where the first death is noted.
    deaths: Option<Arc<AtomicU64>>,
    health: Arc<Health>,
}

/// Left behind where a handler does not come back: which input it was.
struct DeathNote<'a> {
    frontier: &'a Frontier,
    seq: Seq,
}

impl Drop for DeathNote<'_> {
    fn drop(&mut self) {
        self.frontier.note_death(self.seq);
    }
}

/// For comparing two runs input by input: each input that caused outputs, and the hash after them.
pub type Tap = Arc<Mutex<Vec<(Seq, u64)>>>;

impl<A: Actor + 'static> Seat<A> {
    /// Seats `actor`. Inlet 0 is the primary stream; further inlets are joined at its marks.
    #[must_use]
    pub fn new(actor: A, mut ports: Ports, outputs_max: usize, meters: SeatMeters, tsc: Tsc) -> Self {
        debug_assert!(!ports.inlets.is_empty() && ports.inlets.len() <= JOINS_MAX + 1);
        let mut joined = Vec::new();
        joined.reserve_exact(JOINS_MAX);
        let outlets = std::mem::take(&mut ports.outlets);
        let primary = ports.inlets.remove(0);
        let sides = std::mem::take(&mut ports.inlets).into();
        let desk = Desk {
            ports,
            primary,
            sides,
            outbox: Outbox::with_outlets(outputs_max, outlets),
            joined,
            outputs: 0,
            next_checkpoint: CHECKPOINT_INTERVAL,
            meters,
            tsc,
            samples: 0,
            tap: None,
            watch: None,
            flip: None,
            member: None,
            counts: false,
            at: (0, 0),
            stop: None,
        };
        Self { who: Who { actor: Some(actor), stage: None }, desk }
    }

    /// A stage: after a panic the message waits until `spare` has the state that the actor had before it.
    #[must_use]
    pub fn as_stage(mut self, spare: A, mend: Arc<Mend>, health: Arc<Health>) -> Self {
        self.who.stage = Some(Stage { spare: Some(spare), mend, health });
        self.desk.counts = true;
        self
    }

    /// Takes nothing from the message on that comes behind so many about an input: for whoever wants the state before it.
    #[must_use]
    pub fn with_stop(mut self, stop: Option<(Seq, u64)>) -> Self {
        self.desk.stop = stop;
        self.desk.counts |= stop.is_some();
        self
    }

    /// Notes the output hash after every input: for replays, not for live runs.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.desk.tap = tap;
        self
    }

    /// A member: after a panic the line goes on without it, orders caused from there on wait at `gate`, and a new actor
    /// comes by `rejoin`.
    #[must_use]
    pub fn as_member(mut self, gate: Arc<AbsenceGate>, rejoin: Arc<Rejoin>) -> Self {
        self.desk.member = Some(Member { gate, rejoin, kept: None, deaths: None, health: Arc::default() });
        self
    }

    /// Notes the input on which a member's actor dies first.
    #[must_use]
    pub fn with_deaths(mut self, deaths: Option<Arc<AtomicU64>>) -> Self {
        if let Some(member) = &mut self.desk.member {
            member.deaths = deaths;
        }
        self
    }

    /// Says how a member is.
    #[must_use]
    pub fn with_health(mut self, health: Option<Arc<Health>>) -> Self {
        if let (Some(member), Some(health)) = (&mut self.desk.member, health) {
            member.health = health;
        }
        self
    }

    /// Keeps everything that is said about one input: for explanations, not for live runs.
    #[must_use]
    pub fn with_watch(mut self, watch: Option<Watch>) -> Self {
        self.desk.watch = watch;
        self
    }

    /// Changes one bit of what the seat says at the first input from `flip` on: the control of those who compare.
    #[must_use]
    pub fn with_flip(mut self, flip: Option<Seq>) -> Self {
        self.desk.flip = flip;
        self
    }
}

impl Desk {
    /// One bit of the first output; of the state, where the seat says nothing.
    #[cold]
    fn flip_one_bit(&mut self, seq: Seq) {
        if self.flip.is_none_or(|from| seq < from) || (self.outbox.is_empty() && self.outbox.limit() > 0) {
            return;
        }
        self.flip = None;
        if !self.outbox.flip_one_bit() {
            self.outbox.hash().update_word(1);
        }
    }

    /// Collects the joined inlets' votes for `seq`; false while one is still to come.
    fn join(&mut self, seq: Seq) -> bool {
        self.joined.clear();
        for side in &self.sides {
            match side.inlet.peek() {
                Some(vote) if vote.header.seq == seq => self.joined.push(*vote),
                // Nobody waits for who is not there; who is back may have gone on already.
                _ if side.writer.absences().contains(seq) => {}
                _ => return false,
            }
        }
        true
    }

    /// Takes the votes that were joined.
    #[inline]
    fn take_joined(&mut self, seq: Seq) {
        for side in &mut self.sides {
            if side.inlet.peek().is_some_and(|vote| vote.header.seq == seq) {
                side.inlet.advance();
            }
        }
    }

    /// Sends what is staged. Room was made sure of, so nothing here can fail.
    #[inline]
    fn commit(&mut self) {
        self.outputs += self.outbox.length() as u64;
        self.outbox.say();
    }

    /// True where a message is not to be taken: nobody sits there yet, or it is the one to stop before.
    fn holds_before(&self, message: &Message, who: &dyn Sitter) -> bool {
        let seq = message.header.seq;
        let stops = self.stop.is_some_and(|(at, n)| seq > at || (seq == at && self.handled_of(seq) >= n));
        stops || who.is_awaited()
    }

    /// Messages about an input that were handled so far.
    fn handled_of(&self, seq: Seq) -> u64 {
        if self.at.0 == seq { self.at.1 } else { 0 }
    }

    /// The state's digest; 0 where the seat is out.
    fn digest_before(&self, boundary: Seq, who: &dyn Sitter) -> u64 {
        let out = self.ports.frontier.absences().contains(boundary.saturating_sub(1));
        if out { 0 } else { who.digest() }
    }

    /// Publishes the output hash for everything caused by inputs below `boundary`.
    #[cold]
    fn checkpoint(&mut self, boundary: Seq, time: i64, who: &dyn Sitter) {
        let body = Checkpoint {
            seat: u64::from(self.ports.seat),
            boundary,
            outputs_hash: self.outbox.hash().value(),
            outputs: self.outputs,
            state_digest: self.digest_before(boundary, who),
            reserved: [0; 7],
        };
        let message = Message::new(Header { seq: boundary, time, ..Header::default() }, body);
        self.outbox.push(Port::Record, &message);
        self.next_checkpoint = boundary - boundary % CHECKPOINT_INTERVAL + CHECKPOINT_INTERVAL;
    }

    /// Handles the message at the head of the primary inlet, if everything it needs is there.
    fn step(&mut self, who: &mut dyn Sitter) -> Work {
        let Some(message) = self.primary.inlet.peek() else { return Work::Idle };
        // SAFETY: nobody writes to the message's slot before it is let go, which happens below, behind its last use; and the
        // ring lives at least as long as the seat that is borrowed here.
        let message: &Message = unsafe { &*std::ptr::from_ref(message) };
        if self.counts && self.holds_before(message, who) {
            return who.take_the_seat(self);
        }
        if !self.outbox.have_room() {
            self.meters.blocked.add(1);
            return Work::Blocked;
        }
        let seq = message.header.seq;
        let joins =
            !self.sides.is_empty() && message.is_mark() && message.header.kind == Kind::Features as u8;
        if joins && !self.join(seq) {
            return Work::Blocked;
        }
        if seq >= self.next_checkpoint {
            self.checkpoint(seq - seq % CHECKPOINT_INTERVAL, message.header.time, who);
            // The record outlet took one message: make sure of its room again before the handler runs.
            return Work::Done;
        }
        self.samples = self.samples.wrapping_add(1);
        let sampled = self.samples.is_multiple_of(SAMPLE);
        let watched = self.watch.as_ref().is_some_and(|watch| watch.seq == seq);
        let start = if sampled || watched { Tsc::now() } else { 0 };
        let handled = self.handle(who, message, joins);
        if handled == Handled::Held {
            return Work::Blocked; // as if it had not been looked at
        }
        if handled == Handled::Yes && self.flip.is_some() {
            self.flip_one_bit(seq);
        }
        self.commit();
        if let Some(tap) = &self.tap
            && !self.outbox.is_empty()
        {
            tap.lock().unwrap_or_else(PoisonError::into_inner).push((seq, self.outbox.hash().value()));
        }
        if let Some(watch) = self.watch.as_ref().filter(|_| watched) {
            watch.note(&self.ports.name, &self.outbox, Tsc::now().saturating_sub(start));
        }
        let (marked, ingress, time) = (message.is_mark(), message.header.ingress, message.header.time);
        let stops = message.is_stop();
        self.primary.inlet.advance(); // from here on the message is not ours any more
        if joins {
            self.take_joined(seq);
        }
        if self.counts {
            self.at = (seq, self.handled_of(seq) + 1);
        }
        self.ports.frontier.advance(seq.saturating_sub(1));
        if sampled {
            self.meters.residence.record(self.tsc.to_ns(Tsc::now().saturating_sub(start)));
        }
        if marked && ingress != 0 && self.meters.mark_age.is_attached() {
            self.meters.mark_age.record(self.tsc.to_ns(Tsc::now().saturating_sub(ingress)));
        }
        if stops {
            self.checkpoint(seq + 1, time, who);
        }
        Work::Done
    }

    /// Has what waits handled, a bounded number of messages.
    fn poll(&mut self, who: &mut dyn Sitter) -> Work {
        let mut result = Work::Idle;
        let mut handled = 0;
        let outputs_before = self.outputs;
        // Read before the inlet: whatever the writer did up to here is then visible in the ring.
        let upstream = self.primary.writer.get();
        for _ in 0..BATCH {
            match self.step(who) {
                Work::Done => {
                    handled += 1;
                    result = Work::Done;
                }
                Work::Idle => {
                    self.ports.frontier.advance(upstream);
                    break;
                }
                Work::Blocked => {
                    result = if handled > 0 { Work::Done } else { Work::Blocked };
                    break;
                }
            }
        }
        if handled > 0 {
            self.meters.inputs.add(handled);
            self.meters.outputs.add(self.outputs - outputs_before);
        }
        result
    }
}

impl<A: Actor + 'static> Cell for Seat<A> {
    fn actor(&self) -> Option<&dyn Any> {
        self.who.actor.as_ref().map(|actor| actor as &dyn Any)
    }

    fn save_actor(&self) -> Option<Vec<u8>> {
        self.who.actor.as_ref().map(Saver::of)
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut out = Saver::default();
        self.desk.outbox.saved_hash().save(&mut out);
        self.desk.outputs.save(&mut out);
        self.desk.next_checkpoint.save(&mut out);
        self.desk.ports.frontier.get().save(&mut out);
        self.desk.meters.save(&mut out);
        self.who.actor.as_ref()?.save(&mut out);
        Some(out.into_bytes())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), StateError> {
        let mut from = Loader::new(state);
        let mut done: Seq = 0;
        self.desk.outbox.hash().load(&mut from)?;
        self.desk.outputs.load(&mut from)?;
        self.desk.next_checkpoint.load(&mut from)?;
        done.load(&mut from)?;
        self.desk.meters.load(&mut from)?;
        if let Some(actor) = &mut self.who.actor {
            actor.load(&mut from)?;
        }
        self.desk.ports.frontier.advance(done);
        from.finish()
    }

    fn take_actor(&mut self) -> Option<Box<dyn Any + Send>> {
        Some(Box::new(self.who.actor.take()))
    }

    fn poll(&mut self) -> Work {
        self.desk.poll(&mut self.who)
    }

    fn name(&self) -> &str {
        &self.desk.ports.name
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

mod member;
mod sitter;
mod stage;
#[cfg(test)]
mod tests;
