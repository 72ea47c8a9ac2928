//! A seat owns an actor's rings, order of work, progress and hash; the actor owns only its state.
//!
//! A handler is atomic: before it the seat makes sure every outlet has room for the declared maximum, after it one
//! straight block sends the outputs and takes the input. A panic leaves nothing half sent, and the actor that
//! panicked is never used again: a member's seat stays and answers nothing from then on, any other ends the engine.

use std::any::Any;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{
    Checkpoint, Header, Kind, Loader, Message, RollingHash, Saver, Seq, State, StateError,
};

use crate::absence::{AbsenceGate, Rejoin};
use crate::actor::{Actor, Input, Outbox, Port, Work};
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
pub struct Seat<A> {
    actor: Option<A>,
    ports: Ports,
    outbox: Outbox,
    joined: Vec<Message>,
    hash: RollingHash,
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
    /// Set where the line waits for another actor after a panic.
    stage: Option<Stage<A>>,
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
    pub fn new(actor: A, ports: Ports, outputs_max: usize, meters: SeatMeters, tsc: Tsc) -> Self {
        debug_assert!(!ports.inlets.is_empty() && ports.inlets.len() <= JOINS_MAX + 1);
        let mut joined = Vec::new();
        joined.reserve_exact(JOINS_MAX);
        Self {
            actor: Some(actor),
            ports,
            outbox: Outbox::new(outputs_max),
            joined,
            hash: RollingHash::default(),
            outputs: 0,
            next_checkpoint: CHECKPOINT_INTERVAL,
            meters,
            tsc,
            samples: 0,
            tap: None,
            watch: None,
            flip: None,
            member: None,
            stage: None,
            counts: false,
            at: (0, 0),
            stop: None,
        }
    }

    /// A stage: after a panic the message waits until `spare` has the state that the actor had before it.
    #[must_use]
    pub fn as_stage(mut self, spare: A, mend: Arc<Mend>, health: Arc<Health>) -> Self {
        self.stage = Some(Stage { spare: Some(spare), mend, health });
        self.counts = true;
        self
    }

    /// Takes nothing from the message on that comes behind so many about an input: for whoever wants the state before it.
    #[must_use]
    pub fn with_stop(mut self, stop: Option<(Seq, u64)>) -> Self {
        self.stop = stop;
        self.counts |= stop.is_some();
        self
    }

    /// True where a message is not to be taken: nobody sits there yet, or it is the one to stop before.
    fn holds_before(&self, message: &Message) -> bool {
        let seq = message.header.seq;
        let stops = self.stop.is_some_and(|(at, n)| seq > at || (seq == at && self.handled_of(seq) >= n));
        stops || (self.actor.is_none() && self.stage.is_some())
    }

