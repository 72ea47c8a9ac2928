//! Orders: what stages pass on, what venues report, and what an order's life may be.
//!
//! * [`life_cycle`]: the one transition table
//! * [`fill_book`]: fills by order, for positions
//! * [`fills`]: which part of an order is filled, whatever order reports come in
//! * [`record`]: one order's state as risk, execution, ledger and gateway keep it

pub mod fill_book;
pub mod fills;
pub mod life_cycle;
pub mod record;
pub mod table;

pub use fill_book::FillBook;
pub use fills::{FillError, Fills};
pub use life_cycle::{Move, OrderEvent, OrderState, next};
pub use record::{Applied, OrderRecord};
pub use table::{Followed, OrderTable};

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::signal::Side;
use crate::{Nanos, Price, Quantity, Seq};

/// Identity of an order of ours: unique over restarts, and the client order id on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct OrderId {
    /// The sequenced input that caused it.
    pub seq: Seq,
    /// Start of the engine that made it.
    pub incarnation: u32,
    /// Child of that input: [`CHILDREN_PER_SESSION`] times the session's place, and from 0 within the session.
    pub child: u32,
}

/// Children that one input may cause a session: the number of a child says whose it is.
pub const CHILDREN_PER_SESSION: u32 = 100;

impl OrderId {
    /// Place of the session whose order it is: part of the identity, so that it is known wherever the identity is.
    #[must_use]
    pub fn session(self) -> usize {
        (self.child / CHILDREN_PER_SESSION) as usize
    }

    /// The client order id: `k<incarnation>-<seq>-<child>`, at most 36 characters, written without allocation.
    #[must_use]
    pub fn to_text(self) -> ClientOrderId {
        let mut text = ClientOrderId { bytes: [0; 36], length: 0 };
        text.push(b'k');
        text.push_number(u64::from(self.incarnation));
        text.push(b'-');
        text.push_number(self.seq);
        text.push(b'-');
        // 1 + 10 + 1 + 20 + 1 leaves three digits; an input never has a thousand children.
        text.push_number(u64::from(self.child % 1_000));
        text
    }

    /// The identity in a client order id of ours; `None` for any other text.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.strip_prefix(b"k")?).ok()?;
        let mut parts = text.split('-');
        let (incarnation, seq, child) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Self {
            seq: seq.parse().ok()?,
            incarnation: incarnation.parse().ok()?,
            child: child.parse().ok()?,
        };
        // Only the one spelling we write is ours: no signs, no leading zeros, nothing behind.
        let mut ours = [0u8; 37];
        ours[0] = b'k';
        ours[1..=text.len().min(36)].copy_from_slice(&text.as_bytes()[..text.len().min(36)]);
        let canonical = id.to_text();
        (parts.next().is_none() && canonical.as_bytes() == &ours[..text.len().min(36) + 1]).then_some(id)
    }
}

/// A client order id on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOrderId {
    bytes: [u8; 36],
    length: usize,
}

impl ClientOrderId {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn push_number(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        for &digit in &digits[at..] {
            self.push(digit);
        }
    }

    /// The text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// How long an order stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeInForce {
    /// Until cancelled.
    GoodTillCancel = 0,
    /// What can be filled at once; the rest expires.
    ImmediateOrCancel = 1,
    /// All at once or nothing.
    FillOrKill = 2,
    /// Only as a maker: refused where it would take.
    PostOnly = 3,
}

/// Bits of [`NewOrder::flags`].
#[derive(Clone, Copy, Debug)]
pub struct OrderFlags;

impl OrderFlags {
    /// It may only make the position smaller.
    pub const REDUCE_ONLY: u16 = 1;
    /// Risk has found that it can only make the position smaller, whatever becomes of what stands. Set by risk with its stamp.
    pub const REDUCES: u16 = 2;
    /// True where it is a way out: by its own word, or by risk's.
    #[must_use]
    pub fn is_way_out(flags: u16) -> bool {
        flags & (Self::REDUCE_ONLY | Self::REDUCES) != 0
    }
}

