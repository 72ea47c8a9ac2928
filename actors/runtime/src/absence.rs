//! Seats that are out: from which input to which, who waits until that is on disk, and how one comes back.
//!
//! A member that panics is out from the input it did not answer. Somebody else makes a new one from the journal while its
//! seat keeps what arrives meanwhile; the new one takes the seat, catches up in silence, and answers again from an input
//! that nobody can have seen yet. All of it is written down ahead of what depends on it, so that a replay does the same.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Message, Seq};

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Times a seat may be out in one journal: from the last one it does not come back.
pub const ABSENCES_MAX: usize = 8;
/// Inputs a seat may leave out because it does not survive them.
pub const SKIPS_MAX: usize = 8;
/// Messages a seat keeps for whoever comes.
pub const KEPT_MAX: usize = 65_536;

/// The inputs a seat has no answer to. One writer at a time, many readers. How many there are comes first: beside a seat's
/// progress on one cache line, and mostly 0.
#[repr(C)]
#[derive(Debug)]
pub struct Absences {
    begun: AtomicUsize,
    skips: AtomicUsize,
    from: [AtomicU64; ABSENCES_MAX],
    back_at: [AtomicU64; ABSENCES_MAX],
    skipped: [AtomicU64; SKIPS_MAX],
}

impl Default for Absences {
    /// Never out.
    fn default() -> Self {
        let never = || std::array::from_fn(|_| AtomicU64::new(Seq::MAX));
        Self {
            begun: AtomicUsize::new(0),
            from: never(),
            back_at: never(),
            skips: AtomicUsize::new(0),
            skipped: std::array::from_fn(|_| AtomicU64::new(Seq::MAX)),
        }
    }
}

impl Absences {
    /// True where there is any.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.begun.load(Ordering::Acquire) | self.skips.load(Ordering::Acquire) != 0
    }

    /// True where the seat has no answer to an input: one value for all who wait for it.
    #[inline]
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        let begun = self.begun.load(Ordering::Acquire);
        begun > 0
            && (0..begun).any(|i| {
                seq >= self.from[i].load(Ordering::Acquire) && seq < self.back_at[i].load(Ordering::Acquire)
            })
    }

    /// From `seq` on nobody waits for this seat. What it has sent before is visible to who sees this.
    pub fn begin(&self, seq: Seq) {
        let at = self.begun.load(Ordering::Acquire);
        if at < ABSENCES_MAX && self.open().is_none() {
            self.from[at].store(seq, Ordering::Release);
            self.begun.store(at + 1, Ordering::Release);
        }
    }

    /// The seat answers again from `seq` on; false where it has been out too often.
    pub fn end(&self, seq: Seq) -> bool {
        let begun = self.begun.load(Ordering::Acquire);
        if !self.may_end() {
            return false;
        }
        self.back_at[begun - 1].store(seq, Ordering::Release);
        true
    }

    /// False where the seat has been out so often that it stays out.
    #[must_use]
    pub fn may_end(&self) -> bool {
        (1..ABSENCES_MAX).contains(&self.begun.load(Ordering::Acquire))
    }

    /// Where the seat went out and has not said when it comes back.
    #[must_use]
    pub fn open(&self) -> Option<Seq> {
        let last = self.begun.load(Ordering::Acquire).checked_sub(1)?;
        let open = self.back_at[last].load(Ordering::Acquire) == Seq::MAX;
        open.then(|| self.from[last].load(Ordering::Acquire))
    }

    /// Every absence: first input without an answer, and the one it answers again (the largest number: none).
    #[must_use]
    pub fn all(&self) -> Vec<(Seq, Seq)> {
        let begun = self.begun.load(Ordering::Acquire);
        let of = |i: usize| (self.from[i].load(Ordering::Acquire), self.back_at[i].load(Ordering::Acquire));
        (0..begun).map(of).collect()
    }

    /// An absence that is written down: one whose end was not known is completed.
    pub fn note(&self, from: Seq, back_at: Seq) {
        let known = self.all().iter().position(|(f, _)| *f == from);
        match known {
            // Its first word, which knows no end, may be read again behind the last.
            Some(i) => drop(self.back_at[i].fetch_min(back_at, Ordering::AcqRel)),
            None => {
                self.begin(from);
                if back_at != Seq::MAX {
                    self.end(back_at);
                }
            }
        }
    }

    /// The actor does not survive an input: it is never given to it again.
    pub fn skip(&self, seq: Seq) {
        let at = self.skips.load(Ordering::Acquire);
        if at < SKIPS_MAX && !self.is_skipped(seq) {
            self.skipped[at].store(seq, Ordering::Release);
            self.skips.store(at + 1, Ordering::Release);
        }
    }

    /// True for an input that is not given to the actor.
    #[inline]
    #[must_use]
    pub fn is_skipped(&self, seq: Seq) -> bool {
        let skips = self.skips.load(Ordering::Acquire);
        skips > 0 && (0..skips).any(|i| self.skipped[i].load(Ordering::Acquire) == seq)
    }

    /// Every input that is left out.
    #[must_use]
    pub fn skips(&self) -> Vec<Seq> {
        (0..self.skips.load(Ordering::Acquire)).map(|i| self.skipped[i].load(Ordering::Acquire)).collect()
    }
}

