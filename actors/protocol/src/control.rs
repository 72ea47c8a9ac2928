//! Inputs that do not come from a venue, and what seats publish about themselves.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
use crate::session::SessionTerms;
use crate::{Nanos, Seq};

/// First record of a run: which engine writes here, built from what, configured how.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Started {
    /// Counts the starts of an engine in this state directory, from 1.
    pub incarnation: u64,
    /// Code epoch: replay of a journal of another epoch is refused.
    pub code_epoch: u64,
    /// BLAKE3 of the configuration blob.
    pub configuration: [u8; 32],
    /// BLAKE3 of the program that ran.
    pub build: [u8; 32],
    /// Market time at which the run began.
    pub origin: Nanos,
    /// Market nanoseconds per wall nanosecond.
    pub speed: u64,
}

impl Body for Started {
    const KIND: Kind = Kind::Started;
}

/// What an operator or the supervisor may ask of the line.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandCode {
    /// End the run after this input.
    Stop = 1,
    /// Nothing new leaves; what stands is cancelled.
    Halt = 2,
    /// Only orders that make positions smaller leave.
    Reduce = 3,
    /// Trade as configured.
    Resume = 4,
    /// Every order that stands is taken back; trading goes on as it is.
    CancelAll = 5,
    /// A session begins at a free place, with the terms of the command.
    SessionStart = 6,
    /// A session takes no risk any more and gives back what it holds.
    SessionStop = 7,
    /// A session goes on with other terms.
    SessionWeigh = 8,
}

impl CommandCode {
    /// The command of a code read from a journal.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        [
            Self::Stop,
            Self::Halt,
            Self::Reduce,
            Self::Resume,
            Self::CancelAll,
            Self::SessionStart,
            Self::SessionStop,
            Self::SessionWeigh,
        ]
        .into_iter()
        .find(|c| *c as u64 == code)
    }
}

/// What may leave.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TradingState {
    /// Everything that passes the checks.
    Active = 0,
    /// Orders that make a position smaller, and cancels.
    Reducing = 1,
    /// Cancels only.
    Halted = 2,
}

/// Trading state and epoch as sequenced commands have made them; every stage that asks follows them by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trading {
    /// What may leave.
    pub state: TradingState,
    /// The kill word's epoch, which grows at every halt; 0 before the first command.
    pub epoch: u64,
}

impl Default for Trading {
    /// Halted until someone has said that trading may begin.
    fn default() -> Self {
        Self { state: TradingState::Halted, epoch: 0 }
    }
}

impl Trading {
    /// Takes a command; true where it was one about trading. Reducing never loosens a halt, and an epoch never goes
    /// back: what was stamped before a halt stays of an older one.
    pub fn apply(&mut self, command: &Command) -> bool {
        self.state = match CommandCode::from_code(command.code) {
            Some(CommandCode::Halt) => TradingState::Halted,
            Some(CommandCode::Reduce) if self.state == TradingState::Halted && self.epoch > 0 => self.state,
            Some(CommandCode::Reduce) => TradingState::Reducing,
            Some(CommandCode::Resume) => TradingState::Active,
            _ => return false,
        };
        self.epoch = self.epoch.max(command.epoch);
        true
    }
}

/// A sequenced command.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Command {
    /// [`CommandCode`] as its code.
    pub code: u64,
    /// Trading epoch that holds from here on, as the kill word has it; an older one than known changes nothing.
    pub epoch: u64,
    /// Of a session: its place, from 0.
    pub session: u64,
    /// Of a session: its terms.
    pub terms: SessionTerms,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Body for Command {
    const KIND: Kind = Kind::Command;
}

/// Who asked for a deadline. The numbers are written to disk.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerOwner {
    /// The strategy stage.
    Strategy = 1,
}

/// Asks the sequencer for an input at a market time. A second request of one owner and identifier replaces the first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TimerRequest {
    /// [`TimerOwner`] as its code.
    pub owner: u64,
    /// The owner's own name for it.
    pub id: u64,
    /// Earliest market time of the input.
    pub deadline: Nanos,
    /// Zero.
    pub reserved: [u64; 9],
}

impl Body for TimerRequest {
    const KIND: Kind = Kind::TimerRequest;
}

/// A deadline has come.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Timer {
    /// [`TimerOwner`] as its code.
    pub owner: u64,
    /// As it was requested.
    pub id: u64,
    /// As it was requested.
    pub deadline: Nanos,
    /// Zero.
    pub reserved: [u64; 9],
}

impl Body for Timer {
    const KIND: Kind = Kind::Timer;
}

/// Whether a gateway can send: an input, told at every change.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct VenueStatus {
    /// Venue.
    pub venue: u64,
    /// 1 where orders can be sent and their reports are heard.
    pub ready: u64,
    /// Gateways that have fallen there in this start, or were told to go: the first word of another one is the last place in
    /// the sequence that anything of those before it can have.
    pub fallen: u64,
    /// Zero.
    pub reserved: [u64; 9],
}

impl Body for VenueStatus {
    const KIND: Kind = Kind::VenueStatus;
}

/// A seat's outputs up to a boundary, as one hash: what a replay is compared by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Checkpoint {
    /// The seat's index in the topology.
    pub seat: u64,
    /// The checkpoint covers everything caused by inputs below this.
    pub boundary: Seq,
    /// Rolling hash of the outputs.
    pub outputs_hash: u64,
    /// Outputs hashed.
    pub outputs: u64,
    /// Digest of the actor's own state.
    pub state_digest: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

impl Body for Checkpoint {
    const KIND: Kind = Kind::Checkpoint;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trading_begins_by_command_and_a_halt_is_left_by_resume_only() {
        let mut trading = Trading::default();
        let mut take = |code: CommandCode, epoch| {
            trading.apply(&Command { code: code as u64, epoch, ..Command::default() });
            (trading.state, trading.epoch)
        };
        assert_eq!(take(CommandCode::Reduce, 1), (TradingState::Reducing, 1));
        assert_eq!(take(CommandCode::Resume, 1), (TradingState::Active, 1));
        assert_eq!(take(CommandCode::Halt, 2), (TradingState::Halted, 2));
        assert_eq!(take(CommandCode::Reduce, 2), (TradingState::Halted, 2));
        assert_eq!(take(CommandCode::Resume, 1), (TradingState::Active, 2), "an epoch never goes back");
        assert_eq!(take(CommandCode::CancelAll, 9), (TradingState::Active, 2));
    }
}
