//! Whole-system tests: recorded frames through the real decoder, feed, sequencer and line.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests: a failure is the test's.

mod conduct;
mod evaluate;
mod launch;
mod news;
mod opinions;
mod orders;
mod patterns;
mod recording;
mod replay;
mod rules;
mod sessions;
mod simulate;
mod trading;
mod views;

#[global_allocator]
static ALLOCATOR: kimera_runtime::memory::KimeraAllocator = kimera_runtime::memory::KimeraAllocator;
