//! Faults put in on purpose, where an engine was started for it: an allocation under the seal, a seat that panics, a seat
//! that does not come back for a while, a message that nobody survives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kimera_protocol::{Loader, Saver, Seq, State, StateError};
use kimera_runtime::seat::Cell;
use kimera_runtime::topology::Topology;
use kimera_runtime::{Actor, Agent, Counters, Input, Outbox, Ports, Work, clock};

use crate::line;

/// Poll with work at which the canary allocates.
const CANARY_POLL: u64 = 50;

/// A seat that allocates once, after some work under the seal.
pub struct Canary {
    inner: Box<dyn Cell>,
    worked: u64,
}

impl Canary {
    /// Puts the canary into the market stage.
    pub fn wrap(inner: Box<dyn Cell>) -> Box<dyn Cell> {
        if inner.name() == line::MARKET { Box::new(Self { inner, worked: 0 }) } else { inner }
    }
}

impl Cell for Canary {
    fn poll(&mut self) -> Work {
        let work = self.inner.poll();
        self.worked += u64::from(work == Work::Done);
        if work == Work::Done && self.worked == CANARY_POLL {
            kimera_runtime::memory::canary();
        }
        work
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

/// What is asked of one seat.
#[derive(Debug)]
pub struct SeatFaults {
    /// It panics at its next input (an agent: in its next duty cycle), once.
    pub panics: AtomicBool,
    /// Milliseconds for which it does not come back, once.
    pub hold_ms: AtomicU64,
    /// The first input from this one on is one on which it panics whenever it meets it.
    pub poison: AtomicU64,
    /// That input, once it is known.
    poisonous: AtomicU64,
}

impl SeatFaults {
    fn is_poisonous(&self, seq: Seq) -> bool {
        if seq < self.poison.load(Ordering::Acquire) {
            return false;
        }
        let first = self.poisonous.compare_exchange(0, seq, Ordering::AcqRel, Ordering::Acquire);
        first.is_ok() || first == Err(seq)
    }
}

/// What may be asked for where an engine was started for it, seat by seat.
#[derive(Clone, Debug)]
pub struct Faults(Arc<BTreeMap<String, Arc<SeatFaults>>>);

impl Faults {
    /// Nothing is asked of anybody yet.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let calm = || SeatFaults {
            panics: AtomicBool::new(false),
            hold_ms: AtomicU64::new(0),
            poison: AtomicU64::new(Seq::MAX),
            poisonous: AtomicU64::new(0),
        };
        let seats = topology.seats.iter().filter(|s| s.is_placed());
        Self(Arc::new(seats.map(|s| (s.name.clone(), Arc::new(calm()))).collect()))
    }

    /// What is asked of a seat.
    #[must_use]
    pub fn seat(&self, name: &str) -> Option<&Arc<SeatFaults>> {
        self.0.get(name)
    }

    /// Names of the seats.
    pub fn seats(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// An actor that panics when it is told to.
pub struct Faulty<A> {
    inner: A,
    faults: Option<Arc<SeatFaults>>,
}

impl<A> Faulty<A> {
    /// Puts the faults of its seat into an actor.
    #[must_use]
    pub fn new(inner: A, seat: &str, faults: &Faults) -> Self {
        Self { inner, faults: faults.seat(seat).cloned() }
    }
}

impl<A: State> State for Faulty<A> {
    fn save(&self, out: &mut Saver) {
        self.inner.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        self.inner.load(from)
    }
}

impl<A: Actor> Actor for Faulty<A> {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        if let Some(faults) = &self.faults {
            let seq = input.message.header.seq;
            assert!(!faults.panics.swap(false, Ordering::AcqRel), "a fault put in on purpose");
            assert!(!faults.is_poisonous(seq), "a poisonous input, on purpose");
        }
        self.inner.handle(input, out);
    }

    fn digest(&self) -> u64 {
        self.inner.digest()
    }

    fn attach(&mut self, counters: &Counters) {
        self.inner.attach(counters);
    }
}

/// An agent that panics when it is told to.
pub struct FaultyAgent<A> {
    inner: A,
    faults: Option<Arc<SeatFaults>>,
}

impl<A> FaultyAgent<A> {
    /// Puts the faults of its seat into an agent, where faults are allowed.
    #[must_use]
    pub fn new(inner: A, seat: &str, faults: Option<&Faults>) -> Self {
        Self { inner, faults: faults.and_then(|faults| faults.seat(seat)).cloned() }
    }
}

impl<A: Agent> Agent for FaultyAgent<A> {
    fn duty_cycle(&mut self, ports: &mut Ports) -> Work {
        let panics = self.faults.as_ref().is_some_and(|faults| faults.panics.swap(false, Ordering::AcqRel));
        assert!(!panics, "a fault put in on purpose");
        self.inner.duty_cycle(ports)
    }

    fn stop(&mut self, ports: &mut Ports) {
        self.inner.stop(ports);
    }

    fn leave(&mut self, ports: &mut Ports) {
        self.inner.leave(ports);
    }
}

/// A seat that is held when it is told to: everything on its thread stands still. One with an agent also panics here.
pub struct Held {
    inner: Box<dyn Cell>,
    agent: bool,
    faults: Option<Arc<SeatFaults>>,
}

impl Held {
    /// Puts the faults of its seat into a cell; `agent` where nobody else makes it panic.
    #[must_use]
    pub fn wrap(inner: Box<dyn Cell>, agent: bool, faults: &Faults) -> Box<dyn Cell> {
        let faults = faults.seat(inner.name()).cloned();
        Box::new(Self { inner, agent, faults })
    }
}

impl Cell for Held {
    fn poll(&mut self) -> Work {
        if let Some(faults) = &self.faults {
            let ms = faults.hold_ms.load(Ordering::Acquire);
            if ms > 0 {
                faults.hold_ms.store(0, Ordering::Release);
                clock::sleep(Duration::from_millis(ms));
            }
            let panics = self.agent && faults.panics.swap(false, Ordering::AcqRel);
            assert!(!panics, "a fault put in on purpose");
        }
        self.inner.poll()
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_sealed(&self) -> bool {
        self.inner.is_sealed()
    }
}
