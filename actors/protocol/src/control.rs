//! Inputs that do not come from a venue, and what seats publish about themselves.

use bytemuck::{Pod, Zeroable};

use crate::message::{Body, Kind};
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
}

impl CommandCode {
    /// The command of a code read from a journal.
    #[must_use]
    pub fn from_code(code: u64) -> Option<Self> {
        [Self::Stop, Self::Halt, Self::Reduce, Self::Resume].into_iter().find(|c| *c as u64 == code)
    }
}

/// What may leave.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TradingState {
    /// Everything that passes the checks.
    #[default]
    Active = 0,
    /// Orders that make a position smaller, and cancels.
    Reducing = 1,
    /// Cancels only.
    Halted = 2,
}

/// A sequenced command.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Command {
    /// [`CommandCode`] as its code.
    pub code: u64,
    /// Zero.
    pub reserved: [u64; 11],
}

impl Body for Command {
    const KIND: Kind = Kind::Command;
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
