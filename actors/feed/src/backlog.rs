//! Frames that wait for room at the door.
//!
//! Depth and trades wait in order; best prices conflate: a newer one takes the place of the one that waits.

use std::collections::VecDeque;

use kimera_protocol::{Kind, Message};
use kimera_runtime::Outlet;

/// Messages that may wait.
pub const CAPACITY: usize = 8_192;
/// Room kept free for single messages when a depth frame asks for room.
pub const RESERVE: usize = 1_024;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Sent, or waiting.
    Taken,
    /// It took the place of a best price that waited.
    Conflated,
    /// There is no room: nothing was changed.
    Refused,
}

/// A bounded queue of whole frames.
pub struct Backlog {
    messages: VecDeque<Message>,
    /// Messages taken out since the start: turns a place in the queue into a number that stays true.
    taken: u64,
    /// The waiting ticker, as such a number.
    ticker_at: Option<u64>,
    scratch: Vec<Message>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    /// An empty backlog with all its memory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            messages: VecDeque::with_capacity(CAPACITY),
            taken: 0,
            ticker_at: None,
            scratch: Vec::with_capacity(CAPACITY),
        }
    }

    /// True where nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Room for a frame of `messages`; frames of more than one leave a reserve for the others.
    #[must_use]
    pub fn has_room(&self, messages: usize) -> bool {
        let reserve = if messages > 1 { RESERVE } else { 0 };
        self.messages.len() + messages + reserve <= CAPACITY
    }

    /// Adds a frame that [`Backlog::has_room`] was asked for; true where a waiting ticker was replaced instead.
    fn push(&mut self, frame: &[Message]) -> bool {
        if let [ticker] = frame
            && ticker.header.kind == Kind::Ticker as u8
        {
            if let Some(at) = self.ticker_at
                && let Some(waiting) = self.messages.get_mut((at - self.taken) as usize)
            {
                *waiting = *ticker;
                return true;
            }
            self.ticker_at = Some(self.taken + self.messages.len() as u64);
        }
        debug_assert!(self.messages.len() + frame.len() <= CAPACITY);
        self.messages.extend(frame);
        false
    }

    /// Sends a frame at once where nothing waits and the ring has room; otherwise it waits here, if it may.
    #[inline]
    pub fn offer(&mut self, frame: &[Message], outlet: &mut Outlet) -> Offer {
        if self.messages.is_empty() && outlet.push_all(frame) {
            return Offer::Taken;
        }
        if !self.has_room(frame.len()) {
            return Offer::Refused;
        }
        if self.push(frame) { Offer::Conflated } else { Offer::Taken }
    }

    /// Sends as many whole frames as the ring takes.
    pub fn flush(&mut self, outlet: &mut Outlet) {
        while let Some(first) = self.messages.front() {
            let length = frame_length(first).min(self.messages.len());
            if !outlet.has_room(length) {
                return;
            }
            self.scratch.clear();
            self.scratch.extend(self.messages.drain(..length));
            self.taken += length as u64;
            if self.ticker_at.is_some_and(|at| at < self.taken) {
                self.ticker_at = None;
            }
            let sent = outlet.push_all(&self.scratch);
            debug_assert!(sent, "room was asked for");
        }
    }
}

/// Messages of the frame that starts with `first`.
#[must_use]
pub fn frame_length(first: &Message) -> usize {
    first.body::<kimera_protocol::DepthBegin>().map_or(1, |begin| (begin.messages as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{DepthBegin, Header, Levels, Ticker, Trade};
    use kimera_runtime::ring::ring;

    fn ticker(update_id: u64) -> Message {
        Message::new(Header::default(), Ticker { update_id, ..Ticker::default() })
    }

    #[test]
    fn tickers_conflate_and_frames_stay_whole() {
        let mut backlog = Backlog::new();
        let (mut out, mut inlet) = ring(3);
        let trade = Message::new(Header::default(), Trade::default());
        let depth = Message::new(Header::default(), DepthBegin { messages: 2, ..DepthBegin::default() });
        let levels = Message::new(Header::default(), Levels::default());
        assert!(!backlog.push(&[ticker(1)]));
        assert!(!backlog.push(&[trade]));
        assert!(backlog.push(&[ticker(2)]), "the waiting one is replaced");
        assert!(!backlog.push(&[depth, levels]));
        backlog.flush(&mut out);
        assert_eq!(inlet.waiting(), 2, "the depth frame does not fit whole");
        assert_eq!(inlet.pop().and_then(|m| m.body::<Ticker>().map(|t| t.update_id)), Some(2));
        assert!(!backlog.push(&[ticker(3)]), "the first has left: a new one waits");
        backlog.flush(&mut out);
        assert_eq!(inlet.waiting(), 3);
        for _ in 0..3 {
            inlet.pop();
        }
        backlog.flush(&mut out);
        assert_eq!(inlet.pop().and_then(|m| m.body::<Ticker>().map(|t| t.update_id)), Some(3));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_reserve_is_kept_for_what_may_not_be_dropped() {
        let mut backlog = Backlog::new();
        let trade = Message::new(Header::default(), Trade::default());
        while backlog.has_room(2) {
            backlog.push(&[trade, trade]);
        }
        assert!((0..RESERVE).all(|_| backlog.has_room(1) && !backlog.push(&[trade])));
        assert!(!backlog.has_room(1));
    }
}
