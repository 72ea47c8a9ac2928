//! The venue's matching: our orders against the recorded book, price and time.
//!
//! An order of ours that rests joins the queue at its price behind everything the recorded book shows there. Recorded
//! trades at the price use up what is ahead and then fill us; a trade or a best price beyond ours fills us whole. Size
//! that leaves the queue without a trade is taken to have stood behind us, unless less is left than was ahead. What
//! takes is filled against the recorded levels, without changing them: the recording cannot know of us.

use std::collections::BTreeMap;

/// Price and size in units of 1e-8.
pub type Units = i64;

const UNIT: i128 = 100_000_000;

/// Which side an order is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderSide {
    /// Buys.
    Buy,
    /// Sells.
    Sell,
}

/// How long an order stands, by the venue's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tif {
    /// Until cancelled.
    Gtc,
    /// At once, the rest expires.
    Ioc,
    /// Whole and at once, or not at all.
    Fok,
    /// Only as a maker.
    Gtx,
}

/// Public fee tier in units of 1e-8 of the notional: 0.02 % for makers, 0.05 % for takers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// Of a resting order.
    pub maker: Units,
    /// Of a taking order.
    pub taker: Units,
}

impl Default for Fees {
    fn default() -> Self {
        Self { maker: 20_000, taker: 50_000 }
    }
}

/// An order as placed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Placement {
    /// The client's identifier.
    pub client_id: String,
    /// Side.
    pub side: OrderSide,
    /// Limit price.
    pub price: Units,
    /// Size.
    pub size: Units,
    /// Time in force.
    pub tif: Tif,
    /// It may only make the position smaller.
    pub reduce_only: bool,
}

/// An order that rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// As placed.
    pub placement: Placement,
    /// The venue's identifier.
    pub order_id: u64,
    /// Filled so far.
    pub filled: Units,
    /// Size ahead of it in the queue.
    pub ahead: Units,
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Happening {
    /// Taken.
    Accepted {
        /// The venue's identifier.
        order_id: u64,
        /// As placed.
        placement: Placement,
    },
    /// Part or all of it was filled.
    Filled {
        /// The venue's identifier.
        order_id: u64,
        /// Identifier of the trade.
        trade_id: u64,
        /// Price of the fill.
        price: Units,
        /// Size of the fill.
        size: Units,
        /// Filled in all.
        total: Units,
        /// Fee in units of 1e-8 of the quote asset, rounded up.
        fee: Units,
        /// True where it rested.
        maker: bool,
    },
    /// Taken back.
    Canceled {
        /// The venue's identifier.
        order_id: u64,
    },
    /// Ended by its time in force.
    Expired {
        /// The venue's identifier.
        order_id: u64,
    },
}

/// Why an order is refused, with the venue's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// -5022: it would take.
    WouldTake,
    /// -2022: it would not make the position smaller.
    ReduceOnly,
    /// -4116: the client's identifier is in use.
    DuplicateId,
    /// -2011: no such order.
    UnknownOrder,
}

impl Refused {
    /// The venue's code and text.
    #[must_use]
    pub fn code(self) -> (i32, &'static str) {
        match self {
            Self::WouldTake => (
                -5022,
                "Due to the order could not be executed as maker, the Post Only order will be rejected.",
            ),
            Self::ReduceOnly => (-2022, "ReduceOnly Order is rejected."),
            Self::DuplicateId => (-4116, "ClientOrderId is duplicated."),
            Self::UnknownOrder => (-2011, "Unknown order sent."),
        }
    }
}

/// The recorded book, as far as matching looks at it.
pub trait Depth {
    /// Levels one can buy from (asks upwards) or sell to (bids downwards): price and size.
    fn opposite(&self, side: OrderSide) -> Box<dyn Iterator<Item = (Units, Units)> + '_>;
    /// Size standing at a price on an order's own side.
    fn standing(&self, side: OrderSide, price: Units) -> Units;
}

/// Orders that rest, in the order they came.
#[derive(Debug)]
pub struct Matching {
    fees: Fees,
    resting: BTreeMap<u64, Resting>,
    next_order_id: u64,
    next_trade_id: u64,
    position: Units,
}

fn better_or_equal(side: OrderSide, price: Units, limit: Units) -> bool {
    match side {
        OrderSide::Buy => price <= limit,
        OrderSide::Sell => price >= limit,
    }
}

impl Matching {
    /// No orders, no position.
    #[must_use]
    pub fn new(fees: Fees) -> Self {
        Self { fees, resting: BTreeMap::new(), next_order_id: 1, next_trade_id: 1, position: 0 }
    }

    /// Position in units of 1e-8, with its sign.
    #[must_use]
    pub fn position(&self) -> Units {
        self.position
    }

