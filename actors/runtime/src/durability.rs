//! How far the journal is on disk, for who must not act ahead of it.
//!
//! `gated`: a new order leaves only once its cause is on disk. `async`: it leaves at once while the journal keeps up; where
//! the journal has shown no progress for a while, new orders wait here too. Cancels never ask.
//!
//! A disk that says nothing for longer stops the line, which could take nothing back then: who stands between line and venue
//! sees it here and does so by himself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// One writer, the journal (before its thread runs, whoever starts it); readers are gateways and the engine's own loop.
#[derive(Debug)]
pub struct Durability {
    seq: AtomicU64,
    /// Monotonic ns of the last sign that the journal gets on.
    progress: AtomicU64,
    /// The journal's thread itself waits for the disk.
    at_disk: AtomicBool,
    wait: Wait,
    /// Silence of the disk after which nothing is to stand at a venue, ns.
    patience: u64,
}

impl Durability {
    /// Nothing is on disk yet. `patience`: the silence of the disk after which nothing is to stand at a venue.
    #[must_use]
    pub fn new(wait: Wait, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            seq: AtomicU64::new(0),
            progress: AtomicU64::new(monotonic_ns()),
            at_disk: AtomicBool::new(false),
            wait,
            patience: patience.as_nanos() as u64,
        })
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

    /// The journal's thread goes to the disk and comes back with an answer: until it says so it cannot do anything else.
    #[inline]
    pub fn set_at_disk(&self, waits: bool) {
        self.at_disk.store(waits, Ordering::Release);
    }

    /// True where the journal's thread itself waits for the disk.
    #[must_use]
    pub fn is_at_disk(&self) -> bool {
        self.at_disk.load(Ordering::Acquire)
    }

    /// Since when the disk has said nothing.
    #[must_use]
    pub fn silence(&self) -> Duration {
        Duration::from_nanos(monotonic_ns().saturating_sub(self.progress.load(Ordering::Acquire)))
    }

    /// True where the disk has said nothing for longer than anything of ours may stand at a venue.
    #[inline]
    #[must_use]
    pub fn is_silent(&self) -> bool {
        monotonic_ns().saturating_sub(self.progress.load(Ordering::Acquire)) > self.patience
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

/// Between two looks at a silence, ns: a journal that was away with the whole machine gets the chance to say that it is back.
const SECOND_LOOK: u64 = 20_000_000;

/// Somebody who looks whether the disk is silent, often.
#[derive(Debug, Default)]
pub struct SilenceWatch {
    noticed: Option<u64>,
}

impl SilenceWatch {
    /// True where the disk is silent, and was at an earlier look.
    pub fn look(&mut self, durability: &Durability) -> bool {
        if !durability.is_silent() {
            self.noticed = None;
            return false;
        }
        let now = monotonic_ns();
        now.saturating_sub(*self.noticed.get_or_insert(now)) > SECOND_LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    #[test]
    fn gated_waits_for_the_disk_and_async_only_where_nothing_happens() {
        let _entered = world::enter(1);
        let gated = Durability::new(Wait::Gated, Duration::from_secs(2));
        let lagging = Durability::new(Wait::Lagging(Duration::from_millis(250)), Duration::from_secs(2));
        for durability in [&gated, &lagging] {
            durability.set(10);
            assert!(!durability.holds(10));
        }
        assert!(gated.holds(11) && !lagging.holds(11));
        world::skip(Duration::from_millis(251));
        assert!(lagging.holds(11) && !lagging.holds(10));
        let (mut watch, ms) = (SilenceWatch::default(), Duration::from_millis);
        assert!(!watch.look(&lagging));
        world::skip(ms(1_800));
        assert!(lagging.is_silent() && !watch.look(&lagging), "it may have been away");
        world::skip(ms(10));
        assert!(!watch.look(&lagging));
        world::skip(ms(11));
        assert!(watch.look(&lagging));
        lagging.progress();
        assert!(!watch.look(&lagging));
        assert!(!lagging.holds(11));
        gated.set(11);
        assert!(!gated.holds(11));
    }
}
