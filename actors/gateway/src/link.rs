//! A WebSocket connection that is made again when it is lost.

use std::net::SocketAddr;
use std::time::Duration;

use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::net::tcp::{Backoff, Dialer};
use kimera_runtime::net::websocket::WsClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that has accepted the connection must agree to the upgrade in this time, ns.
const UPGRADE_TIMEOUT: u64 = 5_000_000_000;

enum State {
    /// Not before this monotonic instant.
    Down(u64),
    Dialing(Dialer),
    Up {
        client: Box<WsClient>,
        since: u64,
        told: bool,
    },
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Idle,
    /// Bytes arrived, or the connection made progress.
    Moved,
    /// It is open from here on.
    Opened,
    /// It was open and is lost.
    Lost,
}

/// The connection.
pub struct Link {
    address: SocketAddr,
    state: State,
    backoff: Backoff,
}

impl Link {
    /// A connection to be made at the first poll with a path.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        Self { address, state: State::Down(0), backoff }
    }

    /// True where a request can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.state, State::Up { client, told: true, .. } if client.is_open())
    }

    /// True where there is no connection, not even one being made.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down(_))
    }

    /// The client, while it is open.
    pub fn client(&mut self) -> Option<&mut WsClient> {
        match &mut self.state {
            State::Up { client, told: true, .. } => Some(client),
            _ => None,
        }
    }

    /// Gives the connection up; it is made again later.
    pub fn drop_connection(&mut self) -> Turn {
        let was_open = self.is_open();
        self.state = State::Down(self.backoff.fail());
        if was_open { Turn::Lost } else { Turn::Moved }
    }

    /// Makes progress; without a path nothing is connected.
    pub fn poll(&mut self, path: Option<&str>) -> Turn {
        match std::mem::replace(&mut self.state, State::Down(0)) {
            State::Down(until) => {
                self.state = State::Down(until);
                if path.is_none() || monotonic_ns() < until {
                    return Turn::Idle;
                }
                match Dialer::start(self.address, CONNECT_TIMEOUT) {
                    Ok(dialer) => self.state = State::Dialing(dialer),
                    Err(_) => return self.drop_connection(),
                }
                Turn::Moved
            }
            State::Dialing(dialer) => match (dialer.poll(), path) {
                (Ok(Ok(stream)), Some(path)) => {
                    let client = Box::new(WsClient::upgrade(stream, &self.address.to_string(), path));
                    self.state = State::Up { client, since: monotonic_ns(), told: false };
                    Turn::Moved
                }
                (Ok(Err(dialer)), _) => {
                    self.state = State::Dialing(dialer);
                    Turn::Idle
                }
                _ => self.drop_connection(),
            },
            State::Up { client, since, told } => {
                self.state = State::Up { client, since, told };
                self.pump()
            }
        }
    }

    fn pump(&mut self) -> Turn {
        let State::Up { client, since, told } = &mut self.state else { return Turn::Idle };
        match client.pump() {
            Err(_) => self.drop_connection(),
            Ok(_) if client.is_open() && !*told => {
                *told = true;
                self.backoff.succeed();
                Turn::Opened
            }
            Ok(false) if !*told && monotonic_ns().saturating_sub(*since) > UPGRADE_TIMEOUT => {
                self.drop_connection()
            }
            Ok(true) => Turn::Moved,
            Ok(false) => Turn::Idle,
        }
    }
}
