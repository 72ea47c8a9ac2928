//! 1.4 Liquidity flow: how the depth near the mid changed, and why.
//!
//! Order-book accounting after Cont, Stoikov and Talreja 2010, section 2, in exact integers: at every step
//! `depth after − depth before = added − cancelled − executed + re-centred`.

use kimera_numerics::Estimate;
use kimera_protocol::{Loader, Nanos, Price, Saver, Side, State, StateError, Status, Trade};

use super::Buckets;
use crate::book::{Book, LevelChange};

/// Trades whose effect on the depth stream is still to come.
const PENDING: usize = 32;

/// What has happened to the depth of one side, in 1e-8, since the start of the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Depth in the window now.
    pub depth: i128,
    /// New or larger levels.
    pub added: i128,
    /// Smaller levels without a trade to explain it.
    pub cancelled: i128,
    /// Smaller levels a trade explains.
    pub executed: i128,
    /// Depth that entered or left because the mid moved.
    pub recentred: i128,
    /// Depth at the start of the bucket.
    pub opening: i128,
}

kimera_protocol::state!(Account { depth, added, cancelled, executed, recentred, opening });

impl Account {
    /// The conservation identity; it holds after every event.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.depth - self.opening == self.added - self.cancelled - self.executed + self.recentred
    }

    fn open_bucket(&mut self) {
        *self = Self { depth: self.depth, opening: self.depth, ..Self::default() };
    }
}

#[derive(Clone, Copy, Default)]
struct Pending {
    side: Option<Side>,
    price: Price,
    size: i64,
}

impl State for Pending {
    fn save(&self, out: &mut Saver) {
        // 0 where there is none, else the side's code and one.
        self.side.map_or(0u8, |side| side as u8 + 1).save(out);
        self.price.save(out);
        self.size.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut side = 0u8;
        side.load(from)?;
        self.side = match side {
            0 => None,
            1 => Some(Side::Bid),
            2 => Some(Side::Ask),
            _ => return Err(from.impossible("side")),
        };
        self.price.load(from)?;
        self.size.load(from)
    }
}

/// Depth within `ticks` of the mid, side by side.
pub struct LiquidityFlow {
    ticks: i64,
    buckets: Buckets,
    accounts: [Account; 2],
    /// Highest tick of the bid window and lowest of the ask window; none before the first book.
    window: Option<(Price, Price)>,
    bucket: i64,
    pending: [Pending; PENDING],
    next_pending: usize,
    events: u64,
}

kimera_protocol::state!(LiquidityFlow { accounts, window, bucket, pending, next_pending, events } fixed { ticks, buckets });

impl LiquidityFlow {
    /// A window of `ticks` either side, buckets of `length`.
    #[must_use]
    pub fn new(ticks: i64, length: Nanos) -> Self {
        Self {
            ticks,
            buckets: Buckets::new(length),
            accounts: [Account::default(); 2],
            window: None,
            bucket: 0,
            pending: [Pending::default(); PENDING],
            next_pending: 0,
            events: 0,
        }
    }

    /// A trade explains a decrease of the passive side at its price that the depth stream will report.
    pub fn traded(&mut self, trade: &Trade) {
        let side = if trade.aggressor > 0 { Side::Ask } else { Side::Bid };
        self.pending[self.next_pending] =
            Pending { side: Some(side), price: trade.price, size: trade.size.0 };
        self.next_pending = (self.next_pending + 1) % PENDING;
    }

    /// A level changed.
    #[inline]
    pub fn level_changed(&mut self, change: LevelChange) {
        let Some((bid_top, ask_top)) = self.window else { return };
        let inside = match change.side {
            Side::Bid => change.price > Price(bid_top.0 - self.ticks) && change.price <= bid_top,
            Side::Ask => change.price < Price(ask_top.0 + self.ticks) && change.price >= ask_top,
        };
        if !inside {
            return;
        }
        self.events += 1;
        let delta = change.to.0 - change.from.0; // both are positive or 0
        let executed =
            if delta < 0 { i128::from(self.explain(change.side, change.price, -delta)) } else { 0 };
        let delta = i128::from(delta);
        let account = &mut self.accounts[change.side as usize];
        account.depth += delta;
        if delta > 0 {
            account.added += delta;
        } else {
            account.executed += executed;
            account.cancelled += -delta - executed;
        }
        debug_assert!(account.balances());
    }

    /// How much of a decrease pending trades explain; what is used is used up.
    fn explain(&mut self, side: Side, price: Price, mut decrease: i64) -> i64 {
        let mut explained = 0;
        for trade in &mut self.pending {
            if trade.side == Some(side) && trade.price == price && decrease > 0 {
                let used = trade.size.min(decrease);
                trade.size -= used;
                decrease -= used;
                explained += used;
                if trade.size == 0 {
                    trade.side = None;
                }
            }
        }
        explained
    }

