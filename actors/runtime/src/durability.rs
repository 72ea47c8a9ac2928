//! How far the journal is on disk, for who must not act ahead of it.
//!
//! `gated`: a new order leaves only once its cause is on disk. `async`: it leaves at once while the journal keeps up; where
//! the journal has shown no progress for a while, new orders wait here too. Cancels never ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kimera_protocol::Seq;

use crate::clock::monotonic_ns;

/// When new orders wait for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until their cause is on disk.
    Gated,
    /// Where the journal has shown no progress for so long.
    Lagging(Duration),
}

/// One writer, the journal; one reader, a gateway.
#[derive(Debug)]
pub struct Durability {
    seq: AtomicU64,
    /// Monotonic ns of the last sign that the journal gets on.
    progress: AtomicU64,
    wait: Wait,
}

impl Durability {
    /// Nothing is on disk yet.
    #[must_use]
    pub fn new(wait: Wait) -> Arc<Self> {
        Arc::new(Self { seq: AtomicU64::new(0), progress: AtomicU64::new(monotonic_ns()), wait })
    }

    /// Everything up to `seq` is on disk.
    #[inline]
    pub fn set(&self, seq: Seq) {
        self.seq.store(seq, Ordering::Release);
    }

    /// The journal gets on: it has nothing to wait for, or has just been heard by the disk.
    #[inline]
    pub fn progress(&self) {
        self.progress.store(monotonic_ns(), Ordering::Release);
    }

    /// True where a new order caused by `seq` has to wait.
    #[inline]
    #[must_use]
    pub fn holds(&self, seq: Seq) -> bool {
        if self.seq.load(Ordering::Acquire) >= seq {
            return false;
        }
        match self.wait {
            Wait::Gated => true,
            Wait::Lagging(limit) => {
                let silent = monotonic_ns().saturating_sub(self.progress.load(Ordering::Acquire));
                silent > limit.as_nanos() as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    #[test]
    fn gated_waits_for_the_disk_and_async_only_where_nothing_happens() {
        let _entered = world::enter(1);
        let gated = Durability::new(Wait::Gated);
        let lagging = Durability::new(Wait::Lagging(Duration::from_millis(250)));
        for durability in [&gated, &lagging] {
            durability.set(10);
            assert!(!durability.holds(10));
        }
        assert!(gated.holds(11) && !lagging.holds(11));
        world::skip(Duration::from_millis(251));
        assert!(lagging.holds(11) && !lagging.holds(10));
        lagging.progress();
        assert!(!lagging.holds(11));
        gated.set(11);
        assert!(!gated.holds(11));
    }
}
