//! Orders that somebody follows: found by identity, the working ones at hand, the oldest that has ended makes room.
//!
//! Nothing moves but indices, and nothing is allocated after construction: an order costs the same whether ten or a
//! thousand ended ones are kept.

use std::collections::VecDeque;

use super::{OrderId, OrderRecord};
use crate::state::{Loader, Saver, State, StateError};

/// What is kept of an order, with its record in it.
pub trait Followed {
    /// The order and where it stands.
    fn record(&self) -> &OrderRecord;
}

impl Followed for OrderRecord {
    #[inline]
    fn record(&self) -> &OrderRecord {
        self
    }
}

impl Followed for (u16, OrderRecord) {
    #[inline]
    fn record(&self) -> &OrderRecord {
        &self.1
    }
}

/// Orders by identity and by age, at most so many.
#[derive(Clone, Debug)]
pub struct OrderTable<T> {
    capacity: usize,
    slots: Vec<T>,
    /// When the order of a slot came: a number that grows.
    born: Vec<u64>,
    births: u64,
    /// Every slot, the oldest order first.
    by_age: VecDeque<u32>,
    /// Slots of working orders, the oldest first.
    working: Vec<u32>,
    /// Open addressing by identity: a slot and one, 0 where there is none.
    places: Box<[u32]>,
}

impl<T: Followed> OrderTable<T> {
    /// A table for at most `capacity` orders; all memory is taken now.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let places = (capacity.max(1) * 2).next_power_of_two();
        Self {
            capacity,
            slots: Vec::with_capacity(capacity),
            born: Vec::with_capacity(capacity),
            births: 0,
            by_age: VecDeque::with_capacity(capacity),
            working: Vec::with_capacity(capacity),
            places: vec![0; places].into(),
        }
    }

    /// Orders kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True where nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every order, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_age.iter().map(|slot| &self.slots[*slot as usize])
    }

    /// The orders that may still be filled, the oldest first.
    pub fn working(&self) -> impl Iterator<Item = &T> {
        self.working.iter().map(|slot| &self.slots[*slot as usize])
    }

    /// How many may still be filled.
    #[must_use]
    pub fn working_len(&self) -> usize {
        self.working.len()
    }

    /// An order by identity.
    #[inline]
    #[must_use]
    pub fn get(&self, id: OrderId) -> Option<&T> {
        let at = self.place_of(id)?;
        Some(&self.slots[self.places[at] as usize - 1])
    }

    /// True where an order of this identity is kept.
    #[inline]
    #[must_use]
    pub fn knows(&self, id: OrderId) -> bool {
        self.place_of(id).is_some()
    }

    /// True where another order has room: there is some left, or one has ended.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.len() < self.capacity || self.working.len() < self.slots.len()
    }

    /// Keeps an order; the oldest that has ended makes room. False, and nothing is changed, where every order works or
    /// one of this identity is kept.
    #[must_use]
    pub fn insert(&mut self, order: T) -> bool {
        if !self.has_room() || self.knows(order.record().order.id) {
            return false;
        }
        let slot = if self.slots.len() < self.capacity {
            self.slots.push(order);
            self.born.push(0);
            self.slots.len() - 1
        } else {
            // Only working ones are older than the oldest that has ended: few indices move.
            let ended = self.by_age.iter().position(|slot| !self.is_working(*slot));
            let Some(slot) = ended.and_then(|i| self.by_age.remove(i)) else { return false };
            let slot = slot as usize;
            self.forget(self.slots[slot].record().order.id);
            self.slots[slot] = order;
            slot
        };
        self.births += 1;
        self.born[slot] = self.births;
        self.by_age.push_back(slot as u32);
        self.remember(slot);
        self.settle(slot);
        true
    }

    /// Changes an order that is kept; its identity stays what it is.
    #[inline]
    pub fn change<R>(&mut self, id: OrderId, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let at = self.place_of(id)?;
        let slot = self.places[at] as usize - 1;
        let result = change(&mut self.slots[slot]);
        debug_assert!(self.slots[slot].record().order.id == id, "an order keeps its identity");
        self.settle(slot);
        Some(result)
    }

    fn is_working(&self, slot: u32) -> bool {
        self.slots[slot as usize].record().state.is_working()
    }

    /// Puts a slot among the working ones, or takes it away.
    #[inline]
    fn settle(&mut self, slot: usize) {
        let born = self.born[slot];
        let at = self.working.partition_point(|other| self.born[*other as usize] < born);
        let listed = self.working.get(at) == Some(&(slot as u32));
        match (listed, self.is_working(slot as u32)) {
            (false, true) => self.working.insert(at, slot as u32),
            (true, false) => drop(self.working.remove(at)),
            _ => {}
        }
    }

    #[inline]
    fn home(&self, id: OrderId) -> usize {
        let word = id.seq ^ (u64::from(id.incarnation) << 40) ^ (u64::from(id.child) << 52);
        let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize & (self.places.len() - 1)
    }

    #[inline]
    fn place_of(&self, id: OrderId) -> Option<usize> {
        let mut at = self.home(id);
        // At most half of the places are taken: an empty one comes.
        loop {
            let slot = self.places[at].checked_sub(1)?;
            if self.slots[slot as usize].record().order.id == id {
                return Some(at);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    fn remember(&mut self, slot: usize) {
        let mut at = self.home(self.slots[slot].record().order.id);
        while self.places[at] != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = slot as u32 + 1;
    }

    /// Takes an identity away, and moves up what had to go past its place.
    fn forget(&mut self, id: OrderId) {
        let Some(mut hole) = self.place_of(id) else { return };
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let Some(slot) = self.places[at].checked_sub(1) else { break };
            let home = self.home(self.slots[slot as usize].record().order.id);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[at];
                hole = at;
            }
        }
        self.places[hole] = 0;
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.born.clear();
        self.births = 0;
        self.by_age.clear();
        self.working.clear();
        self.places.fill(0);
    }
}

