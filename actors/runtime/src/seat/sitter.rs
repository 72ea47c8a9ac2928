//! A message is handled: what the seat does about it, compiled once, and what it asks of the actor, compiled for each.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kimera_protocol::{Kind, Message, Seq};

use super::Who;
use super::desk::{DeathNote, Desk, Handled};
use crate::absence::Rejoin;
use crate::actor::{Actor, Input, Outbox, Port, Work};

/// What a panic leaves.
pub(super) type Panic = Box<dyn Any + Send>;

/// Who sits there, whatever its type.
pub(super) trait Sitter {
    /// The actor's handler, for which what it causes is staged; what it said where it panicked. False where nobody is there.
    fn act(&mut self, message: &Message, joined: &[&Message], outbox: &mut Outbox) -> Result<bool, Panic>;

    /// The actor has panicked.
    fn fall(&mut self, desk: &mut Desk, message: &Message, panic: Panic) -> Handled;

    /// A message for a member that is out.
    fn be_out(&mut self, desk: &mut Desk, message: &Message);

    /// A member goes, as it was told to.
    fn leave(&mut self, rejoin: &Rejoin);

    /// Somebody else takes the seat, once his state is there.
    fn take_the_seat(&mut self, desk: &mut Desk) -> Work;

    /// Nobody sits there yet, and somebody is to.
    fn is_awaited(&self) -> bool;

    /// The state's digest; 0 where nobody sits there.
    fn digest(&self) -> u64;
}

impl Desk {
    /// Has a message handled; what it causes is staged.
    pub(super) fn handle(&mut self, who: &mut dyn Sitter, message: &Message, joins: bool) -> Handled {
        let seq = message.header.seq;
        self.outbox.begin(message);
        if (self.leaves || self.frontier.absences().any())
            && let Some(handled) = self.handle_absent(who, message)
        {
            return handled;
        }
        let joined = if joins { &self.joined[..] } else { &[] };
        match who.act(message, joined, &mut self.outbox) {
            Ok(true) => Handled::Yes,
            Ok(false) => self.finds_nobody(who, seq),
            Err(panic) => {
                self.count();
                who.fall(self, message, panic)
            }
        }
    }

    /// Where somebody is out, was, or is to leave; None where he handles this one all the same.
    #[cold]
    fn handle_absent(&mut self, who: &mut dyn Sitter, message: &Message) -> Option<Handled> {
        let seq = message.header.seq;
        if self.said_at == seq && seq > 0 && self.leaves {
            return None; // it goes with the next input: of this one it has said a part
        }
        self.leaves = false;
        if let Some(member) = &self.member {
            if self.frontier.absences().contains(seq) {
                who.be_out(self, message);
                return Some(Handled::Nobody);
            }
            if member.rejoin.must_leave() {
                who.leave(&member.rejoin);
            }
        } else if self.frontier.absences().is_skipped(seq) {
            return Some(self.skip(message));
        }
        None
    }

    #[cold]
    fn finds_nobody(&mut self, who: &dyn Sitter, seq: Seq) -> Handled {
        if self.member.is_some() {
            return self.is_out_from(seq);
        }
        if who.is_awaited() { Handled::Held } else { Handled::Nobody }
    }

    /// The line goes on without this member from here on, and hears of that before anyone can.
    #[cold]
    pub(super) fn is_out_from(&mut self, seq: Seq) -> Handled {
        // What was said about this input stays said: the absence begins behind it, and a replay says it and falls as this one did.
        let seq = if self.said_at == seq { seq + 1 } else { seq };
        if let Some(member) = &self.member {
            member.gate.begin(seq);
        }
        self.frontier.absences().begin(seq);
        Handled::Nobody
    }

    /// The actor does not survive this one; who comes after it has to hear of a fill or a halt all the same.
    #[cold]
    fn skip(&mut self, message: &Message) -> Handled {
        if message.kind().is_some_and(Kind::is_for_every_stage) {
            self.outbox.forward(Port::Line, message);
        }
        Handled::Nobody
    }
}

impl<A: Actor + 'static> Sitter for Who<A> {
    fn act(&mut self, message: &Message, joined: &[&Message], outbox: &mut Outbox) -> Result<bool, Panic> {
        let Some(actor) = self.actor.as_mut() else { return Ok(false) };
        catch_unwind(AssertUnwindSafe(|| actor.handle(Input { message, joined }, outbox))).map(|()| true)
    }

    #[cold]
    fn fall(&mut self, desk: &mut Desk, message: &Message, panic: Panic) -> Handled {
        if desk.member.is_some() {
            self.has_fallen(desk, message, panic);
            return desk.is_out_from(message.header.seq);
        }
        if self.stage.is_some() {
            return self.is_dead(desk, message, panic);
        }
        let _note = DeathNote { frontier: &desk.frontier, seq: message.header.seq };
        resume_unwind(panic);
    }

    #[cold]
    fn be_out(&mut self, desk: &mut Desk, message: &Message) {
        self.is_out(desk, message);
    }

    #[cold]
    fn leave(&mut self, rejoin: &Rejoin) {
        rejoin.take_leaving(&mut self.actor);
        self.actor = None;
    }

    #[cold]
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
