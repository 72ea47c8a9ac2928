//! Rules that do not ask whether an order is wise but whether it may be sent: same-owner trades, orders for each trade,
//! messages to the venue, conduct that looks like manipulation.
//!
//! * [`conduct`]: our own orders as a supervisor of the market would look at them; [`surveillance`]: those of one instrument
//! * [`window`]: exact counts over a sliding stretch of time
//! * [`rules`]: the rules and what they know
//! * [`actor`]: the stage of the main line, behind risk; a refusal goes back through the door

pub mod actor;
pub mod conduct;
pub mod rules;
pub mod surveillance;
pub mod window;

pub use actor::{Compliance, ComplianceMeters};
pub use conduct::{Conduct, ConductConfig};
pub use rules::{CHECKS, ComplianceConfig, Rules};
