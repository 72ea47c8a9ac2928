//! A parent: one side of what strategy wants, with a budget of size that its children share.
//!
//! Children that may still be filled use the budget up, whatever has been asked of them: one that is being cancelled
//! or of which nothing is known counts in full. So what stands never exceeds what was wanted, and a quote is replaced
//! only once the fate of the one before is known.

use kimera_protocol::order::OrderFlags;
use kimera_protocol::state::{Loader, Saver, State, StateError};
use kimera_protocol::{
    InstrumentVersion, Level, Nanos, NewOrder, OrderId, OrderRecord, OrderState, Price, Quantity, Seq, Side,
    TimeInForce,
};

/// Children of a parent at a time.
pub const CHILDREN_MAX: usize = 16;
/// Orders, or cancels, that one input may cause a side: one input's effects are bounded, the rest follows at the next.
pub const ORDERS_PER_INPUT: usize = 4;

/// When a quote is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentConfig {
    /// Largest child, in 1e-8.
    pub child_size_max: i64,
    /// Distance from what is wanted at which a child is replaced, in ticks.
    pub requote_ticks: i64,
    /// Least time a child stands before it is replaced for its price.
    pub requote_interval: Nanos,
    /// After this without an answer a cancel is asked for again.
    pub cancel_retry: Nanos,
    /// After an order was refused or rejected, the side waits this long.
    pub refusal_pause: Nanos,
}

/// A child order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Child {
    record: OrderRecord,
    placed: Nanos,
    cancel_asked: Option<Nanos>,
}

kimera_protocol::state!(Child { record, placed, cancel_asked });

/// Children in their places. Which places are taken is said apart: where there is nobody no place is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Children {
    /// A bit a place.
    taken: u16,
    places: [Child; CHILDREN_MAX],
}

const _: () = assert!(CHILDREN_MAX == u16::BITS as usize);

impl Children {
    fn new() -> Self {
        Self { taken: 0, places: [Child::default(); CHILDREN_MAX] }
    }

    fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The places that are taken, from the first to the last.
    fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.taken;
        std::iter::from_fn(move || {
            let index = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(index)
        })
    }

    fn iter(&self) -> impl Iterator<Item = &Child> {
        self.indices().map(|index| &self.places[index])
    }

    /// Takes the first free place, if there is one.
    fn add(&mut self, child: Child) {
        let index = self.taken.trailing_ones() as usize;
        if let Some(place) = self.places.get_mut(index) {
            *place = child;
            self.taken |= 1 << index;
        }
    }

    fn has_room(&self) -> bool {
        self.taken != u16::MAX
    }

    fn remove(&mut self, index: usize) {
        self.places[index] = Child::default();
        self.taken &= !(1 << index);
    }
}

impl State for Children {
    fn save(&self, out: &mut Saver) {
        for index in 0..CHILDREN_MAX {
            (self.taken >> index & 1 != 0).then(|| self.places[index]).save(out);
        }
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        *self = Self::new();
        for index in 0..CHILDREN_MAX {
            let mut child = None;
            State::load(&mut child, from)?;
            if let Some(child) = child {
                self.places[index] = child;
                self.taken |= 1 << index;
            }
        }
        Ok(())
    }
}

/// One side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    side: Side,
    wanted: Option<Level>,
    children: Children,
    /// Size of the budget that is still to be placed: a budget is given where nothing of the side may be filled.
    unplaced: i64,
    /// Input that gave the budget.
    given: Seq,
    /// No new child before this time.
    pause_until: Nanos,
}

kimera_protocol::state!(Parent { wanted, children, unplaced, given, pause_until } fixed { side });

