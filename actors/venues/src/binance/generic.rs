//! The slow path: any order of fields, unknown ones skipped.

use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{DepthBegin, Instrument, Level, Price, Quantity, Ticker, Trade};

use super::{MILLISECOND, Market};
use crate::frame::{DecodeError, Decoded, FrameBuffer};
use crate::json::Reader;

/// A frame, wrapped as a combined stream or bare.
pub(super) fn decode(
    market: Market,
    instrument: &Instrument,
    frame: &[u8],
    out: &mut FrameBuffer,
) -> Result<Decoded, DecodeError> {
    let mut data = None;
    let mut stream: Option<&[u8]> = None;
    let mut answer = false;
    let mut reader = Reader::new(frame);
    reader.object(|key, value| {
        match key {
            b"stream" => stream = Some(value.string()?),
            b"data" => {
                data = Some(*value);
                value.skip()?;
            }
            b"result" | b"error" | b"id" | b"code" => {
                answer = true;
                value.skip()?;
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    if answer && stream.is_none() && data.is_none() {
        return Ok(Decoded::Ignored);
    }
    event(market, instrument, stream, data.unwrap_or_else(|| Reader::new(frame)), out)
}

/// Fields of any of the three events; which are needed is decided afterwards.
#[derive(Default)]
struct Fields<'a> {
    event: Option<&'a [u8]>,
    symbol: Option<&'a [u8]>,
    event_ms: Option<u64>,
    trade_ms: Option<u64>,
    trade_id: Option<u64>,
    first_id: Option<u64>,
    last_id: Option<u64>,
    previous_id: Option<u64>,
    price: Option<&'a [u8]>,
    size: Option<&'a [u8]>,
    buyer_is_maker: Option<bool>,
    execution: Option<&'a [u8]>,
    bid: Option<Reader<'a>>,
    ask: Option<Reader<'a>>,
    bid_size: Option<&'a [u8]>,
    ask_size: Option<&'a [u8]>,
}

fn read_fields<'a>(data: &mut Reader<'a>) -> Result<Fields<'a>, DecodeError> {
    let mut f = Fields::default();
    data.object(|key, value| {
        match key {
            b"e" => f.event = Some(value.string()?),
            b"s" => f.symbol = Some(value.string()?),
            b"E" => f.event_ms = Some(value.unsigned()?),
            b"T" => f.trade_ms = Some(value.unsigned()?),
            b"t" => f.trade_id = Some(value.unsigned()?),
            b"U" => f.first_id = Some(value.unsigned()?),
            b"u" => f.last_id = Some(value.unsigned()?),
            b"pu" => f.previous_id = Some(value.unsigned()?),
            b"p" => f.price = Some(value.string()?),
            b"q" => f.size = Some(value.string()?),
            b"X" => f.execution = Some(value.string()?),
            b"B" => f.bid_size = Some(value.string()?),
            b"A" => f.ask_size = Some(value.string()?),
            b"m" => {
                f.buyer_is_maker = match value.scalar()? {
                    b"true" => Some(true),
                    b"false" => Some(false),
                    _ => return Err(value.error()),
                }
            }
            b"b" | b"a" => {
                let place = if key == b"b" { &mut f.bid } else { &mut f.ask };
                *place = Some(*value);
                value.skip()?;
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(f)
}

fn event(
    market: Market,
    instrument: &Instrument,
    stream: Option<&[u8]>,
    mut data: Reader<'_>,
    out: &mut FrameBuffer,
) -> Result<Decoded, DecodeError> {
    let f = read_fields(&mut data)?;
    // Spot's best prices come without an event name.
    let name = match (f.event, f.bid_size) {
        (Some(name), _) => name,
        (None, Some(_)) => b"bookTicker",
        (None, None) => return Ok(Decoded::Ignored),
    };
    if !matches!(name, b"bookTicker" | b"trade" | b"depthUpdate") {
        return Ok(Decoded::Ignored);
    }
    let symbol = f.symbol.ok_or(DecodeError::Missing("s"))?;
    let stream_fits = stream.is_none_or(|s| {
        let split = s.iter().position(|&b| b == b'@').unwrap_or(s.len());
        s[..split].eq_ignore_ascii_case(instrument.symbol.as_bytes())
    });
    if symbol != instrument.symbol.as_bytes() || !stream_fits {
        return Err(DecodeError::UnknownStream);
    }
    match name {
        b"bookTicker" => ticker(instrument, &f, out),
        b"trade" => trade(market, instrument, &f, out),
        _ => depth(market, instrument, &f, out),
    }
}

fn milliseconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX).saturating_mul(MILLISECOND)
}

fn price(instrument: &Instrument, name: &'static str, text: &[u8]) -> Result<Price, DecodeError> {
    match instrument.parse_price(text) {
        Ok(price) if Instrument::is_price(price) => Ok(price),
        Ok(_) => Err(DecodeError::Number(name, kimera_protocol::FixedError::TooLarge)),
        Err(e) => Err(DecodeError::Number(name, e)),
    }
}

fn size(name: &'static str, text: &[u8]) -> Result<Quantity, DecodeError> {
    match parse_decimal(text, UNIT_DECIMALS) {
        Ok(value) if value >= 0 && text[0] != b'-' => Ok(Quantity(value)),
        Ok(_) => Err(DecodeError::Number(name, kimera_protocol::FixedError::Malformed)),
        Err(e) => Err(DecodeError::Number(name, e)),
    }
}

fn ticker(instrument: &Instrument, f: &Fields<'_>, out: &mut FrameBuffer) -> Result<Decoded, DecodeError> {
    let side = |name, reader: Option<Reader<'_>>, text: Option<&[u8]>| {
        let mut reader = reader.ok_or(DecodeError::Missing(name))?;
        let text = text.ok_or(DecodeError::Missing(name))?;
        Ok::<_, DecodeError>(Level {
            price: price(instrument, name, reader.string()?)?,
            size: size(name, text)?,
        })
    };
    let body = Ticker {
        frame: out.frame(),
        venue_time: f.event_ms.map_or(0, milliseconds),
        update_id: f.last_id.ok_or(DecodeError::Missing("u"))?,
        bid: side("b", f.bid, f.bid_size)?,
        ask: side("a", f.ask, f.ask_size)?,
        reserved: [0; 5],
    };
    out.push_single(instrument.id, body);
    Ok(Decoded::Ticker)
}

fn trade(
    market: Market,
    instrument: &Instrument,
    f: &Fields<'_>,
    out: &mut FrameBuffer,
) -> Result<Decoded, DecodeError> {
    // USD-M also reports insurance-fund and deleveraging transfers here: they are no trades of the book.
    if market == Market::UsdM && f.execution.is_some_and(|x| x != b"MARKET") {
        return Ok(Decoded::Ignored);
    }
    let body = Trade {
        frame: out.frame(),
        venue_time: milliseconds(f.event_ms.ok_or(DecodeError::Missing("E"))?),
        trade_time: milliseconds(f.trade_ms.ok_or(DecodeError::Missing("T"))?),
        trade_id: f.trade_id.ok_or(DecodeError::Missing("t"))?,
        price: price(instrument, "p", f.price.ok_or(DecodeError::Missing("p"))?)?,
        size: size("q", f.size.ok_or(DecodeError::Missing("q"))?)?,
        aggressor: if f.buyer_is_maker.ok_or(DecodeError::Missing("m"))? { -1 } else { 1 },
        reserved: [0; 5],
    };
    out.push_single(instrument.id, body);
    Ok(Decoded::Trade)
}

fn depth(
    market: Market,
    instrument: &Instrument,
    f: &Fields<'_>,
    out: &mut FrameBuffer,
) -> Result<Decoded, DecodeError> {
    let first_id = f.first_id.ok_or(DecodeError::Missing("U"))?;
    let previous_id = match market {
        Market::Spot => first_id.saturating_sub(1),
        Market::UsdM => f.previous_id.ok_or(DecodeError::Missing("pu"))?,
    };
    out.begin_depth(
        instrument.id,
        DepthBegin {
            frame: out.frame(),
            venue_time: milliseconds(f.event_ms.ok_or(DecodeError::Missing("E"))?),
            first_id,
            last_id: f.last_id.ok_or(DecodeError::Missing("u"))?,
            previous_id,
            ..DepthBegin::default()
        },
    );
    levels(instrument, true, f.bid.ok_or(DecodeError::Missing("b"))?, out)?;
    levels(instrument, false, f.ask.ok_or(DecodeError::Missing("a"))?, out)?;
    out.end_depth();
    Ok(Decoded::Depth)
}

fn levels(
    instrument: &Instrument,
    is_bid: bool,
    mut reader: Reader<'_>,
    out: &mut FrameBuffer,
) -> Result<(), DecodeError> {
    reader.array(|pair| {
        pair.take(b'[')?;
        let at = price(instrument, "price", pair.string()?)?;
        pair.take(b',')?;
        let volume = size("size", pair.string()?)?;
        pair.take(b']')?;
        out.push_level(is_bid, Level { price: at, size: volume })
    })
}

/// A REST answer: `lastUpdateId`, `bids`, `asks`, and on USD-M the event time `E`.
pub(super) fn decode_snapshot(
    instrument: &Instrument,
    body: &[u8],
    out: &mut FrameBuffer,
) -> Result<(), DecodeError> {
    let (mut last_id, mut event_ms, mut bids, mut asks) = (None, None, None, None);
    let mut reader = Reader::new(body);
    reader.object(|key, value| {
        match key {
            b"lastUpdateId" => last_id = Some(value.unsigned()?),
            b"E" => event_ms = Some(value.unsigned()?),
            b"bids" | b"asks" => {
                let place = if key == b"bids" { &mut bids } else { &mut asks };
                *place = Some(*value);
                value.skip()?;
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    let last_id = last_id.ok_or(DecodeError::Missing("lastUpdateId"))?;
    out.begin_depth(
        instrument.id,
        DepthBegin {
            frame: out.frame(),
            venue_time: event_ms.map_or(0, milliseconds),
            first_id: last_id,
            last_id,
            snapshot: 1,
            ..DepthBegin::default()
        },
    );
    levels(instrument, true, bids.ok_or(DecodeError::Missing("bids"))?, out)?;
    levels(instrument, false, asks.ok_or(DecodeError::Missing("asks"))?, out)?;
    out.end_depth();
    Ok(())
}