    /// Notes the output hash after every input: for replays, not for live runs.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap;
        self
    }

    /// A member: after a panic the line goes on without it, orders caused from there on wait at `gate`, and a new actor
    /// comes by `rejoin`.
    #[must_use]
    pub fn as_member(mut self, gate: Arc<AbsenceGate>, rejoin: Arc<Rejoin>) -> Self {
        self.member = Some(Member { gate, rejoin, kept: None, deaths: None, health: Arc::default() });
        self
    }

    /// Notes the input on which a member's actor dies first.
    #[must_use]
    pub fn with_deaths(mut self, deaths: Option<Arc<AtomicU64>>) -> Self {
        if let Some(member) = &mut self.member {
            member.deaths = deaths;
        }
        self
    }

    /// Says how a member is.
    #[must_use]
    pub fn with_health(mut self, health: Option<Arc<Health>>) -> Self {
        if let (Some(member), Some(health)) = (&mut self.member, health) {
            member.health = health;
        }
        self
    }

    /// Keeps everything that is said about one input: for explanations, not for live runs.
    #[must_use]
    pub fn with_watch(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch;
        self
    }

    /// Changes one bit of what the seat says at the first input from `flip` on: the control of those who compare.
    #[must_use]
    pub fn with_flip(mut self, flip: Option<Seq>) -> Self {
        self.flip = flip;
        self
    }

    /// One bit of the first output; of the state, where the seat says nothing.
    #[cold]
    fn flip_one_bit(&mut self, seq: Seq) {
        if self.flip.is_none_or(|from| seq < from) || (self.outbox.is_empty() && self.outbox.limit() > 0) {
            return;
        }
        self.flip = None;
        if !self.outbox.flip_one_bit() {
            self.hash.update_word(1);
        }
    }

    /// Collects the joined inlets' votes for `seq`; false while one is still to come.
    fn join(&mut self, seq: Seq) -> bool {
        self.joined.clear();
        for side in &self.ports.inlets[1..] {
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
        for side in &mut self.ports.inlets[1..] {
            if side.inlet.peek().is_some_and(|vote| vote.header.seq == seq) {
                side.inlet.advance();
            }
        }
    }

    /// Runs the handler. A member that panics is dropped, and says from which
    /// input on before anyone can go on without it.
    #[inline]
    fn handle(&mut self, message: &Message, joins: bool) -> Handled {
        let seq = message.header.seq;
        self.outbox.begin(message);
        if self.member.is_none() {
            if self.ports.frontier.absences().is_skipped(seq) {
                // It does not survive this one; who comes after it has to hear of a fill or a halt all the same.
                if message.kind().is_some_and(Kind::is_for_every_stage) {
                    self.outbox.forward(Port::Line, message);
                }
                return Handled::Nobody;
            }
            if self.stage.is_some() {
                return self.handle_as_stage(message, joins);
            }
            let Some(actor) = self.actor.as_mut() else { return Handled::Nobody };
            let input = Input { message, joined: if joins { &self.joined } else { &[] } };
            let note = DeathNote { frontier: &self.ports.frontier, seq };
            actor.handle(input, &mut self.outbox);
            std::mem::forget(note);
            return Handled::Yes;
        }
        if self.ports.frontier.absences().contains(seq) {
            self.be_out(message);
            return Handled::Nobody;
        }
        let leaves = self.member.as_ref().is_some_and(|member| member.rejoin.must_leave());
        if leaves {
            self.actor = None; // in order, and once in a while: it is taken apart here
        } else if self.survives(message) {
            return Handled::Yes;
        }
        if let Some(member) = &self.member {
            member.gate.begin(seq);
        }
        self.ports.frontier.absences().begin(seq);
        Handled::Nobody
    }

    /// Sends what is staged. Room was made sure of, so nothing here can fail.
    #[inline]
    fn commit(&mut self) {
        for (port, message) in self.outbox.staged() {
            self.hash.update(message);
            self.outputs += 1;
            for out in &mut self.ports.outlets {
                if out.port == port {
                    let sent = out.outlet.push(message);
                    debug_assert!(sent, "room was reserved");
                }
            }
        }
    }

    /// The state's digest; 0 where the seat is out.
    fn digest_before(&self, boundary: Seq) -> u64 {
        let out = self.ports.frontier.absences().contains(boundary.saturating_sub(1));
        self.actor.as_ref().filter(|_| !out).map_or(0, Actor::digest)
    }

    /// Publishes the output hash for everything caused by inputs below `boundary`.
    #[cold]
    fn checkpoint(&mut self, boundary: Seq, time: i64) {
        let body = Checkpoint {
            seat: u64::from(self.ports.seat),
            boundary,
            outputs_hash: self.hash.value(),
            outputs: self.outputs,
            state_digest: self.digest_before(boundary),
            reserved: [0; 7],
        };
        let message = Message::new(Header { seq: boundary, time, ..Header::default() }, body);
        self.ports.send(Port::Record, &message);
        self.next_checkpoint = boundary - boundary % CHECKPOINT_INTERVAL + CHECKPOINT_INTERVAL;
    }

    /// Handles the message at the head of the primary inlet, if everything it needs is there.
    #[inline]
    fn step(&mut self) -> Work {
        let Some(&message) = self.ports.inlets[0].inlet.peek() else { return Work::Idle };
        if self.counts && self.holds_before(&message) {
            return self.take_the_seat();
        }
        if !self.ports.have_room() {
            self.meters.blocked.add(1);
            return Work::Blocked;
        }
        let seq = message.header.seq;
        let joins =
            self.ports.inlets.len() > 1 && message.is_mark() && message.kind() == Some(Kind::Features);
        if joins && !self.join(seq) {
            return Work::Blocked;
        }
        if seq >= self.next_checkpoint {
            self.checkpoint(seq - seq % CHECKPOINT_INTERVAL, message.header.time);
            // The record outlet took one message: make sure of its room again before the handler runs.
            return Work::Done;
        }
        self.samples = self.samples.wrapping_add(1);
        let sampled = self.samples.is_multiple_of(SAMPLE);
        let watched = self.watch.as_ref().is_some_and(|watch| watch.seq == seq);
        let start = if sampled || watched { Tsc::now() } else { 0 };
        let handled = self.handle(&message, joins);
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
            tap.lock().unwrap_or_else(PoisonError::into_inner).push((seq, self.hash.value()));
        }
        if let Some(watch) = self.watch.as_ref().filter(|_| watched) {
            watch.note(&self.ports.name, &self.outbox, Tsc::now().saturating_sub(start));
        }
        self.ports.inlets[0].inlet.advance();
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
        if self.meters.mark_age.is_attached() && message.is_mark() && message.header.ingress != 0 {
            self.meters.mark_age.record(self.tsc.to_ns(Tsc::now().saturating_sub(message.header.ingress)));
        }
        if message.is_stop() {
            self.checkpoint(seq + 1, message.header.time);
        }
        Work::Done
    }
}

impl<A: Actor + 'static> Cell for Seat<A> {
    fn actor(&self) -> Option<&dyn Any> {
        self.actor.as_ref().map(|actor| actor as &dyn Any)
    }

    fn save_actor(&self) -> Option<Vec<u8>> {
        self.actor.as_ref().map(Saver::of)
    }

    fn save(&self) -> Option<Vec<u8>> {
        let mut out = Saver::default();
        self.hash.save(&mut out);
        self.outputs.save(&mut out);
        self.next_checkpoint.save(&mut out);
        self.ports.frontier.get().save(&mut out);
        self.meters.save(&mut out);
        self.actor.as_ref()?.save(&mut out);
        Some(out.into_bytes())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), StateError> {
        let mut from = Loader::new(state);
        let mut done: Seq = 0;
        self.hash.load(&mut from)?;
        self.outputs.load(&mut from)?;
        self.next_checkpoint.load(&mut from)?;
        done.load(&mut from)?;
        self.meters.load(&mut from)?;
        if let Some(actor) = &mut self.actor {
            actor.load(&mut from)?;
        }
        self.ports.frontier.advance(done);
        from.finish()
    }

    fn take_actor(&mut self) -> Option<Box<dyn Any + Send>> {
        Some(Box::new(self.actor.take()))
    }

    fn poll(&mut self) -> Work {
        let mut result = Work::Idle;
        let mut handled = 0;
        let outputs_before = self.outputs;
        // Read before the inlet: whatever the writer did up to here is then visible in the ring.
        let upstream = self.ports.inlets[0].writer.get();
        for _ in 0..BATCH {
            match self.step() {
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

    fn name(&self) -> &str {
        &self.ports.name
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

mod member;
mod stage;
#[cfg(test)]
mod tests;
