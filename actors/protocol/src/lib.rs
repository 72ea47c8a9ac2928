//! What actors say to each other.
//!
//! Everything that crosses a ring or reaches the journal is defined here: fixed-point numbers, instruments,
//! the 128-byte [`Message`] and its bodies. Nothing in this crate performs input or output, reads a clock or
//! allocates after start.

pub mod alert;
pub mod control;
pub mod decision;
pub mod definition;
pub mod error_kind;
pub mod fixed;
pub mod hash;
pub mod history;
pub mod instrument;
pub mod market;
pub mod message;
mod news;
pub mod opinion;
pub mod order;
pub mod pattern;
pub mod reading;
pub mod session;
pub mod signal;
pub mod state;
pub mod vote;

pub use alert::{Alert, AlertPolicy, Detector, Phase, Severity};
pub use control::{
    Checkpoint, Command, CommandCode, Started, Timer, TimerOwner, TimerRequest, Trading, TradingState,
    VenueStatus,
};
pub use decision::{Decision, HoldReason, Urgency};
pub use definition::{Definition, InstrumentStatus, InstrumentVersion};
pub use error_kind::ErrorKind;
pub use fixed::{FixedError, Price, Quantity};
pub use hash::RollingHash;
pub use history::{DAY, HOUR, MINUTE, MINUTES_MIN, Prime};
pub use instrument::{Instrument, InstrumentId, VenueId};
pub use market::{
    DepthBegin, FeedState, FeedStatus, FrameRef, GapReason, Gapped, Level, Levels, Ticker, Trade,
};
pub use message::{Body, Flags, Header, Kind, Message, Source};
pub use news::News;
pub use opinion::{Opinion, Opinions, TOPICS, Topic};
pub use order::{
    CHILDREN_PER_SESSION, CancelAll, CancelOrder, FillBook, NewOrder, OrderEvent, OrderId, OrderRecord,
    OrderState, OrderUpdate, OrphanAdopted, Refusal, RefusalReason, TimeInForce,
};
pub use pattern::{PatternMatch, PatternsLoaded};
pub use reading::{Reading, Series};
pub use session::{SESSIONS_MAX, SessionChange, SessionTerms, Sessions};
pub use signal::{Features, Quote, Side, Status};
pub use state::{Derived, Loader, Saver, State, StateError};
pub use vote::{Absent, Abstention, Consensus, Form, MEMBERS_MAX, Sketch, Vote, Weights};

/// Place of an input in the one order of the system; the first input of a journal is 1.
pub type Seq = u64;

/// Market time in nanoseconds since the Unix epoch.
pub type Nanos = i64;
