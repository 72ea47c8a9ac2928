//! What the journal holds of a line's words beside what a replica says: decisions, orders, alerts and matches one by one,
//! everything else by the hashes of checkpoints.

use std::collections::{BTreeMap, VecDeque};

use kimera_protocol::{Checkpoint, Kind, Message, Seq};
use kimera_runtime::topology::Topology;

use crate::replay::{Difference, Recomputed, STREAMS, describe_checkpoint, describe_message, stream_of};

/// A replica that has gone so much further than a checkpoint of the journal has to have made it too.
const CHECKPOINT_LATE: Seq = 2 * kimera_runtime::seat::CHECKPOINT_INTERVAL;

/// One stage's messages on both sides, in order.
#[derive(Debug, Default)]
struct Stream {
    theirs: VecDeque<Message>,
    /// First of theirs that has not been compared.
    next: usize,
    mine: VecDeque<Message>,
}

impl Stream {
    /// Compares what both sides have; the first pair that differs. `reached`: the replica has said everything up to it.
    fn compare(&mut self, reached: Seq) -> Option<(Seq, Option<Message>, Option<Message>)> {
        while let Some(theirs) = self.theirs.get(self.next) {
            match self.mine.front() {
                Some(mine) if mine == theirs => {
                    self.mine.pop_front();
                    self.next += 1;
                }
                Some(mine) => {
                    return Some((mine.header.seq.min(theirs.header.seq), Some(*theirs), Some(*mine)));
                }
                None if theirs.header.seq <= reached => {
                    return Some((theirs.header.seq, Some(*theirs), None));
                }
                None => break,
            }
        }
        None
    }

    /// Everything behind an input is to be said again.
    fn back_to(&mut self, seq: Seq) {
        self.mine.retain(|m| m.header.seq <= seq);
        self.next = self.next.min(self.theirs.partition_point(|m| m.header.seq <= seq));
    }

    fn forget(&mut self, seq: Seq) {
        while self.next > 0 && self.theirs.front().is_some_and(|m| m.header.seq <= seq) {
            self.theirs.pop_front();
            self.next -= 1;
        }
    }

    fn is_settled(&self, seq: Seq) -> bool {
        self.mine.front().is_none_or(|m| m.header.seq > seq)
    }
}

/// Both sides of everything.
#[derive(Debug, Default)]
pub struct Compared {
    /// As [`STREAMS`] has them.
    streams: [Stream; STREAMS.len()],
    theirs: BTreeMap<(Seq, u64), Checkpoint>,
    mine: BTreeMap<(Seq, u64), Checkpoint>,
    /// Words and checkpoints that agreed.
    pub agreed: u64,
}

impl Compared {
    /// Takes what the journal holds: a word that is compared, a checkpoint.
    pub fn theirs(&mut self, mut message: Message) {
        message.header.ingress = 0;
        if let Some(checkpoint) = message.body::<Checkpoint>() {
            self.theirs.insert((checkpoint.boundary, checkpoint.seat), *checkpoint);
            return;
        }
        if let Some(stream) = stream_of(&message) {
            self.streams[stream].theirs.push_back(message);
        }
    }

    /// Takes what the replica says.
    pub fn mine(&mut self, said: &Recomputed) {
        for (stream, (_, mine)) in self.streams.iter_mut().zip(said.said.streams()) {
            stream.mine.extend(mine);
        }
        self.mine.extend(said.checkpoints.iter().map(|((seat, boundary), c)| ((*boundary, *seat), *c)));
    }

    /// A start at an input: what an earlier one said of inputs that it lost is of others than those that follow.
    pub fn started(&mut self, seq: Seq) {
        for stream in &mut self.streams {
            let lost = stream.theirs.iter().rposition(|m| m.header.seq < seq).map_or(0, |last| last + 1);
            stream.theirs.truncate(lost.max(stream.next));
        }
        self.theirs.retain(|(boundary, _), _| *boundary <= seq);
    }

    /// The first difference of what both sides have, the replica having said everything up to `reached`.
    pub fn compare(&mut self, reached: Seq, topology: &Topology) -> Option<Difference> {
        let agreed = |streams: &[Stream]| streams.iter().map(|stream| stream.next).sum::<usize>();
        let before = agreed(&self.streams);
        let found: Vec<_> = self.streams.iter_mut().map(|stream| stream.compare(reached)).collect();
        self.agreed += (agreed(&self.streams) - before) as u64;
        let said = STREAMS.into_iter().zip(found).filter_map(|(seat, found)| {
            let (seq, theirs, mine) = found?;
            let kind = theirs.or(mine).and_then(|m| m.kind()).map_or("unknown", Kind::name);
            Some(Difference {
                seq,
                seat: seat.into(),
                kind: kind.into(),
                expected: describe_message(theirs.as_ref()),
                actual: describe_message(mine.as_ref()),
                cause_seq: seq,
            })
        });
        let said: Option<Difference> = said.min_by_key(|d| d.seq);
        let hash = self.checkpoint(reached, topology);
        said.into_iter().chain(hash).min_by_key(|d| d.seq)
    }

