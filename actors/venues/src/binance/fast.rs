//! The fast path: the layout the venue has always sent, guessed and verified byte by byte.
//!
//! `None` anywhere means "not that layout"; the slow path then decides whether the frame is good.

use kimera_protocol::fixed::UNIT_DECIMALS;
use kimera_protocol::{DepthBegin, Instrument, Level, Price, Quantity, Ticker, Trade};

use super::{MILLISECOND, Market};
use crate::frame::{Decoded, FrameBuffer};

/// Most digits a number of the fast path has: 18 fit an i64 whatever they are.
const DIGITS_MAX: usize = 18;

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    #[inline]
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        let end = self.at + text.len();
        (self.bytes.get(self.at..end)? == text).then(|| self.at = end)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// An unsigned integer up to the first byte that is no digit.
    #[inline]
    fn unsigned(&mut self) -> Option<u64> {
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.peek().map(|b| b.wrapping_sub(b'0')).filter(|&d| d <= 9) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        let length = self.at - start;
        // A leading zero is no JSON number; the slow path refuses it.
        let plain = length == 1 || self.bytes[start..].first() != Some(&b'0');
        ((1..=DIGITS_MAX).contains(&length) && plain).then_some(value)
    }

    #[inline]
    fn time(&mut self) -> Option<i64> {
        i64::try_from(self.unsigned()?).ok()?.checked_mul(MILLISECOND)
    }

    /// A decimal up to its closing quote, as a count of `10^-decimals`.
    #[inline]
    fn decimal(&mut self, decimals: u32) -> Option<i64> {
        let start = self.at;
        let mut value = 0i64;
        while let Some(digit) = self.peek().map(|b| b.wrapping_sub(b'0')).filter(|&d| d <= 9) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            self.at += 1;
        }
        let whole = self.at - start;
        let mut missing = decimals as usize;
        if whole == 0 || whole + missing > DIGITS_MAX {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let fraction = self.at;
            while let Some(digit) = self.peek().map(|b| b.wrapping_sub(b'0')).filter(|&d| d <= 9) {
                if missing > 0 {
                    value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
                    missing -= 1;
                } else if digit != 0 {
                    return None; // finer than the unit
                }
                self.at += 1;
            }
            if self.at == fraction {
                return None;
            }
        }
        for _ in 0..missing {
            value = value.wrapping_mul(10);
        }
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        Some(value)
    }

    #[inline]
    fn price(&mut self, instrument: &Instrument) -> Option<Price> {
        let scaled = self.decimal(instrument.price_decimals())?;
        let price = if instrument.price_step() == 1 {
            Price(scaled)
        } else {
            instrument.price_from_scaled(scaled).ok()?
        };
        Instrument::is_price(price).then_some(price)
    }

    #[inline]
    fn size(&mut self) -> Option<Quantity> {
        self.decimal(UNIT_DECIMALS).map(Quantity)
    }

    #[inline]
    fn symbol(&mut self, instrument: &Instrument) -> Option<()> {
        self.literal(b"\"s\":\"")?;
        self.literal(instrument.symbol.as_bytes())?;
        self.literal(b"\"")
    }

    fn end(&self) -> Option<()> {
        (self.at == self.bytes.len()).then_some(())
    }
}

#[inline]
pub(super) fn decode(
    market: Market,
    instrument: &Instrument,
    prefix: &[u8],
    frame: &[u8],
    out: &mut FrameBuffer,
) -> Option<Decoded> {
    let mut scan = Scan { bytes: frame, at: 0 };
    scan.literal(prefix)?;
    match scan.peek()? {
        b'b' => ticker(market, instrument, scan, out),
        b't' => trade(market, instrument, scan, out),
        b'd' => depth(market, instrument, scan, out),
        _ => None,
    }
}

#[inline]
fn ticker(
    market: Market,
    instrument: &Instrument,
    mut s: Scan<'_>,
    out: &mut FrameBuffer,
) -> Option<Decoded> {
    s.literal(b"bookTicker\",\"data\":{")?;
    if market == Market::UsdM {
        s.literal(b"\"e\":\"bookTicker\",")?;
    }
    s.literal(b"\"u\":")?;
    let update_id = s.unsigned()?;
    s.literal(b",")?;
    s.symbol(instrument)?;
    s.literal(b",\"b\":\"")?;
    let bid_price = s.price(instrument)?;
    s.literal(b",\"B\":\"")?;
    let bid = Level { price: bid_price, size: s.size()? };
    s.literal(b",\"a\":\"")?;
    let ask_price = s.price(instrument)?;
    s.literal(b",\"A\":\"")?;
    let ask = Level { price: ask_price, size: s.size()? };
    let mut venue_time = 0;
    if market == Market::UsdM {
        s.literal(b",\"T\":")?;
        s.time()?;
        s.literal(b",\"E\":")?;
        venue_time = s.time()?;
    }
    s.literal(b"}}")?;
    s.end()?;
    out.push_single(
        instrument.id,
        Ticker { frame: out.frame(), venue_time, update_id, bid, ask, reserved: [0; 5] },
    );
    Some(Decoded::Ticker)
}

