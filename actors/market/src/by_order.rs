//! A book of single orders: what stands at each price, in which order it came, and what stands before an order of interest.
//!
//! Orders lie in a slab and are linked to a queue a price, the oldest first; sizes by price lie in a [`Ladder`] a side, so the best
//! prices cost what they cost in a book of levels. Everything is made at the start: a book that is full says so.

use kimera_protocol::{Price, Quantity, Side};

use crate::index::Index;
use crate::ladder::Ladder;
use crate::top::Top;

/// No place.
const NONE: u32 = u32::MAX;

/// Why an order report was not taken. The book is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// The order is there already.
    #[error("there is an order of this number already")]
    Duplicate,
    /// The order is not there.
    #[error("there is no order of this number")]
    Unknown,
    /// No place for another order.
    #[error("the book is full")]
    Full,
    /// A size that is no size.
    #[error("a size has to be positive")]
    Size,
}

/// An order that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The venue's number.
    pub id: u64,
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: Price,
    /// What is left of it.
    pub size: Quantity,
}

#[derive(Clone, Copy)]
struct Slot {
    standing: Standing,
    /// In the order in which orders came or went back to the end of their queue.
    arrived: u64,
    queue: u32,
    older: u32,
    newer: u32,
}

/// Orders at a price.
#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
    orders: u32,
    size: i64,
}

const NO_ORDER: Slot = Slot {
    standing: Standing { id: 0, side: Side::Bid, price: Price(0), size: Quantity(0) },
    arrived: 0,
    queue: NONE,
    older: NONE,
    newer: NONE,
};
const NO_QUEUE: Queue = Queue { oldest: NONE, newest: NONE, orders: 0, size: 0 };

/// A book of single orders.
pub struct ByOrder {
    bids: Ladder,
    asks: Ladder,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    by_id: Index,
    queues: Box<[Queue]>,
    free_queues: Vec<u32>,
    by_price: Index,
    arrivals: u64,
}

fn price_key(side: Side, price: Price) -> u64 {
    (price.0 as u64) << 1 | side as u64
}

impl ByOrder {
    /// An empty book for so many orders.
    #[must_use]
    pub fn new(orders: usize) -> Self {
        // A queue has an order, so there are no more queues than orders.
        Self {
            bids: Ladder::new(Side::Bid),
            asks: Ladder::new(Side::Ask),
            slots: vec![NO_ORDER; orders].into(),
            free: (0..orders as u32).rev().collect(),
            by_id: Index::new(orders),
            queues: vec![NO_QUEUE; orders].into(),
            free_queues: (0..orders as u32).rev().collect(),
            by_price: Index::new(orders),
            arrivals: 0,
        }
    }

    /// Orders that stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True without orders.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new order, behind all others at its price.
    ///
    /// # Errors
    /// [`OrderFault`].
    pub fn add(&mut self, id: u64, side: Side, price: Price, size: Quantity) -> Result<(), OrderFault> {
        if size.0 <= 0 {
            return Err(OrderFault::Size);
        }
        if self.by_id.get(id).is_some() {
            return Err(OrderFault::Duplicate);
        }
        let slot = self.free.pop().ok_or(OrderFault::Full)?;
        self.by_id.insert(id, slot);
        self.slots[slot as usize].standing = Standing { id, side, price, size };
        self.join(slot);
        Ok(())
    }

    /// What is left of an order: less keeps its place, more goes to the end of the queue, nothing takes it away. Gives what
    /// stood before.
    ///
    /// # Errors
    /// [`OrderFault::Unknown`].
    pub fn resize(&mut self, id: u64, size: Quantity) -> Result<Standing, OrderFault> {
        let slot = self.by_id.get(id).ok_or(OrderFault::Unknown)?;
        let before = self.slots[slot as usize].standing;
        if size.0 <= 0 {
            return self.remove(id);
        }
        if size.0 > before.size.0 {
            self.leave(slot);
            self.slots[slot as usize].standing.size = size;
            self.join(slot);
        } else {
            self.slots[slot as usize].standing.size = size;
            self.grow(slot, size.0 - before.size.0);
        }
        Ok(before)
    }

