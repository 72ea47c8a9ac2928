//! The private stream of USD-M: what became of our orders.

use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{Instrument, OrderEvent, OrderId, OrderUpdate, Price, Quantity, Side};

use super::MILLISECOND;
use crate::frame::DecodeError;
use crate::json::Reader;

/// What an event of the private stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// About an order of ours.
    Order(OrderUpdate),
    /// About an order that is not ours: another program's, or the venue's own (liquidation, deleveraging). The position
    /// may have moved without us.
    Foreign {
        /// The venue's identifier of the order.
        venue_order_id: u64,
        /// Size of the fill, in 1e-8; 0 where nothing was filled.
        filled: i64,
    },
    /// The listen key has expired: the stream is dead and has to be opened anew.
    KeyExpired,
    /// Something else, of no consequence here.
    Other,
}

/// Largest size of a fill or an order that is taken for one, in 1e-8: ten million.
const SIZE_MAX: i64 = 1_000_000_000_000_000;

/// True for a price and a size that a fill or an order can have: what is beyond is a lie or a mistake, and is not booked.
pub(super) fn is_sane(price: Price, size: Quantity) -> bool {
    Instrument::is_price(price) && (1..=SIZE_MAX).contains(&size.0)
}

#[derive(Default)]
struct Fields<'a> {
    symbol: &'a [u8],
    client_id: &'a [u8],
    side: &'a [u8],
    execution: &'a [u8],
    status: &'a [u8],
    venue_order_id: u64,
    trade_id: i64,
    last_size: &'a [u8],
    filled: &'a [u8],
    last_price: &'a [u8],
    fee: Option<&'a [u8]>,
    time_ms: u64,
    maker: bool,
}

