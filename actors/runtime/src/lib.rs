//! What an actor is: its seat, its rings, its memory, its core, its clock.
//!
//! * [`actor`]: the two traits everything implements, deterministic actors and agents that touch the outside
//! * [`ring`]: the one place that names the queue behind [`Inlet`] and [`Outlet`]
//! * [`seat`]: runs an actor atomically: reserve, handle, commit; joins votes; publishes progress and hashes
//! * [`agent_seat`]: runs an agent, makes it anew where it falls
//! * [`absence`]: seats that are out, and how they come back
//! * [`durability`]: how far the journal is on disk
//! * [`credit`]: frontiers and the window that keeps every ring from filling
//! * [`topology`]: who is wired to whom, as data; [`plan`]: who runs on which core, as data
//! * [`executor`]: threaded and deterministic; each decides only which seat is polled next
//! * [`observer`]: a ring to whoever only looks on: it sheds
//! * [`health`]: how a seat is; [`errors`]: distinct errors in a mapped file
//! * [`failpoint`]: named places at which a process can be made to die
//! * [`memory`]: the locked arena and the counting allocator
//! * [`process`]: signals to child processes; [`limits`]: what the kernel lets this process have
//! * [`counters`]: counters and histograms in a file that other processes read
//! * [`clock`]: time-stamp counter and market clock; [`idle`]: what a core thread does with nothing to do
//! * [`kill_word`]: what may leave, in a mapped file that outlives everyone; [`pulse`]: who is alive; [`mapped`]: such files
//! * [`storage`]: durable writes that are submitted and polled
//! * [`files`]: files of the machine or of a world; [`world`]: virtual time, network and disk on one thread
//! * [`net`]: non-blocking sockets, HTTP and WebSocket clients for agents

#![allow(unsafe_code)] // The one crate that may; each block states its reason.

pub mod absence;
pub mod actor;
pub mod agent_seat;
pub mod clock;
pub mod counters;
pub mod credit;
pub mod durability;
pub mod errors;
pub mod executor;
pub mod failpoint;
pub mod files;
pub mod health;
pub mod idle;
pub mod kill_word;
pub mod limits;
pub mod mapped;
pub mod memory;
pub mod mend;
pub mod net;
pub mod observer;
pub mod plan;
pub mod process;
pub mod pulse;
pub mod ring;
pub mod seat;
pub mod storage;
pub mod sync;
pub mod topology;
pub mod world;

pub use absence::{AbsenceGate, Absences, Rejoin};
pub use actor::{Actor, Agent, Input, Outbox, Port, Work};
pub use agent_seat::AgentSeat;
pub use clock::{MarketClock, Tsc};
pub use counters::{Counter, Counters, Histogram};
pub use credit::{CreditWindow, Frontier};
pub use durability::Durability;
pub use health::{Health, SeatState};
pub use kill_word::{KillWord, Word};
pub use observer::{Observer, observer};
pub use pulse::{Listener, Pulse};
pub use ring::{Inlet, Outlet};
pub use seat::{Cell, Ports, Seat};
pub use topology::{Topology, Wiring};
