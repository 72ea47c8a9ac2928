//! Market data in: one agent a venue connection.
//!
//! * [`backlog`]: frames that wait for room at the door, bounded
//! * [`book_feed`]: what becomes of a decoded frame: snapshot, chain, gaps (no input or output)
//! * [`definitions`]: what the venue demands of orders, asked for from time to time
//! * [`agent`]: the connection and the duty cycle

pub mod agent;
pub mod backlog;
pub mod book_feed;
pub mod definitions;

pub use agent::{Feed, FeedConfig};
