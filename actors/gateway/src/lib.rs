//! Orders to a venue and its reports back, on a thread of its own.
//!
//! * [`desk`]: every order that left: what is known of it, what has to be asked, what has to be cancelled
//! * [`link`]: a WebSocket connection that is made again when it is lost
//! * [`agent`]: the duty cycle: order ring, kill word, sockets
//! * [`takeover`]: another gateway in the place of one that has fallen

pub mod agent;
pub mod desk;
pub mod link;
pub mod takeover;

pub use agent::{DeadManSwitch, Gateway, GatewayConfig, Meters};
pub use desk::{Desk, Unsent};
pub use takeover::{Known, Takeover};
