//! The fast path: the layout the venue has always sent, guessed and verified byte by byte.
//!
//! `None` anywhere means "not that layout"; the slow path then decides whether the frame is good.

use kimera_protocol::fixed::UNIT_DECIMALS;
use kimera_protocol::{DepthBegin, Instrument, Level, Price, Quantity, Ticker, Trade};

use super::{MILLISECOND, Market};
use crate::frame::{Decoded, FrameBuffer};

/// Most digits a number of the fast path has: 18 fit an i64 whatever they are.
const DIGITS_MAX: usize = 18;

/// Powers of ten, by exponent.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A power of ten up to the eighth.
#[inline]
fn ten_to(exponent: usize) -> u64 {
    TENS.get(exponent).copied().unwrap_or(0)
}

/// Eight bytes of a frame that begin with digits, each digit's value in its byte.
#[derive(Clone, Copy)]
struct Digits {
    word: u64,
    /// The highest bit of the first byte that is no digit, and of bytes behind it; 0 where all are digits.
    others: u64,
}

impl Digits {
    #[inline(always)]
    fn of(bytes: [u8; 8]) -> Self {
        let word = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
        // The highest bit of a byte is set where its value is above nine. A carry from a byte reaches only bytes behind it,
        // and the first one that is no digit is all that counts.
        let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        Self { word, others }
    }

    /// How many there are before the first byte that is none.
    #[inline(always)]
    fn count(self) -> usize {
        (self.others.trailing_zeros() / 8) as usize
    }

    /// The digits, with zeros instead of everything behind them.
    #[inline(always)]
    fn padded(self) -> u64 {
        let first = self.others & self.others.wrapping_neg();
        self.word & (first >> 7).wrapping_sub(1)
    }

    /// Value of all of them, where there are 1 to 8.
    #[inline(always)]
    fn value(self) -> u64 {
        // They are moved to the top, zeros before them, in whole bytes: of n digits the first other bit is at 8n + 7, of eight
        // there is none (64).
        value_of(self.word.wrapping_shl(71u32.wrapping_sub(self.others.trailing_zeros()) & !7))
    }
}

