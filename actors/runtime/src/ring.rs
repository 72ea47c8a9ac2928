//! The queue between seats: one writer, and one or more readers who each see every message.
//!
//! A message is copied once, into its slot, however many read it there. The writer's count of what was sent and each
//! reader's count of what it has let go lie on cache lines of their own; what the other side has published is read anew
//! only where the last known value does not suffice. Behind the door credit makes sure that no ring ever fills; before it
//! the writer asks for room. The model checker runs these very lines (`--cfg loom`).
//!
//! A ring holds what a whole window of inputs may cause, but on most days a handful of messages. So the writer goes back to
//! the first slot whenever everybody has let go everything: what is written next is still in the nearest cache, where a
//! ring that only goes round writes to lines that have been pushed out since.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use kimera_protocol::Message;

use crate::sync::{AtomicU64, Ordering, UnsafeCell};

/// A reader that is gone: nobody waits for it.
const GONE: u64 = u64::MAX;

/// The writer asks whether it may go back to the first slot at every slot of this number: a power of two. Readers on
/// other cores are disturbed that often.
#[cfg(not(loom))]
const REWIND_EVERY: usize = 8;
/// As often as it can be where every order of events is tried.
#[cfg(loom)]
const REWIND_EVERY: usize = 1;

/// On a pair of cache lines of its own: the adjacent-line prefetcher would otherwise share it.
#[repr(align(128))]
struct Alone(AtomicU64);

/// What the writer says, on a pair of cache lines of its own.
#[repr(align(128))]
struct Said {
    /// Messages ever sent.
    sent: AtomicU64,
    /// How many of them had been sent when the writer last went back to the first slot. It changes only while nobody has
    /// anything to read, so who has seen a message sent finds the number that belongs to it.
    base: AtomicU64,
}

struct Shared {
    slots: Box<[UnsafeCell<Message>]>,
    said: Said,
    /// Messages ever let go, a reader each.
    let_go: Box<[Alone]>,
}

// SAFETY: a slot is written only by the one writer, and only while every reader has let its last message go; it is read
// only by readers that have seen it sent and have not let it go. Both are told by the counts, with release and acquire.
unsafe impl Sync for Shared {}
// SAFETY: messages are plain data.
unsafe impl Send for Shared {}

/// Where the slots are: one look less than through what is shared. It keeps them alive.
#[derive(Clone, Copy)]
struct Slots {
    first: NonNull<UnsafeCell<Message>>,
    count: usize,
}

// SAFETY: as for what is shared, which lives at least as long as either end.
unsafe impl Send for Slots {}

impl Slots {
    fn of(shared: &Shared) -> Self {
        let first = NonNull::new(shared.slots.as_ptr().cast_mut()).unwrap_or(NonNull::dangling());
        Self { first, count: shared.slots.len() }
    }

    /// The slot of a number that is below `count`.
    #[inline]
    fn at(&self, slot: usize) -> &UnsafeCell<Message> {
        debug_assert!(slot < self.count);
        // SAFETY: inside the slots: an end's slot begins at 0 and wraps at `count`.
        unsafe { self.first.add(slot).as_ref() }
    }

    /// The slot that comes `steps` behind another, at most once around.
    #[inline]
    fn behind(&self, slot: usize, steps: usize) -> usize {
        let next = slot.wrapping_add(steps);
        if next >= self.count { next.wrapping_sub(self.count) } else { next }
    }
}

/// Reading end of an edge; everything that a look into it needs of it lies on one cache line.
#[repr(align(64))]
pub struct Inlet {
    /// Keeps everything that is shared alive.
    shared: Arc<Shared>,
    slots: Slots,
    /// Where this reader says what it has let go: one look less than through what is shared.
    let_go: NonNull<Alone>,
    /// Messages let go, and the slot of the next one.
    taken: u64,
    slot: Cell<usize>,
    /// Messages sent, as far as was seen.
    seen: Cell<u64>,
    /// Where the writer last went back to the first slot, as far as was seen.
    base: Cell<u64>,
}

// SAFETY: as for what is shared, of which the pointer shows a part.
unsafe impl Send for Inlet {}

/// Writing end of an edge, or of all edges of a port; on one cache line, too.
#[repr(align(64))]
pub struct Outlet {
    shared: Arc<Shared>,
    slots: Slots,
    /// Messages written, and the slot of the next one.
    sent: u64,
    slot: usize,
    /// How many of them are said, and the slot behind the last of those.
    said: u64,
    said_slot: usize,
    /// So many may have been sent before the readers have to be looked at again.
    free_until: u64,
}

