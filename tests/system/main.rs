//! Whole-system tests: recorded frames through the real decoder, feed, sequencer and line.

mod launch;
mod recording;
mod replay;

#[global_allocator]
static ALLOCATOR: kimera_runtime::memory::KimeraAllocator = kimera_runtime::memory::KimeraAllocator;