/// Reads an event.
///
/// # Errors
/// [`DecodeError`] where it is no JSON, a field is missing or a number does not fit.
pub fn read_user_event(instrument: &Instrument, text: &[u8]) -> Result<UserEvent, DecodeError> {
    let (mut name, mut order): (&[u8], Option<Reader<'_>>) = (b"", None);
    let mut reader = Reader::new(text);
    reader.object(|key, value| {
        match key {
            b"e" => name = value.string()?,
            b"o" if value.look() == Some(b'{') => {
                order = Some(*value);
                value.skip()?;
            }
            _ => value.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    match (name, order) {
        (b"ORDER_TRADE_UPDATE", Some(order)) => order_event(instrument, order),
        (b"ORDER_TRADE_UPDATE", None) => Err(DecodeError::Missing("o")),
        (b"listenKeyExpired", _) => Ok(UserEvent::KeyExpired),
        _ => Ok(UserEvent::Other),
    }
}

fn read_fields(mut order: Reader<'_>) -> Result<Fields<'_>, DecodeError> {
    let mut f = Fields::default();
    order.object(|key, value| {
        match key {
            b"s" => f.symbol = value.string()?,
            b"c" => f.client_id = value.string()?,
            b"S" => f.side = value.string()?,
            b"x" => f.execution = value.string()?,
            b"X" => f.status = value.string()?,
            b"i" => f.venue_order_id = value.unsigned()?,
            b"t" => {
                let digits = value.scalar()?;
                f.trade_id =
                    std::str::from_utf8(digits).ok().and_then(|t| t.parse().ok()).ok_or(value.error())?;
            }
            b"l" => f.last_size = value.string()?,
            b"z" => f.filled = value.string()?,
            b"L" => f.last_price = value.string()?,
            b"n" => f.fee = Some(value.string()?),
            b"T" => f.time_ms = value.unsigned()?,
            b"m" => f.maker = value.scalar()? == b"true",
            _ => value.skip()?,
        }
        Ok(())
    })?;
    Ok(f)
}

fn order_event(instrument: &Instrument, order: Reader<'_>) -> Result<UserEvent, DecodeError> {
    let f = read_fields(order)?;
    let size = |name: &'static str, digits: &[u8]| {
        parse_decimal(digits, UNIT_DECIMALS).map_err(|e| DecodeError::Number(name, e))
    };
    if f.symbol != instrument.symbol.as_bytes() {
        return Err(DecodeError::UnknownStream);
    }
    let Some(id) = OrderId::parse(f.client_id) else {
        let filled = if f.execution == b"TRADE" { size("l", f.last_size)? } else { 0 };
        return Ok(UserEvent::Foreign { venue_order_id: f.venue_order_id, filled });
    };
    let event = match f.execution {
        b"NEW" => OrderEvent::Acknowledged,
        b"TRADE" if f.status == b"FILLED" => OrderEvent::Filled,
        b"TRADE" => OrderEvent::PartFilled,
        b"CANCELED" => OrderEvent::Canceled,
        b"EXPIRED" | b"EXPIRED_IN_MATCH" | b"TRADE_PREVENTION" => OrderEvent::Expired,
        b"REJECTED" => OrderEvent::Rejected,
        b"AMENDMENT" => return Ok(UserEvent::Other),
        _ => return Err(DecodeError::Missing("x")),
    };
    let side = match f.side {
        b"BUY" => Side::Bid,
        b"SELL" => Side::Ask,
        _ => return Err(DecodeError::Missing("S")),
    };
    let mut update = OrderUpdate {
        id,
        side: side as u8,
        venue_order_id: f.venue_order_id,
        venue_time: i64::try_from(f.time_ms).unwrap_or(i64::MAX).saturating_mul(MILLISECOND),
        cumulative: Quantity(size("z", f.filled)?),
        event: event as u8,
        ..OrderUpdate::default()
    };
    if event.is_fill() {
        let number = |name: &'static str| move |e| DecodeError::Number(name, e);
        update.price = instrument.parse_price(f.last_price).map_err(number("L"))?;
        update.quantity = Quantity(size("l", f.last_size)?);
        update.fee = f.fee.map_or(Ok(0), |digits| size("n", digits))?;
        update.trade_id = u64::try_from(f.trade_id).map_err(|_| DecodeError::Missing("t"))?;
        update.maker = u8::from(f.maker);
        if !is_sane(update.price, update.quantity) {
            return Err(DecodeError::Missing("l"));
        }
    }
    Ok(UserEvent::Order(update))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{InstrumentId, VenueId};
    use proptest::prelude::*;

    fn read(text: &str) -> Result<UserEvent, DecodeError> {
        let instrument =
            Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap();
        read_user_event(&instrument, text.as_bytes())
    }

    /// The fields of the venue's documentation, with values of our own.
    fn event(execution: &str, status: &str, client: &str) -> String {
        format!(
            r#"{{"e":"ORDER_TRADE_UPDATE","T":1723161256499,"E":1723161256500,"o":{{"s":"BTCUSDT","c":"{client}","S":"BUY","o":"LIMIT","f":"GTX","q":"0.012","p":"61800.20","ap":"0","sp":"0","x":"{execution}","X":"{status}","i":8886774,"l":"0.004","z":"0.010","L":"61800.20","N":"USDT","n":"0.04944016","T":1723161256499,"t":12345678,"b":"0","a":"0","m":true,"R":false,"wt":"CONTRACT_PRICE","ot":"LIMIT","ps":"BOTH","cp":false,"rp":"-1.25","pP":false,"si":0,"ss":0,"V":"EXPIRE_TAKER"}}}}"#
        )
    }

    #[test]
    fn a_fill_carries_everything_that_is_booked() {
        let Ok(UserEvent::Order(update)) = read(&event("TRADE", "PARTIALLY_FILLED", "k3-918273-1")) else {
            panic!("not an order");
        };
        assert_eq!(update.id, OrderId { incarnation: 3, seq: 918_273, child: 1 });
        assert_eq!(
            (update.event, update.maker, update.trade_id),
            (OrderEvent::PartFilled as u8, 1, 12_345_678)
        );
        assert_eq!(
            (update.price, update.quantity, update.cumulative),
            (Price(618_002), Quantity(400_000), Quantity(1_000_000))
        );
        assert_eq!(update.side, Side::Bid as u8);
        assert_eq!((update.fee, update.venue_time), (4_944_016, 1_723_161_256_499_000_000));
    }

    #[test]
    fn every_execution_type_has_its_event() {
        let kind = |execution: &str, status: &str| match read(&event(execution, status, "k1-2-3")) {
            Ok(UserEvent::Order(update)) => OrderEvent::from_code(update.event),
            _ => None,
        };
        assert_eq!(kind("NEW", "NEW"), Some(OrderEvent::Acknowledged));
        assert_eq!(kind("TRADE", "FILLED"), Some(OrderEvent::Filled));
        assert_eq!(kind("CANCELED", "CANCELED"), Some(OrderEvent::Canceled));
        assert_eq!(kind("EXPIRED", "EXPIRED"), Some(OrderEvent::Expired));
        assert_eq!(kind("TRADE_PREVENTION", "EXPIRED_IN_MATCH"), Some(OrderEvent::Expired));
        assert_eq!(kind("REJECTED", "REJECTED"), Some(OrderEvent::Rejected));
        assert_eq!(read(&event("AMENDMENT", "NEW", "k1-2-3")), Ok(UserEvent::Other));
        assert!(
            read(&event("SOMETHING_NEW", "NEW", "k1-2-3")).is_err(),
            "what is not understood is not passed over"
        );
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let foreign = read(&event("TRADE", "FILLED", "autoclose-1723161256"));
        assert_eq!(foreign, Ok(UserEvent::Foreign { venue_order_id: 8_886_774, filled: 400_000 }));
        assert_eq!(read(r#"{"e":"listenKeyExpired","E":1}"#), Ok(UserEvent::KeyExpired));
        assert_eq!(read(r#"{"e":"ACCOUNT_UPDATE","a":{}}"#), Ok(UserEvent::Other));
        assert_eq!(
            read(&event("NEW", "NEW", "k1-2-3").replace("BTCUSDT", "ETHUSDT")),
            Err(DecodeError::UnknownStream)
        );
        assert!(
            read(&event("TRADE", "FILLED", "k1-2-3").replace("61800.20\",\"N", "61800.25\",\"N")).is_err()
        );
    }

    proptest! {
        #[test]
        fn a_broken_event_is_an_event_or_an_error(at in any::<prop::sample::Index>(), byte in 0u8..128) {
            let mut bytes = event("TRADE", "FILLED", "k1-2-3").into_bytes();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            let instrument = Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap();
            let _ = read_user_event(&instrument, &bytes);
        }
    }
}
