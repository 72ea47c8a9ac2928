//! What is wanted: quotes and targets, before execution turns them into orders.
//!
//! * [`stage`]: the stage of the main line: every session decides at every mark
//! * [`strategy`]: what a strategy is; [`kinds`]: those that come with the project
//! * [`scene`]: what strategies see; [`account`]: what a session has; [`session`]: both, with sizes, stops and ways out
//! * [`record`]: what its round trips were worth, and who is demoted for it
//! * [`rules`]: the rules of cognitive pressure, and sizes (model book 4.9, 4.10)
//! * [`rehearsal`]: one session on tapes from a seed, for tests
//! * [`fair`]: the fair price from our own book and from another market's
//! * [`glft`], [`stoikov`]: optimal distances of a market maker, without an end of time and with one (6.6)
//! * [`maker`]: quotes around a fair value: fee floor, outward rounding, post-only, inventory stop

pub mod account;
pub mod fair;
pub mod glft;
pub mod kinds;
pub mod maker;
pub mod record;
pub mod rehearsal;
pub mod rules;
pub mod scene;
pub mod session;
pub mod stage;
pub mod stoikov;
pub mod strategy;

pub use fair::{FairConfig, FairPrice};
pub use glft::{Distances, Glft, GlftError, GlftModel};
pub use maker::{MakerConfig, MakerQuotes, quotes};
pub use stage::{Strategies, StrategyConfig, StrategyMeters};