impl Shared {
    fn new(capacity: usize, readers: usize) -> Arc<Self> {
        let alone = || Alone(AtomicU64::new(0));
        Arc::new(Self {
            slots: (0..capacity.max(1)).map(|_| UnsafeCell::new(Message::default())).collect(),
            said: Said { sent: AtomicU64::new(0), base: AtomicU64::new(0) },
            let_go: (0..readers).map(|_| alone()).collect(),
        })
    }
}

/// A ring of `capacity` messages with one reader.
#[must_use]
pub fn ring(capacity: usize) -> (Outlet, Inlet) {
    let shared = Shared::new(capacity, 1);
    (Outlet::new(&shared), Inlet::new(&shared, 0))
}

/// A ring of `capacity` messages whose `readers` each see all of them.
#[must_use]
pub fn broadcast(capacity: usize, readers: usize) -> (Outlet, Vec<Inlet>) {
    let shared = Shared::new(capacity, readers);
    (Outlet::new(&shared), (0..readers).map(|reader| Inlet::new(&shared, reader)).collect())
}

impl Inlet {
    fn new(shared: &Arc<Shared>, reader: usize) -> Self {
        let slots = Slots::of(shared);
        Self {
            shared: shared.clone(),
            slots,
            let_go: NonNull::from(&shared.let_go[reader]),
            taken: 0,
            slot: Cell::new(0),
            seen: Cell::new(0),
            base: Cell::new(0),
        }
    }

    /// The oldest message, left in place.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<&Message> {
        if self.taken == self.seen.get() && self.look() == self.taken {
            return None;
        }
        let slot = self.slots.at(self.slot.get());
        // SAFETY: it was sent, and it is not let go before this borrow has ended.
        Some(slot.with(|message| unsafe { &*message }))
    }

    /// Messages sent, read anew.
    #[inline]
    fn look(&self) -> u64 {
        let said = &self.shared.said;
        let sent = said.sent.load(Ordering::Acquire);
        self.seen.set(sent);
        if sent != self.taken {
            // Written before what was sent, and not again before that is let go.
            let base = said.base.load(Ordering::Relaxed);
            if base != self.base.get() {
                self.base.set(base);
                self.slot.set(0);
            }
        }
        sent
    }

    /// Takes the oldest message.
    #[inline]
    pub fn pop(&mut self) -> Option<Message> {
        let message = *self.peek()?;
        self.let_go(1);
        Some(message)
    }

    /// Drops the oldest message, which [`Inlet::peek`] showed.
    #[inline]
    pub fn advance(&mut self) {
        debug_assert!(self.peek().is_some(), "advance without a message");
        self.let_go(1);
    }

    #[inline]
    fn let_go(&mut self, messages: usize) {
        self.taken = self.taken.wrapping_add(messages as u64);
        self.slot.set(self.slots.behind(self.slot.get(), messages));
        self.say_let_go(self.taken);
    }

    #[inline]
    fn say_let_go(&self, messages: u64) {
        // SAFETY: what is shared lives as long as this, and does not move.
        unsafe { self.let_go.as_ref() }.0.store(messages, Ordering::Release);
    }

    /// True where something waits behind the oldest message; read fresh from the writer only where it is not known already.
    #[inline]
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.seen.get().wrapping_sub(self.taken) > 1 || self.waiting() > 1
    }

    /// Messages waiting, read fresh from the writer.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        (self.look() - self.taken) as usize
    }

    /// Shows up to `limit` waiting messages as two runs and takes as many as `take` says.
    #[inline]
    pub fn drain(&mut self, limit: usize, take: impl FnOnce(&[Message], &[Message]) -> usize) -> usize {
        let available = self.waiting().min(limit);
        let slot = self.slot.get();
        let first = available.min(self.slots.count - slot);
        let taken = take(self.run(slot, first), self.run(0, available - first)).min(available);
        self.let_go(taken);
        taken
    }

    /// Waiting messages that lie behind one another.
    #[cfg(not(loom))]
    fn run(&self, from: usize, count: usize) -> &[Message] {
        let slots = &self.shared.slots[from..from + count];
        // SAFETY: a cell has the layout of what is in it; these were sent and are not let go before this borrow has ended.
        unsafe { std::slice::from_raw_parts(slots.as_ptr().cast::<Message>(), slots.len()) }
    }

    /// The model's cells do not lie behind one another: copies, never given back.
    #[cfg(loom)]
    fn run(&self, from: usize, count: usize) -> &[Message] {
        // SAFETY: as above.
        let copy = |slot: &UnsafeCell<Message>| slot.with(|message| unsafe { *message });
        self.shared.slots[from..from + count].iter().map(copy).collect::<Vec<_>>().leak()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.say_let_go(GONE);
    }
}

