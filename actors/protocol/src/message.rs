//! The one message of every ring: 128 bytes, `Copy`, no pointers.
//!
//! A header of 32 bytes and a body of 96; two cache lines. The body is plain integers and floats, so that every bit
//! pattern read back from disk is valid memory and is judged by meaning afterwards.

use bytemuck::{Pod, Zeroable};

use crate::{InstrumentId, Nanos, Seq};

/// Version of the layouts in this crate, written into every journal.
pub const SCHEMA: u8 = 1;
/// Words of eight bytes in a body.
pub const BODY_WORDS: usize = 12;

/// What a message's body holds. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Best bid and ask of a venue: [`crate::Ticker`].
    Ticker = 1,
    /// A public trade: [`crate::Trade`].
    Trade = 2,
    /// Opens a depth frame: [`crate::DepthBegin`].
    DepthBegin = 3,
    /// Up to six book levels: [`crate::Levels`].
    Levels = 4,
    /// A delta stream lost its chain: [`crate::Gapped`].
    Gapped = 5,
    /// A feed's connection changed state: [`crate::FeedStatus`].
    FeedStatus = 6,
    /// A venue's rules for an instrument: [`crate::Definition`].
    Definition = 7,
    /// First record of a run: [`crate::Started`].
    Started = 16,
    /// An operator's or supervisor's command: [`crate::Command`].
    Command = 17,
    /// A deadline that a stage asked for has come: [`crate::Timer`].
    Timer = 18,
    /// A seat has panicked and stays out: [`crate::Absent`].
    Absent = 19,
    /// Other patterns from here on: [`crate::PatternsLoaded`].
    PatternsLoaded = 20,
    /// What a slow estimator thinks of an instrument: [`crate::Opinion`].
    Opinion = 21,
    /// A report about an order of ours: [`crate::order::OrderUpdate`].
    OrderUpdate = 24,
    /// An order that risk or compliance did not let pass: [`crate::order::Refusal`].
    Refusal = 25,
    /// A gateway may or may not send orders: [`crate::VenueStatus`].
    VenueStatus = 26,
    /// An order of an earlier start that the journal does not have: [`crate::OrphanAdopted`].
    OrphanAdopted = 27,
    /// A headline: [`crate::News`].
    News = 28,
    /// A value of a series of the world's: [`crate::Reading`].
    Reading = 29,
    /// An hour of an instrument's history: [`crate::Prime`].
    Prime = 30,
    /// The book's best prices at a mark: [`crate::Quote`].
    Quote = 64,
    /// The estimators at a mark: [`crate::Features`].
    Features = 65,
    /// What strategy wants at a mark: [`crate::Decision`].
    Decision = 66,
    /// A member's forecast at a mark: [`crate::Vote`].
    Vote = 67,
    /// What the ensemble makes of the votes: [`crate::Consensus`].
    Consensus = 68,
    /// The members' weights, when they change: [`crate::Weights`].
    Weights = 69,
    /// A detector's suspicion: [`crate::Alert`].
    Alert = 70,
    /// A pattern is complete: [`crate::PatternMatch`].
    PatternMatch = 71,
    /// A child order: [`crate::order::NewOrder`].
    NewOrder = 80,
    /// Takes an order back: [`crate::order::CancelOrder`].
    CancelOrder = 81,
    /// Takes every order back: [`crate::order::CancelAll`].
    CancelAll = 82,
    /// A seat's rolling output hash: [`crate::Checkpoint`].
    Checkpoint = 96,
    /// A stage asks the sequencer for a deadline: [`crate::TimerRequest`].
    TimerRequest = 97,
}

