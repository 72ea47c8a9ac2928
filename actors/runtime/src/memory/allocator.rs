//! The program's allocator: the system's, plus an arena for what must be locked and a count of what must not happen.
//!
//! While a sealed seat is polled its thread counts every allocation; after start the count stays 0. The canary
//! allocates on purpose, to show that the count would move.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::arena;

/// Install with `#[global_allocator]`.
pub struct KimeraAllocator;

thread_local! {
    // Constant initialisers: no lazy allocation inside the allocator.
    static SEALED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static ARENA: Cell<bool> = const { Cell::new(false) };
}

#[inline]
fn count() {
    if SEALED.get() {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

// SAFETY: memory comes from `System` or from the arena's own mapping, which is never handed out twice; `dealloc`
// returns only what `System` gave.
unsafe impl GlobalAlloc for KimeraAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        if ARENA.get() {
            let carved = arena::carve(layout.size(), layout.align());
            if !carved.is_null() {
                return carved;
            }
        }
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        if ARENA.get() {
            let carved = arena::carve(layout.size(), layout.align());
            if !carved.is_null() {
                return carved; // Anonymous memory is zero and never reused.
            }
        }
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        if !arena::owns(pointer) {
            // SAFETY: not the arena's, so `System` gave it, with this layout.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        if !arena::owns(pointer) && !ARENA.get() {
            // SAFETY: `System` gave it, with this layout.
            return unsafe { System.realloc(pointer, layout, size) };
        }
        // SAFETY: the new layout has the old alignment and the caller's non-zero size.
        unsafe {
            let fresh = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !fresh.is_null() {
                std::ptr::copy_nonoverlapping(pointer, fresh, layout.size().min(size));
                self.dealloc(pointer, layout);
            }
            fresh
        }
    }
}

/// Runs `build` with this thread's allocations taken from the arena, while it has room.
pub fn in_arena<T>(build: impl FnOnce() -> T) -> T {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            ARENA.set(self.0);
        }
    }
    let _leave = Leave(ARENA.replace(true));
    build()
}

/// While it lives, this thread's allocations are counted.
pub struct SealGuard(bool);

impl SealGuard {
    /// Starts counting where `sealed`, stops where not.
    #[inline]
    #[must_use]
    pub fn new(sealed: bool) -> Self {
        Self(SEALED.replace(sealed))
    }
}

impl Drop for SealGuard {
    #[inline]
    fn drop(&mut self) {
        SEALED.set(self.0);
    }
}

/// Allocations and frees this thread has made under a seal.
#[inline]
#[must_use]
pub fn sealed_allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Allocates once on purpose.
pub fn canary() {
    std::hint::black_box(Box::new(0u64));
}
