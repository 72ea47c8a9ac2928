//! The order side of USD-M: signed requests over the WebSocket API and HTTP, and the private stream's events.
//!
//! What is checked, in the venue's order: key, timestamp, signature, parameters, filters, then the matching's own rules.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::account::{Account, OrderInfo};
use crate::book::{text, units};
use crate::market::Answer;
use crate::matching::{Depth, Happening, OrderSide, Placement, Refused, Tif};
use crate::rules::Rules;
use crate::tape::RecordingProfile;

/// An error in the venue's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The venue's code.
    pub code: i32,
    /// Its text.
    pub message: String,
}

pub(crate) fn error(status: u16, code: i32, message: &str) -> ApiError {
    ApiError { status, code, message: message.to_owned() }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let (code, message) = refused.code();
        error(400, code, message)
    }
}

/// The order side of one market.
pub struct OrderApi {
    symbol: String,
    price_decimals: u32,
    size_decimals: u32,
    rules: Rules,
    api_key: String,
    keyed: Hmac<Sha256>,
    listen_key: Option<String>,
    listen_keys: u64,
    /// A trade that is told to nobody: the control of those who compare.
    hidden_trade: Option<u64>,
    /// Venue time at which everything is cancelled where nobody puts it off.
    countdown_ends_ms: Option<i64>,
    /// Why the account could not be written, if it could not: what is in memory may not be told any more.
    pub failed: Option<String>,
    /// The account.
    pub account: Account,
}

/// Parameters of a request by name.
pub type Parameters = BTreeMap<String, String>;

/// What a signed request came to: the answer and what it made happen.
pub type Done = Result<(Value, Vec<Happening>), ApiError>;

impl OrderApi {
    /// The order side of a market; `None` where the secret is no key.
    #[must_use]
    pub fn new(
        profile: &RecordingProfile,
        rules: Rules,
        api_key: &str,
        secret: &[u8],
        account: Account,
    ) -> Option<Self> {
        Some(Self {
            symbol: profile.symbol.clone(),
            price_decimals: profile.price_decimals,
            size_decimals: profile.size_decimals,
            rules,
            api_key: api_key.to_owned(),
            keyed: Hmac::<Sha256>::new_from_slice(secret).ok()?,
            listen_key: None,
            listen_keys: 0,
            hidden_trade: None,
            countdown_ends_ms: None,
            failed: None,
            account,
        })
    }

    /// Answers a frame of the WebSocket API at venue time `now_ms`.
    pub fn frame(&mut self, frame: &str, depth: &dyn Depth, now_ms: i64) -> (String, Vec<Happening>) {
        let Ok(request) = serde_json::from_str::<Value>(frame) else {
            let answer =
                json!({"id": null, "status": 400, "error": {"code": -1000, "msg": "Request is no JSON."}});
            return (answer.to_string(), Vec::new());
        };
        let mut parameters = Parameters::new();
        if let Some(object) = request["params"].as_object() {
            for (name, value) in object {
                let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                parameters.insert(name.clone(), plain);
            }
        }
        let done = match request["method"].as_str() {
            Some("ping") => Ok((json!({}), Vec::new())),
            Some("time") => Ok((json!({"serverTime": now_ms}), Vec::new())),
            Some(method) => self.signed_frame(method, &parameters, depth, now_ms),
            None => Err(error(400, -1102, "Mandatory parameter 'method' was not sent.")),
        };
        match done {
            Ok((result, happenings)) => (
                json!({"id": request["id"], "status": 200, "result": result, "rateLimits": []}).to_string(),
                happenings,
            ),
            Err(e) => {
                let answer = json!({"id": request["id"], "status": e.status, "error": {"code": e.code, "msg": e.message}});
                (answer.to_string(), Vec::new())
            }
        }
    }

    fn signed_frame(
        &mut self,
        method: &str,
        parameters: &Parameters,
        depth: &dyn Depth,
        now_ms: i64,
    ) -> Done {
        // The venue's rule for frames: all parameters but the signature, by name, joined.
        let payload: Vec<_> =
            parameters.iter().filter(|(k, _)| *k != "signature").map(|(k, v)| format!("{k}={v}")).collect();
        let key = parameters.get("apiKey").map(String::as_str);
        self.check(key, &payload.join("&"), parameters, now_ms)?;
        match method {
            "order.place" => self.place(parameters, depth, now_ms),
            "order.cancel" => self.cancel(parameters, now_ms),
            "order.status" => self.status(parameters),
            _ => Err(error(400, -1020, "This operation is not supported.")),
        }
    }

