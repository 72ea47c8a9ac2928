//! What a shadow answers: positions, orders, books, decisions, and which state an engine would start from. Reading costs the
//! engine nothing: it is the replica that is asked.

use std::sync::mpsc::{Receiver, Sender, channel as mpsc};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kimera_ledger::Ledger;
use kimera_market::Market;
use kimera_protocol::{InstrumentId, OrderRecord, Side};
use serde_json::{Value, json};

use super::Shadow;
use crate::control::RpcError;
use crate::control::server::Handler;
use crate::line::{LEDGER, MARKET};
use crate::snapshot::Snapshot;
use crate::verbs::message_json;

/// Methods of the shadow's socket.
pub const METHODS: [&str; 7] =
    ["hello", "shadow.status", "positions", "orders", "books", "decisions", "restart.state"];
/// Longest wait for the loop to answer: it may be computing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Levels of a book on each side, where it is not said how many.
const LEVELS: u64 = 10;
const LEVELS_MAX: u64 = 1_000;

struct Ask {
    method: String,
    params: Value,
    answer: Sender<Result<Value, RpcError>>,
}

/// The loop's end.
pub struct Asks(Receiver<Ask>);

/// The socket's end.
pub struct ShadowHandler(Mutex<Sender<Ask>>);

/// Both ends.
#[must_use]
pub fn channel() -> (Asks, ShadowHandler) {
    let (sender, receiver) = mpsc();
    (Asks(receiver), ShadowHandler(Mutex::new(sender)))
}

impl Handler for ShadowHandler {
    fn name(&self) -> &'static str {
        "shadow"
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        if !METHODS.contains(&method) {
            return Err(RpcError::no_method(method, &METHODS));
        }
        let (answer, receiver) = mpsc();
        let ask = Ask { method: method.to_owned(), params: params.clone(), answer };
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(ask).map_err(|_| RpcError::refused("the shadow is ending"))?;
        drop(sender);
        let late = |_| Err(RpcError::refused("the shadow is busy; ask again"));
        receiver.recv_timeout(PATIENCE).unwrap_or_else(late)
    }
}

impl Asks {
    /// Answers everybody who waits.
    pub(super) fn serve(&self, shadow: &Shadow) {
        while let Ok(ask) = self.0.try_recv() {
            let _ = ask.answer.send(shadow.answer(&ask.method, &ask.params));
        }
    }
}

impl Shadow {
    fn answer(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let mut answer = match method {
            "shadow.status" => json!(self.status()),
            "positions" => self.positions()?,
            "orders" => self.orders(params)?,
            "books" => self.books(params)?,
            "decisions" => self.recent_decisions(params),
            _ => self.restart_state(),
        };
        // As of which input, and how far that is behind.
        answer["as_of"] = json!({"seq": self.follower.reached(), "journal_seq": self.follower.read_to()});
        Ok(answer)
    }

    fn config(&self) -> &crate::config::Config {
        self.follower.config()
    }

    fn replica(&self) -> Result<&crate::replica::Replica, RpcError> {
        self.follower.replica().ok_or_else(|| RpcError::refused("the replica has fallen on an input"))
    }

    fn positions(&self) -> Result<Value, RpcError> {
        let ledger: Option<&Ledger> = self.replica()?.actor(LEDGER);
        let books = ledger.ok_or_else(|| RpcError::refused("there is no ledger"))?.books();
        let of = |(i, section): (usize, &crate::config::InstrumentSection)| {
            let book = books.instrument(i as u16)?;
            Some(json!({
                "instrument": section.feed, "symbol": section.symbol,
                "position": book.position.to_string(), "cost": book.cost.to_string(),
                "realised": book.realised.to_string(), "fees": book.fees.to_string(), "fills": book.fills,
            }))
        };
        let positions: Vec<Value> = self.config().instruments.iter().enumerate().filter_map(of).collect();
        Ok(json!({
            "positions": positions, "cash": books.cash().to_string(),
            "realised": books.realised().to_string(), "fees": books.fees().to_string(),
            "balanced": books.balanced(),
        }))
    }

    fn orders(&self, params: &Value) -> Result<Value, RpcError> {
        let all = params["all"].as_bool().unwrap_or(false);
        let table = self.replica()?.orders();
        let shown = table.iter().filter(|(_, record)| all || record.state.is_working());
        let orders: Vec<Value> = shown.map(|(instrument, record)| self.order(instrument, record)).collect();
        Ok(json!({"working": table.working(), "orders": orders}))
    }

    fn order(&self, instrument: InstrumentId, record: &OrderRecord) -> Value {
        let order = &record.order;
        let name = self.config().instruments.get(usize::from(instrument.0)).map(|s| s.feed.as_str());
        json!({
            "id": order.id.to_text().as_str(), "instrument": name,
            "side": if order.side == 0 { "buy" } else { "sell" }, "price_ticks": order.price.0,
            "quantity": order.quantity.to_string(), "filled": kimera_protocol::Quantity(record.filled()).to_string(),
            "state": format!("{:?}", record.state).to_lowercase(),
        })
    }

    fn books(&self, params: &Value) -> Result<Value, RpcError> {
        let levels = params["levels"].as_u64().unwrap_or(LEVELS).min(LEVELS_MAX) as usize;
        let wanted = params["instrument"].as_str();
        let market: Option<&Market> = self.replica()?.actor(MARKET);
        let market = market.ok_or_else(|| RpcError::refused("there is no market stage"))?;
        let mut books = Vec::new();
        for (i, section) in self.config().instruments.iter().enumerate() {
            if wanted.is_some_and(|name| name != section.feed) {
                continue;
            }
            let Some(book) = market.book(InstrumentId(i as u16)) else { continue };
            let side = |side: Side| {
                let of = book.side(side).levels().take(levels);
                of.map(|l| json!([l.price.0, l.size.to_string()])).collect::<Vec<_>>()
            };
            books.push(json!({
                "instrument": section.feed, "status": format!("{:?}", book.state().status()).to_lowercase(),
                "tick": section.tick, "update_id": book.update_id(), "venue_time": book.venue_time(),
                "bids": side(Side::Bid), "asks": side(Side::Ask),
            }));
        }
        if let Some(name) = wanted.filter(|_| books.is_empty()) {
            return Err(RpcError::parameters(format!("there is no instrument \"{name}\"")));
        }
        Ok(json!({"books": books}))
    }

    fn recent_decisions(&self, params: &Value) -> Value {
        let last = params["last"].as_u64().unwrap_or(20) as usize;
        let decisions = self.follower.decisions();
        let shown = decisions.iter().skip(decisions.len().saturating_sub(last));
        json!({"decisions": shown.map(message_json).collect::<Vec<_>>()})
    }

    /// What an engine that starts now would begin with.
    fn restart_state(&self) -> Value {
        let folder = self.layout.snapshots();
        let newest = Snapshot::all(&folder).first().and_then(|seq| Snapshot::manifest(&folder, *seq).ok());
        json!({"snapshot": newest, "folder": folder.display().to_string()})
    }
}
