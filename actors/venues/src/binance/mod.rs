//! Binance: spot and USD-M futures.
//!
//! The decoder guesses the layout the venue has always sent and verifies every byte of it; a frame that differs in
//! any way is read again by a slow path that takes any order of fields, and is counted. A field the venue adds costs
//! speed, not correctness.

pub mod account;
pub mod definition;
mod fast;
mod generic;
pub mod orders;
pub mod signing;
mod template;
pub mod user_data;

use kimera_protocol::{Definition, DepthBegin, FrameRef, Instrument};

use crate::depth_sync::ChainRule;
use crate::frame::{DecodeError, Decoded, FrameBuffer};

/// Which Binance market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    /// Spot.
    Spot,
    /// USD-margined futures.
    UsdM,
}

impl Market {
    /// How its depth deltas link.
    #[must_use]
    pub fn chain_rule(self) -> ChainRule {
        match self {
            Self::Spot => ChainRule::Contiguous,
            Self::UsdM => ChainRule::Previous,
        }
    }

    /// The depth stream's suffix at its fastest public rate.
    #[must_use]
    pub fn depth_stream(self) -> &'static str {
        match self {
            Self::Spot => "depth@100ms",
            Self::UsdM => "depth@0ms",
        }
    }

    /// Path of the REST snapshot of `levels` levels a side.
    #[must_use]
    pub fn snapshot_path(self, symbol: &str, levels: u32) -> String {
        let base = match self {
            Self::Spot => "/api/v3/depth",
            Self::UsdM => "/fapi/v1/depth",
        };
        format!("{base}?symbol={symbol}&limit={levels}")
    }

    /// Path of what the venue demands of orders. USD-M describes every symbol, whatever is asked.
    #[must_use]
    pub fn definition_path(self, symbol: &str) -> String {
        match self {
            Self::Spot => format!("/api/v3/exchangeInfo?symbol={symbol}"),
            Self::UsdM => "/fapi/v1/exchangeInfo".into(),
        }
    }

    /// Path of the combined market-data stream of a symbol: trades, best prices, depth.
    #[must_use]
    pub fn stream_path(self, symbol: &str) -> String {
        let s = symbol.to_ascii_lowercase();
        format!("/stream?streams={s}@trade/{s}@bookTicker/{s}@{}", self.depth_stream())
    }
}

/// Reads the market-data frames of one instrument.
#[derive(Clone)]
pub struct MarketDecoder {
    market: Market,
    instrument: Instrument,
    stream_prefix: Vec<u8>,
    slow_frames: u64,
}

impl MarketDecoder {
    /// A decoder for one instrument of a market.
    #[must_use]
    pub fn new(market: Market, instrument: Instrument) -> Self {
        let stream_prefix =
            format!("{{\"stream\":\"{}@", instrument.symbol.to_ascii_lowercase()).into_bytes();
        Self { market, instrument, stream_prefix, slow_frames: 0 }
    }

    /// The instrument.
    #[must_use]
    pub fn instrument(&self) -> &Instrument {
        &self.instrument
    }

    /// The market.
    #[must_use]
    pub fn market(&self) -> Market {
        self.market
    }

    /// Frames the fast path did not recognise.
    #[must_use]
    pub fn slow_frames(&self) -> u64 {
        self.slow_frames
    }

    /// Reads a frame into `out`, whose [`FrameBuffer::begin`] was called.
    ///
    /// # Errors
    /// [`DecodeError`]; `out` is then empty.
    #[inline]
    pub fn decode(&mut self, frame: &[u8], out: &mut FrameBuffer) -> Result<Decoded, DecodeError> {
        if let Some(decoded) = fast::decode(self.market, &self.instrument, &self.stream_prefix, frame, out) {
            return Ok(decoded);
        }
        self.slow_frames += 1;
        out.restart();
        self.decode_generic(frame, out)
    }

    /// Reads a frame by the slow path only.
    ///
    /// # Errors
    /// [`DecodeError`]; `out` is then empty.
    pub fn decode_generic(&self, frame: &[u8], out: &mut FrameBuffer) -> Result<Decoded, DecodeError> {
        let result = generic::decode(self.market, &self.instrument, frame, out);
        if result.is_err() {
            out.restart();
        }
        result
    }

    /// Reads a REST depth snapshot into `out`.
    ///
    /// # Errors
    /// [`DecodeError`]; `out` is then empty.
    pub fn decode_snapshot(
        &self,
        body: &[u8],
        at: FrameRef,
        out: &mut FrameBuffer,
    ) -> Result<(), DecodeError> {
        out.begin(at, 0);
        let result = generic::decode_snapshot(&self.instrument, body, out);
        if result.is_err() {
            out.restart();
        }
        result
    }

    /// Reads what the venue demands of orders.
    ///
    /// # Errors
    /// [`DecodeError`]: what is missing, or is no step.
    pub fn decode_definition(&self, body: &[u8]) -> Result<Definition, DecodeError> {
        definition::decode(&self.instrument.symbol, body)
    }
}

/// The beginning of the depth frame in a buffer.
#[must_use]
pub fn depth_of(buffer: &FrameBuffer) -> Option<&DepthBegin> {
    buffer.messages().first().and_then(|m| m.body::<DepthBegin>())
}

const MILLISECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests;