    fn check(
        &self,
        key: Option<&str>,
        payload: &str,
        parameters: &Parameters,
        now_ms: i64,
    ) -> Result<(), ApiError> {
        if key != Some(self.api_key.as_str()) {
            return Err(error(401, -2015, "Invalid API-key, IP, or permissions for action."));
        }
        let number = |name: &str| parameters.get(name).map(|v| v.parse::<i64>());
        let timestamp = match number("timestamp") {
            Some(Ok(timestamp)) => timestamp,
            Some(Err(_)) => {
                return Err(error(400, -1100, "Illegal characters found in parameter 'timestamp'."));
            }
            None => return Err(error(400, -1102, "Mandatory parameter 'timestamp' was not sent.")),
        };
        let window = match number("recvWindow") {
            None => 5_000,
            Some(Ok(window @ 0..=60_000)) => window,
            Some(_) => return Err(error(400, -1131, "recvWindow must be less than 60000.")),
        };
        if timestamp >= now_ms + 1_000 || now_ms - timestamp > window {
            return Err(error(400, -1021, "Timestamp for this request is outside of the recvWindow."));
        }
        let sent = parameters
            .get("signature")
            .ok_or_else(|| error(400, -1102, "Mandatory parameter 'signature' was not sent."))?;
        let mut bytes = [0u8; 32];
        let hex = sent.len() == 64
            && bytes.iter_mut().enumerate().all(|(i, byte)| {
                sent.get(2 * i..2 * i + 2)
                    .and_then(|h| u8::from_str_radix(h, 16).ok())
                    .map(|b| *byte = b)
                    .is_some()
            });
        let mut mac = self.keyed.clone();
        mac.update(payload.as_bytes());
        // The comparison takes the same time wherever the difference is.
        if !hex || mac.verify_slice(&bytes).is_err() {
            return Err(error(400, -1022, "Signature for this request is not valid."));
        }
        Ok(())
    }