impl Parent {
    /// A parent that wants nothing.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self { side, wanted: None, children: Children::new(), unplaced: 0, given: 0, pause_until: Nanos::MIN }
    }

    /// Takes what is wanted from here on; size 0 is nothing.
    pub fn want(&mut self, level: Level) {
        self.wanted = Some(level).filter(|l| l.size.0 > 0);
        if self.wanted.is_none() {
            self.unplaced = 0;
        }
    }

    /// True where time alone may make something of it: it wants something, or something of it stands.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        self.wanted.is_some() || !self.children.is_empty()
    }

    /// True where something is to be placed now.
    #[inline]
    #[must_use]
    pub fn has_to_place(&self, now: Nanos) -> bool {
        self.wanted.is_some() && now >= self.pause_until && (self.children.is_empty() || self.unplaced > 0)
    }

    /// The price nearest to the other side at which something of this one may still be filled.
    #[must_use]
    pub fn nearest(&self) -> Option<Price> {
        let prices = self.children.iter().map(|c| c.record.order.price);
        if self.side == Side::Bid { prices.max() } else { prices.min() }
    }

    /// What is wanted takes no further than this price.
    pub fn keep_to(&mut self, price: Price) {
        if let Some(wanted) = &mut self.wanted {
            let is_further = if self.side == Side::Bid { wanted.price > price } else { wanted.price < price };
            if is_further {
                wanted.price = price;
            }
        }
    }

    /// No more than this is wanted, in 1e-8.
    pub fn keep_within(&mut self, size: i64) {
        let Some(wanted) = self.wanted else { return };
        self.want(Level { size: Quantity(wanted.size.0.min(size)), ..wanted });
    }

    /// Size that may still be filled, in 1e-8.
    #[must_use]
    pub fn committed(&self) -> i64 {
        self.children.iter().map(|c| c.record.remaining()).sum()
    }

    /// True where a child of this identity is known here.
    #[must_use]
    pub fn knows(&self, id: OrderId) -> bool {
        self.children.iter().any(|c| c.record.order.id == id)
    }

    /// Takes a report about a child; ended children make room.
    pub fn report(&mut self, update: &kimera_protocol::OrderUpdate, now: Nanos, config: &ParentConfig) {
        for index in self.children.indices() {
            let child = &mut self.children.places[index];
            if child.record.order.id != update.id {
                continue;
            }
            child.record.apply(update);
            match child.record.state {
                OrderState::Rejected | OrderState::Unsent | OrderState::Expired => {
                    self.pause_until = now.saturating_add(config.refusal_pause);
                    self.unplaced = 0;
                }
                _ => {}
            }
            if !child.record.state.is_working() {
                self.children.remove(index);
            }
        }
    }

    /// A child did not pass risk or compliance: it never left.
    pub fn refused(&mut self, id: OrderId, now: Nanos, config: &ParentConfig) {
        for index in self.children.indices() {
            if self.children.places[index].record.order.id == id {
                self.children.remove(index);
                self.pause_until = now.saturating_add(config.refusal_pause);
                self.unplaced = 0;
            }
        }
    }

    /// Every child has been asked to be cancelled, by one message for all.
    pub fn all_cancelled(&mut self, now: Nanos) {
        self.unplaced = 0;
        for index in self.children.indices() {
            self.children.places[index].cancel_asked = Some(now);
        }
    }

    /// Calls `cancel` for each child that should not stand as it is, for `room` of them at most.
    pub fn cancels(
        &mut self,
        now: Nanos,
        (config, version): (&ParentConfig, &InstrumentVersion),
        room: usize,
        mut cancel: impl FnMut(OrderId),
    ) {
        let (wanted, step) = (self.wanted, version.price_step());
        let mut asked = 0;
        for index in self.children.indices() {
            let child = &mut self.children.places[index];
            let asked_lately =
                child.cancel_asked.is_some_and(|at| now.saturating_sub(at) < config.cancel_retry);
            if asked_lately || !child.is_misplaced((wanted, step), now, config) {
                continue;
            }
            if asked == ORDERS_PER_INPUT.min(room) {
                return;
            }
            asked += 1;
            // What replaces it waits until the side is empty.
            self.unplaced = 0;
            child.cancel_asked = Some(now);
            cancel(child.record.order.id);
        }
    }

    /// Calls `place` for each new child, at the next price that the venue takes. A budget of as much as is wanted is given only where nothing of this
    /// side may still be filled. `next` makes identities; `room` is how many there may be at most; `base` holds what all children have in common, `position` is what
    /// they would make smaller or larger. False where something is wanted, nothing stands, and the venue would not take it.
    pub fn places(
        &mut self,
        (seq, now): (Seq, Nanos),
        (config, version): (&ParentConfig, &InstrumentVersion),
        (base, position, room): (&NewOrder, i64, usize),
        mut next: impl FnMut() -> OrderId,
        mut place: impl FnMut(NewOrder),
    ) -> bool {
        let Some(wanted) = self.wanted else { return true };
        if now < self.pause_until {
            return true;
        }
        let leads_out = if self.side == Side::Bid { position.saturating_neg() } else { position };
        let price = version.passively(self.side, wanted.price);
        if self.children.is_empty() {
            (self.unplaced, self.given) = (wanted.size.0, seq);
        }
        let child = version.size_down(config.child_size_max);
        for _ in 0..ORDERS_PER_INPUT.min(room) {
            if !self.children.has_room() || self.unplaced == 0 {
                return true;
            }
            let size = version.size_down(self.unplaced).min(child);
            let is_taken = version.is_open() && version.reaches_least(price, Quantity(size));
            let is_way_out = base.flags & OrderFlags::REDUCE_ONLY != 0;
            // What the venue would not take it may take as a way out, if it is one and says so; anything else is not tried.
            let says_so = !is_taken && !is_way_out && self.committed().saturating_add(size) <= leads_out;
            if size <= 0 || price.0 <= 0 || !(is_taken || is_way_out || says_so) {
                return !self.children.is_empty();
            }
            self.unplaced -= size;
            let order = NewOrder {
                id: next(),
                price,
                quantity: Quantity(size),
                side: self.side as u8,
                parent: self.given,
                flags: if says_so { OrderFlags::REDUCE_ONLY } else { base.flags },
                ..*base
            };
            self.children.add(Child { record: OrderRecord::new(order), placed: now, cancel_asked: None });
            place(order);
        }
        true
    }

    /// A digest of the children.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mix =
            |digest: u64, word: u64| (digest.rotate_left(13) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = mix(self.pause_until as u64, self.unplaced as u64);
        self.children.iter().fold(start, |d, c| {
            let asked = c.cancel_asked.unwrap_or_default() as u64;
            let words = [c.record.order.id.seq, c.record.state as u64, c.record.remaining() as u64, asked];
            words.iter().fold(d, |d, w| mix(d, *w))
        })
    }
}