    /// Orders that rest.
    pub fn resting(&self) -> impl Iterator<Item = &Resting> {
        self.resting.values()
    }

    /// Puts back what a durable record says: for a venue that starts again. Its place in the queue is the last.
    pub fn restore(&mut self, happening: &Happening, depth: &dyn Depth) {
        match happening {
            Happening::Accepted { order_id, placement } => {
                self.next_order_id = self.next_order_id.max(order_id + 1);
                let ahead = depth.standing(placement.side, placement.price);
                let order = Resting { placement: placement.clone(), order_id: *order_id, filled: 0, ahead };
                self.resting.insert(*order_id, order);
            }
            Happening::Filled { order_id, trade_id, size, total, .. } => {
                self.next_trade_id = self.next_trade_id.max(trade_id + 1);
                if let Some(order) = self.resting.get_mut(order_id) {
                    order.filled = *total;
                    self.position += signed(order.placement.side, *size);
                    if order.filled == order.placement.size {
                        self.resting.remove(order_id);
                    }
                }
            }
            Happening::Canceled { order_id } | Happening::Expired { order_id } => {
                self.resting.remove(order_id);
            }
        }
    }

    /// Places an order: its identifier and what happened at once.
    ///
    /// # Errors
    /// [`Refused`]; nothing has happened then.
    pub fn place(
        &mut self,
        placement: Placement,
        depth: &dyn Depth,
    ) -> Result<(u64, Vec<Happening>), Refused> {
        if self.resting.values().any(|r| r.placement.client_id == placement.client_id) {
            return Err(Refused::DuplicateId);
        }
        let reduces = match placement.side {
            OrderSide::Buy => self.position < 0 && placement.size <= -self.position,
            OrderSide::Sell => self.position > 0 && placement.size <= self.position,
        };
        if placement.reduce_only && !reduces {
            return Err(Refused::ReduceOnly);
        }
        let takes: Vec<(Units, Units)> = depth
            .opposite(placement.side)
            .take_while(|(price, _)| better_or_equal(placement.side, *price, placement.price))
            .collect();
        if placement.tif == Tif::Gtx && !takes.is_empty() {
            return Err(Refused::WouldTake);
        }
        let order_id = self.next_order_id;
        self.next_order_id += 1;
        let mut happenings = vec![Happening::Accepted { order_id, placement: placement.clone() }];
        let available: i128 = takes.iter().map(|(_, size)| i128::from(*size)).sum();
        let mut order = Resting { placement, order_id, filled: 0, ahead: 0 };
        if order.placement.tif != Tif::Fok || available >= i128::from(order.placement.size) {
            for (price, size) in takes {
                let size = size.min(order.placement.size - order.filled);
                if size > 0 {
                    happenings.push(self.fill(&mut order, price, size, false));
                }
            }
        }
        if order.filled < order.placement.size {
            match order.placement.tif {
                Tif::Ioc | Tif::Fok => happenings.push(Happening::Expired { order_id }),
                Tif::Gtc | Tif::Gtx => {
                    order.ahead = depth.standing(order.placement.side, order.placement.price);
                    self.resting.insert(order_id, order);
                }
            }
        }
        Ok((order_id, happenings))
    }

    /// Takes an order back by the client's identifier.
    ///
    /// # Errors
    /// [`Refused::UnknownOrder`].
    pub fn cancel(&mut self, client_id: &str) -> Result<Happening, Refused> {
        let found = self.resting.values().find(|r| r.placement.client_id == client_id).map(|r| r.order_id);
        let order_id = found.ok_or(Refused::UnknownOrder)?;
        self.resting.remove(&order_id);
        Ok(Happening::Canceled { order_id })
    }

