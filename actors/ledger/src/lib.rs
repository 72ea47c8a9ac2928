//! Double entry: every fill as postings that sum to nothing, in exact decimals.
//!
//! * [`postings`]: accounts, commodities, entries that balance or are refused
//! * [`books`]: the books of a run: positions, cash, fees, realised and unrealised result
//! * [`actor`]: the last stage of the main line

pub mod actor;
pub mod books;
pub mod postings;

pub use actor::{Ledger, LedgerMeters};
pub use books::{Books, InstrumentBook, LedgerError};
pub use postings::{Account, Commodity, Entry, Posting};
