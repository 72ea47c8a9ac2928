//! A ring for the model checker: what a ring promises (a message is visible to who sees that it is there), and nothing more.

use std::sync::Arc;

use kimera_protocol::Message;
use loom::cell::UnsafeCell;

use crate::sync::{AtomicUsize, Ordering};

struct Shared {
    slots: Vec<UnsafeCell<Message>>,
    /// Messages ever taken.
    head: AtomicUsize,
    /// Messages ever sent.
    tail: AtomicUsize,
}

// SAFETY: a slot is written by the one writer while it lies outside `head..tail`, and read by the one reader inside.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// Reading end of an edge.
pub struct Inlet(Arc<Shared>);

/// Writing end of an edge.
pub struct Outlet(Arc<Shared>);

/// A single-producer single-consumer ring of `capacity` messages.
#[must_use]
pub fn ring(capacity: usize) -> (Outlet, Inlet) {
    let slots = (0..capacity).map(|_| UnsafeCell::new(Message::default())).collect();
    let shared = Arc::new(Shared { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) });
    (Outlet(shared.clone()), Inlet(shared))
}

impl Inlet {
    /// The oldest message, left in place.
    #[must_use]
    pub fn peek(&self) -> Option<&Message> {
        let head = self.0.head.load(Ordering::Relaxed);
        if head == self.0.tail.load(Ordering::Acquire) {
            return None;
        }
        let slot = &self.0.slots[head % self.0.slots.len()];
        // SAFETY: inside `head..tail`, so it is ours until `head` moves.
        Some(slot.with(|message| unsafe { &*message }))
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Message> {
        let message = *self.peek()?;
        self.advance();
        Some(message)
    }

    /// Drops the oldest message.
    pub fn advance(&mut self) {
        let head = self.0.head.load(Ordering::Relaxed);
        self.0.head.store(head + 1, Ordering::Release);
    }

    /// Messages waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.tail.load(Ordering::Acquire) - self.0.head.load(Ordering::Relaxed)
    }

    /// Shows waiting messages and takes as many as `take` says.
    pub fn drain(&mut self, limit: usize, take: impl FnOnce(&[Message], &[Message]) -> usize) -> usize {
        let mut all = Vec::new();
        let head = self.0.head.load(Ordering::Relaxed);
        for i in 0..self.waiting().min(limit) {
            let slot = &self.0.slots[(head + i) % self.0.slots.len()];
            // SAFETY: inside `head..tail`.
            all.push(slot.with(|message| unsafe { *message }));
        }
        let taken = take(&all, &[]).min(all.len());
        self.0.head.store(head + taken, Ordering::Release);
        taken
    }
}

impl Outlet {
    /// Room for messages.
    #[must_use]
    pub fn has_room(&self, wanted: usize) -> bool {
        let used = self.0.tail.load(Ordering::Relaxed) - self.0.head.load(Ordering::Acquire);
        self.0.slots.len() - used >= wanted
    }

    /// Appends one message; false where the ring is full.
    #[must_use]
    pub fn push(&mut self, message: Message) -> bool {
        if !self.has_room(1) {
            return false;
        }
        let tail = self.0.tail.load(Ordering::Relaxed);
        let slot = &self.0.slots[tail % self.0.slots.len()];
        // SAFETY: outside `head..tail`, and there is one writer.
        slot.with_mut(|place| unsafe { *place = message });
        self.0.tail.store(tail + 1, Ordering::Release);
        true
    }

    /// Appends all of `messages` so that the reader sees them at once, or none of them.
    #[must_use]
    pub fn push_all(&mut self, messages: &[Message]) -> bool {
        if !self.has_room(messages.len()) {
            return false;
        }
        let tail = self.0.tail.load(Ordering::Relaxed);
        for (i, message) in messages.iter().enumerate() {
            let slot = &self.0.slots[(tail + i) % self.0.slots.len()];
            // SAFETY: as in `push`.
            slot.with_mut(|place| unsafe { *place = *message });
        }
        self.0.tail.store(tail + messages.len(), Ordering::Release);
        true
    }
}