#[inline]
fn trade(market: Market, instrument: &Instrument, mut s: Scan<'_>, out: &mut FrameBuffer) -> Option<Decoded> {
    s.literal(b"trade\",\"data\":{\"e\":\"trade\",\"E\":")?;
    let venue_time = s.time()?;
    s.literal(b",")?;
    let mut trade_time = 0;
    if market == Market::UsdM {
        s.literal(b"\"T\":")?;
        trade_time = s.time()?;
        s.literal(b",")?;
    }
    s.symbol(instrument)?;
    s.literal(b",\"t\":")?;
    let trade_id = s.unsigned()?;
    s.literal(b",\"p\":\"")?;
    let price = s.price(instrument)?;
    s.literal(b",\"q\":\"")?;
    let size = s.size()?;
    match market {
        Market::UsdM => s.literal(b",\"X\":\"MARKET\"")?,
        Market::Spot => {
            s.literal(b",\"T\":")?;
            trade_time = s.time()?;
        }
    }
    s.literal(b",\"m\":")?;
    let aggressor = match s.peek()? {
        b't' => {
            s.literal(b"true")?;
            -1
        }
        _ => {
            s.literal(b"false")?;
            1
        }
    };
    if market == Market::Spot {
        s.literal(b",\"M\":")?;
        s.literal(b"true").or_else(|| s.literal(b"false"))?;
    }
    s.literal(b"}}")?;
    s.end()?;
    out.push_single(
        instrument.id,
        Trade {
            frame: out.frame(),
            venue_time,
            trade_time,
            trade_id,
            price,
            size,
            aggressor,
            reserved: [0; 5],
        },
    );
    Some(Decoded::Trade)
}

#[inline]
fn depth(market: Market, instrument: &Instrument, mut s: Scan<'_>, out: &mut FrameBuffer) -> Option<Decoded> {
    s.literal(b"depth@")?;
    // The rate of the stream is ours to choose when subscribing.
    s.literal(market.depth_stream().as_bytes().strip_prefix(b"depth@")?)?;
    s.literal(b"\",\"data\":{\"e\":\"depthUpdate\",\"E\":")?;
    let venue_time = s.time()?;
    if market == Market::UsdM {
        s.literal(b",\"T\":")?;
        s.time()?;
    }
    s.literal(b",")?;
    s.symbol(instrument)?;
    s.literal(b",\"U\":")?;
    let first_id = s.unsigned()?;
    s.literal(b",\"u\":")?;
    let last_id = s.unsigned()?;
    let previous_id = match market {
        Market::Spot => first_id.saturating_sub(1),
        Market::UsdM => {
            s.literal(b",\"pu\":")?;
            s.unsigned()?
        }
    };
    let frame = out.frame();
    out.begin_depth(
        instrument.id,
        DepthBegin { frame, venue_time, first_id, last_id, previous_id, ..DepthBegin::default() },
    );
    s.literal(b",\"b\":[")?;
    levels(instrument, true, &mut s, out)?;
    s.literal(b",\"a\":[")?;
    levels(instrument, false, &mut s, out)?;
    s.literal(b"}}")?;
    s.end()?;
    out.end_depth();
    Some(Decoded::Depth)
}

/// Levels after the opening bracket, with the closing one.
#[inline]
fn levels(instrument: &Instrument, is_bid: bool, s: &mut Scan<'_>, out: &mut FrameBuffer) -> Option<()> {
    if s.peek()? == b']' {
        s.at += 1;
        return Some(());
    }
    loop {
        s.literal(b"[\"")?;
        let price = s.price(instrument)?;
        s.literal(b",\"")?;
        let size = s.size()?;
        out.push_level(is_bid, Level { price, size }).ok()?;
        s.literal(b"]")?;
        match s.peek()? {
            b',' => s.at += 1,
            b']' => {
                s.at += 1;
                return Some(());
            }
            _ => return None,
        }
    }
}
