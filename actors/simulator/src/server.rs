//! The venue's loop: plays what is due, reads what has come, answers, flushes. One thread, so that everything it does
//! has one order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kimera_runtime::MarketClock;
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::net::stream::Listener;
use serde::{Deserialize, Serialize};
use tungstenite::Utf8Bytes;

use crate::account::Account;
use crate::api::OrderApi;
use crate::connection::{Channel, Connection, Request};
use crate::kept_clock::KeptClock;
use crate::market::{Answer, Market, Outcome};
use crate::matching::{Fees, Matching};
use crate::tape::Tape;

/// Clients at a time.
const CONNECTIONS_MAX: usize = 256;
/// Frames played before sockets are looked at again.
const FRAMES_PER_TURN: usize = 256;

/// How the venue runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address of each market's port, in the tape's order; port 0 lets the system choose.
    pub bind: Vec<SocketAddr>,
    /// Market nanoseconds per nanosecond, 1 to 100.
    pub speed: u32,
    /// Key and secret of the account; without them no orders are taken.
    pub credentials: Option<(String, Vec<u8>)>,
    /// File of the account; in memory only where none.
    pub account: Option<PathBuf>,
    /// File of the clock: a venue that was killed goes on where it would have been by now. None begins anew.
    pub clock: Option<PathBuf>,
    /// The fill, counted from 1, that is told to nobody, neither on the private stream nor among the trades: a venue
    /// that loses one.
    pub drop_fill: Option<u64>,
}

/// Where the venue listens.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Endpoints {
    /// Market name and address.
    pub markets: Vec<(String, SocketAddr)>,
}

/// What `/kimera/v1/clock` says: the handshake by which venue and engine share one clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ClockState {
    /// The clock; its start is `u64::MAX` before it is started.
    pub clock: MarketClock,
    /// True once started.
    pub running: bool,
    /// Market time at which the tape ends.
    pub end: i64,
    /// True once every frame is played.
    pub ended: bool,
}

/// What a venue may do to its clients, each for so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mischief {
    /// Order requests refused for no reason of theirs.
    pub refuse: u32,
    /// Order requests that are done and never answered.
    pub unanswered: u32,
    /// Order requests that are not done and answered with "execution status unknown".
    pub unknown: u32,
    /// Private events that are told twice.
    pub twice: u32,
}

/// The venue.
pub struct Server {
    listeners: Vec<Listener>,
    markets: Vec<Market>,
    connections: Vec<Connection>,
    clock: MarketClock,
    end: i64,
    drop_fill: Option<u64>,
    fills_told: u64,
    config: ServerConfig,
    /// What it does to its clients from now on.
    pub mischief: Mischief,
}

