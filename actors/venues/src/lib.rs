//! Venue dialects without input or output: what bytes mean, how a book is put together, what is asked how.
//!
//! * [`frame`]: the preallocated buffer that a decoded frame becomes
//! * [`json`]: a reader for the slow path, which takes any order of fields
//! * [`depth_sync`]: snapshot and deltas to one unbroken chain
//! * [`binance`]: spot and USD-M futures

pub mod binance;
pub mod depth_sync;
pub mod frame;
pub mod json;

pub use depth_sync::{ChainRule, DepthSync, SnapshotVerdict, Verdict};
pub use frame::{DecodeError, Decoded, FrameBuffer};
