//! What is wanted: quotes and targets, before execution turns them into orders.
//!
//! * [`actor`]: the stage of the main line: a decision at every mark
//! * [`fair`]: the fair price from our own book and from another market's
//! * [`glft`]: optimal distances of a market maker without an end of time (model book 6.6)
//! * [`maker`]: quotes around a fair value: fee floor, outward rounding, post-only, inventory stop

pub mod actor;
pub mod fair;
pub mod glft;
pub mod maker;

pub use actor::{MakerStage, StrategyConfig, StrategyMeters};
pub use fair::{FairConfig, FairPrice};
pub use glft::{Distances, Glft, GlftError, GlftModel};
pub use maker::{MakerConfig, MakerQuotes, quotes};
