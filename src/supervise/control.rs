//! The supervisor's control socket. What concerns the line is passed on to the engine's; a halt is written into the kill
//! word first, so that it holds whether or not the engine answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kimera_runtime::{KillWord, plan::Plan};
use serde_json::{Value, json};

use crate::control::server::Handler;
use crate::control::{Client, OrdersAtEnd, RpcError};
use crate::state::Layout;

/// Longest wait for the engine's answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Methods of the supervisor's socket.
pub const METHODS: [&str; 9] = [
    "hello",
    "status",
    "tree",
    "trading.halt",
    "trading.reduce",
    "trading.resume",
    "orders.cancel_all",
    "latency.report",
    "shutdown",
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
}

/// The socket's side.
pub struct SupervisorHandler {
    /// State directory.
    pub layout: Layout,
    /// The children.
    pub children: std::sync::Arc<Children>,
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
        json!({"supervisor": {"pid": std::process::id()}, "engine": engine})
    }

    fn tree(&self) -> Value {
        let process = |name: &str, pid: u32, restart: &str, children: Value| json!({"name": name, "pid": pid, "running": pid != 0, "restart": restart, "children": children});
        let threads: Vec<_> = self.plan.iter().flat_map(|p| &p.threads).collect();
        let threads: Vec<_> = threads
            .into_iter()
            .map(|t| json!({"thread": t.name, "core": t.core, "idle": t.idle, "seats": t.seats}))
            .collect();
        let [venue, guard, engine] = [&self.children.venue, &self.children.guard, &self.children.engine]
            .map(|pid| pid.load(Ordering::Acquire));
        json!({
            "name": "supervisor", "pid": std::process::id(), "strategy": "one_for_one",
            "children": [process("venue", venue, "transient", json!([])), process("guard", guard, "permanent", json!([])), process("engine", engine, "transient", json!(threads))],
        })
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
            "trading.reduce" | "trading.resume" | "orders.cancel_all" | "latency.report" => {
                self.forward(method, params)
            }
            other => Err(RpcError::no_method(other, &METHODS)),
        }
    }
}
