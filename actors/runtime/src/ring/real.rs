//! The ring of the machine.

use kimera_protocol::Message;

/// Reading end of an edge.
pub struct Inlet {
    consumer: rtrb::Consumer<Message>,
}

/// Writing end of an edge.
pub struct Outlet {
    producer: rtrb::Producer<Message>,
}

/// A single-producer single-consumer ring of `capacity` messages.
#[must_use]
pub fn ring(capacity: usize) -> (Outlet, Inlet) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Outlet { producer }, Inlet { consumer })
}

impl Inlet {
    /// The oldest message, left in place.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<&Message> {
        self.consumer.peek().ok()
    }

    /// Takes the oldest message.
    #[inline]
    pub fn pop(&mut self) -> Option<Message> {
        self.consumer.pop().ok()
    }

    /// Drops the oldest message, which [`Inlet::peek`] showed.
    #[inline]
    pub fn advance(&mut self) {
        let taken = self.consumer.pop();
        debug_assert!(taken.is_ok(), "advance without a message");
    }

    /// Messages waiting, read fresh from the writer.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.consumer.slots()
    }

    /// Shows up to `limit` waiting messages as two runs and takes as many as `take` says.
    #[inline]
    pub fn drain(&mut self, limit: usize, take: impl FnOnce(&[Message], &[Message]) -> usize) -> usize {
        let available = self.consumer.slots().min(limit);
        let Ok(chunk) = self.consumer.read_chunk(available) else { return 0 };
        let (first, second) = chunk.as_slices();
        let taken = take(first, second).min(available);
        chunk.commit(taken);
        taken
    }
}

impl Outlet {
    /// Room for messages, read fresh only where the last known room is short of `wanted`.
    #[inline]
    #[must_use]
    pub fn has_room(&self, wanted: usize) -> bool {
        self.producer.cached_slots() >= wanted || self.producer.slots() >= wanted
    }

    /// Appends one message; false where the ring is full.
    #[inline]
    #[must_use]
    pub fn push(&mut self, message: Message) -> bool {
        self.producer.push(message).is_ok()
    }

    /// Appends all of `messages` so that the reader sees them at once, or none of them.
    #[inline]
    #[must_use]
    pub fn push_all(&mut self, messages: &[Message]) -> bool {
        self.producer.push_entire_slice(messages).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Header, Ticker};

    fn numbered(seq: u64) -> Message {
        Message::new(Header { seq, ..Header::default() }, Ticker::default())
    }

    #[test]
    fn a_frame_goes_whole_or_not_at_all() {
        let (mut out, mut inlet) = ring(4);
        assert!(out.push_all(&[numbered(1), numbered(2), numbered(3)]));
        assert!(!out.push_all(&[numbered(4), numbered(5)]));
        assert_eq!(inlet.waiting(), 3);
        assert_eq!(inlet.pop().map(|m| m.header.seq), Some(1));
        assert!(out.push_all(&[numbered(4), numbered(5)]));
        let mut seen = Vec::new();
        let taken = inlet.drain(64, |a, b| {
            seen.extend(a.iter().chain(b).map(|m| m.header.seq));
            a.len() + b.len()
        });
        assert_eq!((taken, seen), (4, vec![2, 3, 4, 5]));
        assert!(inlet.peek().is_none());
    }
}
