//! USD-M over HTTP: signed requests about the account, and their answers.

use kimera_protocol::fixed::{UNIT_DECIMALS, parse_decimal};
use kimera_protocol::{Instrument, OrderId, Price, Quantity, Side};

use super::orders::RECEIVE_WINDOW_MS;
use super::signing::Signer;
use super::user_data::is_sane;
use crate::frame::DecodeError;
use crate::json::Reader;

/// `path?query` with receive window, timestamp and signature; `query` holds pairs joined by `&`, or nothing.
#[must_use]
pub fn signed_path(signer: &Signer, path: &str, query: &str, timestamp_ms: i64) -> String {
    let separator = if query.is_empty() { "" } else { "&" };
    let payload = format!("{query}{separator}recvWindow={RECEIVE_WINDOW_MS}&timestamp={timestamp_ms}");
    let signature = signer.sign(payload.as_bytes());
    format!("{path}?{payload}&signature={}", String::from_utf8_lossy(&signature))
}

/// A trade of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountTrade {
    /// The venue's identifier of the trade.
    pub trade_id: u64,
    /// The venue's identifier of the order.
    pub venue_order_id: u64,
    /// Side of the order.
    pub side: Side,
    /// Price in ticks.
    pub price: Price,
    /// Size in 1e-8.
    pub quantity: Quantity,
    /// Fee in 1e-8 of the quote asset.
    pub fee: i64,
    /// Rested.
    pub maker: bool,
    /// Milliseconds.
    pub time_ms: u64,
}

