//! How what strategy wants becomes orders.
//!
//! * [`parent`]: one side of what is wanted, its budget and its children
//! * [`actor`]: the stage of the main line

pub mod actor;
pub mod parent;

pub use actor::{Execution, ExecutionConfig, ExecutionMeters, Tradable};
pub use parent::{CHILDREN_MAX, ORDERS_PER_INPUT, Parent};