impl Server {
    /// Binds every market's port.
    ///
    /// # Errors
    /// Where a port cannot be had; the text names it.
    pub fn bind(tape: Tape, config: &ServerConfig) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in config.bind.iter().take(tape.recordings.len()) {
            let listener = Listener::bind(*address)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
            listeners.push(listener);
        }
        let mut clock =
            MarketClock { origin: tape.start, start: u64::MAX, speed: config.speed.clamp(1, 100) };
        let end = tape.end;
        let mut markets: Vec<_> = tape.recordings.into_iter().map(Market::new).collect();
        if let Some(market) = markets.iter().find(|market| market.rules().is_none()) {
            let text =
                format!("{}: the tape's rules are no decimals, or a step is not positive", market.name());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if let Some(kept) = config.clock.as_deref().map(KeptClock::load).transpose()?.flatten() {
            clock = kept.clock;
            let now = clock.now();
            // What would have been played by now; orders that stood did not see it.
            markets.iter_mut().for_each(|market| while market.play(now, |_, _, _| {}) {});
        }
        if let Some((key, secret)) = &config.credentials {
            for market in &mut markets {
                open_orders(market, key, secret, config.account.as_deref())?;
            }
        }
        Ok(Self {
            listeners,
            markets,
            connections: Vec::new(),
            clock,
            end,
            drop_fill: config.drop_fill,
            fills_told: 0,
            config: config.clone(),
            mischief: Mischief::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn endpoints(&self) -> io::Result<Endpoints> {
        let markets = self.markets.iter().zip(&self.listeners);
        let markets =
            markets.map(|(m, l)| Ok((m.name().to_owned(), l.local_addr()?))).collect::<io::Result<_>>()?;
        Ok(Endpoints { markets })
    }

    /// Runs until `stop`.
    pub fn run(&mut self, stop: &AtomicBool) {
        let mut idle = 0u32;
        while !stop.load(Ordering::Acquire) && self.failed().is_none() {
            if self.turn() {
                idle = 0;
                continue;
            }
            idle = idle.saturating_add(1);
            if idle < 64 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// The venue was killed and came back: every connection is gone, the account is what its file holds, time and
    /// market data go on.
    ///
    /// # Errors
    /// Where the account's file cannot be read.
    pub fn come_back(&mut self) -> io::Result<()> {
        self.connections.clear();
        if let Some((key, secret)) = &self.config.credentials {
            for market in &mut self.markets {
                open_orders(market, key, secret, self.config.account.as_deref())?;
            }
        }
        Ok(())
    }

    /// The account, as the venue itself has it; none where it takes no orders.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.markets.iter().find_map(Market::orders).map(|orders| &orders.account)
    }

    /// Market time now.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Why it has stopped by itself, if it has.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.markets.iter().find_map(Market::failed)
    }

    /// One turn of the loop; true where something was done.
    pub fn turn(&mut self) -> bool {
        let mut worked = self.accept();
        worked |= self.play();
        for index in 0..self.connections.len() {
            worked |= self.serve(index);
        }
        self.tell();
        for connection in &mut self.connections {
            connection.flush();
        }
        self.connections.retain(|c| !c.is_gone());
        worked
    }

    fn accept(&mut self) -> bool {
        let mut worked = false;
        for (market, listener) in self.listeners.iter().enumerate() {
            while let Some(stream) = listener.accept() {
                worked = true;
                if self.connections.len() < CONNECTIONS_MAX {
                    self.connections.push(Connection::new(stream, market));
                }
            }
        }
        worked
    }

    /// Plays the frames that are due, the markets merged by time.
    fn play(&mut self) -> bool {
        if self.clock.start == u64::MAX {
            return false;
        }
        let now = self.clock.now();
        for played in 0..FRAMES_PER_TURN {
            let due =
                self.markets.iter().enumerate().filter_map(|(i, m)| m.next_time().map(|t| (t, i))).min();
            let Some((_, market)) = due.filter(|(time, _)| *time <= now) else { return played > 0 };
            let connections = &mut self.connections;
            self.markets[market].play(now, |stream, text, event| {
                for connection in connections.iter_mut() {
                    if connection.market == market && connection.streams.contains(&stream) {
                        connection.send(if connection.raw { event.clone() } else { text.clone() });
                    }
                }
            });
        }
        true
    }

    /// Sends what became of our orders to whoever listens.
    fn tell(&mut self) {
        let now_ms = self.clock.now() / 1_000_000;
        for (index, market) in self.markets.iter_mut().enumerate() {
            for event in market.take_events(now_ms) {
                if event.contains("\"x\":\"TRADE\"") {
                    self.fills_told += 1;
                    if self.drop_fill == Some(self.fills_told) {
                        market.hide_trade_of(&event);
                        continue;
                    }
                }
                let times = if self.mischief.twice > 0 { 2 } else { 1 };
                self.mischief.twice = self.mischief.twice.saturating_sub(1);
                for connection in &mut self.connections {
                    if connection.market == index && connection.channel == Channel::Private {
                        (0..times).for_each(|_| connection.send(Utf8Bytes::from(event.clone())));
                    }
                }
            }
        }
    }

    fn serve(&mut self, index: usize) -> bool {
        let market = self.connections[index].market;
        if self.connections[index].waits_for_snapshot {
            let Some(snapshot) = self.markets[market].recorded_snapshot() else { return false };
            let answer = Answer::ok(snapshot.as_str());
            let connection = &mut self.connections[index];
            connection.waits_for_snapshot = false;
            connection.answer(&answer, true);
            return true;
        }
        if self.connections[index].is_websocket() {
            let mut worked = false;
            while let Some(text) = self.connections[index].next_text() {
                let answer = match self.connections[index].channel {
                    Channel::Streams => {
                        subscribe(&mut self.connections[index], &self.markets[market], text.as_str())
                    }
                    Channel::Orders => match self.order_frame(market, text.as_str()) {
                        Some(answer) => answer,
                        None => continue,
                    },
                    Channel::Private => continue, // it only listens
                };
                self.connections[index].send(Utf8Bytes::from(answer));
                worked = true;
            }
            return worked;
        }
        let Some(request) = self.connections[index].next_request() else { return false };
        self.request(index, &request);
        true
    }

    fn request(&mut self, index: usize, request: &Request) {
        let market = self.connections[index].market;
        if let Some(key) = &request.upgrade_key {
            if let Some(channel) = order_channel(&self.markets[market], &request.path) {
                let connection = &mut self.connections[index];
                connection.channel = channel;
                connection.upgrade(key);
                return;
            }
            match streams_of(&self.markets[market], &request.path, &request.query) {
                Ok((streams, raw)) => {
                    let connection = &mut self.connections[index];
                    (connection.streams, connection.raw) = (streams, raw);
                    connection.upgrade(key);
                }
                Err(answer) => self.connections[index].answer(&answer, true),
            }
            return;
        }
        let outcome = if request.path.starts_with("/kimera/v1/clock") {
            Outcome::Now(self.clock_request(request))
        } else if request.path == "/kimera/v1/rules" {
            Outcome::Now(self.rules_request(market, request))
        } else if let Some(answer) = self.order_request(market, request) {
            Outcome::Now(answer)
        } else {
            self.markets[market].request(&request.method, &request.path, &request.query, self.clock.now())
        };
        match outcome {
            Outcome::Now(answer) => self.connections[index].answer(&answer, request.close),
            Outcome::WhenSnapshot => self.connections[index].waits_for_snapshot = true,
        }
    }

    /// An order request and its answer, if it gets one.
    fn order_frame(&mut self, market: usize, text: &str) -> Option<String> {
        let refusal = |status: u16, code: i32, reason: &str| {
            let id = serde_json::from_str::<serde_json::Value>(text).ok().map(|v| v["id"].clone());
            let error = serde_json::json!({"code": code, "msg": reason});
            serde_json::json!({"id": id, "status": status, "error": error, "rateLimits": []}).to_string()
        };
        let placing = text.contains("order.place");
        if placing && self.mischief.refuse > 0 {
            self.mischief.refuse -= 1;
            return Some(refusal(400, -2019, "Margin is insufficient."));
        }
        if placing && self.mischief.unknown > 0 {
            self.mischief.unknown -= 1;
            return Some(refusal(503, -1006, "Execution status unknown."));
        }
        let answer = self.markets[market].order_frame(text, self.clock.now() / 1_000_000);
        if self.mischief.unanswered > 0 {
            self.mischief.unanswered -= 1;
            return None;
        }
        Some(answer)
    }

    fn order_request(&mut self, market: usize, request: &Request) -> Option<Answer> {
        // What is signed is the query and the body, with nothing between them.
        let signed = format!("{}{}", request.query, String::from_utf8_lossy(&request.body));
        let now_ms = self.clock.now() / 1_000_000;
        self.markets[market].order_request(
            &request.method,
            &request.path,
            request.api_key.as_deref(),
            &signed,
            now_ms,
        )
    }

    /// `POST /kimera/v1/rules?tick=0.50&lot=0.002&min_notional=5&status=BREAK`: what the market demands of orders from now on.
    fn rules_request(&mut self, market: usize, request: &Request) -> Answer {
        if request.method != "POST" {
            return Answer::error(405, -1, "POST changes the rules; exchangeInfo says them");
        }
        match self.markets[market].change_rules(&request.query) {
            Ok(()) => Answer::ok("{}"),
            Err(wrong) => Answer::error(400, -1102, &wrong),
        }
    }

    /// A market demands something else of orders from now on: see [`crate::rules::Rules::changed`].
    ///
    /// # Errors
    /// Where there is no such market, or what is said is no rule.
    pub fn change_rules(&mut self, market: &str, query: &str) -> Result<(), String> {
        let market = self.markets.iter_mut().find(|m| m.name() == market);
        market.ok_or("no such market")?.change_rules(query)
    }

    /// `GET /kimera/v1/clock`; `POST /kimera/v1/clock/start?delay_ms=N` starts it once and says what holds.
    fn clock_request(&mut self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/kimera/v1/clock") => {}
            ("POST", "/kimera/v1/clock/start") => {
                let delay = request.query.strip_prefix("delay_ms=").and_then(|v| v.parse::<u64>().ok());
                let Some(delay) = delay.filter(|ms| *ms <= 60_000) else {
                    return Answer::error(400, -1102, "delay_ms must be 0 to 60000");
                };
                if self.clock.start == u64::MAX {
                    let clock = MarketClock { start: monotonic_ns() + delay * 1_000_000, ..self.clock };
                    if let Some(path) = &self.config.clock
                        && let Err(e) = KeptClock::keep(clock, path)
                    {
                        return Answer::error(503, -1, &format!("the clock cannot be kept: {e}"));
                    }
                    self.clock = clock;
                }
            }
            _ => return Answer::error(404, -1, "no such path"),
        }
        let state = ClockState {
            clock: self.clock,
            running: self.clock.start != u64::MAX,
            end: self.end,
            ended: self.markets.iter().all(|m| m.next_time().is_none()),
        };
        serde_json::to_string(&state).map_or_else(|_| Answer::error(500, -1, "cannot encode"), Answer::ok)
    }
}

/// Gives a market its order side, where its profile has rules for orders.
fn open_orders(market: &mut Market, key: &str, secret: &[u8], file: Option<&Path>) -> io::Result<()> {
    let profile = market.profile().clone();
    let Some(trading) = &profile.trading else { return Ok(()) };
    let broken = || {
        let text = format!("{}: balance or rules are no decimals", profile.market);
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let rules = market.rules().cloned().ok_or_else(broken)?;
    let balance = crate::book::units(&trading.balance).ok_or_else(broken)?;
    let account = Account::open(file, balance, Matching::new(Fees::default()), market.book())?;
    let orders = OrderApi::new(&profile, rules, key, secret, account).ok_or_else(broken)?;
    market.serve_orders(orders);
    Ok(())
}

/// The channel a path opens, where it is none of public data.
fn order_channel(market: &Market, path: &str) -> Option<Channel> {
    let orders = market.orders()?;
    if path == "/ws-fapi/v1" {
        return Some(Channel::Orders);
    }
    let key = path.strip_prefix("/private").unwrap_or(path).strip_prefix("/ws/")?;
    orders.is_listen_key(key).then_some(Channel::Private)
}

/// Streams a path asks for, and whether bare events are wanted.
fn streams_of(market: &Market, path: &str, query: &str) -> Result<(Vec<usize>, bool), Answer> {
    let unknown = |name: &str| Answer::error(400, -1, &format!("unknown stream \"{name}\""));
    let find = |names: &str| {
        names
            .split('/')
            .map(|n| market.stream(n).ok_or_else(|| unknown(n)))
            .collect::<Result<Vec<_>, Answer>>()
    };
    // USD-M routes by category in front of the path; older clients use the bare one.
    let path = ["/public", "/market"].iter().find_map(|p| path.strip_prefix(p)).unwrap_or(path);
    match path {
        "/stream" => match query.strip_prefix("streams=") {
            Some(names) => Ok((find(names)?, false)),
            None => Ok((Vec::new(), false)),
        },
        "/ws" => Ok((Vec::new(), true)),
        _ => match path.strip_prefix("/ws/") {
            Some(names) => Ok((find(names)?, true)),
            None => Err(Answer::error(404, -1, "no such path")),
        },
    }
}

/// `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`.
fn subscribe(connection: &mut Connection, market: &Market, text: &str) -> String {
    let error =
        |code: i32, message: &str| serde_json::json!({"error": {"code": code, "msg": message}}).to_string();
    let Ok(request) = serde_json::from_str::<serde_json::Value>(text) else {
        return error(3, "Invalid JSON");
    };
    let names: Vec<&str> =
        request["params"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
    let known: Option<Vec<usize>> = names.iter().map(|n| market.stream(n)).collect();
    let Some(known) = known else { return error(2, "Invalid request: unknown stream") };
    let result = match request["method"].as_str() {
        Some("SUBSCRIBE") => {
            connection
                .streams
                .extend(known.into_iter().filter(|s| !connection.streams.contains(s)).collect::<Vec<_>>());
            serde_json::Value::Null
        }
        Some("UNSUBSCRIBE") => {
            connection.streams.retain(|s| !known.contains(s));
            serde_json::Value::Null
        }
        Some("LIST_SUBSCRIPTIONS") => connection.streams.iter().map(|&s| market.stream_name(s)).collect(),
        _ => return error(2, "Invalid request: unknown method"),
    };
    serde_json::json!({"result": result, "id": request["id"]}).to_string()
}
