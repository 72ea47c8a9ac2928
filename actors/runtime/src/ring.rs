//! The queue between two seats. Nothing else in the project names the crate behind it.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub use modelled::{Inlet, Outlet, ring};
#[cfg(not(loom))]
pub use real::{Inlet, Outlet, ring};