/// Value of eight digits, the first in the lowest byte: pairs, fours, then all eight.
#[inline(always)]
fn value_of(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let ends = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let middles = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    ends.wrapping_add(middles) >> 32
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    /// A text that is known here: compared as words, not by a call.
    #[inline(always)]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let found = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        (found == text).then(|| self.at += N)
    }

    #[inline]
    fn text(&mut self, text: &[u8]) -> Option<()> {
        let end = self.at + text.len();
        (self.bytes.get(self.at..end)? == text).then(|| self.at = end)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Digits at a place that has eight bytes from there on.
    #[inline(always)]
    fn digits(&self, at: usize) -> Option<Digits> {
        let bytes = self.bytes.get(at..)?.first_chunk::<8>()?;
        Some(Digits::of(*bytes))
    }

    /// An unsigned integer up to the first byte that is no digit.
    #[inline]
    fn unsigned(&mut self) -> Option<u64> {
        match self.unsigned_by_words() {
            Some((value, end)) => {
                self.at = end;
                Some(value)
            }
            None => self.unsigned_by_bytes(),
        }
    }

    /// The integer and the place behind it, where it has at most 15 digits and the frame goes on behind them.
    #[inline]
    fn unsigned_by_words(&self) -> Option<(u64, usize)> {
        let first = self.digits(self.at)?;
        let count = first.count();
        if count == 0 || (self.bytes[self.at] == b'0' && count > 1) {
            return None;
        }
        let value = first.value();
        if count < 8 {
            return Some((value, self.at + count));
        }
        let rest = self.digits(self.at + 8)?;
        match rest.count() {
            0 => Some((value, self.at + 8)),
            8 => None,
            count => Some((value * ten_to(count) + rest.value(), self.at + 8 + count)),
        }
    }

    #[cold]
    fn unsigned_by_bytes(&mut self) -> Option<u64> {
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
        match self.decimal_by_words(decimals as usize) {
            Some((value, end)) => {
                self.at = end;
                Some(value)
            }
            None => self.decimal_by_bytes(decimals),
        }
    }

    /// The decimal and the place behind its closing quote, where it has at most seven digits before and eight behind its dot,
    /// and the frame goes on behind it.
    #[inline]
    fn decimal_by_words(&self, decimals: usize) -> Option<(i64, usize)> {
        let whole = self.digits(self.at)?;
        let digits = whole.count();
        let dot = self.at + digits;
        if digits == 0 || digits == 8 || decimals > 8 || self.bytes[dot] != b'.' {
            return None;
        }
        let fraction = self.digits(dot + 1)?;
        let quote = dot + 1 + fraction.count();
        if quote == dot + 1 || self.bytes.get(quote) != Some(&b'"') {
            return None;
        }
        // As many digits as the unit has, with zeros for those that are not there; finer ones have to be zeros.
        let padded = fraction.padded();
        let unused = 64u32.wrapping_sub(8 * decimals as u32);
        let (kept, finer) = match decimals {
            0 => (0, padded),
            8 => (padded, 0),
            _ => (padded.wrapping_shl(unused), padded.wrapping_shr(64u32.wrapping_sub(unused))),
        };
        if finer != 0 {
            return None;
        }
        let value = whole.value().wrapping_mul(ten_to(decimals)).wrapping_add(value_of(kept));
        Some((value as i64, quote + 1)) // below 10^15
    }

    #[cold]
    fn decimal_by_bytes(&mut self, decimals: u32) -> Option<i64> {
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
        self.text(instrument.symbol.as_bytes())?;
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
    scan.text(prefix)?;
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
    s.text(market.depth_stream().as_bytes().strip_prefix(b"depth@")?)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Eight bytes at a time reads what byte by byte does, and stops where it does.
        #[test]
        fn words_and_bytes_read_the_same(
            text in "[0-9]{0,17}(\\.[0-9]{0,10}0{0,3})?[\"x.:/]?[\u{0}-\u{ff}]{0,3}",
            more in "[0-9\"}a]{0,12}",
            decimals in 0u32..12,
        ) {
            let bytes = [text.as_bytes(), more.as_bytes()].concat();
            let scan = || Scan { bytes: &bytes, at: 0 };
            let (mut by_words, mut by_bytes) = (scan(), scan());
            let read = (by_words.decimal(decimals), by_bytes.decimal_by_bytes(decimals));
            prop_assert_eq!(read.0, read.1);
            prop_assert!(read.0.is_none() || by_words.at == by_bytes.at);
            if let Some((value, end)) = scan().decimal_by_words(decimals as usize) {
                prop_assert_eq!((Some(value), end), (read.1, by_bytes.at));
            }
            let (mut by_words, mut by_bytes) = (scan(), scan());
            let read = (by_words.unsigned(), by_bytes.unsigned_by_bytes());
            prop_assert_eq!(read.0, read.1);
            prop_assert!(read.0.is_none() || by_words.at == by_bytes.at);
        }
    }

    #[test]
    fn what_venues_send_is_read_by_words() {
        let read = |text: &str, decimals| {
            Scan { bytes: [text, "\":\"1.0\"}}"].concat().as_bytes(), at: 0 }.decimal_by_words(decimals)
        };
        assert_eq!(read("61787.90\",\"B\"", 1), Some((617_879, 9)));
        assert_eq!(read("61787.90000000\",\"B\"", 2), Some((6_178_790, 15)));
        assert_eq!(read("0.00100000\"}}", 8), Some((100_000, 11)));
        assert_eq!(read("1234567.12345678\",x", 8), Some((123_456_712_345_678, 17)));
        assert_eq!(read("61787.91\",\"B\"", 1), None, "finer than the unit");
        let read = |text: &str| {
            Scan { bytes: [text, "\":\"1.0\"}}"].concat().as_bytes(), at: 0 }.unsigned_by_words()
        };
        assert_eq!(read("1723161257999,\"s\":"), Some((1_723_161_257_999, 13)));
        assert_eq!(read("12345678,\"s\":\"B\""), Some((12_345_678, 8)));
        assert_eq!(read("0,\"s\":\"B\"}}"), Some((0, 1)));
        assert_eq!(read("01,\"s\":\"B\"}"), None);
    }
}
