//! What becomes of a decoded frame before the door: deltas wait for their snapshot, gaps are told, the rest passes.
//!
//! No input or output here: the agent brings frames and snapshots and sends what comes out.

use kimera_protocol::{
    Definition, DepthBegin, FeedState, FeedStatus, Flags, FrameRef, GapReason, Gapped, Header, InstrumentId,
    Kind, Message,
};
use kimera_venues::frame::FRAME_MESSAGES_MAX;
use kimera_venues::{ChainRule, DepthSync, FrameBuffer, SnapshotVerdict, Verdict};

use kimera_runtime::Outlet;

use crate::backlog::{Backlog, Offer, frame_length};

/// Messages of deltas that may wait for a snapshot: what the backlog takes at once beside the largest snapshot.
pub const DELTAS_MAX: usize = crate::backlog::CAPACITY - crate::backlog::RESERVE - FRAME_MESSAGES_MAX;

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

/// The way to the door: the ring, and what waits for room in it.
pub struct Exit<'a> {
    /// What waits.
    pub backlog: &'a mut Backlog,
    /// The ring.
    pub outlet: &'a mut Outlet,
}

impl Exit<'_> {
    fn offer(&mut self, frame: &[Message]) -> Offer {
        self.backlog.offer(frame, self.outlet)
    }
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

    /// Somebody has synchronised this stream before: that it is lost is worth telling.
    pub fn was_synchronised(&mut self) {
        self.gap_told = false;
    }

    /// True where a snapshot should be asked for: deltas wait for one.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.sync.waiting() && !self.deltas.is_empty()
    }

    /// A decoded frame.
    pub fn frame(&mut self, buffer: &mut FrameBuffer, exit: &mut Exit<'_>) -> Outcome {
        let is_depth = buffer.messages().first().is_some_and(|m| m.header.kind == Kind::DepthBegin as u8);
        if is_depth {
            return self.delta(buffer, exit);
        }
        match exit.offer(buffer.messages()) {
            Offer::Conflated => Outcome::Conflated,
            // The agent reads nothing more without room for a single message.
            Offer::Taken | Offer::Refused => Outcome::Sent,
        }
    }

    fn delta(&mut self, buffer: &mut FrameBuffer, exit: &mut Exit<'_>) -> Outcome {
        let frame = buffer.frame();
        let verdict = match buffer.messages_mut().first_mut().and_then(|m| m.body_mut::<DepthBegin>()) {
            Some(begin) => self.sync.delta(begin),
            None => return Outcome::Held,
        };
        match verdict {
            Verdict::Drop => Outcome::Held,
            Verdict::Buffer => self.hold(buffer.messages()),
            Verdict::Gap { expected, got } => {
                self.tell_gap(GapReason::Chain, frame, expected, got, exit);
                self.hold(buffer.messages());
                Outcome::Gap(GapReason::Chain)
            }
            Verdict::Emit if exit.offer(buffer.messages()) != Offer::Refused => Outcome::Sent,
            Verdict::Emit => {
                // The line is slower than the venue: this stream starts anew rather than run ever later.
                self.lose(GapReason::Overflow, frame, exit);
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
    pub fn snapshot(&mut self, buffer: &FrameBuffer, exit: &mut Exit<'_>) -> bool {
        let Some(begin) = buffer.messages().first().and_then(|m| m.body::<DepthBegin>()) else {
            return false;
        };
        let first = self.deltas.first().and_then(|m| m.body::<DepthBegin>());
        if self.sync.snapshot(begin.last_id, first) == SnapshotVerdict::TooOld {
            return false;
        }
        if !exit.backlog.has_room(buffer.messages().len() + self.deltas.len()) {
            self.sync.reset();
            return false; // the agent asks again when the backlog has drained
        }
        exit.offer(buffer.messages());
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
                    exit.offer(&self.deltas[at..at + length]);
                }
                Verdict::Drop => {}
                Verdict::Buffer | Verdict::Gap { .. } => {
                    // The deltas themselves have a hole: keep what is after it for the next snapshot.
                    self.deltas.drain(..at);
                    self.tell_gap(GapReason::Chain, buffer.frame(), 0, 0, exit);
                    return true;
                }
            }
            at += length;
        }
        self.deltas.clear();
        true
    }

    /// The stream was interrupted: what waits is void, and the line is told once.
    pub fn lose(&mut self, reason: GapReason, frame: FrameRef, exit: &mut Exit<'_>) {
        self.deltas.clear();
        self.tell_gap(reason, frame, 0, 0, exit);
    }

    fn tell_gap(&mut self, reason: GapReason, frame: FrameRef, expected: u64, got: u64, exit: &mut Exit<'_>) {
        self.sync.reset();
        if self.gap_told {
            return;
        }
        let body = Gapped { frame, reason: reason as u64, expected, got, reserved: [0; 8] };
        let mut header = Header::unsequenced(Kind::Gapped, self.instrument);
        header.flags = Flags::FRAME_END;
        self.gap_told = exit.offer(&[Message::new(header, body)]) != Offer::Refused;
    }

    /// Tells the line what the venue demands of orders; false where there is no room yet. It ends no frame: no book has changed, so no mark is
    /// its.
    pub fn define(&self, definition: Definition, exit: &mut Exit<'_>) -> bool {
        let header = Header::unsequenced(Kind::Definition, self.instrument);
        exit.offer(&[Message::new(header, definition)]) != Offer::Refused
    }

    /// Tells the line that the connection came or went; false where there is no room yet.
    pub fn tell_state(&self, state: FeedState, frame: FrameRef, exit: &mut Exit<'_>) -> bool {
        let mut header = Header::unsequenced(Kind::FeedStatus, self.instrument);
        header.flags = Flags::FRAME_END;
        let body = FeedStatus { frame, state: state as u64, reserved: [0; 10] };
        exit.offer(&[Message::new(header, body)]) != Offer::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Level, Price, Quantity};
    use kimera_runtime::Inlet;
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

    /// A feed and its way out.
    struct Rig {
        feed: BookFeed,
        backlog: Backlog,
        outlet: Outlet,
        inlet: Inlet,
    }

    impl Rig {
        fn new() -> Self {
            let (outlet, inlet) = ring(8_192);
            let feed = BookFeed::new(InstrumentId(0), ChainRule::Contiguous);
            Self { feed, backlog: Backlog::new(), outlet, inlet }
        }

        fn exit(&mut self) -> (&mut BookFeed, Exit<'_>) {
            (&mut self.feed, Exit { backlog: &mut self.backlog, outlet: &mut self.outlet })
        }

        fn frame(&mut self, first: u64, last: u64) -> Outcome {
            let (feed, mut exit) = self.exit();
            feed.frame(&mut depth(first, last, 0), &mut exit)
        }

        fn snapshot(&mut self, last: u64) -> bool {
            let (feed, mut exit) = self.exit();
            feed.snapshot(&depth(last, last, 1), &mut exit)
        }

        fn lose(&mut self) {
            let (feed, mut exit) = self.exit();
            feed.lose(GapReason::Disconnected, FrameRef::default(), &mut exit);
        }

        fn sent(&mut self) -> Vec<(Kind, u64)> {
            self.backlog.flush(&mut self.outlet);
            std::iter::from_fn(|| self.inlet.pop())
                .filter(|m| m.kind() != Some(Kind::Levels))
                .map(|m| (m.kind().unwrap(), m.body::<DepthBegin>().map_or(0, |d| d.last_id)))
                .collect()
        }
    }

    #[test]
    fn a_snapshot_older_than_the_deltas_bridges_them() {
        let mut rig = Rig::new();
        assert!(!rig.feed.wants_snapshot());
        for (a, b) in [(5, 9), (10, 12), (13, 20)] {
            assert_eq!(rig.frame(a, b), Outcome::Held);
        }
        assert!(rig.feed.wants_snapshot() && rig.sent().is_empty());
        assert!(!rig.snapshot(3), "older than everything that waits");
        assert!(rig.snapshot(11));
        assert_eq!(rig.sent(), [(Kind::DepthBegin, 11), (Kind::DepthBegin, 12), (Kind::DepthBegin, 20)]);
        assert_eq!(rig.frame(21, 22), Outcome::Sent);
    }

    #[test]
    fn a_gap_is_told_once_and_mended_by_a_snapshot() {
        let mut rig = Rig::new();
        rig.lose();
        assert!(rig.sent().is_empty(), "nothing was synchronised, nothing is lost");
        rig.frame(5, 9);
        assert!(rig.snapshot(9));
        rig.sent();
        assert_eq!(rig.frame(12, 13), Outcome::Gap(GapReason::Chain));
        assert_eq!(rig.frame(14, 15), Outcome::Held);
        rig.lose();
        assert_eq!(rig.sent(), [(Kind::Gapped, 0)]);
        rig.frame(20, 21);
        assert!(rig.snapshot(20));
        assert_eq!(rig.sent(), [(Kind::DepthBegin, 20), (Kind::DepthBegin, 21)]);
    }

    #[test]
    fn a_stream_that_outruns_the_line_starts_anew() {
        let mut rig = Rig::new();
        rig.frame(1, 1);
        assert!(rig.snapshot(1));
        let mut id = 1;
        let outcome = loop {
            id += 1;
            let outcome = rig.frame(id, id);
            if outcome != Outcome::Sent {
                break outcome;
            }
        };
        assert_eq!(outcome, Outcome::Gap(GapReason::Overflow));
        assert_eq!(rig.frame(id + 1, id + 1), Outcome::Held, "it waits for a snapshot");
        let mut told = 0;
        loop {
            let sent = rig.sent();
            if sent.is_empty() {
                break;
            }
            told += sent.iter().filter(|(kind, _)| *kind == Kind::Gapped).count();
        }
        assert_eq!(told, 1);
    }
}