    /// Part of an order is executed. Gives what is left of it.
    ///
    /// # Errors
    /// [`OrderFault::Unknown`]; [`OrderFault::Size`] where more is executed than stands.
    pub fn execute(&mut self, id: u64, size: Quantity) -> Result<Quantity, OrderFault> {
        let slot = self.by_id.get(id).ok_or(OrderFault::Unknown)?;
        let left = self.slots[slot as usize].standing.size.0 - size.0;
        if size.0 <= 0 || left < 0 {
            return Err(OrderFault::Size);
        }
        self.resize(id, Quantity(left))?;
        Ok(Quantity(left))
    }

    /// An order at another price or of another size, behind all others there. Gives what stood before.
    ///
    /// # Errors
    /// [`OrderFault::Unknown`], [`OrderFault::Size`].
    pub fn replace(&mut self, id: u64, price: Price, size: Quantity) -> Result<Standing, OrderFault> {
        if size.0 <= 0 {
            return Err(OrderFault::Size);
        }
        let slot = self.by_id.get(id).ok_or(OrderFault::Unknown)?;
        let before = self.slots[slot as usize].standing;
        self.leave(slot);
        self.slots[slot as usize].standing = Standing { price, size, ..before };
        self.join(slot);
        Ok(before)
    }

    /// Takes an order away. Gives what stood.
    ///
    /// # Errors
    /// [`OrderFault::Unknown`].
    pub fn remove(&mut self, id: u64) -> Result<Standing, OrderFault> {
        let slot = self.by_id.remove(id).ok_or(OrderFault::Unknown)?;
        self.leave(slot);
        self.free.push(slot);
        Ok(self.slots[slot as usize].standing)
    }

