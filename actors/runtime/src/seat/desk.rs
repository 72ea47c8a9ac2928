//! What is the same for every seat, whoever sits there: it takes a message, has it handled, and sends what that causes.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};

use kimera_protocol::{Checkpoint, Header, Kind, Message, Seq};

use super::sitter::Sitter;
use super::{CHECKPOINT_INTERVAL, PortInlet, SeatMeters, Tap, Watch};
use crate::absence::{AbsenceGate, Rejoin};
use crate::actor::{Outbox, Port, Work};
use crate::clock::Tsc;
use crate::credit::Frontier;
use crate::health::Health;
use crate::ring::Inlet;

/// Messages a seat handles before the next seat has its turn.
const BATCH: usize = 64;
/// One handler call in this many is timed, and what was counted is said then.
const SAMPLE: u64 = 64;
/// It is said too when nothing waited so often.
const COUNT_EVERY: u16 = 1_024;

/// Everything of a seat but its actor, in the order in which a message needs it: a look into an empty ring touches the first
/// two cache lines alone, most messages the next two besides, and what is rare is behind all that is not.
#[repr(C, align(64))]
pub(super) struct Desk {
    pub(super) primary: Inlet,
    /// Progress of who writes to it, and own progress.
    pub(super) upstream: Arc<Frontier>,
    pub(super) frontier: Arc<Frontier>,
    /// Messages handled and sent.
    pub(super) inputs: u64,
    pub(super) outputs: u64,
    pub(super) next_checkpoint: Seq,
    /// The input of the last message, and how many of its messages were handled, where they are counted.
    pub(super) at: Seq,
    pub(super) at_count: u32,
    pub(super) polls: u16,
    /// Whoever sits there was asked to leave: as it was when this batch began.
    pub(super) leaves: bool,
    /// Messages about one input are counted.
    pub(super) counts: bool,
    /// Somebody wants to know more than usual, or to stop somewhere.
    pub(super) is_special: bool,
    /// Said here of what lies further back.
    pub(super) is_member: bool,
    pub(super) has_sides: bool,
    pub(super) has_ahead: bool,
    pub(super) has_ages: bool,
    pub(super) outbox: Outbox,
    /// Heard before what the primary stream says of the same input.
    pub(super) ahead: Option<Ahead>,
    /// Joined at the primary's marks.
    pub(super) sides: Box<[PortInlet]>,
    /// The input about which a member last said something.
    pub(super) said_at: Seq,
    /// Set where the line goes on without this seat after a panic.
    pub(super) member: Option<Member>,
    /// The votes that are joined, in their rings, until they are let go.
    pub(super) joined: Vec<&'static Message>,
    pub(super) tsc: Tsc,
    pub(super) meters: SeatMeters,
    pub(super) special: Special,
    pub(super) name: String,
    /// Index in the topology.
    pub(super) seat: u16,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Inlet>() == 64 && size_of::<crate::ring::Outlet>() == 64);
    assert!(std::mem::offset_of!(Desk, outbox) == 128, "what an empty ring needs is on two cache lines");
    assert!(size_of::<Outbox>() <= 128, "and what a message needs on two more");
};

/// What replays, explanations and controls ask of a seat, and no live run.
#[derive(Default)]
pub(super) struct Special {
    pub(super) tap: Option<Tap>,
    pub(super) watch: Option<Watch>,
    pub(super) flip: Option<Seq>,
    /// Nothing is taken from this message of this input on.
    pub(super) stop: Option<(Seq, u64)>,
}

/// A stream of which every message is handled before the first of the primary stream about the same input or a later one.
pub(super) struct Ahead {
    pub(super) of: PortInlet,
    /// What its writer was last known to have said everything about.
    pub(super) known: Seq,
}

/// Whose message is to be handled now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Primary,
    Ahead,
    /// It is not known yet.
    Open,
    /// There is none.
    Nobody,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// The actor has handled it.
    Yes,
    /// There is nobody, or nobody is to: it is passed over.
    Nobody,
    /// It is still to be handled.
    Held,
}

/// What a seat needs that can be out.
pub(super) struct Member {
    pub(super) gate: Arc<AbsenceGate>,
    pub(super) rejoin: Arc<Rejoin>,
    /// What has arrived for the actor that is to come.
    pub(super) kept: Option<Vec<Message>>,
    /// Where the first death is noted.
    pub(super) deaths: Option<Arc<AtomicU64>>,
    pub(super) health: Arc<Health>,
}

/// Left behind where a handler does not come back: which input it was.
pub(super) struct DeathNote<'a> {
    pub(super) frontier: &'a Frontier,
    pub(super) seq: Seq,
}