/// A child order on its way: decided by execution, stamped by risk, sent by a gateway.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct NewOrder {
    /// Identity.
    pub id: OrderId,
    /// Limit price in ticks.
    pub price: Price,
    /// Size in 1e-8.
    pub quantity: Quantity,
    /// Market time after which it must not be sent any more.
    pub send_by: Nanos,
    /// Risk's stamp: the seq at which it passed; 0 before.
    pub stamp_seq: Seq,
    /// Risk's stamp: version of the limits.
    pub limits_version: u64,
    /// Risk's stamp: trading epoch; an order of an older epoch is never sent.
    pub trading_epoch: u64,
    /// Input that gave the budget it is a part of: children of one budget are one decision. 0 where it stands alone.
    pub parent: Seq,
    /// Strategy that wants it.
    pub strategy: u16,
    /// [`OrderFlags`].
    pub flags: u16,
    /// [`Side`] as its code.
    pub side: u8,
    /// [`TimeInForce`] as its code.
    pub time_in_force: u8,
    /// Venue it goes to.
    pub venue: u8,
    /// Zero.
    pub reserved_byte: u8,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Body for NewOrder {
    const KIND: Kind = Kind::NewOrder;
}

impl NewOrder {
    /// The side; an unknown code reads as none.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        match self.side {
            0 => Some(Side::Bid),
            1 => Some(Side::Ask),
            _ => None,
        }
    }
}

/// Takes an order back. Never refused, gated or queued behind new orders.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CancelOrder {
    /// The order.
    pub id: OrderId,
    /// Venue it stands on.
    pub venue: u64,
    /// Zero.
    pub reserved: [u64; 9],
}

impl Body for CancelOrder {
    const KIND: Kind = Kind::CancelOrder;
}

/// Takes every order of ours on a venue back: one message, expanded by the gateway from its own table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CancelAll {
    /// Venue.
    pub venue: u64,
    /// Zero.
    pub reserved: [u64; 11],
}

impl Body for CancelAll {
    const KIND: Kind = Kind::CancelAll;
}

/// What a venue or a gateway says about an order of ours: an input, and the only thing that moves exposure.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct OrderUpdate {
    /// The order.
    pub id: OrderId,
    /// The venue's own identifier; 0 where it gave none.
    pub venue_order_id: u64,
    /// The venue's time of the event.
    pub venue_time: Nanos,
    /// Fill: its price in ticks.
    pub price: Price,
    /// Fill: its size in 1e-8.
    pub quantity: Quantity,
    /// Size filled in all after the event, in 1e-8.
    pub cumulative: Quantity,
    /// Fill: the fee in 1e-8 of the quote asset; negative for a rebate.
    pub fee: i64,
    /// Fill: the venue's trade identifier.
    pub trade_id: u64,
    /// [`OrderEvent`] as its code.
    pub event: u8,
    /// 1 where the fill was ours as maker.
    pub maker: u8,
    /// [`Side`] of the order as its code.
    pub side: u8,
    /// Zero.
    pub reserved_byte: u8,
    /// The venue's error code, where it refused.
    pub code: i32,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Body for OrderUpdate {
    const KIND: Kind = Kind::OrderUpdate;
}

/// An order of ours at the venue that lies beyond the durable end of the journal: it was sent, and what caused it was
/// lost. It is charged to risk and taken back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct OrphanAdopted {
    /// The order, of an earlier start.
    pub id: OrderId,
    /// The venue's own identifier.
    pub venue_order_id: u64,
    /// Limit price in ticks.
    pub price: Price,
    /// Size as ordered, in 1e-8. What was filled of it is reported fill by fill.
    pub quantity: Quantity,
    /// [`Side`] as its code.
    pub side: u64,
    /// Venue it stands on.
    pub venue: u64,
    /// Zero.
    pub reserved: [u64; 5],
}

impl Body for OrphanAdopted {
    const KIND: Kind = Kind::OrphanAdopted;
}

impl OrphanAdopted {
    /// The order it must have been.
    #[must_use]
    pub fn order(&self) -> NewOrder {
        NewOrder {
            id: self.id,
            price: self.price,
            quantity: self.quantity,
            side: self.side as u8,
            venue: self.venue as u8,
            ..NewOrder::default()
        }
    }
}