    /// An order.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Standing> {
        self.by_id.get(id).map(|slot| self.slots[slot as usize].standing)
    }

    /// What has to be executed before an order: size and number of those before it in its queue. A walk over them.
    #[must_use]
    pub fn ahead(&self, id: u64) -> Option<(Quantity, u32)> {
        let mut at = self.slots[self.by_id.get(id)? as usize].older;
        let (mut size, mut orders) = (0, 0);
        while at != NONE {
            let slot = &self.slots[at as usize];
            size += slot.standing.size.0;
            orders += 1;
            at = slot.older;
        }
        Some((Quantity(size), orders))
    }

    /// Orders at a price, the oldest first.
    pub fn queue(&self, side: Side, price: Price) -> impl Iterator<Item = Standing> + '_ {
        let queue = self.by_price.get(price_key(side, price));
        let mut at = queue.map_or(NONE, |queue| self.queues[queue as usize].oldest);
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.newer;
            Some(slot.standing)
        })
    }

    /// The order at a price that is executed first.
    #[must_use]
    pub fn oldest(&self, side: Side, price: Price) -> Option<Standing> {
        self.queue(side, price).next()
    }

    /// Size and number of orders at a price.
    #[must_use]
    pub fn at(&self, side: Side, price: Price) -> (Quantity, u32) {
        let queue = self.by_price.get(price_key(side, price)).map(|queue| self.queues[queue as usize]);
        queue.map_or((Quantity(0), 0), |queue| (Quantity(queue.size), queue.orders))
    }

    /// A side's sizes by price.
    #[must_use]
    pub fn side(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// The best prices.
    #[inline]
    #[must_use]
    pub fn top(&self) -> Top {
        Top::of_levels(self.bids.best(), self.asks.best())
    }

    /// Takes the older of the two orders away that face one another in a crossed book: the younger one would have been matched with
    /// it, so it is not there any more and nobody said so. To be asked when a venue has said everything of a moment.
    pub fn remove_ghost(&mut self) -> Option<Standing> {
        let Top::Crossed { bid, ask } = self.top() else { return None };
        let oldest = |side, price| {
            let queue = self.by_price.get(price_key(side, price))?;
            Some(self.slots[self.queues[queue as usize].oldest as usize])
        };
        let (bid, ask) = (oldest(Side::Bid, bid.price)?, oldest(Side::Ask, ask.price)?);
        let ghost = if bid.arrived < ask.arrived { bid } else { ask };
        self.remove(ghost.standing.id).ok()
    }

    /// To the end of the queue at its price.
    fn join(&mut self, slot: u32) {
        let Standing { side, price, size, .. } = self.slots[slot as usize].standing;
        let key = price_key(side, price);
        let queue = match self.by_price.get(key) {
            Some(queue) => queue,
            None => {
                let Some(queue) = self.free_queues.pop() else { return }; // there are as many as orders
                self.by_price.insert(key, queue);
                self.queues[queue as usize] = NO_QUEUE;
                queue
            }
        };
        self.arrivals += 1;
        let last = &mut self.queues[queue as usize];
        let older = std::mem::replace(&mut last.newest, slot);
        last.orders += 1;
        if older == NONE {
            last.oldest = slot;
        } else {
            self.slots[older as usize].newer = slot;
        }
        let this = &mut self.slots[slot as usize];
        (this.queue, this.older, this.newer, this.arrived) = (queue, older, NONE, self.arrivals);
        self.grow(slot, size.0);
    }

    /// Out of its queue.
    fn leave(&mut self, slot: u32) {
        let Slot { standing, queue, older, newer, .. } = self.slots[slot as usize];
        self.grow(slot, -standing.size.0);
        let this = &mut self.queues[queue as usize];
        this.orders -= 1;
        if older == NONE {
            this.oldest = newer;
        } else {
            self.slots[older as usize].newer = newer;
        }
        if newer == NONE {
            this.newest = older;
        } else {
            self.slots[newer as usize].older = older;
        }
        if this.orders == 0 {
            self.by_price.remove(price_key(standing.side, standing.price));
            self.free_queues.push(queue);
        }
    }

    /// The size at an order's price has changed.
    fn grow(&mut self, slot: u32, by: i64) {
        let Slot { standing, queue, .. } = self.slots[slot as usize];
        let queue = &mut self.queues[queue as usize];
        queue.size = queue.size.saturating_add(by);
        let size = Quantity(queue.size);
        match standing.side {
            Side::Bid => self.bids.set(standing.price, size),
            Side::Ask => self.asks.set(standing.price, size),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Level;
    use proptest::prelude::*;

    const ORDERS: usize = 24;

    /// The plainest book there is: orders as they came.
    #[derive(Default)]
    struct Plain(Vec<Standing>);

    impl Plain {
        fn place(&self, id: u64) -> Result<usize, OrderFault> {
            self.0.iter().position(|o| o.id == id).ok_or(OrderFault::Unknown)
        }

        fn best(&self, side: Side) -> Option<Level> {
            let prices = self.0.iter().filter(|o| o.side == side).map(|o| o.price);
            let price = if side == Side::Bid { prices.max() } else { prices.min() }?;
            Some(Level { price, size: Quantity(self.queue(side, price).iter().map(|o| o.size.0).sum()) })
        }

        fn queue(&self, side: Side, price: Price) -> Vec<Standing> {
            self.0.iter().filter(|o| o.side == side && o.price == price).copied().collect()
        }

        fn act(
            &mut self,
            action: u8,
            id: u64,
            side: Side,
            price: Price,
            size: Quantity,
        ) -> Result<(), OrderFault> {
            match action {
                0 | 1 => {
                    let is_new = self.place(id).is_err();
                    if size.0 <= 0 || !is_new || self.0.len() == ORDERS {
                        let fault = if is_new { OrderFault::Full } else { OrderFault::Duplicate };
                        return Err(if size.0 <= 0 { OrderFault::Size } else { fault });
                    }
                    self.0.push(Standing { id, side, price, size });
                }
                2 => {
                    let at = self.place(id)?;
                    if size.0 <= 0 {
                        self.0.remove(at);
                    } else if size.0 > self.0[at].size.0 {
                        let order = self.0.remove(at);
                        self.0.push(Standing { size, ..order });
                    } else {
                        self.0[at].size = size;
                    }
                }
                3 => {
                    let at = self.place(id)?;
                    if size.0 <= 0 || size.0 > self.0[at].size.0 {
                        return Err(OrderFault::Size);
                    }
                    self.0[at].size.0 -= size.0;
                    if self.0[at].size.0 == 0 {
                        self.0.remove(at);
                    }
                }
                4 => {
                    if size.0 <= 0 {
                        return Err(OrderFault::Size);
                    }
                    let at = self.place(id)?;
                    let order = self.0.remove(at);
                    self.0.push(Standing { price, size, ..order });
                }
                _ => {
                    let at = self.place(id)?;
                    self.0.remove(at);
                }
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list_of_orders(
            actions in proptest::collection::vec((0u8..6, 0u64..40, any::<bool>(), 995i64..1_006, -1i64..9), 1..150)
        ) {
            let (mut book, mut plain) = (ByOrder::new(ORDERS), Plain::default());
            for (action, id, is_bid, price, size) in actions {
                // Far from all others now and then.
                let price = Price(if price == 1_005 { 90_000 } else { price });
                let (side, size) = (if is_bid { Side::Bid } else { Side::Ask }, Quantity(size));
                let done = match action {
                    0 | 1 => book.add(id, side, price, size),
                    2 => book.resize(id, size).map(|_| ()),
                    3 => book.execute(id, size).map(|_| ()),
                    4 => book.replace(id, price, size).map(|_| ()),
                    _ => book.remove(id).map(|_| ()),
                };
                prop_assert_eq!(done, plain.act(action, id, side, price, size));
                prop_assert_eq!(book.len(), plain.0.len());
                for side in [Side::Bid, Side::Ask] {
                    prop_assert_eq!(book.side(side).best(), plain.best(side));
                    for price in (995..1_006).chain([90_000]).map(Price) {
                        let queue = plain.queue(side, price);
                        let size = queue.iter().map(|o| o.size.0).sum();
                        prop_assert_eq!(book.at(side, price), (Quantity(size), queue.len() as u32));
                        let mut ahead = 0;
                        for (i, order) in queue.iter().enumerate() {
                            prop_assert_eq!(book.get(order.id), Some(*order));
                            prop_assert_eq!(book.ahead(order.id), Some((Quantity(ahead), i as u32)));
                            ahead += order.size.0;
                        }
                        prop_assert_eq!(book.queue(side, price).collect::<Vec<_>>(), queue);
                    }
                }
            }
        }
    }

    #[test]
    fn each_state_has_its_name_and_a_ghost_goes() {
        let mut book = ByOrder::new(8);
        let add = |book: &mut ByOrder, id, side, price| book.add(id, side, Price(price), Quantity(5));
        assert_eq!(book.top(), Top::Empty);
        add(&mut book, 1, Side::Ask, 101).unwrap();
        assert!(matches!(book.top(), Top::OneSided(Side::Ask, _)));
        add(&mut book, 2, Side::Bid, 100).unwrap();
        assert!(matches!(book.top(), Top::Good { .. }));
        assert_eq!(book.remove_ghost(), None);
        add(&mut book, 3, Side::Bid, 101).unwrap();
        assert!(matches!(book.top(), Top::Crossed { .. }), "a lock is a cross");
        assert_eq!(book.remove_ghost().map(|ghost| ghost.id), Some(1), "the older of the two");
        assert!(matches!(book.top(), Top::OneSided(Side::Bid, _)));
    }
}
