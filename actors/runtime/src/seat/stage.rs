//! A stage's seat where its actor has panicked: the message stays where it is until another actor has the state to take it.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;

use kimera_protocol::{ErrorKind, Loader, Message};

use super::Who;
use super::desk::{DeathNote, Desk, Handled};
use crate::actor::{Actor, Work};
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

impl<A: Actor + 'static> Who<A> {
    /// The actor is gone, and the message is still to be handled. The second time there is nobody left, and the seat falls
    /// with it.
    #[cold]
    pub(super) fn is_dead(
        &mut self,
        desk: &mut Desk,
        message: &Message,
        panic: Box<dyn Any + Send>,
    ) -> Handled {
        let seq = message.header.seq;
        let (before, name) = (desk.handled_of(seq), desk.name.clone());
        let can = |stage: &&Stage<A>| stage.spare.is_some() && stage.mend.is_armed() && !panic.is::<Killed>();
        let Some(stage) = self.stage.as_ref().filter(can) else {
            let _note = DeathNote { frontier: &desk.frontier, seq };
            resume_unwind(panic);
        };
        let why = format!("panicked at input {seq}: {}", said(panic.as_ref()));
        errors::note(ErrorKind::Defect, &name, &why);
        stage.health.fell(&why);
        // What it may still own is not trusted to be taken apart.
        let dead = self.actor.take();
        if !world::active() {
            std::mem::forget(dead);
        }
        desk.outbox.begin(message);
        stage.mend.died(seq, before);
        Handled::Held
    }

    /// Somebody else takes the seat, once his state is there.
    #[cold]
    pub(super) fn take_it(&mut self, desk: &mut Desk) -> Work {
        let Some(stage) = &mut self.stage else { return Work::Blocked };
        let Some(state) = stage.mend.take() else { return Work::Blocked };
        let Some(mut actor) = stage.spare.take() else { return Work::Blocked };
        if let Err(e) = Loader::new(&state).into_state(&mut actor) {
            errors::note(ErrorKind::Defect, &desk.name, &format!("cannot be made anew: {e}"));
            return Work::Blocked; // it is late, then, and the engine ends
        }
        self.actor = Some(actor);
        stage.health.restarted();
        stage.mend.mended();
        Work::Done
    }
}
