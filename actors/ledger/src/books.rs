//! The books of a run.

use kimera_protocol::{Loader, OrderUpdate, Saver, Side, State, StateError};
use rust_decimal::Decimal;

use crate::postings::{Account, Commodity, Entry};

/// Why a fill could not be booked. It is an alarm: the venue and we disagree about money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// An instrument the books do not have.
    #[error("fill of an unknown instrument")]
    UnknownInstrument,
    /// A side, size or price that makes no sense.
    #[error("fill without side, size or price")]
    Nonsense,
    /// More digits than a decimal holds.
    #[error("amount too large for the books")]
    TooLarge,
}

/// One instrument in the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstrumentBook {
    /// Price step in units of 1e-8.
    tick_units: i64,
    /// Position in base units, with its sign.
    pub position: Decimal,
    /// What the position cost, with its sign (average cost).
    pub cost: Decimal,
    /// Result of what was closed, before fees.
    pub realised: Decimal,
    /// Fees paid; negative where rebates are larger.
    pub fees: Decimal,
    /// Fills booked.
    pub fills: u64,
    holdings: Decimal,
    trading_base: Decimal,
    trading_quote: Decimal,
}

/// Largest amount the books hold exactly, in whole units of the quote asset.
const SUM_MAX: i64 = 100_000_000_000;

/// Every account of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    instruments: Box<[InstrumentBook]>,
    cash: Decimal,
    capital: Decimal,
    fees: Decimal,
}

/// Decimals as their sixteen bytes.
fn save_all(values: &[Decimal], out: &mut Saver) {
    values.iter().for_each(|value| out.put(&value.serialize()));
}

fn load_all<const N: usize>(values: [&mut Decimal; N], from: &mut Loader<'_>) -> Result<(), StateError> {
    for value in values {
        let bytes = <[u8; 16]>::try_from(from.take(16)?).map_err(|_| from.impossible("decimal"))?;
        *value = Decimal::deserialize(bytes);
    }
    Ok(())
}

impl State for InstrumentBook {
    fn save(&self, out: &mut Saver) {
        let Self { tick_units: _, position, cost, realised, fees, fills, .. } = self;
        let Self { holdings, trading_base, trading_quote, .. } = self;
        save_all(&[*position, *cost, *realised, *fees, *holdings, *trading_base, *trading_quote], out);
        fills.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let Self { tick_units: _, position, cost, realised, fees, fills, .. } = self;
        let Self { holdings, trading_base, trading_quote, .. } = self;
        load_all([position, cost, realised, fees, holdings, trading_base, trading_quote], from)?;
        fills.load(from)
    }
}

impl State for Books {
    fn save(&self, out: &mut Saver) {
        let Self { instruments, cash, capital, fees } = self;
        instruments.save(out);
        save_all(&[*cash, *capital, *fees], out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let Self { instruments, cash, capital, fees } = self;
        instruments.load(from)?;
        load_all([cash, capital, fees], from)
    }
}

/// A count of 1e-8 as a decimal.
#[must_use]
pub fn decimal(units: i128) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(units, 8).ok()
}

impl Books {
    /// Books with `capital` (units of 1e-8 of the quote asset) and instruments by their price steps in 1e-8.
    #[must_use]
    pub fn new(capital: i64, tick_units: &[i64]) -> Self {
        let instruments = tick_units
            .iter()
            .map(|&t| InstrumentBook { tick_units: t, ..InstrumentBook::default() })
            .collect();
        let capital = Decimal::new(capital, 8);
        Self { instruments, cash: capital, capital: -capital, fees: Decimal::ZERO }
    }

    /// An instrument's book.
    #[must_use]
    pub fn instrument(&self, instrument: u16) -> Option<&InstrumentBook> {
        self.instruments.get(usize::from(instrument))
    }

    /// Money at the venue that is not in positions.
    #[must_use]
    pub fn cash(&self) -> Decimal {
        self.cash
    }

