//! The last gate: every order passes every check, or does not leave.
//!
//! * [`limits`]: what may be, in integers
//! * [`book`]: working orders and positions, moved by sequenced reports and by nothing else
//! * [`equity`]: money in integers: cash, marks, high-water mark, the day's loss
//! * [`sessions`]: what each session has and may
//! * [`checks`]: the checks in their fixed order; the first that fails refuses
//! * [`gate`]: all of it together: judge an order, take a report, take a quote
//! * [`actor`]: the stage of the main line

pub mod actor;
pub mod book;
pub mod checks;
pub mod equity;
pub mod gate;
pub mod limits;
pub mod sessions;

pub use actor::{Risk, RiskMeters};
pub use gate::Gate;
pub use limits::{BasisPoints, InstrumentRules, Limits};
