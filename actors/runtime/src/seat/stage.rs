//! A stage's seat where its actor has panicked: the message stays where it is until another actor has the state to take it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use kimera_protocol::{Loader, Message, Seq};

use super::{DeathNote, Handled, Seat};
use crate::actor::{Actor, Input, Work};
use crate::errors;
use crate::executor::said;
use crate::health::Health;
use crate::mend::Mend;
use crate::world::{self, Killed};

/// What a seat needs whose actor can be made anew in its place.
pub(super) struct Stage<A> {
    /// Made at the start from the same configuration, with the same counters; it has seen nothing.
    pub spare: Option<A>,
    pub mend: Arc<Mend>,
    pub health: Arc<Health>,
}

impl<A: Actor + 'static> Seat<A> {
    /// Messages about an input that were handled so far.
    pub(super) fn handled_of(&self, seq: Seq) -> u64 {
        if self.at.0 == seq { self.at.1 } else { 0 }
    }

    /// The handler of a stage; where it panics the actor is gone, and the message is still to be handled. The second time
    /// there is nobody left, and the seat falls with it.
    pub(super) fn handle_as_stage(&mut self, message: &Message, joins: bool) -> Handled {
        let seq = message.header.seq;
        let Some(actor) = self.actor.as_mut() else { return Handled::Held };
        let outbox = &mut self.outbox;
        let input = Input { message, joined: if joins { &self.joined } else { &[] } };
        let handled = catch_unwind(AssertUnwindSafe(|| actor.handle(input, outbox)));
        let Err(panic) = handled else { return Handled::Yes };
        let (before, name) = (self.handled_of(seq), self.ports.name.clone());
        let can = |stage: &&Stage<A>| stage.spare.is_some() && stage.mend.is_armed() && !panic.is::<Killed>();
        let Some(stage) = self.stage.as_ref().filter(can) else {
            let _note = DeathNote { frontier: &self.ports.frontier, seq };
            resume_unwind(panic);
        };
        let why = format!("panicked at input {seq}: {}", said(panic.as_ref()));
        errors::note(&name, &why);
        stage.health.fell(&why);
        // What it may still own is not trusted to be taken apart.
        let dead = self.actor.take();
        if !world::active() {
            std::mem::forget(dead);
        }
        self.outbox.begin(message);
        stage.mend.died(seq, before);
        Handled::Held
    }

    /// Somebody else takes the seat, once his state is there.
    #[cold]
    pub(super) fn take_the_seat(&mut self) -> Work {
        let Some(stage) = &mut self.stage else { return Work::Blocked };
        let Some(state) = stage.mend.take() else { return Work::Blocked };
        let Some(mut actor) = stage.spare.take() else { return Work::Blocked };
        if let Err(e) = Loader::new(&state).into_state(&mut actor) {
            errors::note(&self.ports.name, &format!("cannot be made anew: {e}"));
            return Work::Blocked; // it is late, then, and the engine ends
        }
        self.actor = Some(actor);
        stage.health.restarted();
        stage.mend.mended();
        Work::Done
    }
}
