//! Books and microstructure features: what the venues' events mean, at every mark.
//!
//! * [`ladder`]: one side of a book, as a circular window of ticks with a far table
//! * [`book`]: both sides, kept in order by update identifiers
//! * [`features`]: the estimators of the model book, section 1
//! * [`actor`]: the stage of the main line

pub mod actor;
pub mod book;
pub mod features;
pub mod ladder;

pub use actor::{Market, MarketConfig};
pub use book::Book;
