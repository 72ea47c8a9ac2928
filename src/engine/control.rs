//! The engine's control socket: what can be asked of a running line. Halting sets the kill word first, here and now;
//! everything else is done by the engine's own loop, as sequenced commands.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kimera_protocol::{PatternsLoaded, TradingState};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::counters::Snapshot;
use kimera_runtime::{Counters, KillWord, health};
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Faults;
use super::pattern_desk::PatternDesk;
use super::sessions::{SessionWish, list};
use super::tree::Tree;
use crate::advise::{Advisor, MarketContext};
use crate::control::server::Handler;
use crate::control::{OrdersAtEnd, RpcError};
use crate::log::{self, Category, LogLevel};
use crate::report::{LatencyRow, latency, money};

/// Longest wait for the loop to do what was asked.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Methods of the engine's socket.
pub const METHODS: [&str; 19] = [
    "hello",
    "status",
    "tree",
    "actor.stop",
    "actor.start",
    "actor.restart",
    "trading.halt",
    "trading.reduce",
    "trading.resume",
    "orders.cancel_all",
    "latency.report",
    "log.level",
    "patterns.load",
    "session.list",
    "session.start",
    "session.stop",
    "session.weigh",
    "advise",
    "shutdown",
];

/// What the loop is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Sequence the halt that the kill word already says.
    Halt,
    /// Only ways out from here on.
    Reduce,
    /// Trade again, if nobody has halted since this epoch of the kill word was read.
    Resume {
        /// The epoch when it was asked for.
        epoch: u64,
    },
    /// Take every order back.
    CancelAll,
    /// Other patterns from here on; a set of them is ready.
    LoadPatterns(PatternsLoaded),
    /// Something of a session.
    Session(SessionWish),
    /// End the run.
    Shutdown(OrdersAtEnd),
}

/// A wish and where the answer goes.
pub struct Ask {
    /// The wish.
    pub wish: Wish,
    /// Monotonic time: one that nobody waits for any more is not done.
    pub asked: u64,
    /// Takes one answer.
    pub answer: Sender<Result<Value, RpcError>>,
}

/// The socket's side.
pub struct EngineHandler {
    word: KillWord,
    counters: Counters,
    incarnation: u64,
    gateway: String,
    faults: Option<Faults>,
    tree: Arc<Tree>,
    patterns: PatternDesk,
    /// Thinks about contexts that are sent to it, beside the line and without it.
    advisor: Mutex<Option<Advisor>>,
    asks: Mutex<Sender<Ask>>,
}

impl EngineHandler {
    /// A handler, and the loop's end of it.
    #[must_use]
    pub fn new(
        word: KillWord,
        counters: Counters,
        incarnation: u64,
        gateway: &str,
        faults: Option<Faults>,
        tree: Arc<Tree>,
        patterns: PatternDesk,
    ) -> (Self, Receiver<Ask>) {
        let (asks, receiver) = channel();
        let gateway = gateway.to_owned();
        let asks = Mutex::new(asks);
        (
            Self {
                word,
                counters,
                incarnation,
                gateway,
                faults,
                tree,
                patterns,
                advisor: Mutex::new(None),
                asks,
            },
            receiver,
        )
    }

    fn ask(&self, wish: Wish) -> Result<Value, RpcError> {
        let (answer, receiver) = channel();
        let asks = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        asks.send(Ask { wish, asked: monotonic_ns(), answer })
            .map_err(|_| RpcError::refused("the engine is ending"))?;
        drop(asks);
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            Err(RpcError::refused("the engine did not do it in time; the kill word holds where it was set"))
        })
    }

    /// Only where the engine was started for it.
    fn fault(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let faults = self.faults.as_ref().ok_or_else(|| RpcError::no_method(method, &METHODS))?;
        let name = params["seat"].as_str().unwrap_or_default();
        let seat = faults.seat(name).ok_or_else(|| {
            let known: Vec<_> = faults.seats().collect();
            RpcError::parameters(format!("\"seat\" must be one of {}", known.join(", ")))
        })?;
        if method == "faults.panic" {
            seat.panics.store(true, Ordering::Release);
            return Ok(json!({"panics": name}));
        }
        if method == "faults.poison" {
            // A little ahead, so that it is met by whoever is asked to.
            let seq = self.counters.counter_of("sequencer.seq").get() + 10;
            seat.poison.store(seq, Ordering::Release);
            return Ok(json!({"poisoned": name, "seq": seq}));
        }
        let ms = params["ms"].as_u64().filter(|ms| (1..=10_000).contains(ms));
        let ms = ms.ok_or_else(|| RpcError::parameters("\"ms\" must be 1 to 10000"))?;
        seat.hold_ms.store(ms, Ordering::Release);
        Ok(json!({"seat": name, "held_ms": ms}))
    }

    /// What the actors of this configuration think of a market context, behind those that were sent before. The line hears nothing of it.
    fn advise(&self, params: &Value) -> Result<Value, RpcError> {
        let context = MarketContext::deserialize(params).map_err(|e| RpcError::parameters(e.to_string()))?;
        let mut advisor = self.advisor.lock().unwrap_or_else(PoisonError::into_inner);
        if advisor.is_none() {
            *advisor = Some(Advisor::new(self.patterns.config()).map_err(RpcError::refused)?);
        }
        let advice = advisor.as_mut().map(|advisor| advisor.advise(&context));
        let advice =
            advice.unwrap_or_else(|| Err("there is no advisor".into())).map_err(RpcError::parameters)?;
        serde_json::to_value(advice).map_err(|e| RpcError::refused(e.to_string()))
    }

    fn status(&self) -> Value {
        status(&self.counters.snapshot(), &self.word, self.incarnation, &self.gateway)
    }
}

