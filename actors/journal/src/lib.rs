//! The input and output log: everything that was admitted, in order, and what the seats made of it.
//!
//! * [`format`]: segments, blocks, records
//! * [`writer`]: the agent on its own thread: group commit into preallocated segments
//! * [`reader`]: verification and iteration; names segment, offset and seq of the first fault
//! * [`blobs`]: what sequenced records name by hash: configuration, limits, artefacts

pub mod archive;
pub mod blobs;
pub mod format;
pub mod reader;
mod segment;
pub mod writer;

pub use blobs::Blobs;
pub use reader::{Fault, JournalReader, Record, ResumePoint, SegmentStart, Tail};
pub use writer::{Journal, JournalConfig, JournalFailure};
