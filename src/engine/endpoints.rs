//! The addresses the venue wrote down. The engine knows their form and nothing else of the simulator.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::MarketName;
use crate::exit::Failure;

/// Market name and address.
#[derive(serde::Deserialize)]
pub struct Endpoints {
    /// One pair a market.
    pub markets: Vec<(String, SocketAddr)>,
}

impl Endpoints {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it is not there or holds something else.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::machine(format!("cannot read the venue's addresses from {}: {e}", path.display()))
        })?;
        serde_json::from_str(&text)
            .map_err(|e| Failure::data(format!("{}: not the addresses of a venue: {e}", path.display())))
    }

    /// Where a market is.
    ///
    /// # Errors
    /// Where the venue has none of that name.
    pub fn address(&self, market: MarketName) -> Result<SocketAddr, Failure> {
        let found = self.markets.iter().find(|(name, _)| name == market.name());
        let unknown = || Failure::configuration(format!("the venue has no market \"{}\"", market.name()));
        found.map(|(_, address)| *address).ok_or_else(unknown)
    }
}