/// Reads the answer to `GET /fapi/v1/userTrades`, oldest first.
///
/// # Errors
/// [`DecodeError`] where it is no JSON, a field is missing or a number does not fit.
pub fn read_trades(instrument: &Instrument, text: &[u8]) -> Result<Vec<AccountTrade>, DecodeError> {
    let mut trades = Vec::new();
    let mut reader = Reader::new(text);
    reader.array(|item| {
        let (mut id, mut order, mut side, mut maker, mut time) = (None, None, None, false, 0);
        let (mut price, mut size, mut fee): (&[u8], &[u8], &[u8]) = (b"", b"", b"0");
        let mut symbol: &[u8] = b"";
        item.object(|key, value| {
            match key {
                b"symbol" => symbol = value.string()?,
                b"id" => id = Some(value.unsigned()?),
                b"orderId" => order = Some(value.unsigned()?),
                b"side" => side = Some(value.string()?),
                b"price" => price = value.string()?,
                b"qty" => size = value.string()?,
                b"commission" => fee = value.string()?,
                b"maker" => maker = value.scalar()? == b"true",
                b"time" => time = value.unsigned()?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        if symbol != instrument.symbol.as_bytes() {
            return Ok(()); // another instrument's
        }
        let number = |name: &'static str| move |e| DecodeError::Number(name, e);
        let trade = AccountTrade {
            trade_id: id.ok_or(DecodeError::Missing("id"))?,
            venue_order_id: order.ok_or(DecodeError::Missing("orderId"))?,
            side: match side {
                Some(b"BUY") => Side::Bid,
                Some(b"SELL") => Side::Ask,
                _ => return Err(DecodeError::Missing("side")),
            },
            price: instrument.parse_price(price).map_err(number("price"))?,
            quantity: Quantity(parse_decimal(size, UNIT_DECIMALS).map_err(number("qty"))?),
            fee: parse_decimal(fee, UNIT_DECIMALS).map_err(number("commission"))?,
            maker,
            time_ms: time,
        };
        if !is_sane(trade.price, trade.quantity) {
            return Err(DecodeError::Missing("qty"));
        }
        trades.push(trade);
        Ok(())
    })?;
    reader.end()?;
    trades.sort_by_key(|t| t.trade_id);
    Ok(trades)
}

/// An order as the venue lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueOrder {
    /// Our identity; none for an order that is not ours.
    pub id: Option<OrderId>,
    /// The venue's identifier.
    pub venue_order_id: u64,
    /// Side.
    pub side: Side,
    /// Limit price in ticks.
    pub price: Price,
    /// Size as ordered, in 1e-8.
    pub quantity: Quantity,
    /// Size filled, in 1e-8.
    pub executed: i64,
    /// True where it stands on the book.
    pub standing: bool,
}

/// Reads the answer to `GET /fapi/v1/allOrders` or `openOrders`.
///
/// # Errors
/// [`DecodeError`] where it is no JSON, a field is missing or a number does not fit.
pub fn read_orders(instrument: &Instrument, text: &[u8]) -> Result<Vec<VenueOrder>, DecodeError> {
    let mut orders = Vec::new();
    let mut reader = Reader::new(text);
    reader.array(|item| {
        let (mut client, mut order, mut side, mut standing) = (None, None, None, false);
        let (mut price, mut size, mut executed): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let mut symbol: &[u8] = b"";
        item.object(|key, value| {
            match key {
                b"symbol" => symbol = value.string()?,
                b"clientOrderId" => client = Some(value.string()?),
                b"orderId" => order = Some(value.unsigned()?),
                b"side" => side = Some(value.string()?),
                b"price" => price = value.string()?,
                b"origQty" => size = value.string()?,
                b"executedQty" => executed = value.string()?,
                b"status" => standing = matches!(value.string()?, b"NEW" | b"PARTIALLY_FILLED"),
                _ => value.skip()?,
            }
            Ok(())
        })?;
        if symbol != instrument.symbol.as_bytes() {
            return Ok(()); // another instrument's
        }
        let number = |name: &'static str| move |e| DecodeError::Number(name, e);
        let order = VenueOrder {
            id: OrderId::parse(client.ok_or(DecodeError::Missing("clientOrderId"))?),
            venue_order_id: order.ok_or(DecodeError::Missing("orderId"))?,
            side: match side {
                Some(b"BUY") => Side::Bid,
                Some(b"SELL") => Side::Ask,
                _ => return Err(DecodeError::Missing("side")),
            },
            price: instrument.parse_price(price).map_err(number("price"))?,
            quantity: Quantity(parse_decimal(size, UNIT_DECIMALS).map_err(number("origQty"))?),
            executed: parse_decimal(executed, UNIT_DECIMALS).map_err(number("executedQty"))?,
            standing,
        };
        if !is_sane(order.price, order.quantity) {
            return Err(DecodeError::Missing("origQty"));
        }
        orders.push(order);
        Ok(())
    })?;
    reader.end()?;
    Ok(orders)
}

/// What the venue says the account holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Position of the instrument in 1e-8, with its sign.
    pub position: i64,
    /// Money not in positions, in 1e-8 of the quote asset: what was put in, less what was paid, plus what was received.
    pub cash: Option<i64>,
}

/// Reads the answer to `GET /fapi/v2/account`.
///
/// # Errors
/// [`DecodeError`] where it is no JSON or a number does not fit.
pub fn read_account(instrument: &Instrument, text: &[u8]) -> Result<AccountState, DecodeError> {
    let mut state = AccountState::default();
    let mut reader = Reader::new(text);
    let units = |name: &'static str, digits: &[u8]| {
        parse_decimal(digits, UNIT_DECIMALS).map_err(|e| DecodeError::Number(name, e))
    };
    reader.object(|key, value| match key {
        b"assets" => value.array(|asset| {
            let (mut name, mut cash): (&[u8], Option<&[u8]>) = (b"", None);
            asset.object(|key, value| {
                match key {
                    b"asset" => name = value.string()?,
                    // A field of the simulated venue alone: what was paid and received, apart from positions.
                    b"cashBalance" => cash = Some(value.string()?),
                    _ => value.skip()?,
                }
                Ok(())
            })?;
            if let Some(digits) = cash.filter(|_| name == b"USDT") {
                state.cash = Some(units("cashBalance", digits)?);
            }
            Ok(())
        }),
        b"positions" => value.array(|position| {
            let (mut symbol, mut amount): (&[u8], &[u8]) = (b"", b"0");
            position.object(|key, value| {
                match key {
                    b"symbol" => symbol = value.string()?,
                    b"positionAmt" => amount = value.string()?,
                    _ => value.skip()?,
                }
                Ok(())
            })?;
            if symbol == instrument.symbol.as_bytes() {
                state.position += units("positionAmt", amount)?;
            }
            Ok(())
        }),
        _ => value.skip(),
    })?;
    reader.end()?;
    Ok(state)
}