    /// Books a fill. On an error nothing is booked.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn fill(&mut self, instrument: u16, update: &OrderUpdate) -> Result<Entry, LedgerError> {
        let book = self.instruments.get(usize::from(instrument)).ok_or(LedgerError::UnknownInstrument)?;
        if update.quantity.0 <= 0 || update.price.0 <= 0 || update.side > Side::Ask as u8 {
            return Err(LedgerError::Nonsense);
        }
        let price =
            decimal(i128::from(update.price.0) * i128::from(book.tick_units)).ok_or(LedgerError::TooLarge)?;
        let sign = if update.side == Side::Bid as u8 { 1 } else { -1 };
        let size = Decimal::new(update.quantity.0 * sign, 8);
        let value = size.checked_mul(price).ok_or(LedgerError::TooLarge)?;
        let fee = Decimal::new(update.fee, 8);
        // Sixteen places leave twelve digits before the point: beyond them a sum would lose its last digits.
        let limit = Decimal::from(SUM_MAX);
        if value.abs() > limit || fee.abs() > limit || (self.cash - value - fee).abs() > limit {
            return Err(LedgerError::TooLarge);
        }
        let base = Commodity::Base(instrument);
        let entry = Entry::of_transfers(&[
            (Account::Trading(instrument), Account::Holdings, base, size),
            (Account::Holdings, Account::Trading(instrument), Commodity::Quote, value),
            (Account::Holdings, Account::Fees, Commodity::Quote, fee),
        ])
        .ok_or(LedgerError::TooLarge)?;
        let moved = book.moved(size, value, price).ok_or(LedgerError::TooLarge)?;
        self.post(instrument, &entry);
        let book = &mut self.instruments[usize::from(instrument)];
        (book.position, book.cost, book.realised) = moved;
        book.fees += fee;
        book.fills += 1;
        Ok(entry)
    }

    fn post(&mut self, instrument: u16, entry: &Entry) {
        let book = &mut self.instruments[usize::from(instrument)];
        for line in entry.lines() {
            let account = match (line.account, line.commodity) {
                (Account::Holdings, Commodity::Quote) => &mut self.cash,
                (Account::Holdings, Commodity::Base(_)) => &mut book.holdings,
                (Account::Trading(_), Commodity::Base(_)) => &mut book.trading_base,
                (Account::Trading(_), Commodity::Quote) => &mut book.trading_quote,
                (Account::Fees, _) => &mut self.fees,
                (Account::Capital, _) => &mut self.capital,
            };
            *account += line.amount;
        }
    }

    /// True where every commodity sums to nothing over all accounts, and the positions are what the holdings say.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let quote = self
            .instruments
            .iter()
            .fold(self.cash + self.capital + self.fees, |sum, b| sum + b.trading_quote);
        quote.is_zero()
            && self
                .instruments
                .iter()
                .all(|b| (b.holdings + b.trading_base).is_zero() && b.holdings == b.position)
    }

    /// Result of what was closed, before fees.
    #[must_use]
    pub fn realised(&self) -> Decimal {
        self.instruments.iter().map(|b| b.realised).sum()
    }

    /// Fees paid.
    #[must_use]
    pub fn fees(&self) -> Decimal {
        self.fees
    }

    /// Result of what is open at a price for each instrument, in order; `None` where a price is missing.
    #[must_use]
    pub fn unrealised(&self, marks: &[Option<Decimal>]) -> Option<Decimal> {
        self.instruments.iter().zip(marks).try_fold(Decimal::ZERO, |sum, (book, mark)| {
            if book.position.is_zero() {
                return Some(sum);
            }
            Some(sum + (*mark)? * book.position - book.cost)
        })
    }
}