/// Holds back orders whose cause lies in an absence, or behind the end of one, that is not durable yet: a replay must know
/// of it.
#[derive(Debug)]
pub struct AbsenceGate {
    /// First input concerned, over all changes: never later than what is not durable begins with.
    from: AtomicU64,
    /// Changes so far: absences that have begun or ended.
    begun: AtomicU64,
    /// How many of them are on disk.
    durable: AtomicU64,
}

impl AbsenceGate {
    /// A gate that holds nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self { from: AtomicU64::new(Seq::MAX), begun: zero(), durable: zero() })
    }

    /// Somebody goes out at `seq`, or comes back there: holds orders caused by it and by later inputs. To be called before
    /// anyone can act on it.
    pub fn begin(&self, seq: Seq) {
        self.from.fetch_min(seq, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// `changes` of those that have begun are on disk: all that the caller has seen. One that begins meanwhile holds.
    pub fn set_durable(&self, changes: u64) {
        self.durable.store(changes, Ordering::Release);
    }

    /// True where an order caused by `seq` has to wait.
    #[inline]
    #[must_use]
    pub fn holds(&self, seq: Seq) -> bool {
        self.begun.load(Ordering::Acquire) > self.durable.load(Ordering::Acquire)
            && seq >= self.from.load(Ordering::Acquire)
    }
}

#[derive(Default)]
struct Handover {
    room: Option<Vec<Message>>,
    /// `Option<A>` of the seat's own actor type: one that comes, or one that has left.
    actor: Option<Box<dyn Any + Send>>,
    /// Makes a place of that type.
    place: Option<fn() -> Box<dyn Any + Send>>,
}

/// Between a seat whose actor is gone and whoever makes a new one.
#[derive(Default)]
pub struct Rejoin {
    /// The seat is to keep what arrives.
    wanted: AtomicBool,
    /// First input it has kept; 0 while it keeps none.
    kept_from: AtomicU64,
    /// The new actor is there: it has seen everything before `kept_from`.
    ready: AtomicBool,
    /// The seat could not keep all of it.
    failed: AtomicBool,
    /// An actor that has seen everything may answer again.
    may_return: AtomicBool,
    /// Whoever sits there is to leave.
    leaves: AtomicBool,
    handover: Mutex<Handover>,
}

impl Rejoin {
    /// Makes a place for one that leaves.
    pub(crate) fn make_place<A: Send + 'static>(&self) {
        let mut handover = self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        handover.place = Some(|| Box::new(None::<A>));
        handover.actor = handover.place.map(|make| make());
    }

    /// The seat's side: takes one that leaves, for [`Rejoin::ask`] to take apart. Where there is no place it stays.
    pub(crate) fn take_leaving<A: 'static>(&self, actor: &mut Option<A>) {
        let Ok(mut handover) = self.handover.try_lock() else { return };
        let place = handover.actor.as_mut().and_then(|place| place.downcast_mut::<Option<A>>());
        if let Some(place) = place.filter(|place| place.is_none()) {
            *place = actor.take();
        }
    }

    /// Asks the seat to keep what arrives from its next input on. Whoever has left it is taken apart here.
    pub fn ask(&self) {
        let mut handover = self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        let place = handover.place;
        *handover =
            Handover { room: Some(Vec::with_capacity(KEPT_MAX)), actor: place.map(|make| make()), place };
        self.kept_from.store(0, Ordering::Release);
        self.ready.store(false, Ordering::Release);
        self.failed.store(false, Ordering::Release);
        self.wanted.store(true, Ordering::Release);
    }

    /// First input the seat keeps, once it does.
    #[must_use]
    pub fn kept_from(&self) -> Option<Seq> {
        Some(self.kept_from.load(Ordering::Acquire)).filter(|seq| *seq > 0)
    }

    /// True where the seat had to give up: it is to be asked again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Hands over the new actor, as [`crate::seat::Cell::take_actor`] gives it.
    pub fn deliver(&self, actor: Box<dyn Any + Send>) {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner).actor = Some(actor);
        self.ready.store(true, Ordering::Release);
    }

    /// Asks whoever sits there to leave: its absence begins with the first input of its next batch.
    pub fn leave(&self) {
        self.leaves.store(true, Ordering::Release);
    }

    /// The seat's side: true where it was asked to leave, until it has been told.
    #[inline]
    pub(crate) fn is_to_leave(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }

    /// The seat's side: true once, where it was asked to leave.
    pub(crate) fn must_leave(&self) -> bool {
        self.is_to_leave() && self.leaves.swap(false, Ordering::AcqRel)
    }

    /// Lets an actor that has seen everything answer again.
    pub fn let_return(&self) {
        self.may_return.store(true, Ordering::Release);
    }

    /// The seat's side: true once, where it may answer again.
    pub(crate) fn may_return(&self) -> bool {
        self.may_return.load(Ordering::Acquire) && self.may_return.swap(false, Ordering::AcqRel)
    }

    /// The seat's side: nobody is to come, for who sits there has seen everything.
    pub(crate) fn withdraw(&self) {
        self.wanted.store(false, Ordering::Release);
    }

    /// The seat's side: room for what arrives, where that is wanted.
    pub(crate) fn take_room(&self) -> Option<Vec<Message>> {
        if !self.wanted.load(Ordering::Acquire) {
            return None;
        }
        let mut handover = self.handover.try_lock().ok()?;
        self.wanted.store(false, Ordering::Release);
        handover.room.take()
    }

    /// The seat keeps from here on.
    pub(crate) fn keeps_from(&self, seq: Seq) {
        self.kept_from.store(seq, Ordering::Release);
    }

    /// The seat could not keep all of it.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// The new actor, once it is there. The box stays here: nothing is freed on a hot thread.
    pub(crate) fn take_actor<A: 'static>(&self) -> Option<A> {
        if !self.ready.load(Ordering::Acquire) {
            return None;
        }
        let mut handover = self.handover.try_lock().ok()?;
        self.ready.store(false, Ordering::Release);
        handover.actor.as_mut()?.downcast_mut::<Option<A>>()?.take()
    }

    /// Room that is not needed any more goes back where it may be freed.
    pub(crate) fn give_room_back(&self, room: Vec<Message>) {
        if let Ok(mut handover) = self.handover.try_lock() {
            handover.room = Some(room);
        } else {
            std::mem::forget(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_that_begins_while_another_becomes_durable_still_holds() {
        let gate = AbsenceGate::new();
        assert!(!gate.holds(0) && !gate.holds(Seq::MAX));
        gate.begin(7);
        assert!(!gate.holds(6) && gate.holds(7));
        // The caller has seen one; the second begins before it says so, whichever input that is.
        for (second, durable) in [(7, 1), (9, 2), (3, 3)] {
            gate.begin(second);
            gate.set_durable(durable);
            assert!(gate.holds(second), "{second}");
        }
        gate.set_durable(4);
        assert!(!gate.holds(3) && !gate.holds(Seq::MAX));
    }

    #[test]
    fn one_that_leaves_is_taken_apart_by_who_asks_for_another() {
        let (rejoin, one) = (Rejoin::default(), Arc::new(7));
        let mut seat = Some(one.clone());
        rejoin.take_leaving(&mut seat);
        assert!(seat.is_some(), "there is no place for it");
        rejoin.make_place::<Arc<i32>>();
        rejoin.take_leaving(&mut seat);
        assert!(seat.is_none() && Arc::strong_count(&one) == 2);
        rejoin.ask();
        assert_eq!(Arc::strong_count(&one), 1);
        // The place it came in is the place of the next one that leaves.
        rejoin.deliver(Box::new(Some(one.clone())));
        let mut seat = rejoin.take_actor::<Arc<i32>>();
        rejoin.take_leaving(&mut seat);
        assert!(seat.is_none() && Arc::strong_count(&one) == 2);
    }

    #[test]
    fn absences_have_an_end_and_the_last_has_none() {
        let absences = Absences::default();
        assert!(!absences.contains(0) && absences.open().is_none());
        for n in 1..ABSENCES_MAX as u64 {
            absences.begin(n * 10);
            absences.begin(n * 10 + 1);
            assert_eq!(absences.open(), Some(n * 10));
            assert!(absences.end(n * 10 + 5));
            assert!(absences.contains(n * 10 + 4) && !absences.contains(n * 10 + 5));
        }
        absences.begin(1_000);
        assert!(!absences.end(2_000), "too often");
        assert!(absences.contains(Seq::MAX - 1) && !absences.contains(999));
        // What is said again, the older word behind the newer one, opens nothing.
        let again = Absences::default();
        again.note(10, 15);
        again.note(10, Seq::MAX);
        assert!(again.all() == [(10, 15)] && !again.contains(15));
        let written = Absences::default();
        for (from, back_at) in absences.all() {
            // As the journal has it: first without an end, then with one.
            written.note(from, Seq::MAX);
            if back_at != Seq::MAX {
                written.note(from, back_at);
            }
        }
        assert_eq!(written.all(), absences.all());
        written.skip(7);
        written.skip(7);
        assert!(written.is_skipped(7) && !written.is_skipped(8));
        assert_eq!(written.skips(), [7]);
    }
}