/// Reads the key of the answer to `POST /fapi/v1/listenKey`: letters and digits, as it goes into a path.
#[must_use]
pub fn read_listen_key(text: &[u8]) -> Option<String> {
    let mut key = None;
    let mut reader = Reader::new(text);
    let read = reader.object(|name, value| {
        if name == b"listenKey" && value.look() == Some(b'"') {
            key = Some(value.string()?);
            return Ok(());
        }
        value.skip()
    });
    let plain = |k: &&[u8]| !k.is_empty() && k.len() <= 128 && k.iter().all(u8::is_ascii_alphanumeric);
    read.ok()?;
    key.filter(plain).map(|k| String::from_utf8_lossy(k).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{InstrumentId, VenueId};

    fn instrument() -> Instrument {
        Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap()
    }

    #[test]
    fn a_path_is_signed_over_its_query() {
        let signer = Signer::new("key", b"secret").unwrap();
        let path = signed_path(&signer, "/fapi/v1/userTrades", "symbol=BTCUSDT", 7);
        let (payload, signature) = path.split_once('?').unwrap().1.split_once("&signature=").unwrap();
        assert_eq!(payload, "symbol=BTCUSDT&recvWindow=5000&timestamp=7");
        assert_eq!(signature.as_bytes(), signer.sign(payload.as_bytes()));
        assert!(signed_path(&signer, "/x", "", 7).starts_with("/x?recvWindow=5000&timestamp=7&signature="));
    }

    #[test]
    fn trades_come_out_oldest_first() {
        // The venue's documented form, with one of another instrument between them.
        let text = br#"[{"symbol":"BTCUSDT","id":9,"orderId":5,"side":"SELL","price":"61800.2","qty":"0.012","realizedPnl":"0","marginAsset":"USDT","quoteQty":"741.6","commission":"-0.0741","commissionAsset":"USDT","time":1569514978020,"positionSide":"BOTH","buyer":false,"maker":true},
            {"symbol":"ETHUSDT","id":1,"orderId":5,"side":"BUY","price":"1","qty":"1"},
            {"symbol":"BTCUSDT","id":3,"orderId":4,"side":"BUY","price":"61800.10","qty":"1.000","commission":"24.72","maker":false,"time":5}]"#;
        let trades = read_trades(&instrument(), text).unwrap();
        assert_eq!(trades.iter().map(|t| t.trade_id).collect::<Vec<_>>(), [3, 9]);
        let last = trades[1];
        assert_eq!((last.venue_order_id, last.side, last.maker), (5, Side::Ask, true));
        assert_eq!((last.price, last.quantity, last.fee), (Price(618_002), Quantity(1_200_000), -7_410_000));
        for broken in [
            "{}",
            "[{\"symbol\":\"BTCUSDT\",\"id\":1}]",
            "[",
            "[{\"symbol\":\"BTCUSDT\",\"id\":1,\"orderId\":1,\"side\":\"BUY\",\"price\":\"0.05\",\"qty\":\"1\"}]",
        ] {
            assert!(read_trades(&instrument(), broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn orders_as_the_venue_lists_them() {
        let text = br#"[{"avgPrice":"0.00000","clientOrderId":"k2-77-0","cumQuote":"0","executedQty":"0.004","orderId":1917641,"origQty":"0.010","price":"61800.1","reduceOnly":false,"side":"SELL","positionSide":"BOTH","status":"PARTIALLY_FILLED","symbol":"BTCUSDT","time":1579276756075,"timeInForce":"GTX","type":"LIMIT"},
            {"clientOrderId":"web_1","executedQty":"1","orderId":5,"origQty":"1","price":"61800.00","side":"BUY","status":"FILLED","symbol":"BTCUSDT"},
            {"symbol":"ETHUSDT"}]"#;
        let orders = read_orders(&instrument(), text).unwrap();
        assert_eq!(orders.len(), 2);
        let ours = orders[0];
        assert_eq!(ours.id, Some(OrderId { incarnation: 2, seq: 77, child: 0 }));
        assert_eq!((ours.venue_order_id, ours.side, ours.standing), (1_917_641, Side::Ask, true));
        assert_eq!(
            (ours.price, ours.quantity, ours.executed),
            (Price(618_001), Quantity(1_000_000), 400_000)
        );
        assert_eq!((orders[1].id, orders[1].standing), (None, false));
        assert!(read_orders(&instrument(), b"[{\"symbol\":\"BTCUSDT\"}]").is_err());
    }

    #[test]
    fn an_account_and_a_key() {
        let text = br#"{"feeTier":0,"assets":[{"asset":"BNB","cashBalance":"5"},{"asset":"USDT","walletBalance":"1","cashBalance":"99876.50000001"}],"positions":[{"symbol":"BTCUSDT","positionAmt":"-0.012","positionSide":"BOTH"},{"symbol":"ETHUSDT","positionAmt":"7"}]}"#;
        let state = read_account(&instrument(), text).unwrap();
        assert_eq!(state, AccountState { position: -1_200_000, cash: Some(9_987_650_000_001) });
        assert_eq!(
            read_listen_key(br#"{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8"}"#).unwrap().len(),
            32
        );
        for bad in ["{}", "", "{\"listenKey\":\"a/../b\"}", "{\"listenKey\":5}", "{\"listenKey\":\"\"}"] {
            assert_eq!(read_listen_key(bad.as_bytes()), None, "{bad}");
        }
    }
}