    fn checkpoint(&mut self, reached: Seq, topology: &Topology) -> Option<Difference> {
        let both: Vec<_> = self.theirs.keys().filter(|key| self.mine.contains_key(key)).copied().collect();
        for key in both {
            let (theirs, mine) = (self.theirs.get(&key)?, self.mine.get(&key)?);
            if theirs != mine {
                return Some(differs(key, Some(theirs), Some(mine), topology));
            }
            self.mine.remove(&key);
            self.agreed += 1;
        }
        let unsaid = |(key, _): &(&(Seq, u64), &Checkpoint)| key.0 + CHECKPOINT_LATE < reached;
        let mine: Option<_> =
            self.mine.iter().find(unsaid).map(|(key, c)| differs(*key, None, Some(c), topology));
        mine
    }

    /// True where everything that the replica has said up to a boundary has been found in the journal.
    #[must_use]
    pub fn is_settled(&self, boundary: Seq) -> bool {
        self.streams.iter().all(|stream| stream.is_settled(boundary))
            && self.mine.keys().next().is_none_or(|(first, _)| *first > boundary)
    }

    /// Everything behind an input is to be said again.
    pub fn back_to(&mut self, seq: Seq) {
        self.streams.iter_mut().for_each(|stream| stream.back_to(seq));
        self.mine.retain(|(boundary, _), _| *boundary <= seq);
    }

    /// Nothing up to an input will be asked for again.
    pub fn forget(&mut self, seq: Seq) {
        self.streams.iter_mut().for_each(|stream| stream.forget(seq));
        self.theirs.retain(|(boundary, _), _| *boundary > seq);
    }
}

fn differs(
    (boundary, seat): (Seq, u64),
    theirs: Option<&Checkpoint>,
    mine: Option<&Checkpoint>,
    topology: &Topology,
) -> Difference {
    let name = topology.seats.get(seat as usize).map_or_else(|| format!("seat {seat}"), |s| s.name.clone());
    Difference {
        seq: boundary.saturating_sub(kimera_runtime::seat::CHECKPOINT_INTERVAL).max(1),
        seat: name,
        kind: "checkpoint".into(),
        expected: describe_checkpoint(theirs),
        actual: describe_checkpoint(mine),
        cause_seq: boundary.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Decision, Header};

    fn decision(seq: Seq) -> Message {
        Message::new(Header { seq, ..Header::default() }, Decision::default())
    }

    fn said(seqs: impl IntoIterator<Item = Seq>) -> Recomputed {
        let mut said = Recomputed::default();
        said.said.decisions = seqs.into_iter().map(decision).collect();
        said
    }

    fn topology() -> Topology {
        Topology { seats: Vec::new(), edges: Vec::new() }
    }

    #[test]
    fn either_side_may_be_ahead_and_what_is_missing_is_noticed() {
        let mut both = Compared::default();
        both.mine(&said(1..=3));
        assert_eq!(both.compare(3, &topology()), None, "the journal is behind");
        (1..=3).for_each(|seq| both.theirs(decision(seq)));
        both.theirs(decision(5));
        assert_eq!(both.compare(4, &topology()), None, "the replica is behind");
        assert!(both.is_settled(4) && both.agreed == 3);
        // It has gone past the fifth and said nothing.
        assert_eq!(both.compare(5, &topology()).map(|d| (d.seq, d.actual)), Some((5, "nothing".into())));
        // And the other way round: it says one that the journal does not have.
        both.mine(&said([4, 5]));
        assert_eq!(both.compare(5, &topology()).map(|d| d.seq), Some(4));
    }

    #[test]
    fn what_is_said_again_is_compared_again() {
        let mut both = Compared::default();
        (1..=6).for_each(|seq| both.theirs(decision(seq)));
        both.mine(&said(1..=6));
        assert_eq!(both.compare(6, &topology()), None);
        both.forget(2);
        both.back_to(4);
        assert_eq!(both.compare(4, &topology()), None);
        both.mine(&said([6]));
        assert_eq!(both.compare(6, &topology()).map(|d| d.seq), Some(5), "one is left out this time");
        // A new start begins at 6: the sixth decision was about an input that is lost.
        both.back_to(5);
        both.mine(&said([5]));
        assert_eq!(both.compare(5, &topology()), None);
        both.started(6);
        assert_eq!(both.compare(6, &topology()), None);
    }
}
