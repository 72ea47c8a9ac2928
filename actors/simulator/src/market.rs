//! One market of the venue: plays its recording and answers requests about it.

use tungstenite::Utf8Bytes;

use crate::api::OrderApi;
use crate::book::{Delta, VenueBook, units};
use crate::matching::{Happening, OrderSide};
use crate::rules::Rules;
use crate::tape::Recording;

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// JSON.
    pub body: String,
}

impl Answer {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into() }
    }

    /// An error in the venue's form.
    #[must_use]
    pub fn error(status: u16, code: i32, message: &str) -> Self {
        Self { status, body: serde_json::json!({"code": code, "msg": message}).to_string() }
    }
}

/// What a request came to.
pub enum Outcome {
    /// An answer now.
    Now(Answer),
    /// An answer once the recorded snapshot has been played.
    WhenSnapshot,
}

/// The market.
pub struct Market {
    recording: Recording,
    next: usize,
    book: VenueBook,
    waiting: Vec<Delta>,
    snapshot: Option<Utf8Bytes>,
    /// What it demands of orders; none where the tape's are no rules.
    rules: Option<Rules>,
    orders: Option<OrderApi>,
    happenings: Vec<Happening>,
    failed: Option<String>,
}

/// A recorded trade, as far as matching looks at it.
#[derive(serde::Deserialize)]
struct TradeEvent {
    p: String,
    q: String,
    m: bool,
}

impl Market {
    /// A market at the start of its recording.
    #[must_use]
    pub fn new(recording: Recording) -> Self {
        Self {
            rules: Rules::of(&recording.profile),
            recording,
            next: 0,
            book: VenueBook::default(),
            waiting: Vec::new(),
            snapshot: None,
            orders: None,
            happenings: Vec::new(),
            failed: None,
        }
    }

