//! What the venue itself says of our account: asked before the first order and after the last.

use std::net::SocketAddr;

use kimera_protocol::Instrument;
use kimera_runtime::MarketClock;
use kimera_venues::binance::account::{AccountState, read_account, signed_path};
use kimera_venues::binance::signing::Signer;

use crate::exit::Failure;
use crate::handshake::ask;

/// An account at a venue.
pub struct VenueAccount {
    /// Where it is asked about.
    pub address: SocketAddr,
    /// For whom.
    pub signer: Signer,
    /// What is traded there.
    pub instrument: Instrument,
    /// The venue's clock.
    pub clock: MarketClock,
}

impl VenueAccount {
    /// What the venue says.
    ///
    /// # Errors
    /// Where it does not answer, or answers nonsense.
    pub fn state(&self) -> Result<AccountState, Failure> {
        let now_ms = self.clock.now() / 1_000_000;
        let path = signed_path(&self.signer, "/fapi/v2/account", "", now_ms);
        let headers = [("X-MBX-APIKEY", self.signer.api_key())];
        let body = ask(self.address, "GET", &path, "/fapi/v2/account", &headers)?;
        read_account(&self.instrument, &body)
            .map_err(|e| Failure::venue(format!("venue at {}: its account is unreadable: {e}", self.address)))
    }

    /// Refuses an account that is not as the books begin: flat, with the capital of the configuration.
    ///
    /// # Errors
    /// What differs.
    pub fn check_untouched(&self, capital: i64) -> Result<(), Failure> {
        let state = self.state()?;
        if state.position != 0 || state.cash != Some(capital) {
            return Err(Failure::venue(format!(
                "the account at {} holds {} in 1e-8 and a position of {} in 1e-8; the books begin with {capital} and none: give this run a fresh account or set account.capital",
                self.address,
                state.cash.map_or_else(|| "an unknown balance".into(), |c| c.to_string()),
                state.position
            )));
        }
        Ok(())
    }
}
