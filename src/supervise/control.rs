//! The supervisor's control socket. What concerns the line is passed on to the engine's; a halt is written into the kill
//! word first, so that it holds whether or not the engine answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kimera_runtime::process::kill;
use kimera_runtime::{KillWord, plan::Plan};
use serde_json::{Value, json};

use crate::config::SupervisionSection;
use crate::control::server::Handler;
use crate::control::{Client, OrdersAtEnd, RpcError};
use crate::state::Layout;

/// Longest wait for the engine's answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Methods of the supervisor's socket.
pub const METHODS: [&str; 25] = [
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
    "positions",
    "orders",
    "books",
    "decisions",
    "shadow.status",
    "restart.state",
];

/// Processes of the children; 0 where there is none.
#[derive(Debug, Default)]
pub struct Children {
    /// The simulated venue.
    pub venue: AtomicU32,
    /// The guard.
    pub guard: AtomicU32,
    /// The engine.
    pub engine: AtomicU32,
    /// The shadow.
    pub shadow: AtomicU32,
}

/// The socket's side.
pub struct SupervisorHandler {
    /// State directory.
    pub layout: Layout,
    /// The children.
    pub children: std::sync::Arc<Children>,
    /// When a process is given up.
    pub supervision: SupervisionSection,
    /// What runs on which thread, where it is known.
    pub plan: Option<Plan>,
}

impl SupervisorHandler {
    fn engine_socket(&self) -> PathBuf {
        self.layout.socket("engine")
    }

    fn forward(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let unreachable =
            |e: crate::exit::Failure| RpcError::refused(format!("the engine does not answer: {e}"));
        let mut client = Client::connect(&self.engine_socket(), PATIENCE).map_err(unreachable)?;
        client.call(method, params).map_err(unreachable)?
    }

    /// What the replica knows: asking it costs the engine nothing.
    fn read(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let unreachable =
            |e: crate::exit::Failure| RpcError::refused(format!("the shadow does not answer: {e}"));
        let mut client = Client::connect(&self.layout.socket("shadow"), PATIENCE).map_err(unreachable)?;
        client.call(method, params).map_err(unreachable)?
    }

    fn halt(&self) -> Result<Value, RpcError> {
        let path = self.layout.kill_word();
        let word = KillWord::open(&path).and_then(|word| word.halt());
        let word = word.map_err(|e| RpcError::refused(format!("cannot write the kill word: {e}")))?;
        match self.forward("trading.halt", &Value::Null) {
            Ok(value) => Ok(value),
            // Nothing leaves all the same.
            Err(e) => Ok(json!({"trading": "halted", "epoch": word.epoch, "engine": e.message})),
        }
    }

    fn status(&self) -> Value {
        let engine = self.forward("status", &Value::Null).unwrap_or_else(|e| json!({"error": e.message}));
        let shadow = crate::shadow::last_status(&self.layout);
        json!({"supervisor": {"pid": std::process::id()}, "engine": engine, "shadow": shadow})
    }

    fn tree(&self) -> Value {
        let threads: Vec<_> = self.plan.iter().flat_map(|p| &p.threads).collect();
        let threads: Vec<_> = threads
            .into_iter()
            .map(|t| json!({"thread": t.name, "core": t.core, "idle": t.idle, "seats": t.seats}))
            .collect();
        let groups = self.forward("tree", &Value::Null).unwrap_or_else(|e| json!({"error": e.message}));
        let children = &self.children;
        let process = |name: &str, pid: &AtomicU32| {
            let pid = pid.load(Ordering::Acquire);
            json!({"name": name, "pid": pid, "running": pid != 0, "restart": "transient"})
        };
        let mut engine = process("engine", &children.engine);
        engine["threads"] = json!(threads);
        engine["groups"] = groups;
        json!({
            "name": "supervisor", "pid": std::process::id(), "strategy": "one-for-one",
            "restarts": self.supervision.restarts, "within_ms": self.supervision.within_ms,
            "children": [process("venue", &children.venue), process("guard", &children.guard), engine,
                process("shadow", &children.shadow)],
        })
    }

    /// A process is killed and comes back; a seat of the engine is asked.
    fn actor(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        let name = params["actor"].as_str().unwrap_or_default();
        let pid = match name {
            "engine" => &self.children.engine,
            "venue" => &self.children.venue,
            "guard" => &self.children.guard,
            "shadow" => &self.children.shadow,
            _ => return self.forward(method, params),
        };
        let pid = pid.load(Ordering::Acquire);
        if method != "actor.restart" {
            return Err(RpcError::refused(format!(
                "{name} is a process of the run: it can be restarted; shutdown ends the run"
            )));
        }
        if pid == 0 || !kill(pid) {
            return Err(RpcError::refused(format!("{name} is not there; it is being started")));
        }
        Ok(json!({"actor": name, "asked": "restart", "killed": pid}))
    }
}

impl Handler for SupervisorHandler {
    fn name(&self) -> &'static str {
        "supervisor"
    }

    fn call(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        match method {
            "status" => Ok(self.status()),
            "tree" => Ok(self.tree()),
            "trading.halt" => self.halt(),
            "shutdown" => {
                OrdersAtEnd::of(params)?;
                self.forward(method, params)
            }
            "actor.stop" | "actor.start" | "actor.restart" => self.actor(method, params),
            "trading.reduce" | "trading.resume" | "orders.cancel_all" | "latency.report" | "log.level"
            | "patterns.load" | "session.list" | "session.start" | "session.stop" | "session.weigh"
            | "advise" => self.forward(method, params),
            "positions" | "orders" | "books" | "decisions" | "shadow.status" | "restart.state" => {
                self.read(method, params)
            }
            other => Err(RpcError::no_method(other, &METHODS)),
        }
    }
}
