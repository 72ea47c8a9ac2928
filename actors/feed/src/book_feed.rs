//! What becomes of a decoded frame before the door: deltas wait for their snapshot, gaps are told, the rest passes.
//!
//! No input or output here: the agent brings frames and snapshots and sends what comes out.

use kimera_protocol::{
    DepthBegin, FeedState, FeedStatus, Flags, FrameRef, GapReason, Gapped, Header, InstrumentId, Kind,
    Message,
};
use kimera_venues::{ChainRule, DepthSync, FrameBuffer, SnapshotVerdict, Verdict};

use crate::backlog::{Backlog, frame_length};

/// Messages of deltas that may wait for a snapshot: seconds of the busiest recorded stream.
pub const DELTAS_MAX: usize = 16_384;

/// What the caller has to know about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed on.
    Sent,
    /// Replaced a best price that waited.
    Conflated,
    /// Kept for the snapshot, or known already.
    Held,
    /// The chain is broken; a snapshot is needed.
    Gap(GapReason),
}

/// One instrument's stream on its way to the door.
pub struct BookFeed {
    instrument: InstrumentId,
    sync: DepthSync,
    deltas: Vec<Message>,
    gap_told: bool,
}

impl BookFeed {
    /// Waits for a snapshot.
    #[must_use]
    pub fn new(instrument: InstrumentId, rule: ChainRule) -> Self {
        Self {
            instrument,
            sync: DepthSync::new(rule),
            deltas: Vec::with_capacity(DELTAS_MAX),
            gap_told: true, // nothing was ever synchronised: there is no gap to tell
        }
    }

    /// True where a snapshot should be asked for: deltas wait for one.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.sync.waiting() && !self.deltas.is_empty()
    }

    /// A decoded frame.
    pub fn frame(&mut self, buffer: &mut FrameBuffer, backlog: &mut Backlog) -> Outcome {
        let is_depth = buffer.messages().first().is_some_and(|m| m.header.kind == Kind::DepthBegin as u8);
        if is_depth { self.delta(buffer, backlog) } else { pass(buffer.messages(), backlog) }
    }

    fn delta(&mut self, buffer: &mut FrameBuffer, backlog: &mut Backlog) -> Outcome {
        let frame = buffer.frame();
        let verdict = match buffer.messages_mut().first_mut().and_then(|m| m.body_mut::<DepthBegin>()) {
            Some(begin) => self.sync.delta(begin),
            None => return Outcome::Held,
        };
        match verdict {
            Verdict::Drop => Outcome::Held,
            Verdict::Buffer => self.hold(buffer.messages()),
            Verdict::Gap { expected, got } => {
                self.tell_gap(GapReason::Chain, frame, expected, got, backlog);
                self.hold(buffer.messages());
                Outcome::Gap(GapReason::Chain)
            }
            Verdict::Emit if backlog.has_room(buffer.messages().len()) => pass(buffer.messages(), backlog),
            Verdict::Emit => {
                // The line is slower than the venue: this stream starts anew rather than run ever later.
                self.lose(GapReason::Overflow, frame, backlog);
                Outcome::Gap(GapReason::Overflow)
            }
        }
    }

    /// Keeps a delta for the snapshot; with too many waiting the oldest are of no use any more.
    fn hold(&mut self, frame: &[Message]) -> Outcome {
        if self.deltas.len() + frame.len() > DELTAS_MAX {
            self.deltas.clear();
        }
        if frame.len() <= DELTAS_MAX {
            self.deltas.extend_from_slice(frame);
        }
        Outcome::Held
    }

    /// A decoded snapshot: passed on with the deltas that follow it, or refused as too old (false).
    pub fn snapshot(&mut self, buffer: &FrameBuffer, backlog: &mut Backlog) -> bool {
        let Some(begin) = buffer.messages().first().and_then(|m| m.body::<DepthBegin>()) else {
            return false;
        };
        let first = self.deltas.first().and_then(|m| m.body::<DepthBegin>());
        if self.sync.snapshot(begin.last_id, first) == SnapshotVerdict::TooOld {
            return false;
        }
        if !backlog.has_room(buffer.messages().len() + self.deltas.len()) {
            self.sync.reset();
            return false; // the agent asks again when the backlog has drained
        }
        pass(buffer.messages(), backlog);
        self.gap_told = false;
        let mut at = 0;
        while at < self.deltas.len() {
            let length = frame_length(&self.deltas[at]).min(self.deltas.len() - at);
            let verdict = match self.deltas[at].body_mut::<DepthBegin>() {
                Some(delta) => self.sync.delta(delta),
                None => Verdict::Drop,
            };
            match verdict {
                Verdict::Emit => {
                    pass(&self.deltas[at..at + length], backlog);
                }
                Verdict::Drop => {}
                Verdict::Buffer | Verdict::Gap { .. } => {
                    // The deltas themselves have a hole: keep what is after it for the next snapshot.
                    self.deltas.drain(..at);
                    self.tell_gap(GapReason::Chain, buffer.frame(), 0, 0, backlog);
                    return true;
                }
            }
            at += length;
        }
        self.deltas.clear();
        true
    }

    /// The stream was interrupted: what waits is void, and the line is told once.
    pub fn lose(&mut self, reason: GapReason, frame: FrameRef, backlog: &mut Backlog) {
        self.deltas.clear();
        self.tell_gap(reason, frame, 0, 0, backlog);
    }

    fn tell_gap(
        &mut self,
        reason: GapReason,
        frame: FrameRef,
        expected: u64,
        got: u64,
        backlog: &mut Backlog,
    ) {
        self.sync.reset();
        if self.gap_told {
            return;
        }
        let body = Gapped { frame, reason: reason as u64, expected, got, reserved: [0; 8] };
        let mut header = Header::unsequenced(Kind::Gapped, self.instrument);
        header.flags = Flags::FRAME_END;
        self.gap_told = backlog.has_room(1);
        if self.gap_told {
            backlog.push(&[Message::new(header, body)]);
        }
    }

    /// Tells the line that the connection came or went; false where there is no room yet.
    pub fn tell_state(&self, state: FeedState, frame: FrameRef, backlog: &mut Backlog) -> bool {
        let mut header = Header::unsequenced(Kind::FeedStatus, self.instrument);
        header.flags = Flags::FRAME_END;
        let body = FeedStatus { frame, state: state as u64, reserved: [0; 10] };
        backlog.has_room(1) && !backlog.push(&[Message::new(header, body)])
    }
}