    /// Takes everything back.
    pub fn cancel_all(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.resting)
            .into_keys()
            .map(|order_id| Happening::Canceled { order_id })
            .collect()
    }

    /// A recorded trade: `taker` is the side that took. Resting orders of the other side are filled by price, then time.
    pub fn traded(&mut self, taker: OrderSide, price: Units, size: Units) -> Vec<Happening> {
        let maker = if taker == OrderSide::Buy { OrderSide::Sell } else { OrderSide::Buy };
        // Best price first; of equal prices the one that came first. What stood ahead of an order in the recorded book
        // is used up by the same trade for all our orders at that price, what filled one of them is gone for the next.
        let mut queue: Vec<(Units, u64)> = self
            .resting
            .values()
            .filter(|r| r.placement.side == maker)
            .map(|r| (r.placement.price, r.order_id))
            .collect();
        queue.sort_by_key(|(p, id)| (if maker == OrderSide::Sell { *p } else { -*p }, *id));
        let mut left = size;
        let mut happenings = Vec::new();
        for (limit, order_id) in queue {
            let Some(mut order) = self.resting.remove(&order_id) else { continue };
            let through = limit != price && better_or_equal(taker, limit, price);
            if through {
                let size = order.placement.size - order.filled;
                happenings.push(self.fill(&mut order, limit, size, true));
            } else if limit == price {
                let past = (left - order.ahead).max(0);
                order.ahead = (order.ahead - left).max(0);
                let size = past.min(order.placement.size - order.filled);
                if size > 0 {
                    left -= size;
                    happenings.push(self.fill(&mut order, limit, size, true));
                }
            }
            if order.filled < order.placement.size {
                self.resting.insert(order_id, order);
            }
        }
        happenings
    }

    /// The recorded book has changed: queues that have become shorter than what was ahead let us forward, and best
    /// prices beyond a resting order fill it.
    pub fn book_changed(&mut self, depth: &dyn Depth) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for order_id in self.resting.keys().copied().collect::<Vec<_>>() {
            let Some(mut order) = self.resting.remove(&order_id) else { continue };
            let (side, limit) = (order.placement.side, order.placement.price);
            let best = depth.opposite(side).next().map(|(price, _)| price);
            if best.is_some_and(|price| better_or_equal(side, price, limit)) {
                let size = order.placement.size - order.filled;
                happenings.push(self.fill(&mut order, limit, size, true));
            } else {
                order.ahead = order.ahead.min(depth.standing(side, limit));
                self.resting.insert(order_id, order);
            }
        }
        happenings
    }

    fn fill(&mut self, order: &mut Resting, price: Units, size: Units, maker: bool) -> Happening {
        order.filled += size;
        self.position += signed(order.placement.side, size);
        let trade_id = self.next_trade_id;
        self.next_trade_id += 1;
        let rate = if maker { self.fees.maker } else { self.fees.taker };
        Happening::Filled {
            order_id: order.order_id,
            trade_id,
            price,
            size,
            total: order.filled,
            fee: fee(price, size, rate),
            maker,
        }
    }
}

fn signed(side: OrderSide, size: Units) -> Units {
    if side == OrderSide::Buy { size } else { -size }
}

