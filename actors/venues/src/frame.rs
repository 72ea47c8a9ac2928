//! What a decoded frame becomes: whole messages in a buffer that never grows.

use kimera_protocol::market::LEVELS_MAX;
use kimera_protocol::{
    Body, DepthBegin, FixedError, Flags, FrameRef, Header, InstrumentId, Kind, Level, Levels, Message,
};

/// Messages of the largest frame that is taken: 4,500 levels and their beginning.
pub const FRAME_MESSAGES_MAX: usize = 751;

/// Why a frame could not be read. The frame is counted and left out; a depth frame breaks its chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON a venue may send.
    #[error("malformed JSON at byte {0}")]
    Json(usize),
    /// A field that must be there is not.
    #[error("field \"{0}\" is missing")]
    Missing(&'static str),
    /// A number that does not fit its unit.
    #[error("field \"{0}\": {1}")]
    Number(&'static str, FixedError),
    /// A stream or symbol that was not asked for.
    #[error("unknown stream or symbol")]
    UnknownStream,
    /// More levels than one frame may have.
    #[error("frame has more than {FRAME_MESSAGES_MAX} messages")]
    TooLarge,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// One best-price message.
    Ticker,
    /// One trade.
    Trade,
    /// A depth frame; the buffer starts with its beginning.
    Depth,
    /// An answer or event that is no market data.
    Ignored,
}

/// The messages of one frame.
pub struct FrameBuffer {
    messages: Vec<Message>,
    frame: FrameRef,
    ingress: u64,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuffer {
    /// A buffer for the largest frame.
    #[must_use]
    pub fn new() -> Self {
        Self { messages: Vec::with_capacity(FRAME_MESSAGES_MAX), frame: FrameRef::default(), ingress: 0 }
    }

    /// Empties the buffer for the frame with this place in the recording and this time stamp.
    pub fn begin(&mut self, frame: FrameRef, ingress: u64) {
        self.messages.clear();
        self.frame = frame;
        self.ingress = ingress;
    }

    /// Drops what a failed attempt has left.
    pub fn restart(&mut self) {
        self.messages.clear();
    }

    /// Place of the frame in the recording.
    #[must_use]
    pub fn frame(&self) -> FrameRef {
        self.frame
    }

    /// The messages so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages for change: the book rule links deltas there.
    pub fn messages_mut(&mut self) -> &mut [Message] {
        &mut self.messages
    }

    /// Adds a single-message frame.
    pub fn push_single<B: Body>(&mut self, instrument: InstrumentId, body: B) {
        let mut header = Header::unsequenced(B::KIND, instrument);
        header.flags = Flags::FRAME_END;
        header.ingress = self.ingress;
        self.messages.push(Message::new(header, body));
    }

    /// Opens a depth frame; [`FrameBuffer::push_level`] and [`FrameBuffer::end_depth`] follow.
    pub fn begin_depth(&mut self, instrument: InstrumentId, begin: DepthBegin) {
        let mut header = Header::unsequenced(Kind::DepthBegin, instrument);
        header.ingress = self.ingress;
        self.messages.push(Message::new(header, begin));
    }

    /// Adds a level; bids come first.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] where the frame is full.
    #[inline]
    pub fn push_level(&mut self, is_bid: bool, level: Level) -> Result<(), DecodeError> {
        let new = match self.messages.last() {
            Some(last) => {
                last.header.kind != Kind::Levels as u8 || usize::from(last.header.count) == LEVELS_MAX
            }
            None => return Err(DecodeError::Missing("depth")),
        };
        if new {
            if self.messages.len() == FRAME_MESSAGES_MAX {
                return Err(DecodeError::TooLarge);
            }
            let mut header = Header::unsequenced(Kind::Levels, self.messages[0].instrument());
            header.ingress = self.ingress;
            self.messages.push(Message::new(header, Levels::default()));
        }
        if let Some(last) = self.messages.last_mut() {
            let at = usize::from(last.header.count);
            if let Some(levels) = last.body_mut::<Levels>() {
                levels.levels[at] = level;
            }
            last.header.count += 1;
            last.header.bids += u8::from(is_bid);
        }
        Ok(())
    }

    /// Closes a depth frame: counts its levels and messages into its beginning.
    pub fn end_depth(&mut self) {
        let (mut bids, mut asks) = (0u32, 0u32);
        for message in &self.messages[1..] {
            bids += u32::from(message.header.bids);
            asks += u32::from(message.header.count - message.header.bids);
        }
        let messages = self.messages.len() as u32;
        if let Some(begin) = self.messages[0].body_mut::<DepthBegin>() {
            begin.messages = messages;
            begin.bid_levels = bids;
            begin.ask_levels = asks;
        }
        if let Some(last) = self.messages.last_mut() {
            last.header.flags |= Flags::FRAME_END;
        }
    }
}
