//! `exchangeInfo`: what the venue demands of orders for a symbol.

use kimera_protocol::fixed::{FixedError, UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{Definition, InstrumentStatus};

use crate::frame::DecodeError;
use crate::json::Reader;

/// True where an order was rejected for what the venue demands of orders: filters, precision, least notional, the symbol's status.
#[must_use]
pub fn is_about_rules(code: i64) -> bool {
    matches!(code, -1013 | -1111 | -4005..=-4001 | -4014..=-4013 | -4023 | -4030 | -4141..=-4140 | -4164)
}

/// The filters that bind every limit order, as texts.
#[derive(Default)]
struct Filters<'a> {
    tick: Option<&'a [u8]>,
    lot: Option<&'a [u8]>,
    size_min: Option<&'a [u8]>,
    notional_text: Option<&'a [u8]>,
    notional_min: i64,
}

/// Reads the rules of one symbol out of an answer that may describe thousands.
pub(super) fn decode(symbol: &str, body: &[u8]) -> Result<Definition, DecodeError> {
    // Where it begins as the venue has always begun it the symbols before it need not be read.
    let start = format!("{{\"symbol\":\"{symbol}\",");
    if let Some(at) = memchr::memmem::find(body, start.as_bytes())
        && let Ok(Some(definition)) = one(symbol.as_bytes(), &mut Reader::new(&body[at..]))
    {
        return Ok(definition);
    }
    let (mut found, mut reader) = (None, Reader::new(body));
    reader.object(|key, value| {
        if key != b"symbols" {
            return value.skip();
        }
        value.array(|element| {
            if found.is_some() {
                return element.skip();
            }
            found = one(symbol.as_bytes(), element)?;
            Ok(())
        })
    })?;
    reader.end()?;
    found.ok_or(DecodeError::UnknownStream)
}

