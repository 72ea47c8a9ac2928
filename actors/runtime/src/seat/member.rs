//! A member's seat where its actor has panicked: it says nothing, keeps what arrives, and takes a new one in.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use kimera_protocol::{ErrorKind, Message, Seq};

use super::Who;
use super::desk::Desk;
use crate::actor::{Actor, Input};
use crate::credit::WINDOW_MAX;
use crate::errors;
use crate::executor::said;
use crate::world::{self, Killed};

impl<A: Actor + 'static> Who<A> {
    /// A member's handler; one that panics is gone, and has said nothing.
    fn survives(&mut self, desk: &mut Desk, message: &Message) -> bool {
        let Some(actor) = self.actor.as_mut() else { return false };
        let outbox = &mut desk.outbox;
        let input = Input { message, joined: &[] };
        let handled = catch_unwind(AssertUnwindSafe(|| actor.handle(input, outbox)));
        match handled {
            Ok(()) => true,
            Err(panic) => {
                self.has_fallen(desk, message, panic);
                false
            }
        }
    }

    #[cold]
    pub(super) fn has_fallen(&mut self, desk: &mut Desk, message: &Message, panic: Box<dyn Any + Send>) {
        if panic.is::<Killed>() {
            resume_unwind(panic); // not the actor: its whole process dies here
        }
        if let Some(member) = &desk.member {
            let why = format!("panicked at input {}: {}", message.header.seq, said(panic.as_ref()));
            errors::note(ErrorKind::Defect, &desk.name, &why);
            member.health.fell(&why);
        }
        // What it may still own is not trusted to be taken apart.
        let dead = self.actor.take();
        if !world::active() {
            std::mem::forget(dead);
        }
        desk.outbox.begin(message);
        if let Some(deaths) = desk.member.as_ref().and_then(|m| m.deaths.as_ref()) {
            let _ = deaths.compare_exchange(0, message.header.seq, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// One message while the seat is out: an actor that is there sees it and says nothing, for one that is to come it is
    /// kept.
    #[cold]
    pub(super) fn is_out(&mut self, desk: &mut Desk, message: &Message) {
        let seq = message.header.seq;
        if self.actor.is_some() {
            self.hear_in_silence(desk, message);
            self.come_back(desk, seq);
            return;
        }
        let Some(member) = &mut desk.member else { return };
        if member.kept.is_none()
            && let Some(room) = member.rejoin.take_room()
        {
            // The messages of one input belong together: kept from the next one on.
            member.kept = Some(room);
            member.rejoin.keeps_from(seq + 1);
        }
        let Some(room) = &mut member.kept else { return };
        if member.rejoin.kept_from().is_some_and(|from| seq >= from) {
            if room.len() == room.capacity() {
                let room = std::mem::take(room);
                member.kept = None;
                member.rejoin.give_room_back(room);
                member.rejoin.fail();
                return;
            }
            room.push(*message);
        }
        self.actor = member.rejoin.take_actor::<A>();
        if self.actor.is_some() {
            self.catch_up(desk);
        }
    }

    /// The new actor sees what was kept, in silence.
    fn catch_up(&mut self, desk: &mut Desk) {
        let Some(room) = desk.member.as_mut().and_then(|m| m.kept.take()) else { return };
        for message in &room {
            if self.actor.is_none() {
                break; // it does not survive either: the next one leaves that input out
            }
            self.hear_in_silence(desk, message);
        }
        if let Some(member) = &desk.member {
            member.rejoin.give_room_back(room);
        }
    }

    fn hear_in_silence(&mut self, desk: &mut Desk, message: &Message) {
        if !desk.frontier.absences().is_skipped(message.header.seq) {
            desk.outbox.begin(message);
            let alive = self.survives(desk, message);
            desk.outbox.begin(message);
            if let Some(member) = desk.member.as_ref().filter(|_| !alive) {
                member.rejoin.fail();
            }
        }
    }

    /// An actor that has seen everything answers again, from an input that nobody can have yet.
    fn come_back(&mut self, desk: &mut Desk, seq: Seq) {
        let Some(member) = &desk.member else { return };
        let absences = desk.frontier.absences();
        let may = self.actor.is_some() && absences.open().is_some() && absences.may_end();
        if may && member.rejoin.may_return() {
            let back_at = seq + WINDOW_MAX + 1;
            member.rejoin.withdraw();
            member.gate.begin(back_at);
            absences.end(back_at);
        }
    }
}