/// Notional times rate, rounded up to the unit: in the venue's favour.
fn fee(price: Units, size: Units, rate: Units) -> Units {
    let exact = i128::from(price) * i128::from(size) * i128::from(rate);
    let divisor = UNIT * UNIT;
    i64::try_from((exact + divisor - 1).div_euclid(divisor)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: Units = 100_000_000;

    struct Book(Vec<(Units, Units)>, Vec<(Units, Units)>);

    impl Depth for Book {
        fn opposite(&self, side: OrderSide) -> Box<dyn Iterator<Item = (Units, Units)> + '_> {
            Box::new(if side == OrderSide::Buy { &self.1 } else { &self.0 }.iter().copied())
        }

        fn standing(&self, side: OrderSide, price: Units) -> Units {
            let levels = if side == OrderSide::Buy { &self.0 } else { &self.1 };
            levels.iter().find(|(p, _)| *p == price).map_or(0, |(_, s)| *s)
        }
    }

    fn book() -> Book {
        Book(vec![(100 * U, 5 * U), (99 * U, 5 * U)], vec![(101 * U, 2 * U), (102 * U, 3 * U)])
    }

    fn order(id: &str, side: OrderSide, price: Units, size: Units, tif: Tif) -> Placement {
        Placement { client_id: id.into(), side, price: price * U, size: size * U, tif, reduce_only: false }
    }

    fn fills(happenings: &[Happening]) -> Vec<(u64, Units, Units)> {
        happenings
            .iter()
            .filter_map(|h| match h {
                Happening::Filled { order_id, price, size, .. } => Some((*order_id, price / U, size / U)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn taking_walks_the_levels_and_pays_the_takers_fee() {
        let mut m = Matching::new(Fees::default());
        let (_, h) = m.place(order("a", OrderSide::Buy, 102, 4, Tif::Ioc), &book()).unwrap();
        assert_eq!(fills(&h), [(1, 101, 2), (1, 102, 2)]);
        // 0.05 % of 202 and of 204.
        let paid: Vec<_> = h
            .iter()
            .filter_map(|h| if let Happening::Filled { fee, .. } = h { Some(*fee) } else { None })
            .collect();
        assert_eq!(paid, [U / 1_000 * 101, U / 1_000 * 102]);
        assert_eq!(m.position(), 4 * U);
        let (_, h) = m.place(order("b", OrderSide::Buy, 101, 4, Tif::Ioc), &book()).unwrap();
        assert!(matches!(h.last(), Some(Happening::Expired { .. })));
        let (_, h) = m.place(order("c", OrderSide::Buy, 101, 4, Tif::Fok), &book()).unwrap();
        assert!(fills(&h).is_empty() && matches!(h.last(), Some(Happening::Expired { .. })));
    }

    #[test]
    fn post_only_never_takes() {
        let mut m = Matching::new(Fees::default());
        assert_eq!(m.place(order("a", OrderSide::Buy, 101, 1, Tif::Gtx), &book()), Err(Refused::WouldTake));
        assert!(m.place(order("a", OrderSide::Buy, 100, 1, Tif::Gtx), &book()).is_ok());
        assert_eq!(m.place(order("a", OrderSide::Buy, 99, 1, Tif::Gtx), &book()), Err(Refused::DuplicateId));
    }

    #[test]
    fn what_is_ahead_is_filled_first() {
        let mut m = Matching::new(Fees::default());
        m.place(order("a", OrderSide::Buy, 100, 2, Tif::Gtx), &book()).unwrap();
        m.place(order("b", OrderSide::Buy, 100, 2, Tif::Gtx), &book()).unwrap();
        assert!(fills(&m.traded(OrderSide::Sell, 100 * U, 4 * U)).is_empty(), "five stood ahead");
        assert_eq!(
            fills(&m.traded(OrderSide::Sell, 100 * U, 2 * U)),
            [(1, 100, 1)],
            "one ahead, one for the first"
        );
        assert_eq!(fills(&m.traded(OrderSide::Sell, 100 * U, 2 * U)), [(1, 100, 1), (2, 100, 1)]);
        assert_eq!(fills(&m.traded(OrderSide::Buy, 100 * U, 9 * U)), [], "buyers do not fill buyers");
        assert_eq!(
            fills(&m.traded(OrderSide::Sell, 99 * U, U)),
            [(2, 100, 1)],
            "through the price: at our own"
        );
        assert_eq!((m.position(), m.resting().count()), (4 * U, 0));
    }

    #[test]
    fn a_queue_that_shrinks_lets_us_forward() {
        let mut m = Matching::new(Fees::default());
        m.place(order("a", OrderSide::Sell, 102, 1, Tif::Gtx), &book()).unwrap();
        assert!(m.book_changed(&Book(vec![(100 * U, U)], vec![(102 * U, U)])).is_empty());
        assert_eq!(fills(&m.traded(OrderSide::Buy, 102 * U, 2 * U)), [(1, 102, 1)]);
        m.place(order("b", OrderSide::Sell, 102, 1, Tif::Gtx), &book()).unwrap();
        let crossed = Book(vec![(103 * U, U)], vec![(104 * U, U)]);
        assert_eq!(fills(&m.book_changed(&crossed)), [(2, 102, 1)], "the market has gone through us");
    }

    #[test]
    fn reduce_only_and_cancels() {
        let mut m = Matching::new(Fees::default());
        let reduce = |id: &str, size| Placement {
            reduce_only: true,
            ..order(id, OrderSide::Sell, 103, size, Tif::Gtc)
        };
        assert_eq!(m.place(reduce("a", 1), &book()), Err(Refused::ReduceOnly));
        m.place(order("b", OrderSide::Buy, 101, 2, Tif::Gtc), &book()).unwrap();
        assert_eq!(m.place(reduce("c", 3), &book()), Err(Refused::ReduceOnly));
        assert!(m.place(reduce("c", 2), &book()).is_ok());
        assert_eq!(m.cancel("nobody"), Err(Refused::UnknownOrder));
        assert!(m.cancel("c").is_ok());
        m.place(order("d", OrderSide::Buy, 99, 1, Tif::Gtc), &book()).unwrap();
        assert_eq!(m.cancel_all().len(), 1);
        assert_eq!(m.resting().count(), 0);
    }

    #[test]
    fn what_was_recorded_is_put_back() {
        let mut before = Matching::new(Fees::default());
        let mut log = Vec::new();
        for (id, side, price) in
            [("a", OrderSide::Buy, 101), ("b", OrderSide::Buy, 99), ("c", OrderSide::Sell, 104)]
        {
            log.extend(before.place(order(id, side, price, 3, Tif::Gtc), &book()).unwrap().1);
        }
        log.push(before.cancel("c").unwrap());
        let mut after = Matching::new(Fees::default());
        log.iter().for_each(|h| after.restore(h, &book()));
        assert_eq!(after.position(), before.position());
        let state = |m: &Matching| m.resting().map(|r| (r.order_id, r.filled)).collect::<Vec<_>>();
        assert_eq!(state(&after), state(&before));
        assert_eq!((after.next_order_id, after.next_trade_id), (before.next_order_id, before.next_trade_id));
    }
}