/// The rules of one element of `symbols`, if it is the symbol's.
fn one(symbol: &[u8], reader: &mut Reader<'_>) -> Result<Option<Definition>, DecodeError> {
    let (mut name, mut status, mut filters) = (None, None, Filters::default());
    reader.object(|key, value| {
        match key {
            b"symbol" => name = Some(value.string()?),
            b"status" => status = Some(value.string()?),
            b"filters" => value.array(|filter| take(filter, &mut filters))?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    if name != Some(symbol) {
        return Ok(None);
    }
    let status = match status.ok_or(DecodeError::Missing("status"))? {
        b"TRADING" => InstrumentStatus::Trading,
        b"CANCEL_ONLY" | b"TRADING_CANCEL_ONLY" => InstrumentStatus::CancelOnly,
        _ => InstrumentStatus::Closed,
    };
    Ok(Some(Definition {
        tick_units: step("tickSize", filters.tick)?,
        lot_units: step("stepSize", filters.lot)?,
        size_min: least("minQty", filters.size_min)?,
        notional_min: filters.notional_min,
        status: status as u64,
        ..Definition::default()
    }))
}

fn take<'a>(reader: &mut Reader<'a>, filters: &mut Filters<'a>) -> Result<(), DecodeError> {
    let (mut kind, mut texts) = (None, Filters::default());
    reader.object(|key, value| {
        match key {
            b"filterType" => kind = Some(value.string()?),
            b"tickSize" => texts.tick = Some(value.string()?),
            b"stepSize" => texts.lot = Some(value.string()?),
            b"minQty" => texts.size_min = Some(value.string()?),
            b"minNotional" | b"notional" => texts.notional_text = Some(value.string()?),
            _ => value.skip()?,
        }
        Ok(())
    })?;
    match kind {
        Some(b"PRICE_FILTER") => filters.tick = texts.tick.or(filters.tick),
        Some(b"LOT_SIZE") => {
            filters.lot = texts.lot.or(filters.lot);
            filters.size_min = texts.size_min.or(filters.size_min);
        }
        // Where both are there both bind.
        Some(b"NOTIONAL" | b"MIN_NOTIONAL") => {
            filters.notional_min = filters.notional_min.max(least("minNotional", texts.notional_text)?);
        }
        _ => {}
    }
    Ok(())
}

fn units(name: &'static str, text: &[u8]) -> Result<i64, DecodeError> {
    parse_decimal(text, UNIT_DECIMALS).map_err(|e| DecodeError::Number(name, e))
}

/// A step has to be there and to be one.
fn step(name: &'static str, text: Option<&[u8]>) -> Result<i64, DecodeError> {
    let step = units(name, text.ok_or(DecodeError::Missing(name))?)?;
    if step > 0 { Ok(step) } else { Err(DecodeError::Number(name, FixedError::Malformed)) }
}

/// Where nothing is said of the least there is none.
fn least(name: &'static str, text: Option<&[u8]>) -> Result<i64, DecodeError> {
    let least = text.map_or(Ok(0), |text| units(name, text))?;
    if least >= 0 { Ok(least) } else { Err(DecodeError::Number(name, FixedError::Malformed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the venue's documentation shows it, shortened.
    const SPOT: &str = r#"{"timezone":"UTC","serverTime":1565246363776,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000}],"exchangeFilters":[],"symbols":[{"symbol":"ETHBTC","status":"TRADING","filters":[{"filterType":"PRICE_FILTER","minPrice":"0.00001000","maxPrice":"922327.00000000","tickSize":"0.00001000"},{"filterType":"LOT_SIZE","minQty":"0.00010000","maxQty":"100000.00000000","stepSize":"0.00010000"}]},{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","isSpotTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"},{"filterType":"ICEBERG_PARTS","limit":10},{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"107.20000000","stepSize":"0.00000000"},{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000","avgPriceMins":5}],"permissions":[]}]}"#;
    const USDM: &str = r#"{"symbols":[{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","status":"TRADING","pricePrecision":2,"quantityPrecision":3,"filters":[{"maxPrice":"4529764","tickSize":"0.10","minPrice":"556.80","filterType":"PRICE_FILTER"},{"filterType":"LOT_SIZE","stepSize":"0.001","minQty":"0.001","maxQty":"1000"},{"filterType":"MARKET_LOT_SIZE","stepSize":"0.002","minQty":"0.004","maxQty":"120"},{"notional":"100","filterType":"MIN_NOTIONAL"}]}]}"#;

    fn rules(tick_units: i64, lot_units: i64, notional_min: i64) -> Definition {
        let (size_min, status) = (lot_units, InstrumentStatus::Trading as u64);
        Definition { tick_units, lot_units, size_min, notional_min, status, ..Definition::default() }
    }

    #[test]
    fn both_markets_say_their_steps() {
        assert_eq!(decode("BTCUSDT", SPOT.as_bytes()), Ok(rules(1_000_000, 1_000, 500_000_000)));
        assert_eq!(decode("BTCUSDT", USDM.as_bytes()), Ok(rules(10_000_000, 100_000, 10_000_000_000)));
        // Blanks, and a name that comes last: read the long way.
        let spaced = USDM.replace(r#"{"symbol":"BTCUSDT","pair":"BTCUSDT","#, r#"{ "pair" : "BTCUSDT","#);
        let spaced = spaced.replace(r#""MIN_NOTIONAL"}]}"#, r#""MIN_NOTIONAL"}],  "symbol": "BTCUSDT"}"#);
        assert_eq!(decode("BTCUSDT", spaced.as_bytes()), decode("BTCUSDT", USDM.as_bytes()));
        let both = r#"{"filterType":"MIN_NOTIONAL","minNotional":"7"},{"filterType":"NOTIONAL","#;
        for (first, least) in [("7", 700_000_000), ("3", 500_000_000)] {
            let both = both.replace('7', first);
            let body = SPOT.replace(r#"{"filterType":"NOTIONAL","#, &both);
            assert_eq!(decode("BTCUSDT", body.as_bytes()).map(|d| d.notional_min), Ok(least));
        }
        for (status, code) in [("BREAK", 3), ("CANCEL_ONLY", 2), ("SOMETHING_NEW", 3)] {
            let body = USDM.replace("TRADING", status);
            assert_eq!(decode("BTCUSDT", body.as_bytes()).map(|d| d.status), Ok(code));
        }
    }

    #[test]
    fn what_says_no_steps_is_an_error() {
        for (of, by, error) in [
            ("\"BTCUSDT\"", "\"BTCUSDC\"", DecodeError::UnknownStream),
            ("PRICE_FILTER", "OTHER", DecodeError::Missing("tickSize")),
            ("\"LOT_SIZE\"", "\"OTHER\"", DecodeError::Missing("stepSize")),
            (r#""status":"TRADING","#, "", DecodeError::Missing("status")),
            ("\"0.10\"", "\"0.00\"", DecodeError::Number("tickSize", FixedError::Malformed)),
            ("\"0.10\"", "\"-0.10\"", DecodeError::Number("tickSize", FixedError::Malformed)),
            ("\"0.10\"", "\"0.000000001\"", DecodeError::Number("tickSize", FixedError::TooFine)),
            ("\"100\"", "\"-100\"", DecodeError::Number("minNotional", FixedError::Malformed)),
        ] {
            assert_eq!(decode("BTCUSDT", USDM.replace(of, by).as_bytes()), Err(error), "{of} as {by}");
        }
        for end in 0..USDM.len() {
            assert!(decode("BTCUSDT", &USDM.as_bytes()[..end]).is_err() || end >= USDM.len() - 2, "{end}");
        }
    }
}