    fn place(&mut self, p: &Parameters, depth: &dyn Depth, now_ms: i64) -> Done {
        let get = |name: &'static str| {
            p.get(name).ok_or_else(|| {
                error(
                    400,
                    -1102,
                    &format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."),
                )
            })
        };
        self.check_symbol(p)?;
        let side = match get("side")?.as_str() {
            "BUY" => OrderSide::Buy,
            "SELL" => OrderSide::Sell,
            _ => return Err(error(400, -1117, "Invalid side.")),
        };
        if get("type")? != "LIMIT" {
            return Err(error(400, -1116, "Invalid orderType."));
        }
        let tif = match get("timeInForce")?.as_str() {
            "GTC" => Tif::Gtc,
            "IOC" => Tif::Ioc,
            "FOK" => Tif::Fok,
            "GTX" => Tif::Gtx,
            _ => return Err(error(400, -1115, "Invalid timeInForce.")),
        };
        let precision = || error(400, -1111, "Precision is over the maximum defined for this asset.");
        let price = units(get("price")?).filter(|p| *p > 0).ok_or_else(precision)?;
        let size = units(get("quantity")?).filter(|q| *q > 0).ok_or_else(precision)?;
        let reduce_only = p.get("reduceOnly").is_some_and(|r| r == "true");
        self.rules.check(price, size, reduce_only)?;
        let client_id = get("newClientOrderId")?.clone();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'/' | b'_' | b'-');
        if client_id.is_empty() || client_id.len() > 36 || !client_id.bytes().all(legal) {
            return Err(error(400, -4015, "Client order id is not valid."));
        }
        let placement = Placement { client_id, side, price, size, tif, reduce_only };
        let (order_id, happenings) = self.account.matching.place(placement, depth)?;
        self.book(&happenings, now_ms)?;
        // The answer is an acknowledgement; what happened at once comes by the private stream.
        let order = self.account.order(order_id);
        let answer = order.map(|o| self.order_json(&OrderInfo { filled: 0, status: "NEW", ..o.clone() }));
        Ok((answer.unwrap_or(Value::Null), happenings))
    }

    fn cancel(&mut self, p: &Parameters, now_ms: i64) -> Done {
        self.check_symbol(p)?;
        let client_id = p.get("origClientOrderId").ok_or(Refused::UnknownOrder)?.clone();
        let happening = self.account.matching.cancel(&client_id)?;
        self.book(std::slice::from_ref(&happening), now_ms)?;
        let order = self.account.order_of_client(&client_id).map(|o| self.order_json(o));
        Ok((order.unwrap_or(Value::Null), vec![happening]))
    }

    fn status(&self, p: &Parameters) -> Done {
        self.check_symbol(p)?;
        let client_id = p.get("origClientOrderId").map_or("", String::as_str);
        let order = self.account.order_of_client(client_id);
        let order = order.ok_or_else(|| error(400, -2013, "Order does not exist."))?;
        Ok((self.order_json(order), Vec::new()))
    }

    fn check_symbol(&self, p: &Parameters) -> Result<(), ApiError> {
        if p.get("symbol") == Some(&self.symbol) { Ok(()) } else { Err(error(400, -1121, "Invalid symbol.")) }
    }

    fn book(&mut self, happenings: &[Happening], now_ms: i64) -> Result<(), ApiError> {
        // Not on disk, not told: the client gets "execution status unknown" and has to ask.
        self.account.book(happenings, now_ms).map_err(|e| {
            self.failed = Some(format!("the account cannot be written: {e}"));
            error(503, -1006, "Execution status unknown.")
        })
    }

    /// Answers an HTTP request: `key` is the X-MBX-APIKEY header, `signed` the query and body as they came.
    pub fn http(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        signed: &str,
        now_ms: i64,
    ) -> (Answer, Vec<Happening>) {
        match self.http_done(method, path, key, signed, now_ms) {
            Ok((body, happenings)) => (Answer::ok(body.to_string()), happenings),
            Err(e) => (Answer::error(e.status, e.code, &e.message), Vec::new()),
        }
    }

    /// True for the paths this side answers.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        matches!(
            path,
            "/fapi/v1/openOrders"
                | "/fapi/v1/allOrders"
                | "/fapi/v1/userTrades"
                | "/fapi/v2/account"
                | "/fapi/v1/listenKey"
                | "/fapi/v1/allOpenOrders"
                | "/fapi/v1/countdownCancelAll"
        )
    }

    fn http_done(&mut self, method: &str, path: &str, key: Option<&str>, signed: &str, now_ms: i64) -> Done {
        if path == "/fapi/v1/listenKey" {
            return self.listen_key(method, key);
        }
        let payload = signed.split("&signature=").next().unwrap_or_default();
        let parameters: Parameters = signed
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        self.check(key, payload, &parameters, now_ms)?;
        let decimals = (self.price_decimals, self.size_decimals);
        match (method, path) {
            ("GET", "/fapi/v1/openOrders") => {
                Ok((self.account.open_orders().map(|o| self.order_json(o)).collect(), Vec::new()))
            }
            ("GET", "/fapi/v1/allOrders") => {
                self.check_symbol(&parameters)?;
                Ok((self.account.orders().map(|o| self.order_json(o)).collect(), Vec::new()))
            }
            ("GET", "/fapi/v1/userTrades") => {
                let order = parameters.get("orderId").and_then(|id| id.parse::<u64>().ok());
                let told = self.account.trades().iter().filter(|t| {
                    Some(t.trade_id) != self.hidden_trade && order.is_none_or(|id| id == t.order_id)
                });
                let trades = told.map(|t| {
                    json!({
                        "symbol": self.symbol, "id": t.trade_id, "orderId": t.order_id, "side": t.side,
                        "price": text(t.price, decimals.0), "qty": text(t.size, decimals.1),
                        "commission": fine_text(i128::from(t.fee) * 100_000_000), "commissionAsset": "USDT",
                        "maker": t.maker, "buyer": t.side == OrderSide::Buy, "time": t.time_ms, "positionSide": "BOTH",
                    })
                });
                Ok((trades.collect(), Vec::new()))
            }
            ("GET", "/fapi/v2/account") => Ok((self.account_json(), Vec::new())),
            ("DELETE", "/fapi/v1/allOpenOrders") => {
                self.check_symbol(&parameters)?;
                let happenings = self.account.matching.cancel_all();
                self.book(&happenings, now_ms)?;
                Ok((
                    json!({"code": 200, "msg": "The operation of cancel all open order is done."}),
                    happenings,
                ))
            }
            ("POST", "/fapi/v1/countdownCancelAll") => self.countdown(&parameters, now_ms),
            _ => Err(error(405, -1, "no such operation")),
        }
    }

    /// Everything is cancelled so many milliseconds from now, unless it is asked for again; 0 ends that.
    fn countdown(&mut self, p: &Parameters, now_ms: i64) -> Done {
        self.check_symbol(p)?;
        let sent = p.get("countdownTime").map_or("", String::as_str);
        let ms = sent.parse::<i64>().ok().filter(|ms| (0..=86_400_000).contains(ms));
        let ms = ms.ok_or_else(|| error(400, -1102, "Mandatory parameter 'countdownTime' was malformed."))?;
        self.countdown_ends_ms = (ms > 0).then_some(now_ms + ms);
        Ok((json!({"symbol": self.symbol, "countdownTime": sent}), Vec::new()))
    }

    /// What a countdown that has ended has made happen.
    pub fn count_down(&mut self, now_ms: i64) -> Vec<Happening> {
        if self.countdown_ends_ms.is_none_or(|end| now_ms < end) {
            return Vec::new();
        }
        self.countdown_ends_ms = None;
        let happenings = self.account.matching.cancel_all();
        if self.book(&happenings, now_ms).is_ok() { happenings } else { Vec::new() }
    }

    fn listen_key(&mut self, method: &str, key: Option<&str>) -> Done {
        if key != Some(self.api_key.as_str()) {
            return Err(error(401, -2015, "Invalid API-key, IP, or permissions for action."));
        }
        match method {
            "POST" | "PUT" => {
                if self.listen_key.is_none() {
                    self.listen_keys += 1;
                    let mut mac = self.keyed.clone();
                    mac.update(format!("listen key {}", self.listen_keys).as_bytes());
                    let bytes = mac.finalize().into_bytes();
                    self.listen_key = Some(bytes.iter().map(|b| format!("{b:02x}")).collect());
                }
                Ok((json!({"listenKey": self.listen_key}), Vec::new()))
            }
            "DELETE" => {
                self.listen_key = None;
                Ok((json!({}), Vec::new()))
            }
            _ => Err(error(405, -1, "no such operation")),
        }
    }

    /// From now on orders have to keep to these rules.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// From now on this trade is told to nobody; the account keeps it.
    pub fn hide_trade(&mut self, trade_id: u64) {
        self.hidden_trade = Some(trade_id);
    }

    /// True for the key of the private stream.
    #[must_use]
    pub fn is_listen_key(&self, key: &str) -> bool {
        self.listen_key.as_deref() == Some(key)
    }

    fn account_json(&self) -> Value {
        let position = self.account.matching.position();
        let sign = if position < 0 { "-" } else { "" };
        json!({
            "assets": [{"asset": "USDT", "cashBalance": fine_text(self.account.cash())}],
            "positions": [{
                "symbol": self.symbol, "positionSide": "BOTH",
                "positionAmt": format!("{sign}{}", text(position.abs(), self.size_decimals)),
            }],
        })
    }

    fn order_json(&self, o: &OrderInfo) -> Value {
        json!({
            "orderId": o.order_id, "symbol": self.symbol, "status": o.status, "clientOrderId": o.placement.client_id,
            "price": text(o.placement.price, self.price_decimals), "origQty": text(o.placement.size, self.size_decimals),
            "executedQty": text(o.filled, self.size_decimals), "timeInForce": o.placement.tif, "type": "LIMIT",
            "reduceOnly": o.placement.reduce_only, "side": o.placement.side, "positionSide": "BOTH", "updateTime": o.time_ms,
        })
    }

    /// The private stream's event for a happening.
    #[must_use]
    pub fn event(&self, happening: &Happening, now_ms: i64) -> Option<String> {
        let (order_id, execution) = match happening {
            Happening::Accepted { order_id, .. } => (order_id, "NEW"),
            Happening::Filled { order_id, .. } => (order_id, "TRADE"),
            Happening::Canceled { order_id } => (order_id, "CANCELED"),
            Happening::Expired { order_id } => (order_id, "EXPIRED"),
        };
        let order = self.account.order(*order_id)?;
        let (price, size) = (|u| text(u, self.price_decimals), |u| text(u, self.size_decimals));
        let mut o = json!({
            "s": self.symbol, "c": order.placement.client_id, "S": order.placement.side, "o": "LIMIT",
            "f": order.placement.tif, "q": size(order.placement.size), "p": price(order.placement.price), "ap": "0",
            "sp": "0", "x": execution, "X": order.status, "i": order.order_id, "l": "0", "z": size(order.filled),
            "L": "0", "n": "0", "N": "USDT", "T": now_ms, "t": 0, "b": "0", "a": "0", "m": false,
            "R": order.placement.reduce_only, "wt": "CONTRACT_PRICE", "ot": "LIMIT", "ps": "BOTH", "cp": false,
            "rp": "0", "pP": false, "si": 0, "ss": 0, "V": "NONE",
        });
        match happening {
            Happening::Filled { trade_id, price: at, size: last, total, fee, maker, .. } => {
                // As it was at this fill: later ones may be in the account already.
                o["X"] = if *total == order.placement.size { "FILLED" } else { "PARTIALLY_FILLED" }.into();
                o["z"] = size(*total).into();
                o["l"] = size(*last).into();
                o["L"] = price(*at).into();
                o["n"] = fine_text(i128::from(*fee) * 100_000_000).into();
                o["t"] = (*trade_id).into();
                o["m"] = (*maker).into();
            }
            Happening::Accepted { .. } => {
                o["X"] = "NEW".into();
                o["z"] = size(0).into();
            }
            _ => {}
        }
        Some(json!({"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": o}).to_string())
    }
}

/// 1e-16 as a decimal of eight places, cut off.
fn fine_text(value: i128) -> String {
    let units = (value.abs() / 100_000_000).min(i128::from(i64::MAX)) as i64;
    format!("{}{}", if value < 0 { "-" } else { "" }, text(units, 8))
}

#[cfg(test)]
mod tests;
