//! The control sockets of supervisor and engine: newline-delimited JSON-RPC 2.0 on a local socket.
//!
//! * [`server`]: listens, checks who asks, limits size and rate, writes an audit line a command
//! * [`client`]: the side that asks

pub mod client;
pub mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::Client;
pub use server::Server;

/// Version of the methods and what they answer.
pub const PROTOCOL: u32 = 1;
/// Largest request or answer.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// "2.0".
    pub jsonrpc: String,
    /// Identity of the request.
    pub id: Value,
    /// What is asked.
    pub method: String,
    /// With what.
    #[serde(default)]
    pub params: Value,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// JSON-RPC's codes, and ours from -32000 on.
    pub code: i32,
    /// What, where, what to do.
    pub message: String,
}

impl RpcError {
    /// Not done, with the reason.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { code: -32_000, message: message.into() }
    }

    /// There is no such method.
    #[must_use]
    pub fn no_method(method: &str, known: &[&str]) -> Self {
        let shown: String = method.chars().take(64).collect();
        Self {
            code: -32_601,
            message: format!("there is no method \"{shown}\"; known: {}", known.join(", ")),
        }
    }

    /// The parameters make no sense.
    pub fn parameters(message: impl Into<String>) -> Self {
        Self { code: -32_602, message: message.into() }
    }
}

/// What becomes of the orders that stand when an engine ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OrdersAtEnd {
    /// Taken back.
    #[default]
    Cancel,
    /// Left on the venue.
    Keep,
}

impl OrdersAtEnd {
    /// From the parameters of `shutdown`: `{"orders": "cancel" | "keep"}`, cancel where it is not said.
    ///
    /// # Errors
    /// Anything else.
    pub fn of(params: &Value) -> Result<Self, RpcError> {
        match params.get("orders") {
            None => Ok(Self::default()),
            Some(value) => Self::deserialize(value)
                .map_err(|_| RpcError::parameters("\"orders\" must be \"cancel\" or \"keep\"")),
        }
    }
}