impl Child {
    /// True where it should be cancelled: nothing is wanted, less is wanted, or it has stood long enough at a price
    /// too far from the one wanted.
    fn is_misplaced(&self, (wanted, step): (Option<Level>, i64), now: Nanos, config: &ParentConfig) -> bool {
        // What takes has ended before it could be taken back.
        if self.record.order.time_in_force == TimeInForce::ImmediateOrCancel as u8 {
            return false;
        }
        let Some(wanted) = wanted else { return true };
        if self.record.remaining() > wanted.size.0 {
            return true;
        }
        // Where the venue's step is coarse a price stands for all those that are rounded to it.
        let off = wanted.price.0 - self.record.order.price.0;
        let outward = if self.record.order.side == Side::Bid as u8 { off } else { -off };
        let far = (outward - (step - 1)).max(-outward) >= config.requote_ticks;
        far && now.saturating_sub(self.placed) >= config.requote_interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{OrderEvent, OrderUpdate};
    use proptest::prelude::*;

    /// Lots of 10.
    fn version() -> InstrumentVersion {
        InstrumentVersion::configured(1, 10)
    }

    const CONFIG: ParentConfig = ParentConfig {
        child_size_max: 40,
        requote_ticks: 5,
        requote_interval: 100,
        cancel_retry: 1_000,
        refusal_pause: 500,
    };

    fn level(price: i64, size: i64) -> Level {
        Level { price: Price(price), size: Quantity(size) }
    }

    fn place(parent: &mut Parent, now: Nanos, seq: u64) -> Vec<NewOrder> {
        let (mut child, mut orders) = (0, Vec::new());
        let next = || {
            child += 1;
            OrderId { seq, incarnation: 1, child: child - 1 }
        };
        parent.places((seq, now), (&CONFIG, &version()), (&NewOrder::default(), 0, 4), next, |o| {
            orders.push(o)
        });
        orders
    }

    fn cancels(parent: &mut Parent, now: Nanos) -> Vec<OrderId> {
        let mut ids = Vec::new();
        parent.cancels(now, (&CONFIG, &version()), 4, |id| ids.push(id));
        ids
    }

    fn report(parent: &mut Parent, order: &NewOrder, event: OrderEvent, now: Nanos) {
        let update = OrderUpdate {
            id: order.id,
            event: event as u8,
            quantity: order.quantity,
            cumulative: order.quantity,
            ..OrderUpdate::default()
        };
        parent.report(&update, now, &CONFIG);
    }

    #[test]
    fn a_budget_is_shared_by_children_and_never_exceeded() {
        let mut parent = Parent::new(Side::Bid);
        assert!(place(&mut parent, 0, 1).is_empty());
        parent.want(level(100, 95));
        let orders = place(&mut parent, 0, 1);
        let sizes: Vec<_> = orders.iter().map(|o| o.quantity.0).collect();
        assert_eq!(sizes, [40, 40, 10], "whole lots, no child above its largest");
        assert!(place(&mut parent, 1, 2).is_empty(), "what stands is what was wanted");
        assert_eq!(cancels(&mut parent, 1), []);
        parent.want(level(100, 1_000));
        report(&mut parent, &orders[0], OrderEvent::Filled, 2);
        report(&mut parent, &orders[1], OrderEvent::Filled, 2);
        assert!(place(&mut parent, 2, 3).is_empty(), "the last one may still be filled");
        report(&mut parent, &orders[2], OrderEvent::Canceled, 3);
        // Far more than one input may cause: the next ones place the rest, until there is no place for children.
        let more: Vec<_> = (4..12).map(|seq| place(&mut parent, 3, seq).len()).collect();
        assert_eq!(more, [4, 4, 4, 4, 0, 0, 0, 0]);
        assert_eq!(parent.committed(), 16 * 40);
        parent.want(Level::default());
        assert_eq!([4, 4, 4, 4, 0], [0; 5].map(|_| cancels(&mut parent, 4).len()));
    }

    #[test]
    fn a_quote_is_replaced_only_when_the_one_before_is_gone() {
        let mut parent = Parent::new(Side::Ask);
        parent.want(level(100, 10));
        let orders = place(&mut parent, 0, 1);
        parent.want(level(104, 10));
        assert_eq!(cancels(&mut parent, 500), [], "near enough");
        parent.want(level(105, 10));
        assert_eq!(cancels(&mut parent, 99), [], "too young");
        assert_eq!(cancels(&mut parent, 100), [orders[0].id]);
        assert_eq!(cancels(&mut parent, 200), [], "asked already");
        assert!(place(&mut parent, 200, 2).is_empty());
        assert_eq!(cancels(&mut parent, 1_100), [orders[0].id], "no answer: asked again");
        report(&mut parent, &orders[0], OrderEvent::Silent, 1_200);
        assert!(place(&mut parent, 1_200, 2).is_empty(), "nobody knows what became of it");
        report(&mut parent, &orders[0], OrderEvent::Canceled, 1_300);
        let again = place(&mut parent, 1_300, 2);
        assert_eq!((again[0].price, again[0].side), (Price(105), Side::Ask as u8));
        parent.want(Level::default());
        assert_eq!(cancels(&mut parent, 1_301), [again[0].id], "nothing wanted: at once");
    }

    #[test]
    fn after_a_refusal_the_side_waits() {
        let mut parent = Parent::new(Side::Bid);
        parent.want(level(100, 10));
        let first = place(&mut parent, 0, 1);
        parent.refused(first[0].id, 0, &CONFIG);
        assert!(place(&mut parent, 499, 2).is_empty());
        let second = place(&mut parent, 500, 2);
        report(&mut parent, &second[0], OrderEvent::Rejected, 600);
        assert!(place(&mut parent, 1_099, 3).is_empty());
        assert_eq!(place(&mut parent, 1_100, 3).len(), 1);
    }

    proptest! {
        /// Whatever is wanted and whatever is reported, what may still be filled never exceeds the largest size wanted
        /// when the side was last empty.
        #[test]
        fn the_budget_holds(steps in proptest::collection::vec((0u8..5, 1i64..20, 0i64..2_000, any::<prop::sample::Index>()), 1..120)) {
            let mut parent = Parent::new(Side::Bid);
            let (mut orders, mut budget): (Vec<NewOrder>, i64) = (Vec::new(), 0);
            for (i, (what, price, size, pick)) in steps.into_iter().enumerate() {
                let now = i as i64 * 60;
                match what {
                    0 => parent.want(level(price, size)),
                    1 if !orders.is_empty() => {
                        let order = orders[pick.index(orders.len())];
                        let events = [OrderEvent::Acknowledged, OrderEvent::Filled, OrderEvent::Canceled, OrderEvent::Silent];
                        report(&mut parent, &order, events[(price % 4) as usize], now);
                    }
                    2 if !orders.is_empty() => parent.refused(orders[pick.index(orders.len())].id, now, &CONFIG),
                    _ => drop(cancels(&mut parent, now)),
                }
                if parent.committed() == 0 {
                    budget = parent.wanted.map_or(0, |w| w.size.0);
                }
                let placed = place(&mut parent, now, i as u64 + 1);
                prop_assert!(placed.len() <= ORDERS_PER_INPUT);
                prop_assert!(parent.committed() + parent.unplaced <= budget, "{} {budget}", parent.committed());
                orders.extend(placed);
            }
        }
    }
}
