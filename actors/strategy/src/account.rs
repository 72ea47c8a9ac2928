//! What a session has: positions, what they cost, what was earned. Integers, moved by sequenced fills alone.

use kimera_protocol::{InstrumentId, Nanos};

/// One instrument of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Position in 1e-8, with its sign.
    pub position: i64,
    /// What it cost, with its sign, in 1e-16 of the quote asset (average cost).
    pub cost: i128,
    /// Market time of the fill that opened it.
    pub since: Nanos,
}

kimera_protocol::state!(Holding { position, cost, since });

impl Holding {
    /// Average price in 1e-8 of the quote asset; none without a position.
    #[must_use]
    pub fn entry(&self) -> Option<f64> {
        (self.position != 0).then(|| self.cost as f64 / self.position as f64)
    }
}

/// Everything of a session, for fills as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    holdings: Box<[Holding]>,
    /// Earned by what was closed, before fees, in 1e-16.
    realised: i128,
    /// Paid, in 1e-8.
    fees: i64,
    fills: u64,
}

kimera_protocol::state!(Account { holdings, realised, fees, fills });

impl Account {
    /// Nothing held of any of `instruments`.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self { holdings: vec![Holding::default(); instruments].into(), realised: 0, fees: 0, fills: 0 }
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.holdings.fill(Holding::default());
        (self.realised, self.fees, self.fills) = (0, 0, 0);
    }

    /// What is held of an instrument.
    #[must_use]
    pub fn holding(&self, of: InstrumentId) -> Holding {
        self.holdings.get(usize::from(of.0)).copied().unwrap_or_default()
    }

    /// Position in an instrument, in 1e-8 with its sign.
    #[inline]
    #[must_use]
    pub fn position(&self, of: InstrumentId) -> i64 {
        self.holdings.get(usize::from(of.0)).map_or(0, |holding| holding.position)
    }

    /// Every holding, by instrument.
    #[must_use]
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    /// True where nothing is held at all.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.holdings.iter().all(|h| h.position == 0)
    }

    /// Earned by what was closed, before fees, in 1e-16 of the quote asset.
    #[must_use]
    pub fn realised(&self) -> i128 {
        self.realised
    }

    /// Fees paid, in 1e-8.
    #[must_use]
    pub fn fees(&self) -> i64 {
        self.fees
    }

    /// Fills taken.
    #[must_use]
    pub fn fills(&self) -> u64 {
        self.fills
    }

    /// Takes a fill: `size` in 1e-8 with its sign, `price` in 1e-8 of the quote asset, `fee` in 1e-8.
    pub fn fill(&mut self, of: InstrumentId, size: i64, price: i64, fee: i64, time: Nanos) {
        let Some(holding) = self.holdings.get_mut(usize::from(of.0)) else { return };
        self.fees = self.fees.saturating_add(fee);
        self.fills += 1;
        let value = |size: i64| i128::from(size) * i128::from(price);
        let (position, opposite) = (holding.position, (holding.position < 0) != (size < 0));
        if position != 0 && opposite {
            let closed = size.unsigned_abs().min(position.unsigned_abs());
            let cost = if closed == position.unsigned_abs() {
                holding.cost
            } else {
                // What is left of a division stays with what is left of the position.
                holding.cost / i128::from(position.unsigned_abs()) * i128::from(closed)
            };
            let closing = if size < 0 { -(closed as i64) } else { closed as i64 };
            self.realised = self.realised.saturating_sub(value(closing)).saturating_sub(cost);
            holding.cost -= cost;
            holding.position += closing;
            let opening = size - closing;
            if opening != 0 {
                *holding = Holding { position: opening, cost: value(opening), since: time };
            }
        } else {
            if position == 0 {
                holding.since = time;
            }
            holding.position = position.saturating_add(size);
            holding.cost = holding.cost.saturating_add(value(size));
        }
    }

    /// Result so far in 1e-16: what was closed, what is open at `price` of each instrument (1e-8 of the quote asset), less fees.
    #[must_use]
    pub fn result(&self, price: impl Fn(InstrumentId) -> i64) -> i128 {
        let open = self.holdings.iter().enumerate().fold(0i128, |sum, (i, h)| {
            let value = i128::from(h.position) * i128::from(price(InstrumentId(i as u16)));
            sum.saturating_add(if h.position == 0 { 0 } else { value.saturating_sub(h.cost) })
        });
        self.realised.saturating_add(open).saturating_sub(i128::from(self.fees) * 100_000_000)
    }

    /// A word that tells two accounts apart that differ.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mix = |d: u64, w: u64| (d.rotate_left(13) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let start = mix(mix(self.realised as u64, self.fees as u64), self.fills);
        self.holdings.iter().fold(start, |d, h| mix(mix(d, h.position as u64), h.cost as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: InstrumentId = InstrumentId(0);
    const UNIT: i64 = 100_000_000;

    #[test]
    fn what_is_closed_is_earned_at_its_average_cost() {
        let mut account = Account::new(1);
        account.fill(A, 2 * UNIT, 100 * UNIT, 5, 10);
        account.fill(A, 2 * UNIT, 110 * UNIT, 5, 20);
        assert_eq!(account.holding(A).entry(), Some(105.0 * UNIT as f64));
        account.fill(A, -UNIT, 120 * UNIT, 5, 30);
        assert_eq!(account.realised(), 15 * i128::from(UNIT) * i128::from(UNIT));
        // Through zero: the rest is closed, and a short opened at the price of the fill.
        account.fill(A, -5 * UNIT, 100 * UNIT, 5, 40);
        assert_eq!(account.realised(), 0, "15 earned, three times 5 lost");
        let held = account.holding(A);
        assert_eq!((held.position, held.entry(), held.since), (-2 * UNIT, Some(100.0 * UNIT as f64), 40));
        assert_eq!(
            account.result(|_| 90 * UNIT),
            20 * i128::from(UNIT) * i128::from(UNIT) - 20 * i128::from(UNIT)
        );
        account.fill(A, 2 * UNIT, 90 * UNIT, 0, 50);
        assert!(account.is_flat() && account.holding(A).cost == 0 && account.fills() == 5);
    }

    proptest! {
        /// Whatever is filled: the result is the money that came in, plus what is held at the price, less fees.
        #[test]
        fn nothing_is_lost(fills in proptest::collection::vec((-50i64..50, 1i64..1_000, -3i64..10), 1..60), price in 1i64..1_000) {
            let (mut account, mut cash, mut position, mut fees) = (Account::new(1), 0i128, 0i64, 0i128);
            for (size, at, fee) in fills.into_iter().filter(|f| f.0 != 0) {
                account.fill(A, size, at, fee, 1);
                cash -= i128::from(size) * i128::from(at);
                position += size;
                fees += i128::from(fee) * 100_000_000;
            }
            prop_assert_eq!(account.holding(A).position, position);
            prop_assert_eq!(account.result(|_| price), cash + i128::from(position) * i128::from(price) - fees);
        }
    }
}
