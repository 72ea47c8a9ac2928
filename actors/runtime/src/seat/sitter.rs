//! The actor behind the desk: what the seat asks of it, whatever its type.

use kimera_protocol::{Kind, Message};

use super::{DeathNote, Desk, Handled, Sitter, Who};
use crate::actor::{Actor, Input, Port, Work};

impl<A: Actor + 'static> Sitter for Who<A> {
    /// A member that panics is dropped, and says from which input on before anyone can go on without it.
    fn handle(&mut self, desk: &mut Desk, message: &Message, joins: bool) -> Handled {
        let seq = message.header.seq;
        desk.outbox.begin(message);
        if desk.member.is_some() {
            return self.handle_as_member(desk, message);
        }
        if desk.ports.frontier.absences().is_skipped(seq) {
            // It does not survive this one; who comes after it has to hear of a fill or a halt all the same.
            if message.kind().is_some_and(Kind::is_for_every_stage) {
                desk.outbox.forward(Port::Line, message);
            }
            return Handled::Nobody;
        }
        if self.stage.is_some() {
            return self.handle_as_stage(desk, message, joins);
        }
        let Some(actor) = self.actor.as_mut() else { return Handled::Nobody };
        let input = Input { message, joined: if joins { &desk.joined } else { &[] } };
        let note = DeathNote { frontier: &desk.ports.frontier, seq };
        actor.handle(input, &mut desk.outbox);
        std::mem::forget(note);
        Handled::Yes
    }

    fn take_the_seat(&mut self, desk: &mut Desk) -> Work {
        self.take_it(desk)
    }

    fn is_awaited(&self) -> bool {
        self.actor.is_none() && self.stage.is_some()
    }

    fn digest(&self) -> u64 {
        self.actor.as_ref().map_or(0, Actor::digest)
    }
}