/// The same orders in the same order of age.
impl<T: Followed + PartialEq> PartialEq for OrderTable<T> {
    fn eq(&self, other: &Self) -> bool {
        self.capacity == other.capacity && self.iter().eq(other.iter())
    }
}

impl<T: Followed + Eq> Eq for OrderTable<T> {}

/// A list of the orders, the oldest first.
impl<T: Followed + State + Default> State for OrderTable<T> {
    fn save(&self, out: &mut Saver) {
        self.len().save(out);
        self.iter().for_each(|order| order.save(out));
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut count = 0usize;
        count.load(from)?;
        self.clear();
        for _ in 0..count {
            let mut order = T::default();
            order.load(from)?;
            if self.slots.len() == self.capacity || !self.insert(order) {
                return Err(from.impossible("list of orders"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewOrder, OrderState};
    use proptest::prelude::*;

    fn id(n: u64) -> OrderId {
        OrderId { seq: n / 3, incarnation: 1, child: (n % 3) as u32 }
    }

    fn order(n: u64) -> OrderRecord {
        OrderRecord::new(NewOrder { id: id(n), ..NewOrder::default() })
    }

    /// What the table is to be, said plainly: a list in which everything is looked for.
    #[derive(Default)]
    struct Plain(Vec<OrderRecord>);

    impl Plain {
        fn insert(&mut self, order: OrderRecord, capacity: usize) -> bool {
            if self.0.iter().any(|o| o.order.id == order.order.id) {
                return false;
            }
            if self.0.len() == capacity {
                let Some(ended) = self.0.iter().position(|o| !o.state.is_working()) else { return false };
                self.0.remove(ended);
            }
            self.0.push(order);
            true
        }
    }

    proptest! {
        /// Orders that come, end, work again and make room: always what a plain list would say.
        #[test]
        fn it_is_a_list_that_is_searched(
            capacity in 1usize..12,
            steps in proptest::collection::vec((0u64..24, 0usize..4), 0..200),
        ) {
            let (mut table, mut plain) = (OrderTable::new(capacity), Plain::default());
            for (n, what) in steps {
                let state = [OrderState::Open, OrderState::Canceled, OrderState::Unknown][what % 3];
                if what == 3 {
                    prop_assert_eq!(table.insert(order(n)), plain.insert(order(n), capacity));
                } else {
                    let changed = table.change(id(n), |o| o.state = state).is_some();
                    let known = plain.0.iter_mut().find(|o| o.order.id == id(n));
                    prop_assert_eq!(changed, known.is_some());
                    known.into_iter().for_each(|o| o.state = state);
                }
                prop_assert!(table.iter().eq(plain.0.iter()));
                prop_assert!(table.working().eq(plain.0.iter().filter(|o| o.state.is_working())));
                prop_assert_eq!(table.working_len(), table.working().count());
                for n in 0..24 {
                    prop_assert_eq!(table.get(id(n)), plain.0.iter().find(|o| o.order.id == id(n)));
                }
            }
            let mut loaded = OrderTable::new(capacity);
            Loader::new(&Saver::of(&table)).into_state(&mut loaded).unwrap();
            prop_assert_eq!(&loaded, &table);
            prop_assert!(loaded.working().eq(table.working()));
        }
    }

    #[test]
    fn a_list_that_cannot_be_is_refused() {
        let mut two = OrderTable::new(2);
        assert!(two.insert(order(1)) && two.insert(order(2)) && !two.insert(order(3)), "both work");
        let bytes = Saver::of(&two);
        let mut one = OrderTable::<OrderRecord>::new(1);
        assert!(Loader::new(&bytes).into_state(&mut one).is_err(), "more than there is room for");
        let twice = Saver::of(&vec![order(1), order(1)]);
        let mut two = OrderTable::<OrderRecord>::new(2);
        assert!(Loader::new(&twice).into_state(&mut two).is_err(), "one identity twice");
    }
}
