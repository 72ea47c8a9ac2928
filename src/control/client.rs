//! Asks a control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{LINE_BYTES_MAX, RpcError};
use crate::exit::Failure;

/// A connection to a control socket.
pub struct Client {
    stream: BufReader<UnixStream>,
    next: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens there (exit code 4).
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, Failure> {
        let fail = |e: std::io::Error| {
            Failure::unreachable(format!("nobody answers at {}: {e}; is it running?", socket.display()))
        };
        let stream = UnixStream::connect(socket).map_err(fail)?;
        stream.set_read_timeout(Some(timeout)).map_err(fail)?;
        stream.set_write_timeout(Some(timeout)).map_err(fail)?;
        Ok(Self { stream: BufReader::new(stream), next: 0 })
    }

    /// Asks and waits for the answer; the inner result is the other side's.
    ///
    /// # Errors
    /// Where the connection fails or the answer is none.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Result<Value, RpcError>, Failure> {
        self.next += 1;
        let mut text =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params}).to_string();
        text.push('\n');
        let fail = |e: String| Failure::unreachable(format!("{method}: {e}"));
        self.stream.get_mut().write_all(text.as_bytes()).map_err(|e| fail(e.to_string()))?;
        let mut line = String::new();
        let mut limited = self.stream.by_ref().take(LINE_BYTES_MAX as u64);
        limited.read_line(&mut line).map_err(|e| fail(format!("no answer: {e}")))?;
        if !line.ends_with('\n') {
            return Err(fail("the connection ended before the answer".into()));
        }
        let mut answer: Value =
            serde_json::from_str(&line).map_err(|e| fail(format!("the answer is no JSON: {e}")))?;
        if let Some(error) = answer.get("error") {
            let error = serde_json::from_value(error.clone())
                .map_err(|e| fail(format!("the answer's error has no form of ours: {e}")))?;
            return Ok(Err(error));
        }
        Ok(Ok(answer["result"].take()))
    }
}
