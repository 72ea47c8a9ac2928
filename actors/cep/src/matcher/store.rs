//! What runs have taken so far: each event once, and runs that begin alike share what they have in common.

use crate::language::{Condition, Op, evaluate};
use crate::schema::{Event, Value};

/// No place.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Default)]
struct EventSlot {
    event: Event,
    refs: u32,
}

kimera_protocol::state!(EventSlot { event, refs });

/// An event that a run has taken, behind the one it took before.
#[derive(Default)]
struct Taken {
    event: u32,
    before: u32,
    refs: u32,
    binding: u8,
    length: u16,
}

kimera_protocol::state!(Taken { event, before, refs, binding, length });

/// Events and the chains of those that were taken, of fixed size.
pub(super) struct Store {
    events: Vec<EventSlot>,
    free_events: Vec<u32>,
    taken: Vec<Taken>,
    free_taken: Vec<u32>,
}

kimera_protocol::state!(Store { events, free_events, taken, free_taken });

impl Store {
    pub(super) fn new(events: usize, taken: usize) -> Self {
        let slot = || EventSlot { event: Event::default(), refs: 0 };
        let link = || Taken { event: NONE, before: NONE, refs: 0, binding: 0, length: 0 };
        Self {
            events: (0..events).map(|_| slot()).collect(),
            free_events: (0..events as u32).rev().collect(),
            taken: (0..taken).map(|_| link()).collect(),
            free_taken: (0..taken as u32).rev().collect(),
        }
    }

    /// True where one more event can be taken, one that is kept already or not.
    pub(super) fn has_room(&self, is_new: bool) -> bool {
        (!is_new || !self.free_events.is_empty()) && !self.free_taken.is_empty()
    }

    /// Keeps an event; the caller holds it.
    pub(super) fn keep(&mut self, event: &Event) -> Option<u32> {
        let slot = self.free_events.pop()?;
        self.events[slot as usize] = EventSlot { event: *event, refs: 1 };
        Some(slot)
    }

    /// The caller does not need the event any more.
    pub(super) fn let_go(&mut self, event: u32) {
        let slot = &mut self.events[event as usize];
        slot.refs -= 1;
        if slot.refs == 0 {
            self.free_events.push(event);
        }
    }

    /// An event behind the chain that ends at `before`; the caller holds the new end.
    pub(super) fn take(&mut self, before: u32, event: u32, binding: u8) -> Option<u32> {
        let link = self.free_taken.pop()?;
        let length = self.length(before) + 1;
        self.taken[link as usize] = Taken { event, before, refs: 1, binding, length };
        self.events[event as usize].refs += 1;
        self.hold(before);
        Some(link)
    }

    /// The same for a run that goes on: what it held of the chain before is held by the link now, and the new end is its.
    pub(super) fn go_on(&mut self, before: u32, event: u32, binding: u8) -> Option<u32> {
        let link = self.free_taken.pop()?;
        let length = self.length(before) + 1;
        self.taken[link as usize] = Taken { event, before, refs: 1, binding, length };
        self.events[event as usize].refs += 1;
        Some(link)
    }

    /// Another event in the place of the only one of a chain that has one holder.
    pub(super) fn replace(&mut self, end: u32, event: &Event) {
        let link = &self.taken[end as usize];
        let slot = &mut self.events[link.event as usize];
        debug_assert!(link.refs == 1 && link.before == NONE && slot.refs == 1);
        slot.event = *event;
    }

    /// One more holds the chain that ends here.
    pub(super) fn hold(&mut self, end: u32) {
        if end != NONE {
            self.taken[end as usize].refs += 1;
        }
    }

    /// One less; what nobody holds is free.
    pub(super) fn release(&mut self, mut end: u32) {
        while end != NONE {
            let link = &mut self.taken[end as usize];
            link.refs -= 1;
            if link.refs > 0 {
                return;
            }
            let (event, before) = (link.event, link.before);
            self.free_taken.push(end);
            self.let_go(event);
            end = before;
        }
    }

    /// Events of the chain that ends here.
    pub(super) fn length(&self, end: u32) -> u16 {
        if end == NONE { 0 } else { self.taken[end as usize].length }
    }

    /// The chain that ends here, the last event first.
    pub(super) fn back(&self, end: u32) -> impl Iterator<Item = (u8, &Event)> {
        let mut at = end;
        std::iter::from_fn(move || {
            let link = self.taken.get(at as usize)?;
            at = link.before;
            Some((link.binding, &self.events[link.event as usize].event))
        })
    }

    /// True where a condition holds, or where there is none.
    pub(super) fn holds(
        &self,
        condition: Option<&Condition>,
        own: Option<&Event>,
        end: u32,
        key: &[u64],
    ) -> bool {
        condition.is_none_or(|condition| condition.holds(&View { store: self, own, end, key }))
    }

    /// An expression's value.
    pub(super) fn value(&self, ops: &[Op], own: Option<&Event>, end: u32, key: &[u64]) -> Option<Value> {
        evaluate(ops, &View { store: self, own, end, key })
    }

    /// Nothing is kept: every place is free.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.free_events.len() == self.events.len() && self.free_taken.len() == self.taken.len()
    }
}

struct View<'a> {
    store: &'a Store,
    own: Option<&'a Event>,
    end: u32,
    key: &'a [u64],
}

impl crate::language::Context for View<'_> {
    fn own(&self) -> Option<&Event> {
        self.own
    }

    fn key(&self, index: u8) -> u64 {
        self.key.get(usize::from(index)).copied().unwrap_or(0)
    }

    fn bound(&self, binding: u8, mut take: impl FnMut(&Event) -> bool) {
        for (_, event) in self.store.back(self.end).filter(|(of, _)| *of == binding) {
            if !take(event) {
                return;
            }
        }
    }
}
