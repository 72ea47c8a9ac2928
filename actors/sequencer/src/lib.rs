//! The one door: whatever is not deterministic gets its place, its time and its mark here.
//!
//! * [`door`]: numbers, stamps and admits against credit; the same for a live run and a replay
//! * [`live`]: the live sequencer: inlets by priority, market clock, marks
//! * [`replayer`]: a journal in the sequencer's place
//! * [`timers`]: deadlines that stages have asked for

pub mod door;
pub mod live;
pub mod replayer;
pub mod timers;

pub use door::Door;
pub use live::Sequencer;
pub use replayer::{DoorState, Replayer, Resumed};
pub use timers::Timers;
