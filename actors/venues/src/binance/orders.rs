//! Orders over the USD-M WebSocket API: request texts, signed, and what the answers say.
//!
//! Requests are written into a buffer the caller keeps, so that sending allocates nothing. Parameters are written in
//! the order of their names, because that is the text that is signed.

use kimera_protocol::fixed::{UNIT_DECIMALS, format_decimal};
use kimera_protocol::{Instrument, NewOrder, OrderEvent, OrderId, Price, Quantity, Side, TimeInForce};

use super::signing::Signer;
use super::template::{Template, Value};
use crate::frame::DecodeError;
use crate::json::Reader;

/// How long after its timestamp the venue takes a request.
pub const RECEIVE_WINDOW_MS: u32 = 5_000;

/// Writes the requests of one account for one instrument.
pub struct OrderWriter {
    instrument: Instrument,
    /// By side, then whether it may only reduce.
    place: [[Template; 2]; 2],
    cancel: Template,
    status: Template,
}

/// Why an order has no wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The side or time in force is no code of ours.
    #[error("the order's side or time in force is unknown")]
    Code,
    /// Price and size must be positive.
    #[error("the order's price or size is not positive")]
    NotPositive,
}

impl OrderWriter {
    /// A writer for an account and an instrument.
    #[must_use]
    pub fn new(instrument: Instrument, signer: &Signer) -> Self {
        let window = RECEIVE_WINDOW_MS.to_string();
        let (symbol, key) = (instrument.symbol.as_str(), signer.api_key());
        let place = |side: &str, reducing: &[(&str, Value<'_>)]| {
            let before = [
                ("apiKey", Value::Text(key)),
                ("newClientOrderId", Value::TextToCome),
                ("newOrderRespType", Value::Text("ACK")),
                ("price", Value::TextToCome),
                ("quantity", Value::TextToCome),
                ("recvWindow", Value::Number(&window)),
            ];
            let behind = [
                ("side", Value::Text(side)),
                ("symbol", Value::Text(symbol)),
                ("timeInForce", Value::TextToCome),
                ("timestamp", Value::NumberToCome),
                ("type", Value::Text("LIMIT")),
            ];
            Template::new(signer, "p", "order.place", &[&before, reducing, &behind].concat())
        };
        let about = |kind: &str, method: &str| {
            let parameters = [
                ("apiKey", Value::Text(key)),
                ("origClientOrderId", Value::TextToCome),
                ("recvWindow", Value::Number(&window)),
                ("symbol", Value::Text(symbol)),
                ("timestamp", Value::NumberToCome),
            ];
            Template::new(signer, kind, method, &parameters)
        };
        let both = |side: &str| [place(side, &[]), place(side, &[("reduceOnly", Value::Text("true"))])];
        Self {
            place: [both("BUY"), both("SELL")],
            cancel: about("c", "order.cancel"),
            status: about("s", "order.status"),
            instrument,
        }
    }

    /// Writes `order.place` into `out`; `timestamp_ms` is the venue's time.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` is then empty.
    pub fn place(
        &mut self,
        order: &NewOrder,
        timestamp_ms: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        out.clear();
        let [buy, sell] = &mut self.place;
        let [plain, reducing] = match order.side().ok_or(EncodeError::Code)? {
            Side::Bid => buy,
            Side::Ask => sell,
        };
        let tif = match order.time_in_force {
            c if c == TimeInForce::GoodTillCancel as u8 => b"GTC",
            c if c == TimeInForce::ImmediateOrCancel as u8 => b"IOC",
            c if c == TimeInForce::FillOrKill as u8 => b"FOK",
            c if c == TimeInForce::PostOnly as u8 => b"GTX",
            _ => return Err(EncodeError::Code),
        };
        if order.price.0 <= 0 || order.quantity.0 <= 0 {
            return Err(EncodeError::NotPositive);
        }
        let (id, timestamp) = (order.id.to_text(), format_decimal(i128::from(timestamp_ms), 0));
        let (price, quantity) = (price_text(&self.instrument, order.price), quantity_text(order.quantity));
        let reduces = order.flags & kimera_protocol::order::OrderFlags::REDUCE_ONLY != 0;
        let template = if reduces { reducing } else { plain };
        let values = [id.as_bytes(), price.as_bytes(), quantity.as_bytes(), tif, timestamp.as_bytes()];
        template.write(&values, out);
        Ok(())
    }

    /// Writes `order.cancel` into `out`.
    pub fn cancel(&mut self, id: OrderId, timestamp_ms: i64, out: &mut Vec<u8>) {
        let (id, timestamp) = (id.to_text(), format_decimal(i128::from(timestamp_ms), 0));
        self.cancel.write(&[id.as_bytes(), timestamp.as_bytes()], out);
    }

    /// Writes `order.status` into `out`.
    pub fn status(&mut self, id: OrderId, timestamp_ms: i64, out: &mut Vec<u8>) {
        let (id, timestamp) = (id.to_text(), format_decimal(i128::from(timestamp_ms), 0));
        self.status.write(&[id.as_bytes(), timestamp.as_bytes()], out);
    }
}

fn price_text(instrument: &Instrument, price: Price) -> kimera_protocol::fixed::DecimalText {
    let scaled = i128::from(price.0) * i128::from(instrument.price_step());
    format_decimal(scaled, instrument.price_decimals())
}

/// A size without zeros at its end: the venue refuses more decimals than its lot has, even zeros.
fn quantity_text(quantity: Quantity) -> kimera_protocol::fixed::DecimalText {
    let (mut value, mut decimals) = (quantity.0, UNIT_DECIMALS);
    while decimals > 0 && value % 10 == 0 {
        value /= 10;
        decimals -= 1;
    }
    format_decimal(i128::from(value), decimals)
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `order.place`.
    Place,
    /// `order.cancel`.
    Cancel,
    /// `order.status`.
    Status,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done as asked.
    Done,
    /// Refused with the venue's code; the order is as it was.
    Refused(i32),
    /// The venue does not say what became of it: it has to be asked.
    Unclear(i32),
}

/// An answer of the WebSocket API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// What it answers.
    pub asked: Asked,
    /// About which order.
    pub order: OrderId,
    /// What it says.
    pub verdict: Verdict,
    /// The venue's identifier of the order, where it gives one.
    pub venue_order_id: u64,
    /// Size filled so far, for a status, in 1e-8.
    pub filled: i64,
    /// For a status: true where it stands on the book.
    pub standing: bool,
    /// For a status: how it ended, where it was not by being filled.
    pub ended: Option<OrderEvent>,
}

