//! The program: command line, topology, engine, replay, supervisor.
//!
//! * [`cli`]: verbs and their arguments; [`exit`]: what a failure says and with which code it ends
//! * [`config`]: one typed tree; [`state`]: the state directory; [`claim`]: who holds what there
//! * [`control`]: control sockets of supervisor and engine
//! * [`line`]: who is wired to whom, and who sits there
//! * [`log`]: what a process says while it runs
//! * [`engine`]: a live run; [`handshake`]: the clock shared with the venue
//! * [`credentials`]: of the account; [`guard`]: takes everything back where nobody else can
//! * [`replay`]: a journal through the same line, compared
//! * [`explain`]: why an order was sent
//! * [`snapshot`]: state of a line on disk; [`replica`]: a line beside the one that runs; [`orders`]: what became of orders
//! * [`shelf`]: where patterns come from that are loaded while a run goes on
//! * [`shadow`]: a second line that follows the journal and compares
//! * [`bench`]: measurements of the program by itself; [`builds`]: programs of other revisions
//! * [`counterfactual`]: who says something else; [`bisect`]: the first decision on which two builds differ
//! * [`export`]: a journal for notebooks; [`patterns`]: patterns checked, and run over what is recorded;
//!   [`recording`]: a recording as it is
//! * [`machine`]: cores and plans, tuning, doctor, the service manager
//! * [`simulate`]: whole firms in virtual time
//! * [`venue`]: the simulated venue as a process
//! * [`supervise`]: venue, engine and guard as children, the live line; [`report`]: what a run says at its end; [`utc`]: dates
//! * [`verbs`]: the small verbs; [`tree_text`]: the supervision tree as people read it;
//!   [`topology_proof`]: what a topology promises

pub mod advise;
pub mod bench;
pub mod bisect;
pub mod book_view;
pub mod builds;
pub mod claim;
pub mod cli;
pub mod conduct_rates;
pub mod config;
pub mod control;
pub mod counterfactual;
pub mod credentials;
pub mod ctl;
pub mod engine;
pub mod evaluate;
pub mod exit;
pub mod explain;
pub mod export;
pub mod extensions;
pub mod features;
pub mod guard;
pub mod handshake;
pub mod line;
pub mod log;
pub mod machine;
pub mod news;
pub mod opinions;
pub mod orders;
pub mod patterns;
pub mod portfolio;
pub mod rates;
pub mod recording;
pub mod replay;
pub mod replica;
pub mod report;
pub mod scaffold;
pub mod sessions;
pub mod shadow;
pub mod shelf;
pub mod simulate;
pub mod slow;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod supervise;
pub mod topology_proof;
pub mod tree_text;
pub mod utc;
pub mod venue;
pub mod verbs;
