//! A seat with an agent: somebody who touches the outside. Where its state comes from outside anyway, one that falls is made
//! anew in its place.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use kimera_protocol::ErrorKind;

use crate::actor::{Agent, Work};
use crate::clock::monotonic_ns;
use crate::errors;
use crate::executor::said;
use crate::health::{Health, SeatState, Wish};
use crate::seat::{Cell, Ports};
use crate::world::{self, Killed};

/// How an agent is made anew.
pub struct Remake<A> {
    /// Makes one.
    pub make: Box<dyn FnMut() -> A + Send>,
    /// So many falls …
    pub most: usize,
    /// … in this while: more, and the seat falls with it.
    pub within: Duration,
    /// How it is.
    pub health: Arc<Health>,
}

struct Remaking<A> {
    remake: Remake<A>,
    falls: Vec<u64>,
    not_before: u64,
}

/// A seat with an agent.
pub struct AgentSeat<A> {
    agent: Option<A>,
    ports: Ports,
    sealed: bool,
    remaking: Option<Remaking<A>>,
}

impl<A: Agent> AgentSeat<A> {
    /// Seats `agent`; `sealed` says that its duty cycle must not allocate after start. One that falls takes the seat with
    /// it.
    #[must_use]
    pub fn new(agent: A, ports: Ports, sealed: bool) -> Self {
        Self { agent: Some(agent), ports, sealed, remaking: None }
    }

    /// One that falls is made anew in its place.
    #[must_use]
    pub fn with_remake(mut self, remake: Remake<A>) -> Self {
        self.remaking = Some(Remaking { remake, falls: Vec::new(), not_before: 0 });
        self
    }

    /// Looks at the agent and its ports between two duty cycles. None where it has fallen.
    pub fn with<T>(&mut self, look: impl FnOnce(&mut A, &mut Ports) -> T) -> Option<T> {
        Some(look(self.agent.as_mut()?, &mut self.ports))
    }

    /// Takes agent and ports apart again: another may take the seat.
    ///
    /// # Panics
    /// Where the agent has fallen: only seats that are made anew live on without one.
    #[must_use]
    #[allow(clippy::expect_used)] // Seats that are taken apart have no way to lose their agent.
    pub fn into_parts(self) -> (A, Ports) {
        (self.agent.expect("a seat without a remake keeps its agent"), self.ports)
    }

    /// Does what was wished of the seat.
    fn obey(&mut self) {
        let Some(remaking) = &mut self.remaking else { return };
        let health = remaking.remake.health.clone();
        let wish = health.take_wish();
        if matches!(wish, Wish::Stop | Wish::Restart)
            && let Some(mut agent) = self.agent.take()
        {
            agent.leave(&mut self.ports);
        }
        match wish {
            Wish::None => {}
            Wish::Stop => health.set(SeatState::Stopped),
            Wish::Start | Wish::Restart if self.agent.is_none() => {
                health.set(SeatState::Out);
                remaking.not_before = 0;
            }
            Wish::Start | Wish::Restart => {}
        }
    }

    /// Makes a new one where the last has fallen and it is time.
    fn return_to_work(&mut self) {
        let Some(remaking) = &mut self.remaking else { return };
        let health = &remaking.remake.health;
        if health.state() == SeatState::Stopped || monotonic_ns() < remaking.not_before {
            return;
        }
        self.agent = Some((remaking.remake.make)());
        health.restarted();
    }

    /// The agent has fallen: it is made anew after a while that grows, or the seat falls too.
    #[cold]
    fn fall(&mut self, panic: Box<dyn std::any::Any + Send>) {
        let Some(remaking) = &mut self.remaking else { resume_unwind(panic) };
        // Its process dies here; or it has fallen too often.
        let now = monotonic_ns();
        let within = remaking.remake.within.as_nanos() as u64;
        remaking.falls.retain(|at| now.saturating_sub(*at) < within);
        let why = format!("panicked: {}", said(panic.as_ref()));
        if panic.is::<Killed>() || remaking.falls.len() >= remaking.remake.most {
            resume_unwind(panic);
        }
        errors::note(ErrorKind::Defect, &self.ports.name, &why);
        remaking.remake.health.fell(&why);
        remaking.falls.push(now);
        let fallen = self.agent.take();
        if !world::active() {
            // What it may still own is not trusted to be taken apart.
            std::mem::forget(fallen);
        }
        let pause = (remaking.falls.len() as u64 - 1).min(5);
        remaking.not_before = now + if pause == 0 { 0 } else { 50_000_000 << pause };
    }
}

impl<A: Agent> Cell for AgentSeat<A> {
    fn poll(&mut self) -> Work {
        if self.remaking.is_some() {
            self.obey();
            if self.agent.is_none() {
                self.return_to_work();
            }
        }
        let Some(agent) = &mut self.agent else { return Work::Idle };
        if self.remaking.is_none() {
            return agent.duty_cycle(&mut self.ports);
        }
        let ports = &mut self.ports;
        match catch_unwind(AssertUnwindSafe(|| agent.duty_cycle(ports))) {
            Ok(work) => work,
            Err(panic) => {
                self.fall(panic);
                Work::Done
            }
        }
    }

    fn stop(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.stop(&mut self.ports);
        }
    }

    fn name(&self) -> &str {
        &self.ports.name
    }

    fn is_sealed(&self) -> bool {
        self.sealed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::Frontier;

    /// Falls at its third cycle.
    struct Mortal(u32);

    impl Agent for Mortal {
        fn duty_cycle(&mut self, _ports: &mut Ports) -> Work {
            self.0 += 1;
            assert!(self.0 < 3, "cycle three");
            Work::Done
        }
    }

    fn seat(most: usize) -> (AgentSeat<Mortal>, Arc<Health>) {
        let ports = Ports {
            name: "mortal".into(),
            seat: 1,
            inlets: Vec::new(),
            outlets: Vec::new(),
            frontier: Frontier::new(),
        };
        let health: Arc<Health> = Arc::default();
        let within = Duration::from_secs(60);
        let remake = Remake { make: Box::new(|| Mortal(0)), most, within, health: health.clone() };
        (AgentSeat::new(Mortal(0), ports, false).with_remake(remake), health)
    }

    #[test]
    fn one_that_falls_is_made_anew_until_it_falls_too_often() {
        let _entered = world::enter(1);
        let (mut seat, health) = seat(2);
        let mut falls = 0;
        let ended = loop {
            match catch_unwind(AssertUnwindSafe(|| seat.poll())) {
                Ok(_) if health.falls() > falls => {
                    falls = health.falls();
                    assert_eq!(health.state(), SeatState::Out);
                    assert_eq!(health.last_failure(), "panicked: cycle three");
                    world::skip(Duration::from_secs(1));
                }
                Ok(_) => {}
                Err(panic) => break said(panic.as_ref()),
            }
        };
        assert_eq!((falls, health.restarts()), (2, 2));
        assert_eq!(ended, "cycle three");
    }

    #[test]
    fn it_stops_and_starts_when_it_is_told_to() {
        let _entered = world::enter(1);
        let (mut seat, health) = seat(2);
        assert_eq!(seat.poll(), Work::Done);
        health.ask(Wish::Stop);
        assert_eq!((seat.poll(), health.state()), (Work::Idle, SeatState::Stopped));
        assert_eq!(seat.poll(), Work::Idle);
        health.ask(Wish::Start);
        assert_eq!((seat.poll(), health.state(), health.restarts()), (Work::Done, SeatState::Running, 1));
        health.ask(Wish::Restart);
        assert_eq!((seat.poll(), health.restarts(), health.falls()), (Work::Done, 2, 0));
    }
}