impl Drop for DeathNote<'_> {
    fn drop(&mut self) {
        self.frontier.note_death(self.seq);
    }
}

impl Desk {
    /// One bit of the first output; of the state, where the seat says nothing.
    #[cold]
    fn flip_one_bit(&mut self, seq: Seq) {
        if self.special.flip.is_none_or(|from| seq < from)
            || (self.outbox.is_empty() && self.outbox.limit() > 0)
        {
            return;
        }
        self.special.flip = None;
        if !self.outbox.flip_one_bit() {
            self.outbox.hash().update_word(1);
        }
    }

    /// Collects the joined inlets' votes for `seq`; false while one is still to come.
    fn join(&mut self, seq: Seq) -> bool {
        self.joined.clear();
        for side in &self.sides {
            match side.inlet.peek() {
                Some(vote) if vote.header.seq == seq => {
                    // SAFETY: nobody writes to the vote's slot before it is let go, which `take_joined` does behind clearing
                    // this list, and nobody else; the next join clears it, too; and the ring lives as long as this seat.
                    self.joined.push(unsafe { &*std::ptr::from_ref(vote) });
                }
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
        self.joined.clear();
        for side in &mut self.sides {
            if side.inlet.peek().is_some_and(|vote| vote.header.seq == seq) {
                side.inlet.advance();
            }
        }
    }

    /// True for the message before which it is to stop.
    #[cold]
    fn stops_before(&self, seq: Seq) -> bool {
        self.special.stop.is_some_and(|(at, n)| seq > at || (seq == at && self.handled_of(seq) >= n))
    }

    /// Messages about an input that were handled so far.
    pub(super) fn handled_of(&self, seq: Seq) -> u64 {
        if self.at == seq { self.at_count.into() } else { 0 }
    }

    /// The state's digest; 0 where the seat is out.
    fn digest_before(&self, boundary: Seq, who: &dyn Sitter) -> u64 {
        let out = self.frontier.absences().contains(boundary.saturating_sub(1));
        if out { 0 } else { who.digest() }
    }

    /// Publishes the output hash for everything caused by inputs below `boundary`.
    #[cold]
    fn checkpoint(&mut self, boundary: Seq, time: i64, who: &dyn Sitter) {
        let body = Checkpoint {
            seat: u64::from(self.seat),
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

    /// What was asked for is noted, before anybody hears of what is staged.
    #[cold]
    fn be_special(&mut self, seq: Seq, handled: Handled, start: u64) {
        if handled == Handled::Yes && self.special.flip.is_some() {
            self.flip_one_bit(seq);
        }
        if let Some(tap) = self.special.tap.as_ref().filter(|_| !self.outbox.is_empty()) {
            tap.lock().unwrap_or_else(PoisonError::into_inner).push((seq, self.outbox.saved_hash().value()));
        }
        if let Some(watch) = self.special.watch.as_ref().filter(|watch| watch.seq == seq) {
            watch.note(&self.name, &self.outbox, Tsc::now().saturating_sub(start));
        }
    }

    /// What comes before some messages only; something where this one is not handled now.
    #[cold]
    fn attend(&mut self, seq: Seq, time: i64, who: &dyn Sitter) -> Option<Work> {
        if self.stops_before(seq) {
            return Some(Work::Blocked);
        }
        if seq < self.next_checkpoint {
            return None;
        }
        if !self.outbox.have_room() {
            self.meters.blocked.add(1);
            return Some(Work::Blocked);
        }
        self.checkpoint(seq - seq % CHECKPOINT_INTERVAL, time, who);
        // The record outlet took one message: its room is made sure of again before the handler runs.
        Some(Work::Done)
    }

    /// Whose turn it is where somebody is heard ahead of the primary stream, whose writer has said everything about inputs up
    /// to `upstream`.
    #[inline(never)]
    fn turn(&mut self, upstream: Seq) -> Turn {
        let next = self.primary.peek().map(|message| message.header.seq);
        let Some(ahead) = &mut self.ahead else { return Turn::Primary };
        let bound = next.unwrap_or(upstream);
        if ahead.known < bound {
            ahead.known = ahead.of.writer.get(); // before the inlet: what was said up to there is then visible in the ring
        }
        match ahead.of.inlet.peek() {
            Some(message) if message.header.seq <= bound => Turn::Ahead,
            _ if ahead.known < bound => {
                // Everything up to there was heard, and nothing of the primary stream that is earlier waits.
                self.frontier.advance(ahead.known);
                Turn::Open
            }
            _ if next.is_some() => Turn::Primary,
            _ => Turn::Nobody,
        }
    }

    /// The stream whose head is handled.
    #[inline]
    fn stream(&mut self, is_ahead: bool) -> &mut Inlet {
        match &mut self.ahead {
            Some(ahead) if is_ahead => &mut ahead.of.inlet,
            _ => &mut self.primary,
        }
    }

    /// Handles the message at the head of the primary inlet, or of the one that is heard ahead of it, if everything it needs is
    /// there.
    #[inline]
    fn step(&mut self, who: &mut dyn Sitter, upstream: Seq) -> Work {
        let mut is_ahead = false;
        if self.has_ahead {
            match self.turn(upstream) {
                Turn::Primary => {}
                Turn::Ahead => is_ahead = true,
                Turn::Open => return Work::Blocked,
                Turn::Nobody => return Work::Idle,
            }
        }
        let Some(message) = self.stream(is_ahead).peek() else { return Work::Idle };
        // SAFETY: nobody writes to the message's slot before it is let go, which happens below, behind its last use; and the
        // ring lives at least as long as the seat that is borrowed here.
        let message: &Message = unsafe { &*std::ptr::from_ref(message) };
        let seq = message.header.seq;
        if (self.is_special || seq >= self.next_checkpoint)
            && let Some(work) = self.attend(seq, message.header.time, who)
        {
            return work;
        }
        if !self.outbox.have_room() {
            self.meters.blocked.add(1);
            return Work::Blocked;
        }
        let joins =
            self.has_sides && !is_ahead && message.is_mark() && message.header.kind == Kind::Features as u8;
        if joins && !self.join(seq) {
            return Work::Blocked;
        }
        let sampled = self.inputs.is_multiple_of(SAMPLE);
        let start = if sampled || self.is_special { Tsc::now() } else { 0 };
        let handled = self.handle(who, message, joins);
        if handled == Handled::Held {
            return who.take_the_seat(self); // until somebody sits there it is as if it had not been looked at
        }
        if self.is_special {
            self.be_special(seq, handled, start);
        }
        // Room was made sure of, so nothing here can fail.
        self.outputs += self.outbox.length() as u64;
        if self.is_member && self.outbox.length() > 0 {
            self.said_at = seq;
        }
        self.outbox.say();
        let ingress = if self.has_ages && message.is_mark() { message.header.ingress } else { 0 };
        let stop = (!is_ahead && message.is_stop()).then_some(message.header.time);
        self.stream(is_ahead).advance(); // from here on the message is not ours any more
        if joins {
            self.take_joined(seq);
        }
        if self.counts {
            self.at_count = if self.at == seq { self.at_count.saturating_add(1) } else { 1 };
            self.at = seq;
        }
        self.inputs += 1;
        self.frontier.advance(seq.saturating_sub(1));
        if sampled {
            self.meters.residence.record(self.tsc.to_ns(Tsc::now().saturating_sub(start)));
            self.count();
        }
        if ingress != 0 {
            self.meters.mark_age.record(self.tsc.to_ns(Tsc::now().saturating_sub(ingress)));
        }
        if let Some(time) = stop {
            self.checkpoint(seq + 1, time, who);
        }
        Work::Done
    }

    /// Has what waits handled, a bounded number of messages.
    #[inline(never)]
    pub(super) fn poll(&mut self, who: &mut dyn Sitter) -> Work {
        // Read before the inlet: whatever the writer did up to here is then visible in the ring.
        let upstream = self.upstream.get();
        if self.primary.peek().is_some() || (self.has_ahead && self.turn(upstream) != Turn::Nobody) {
            return self.work(who, upstream);
        }
        self.frontier.advance(upstream);
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(COUNT_EVERY) {
            self.count();
        }
        Work::Idle
    }

    #[inline(never)]
    fn work(&mut self, who: &mut dyn Sitter, upstream: Seq) -> Work {
        if self.is_member {
            self.leaves = self.member.as_ref().is_some_and(|member| member.rejoin.is_to_leave());
        }
        let mut result = Work::Idle;
        for _ in 0..BATCH {
            match self.step(who, upstream) {
                Work::Done => result = Work::Done,
                Work::Idle => {
                    self.frontier.advance(upstream);
                    break;
                }
                Work::Blocked => {
                    self.count(); // nobody knows for how long
                    result = if result == Work::Done { Work::Done } else { Work::Blocked };
                    break;
                }
            }
        }
        result
    }

    /// Says how much was handled and sent: not with every message, for two counters are two cache lines more.
    #[cold]
    pub(super) fn count(&self) {
        self.meters.inputs.set(self.inputs);
        self.meters.outputs.set(self.outputs);
    }
}
