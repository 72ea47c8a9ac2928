//! Locked memory and the allocator that proves nothing allocates after start.

mod allocator;
mod arena;

pub use allocator::{KimeraAllocator, SealGuard, canary, in_arena, sealed_allocations};
pub use arena::{ArenaReport, init_arena, lock_arena};
