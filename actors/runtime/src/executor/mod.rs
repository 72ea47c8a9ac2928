//! Executors decide which seat is polled next, and nothing else: seats, admission and marks exist once.

mod deterministic;
mod threaded;

pub use deterministic::DeterministicExecutor;
pub use threaded::said;
pub use threaded::{Failure, ThreadReport, ThreadedExecutor};
