//! What is asked of a running engine, done by its own loop: as sequenced commands, the kill word in its place.

use std::time::Duration;

use kimera_protocol::{CommandCode, Header, Message, PatternsLoaded, TradingState};
use kimera_runtime::{Port, files};
use serde_json::{Value, json};

use super::control::state_name;
use super::live::{Live, wait};
use crate::control::RpcError;
use crate::snapshot::hex;

/// Longest wait for a command to reach risk.
const COMMAND: Duration = Duration::from_secs(5);

impl Live<'_> {
    pub(super) fn halt(&mut self) -> Result<Value, RpcError> {
        self.follow_word();
        self.wait_for_state(TradingState::Halted)
    }

    pub(super) fn cancel_all(&mut self) -> Result<Value, RpcError> {
        let working = self.gateway("working");
        if self.send(CommandCode::CancelAll, 0, 0) {
            Ok(json!({"cancelling": working}))
        } else {
            Err(RpcError::refused("the sequencer's control ring is full; try again"))
        }
    }

    /// Written down first, so that it survives a restart; a recovery that is going on does not undo it.
    pub(super) fn reduce(&mut self) -> Result<Value, RpcError> {
        let word = self.run.word.get();
        if word.state == TradingState::Halted {
            return Err(RpcError::refused("trading is halted; resume first"));
        }
        match self.run.word.reduce(word.epoch) {
            Ok(true) => {}
            Ok(false) => return Err(RpcError::refused("somebody has halted in the meantime")),
            Err(e) => return Err(RpcError::refused(format!("the kill word is not on disk: {e}"))),
        }
        if !self.send(CommandCode::Reduce, word.epoch, 0) {
            return Err(RpcError::refused("the sequencer's control ring is full; try again"));
        }
        self.wait_for_state(TradingState::Reducing)
    }

    /// The line first, the word second, and never while nobody knows what became of an order.
    pub(super) fn resume(&mut self, epoch: u64) -> Result<Value, RpcError> {
        if self.recovering.is_some() {
            return Err(RpcError::refused(
                "the venue is still being asked about orders from before; trading resumes by itself",
            ));
        }
        if files::exists(&self.halt_file) {
            return Err(RpcError::refused(format!("{} exists; remove it first", self.halt_file.display())));
        }
        if self.orphaned {
            return Err(RpcError::refused("no supervisor is there: only ways out leave until one is back"));
        }
        let unknown = self.gateway("unknown");
        if unknown > 0 {
            return Err(RpcError::refused(format!(
                "{unknown} orders are unknown; trading resumes when the venue has said what became of them"
            )));
        }
        let word = self.run.word.get();
        if word.epoch != epoch {
            return Err(RpcError::refused("somebody has halted again in the meantime"));
        }
        if !self.send(CommandCode::Resume, word.epoch, 0) {
            return Err(RpcError::refused("the sequencer's control ring is full; try again"));
        }
        self.wait_for_state(TradingState::Active)?;
        match self.run.word.clear(word.epoch) {
            Ok(true) => Ok(json!({"trading": "active", "epoch": word.epoch})),
            Ok(false) => Err(RpcError::refused("somebody has halted again in the meantime")),
            Err(e) => Err(RpcError::refused(format!("the kill word is not on disk: {e}"))),
        }
    }

    /// The set is ready and its text is on disk: what is left is to say from which input on it holds.
    pub(super) fn load_patterns(&mut self, loaded: PatternsLoaded) -> Result<Value, RpcError> {
        if !self.built.control.send(Port::Input, &Message::new(Header::default(), loaded)) {
            return Err(RpcError::refused("the sequencer's control ring is full; try again"));
        }
        // Nobody waits for the seat here: it may be out, and comes back by this very loop.
        Ok(json!({"blob": hex(&loaded.blob)}))
    }

    /// Waits until risk has heard a command.
    pub(super) fn wait_for_state(&self, state: TradingState) -> Result<Value, RpcError> {
        let epoch = self.run.word.get().epoch;
        let heard =
            || self.counter("risk.trading_state") == state as u64 && self.counter("risk.epoch") >= epoch;
        if wait(COMMAND, heard) {
            Ok(json!({"trading": state_name(state), "epoch": epoch}))
        } else {
            Err(RpcError::refused("the line has not taken the command in time; the kill word holds"))
        }
    }
}
