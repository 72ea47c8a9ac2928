//! From a snapshot that may be older than the deltas already seen to one unbroken chain.
//!
//! The snapshot of a busy instrument usually arrives after deltas that are newer than it. Those must be buffered,
//! never dropped: dropping them gives a book that is crossed most of the time.

use kimera_protocol::DepthBegin;

/// How a venue's deltas link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainRule {
    /// Each delta's first identifier is the last one of the delta before it, plus one.
    Contiguous,
    /// Each delta names the last identifier of the delta before it.
    Previous,
}

/// What to do with a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on; its `previous_id` now links to the frame before it.
    Emit,
    /// Keep it until the snapshot is here.
    Buffer,
    /// The snapshot holds it already.
    Drop,
    /// The chain is broken: a new snapshot is needed, this delta is to be buffered for it.
    Gap {
        /// Identifier that should have come.
        expected: u64,
        /// Identifier that came.
        got: u64,
    },
}

/// What to do with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotVerdict {
    /// Use it.
    Take,
    /// It is older than the first buffered delta: ask again.
    TooOld,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// A snapshot is taken and no delta has bridged it yet.
    Bridging(u64),
    Linked(u64),
}

/// The state of one instrument's chain.
#[derive(Clone, Copy, Debug)]
pub struct DepthSync {
    rule: ChainRule,
    state: State,
}

impl DepthSync {
    /// Waits for a snapshot.
    #[must_use]
    pub fn new(rule: ChainRule) -> Self {
        Self { rule, state: State::Waiting }
    }

    /// True while a snapshot is needed.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// Starts over: the connection was lost or something was missed.
    pub fn reset(&mut self) {
        self.state = State::Waiting;
    }

    /// Judges a delta, and links it where it may be emitted.
    pub fn delta(&mut self, delta: &mut DepthBegin) -> Verdict {
        let (last, bridging) = match self.state {
            State::Waiting => return Verdict::Buffer,
            State::Bridging(last) => (last, true),
            State::Linked(last) => (last, false),
        };
        let stale = match self.rule {
            ChainRule::Contiguous => delta.last_id <= last,
            ChainRule::Previous if bridging => delta.last_id < last,
            ChainRule::Previous => delta.last_id <= last,
        };
        if stale {
            return Verdict::Drop;
        }
        let (links, expected, got) = match (self.rule, bridging) {
            (ChainRule::Contiguous, true) => (delta.first_id <= last + 1, last + 1, delta.first_id),
            (ChainRule::Contiguous, false) => (delta.first_id == last + 1, last + 1, delta.first_id),
            (ChainRule::Previous, true) => {
                (delta.first_id <= last || delta.previous_id == last, last, delta.first_id)
            }
            (ChainRule::Previous, false) => (delta.previous_id == last, last, delta.previous_id),
        };
        if !links {
            self.state = State::Waiting;
            return Verdict::Gap { expected, got };
        }
        delta.previous_id = last;
        self.state = State::Linked(delta.last_id);
        Verdict::Emit
    }

    /// Judges a snapshot against the first buffered delta.
    pub fn snapshot(&mut self, last_id: u64, first_buffered: Option<&DepthBegin>) -> SnapshotVerdict {
        let bridge = match self.rule {
            ChainRule::Contiguous => last_id.saturating_add(1),
            ChainRule::Previous => last_id,
        };
        if first_buffered.is_some_and(|delta| delta.first_id > bridge && delta.previous_id != last_id) {
            return SnapshotVerdict::TooOld;
        }
        self.state = State::Bridging(last_id);
        SnapshotVerdict::Take
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(first_id: u64, last_id: u64, previous_id: u64) -> DepthBegin {
        DepthBegin { first_id, last_id, previous_id, ..DepthBegin::default() }
    }

    #[test]
    fn contiguous_chain() {
        let mut sync = DepthSync::new(ChainRule::Contiguous);
        assert_eq!(sync.delta(&mut delta(5, 9, 0)), Verdict::Buffer);
        assert_eq!(sync.snapshot(3, Some(&delta(5, 9, 0))), SnapshotVerdict::TooOld);
        assert_eq!(sync.snapshot(12, Some(&delta(5, 9, 0))), SnapshotVerdict::Take);
        assert_eq!(sync.delta(&mut delta(5, 9, 0)), Verdict::Drop);
        let mut bridge = delta(10, 14, 0);
        assert_eq!((sync.delta(&mut bridge), bridge.previous_id), (Verdict::Emit, 12));
        let mut next = delta(15, 15, 0);
        assert_eq!((sync.delta(&mut next), next.previous_id), (Verdict::Emit, 14));
        assert_eq!(sync.delta(&mut delta(15, 15, 0)), Verdict::Drop, "a doubled frame");
        assert_eq!(sync.delta(&mut delta(17, 18, 0)), Verdict::Gap { expected: 16, got: 17 });
        assert!(sync.waiting());
    }

    #[test]
    fn chain_by_previous_identifier() {
        let mut sync = DepthSync::new(ChainRule::Previous);
        assert_eq!(sync.snapshot(100, None), SnapshotVerdict::Take);
        assert_eq!(sync.delta(&mut delta(80, 99, 79)), Verdict::Drop);
        let mut bridge = delta(90, 110, 89);
        assert_eq!((sync.delta(&mut bridge), bridge.previous_id), (Verdict::Emit, 100));
        assert_eq!(sync.delta(&mut delta(150, 160, 110)), Verdict::Emit, "identifiers jump, the link holds");
        assert_eq!(sync.delta(&mut delta(170, 180, 161)), Verdict::Gap { expected: 160, got: 161 });
    }

    #[test]
    fn a_snapshot_no_delta_reaches_is_a_gap() {
        let mut sync = DepthSync::new(ChainRule::Contiguous);
        assert_eq!(sync.snapshot(12, None), SnapshotVerdict::Take);
        assert_eq!(sync.delta(&mut delta(14, 15, 0)), Verdict::Gap { expected: 13, got: 14 });
    }
}
