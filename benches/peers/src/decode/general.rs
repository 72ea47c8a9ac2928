//! What the general parsers read a frame into: borrowed texts, decimals as integers, and nothing that nobody asked for.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Decimals of [`Fixed`].
const DECIMALS: usize = 8;
/// Most digits that fit whatever they are.
const DIGITS_MAX: usize = 18;

/// A decimal text as a count of 1e-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed(pub i64);

/// A plain, unsigned decimal as a count of 1e-8; none where it is none, or is too fine or too large.
#[inline]
pub fn fixed(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (mut value, mut at) = (0i64, 0);
    let digits = |at: &mut usize, value: &mut i64| {
        let from = *at;
        while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9)
        {
            *value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            *at += 1;
        }
        *at - from
    };
    let whole = digits(&mut at, &mut value);
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        fraction = digits(&mut at, &mut value);
        if fraction == 0 {
            return None;
        }
    }
    if whole == 0 || at != bytes.len() || fraction > DECIMALS || whole + DECIMALS > DIGITS_MAX {
        return None;
    }
    for _ in fraction..DECIMALS {
        value *= 10;
    }
    Some(value)
}

struct FixedText;

impl Visitor<'_> for FixedText {
    type Value = Fixed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal in quotes")
    }

    #[inline]
    fn visit_str<E: Error>(self, text: &str) -> Result<Fixed, E> {
        fixed(text).map(Fixed).ok_or_else(|| E::custom("not a decimal of at most eight places"))
    }
}

impl<'de> Deserialize<'de> for Fixed {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FixedText)
    }
}

/// The wrapper of a combined stream.
#[derive(Debug, Deserialize)]
pub struct Combined<'a, E> {
    /// Name of the stream.
    pub stream: &'a str,
    /// What happened.
    pub data: E,
}

/// A kind of frame, as a type.
pub trait Event {
    /// What it is read into.
    type Of<'a>: Deserialize<'a> + Content;
}

/// What is in a frame, as words in an agreed order: prices and sizes in 1e-8, times in milliseconds.
pub trait Content {
    /// Shows every word.
    fn words(&self, see: &mut impl FnMut(u64));

    /// The symbol it is about.
    fn symbol(&self) -> &str;
}

/// Best bid and ask.
#[derive(Debug, Deserialize)]
pub struct TickerEvent<'a> {
    #[serde(rename = "u")]
    update_id: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "b")]
    bid_price: Fixed,
    #[serde(rename = "B")]
    bid_size: Fixed,
    #[serde(rename = "a")]
    ask_price: Fixed,
    #[serde(rename = "A")]
    ask_size: Fixed,
    /// Spot sends none.
    #[serde(rename = "E", default)]
    event_time_ms: u64,
}

/// Frames of best prices.
pub struct Tickers;

impl Event for Tickers {
    type Of<'a> = TickerEvent<'a>;
}

impl Content for TickerEvent<'_> {
    fn words(&self, see: &mut impl FnMut(u64)) {
        see(self.update_id);
        see(self.event_time_ms);
        [self.bid_price, self.bid_size, self.ask_price, self.ask_size].iter().for_each(|f| see(f.0 as u64));
    }

    fn symbol(&self) -> &str {
        self.symbol
    }
}

/// A trade.
#[derive(Debug, Deserialize)]
pub struct TradeEvent<'a> {
    #[serde(rename = "E")]
    event_time_ms: u64,
    #[serde(rename = "T")]
    trade_time_ms: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "t")]
    trade_id: u64,
    #[serde(rename = "p")]
    price: Fixed,
    #[serde(rename = "q")]
    size: Fixed,
    #[serde(rename = "m")]
    is_buyer_maker: bool,
}

/// Frames of trades.
pub struct Trades;

impl Event for Trades {
    type Of<'a> = TradeEvent<'a>;
}

impl Content for TradeEvent<'_> {
    fn words(&self, see: &mut impl FnMut(u64)) {
        [self.event_time_ms, self.trade_time_ms, self.trade_id].iter().for_each(|word| see(*word));
        see(self.price.0 as u64);
        see(self.size.0 as u64);
        see(u64::from(self.is_buyer_maker));
    }

    fn symbol(&self) -> &str {
        self.symbol
    }
}

/// Levels that changed.
#[derive(Debug, Deserialize)]
pub struct DepthEvent<'a> {
    #[serde(rename = "E")]
    event_time_ms: u64,
    #[serde(rename = "s")]
    symbol: &'a str,
    #[serde(rename = "U")]
    first_id: u64,
    #[serde(rename = "u")]
    last_id: u64,
    /// Spot sends none.
    #[serde(rename = "pu", default)]
    previous_id: u64,
    #[serde(rename = "b")]
    bids: Vec<(Fixed, Fixed)>,
    #[serde(rename = "a")]
    asks: Vec<(Fixed, Fixed)>,
}

/// Frames of levels.
pub struct Depths;

impl Event for Depths {
    type Of<'a> = DepthEvent<'a>;
}

impl Content for DepthEvent<'_> {
    fn words(&self, see: &mut impl FnMut(u64)) {
        let ids = [self.event_time_ms, self.first_id, self.last_id, self.previous_id];
        ids.iter().for_each(|word| see(*word));
        see(self.bids.len() as u64);
        see(self.asks.len() as u64);
        for (price, size) in self.bids.iter().chain(&self.asks) {
            see(price.0 as u64);
            see(size.0 as u64);
        }
    }

    fn symbol(&self) -> &str {
        self.symbol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(fixed("61837.63000000"), Some(6_183_763_000_000));
        assert_eq!(fixed("0.00000001"), Some(1));
        assert_eq!(fixed("5"), Some(500_000_000));
        for bad in ["", ".", ".5", "1.", "-1", "1e5", "0.000000001", "1.2.3", "12345678901.0"] {
            assert_eq!(fixed(bad), None, "{bad}");
        }
    }
}
