//! A seat owns an actor's rings, order of work, progress and hash; the actor owns only its state.
//!
//! A handler is atomic: before it the seat makes sure every outlet has room for the declared maximum, after it one
//! straight block sends the outputs and takes the input. A panic leaves nothing half sent, and the actor that
//! panicked is never used again: a member's seat stays and answers nothing from then on, any other ends the engine.

use std::any::Any;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Loader, Message, Saver, Seq, State, StateError};

use crate::absence::{AbsenceGate, Rejoin};
use crate::actor::{Actor, Outbox, Port, Work};
use crate::clock::Tsc;
use crate::counters::{Counter, Counters, Histogram};
use crate::credit::Frontier;
use crate::health::Health;
use crate::mend::Mend;
use crate::ring::{Inlet, Outlet};
use desk::{Ahead, Desk, Member, Special};
use stage::Stage;

/// Inputs between two checkpoints of a seat's output hash.
pub const CHECKPOINT_INTERVAL: Seq = 4096;
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

    /// The actor counts there from now on.
    fn attach(&mut self, _counters: &Counters) {}

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
    /// Messages handled. This and the next are said every 64 messages, when the seat rests, waits or ends.
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

/// For comparing two runs input by input: each input that caused outputs, and the hash after them.
pub type Tap = Arc<Mutex<Vec<(Seq, u64)>>>;

impl<A: Actor + 'static> Seat<A> {
    /// Seats `actor`. Inlet 0 is the primary stream; another one of [`Port::Alert`] or [`Port::Line`] is heard ahead of it, input
    /// by input; further inlets are joined at its marks.
    #[must_use]
    pub fn new(actor: A, mut ports: Ports, outputs_max: usize, meters: SeatMeters, tsc: Tsc) -> Self {
        debug_assert!(!ports.inlets.is_empty() && ports.inlets.len() <= JOINS_MAX + 1);
        let mut joined = Vec::new();
        joined.reserve_exact(JOINS_MAX);
        let primary = ports.inlets.remove(0);
        let is_ahead = |inlet: &PortInlet| matches!(inlet.port, Port::Alert | Port::Line);
        let ahead = ports.inlets.iter().position(is_ahead);
        let ahead = ahead.map(|at| Ahead { of: ports.inlets.remove(at), known: 0 });
        let desk = Desk {
            primary: primary.inlet,
            upstream: primary.writer,
            frontier: ports.frontier,
            inputs: 0,
            outputs: 0,
            next_checkpoint: CHECKPOINT_INTERVAL,
            at: 0,
            at_count: 0,
            said_at: 0,
            polls: 0,
            leaves: false,
            counts: false,
            is_special: false,
            is_member: false,
            has_sides: !ports.inlets.is_empty(),
            has_ahead: ahead.is_some(),
            has_ages: meters.mark_age.is_attached(),
            outbox: Outbox::with_outlets(outputs_max, ports.outlets),
            ahead,
            sides: ports.inlets.into(),
            member: None,
            joined,
            tsc,
            meters,
            special: Special::default(),
            name: ports.name,
            seat: ports.seat,
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
        self.desk.counts |= stop.is_some();
        self.specially(|special| special.stop = stop)
    }

    /// Notes the output hash after every input: for replays, not for live runs.
    #[must_use]
    pub fn with_tap(self, tap: Option<Tap>) -> Self {
        self.specially(|special| special.tap = tap)
    }

    /// A member: after a panic the line goes on without it, orders caused from there on wait at `gate`, and a new actor
    /// comes by `rejoin`.
    #[must_use]
    pub fn as_member(mut self, gate: Arc<AbsenceGate>, rejoin: Arc<Rejoin>) -> Self {
        self.desk.is_member = true;
        rejoin.make_place::<A>();
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
    pub fn with_watch(self, watch: Option<Watch>) -> Self {
        self.specially(|special| special.watch = watch)
    }

    /// Changes one bit of what the seat says at the first input from `flip` on: the control of those who compare.
    #[must_use]
    pub fn with_flip(self, flip: Option<Seq>) -> Self {
        self.specially(|special| special.flip = flip)
    }

    fn specially(mut self, ask: impl FnOnce(&mut Special)) -> Self {
        ask(&mut self.desk.special);
        let Special { tap, watch, flip, stop } = &self.desk.special;
        self.desk.is_special = tap.is_some() || watch.is_some() || flip.is_some() || stop.is_some();
        self.desk.outbox.keep(self.desk.is_special);
        self
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
        self.desk.count();
        self.desk.outbox.saved_hash().save(&mut out);
        self.desk.outputs.save(&mut out);
        self.desk.next_checkpoint.save(&mut out);
        self.desk.frontier.get().save(&mut out);
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
        self.desk.inputs = self.desk.meters.inputs.get();
        if let Some(actor) = &mut self.who.actor {
            actor.load(&mut from)?;
        }
        self.desk.frontier.advance(done);
        from.finish()
    }

    fn attach(&mut self, counters: &Counters) {
        if let Some(actor) = &mut self.who.actor {
            actor.attach(counters);
        }
    }

    fn take_actor(&mut self) -> Option<Box<dyn Any + Send>> {
        Some(Box::new(self.who.actor.take()))
    }

    fn poll(&mut self) -> Work {
        self.desk.poll(&mut self.who)
    }

    fn stop(&mut self) {
        self.desk.count();
    }

    fn name(&self) -> &str {
        &self.desk.name
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

mod desk;
mod member;
mod sitter;
mod stage;
#[cfg(test)]
mod tests;