    /// `spot` or `usdm`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.recording.profile.market
    }

    /// Market time of the next frame.
    #[must_use]
    pub fn next_time(&self) -> Option<i64> {
        self.recording.frames.get(self.next).map(|f| f.time)
    }

    /// Index of a stream by its name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<usize> {
        self.recording.streams.iter().position(|s| s == name)
    }

    /// Name of a stream.
    #[must_use]
    pub fn stream_name(&self, index: usize) -> &str {
        self.recording.streams.get(index).map_or("", String::as_str)
    }

    /// Plays the next frame due by `now`: the venue's book takes it, `deliver` sends it.
    pub fn play(&mut self, now: i64, mut deliver: impl FnMut(usize, &Utf8Bytes, &Utf8Bytes)) -> bool {
        let Some(frame) = self.recording.frames.get(self.next).filter(|f| f.time <= now) else {
            return false;
        };
        self.next += 1;
        match frame.stream {
            Some(stream) => {
                let event = frame.event.clone();
                deliver(stream, &frame.text, &event);
                self.matched(stream, event.as_str(), now);
            }
            None => {
                self.book.snapshot(frame.text.as_str(), &mut self.waiting);
                self.snapshot = Some(frame.text.clone());
            }
        }
        true
    }

    /// The venue's own book and our orders take an event.
    fn matched(&mut self, stream: usize, event: &str, now: i64) {
        let name = &self.recording.streams[stream];
        let mut happenings = Vec::new();
        if name.contains("@depth") {
            let Ok(delta) = serde_json::from_str::<Delta>(event) else { return };
            if !self.book.known() {
                self.waiting.push(delta);
                return;
            }
            self.book.delta(&delta);
            if let Some(orders) = &mut self.orders {
                happenings = orders.account.matching.book_changed(&self.book);
            }
        } else if name.contains("@trade")
            && let Some(orders) = &mut self.orders
            && let Ok(trade) = serde_json::from_str::<TradeEvent>(event)
            && let (Some(price), Some(size)) = (units(&trade.p), units(&trade.q))
        {
            let taker = if trade.m { OrderSide::Sell } else { OrderSide::Buy };
            happenings = orders.account.matching.traded(taker, price, size);
        }
        self.book_happenings(happenings, now / 1_000_000);
    }

    /// On disk first; then they may be told.
    fn book_happenings(&mut self, happenings: Vec<Happening>, now_ms: i64) {
        let Some(orders) = self.orders.as_mut().filter(|_| !happenings.is_empty()) else { return };
        match orders.account.book(&happenings, now_ms) {
            Ok(()) => self.happenings.extend(happenings),
            Err(e) => self.failed = Some(format!("the account cannot be written: {e}")),
        }
    }

    /// The trade of a private event is told to nobody from now on.
    pub fn hide_trade_of(&mut self, event: &str) {
        let trade = serde_json::from_str::<serde_json::Value>(event).ok().and_then(|e| e["o"]["t"].as_u64());
        if let (Some(orders), Some(trade)) = (&mut self.orders, trade) {
            orders.hide_trade(trade);
        }
    }

    /// Takes orders from now on.
    pub fn serve_orders(&mut self, orders: OrderApi) {
        self.orders = Some(orders);
    }

    /// What it demands of orders; none where the tape's are no rules.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Demands from now on what a query changes: see [`Rules::changed`].
    ///
    /// # Errors
    /// What it says that is no rule.
    pub fn change_rules(&mut self, query: &str) -> Result<(), String> {
        let rules = self.rules.as_ref().ok_or("this market has no rules")?.changed(query)?;
        if let Some(orders) = &mut self.orders {
            orders.set_rules(rules.clone());
        }
        self.rules = Some(rules);
        Ok(())
    }

    /// The order side, where this market has one.
    #[must_use]
    pub fn orders(&self) -> Option<&OrderApi> {
        self.orders.as_ref()
    }

    /// Why the venue has to stop, if it has to.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref().or_else(|| self.orders.as_ref()?.failed.as_deref())
    }

    /// What the recording says of this market.
    #[must_use]
    pub fn profile(&self) -> &crate::tape::RecordingProfile {
        &self.recording.profile
    }

    /// Events for the private stream since the last call, as texts.
    pub fn take_events(&mut self, now_ms: i64) -> Vec<String> {
        let mut happenings = std::mem::take(&mut self.happenings);
        let Some(orders) = &mut self.orders else { return Vec::new() };
        happenings.extend(orders.count_down(now_ms));
        happenings.iter().filter_map(|h| orders.event(h, now_ms)).collect()
    }

    /// Answers a frame of the order channel.
    pub fn order_frame(&mut self, frame: &str, now_ms: i64) -> String {
        let Some(orders) = &mut self.orders else {
            return r#"{"id":null,"status":404,"error":{"code":-1,"msg":"this market takes no orders"}}"#
                .into();
        };
        let (answer, happenings) = orders.frame(frame, &self.book, now_ms);
        self.happenings.extend(happenings);
        answer
    }

    /// Answers a signed request; `None` where this market takes none of this kind.
    pub fn order_request(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        signed: &str,
        now_ms: i64,
    ) -> Option<Answer> {
        let orders = self.orders.as_mut().filter(|_| OrderApi::serves(path))?;
        let (answer, happenings) = orders.http(method, path, key, signed, now_ms);
        self.happenings.extend(happenings);
        Some(answer)
    }

    /// The recorded snapshot, once it has been played.
    #[must_use]
    pub fn recorded_snapshot(&self) -> Option<&Utf8Bytes> {
        self.snapshot.as_ref()
    }

    /// Answers a public request at market time `now`.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, query: &str, now: i64) -> Outcome {
        let rest = if self.name() == "spot" {
            path.strip_prefix("/api/v3/")
        } else {
            path.strip_prefix("/fapi/v1/")
        };
        let Some(rest) = rest else { return Outcome::Now(Answer::error(404, -1, "no such path")) };
        if method != "GET" {
            return Outcome::Now(Answer::error(405, -1, "only GET is served here"));
        }
        match rest {
            "ping" => Outcome::Now(Answer::ok("{}")),
            "time" => Outcome::Now(Answer::ok(format!("{{\"serverTime\":{}}}", now / 1_000_000))),
            "depth" => self.depth(query, now),
            "exchangeInfo" => Outcome::Now(self.rules.as_ref().map_or_else(
                || Answer::error(404, -1, "no rules are known"),
                |rules| Answer::ok(rules.exchange_info(self.profile(), now / 1_000_000).to_string()),
            )),
            _ => Outcome::Now(Answer::error(404, -1, "no such path")),
        }
    }

    fn depth(&self, query: &str, now: i64) -> Outcome {
        let parameter = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
        };
        if parameter("symbol") != Some(self.recording.profile.symbol.as_str()) {
            return Outcome::Now(Answer::error(400, -1121, "Invalid symbol."));
        }
        let limit = match parameter("limit").map(str::parse::<usize>) {
            None => 500,
            Some(Ok(limit @ 1..=5_000)) => limit,
            Some(_) => {
                return Outcome::Now(Answer::error(
                    400,
                    -1100,
                    "Illegal characters found in parameter 'limit'.",
                ));
            }
        };
        if !self.book.known() {
            return Outcome::WhenSnapshot;
        }
        let profile = &self.recording.profile;
        let event_ms = (self.name() == "usdm").then_some(now / 1_000_000);
        Outcome::Now(Answer::ok(self.book.to_json(
            limit,
            profile.price_decimals,
            profile.size_decimals,
            event_ms,
        )))
    }

    /// The venue's own book.
    #[must_use]
    pub fn book(&self) -> &VenueBook {
        &self.book
    }
}