fn pass(frame: &[Message], backlog: &mut Backlog) -> Outcome {
    if backlog.push(frame) { Outcome::Conflated } else { Outcome::Sent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Level, Price, Quantity};
    use kimera_runtime::ring::ring;

    fn depth(first_id: u64, last_id: u64, snapshot: u32) -> FrameBuffer {
        let mut buffer = FrameBuffer::new();
        buffer.begin(FrameRef { epoch: 1, number: last_id as u32 }, 1);
        let begin =
            DepthBegin { first_id, last_id, previous_id: first_id - 1, snapshot, ..DepthBegin::default() };
        buffer.begin_depth(InstrumentId(0), begin);
        buffer.push_level(true, Level { price: Price(1), size: Quantity(last_id as i64) }).unwrap();
        buffer.end_depth();
        buffer
    }

    fn sent(backlog: &mut Backlog) -> Vec<(Kind, u64)> {
        let (mut out, mut inlet) = ring(8_192);
        backlog.flush(&mut out);
        std::iter::from_fn(|| inlet.pop())
            .filter(|m| m.kind() != Some(Kind::Levels))
            .map(|m| (m.kind().unwrap(), m.body::<DepthBegin>().map_or(0, |d| d.last_id)))
            .collect()
    }

    #[test]
    fn a_snapshot_older_than_the_deltas_bridges_them() {
        let (mut feed, mut backlog) = (BookFeed::new(InstrumentId(0), ChainRule::Contiguous), Backlog::new());
        assert!(!feed.wants_snapshot());
        for (a, b) in [(5, 9), (10, 12), (13, 20)] {
            assert_eq!(feed.frame(&mut depth(a, b, 0), &mut backlog), Outcome::Held);
        }
        assert!(feed.wants_snapshot() && backlog.is_empty());
        assert!(!feed.snapshot(&depth(3, 3, 1), &mut backlog), "older than everything that waits");
        assert!(feed.snapshot(&depth(11, 11, 1), &mut backlog));
        assert_eq!(
            sent(&mut backlog),
            [(Kind::DepthBegin, 11), (Kind::DepthBegin, 12), (Kind::DepthBegin, 20)]
        );
        assert_eq!(feed.frame(&mut depth(21, 22, 0), &mut backlog), Outcome::Sent);
    }

    #[test]
    fn a_gap_is_told_once_and_mended_by_a_snapshot() {
        let (mut feed, mut backlog) = (BookFeed::new(InstrumentId(0), ChainRule::Contiguous), Backlog::new());
        feed.lose(GapReason::Disconnected, FrameRef::default(), &mut backlog);
        assert!(backlog.is_empty(), "nothing was synchronised, nothing is lost");
        feed.frame(&mut depth(5, 9, 0), &mut backlog);
        assert!(feed.snapshot(&depth(9, 9, 1), &mut backlog));
        sent(&mut backlog);
        assert_eq!(feed.frame(&mut depth(12, 13, 0), &mut backlog), Outcome::Gap(GapReason::Chain));
        assert_eq!(feed.frame(&mut depth(14, 15, 0), &mut backlog), Outcome::Held);
        feed.lose(GapReason::Disconnected, FrameRef::default(), &mut backlog);
        assert_eq!(sent(&mut backlog), [(Kind::Gapped, 0)]);
        feed.frame(&mut depth(20, 21, 0), &mut backlog);
        assert!(feed.snapshot(&depth(20, 20, 1), &mut backlog));
        assert_eq!(sent(&mut backlog), [(Kind::DepthBegin, 20), (Kind::DepthBegin, 21)]);
    }
}