/// What `log.level` takes: nothing is a question.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelWish {
    category: Option<Category>,
    level: Option<LogLevel>,
}

/// How much this process logs, after what is asked for holds: a level for a category, or for all. Of security nothing is left
/// out while it runs: who asks for something could hide it so.
fn log_level(params: &Value) -> Result<Value, RpcError> {
    let wish: Option<LevelWish> =
        serde_json::from_value(params.clone()).map_err(|e| RpcError::parameters(e.to_string()))?;
    let wish = wish.unwrap_or_default();
    let least =
        |category: Category| if category == Category::Security { LogLevel::Info } else { LogLevel::Off };
    if let (Some(category), Some(level)) = (wish.category, wish.level)
        && level < least(category)
    {
        return Err(RpcError::parameters("security stays at info or more while the run goes on"));
    }
    if let Some(level) = wish.level {
        let of = |c: &Category| wish.category.is_none_or(|category| category == *c);
        for category in Category::ALL.into_iter().filter(of) {
            log::set_level(category, level.max(least(category)));
        }
    }
    let levels = Category::ALL.map(|category| (category.name(), log::level(category).name()));
    Ok(json!({"levels": std::collections::BTreeMap::from(levels)}))
}

/// State names as people and programs read them.
#[must_use]
pub fn state_name(state: TradingState) -> &'static str {
    match state {
        TradingState::Active => "active",
        TradingState::Reducing => "reducing",
        TradingState::Halted => "halted",
    }
}

fn sequenced_state(counters: &Snapshot) -> &'static str {
    if counters.counter("risk.epoch") == 0 {
        return "starting";
    }
    // What risk says then is what it said in an earlier start.
    if counters.counter("engine.recovering") == 1 {
        return "recovering";
    }
    match counters.counter("risk.trading_state") {
        0 => "active",
        1 => "reducing",
        _ => "halted",
    }
}

fn status(counters: &Snapshot, word: &KillWord, incarnation: u64, gateway: &str) -> Value {
    let count = |name: &str| counters.counter(name);
    let word = word.get();
    json!({
        "incarnation": incarnation,
        "pid": std::process::id(),
        "trading": sequenced_state(counters),
        "kill_word": {"state": state_name(word.state), "epoch": word.epoch},
        "seq": count("sequencer.seq"),
        "durable_seq": count("journal.durable_seq"),
        "marks": count("sequencer.marks"),
        "decisions": count("strategy.decisions"),
        "orders": {
            "sent": count(&format!("{gateway}.sent")),
            "working": count(&format!("{gateway}.working")),
            "unknown": count(&format!("{gateway}.unknown")),
        },
        "absences": count("sequencer.absences"),
        "definitions": count("risk.definitions"),
        "venue_ready": count(&format!("{gateway}.ready")) == 1,
        "fills": count("ledger.fills"),
        "cash": money(count("ledger.cash") as i64),
        "fees": money(count("ledger.fees") as i64),
        "balanced": count("ledger.balanced") == 1,
    })
}

impl Handler for EngineHandler {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        match method {
            "status" => Ok(self.status()),
            "trading.halt" => {
                // First the word, which the gateway reads before each order; then the line hears of it.
                let written = self.word.halt();
                let asked = self.ask(Wish::Halt);
                written.map_err(|e| {
                    RpcError::refused(format!("halted, but the kill word is not on disk: {e}"))
                })?;
                asked
            }
            "trading.reduce" => self.ask(Wish::Reduce),
            "trading.resume" => self.ask(Wish::Resume { epoch: self.word.get().epoch }),
            "orders.cancel_all" => self.ask(Wish::CancelAll),
            "shutdown" => self.ask(Wish::Shutdown(OrdersAtEnd::of(params)?)),
            "latency.report" => {
                let counters = self.counters.snapshot();
                let report = latency(&counters, &self.gateway);
                let rows: Vec<(String, LatencyRow)> = report.rows();
                Ok(
                    json!({"unit": "ns", "rows": rows.into_iter().collect::<std::collections::BTreeMap<_, _>>()}),
                )
            }
            "log.level" => log_level(params),
            "patterns.load" => {
                self.patterns.load(params, &self.counters, |loaded| self.ask(Wish::LoadPatterns(loaded)))
            }
            "advise" => self.advise(params),
            "session.list" => Ok(list(&self.counters.snapshot())),
            "session.start" | "session.stop" | "session.weigh" => {
                self.ask(Wish::Session(SessionWish::of(method, params)?))
            }
            "tree" => Ok(self.tree.to_json()),
            "actor.stop" | "actor.start" | "actor.restart" => {
                let name = params["actor"].as_str().unwrap_or_default();
                let wish = match method {
                    "actor.stop" => health::Wish::Stop,
                    "actor.start" => health::Wish::Start,
                    _ => health::Wish::Restart,
                };
                self.tree.ask(name, wish)
            }
            "faults.hold" | "faults.panic" | "faults.poison" => self.fault(method, params),
            other => Err(RpcError::no_method(other, &METHODS)),
        }
    }
}
