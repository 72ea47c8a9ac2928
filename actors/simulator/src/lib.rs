//! The simulated venue: a process of its own that plays recorded market data over the venue's wire protocol.
//!
//! Nothing here uses the engine's codecs: what the engine reads is checked by code that did not write it.
//!
//! * [`tape`]: recorded frames, checked against their hashes
//! * [`account`]: the durable truth about our account; [`api`]: signed requests and the private stream
//! * [`book`]: the venue's own book, for snapshots after the recorded one
//! * [`market`]: one market: its tape, its book, what its streams and requests answer
//! * [`matching`]: our orders against the recorded book, price and time
//! * [`connection`]: one client: HTTP/1.1, then perhaps WebSocket
//! * [`kept_clock`]: its clock in a file
//! * [`synthetic`]: tapes from a seed
//! * [`server`]: the loop that plays, reads and answers

pub mod account;
pub mod api;
pub mod book;
pub mod connection;
pub mod kept_clock;
pub mod market;
pub mod matching;
pub mod rules;
pub mod server;
pub mod synthetic;
pub mod tape;

pub use server::{Endpoints, Mischief, Server, ServerConfig};
pub use tape::{Tape, TapeError};