impl Kind {
    /// The kind of a code read from outside.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Ticker,
            2 => Self::Trade,
            3 => Self::DepthBegin,
            4 => Self::Levels,
            5 => Self::Gapped,
            6 => Self::FeedStatus,
            7 => Self::Definition,
            16 => Self::Started,
            17 => Self::Command,
            18 => Self::Timer,
            19 => Self::Absent,
            20 => Self::PatternsLoaded,
            21 => Self::Opinion,
            24 => Self::OrderUpdate,
            25 => Self::Refusal,
            26 => Self::VenueStatus,
            27 => Self::OrphanAdopted,
            28 => Self::News,
            29 => Self::Reading,
            30 => Self::Prime,
            64 => Self::Quote,
            65 => Self::Features,
            66 => Self::Decision,
            67 => Self::Vote,
            68 => Self::Consensus,
            69 => Self::Weights,
            70 => Self::Alert,
            71 => Self::PatternMatch,
            80 => Self::NewOrder,
            81 => Self::CancelOrder,
            82 => Self::CancelAll,
            96 => Self::Checkpoint,
            97 => Self::TimerRequest,
            _ => return None,
        })
    }

    /// True for what enters by the sequencer; the rest is derived from it.
    #[must_use]
    pub fn is_input(self) -> bool {
        (self as u8) < 64
    }

    /// True for inputs that every stage has to hear of, also where one before it leaves them out: what became of orders,
    /// what was commanded, what the venue's rules are, who is there. Nothing that is only of the market is.
    #[must_use]
    pub fn is_for_every_stage(self) -> bool {
        matches!(
            self,
            Self::Started
                | Self::Command
                | Self::Definition
                | Self::Absent
                | Self::OrderUpdate
                | Self::VenueStatus
                | Self::OrphanAdopted
        )
    }

    /// True for what is worth a line in a log: rare, and about orders, refusals, feeds, commands, suspicions or who is there.
    #[must_use]
    pub fn is_logged(self) -> bool {
        matches!(
            self,
            Self::Gapped
                | Self::FeedStatus
                | Self::Definition
                | Self::Started
                | Self::Command
                | Self::Absent
                | Self::PatternsLoaded
                | Self::OrderUpdate
                | Self::Refusal
                | Self::VenueStatus
                | Self::OrphanAdopted
                | Self::Weights
                | Self::Alert
                | Self::PatternMatch
                | Self::NewOrder
                | Self::CancelOrder
                | Self::CancelAll
        )
    }

    /// Name for tables and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticker => "ticker",
            Self::Trade => "trade",
            Self::DepthBegin => "depth",
            Self::Levels => "levels",
            Self::Gapped => "gapped",
            Self::FeedStatus => "feed-status",
            Self::Definition => "definition",
            Self::Started => "started",
            Self::Command => "command",
            Self::Timer => "timer",
            Self::Absent => "absent",
            Self::PatternsLoaded => "patterns-loaded",
            Self::Opinion => "opinion",
            Self::OrderUpdate => "order-update",
            Self::Refusal => "refusal",
            Self::VenueStatus => "venue-status",
            Self::OrphanAdopted => "orphan-adopted",
            Self::News => "news",
            Self::Reading => "reading",
            Self::Prime => "prime",
            Self::Quote => "quote",
            Self::Features => "features",
            Self::Decision => "decision",
            Self::Vote => "vote",
            Self::Consensus => "consensus",
            Self::Weights => "weights",
            Self::Alert => "alert",
            Self::PatternMatch => "match",
            Self::NewOrder => "new-order",
            Self::CancelOrder => "cancel-order",
            Self::CancelAll => "cancel-all",
            Self::Checkpoint => "checkpoint",
            Self::TimerRequest => "timer-request",
        }
    }
}

/// Bits of [`Header::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags;

impl Flags {
    /// The sequencer asks for an evaluation after this message.
    pub const MARK: u8 = 1;
    /// Last message of its frame.
    pub const FRAME_END: u8 = 2;
    /// The run ends with this input: every seat publishes its last checkpoint.
    pub const STOP: u8 = 4;
}

/// Which input of the sequencer a message came through; an index of the topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source(pub u8);

/// The first 32 bytes of a message.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Header {
    /// Sequenced input this message is or was caused by; 0 before the door.
    pub seq: Seq,
    /// Market time the sequencer gave, or 0 before the door.
    pub time: Nanos,
    /// Time-stamp counter at ingress: measurement only, outside every hash, hidden from actors.
    pub ingress: u64,
    /// [`Kind`] as its code.
    pub kind: u8,
    /// [`Flags`].
    pub flags: u8,
    /// [`Source`] of the input.
    pub source: u8,
    /// Elements used in the body, where it holds an array.
    pub count: u8,
    /// [`InstrumentId`], or 0 where the message is about none.
    pub instrument: u16,
    /// For [`Kind::Levels`]: how many of `count` are bids; they come first.
    pub bids: u8,
    /// [`SCHEMA`] of the writer.
    pub schema: u8,
}

const _: () = assert!(size_of::<Header>() == 32 && align_of::<Header>() == 8);