    /// The best prices after a frame: the window follows the mid.
    pub fn moved(&mut self, book: &Book, bid: Price, ask: Price, time: Nanos) {
        let index = self.buckets.of(time);
        if index != self.bucket || self.window.is_none() {
            self.bucket = index;
            self.accounts.iter_mut().for_each(Account::open_bucket);
        }
        // The window is set by the mid, rounded down to a tick for bids and up for asks.
        let sum = bid.0 + ask.0;
        let tops = (Price(sum.div_euclid(2)), Price(-(-sum).div_euclid(2)));
        if self.window != Some(tops) {
            let first = self.window.is_none();
            self.window = Some(tops);
            let depths = [
                book.side(Side::Bid).depth_between(Price(tops.0.0 - self.ticks + 1), tops.0),
                book.side(Side::Ask).depth_between(tops.1, Price(tops.1.0 + self.ticks - 1)),
            ];
            for (account, depth) in self.accounts.iter_mut().zip(depths.map(i128::from)) {
                account.recentred += depth - account.depth;
                account.depth = depth;
                if first {
                    account.open_bucket();
                }
            }
        }
    }

    /// The book was lost.
    pub fn reset(&mut self) {
        self.window = None;
        self.accounts = [Account::default(); 2];
        self.pending = [Pending::default(); PENDING];
        self.events = 0;
    }

    /// Depth in the window, in 1e-8.
    #[must_use]
    pub fn depth(&self, side: Side) -> i64 {
        i64::try_from(self.accounts[side as usize].depth).unwrap_or(i64::MAX)
    }

    /// One side's account of the running bucket.
    #[must_use]
    pub fn account(&self, side: Side) -> &Account {
        &self.accounts[side as usize]
    }

    /// `(ΔD_bid − ΔD_ask) / (D_bid + D_ask)` over the running bucket, held in [-1, 1].
    #[must_use]
    pub fn flow(&self) -> Estimate {
        if self.window.is_none() {
            return Estimate::warmup(self.events);
        }
        let [bid, ask] = &self.accounts;
        let wide = |size: i128| kimera_numerics::real(size) * 1e-8;
        let total = wide(bid.depth) + wide(ask.depth);
        if total <= 0.0 {
            return Estimate::degenerate(Status::ZeroVariance, self.events);
        }
        let change = wide(bid.depth - bid.opening) - wide(ask.depth - ask.opening);
        Estimate::clamped(change / total, -1.0, 1.0, self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{DepthBegin, Level, Levels, Quantity};
    use proptest::prelude::*;

    fn apply(book: &mut Book, flow: &mut LiquidityFlow, id: u64, updates: &[(i64, i64, bool)]) {
        let snapshot = u32::from(id == 1);
        book.begin(&DepthBegin { snapshot, previous_id: id - 1, last_id: id, ..DepthBegin::default() });
        for &(price, size, is_bid) in updates {
            let mut body = Levels::default();
            body.levels[0] = Level { price: Price(price), size: Quantity(size) };
            book.apply(&body, 1, usize::from(is_bid), |c| flow.level_changed(c));
        }
        if let (Some(b), Some(a)) = book.best() {
            flow.moved(book, b.price, a.price, 0);
        }
    }

    #[test]
    fn a_trade_explains_a_decrease_once() {
        let (mut book, mut flow) = (Book::new(), LiquidityFlow::new(10, 1_000));
        apply(&mut book, &mut flow, 1, &[(100, 50, true), (101, 50, false)]);
        flow.traded(&Trade { price: Price(100), size: Quantity(20), aggressor: -1, ..Trade::default() });
        apply(&mut book, &mut flow, 2, &[(100, 20, true)]);
        let account = flow.account(Side::Bid);
        assert_eq!((account.executed, account.cancelled, account.depth), (20, 10, 20));
        apply(&mut book, &mut flow, 3, &[(100, 10, true), (99, 7, true)]);
        let account = flow.account(Side::Bid);
        assert_eq!((account.executed, account.cancelled, account.added), (20, 20, 7));
    }

    proptest! {
        #[test]
        fn depth_is_conserved_on_every_event(frames in proptest::collection::vec(
            proptest::collection::vec((90i64..110, 0i64..6, any::<bool>()), 1..6), 1..40)) {
            let (mut book, mut flow) = (Book::new(), LiquidityFlow::new(4, 1_000));
            for (i, frame) in frames.iter().enumerate() {
                apply(&mut book, &mut flow, i as u64 + 1, frame);
                for side in [Side::Bid, Side::Ask] {
                    prop_assert!(flow.account(side).balances(), "{:?}", flow.account(side));
                }
                if let Some((bid_top, ask_top)) = flow.window {
                    let expected = [
                        book.side(Side::Bid).depth_between(Price(bid_top.0 - 3), bid_top),
                        book.side(Side::Ask).depth_between(ask_top, Price(ask_top.0 + 3)),
                    ];
                    prop_assert_eq!([flow.depth(Side::Bid), flow.depth(Side::Ask)], expected);
                }
                let lf = flow.flow();
                prop_assert!((-1.0..=1.0).contains(&lf.value));
            }
        }
    }
}