impl InstrumentBook {
    /// Position, cost and realised result after a trade (average cost). What closes carries its share of the cost away;
    /// what is left over by rounding stays in the cost, so that nothing is ever lost: `realised − cost` is exact.
    fn moved(&self, size: Decimal, value: Decimal, price: Decimal) -> Option<(Decimal, Decimal, Decimal)> {
        let same_way = self.position.is_zero() || self.position.is_sign_negative() == size.is_sign_negative();
        if same_way {
            return Some((self.position + size, self.cost.checked_add(value)?, self.realised));
        }
        let after = self.position + size;
        let flips = !after.is_zero() && after.is_sign_negative() != self.position.is_sign_negative();
        if after.is_zero() || flips {
            // The whole position closes; what goes through zero opens at the trade's price.
            let closed_value = -self.position * price;
            let realised = self.realised - (self.cost + closed_value);
            return Some((after, after.checked_mul(price)?, realised));
        }
        let carried = (self.cost.checked_mul(-size)?.checked_div(self.position)?).round_dp(16);
        Some((after, self.cost - carried, self.realised - (carried + value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Price, Quantity};
    use proptest::prelude::*;

    const UNIT: i64 = 100_000_000;

    fn fill(side: Side, size: i64, price: i64, fee: i64) -> OrderUpdate {
        OrderUpdate {
            side: side as u8,
            quantity: Quantity(size),
            price: Price(price),
            fee,
            ..OrderUpdate::default()
        }
    }

    fn books() -> Books {
        Books::new(1_000 * UNIT, &[UNIT])
    }

    #[test]
    fn published_values() {
        // Model book 7.1: buy 2 at 100, 3 at 110, sell 4 at 120: realised 56 by average cost; at 115, 9 unrealised.
        let mut books = books();
        for (side, size, price) in [(Side::Bid, 2, 100), (Side::Bid, 3, 110), (Side::Ask, 4, 120)] {
            books.fill(0, &fill(side, size * UNIT, price, 0)).unwrap();
            assert!(books.balanced());
        }
        assert_eq!(books.realised(), Decimal::from(56));
        assert_eq!(books.unrealised(&[Some(Decimal::from(115))]), Some(Decimal::from(9)));
        assert_eq!(books.unrealised(&[None]), None);
    }

    #[test]
    fn a_flip_through_zero_splits_the_fill_and_fees_stand_apart() {
        let mut books = books();
        books.fill(0, &fill(Side::Bid, 2 * UNIT, 100, UNIT)).unwrap();
        books.fill(0, &fill(Side::Ask, 5 * UNIT, 110, UNIT / 2)).unwrap();
        let book = books.instrument(0).unwrap();
        assert_eq!(
            (book.position, book.cost, book.realised),
            (Decimal::from(-3), Decimal::from(-330), Decimal::from(20))
        );
        assert_eq!(
            (books.fees(), books.cash()),
            (Decimal::new(15, 1), Decimal::from(1_000 - 200 + 550) - Decimal::new(15, 1))
        );
        assert!(books.balanced());
    }

    #[test]
    fn what_makes_no_sense_is_not_booked() {
        let mut books = books();
        let before = books.clone();
        assert_eq!(books.fill(7, &fill(Side::Bid, UNIT, 1, 0)), Err(LedgerError::UnknownInstrument));
        assert_eq!(books.fill(0, &fill(Side::Bid, 0, 1, 0)), Err(LedgerError::Nonsense));
        assert_eq!(books.fill(0, &fill(Side::Bid, UNIT, -1, 0)), Err(LedgerError::Nonsense));
        assert_eq!(
            books.fill(0, &OrderUpdate { side: 2, ..fill(Side::Bid, UNIT, 1, 0) }),
            Err(LedgerError::Nonsense)
        );
        assert_eq!(books.fill(0, &fill(Side::Bid, i64::MAX, i64::MAX, 0)), Err(LedgerError::TooLarge));
        assert_eq!(books, before);
    }

    #[test]
    fn books_that_do_not_balance_are_seen() {
        let mut books = books();
        books.fill(0, &fill(Side::Bid, UNIT, 100, 0)).unwrap();
        books.cash += Decimal::new(1, 8);
        assert!(!books.balanced());
    }

    proptest! {
        /// Any trades: the books balance after each, and equity at a price is the capital, the trades' cash and the
        /// position at that price, to the last digit.
        #[test]
        fn nothing_is_lost(trades in proptest::collection::vec((any::<bool>(), 1i64..10_000_000, 1i64..7_000_000, -50i64..5_000), 1..60)) {
            let mut books = Books::new(UNIT, &[1_000_000]);
            let (mut cash, mut position, mut fees) = (Decimal::from(1), Decimal::ZERO, Decimal::ZERO);
            for (buys, size, price, fee) in trades {
                let side = if buys { Side::Bid } else { Side::Ask };
                books.fill(0, &fill(side, size, price, fee)).unwrap();
                let signed = Decimal::new(if buys { size } else { -size }, 8);
                position += signed;
                cash -= signed * Decimal::new(price, 2) + Decimal::new(fee, 8);
                fees += Decimal::new(fee, 8);
                prop_assert!(books.balanced());
            }
            prop_assert_eq!((books.cash(), books.instrument(0).unwrap().position, books.fees()), (cash, position, fees));
            let mark = Decimal::new(6_180_025, 2);
            let unrealised = books.unrealised(&[Some(mark)]).unwrap();
            prop_assert_eq!(Decimal::from(1) + books.realised() + unrealised - fees, cash + position * mark);
        }
    }
}
