//! Market events: what a venue said, in fixed point, with the identifiers that order it.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::{Nanos, Price, Quantity};

/// Which frame of the raw recording an event came from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FrameRef {
    /// Connection of this feed, counted from 1 in a run.
    pub epoch: u32,
    /// Frame of that connection, counted from 1.
    pub number: u32,
}

/// A price and the size there; size 0 in a delta removes the level.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Level {
    /// Price in ticks.
    pub price: Price,
    /// Size in 1e-8.
    pub size: Quantity,
}

/// Best bid and ask as the venue announces them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Ticker {
    /// Place in the raw recording.
    pub frame: FrameRef,
    /// The venue's event time, or 0 where it sends none.
    pub venue_time: Nanos,
    /// Book update this reflects, in the same count as depth updates.
    pub update_id: u64,
    /// Best bid.
    pub bid: Level,
    /// Best ask.
    pub ask: Level,
    /// Zero.
    pub reserved: [u64; 5],
}

impl Body for Ticker {
    const KIND: Kind = Kind::Ticker;
}

/// A public trade.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Trade {
    /// Place in the raw recording.
    pub frame: FrameRef,
    /// The venue's event time.
    pub venue_time: Nanos,
    /// The venue's trade time.
    pub trade_time: Nanos,
    /// The venue's trade identifier.
    pub trade_id: u64,
    /// Price in ticks.
    pub price: Price,
    /// Size in 1e-8.
    pub size: Quantity,
    /// +1 where the buyer took, -1 where the seller took.
    pub aggressor: i64,
    /// Zero.
    pub reserved: [u64; 5],
}

impl Body for Trade {
    const KIND: Kind = Kind::Trade;
}

/// Opens a depth frame; the levels follow in [`Levels`] messages of the same frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DepthBegin {
    /// Place in the raw recording.
    pub frame: FrameRef,
    /// The venue's event time, or 0 where it sends none.
    pub venue_time: Nanos,
    /// First update of the frame.
    pub first_id: u64,
    /// Last update of the frame.
    pub last_id: u64,
    /// Last update of the frame before it, as the venue's rule links them; 0 for a snapshot.
    pub previous_id: u64,
    /// Messages of the whole frame, this one included.
    pub messages: u32,
    /// 1 where the frame replaces the book, 0 where it changes it.
    pub snapshot: u32,
    /// Bid levels of the frame.
    pub bid_levels: u32,
    /// Ask levels of the frame.
    pub ask_levels: u32,
    /// Zero.
    pub reserved: [u64; 5],
}

impl Body for DepthBegin {
    const KIND: Kind = Kind::DepthBegin;
}

/// Levels in one [`Levels`] message.
pub const LEVELS_MAX: usize = 6;

/// Up to six levels; `header.count` says how many, `header.bids` how many of them are bids (first).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Levels {
    /// Levels, bids first.
    pub levels: [Level; LEVELS_MAX],
}

impl Body for Levels {
    const KIND: Kind = Kind::Levels;
}

/// Why a delta stream is broken.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The venue's update identifiers do not link.
    Chain = 1,
    /// The connection was lost.
    Disconnected = 2,
    /// The feed's backlog was full: the line is slower than the venue.
    Overflow = 3,
    /// A depth frame could not be read.
    Undecodable = 4,
}

impl GapReason {
    /// The reason of a code read from a journal.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Chain, Self::Disconnected, Self::Overflow, Self::Undecodable]
            .into_iter()
            .find(|r| *r as u64 == code)
    }
}

/// From here to the next snapshot the instrument's book is not to be trusted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Gapped {
    /// Frame at which it was noticed.
    pub frame: FrameRef,
    /// [`GapReason`] as its code.
    pub reason: u64,
    /// Update identifier that should have come.
    pub expected: u64,
    /// Update identifier that came.
    pub got: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

impl Body for Gapped {
    const KIND: Kind = Kind::Gapped;
}

/// State of a feed's connection.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// Subscribed; frames are coming.
    Connected = 1,
    /// Lost; reconnecting.
    Disconnected = 2,
}

/// A feed's connection changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FeedStatus {
    /// Connection it is about.
    pub frame: FrameRef,
    /// [`FeedState`] as its code.
    pub state: u64,
    /// Zero.
    pub reserved: [u64; 10],
}

impl Body for FeedStatus {
    const KIND: Kind = Kind::FeedStatus;
}
