//! Books and microstructure features: what the venues' events mean, at every mark.
//!
//! * [`ladder`]: one side of a book, as a circular window of ticks with a far table
//! * [`top`]: best prices of any book, or why there are none
//! * [`book`]: both sides, kept in order by update identifiers
//! * [`by_order`]: a book of single orders
//! * [`composite`]: best prices over several venues
//! * [`one_market`]: the composite of instruments that are one market, on the line
//! * [`features`]: the estimators of the model book, section 1
//! * [`opinions`]: its slow ones, beside the line
//! * [`order_flow`]: orders from a seed, to test and measure with
//! * [`actor`]: the stage of the main line

pub mod actor;
pub mod book;
pub mod by_order;
pub mod composite;
pub mod features;
mod index;
pub mod ladder;
pub mod one_market;
pub mod opinions;
pub mod order_flow;
pub mod top;

pub use actor::{Market, MarketConfig};
pub use book::Book;
pub use by_order::ByOrder;
pub use one_market::{OneMarketConfig, OneMarkets};
pub use opinions::{Analyst, AnalystConfig};
pub use top::Top;