impl Header {
    /// A header for a message that has not passed the door.
    #[must_use]
    pub fn unsequenced(kind: Kind, instrument: InstrumentId) -> Self {
        Self { kind: kind as u8, instrument: instrument.0, schema: SCHEMA, ..Self::default() }
    }

    /// The header as four words, for hashing.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64; 4] {
        bytemuck::must_cast_ref(self)
    }
}

/// A body: 96 bytes without padding.
pub trait Body: Pod {
    /// The kind that announces this body.
    const KIND: Kind;
}

/// What rings carry and journals keep.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Message {
    /// Who, when, what.
    pub header: Header,
    body: [u64; BODY_WORDS],
}

const _: () = assert!(size_of::<Message>() == 128 && align_of::<Message>() == 64);

impl Default for Message {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl Message {
    /// A message of `body`'s kind.
    #[inline]
    #[must_use]
    pub fn new<B: Body>(mut header: Header, body: B) -> Self {
        const { assert!(size_of::<B>() == BODY_WORDS * 8 && align_of::<B>() <= 8) };
        header.kind = B::KIND as u8;
        header.schema = SCHEMA;
        Self { header, body: bytemuck::must_cast(body) }
    }

    /// A message rebuilt from a header and raw words, as a journal keeps them.
    #[must_use]
    pub fn from_words(header: Header, body: [u64; BODY_WORDS]) -> Self {
        Self { header, body }
    }

    /// The kind, or `None` for a code this build does not know.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_code(self.header.kind)
    }

    /// The body, if the header announces `B`.
    #[inline]
    #[must_use]
    pub fn body<B: Body>(&self) -> Option<&B> {
        const { assert!(size_of::<B>() == BODY_WORDS * 8) };
        (self.header.kind == B::KIND as u8).then(|| bytemuck::must_cast_ref(&self.body))
    }

    /// The body for change, if the header announces `B`.
    #[inline]
    pub fn body_mut<B: Body>(&mut self) -> Option<&mut B> {
        (self.header.kind == B::KIND as u8).then(|| bytemuck::must_cast_mut(&mut self.body))
    }

    /// The body's words, for hashing and the journal.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64; BODY_WORDS] {
        &self.body
    }

    /// True where the sequencer asked for an evaluation.
    #[inline]
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.header.flags & Flags::MARK != 0
    }

    /// True on the last input of a run.
    #[inline]
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.header.flags & Flags::STOP != 0
    }

    /// The instrument it is about.
    #[inline]
    #[must_use]
    pub fn instrument(&self) -> InstrumentId {
        InstrumentId(self.header.instrument)
    }
}

/// Every body fills its 96 bytes: a mistake in a layout does not compile.
macro_rules! assert_bodies {
    ($($body:ty),* $(,)?) => { $(const _: () = assert!(size_of::<$body>() == BODY_WORDS * 8 && align_of::<$body>() == 8);)* };
}

assert_bodies!(
    crate::Ticker,
    crate::Trade,
    crate::DepthBegin,
    crate::Levels,
    crate::Gapped,
    crate::FeedStatus,
    crate::Started,
    crate::Command,
    crate::Timer,
    crate::Absent,
    crate::PatternsLoaded,
    crate::Opinion,
    crate::OrderUpdate,
    crate::Refusal,
    crate::VenueStatus,
    crate::OrphanAdopted,
    crate::News,
    crate::Reading,
    crate::Prime,
    crate::Quote,
    crate::Features,
    crate::Decision,
    crate::Vote,
    crate::Consensus,
    crate::Weights,
    crate::NewOrder,
    crate::CancelOrder,
    crate::CancelAll,
    crate::Checkpoint,
    crate::TimerRequest,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ticker, Trade};

    #[test]
    fn a_body_is_only_read_as_what_it_is() {
        let message = Message::new(Header::default(), Ticker { update_id: 7, ..Ticker::default() });
        assert_eq!(message.kind(), Some(Kind::Ticker));
        assert_eq!(message.body::<Ticker>().map(|t| t.update_id), Some(7));
        assert!(message.body::<Trade>().is_none());
    }

    #[test]
    fn codes_are_stable_and_unique() {
        for code in 0..=u8::MAX {
            if let Some(kind) = Kind::from_code(code) {
                assert_eq!(kind as u8, code);
                assert!(!kind.name().is_empty());
            }
        }
    }
}
