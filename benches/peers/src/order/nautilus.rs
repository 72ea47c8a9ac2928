//! The public pieces of `nautilus-binance`, put together as its own handlers put them together: the stream's handler up to
//! the quote, the execution client's parameters, the trading handler's signature and text. What it does with channels, sockets,
//! caches and logs is left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nautilus_binance::common::consts::BINANCE_NAUTILUS_FUTURES_BROKER_ID;
use nautilus_binance::common::credential::SigningCredential;
use nautilus_binance::common::encoder::encode_broker_id;
use nautilus_binance::common::enums::{
    BinanceFuturesOrderType, BinanceSide, BinanceTimeInForce, BinanceWsEventType,
};
use nautilus_binance::common::symbol::format_binance_symbol;
use nautilus_binance::futures::http::query::BinanceNewOrderParams;
use nautilus_binance::futures::websocket::streams::messages::BinanceFuturesBookTickerMsg;
use nautilus_binance::futures::websocket::streams::parse_data::{extract_event_type, parse_book_ticker};
use nautilus_binance::futures::websocket::trading::messages::{BinanceFuturesWsTradingRequest, method};
use nautilus_model::data::QuoteTick;
use nautilus_model::enums::OrderSide;
use nautilus_model::identifiers::{ClientOrderId, InstrumentId, Symbol};
use nautilus_model::instruments::{CryptoPerpetual, InstrumentAny};
use nautilus_model::types::{Currency, Price, Quantity};
use serde_json::{Value, json};

use super::{KEY, SECRET, SIZE, Writer};

/// What its socket says where a connection came back; every frame is held against it.
const RECONNECTED: &str = "__RECONNECTED__";
/// Identities of orders that are ready: making one interns it, which is no part of the way to the wire.
const IDENTITIES: usize = 1_024;

/// Event in, order at the bid out.
pub struct Nautilus {
    instrument: InstrumentAny,
    instrument_id: InstrumentId,
    credential: SigningCredential,
    quantity: Quantity,
    identities: Vec<ClientOrderId>,
    requests: AtomicU64,
    text: String,
}

impl Nautilus {
    /// For the market that is traded.
    ///
    /// # Errors
    /// The credential is of another kind than an HMAC secret.
    pub fn new() -> Result<Self> {
        let instrument_id = InstrumentId::from("BTCUSDT-PERP.BINANCE");
        let usdt = Currency::USDT();
        let (price, size) = (Price::from("0.1"), Quantity::from("0.001"));
        let perpetual = CryptoPerpetual::new(
            instrument_id,
            Symbol::from("BTCUSDT"),
            Currency::BTC(),
            usdt,
            usdt,
            false,
            price.precision,
            size.precision,
            price,
            size,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            0.into(),
            0.into(),
        );
        let credential = SigningCredential::new(KEY.to_owned(), SECRET.to_owned());
        if credential.is_ed25519() {
            bail!("the secret was taken for an Ed25519 key");
        }
        let identity = |i| ClientOrderId::from(format!("O-20240808-235414-001-001-{i}").as_str());
        Ok(Self {
            instrument: InstrumentAny::CryptoPerpetual(perpetual),
            instrument_id,
            credential,
            quantity: Quantity::new(SIZE as f64 / 1e8, size.precision),
            identities: (1..=IDENTITIES).map(identity).collect(),
            requests: AtomicU64::new(1),
            text: String::new(),
        })
    }

    /// `BinanceFuturesDataWsFeedHandler::handle_raw_message` and what the data client makes of a best price.
    fn quote(&self, raw: &[u8]) -> Option<QuoteTick> {
        if let Ok(text) = std::str::from_utf8(raw)
            && text == RECONNECTED
        {
            return None;
        }
        let json: Value = serde_json::from_slice(raw).ok()?;
        if json.get("result").is_some() || json.get("id").is_some() {
            return None;
        }
        if let Some(code) = json.get("code")
            && code.as_i64().is_some()
        {
            return None;
        }
        match extract_event_type(&json)? {
            BinanceWsEventType::BookTicker => {
                let message = serde_json::from_value::<BinanceFuturesBookTickerMsg>(json.clone()).ok()?;
                parse_book_ticker(&message, &self.instrument, 0.into()).ok()
            }
            _ => None,
        }
    }

    /// `BinanceFuturesExecutionClient::submit_order_internal` on its way to the trading socket.
    fn parameters(&self, index: usize, price: Price) -> Result<BinanceNewOrderParams> {
        let identity = &self.identities[index % IDENTITIES];
        Ok(BinanceNewOrderParams {
            symbol: format_binance_symbol(&self.instrument_id),
            side: BinanceSide::try_from(OrderSide::Buy)?,
            order_type: BinanceFuturesOrderType::Limit,
            time_in_force: Some(BinanceTimeInForce::Gtx),
            quantity: Some(self.quantity.to_string()),
            price: Some(price.to_string()),
            new_client_order_id: Some(encode_broker_id(identity, BINANCE_NAUTILUS_FUTURES_BROKER_ID)),
            stop_price: None,
            reduce_only: None,
            position_side: None,
            close_position: None,
            activation_price: None,
            callback_rate: None,
            working_type: None,
            price_protect: None,
            new_order_resp_type: None,
            good_till_date: None,
            recv_window: None,
            price_match: None,
            self_trade_prevention_mode: None,
        })
    }

    /// `BinanceFuturesWsTradingHandler::handle_place_order`, `sign_params` and `send_request` up to the socket.
    fn request(&self, parameters: &BinanceNewOrderParams) -> Result<String> {
        let id = format!("req-{}", self.requests.fetch_add(1, Ordering::Relaxed));
        let mut parameters = serde_json::to_value(parameters)?;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        if let Some(object) = parameters.as_object_mut() {
            object.insert("timestamp".to_string(), json!(timestamp));
            object.insert("apiKey".to_string(), json!(self.credential.api_key()));
        }
        let query = serde_urlencoded::to_string(&parameters)?;
        let signature = self.credential.sign(&query);
        if let Some(object) = parameters.as_object_mut() {
            object.insert("signature".to_string(), json!(signature));
        }
        let request = BinanceFuturesWsTradingRequest::new(&id, method::ORDER_PLACE, parameters);
        Ok(serde_json::to_string(&request)?)
    }
}

impl Writer for Nautilus {
    #[inline]
    fn order(&mut self, index: usize, frame: &[u8]) -> Result<&[u8]> {
        let quote = self.quote(frame).context("no best price")?;
        let parameters = self.parameters(index, quote.bid_price)?;
        self.text = self.request(&parameters)?;
        Ok(self.text.as_bytes())
    }
}