/// Why risk or compliance did not let an order pass. The numbers are written to disk: never reuse one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalReason {
    /// Trading is halted.
    Halted = 1,
    /// Only orders that make the position smaller may pass.
    ReducingOnly = 2,
    /// No instrument, side or time in force of ours, or no positive price or size.
    Malformed = 3,
    /// Price off the tick or size off the lot.
    OffStep = 4,
    /// No fresh price to compare with.
    StalePrice = 5,
    /// Price too far from the market.
    PriceCollar = 6,
    /// Size above the limit of one order.
    OrderSize = 7,
    /// Notional above the limit of one order.
    OrderNotional = 8,
    /// The position could become larger than its share of equity.
    PositionLimit = 9,
    /// The asset's exposure could become larger than its share of equity.
    AssetLimit = 10,
    /// Equity has fallen too far from its highest point.
    Drawdown = 11,
    /// The day's loss is too large.
    DailyLoss = 12,
    /// Too many orders in too short a time.
    Rate = 13,
    /// The same order passed a moment ago, or its identity was used before.
    Duplicate = 14,
    /// It would trade with an order of ours.
    SelfCross = 15,
    /// Too many orders are working.
    TooManyOrders = 16,
    /// Equity is unknown or not positive.
    NoEquity = 17,
    /// Compliance: it would trade with an order of the same owner.
    OwnTrade = 18,
    /// Compliance: too many orders for the trades they make.
    OrderToTrade = 19,
    /// Compliance: too many messages to the venue.
    MessageRate = 20,
    /// Its identity was used before: a fault of our own.
    ReusedIdentity = 21,
    /// A detector suspects what is no market to take risk in.
    MarketAlert = 22,
    /// Compliance: orders of the same owner have looked like manipulation a moment ago.
    Conduct = 23,
    /// The venue does not trade it now, or has prices that the run cannot say; only ways out pass.
    NotTradable = 24,
    /// Less than the venue takes as one order.
    BelowLeast = 25,
    /// Its session is stopped: only what makes the session's position smaller passes.
    SessionStopped = 26,
    /// The session's exposure could become larger than its share of the session's capital.
    SessionExposure = 27,
    /// The session has lost its share of its capital: only what makes its position smaller passes.
    SessionLoss = 28,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 28] = [
        Self::Halted,
        Self::ReducingOnly,
        Self::Malformed,
        Self::OffStep,
        Self::StalePrice,
        Self::PriceCollar,
        Self::OrderSize,
        Self::OrderNotional,
        Self::PositionLimit,
        Self::AssetLimit,
        Self::Drawdown,
        Self::DailyLoss,
        Self::Rate,
        Self::Duplicate,
        Self::SelfCross,
        Self::TooManyOrders,
        Self::NoEquity,
        Self::OwnTrade,
        Self::OrderToTrade,
        Self::MessageRate,
        Self::ReusedIdentity,
        Self::MarketAlert,
        Self::Conduct,
        Self::NotTradable,
        Self::BelowLeast,
        Self::SessionStopped,
        Self::SessionExposure,
        Self::SessionLoss,
    ];

    /// The reason of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u8 == code)
    }

    /// Name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::ReducingOnly => "reducing-only",
            Self::Malformed => "malformed",
            Self::OffStep => "off-step",
            Self::StalePrice => "stale-price",
            Self::PriceCollar => "price-collar",
            Self::OrderSize => "order-size",
            Self::OrderNotional => "order-notional",
            Self::PositionLimit => "position-limit",
            Self::AssetLimit => "asset-limit",
            Self::Drawdown => "drawdown",
            Self::DailyLoss => "daily-loss",
            Self::Rate => "rate",
            Self::Duplicate => "duplicate",
            Self::SelfCross => "self-cross",
            Self::TooManyOrders => "too-many-orders",
            Self::NoEquity => "no-equity",
            Self::OwnTrade => "own-trade",
            Self::OrderToTrade => "order-to-trade",
            Self::Conduct => "conduct",
            Self::NotTradable => "not-tradable",
            Self::BelowLeast => "below-least",
            Self::SessionStopped => "session-stopped",
            Self::SessionExposure => "session-exposure",
            Self::SessionLoss => "session-loss",
            Self::MessageRate => "message-rate",
            Self::ReusedIdentity => "reused-identity",
            Self::MarketAlert => "market-alert",
        }
    }
}

/// An order that did not pass: told back to the stages before, through the door.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Refusal {
    /// The order.
    pub id: OrderId,
    /// [`RefusalReason`] as its code.
    pub reason: u64,
    /// Strategy that wanted it.
    pub strategy: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

impl Body for Refusal {
    const KIND: Kind = Kind::Refusal;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn identity_and_text_are_one(seq: u64, incarnation: u32, child in 0u32..1_000) {
            let id = OrderId { seq, incarnation, child };
            let text = id.to_text();
            prop_assert!(text.as_bytes().len() <= 36);
            prop_assert!(text.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-'));
            prop_assert_eq!(OrderId::parse(text.as_bytes()), Some(id));
        }

        #[test]
        fn no_other_text_is_ours(text in "[k0-9+-]{0,40}") {
            if let Some(id) = OrderId::parse(text.as_bytes()) {
                let ours = id.to_text();
                prop_assert_eq!(ours.as_str(), text);
            }
        }
    }
}
