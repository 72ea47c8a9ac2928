//! The addresses the venue wrote down. The engine knows their form and nothing else of the simulator.

use std::net::SocketAddr;

/// Market name and address.
#[derive(serde::Deserialize)]
pub struct Endpoints {
    /// One pair a market.
    pub markets: Vec<(String, SocketAddr)>,
}
