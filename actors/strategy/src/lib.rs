//! What is wanted: quotes and targets, before execution turns them into orders.
//!
//! * [`glft`]: optimal distances of a market maker without an end of time (model book 6.6)
//! * [`maker`]: quotes around a fair value: fee floor, outward rounding, post-only, inventory stop

pub mod glft;
pub mod maker;

pub use glft::{Distances, Glft, GlftError};
pub use maker::{MakerConfig, MakerQuotes, quotes};