impl Outlet {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            slots: Slots::of(shared),
            sent: 0,
            slot: 0,
            said: 0,
            said_slot: 0,
            free_until: 0,
        }
    }

    /// Room for messages; the readers are looked at only where the last known room is short of `wanted`.
    #[inline]
    #[must_use]
    pub fn has_room(&mut self, wanted: usize) -> bool {
        let after = self.sent.wrapping_add(wanted as u64);
        after <= self.free_until || after <= self.look()
    }

    /// Messages that certainly fit, as the readers said when they were last looked at.
    #[inline]
    #[must_use]
    pub fn known_room(&self) -> u64 {
        self.free_until.wrapping_sub(self.sent)
    }

    /// So many may have been sent, as the readers say now.
    #[cold]
    fn look(&mut self) -> u64 {
        let let_go = self.shared.let_go.iter().map(|reader| reader.0.load(Ordering::Acquire));
        let slowest = let_go.filter(|taken| *taken != GONE).min().unwrap_or(self.sent);
        self.free_until = slowest + self.shared.slots.len() as u64;
        self.free_until
    }

    /// Appends one message; false where the ring is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, message: &Message) -> bool {
        if !self.has_room(1) {
            return false;
        }
        self.write(message);
        self.say();
        true
    }

    /// Appends one message that `write` writes into its slot; false where the ring is full.
    #[inline]
    #[must_use]
    pub fn push_with(&mut self, write: impl FnOnce(&mut Message)) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let slot = self.place();
        // SAFETY: there is room, so every reader has let go what was there; and there is one writer.
        self.slots.at(slot).with_mut(|place| write(unsafe { &mut *place }));
        self.count_written(); // only now: a panic on the way leaves nothing that could be said
        self.say();
        true
    }

    /// Appends all of `messages` so that a reader sees them at once, or none of them.
    #[inline]
    #[must_use]
    pub fn push_all(&mut self, messages: &[Message]) -> bool {
        if !self.has_room(messages.len()) {
            return false;
        }
        messages.iter().for_each(|message| self.write(message));
        self.say();
        true
    }

    /// A slot for one message that no reader sees before [`Outlet::say`], with whatever was in it before: the caller writes
    /// the message there, or takes everything back. None where there is no room that [`Outlet::has_room`] has found.
    #[inline]
    #[must_use]
    pub(crate) fn reserve(&mut self) -> Option<(usize, &mut Message)> {
        if self.sent >= self.free_until {
            return None;
        }
        let slot = self.place();
        self.count_written();
        // SAFETY: there is room, so every reader has let go what was there; and there is one writer, who is borrowed.
        Some((slot, self.slots.at(slot).with_mut(|place| unsafe { &mut *place })))
    }

    /// Lets the readers see everything that is written.
    #[inline]
    pub fn say(&mut self) {
        if self.sent != self.said {
            (self.said, self.said_slot) = (self.sent, self.slot);
            self.shared.said.sent.store(self.sent, Ordering::Release);
        }
    }

    /// Forgets what is written and not said.
    #[inline]
    pub fn take_back(&mut self) {
        (self.sent, self.slot) = (self.said, self.said_slot);
    }

    /// A message that was staged, until the next one is.
    #[inline]
    #[must_use]
    pub fn staged(&self, slot: usize) -> Option<&Message> {
        // SAFETY: only the one writer writes to it, and he is borrowed; readers read.
        (slot < self.slots.count).then(|| self.slots.at(slot).with(|message| unsafe { &*message }))
    }

    /// Puts a message into its slot, without saying so yet.
    #[inline]
    fn write(&mut self, message: &Message) {
        let slot = self.place();
        // SAFETY: there is room, so every reader has let go what was there; and there is one writer.
        self.slots.at(slot).with_mut(|place| unsafe { *place = *message });
        self.count_written();
    }

    /// The slot of the next message.
    #[inline]
    fn place(&mut self) -> usize {
        if self.slot & (REWIND_EVERY - 1) == 0 && self.slot > 0 {
            self.go_back();
        }
        self.slot
    }

    /// The slot that was last asked for holds a message.
    #[inline]
    fn count_written(&mut self) {
        self.sent = self.sent.wrapping_add(1);
        self.slot = self.slots.behind(self.slot, 1);
    }

    /// Goes on from the first slot where nobody has anything left to read. Messages that are written and not yet said count
    /// as something left.
    #[inline]
    fn go_back(&mut self) {
        let everything = |reader: &Alone| {
            let taken = reader.0.load(Ordering::Acquire);
            taken == self.sent || taken == GONE
        };
        if self.shared.let_go.iter().all(everything) {
            (self.slot, self.said_slot) = (0, 0);
            self.shared.said.base.store(self.sent, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use kimera_protocol::{Header, Ticker};
    use proptest::prelude::*;

    fn numbered(seq: u64) -> Message {
        Message::new(Header { seq, ..Header::default() }, Ticker::default())
    }

    fn seqs(inlet: &mut Inlet) -> Vec<u64> {
        std::iter::from_fn(|| inlet.pop()).map(|m| m.header.seq).collect()
    }

    #[test]
    fn a_frame_goes_whole_or_not_at_all() {
        let (mut out, mut inlet) = ring(4);
        assert!(out.push_all(&[numbered(1), numbered(2), numbered(3)]));
        assert!(!out.push_all(&[numbered(4), numbered(5)]));
        assert_eq!(inlet.waiting(), 3);
        assert_eq!(inlet.pop().map(|m| m.header.seq), Some(1));
        assert!(out.push_all(&[numbered(4), numbered(5)]));
        let mut seen = Vec::new();
        let taken = inlet.drain(64, |a, b| {
            seen.extend(a.iter().chain(b).map(|m| m.header.seq));
            a.len() + b.len()
        });
        assert_eq!((taken, seen), (4, vec![2, 3, 4, 5]));
        assert!(inlet.peek().is_none());
    }

    #[test]
    fn the_writer_waits_for_the_slowest_reader_and_not_for_one_that_is_gone() {
        let (mut out, mut inlets) = broadcast(2, 2);
        assert!(out.push(&numbered(1)) && out.push(&numbered(2)) && !out.push(&numbered(3)));
        assert_eq!(seqs(&mut inlets[0]), [1, 2]);
        assert!(!out.push(&numbered(3)));
        assert_eq!(inlets[1].pop().map(|m| m.header.seq), Some(1));
        assert!(out.push(&numbered(3)) && !out.push(&numbered(4)));
        inlets.pop();
        assert_eq!(seqs(&mut inlets[0]), [3]);
        assert!(out.push(&numbered(4)) && out.push(&numbered(5)) && !out.has_room(1));
        inlets.pop();
        assert!(out.push(&numbered(6)), "nobody reads");
    }

    proptest! {
        /// Readers that take as they like each see everything, once and in order, and nothing is overwritten.
        #[test]
        fn every_reader_sees_everything(
            capacity in 1usize..40,
            readers in 1usize..4,
            steps in proptest::collection::vec((0usize..5, 1usize..5), 0..300),
        ) {
            let (mut out, mut inlets) = broadcast(capacity, readers);
            let (mut sent, mut seen) = (0u64, vec![0u64; readers]);
            for (who, count) in steps {
                if let Some(inlet) = inlets.get_mut(who) {
                    let waiting = inlet.waiting();
                    prop_assert_eq!(waiting as u64, sent - seen[who]);
                    let taken = inlet.drain(count, |a, b| {
                        for (i, message) in a.iter().chain(b).enumerate() {
                            assert_eq!(message.header.seq, seen[who] + 1 + i as u64);
                        }
                        a.len() + b.len()
                    });
                    prop_assert_eq!(taken, waiting.min(count));
                    seen[who] += taken as u64;
                } else {
                    let frame: Vec<_> = (0..count as u64).map(|i| numbered(sent + 1 + i)).collect();
                    let slowest = seen.iter().min().copied().unwrap_or(sent);
                    let fits = sent + count as u64 - slowest <= capacity as u64;
                    prop_assert_eq!(out.push_all(&frame), fits);
                    sent += if fits { count as u64 } else { 0 };
                }
            }
        }
    }
}
