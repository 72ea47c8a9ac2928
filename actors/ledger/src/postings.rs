//! Accounts and entries.
//!
//! A trade exchanges two commodities. Each side of it is balanced by a trading account of the instrument, so that the
//! postings of an entry sum to nothing for each commodity (the method is known as trading accounts in multi-currency
//! double entry; see P. Selinger, "Tutorial on multiple currency accounting").

use rust_decimal::Decimal;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Commodity {
    /// The quote asset.
    Quote,
    /// The base asset or contract of an instrument.
    Base(u16),
}

/// Where it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// What the venue holds for us.
    Holdings,
    /// What was put in.
    Capital,
    /// What an instrument's trades have exchanged.
    Trading(u16),
    /// What trading has cost.
    Fees,
}

/// One line of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Account.
    pub account: Account,
    /// Commodity.
    pub commodity: Commodity,
    /// Amount: positive into the account.
    pub amount: Decimal,
}

/// Most lines of an entry.
pub const LINES_MAX: usize = 6;

/// An entry: lines that sum to nothing for each commodity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    lines: [Option<Posting>; LINES_MAX],
}

impl Entry {
    /// An entry of transfers, each `amount` of a commodity out of one account into another. By construction it sums
    /// to nothing. More transfers than fit are none.
    #[must_use]
    pub fn of_transfers(transfers: &[(Account, Account, Commodity, Decimal)]) -> Option<Self> {
        if transfers.len() * 2 > LINES_MAX {
            return None;
        }
        let mut lines = [None; LINES_MAX];
        for (pair, (from, to, commodity, amount)) in lines.as_chunks_mut::<2>().0.iter_mut().zip(transfers) {
            let line = |account, amount| Some(Posting { account, commodity: *commodity, amount });
            *pair = [line(*from, -*amount), line(*to, *amount)];
        }
        Some(Self { lines })
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = &Posting> {
        self.lines.iter().flatten()
    }
}