/// Codes after which the venue itself does not know what became of a request.
const UNCLEAR: [i32; 3] = [-1006, -1007, -1000];

/// Reads an answer; `None` where it answers nothing we asked.
///
/// # Errors
/// [`DecodeError`] where it is no JSON.
pub fn read_response(text: &[u8]) -> Result<Option<Response>, DecodeError> {
    let (mut id, mut status, mut code) = (None, None, None);
    let (mut venue_order_id, mut filled, mut standing, mut ended) = (0, 0, false, None);
    let mut reader = Reader::new(text);
    reader.object(|key, value| {
        match key {
            b"id" if value.look() == Some(b'"') => id = Some(value.string()?),
            b"status" => status = Some(value.unsigned()?),
            b"error" if value.look() == Some(b'{') => value.object(|key, value| {
                if key == b"code" {
                    code = std::str::from_utf8(value.scalar()?).ok().and_then(|t| t.parse::<i32>().ok());
                    return Ok(());
                }
                value.skip()
            })?,
            b"result" if value.look() == Some(b'{') => value.object(|key, value| {
                match key {
                    b"orderId" => venue_order_id = value.unsigned()?,
                    b"executedQty" => {
                        let digits = value.string()?;
                        filled = kimera_protocol::fixed::parse_decimal(digits, UNIT_DECIMALS)
                            .map_err(|e| DecodeError::Number("executedQty", e))?;
                    }
                    b"status" => match value.string()? {
                        b"NEW" | b"PARTIALLY_FILLED" => standing = true,
                        b"CANCELED" => ended = Some(OrderEvent::Canceled),
                        b"EXPIRED" | b"EXPIRED_IN_MATCH" => ended = Some(OrderEvent::Expired),
                        b"REJECTED" => ended = Some(OrderEvent::Rejected),
                        _ => {}
                    },
                    _ => value.skip()?,
                }
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    let Some((asked, order)) = id.and_then(parse_request_id) else { return Ok(None) };
    let verdict = match (status, code) {
        (Some(200), None) => Verdict::Done,
        (_, Some(code)) if !UNCLEAR.contains(&code) && status.is_some_and(|s| s < 500) => {
            Verdict::Refused(code)
        }
        (_, code) => Verdict::Unclear(code.unwrap_or(0)),
    };
    Ok(Some(Response { asked, order, verdict, venue_order_id, filled, standing, ended }))
}

fn parse_request_id(id: &[u8]) -> Option<(Asked, OrderId)> {
    let (kind, rest) = id.split_first()?;
    let asked = match kind {
        b'p' => Asked::Place,
        b'c' => Asked::Cancel,
        b's' => Asked::Status,
        _ => return None,
    };
    Some((asked, OrderId::parse(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{InstrumentId, VenueId};
    use proptest::prelude::*;
    use sonic_rs::{JsonContainerTrait, JsonValueTrait};

    const SECRET: &[u8] = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";

    fn writer() -> OrderWriter {
        let instrument =
            Instrument::new(InstrumentId(1), VenueId(1), "BTCUSDT", 10_000_000, 100_000).unwrap();
        OrderWriter::new(instrument, &Signer::new("key", SECRET).unwrap())
    }

    fn order() -> NewOrder {
        NewOrder {
            id: OrderId { incarnation: 3, seq: 918_273, child: 1 },
            price: Price(618_002),
            quantity: Quantity(1_200_000),
            side: Side::Ask as u8,
            time_in_force: TimeInForce::PostOnly as u8,
            ..NewOrder::default()
        }
    }

    /// The venue's rule, applied by a foreign parser: all parameters but the signature, by name, joined.
    fn payload(request: &[u8]) -> (String, String) {
        let value: sonic_rs::Value = sonic_rs::from_slice(request).unwrap();
        let mut pairs: Vec<(String, String)> = value["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.to_owned(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        pairs.sort();
        let signature = pairs.iter().find(|(k, _)| k == "signature").unwrap().1.clone();
        let text: Vec<_> =
            pairs.iter().filter(|(k, _)| k != "signature").map(|(k, v)| format!("{k}={v}")).collect();
        (text.join("&"), signature)
    }

    #[test]
    fn a_request_carries_the_order_and_the_right_signature() {
        let mut out = Vec::new();
        writer().place(&order(), 1_645_423_376_532, &mut out).unwrap();
        let (payload, signature) = payload(&out);
        assert_eq!(
            payload,
            "apiKey=key&newClientOrderId=k3-918273-1&newOrderRespType=ACK&price=61800.2&quantity=0.012&recvWindow=5000&side=SELL&symbol=BTCUSDT&timeInForce=GTX&timestamp=1645423376532&type=LIMIT"
        );
        assert_eq!(signature.as_bytes(), Signer::new("key", SECRET).unwrap().sign(payload.as_bytes()));
        assert!(out.starts_with(b"{\"id\":\"pk3-918273-1\",\"method\":\"order.place\""));
        for (text, method) in [("c", "order.cancel"), ("s", "order.status")] {
            let (mut w, mut out) = (writer(), Vec::new());
            if text == "c" {
                w.cancel(order().id, 5, &mut out)
            } else {
                w.status(order().id, 5, &mut out)
            }
            let (payload, signature) = self::payload(&out);
            assert_eq!(
                payload,
                "apiKey=key&origClientOrderId=k3-918273-1&recvWindow=5000&symbol=BTCUSDT&timestamp=5"
            );
            assert_eq!(signature.as_bytes(), Signer::new("key", SECRET).unwrap().sign(payload.as_bytes()));
            assert!(String::from_utf8_lossy(&out).contains(method));
        }
    }

    proptest! {
        /// Whatever was written before, a request is the one that a new writer writes.
        #[test]
        fn what_was_written_before_leaves_nothing_behind(
            orders in proptest::collection::vec(
                (1u64..2_000_000, 1i64..2_000_000, 1i64..3_000_000, any::<bool>(), any::<bool>(), 0u8..4), 1..12),
            now in 1i64..2_000_000_000_000,
        ) {
            let (mut writer, mut out, mut alone) = (writer(), Vec::new(), Vec::new());
            for (seq, price, lots, buys, reduces, tif) in orders {
                let order = NewOrder {
                    id: OrderId { incarnation: 3, seq, child: 1 },
                    price: Price(price),
                    quantity: Quantity(lots * 100_000),
                    side: if buys { Side::Bid } else { Side::Ask } as u8,
                    flags: if reduces { kimera_protocol::order::OrderFlags::REDUCE_ONLY } else { 0 },
                    time_in_force: tif,
                    ..order()
                };
                prop_assert_eq!(writer.place(&order, now, &mut out), self::writer().place(&order, now, &mut alone));
                prop_assert_eq!(&out, &alone);
                writer.cancel(order.id, now, &mut out);
                self::writer().cancel(order.id, now, &mut alone);
                prop_assert_eq!(&out, &alone);
            }
        }
    }

    #[test]
    fn an_order_without_a_wire_form_is_refused() {
        let mut out = vec![1];
        let wrong = [
            (NewOrder { price: Price(0), ..order() }, EncodeError::NotPositive),
            (NewOrder { quantity: Quantity(-1), ..order() }, EncodeError::NotPositive),
            (NewOrder { side: 7, ..order() }, EncodeError::Code),
            (NewOrder { time_in_force: 9, ..order() }, EncodeError::Code),
        ];
        for (order, expected) in wrong {
            assert_eq!(writer().place(&order, 1, &mut out), Err(expected));
            assert!(out.is_empty());
        }
        let reduce = NewOrder { flags: kimera_protocol::order::OrderFlags::REDUCE_ONLY, ..order() };
        writer().place(&reduce, 1, &mut out).unwrap();
        assert!(payload(&out).0.contains("&reduceOnly=true&side=SELL"));
    }

    #[test]
    fn answers() {
        let read = |text: &str| read_response(text.as_bytes()).unwrap().map(|r| (r.asked, r.verdict));
        let ack = r#"{"id":"pk3-918273-1","status":200,"result":{"orderId":325078477,"symbol":"BTCUSDT","status":"NEW","executedQty":"0.000"},"rateLimits":[]}"#;
        let full = read_response(ack.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (full.asked, full.verdict, full.venue_order_id, full.standing),
            (Asked::Place, Verdict::Done, 325_078_477, true)
        );
        assert_eq!(full.order, order().id);
        let refused = r#"{"id":"pk3-918273-1","status":400,"error":{"code":-5022,"msg":"Post Only order will be rejected."}}"#;
        assert_eq!(read(refused), Some((Asked::Place, Verdict::Refused(-5022))));
        let unclear = r#"{"id":"ck3-918273-1","status":408,"error":{"code":-1007,"msg":"Timeout"}}"#;
        assert_eq!(read(unclear), Some((Asked::Cancel, Verdict::Unclear(-1007))));
        let broken = r#"{"id":"sk3-918273-1","status":503,"error":{"code":-1008,"msg":"busy"}}"#;
        assert_eq!(read(broken), Some((Asked::Status, Verdict::Unclear(-1008))));
        for foreign in [
            r#"{"id":5,"status":200}"#,
            r#"{"id":"x1","status":200}"#,
            "{}",
            r#"{"id":"pTEST","status":200}"#,
        ] {
            assert_eq!(read(foreign), None);
        }
        assert!(read_response(b"{").is_err());
    }
}
