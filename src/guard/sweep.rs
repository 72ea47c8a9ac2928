//! Cancels everything at the venue, in as few requests as it has for it, and looks until nothing stands.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kimera_venues::binance::account::{read_orders, signed_path};
use kimera_venues::binance::signing::Signer;

use crate::config::Config;
use crate::engine::endpoints::Endpoints;
use crate::exit::Failure;
use crate::handshake::{self, ask};

/// Longest time for one sweep.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at what stands.
const LOOK: Duration = Duration::from_millis(20);
const CANCEL_ALL: &str = "/fapi/v1/allOpenOrders";
const OPEN: &str = "/fapi/v1/openOrders";

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Orders that were seen standing.
    pub stood: usize,
    /// Orders that stand still.
    pub left: usize,
    /// Requests to take them back.
    pub requests: u32,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left {
            0 => write!(f, "{} orders taken back, none stands", self.stood),
            left => write!(f, "{left} of {} orders still stand", self.stood),
        }
    }
}

/// The guard's own way to the venue. Everything is looked up again for each sweep: the venue may have come back elsewhere.
pub struct Venue {
    endpoints: PathBuf,
    signer: Signer,
    config: Config,
}

impl Venue {
    /// A way to the venue of a configuration.
    #[must_use]
    pub fn new(config: &Config, endpoints: &Path, signer: Signer) -> Self {
        Self { endpoints: endpoints.to_owned(), signer, config: config.clone() }
    }

    fn address(&self) -> Result<SocketAddr, Failure> {
        let known = Endpoints::read(&self.endpoints)?;
        let traded = self.config.instruments.iter().find(|s| s.feed == self.config.strategy.trades);
        let market =
            traded.map(|s| s.market).ok_or_else(|| Failure::configuration("strategy.trades is no feed"))?;
        known.address(market)
    }

    /// Cancels everything and waits until nothing stands.
    ///
    /// # Errors
    /// Where the venue does not answer, or answers nonsense.
    pub fn sweep(&self) -> Result<Swept, Failure> {
        let address = self.address()?;
        let instrument = self.config.traded().map_err(Failure::configuration)?;
        let clock = handshake::learn(address)?;
        let headers = [("X-MBX-APIKEY", self.signer.api_key())];
        let symbol = format!("symbol={}", instrument.symbol);
        let signed = |path: &str| signed_path(&self.signer, path, &symbol, clock.now() / 1_000_000);
        let standing = || {
            let body = ask(address, "GET", &signed(OPEN), OPEN, &headers)?;
            let orders = read_orders(&instrument, &body).map_err(|e| {
                Failure::venue(format!("venue at {address}: its open orders are unreadable: {e}"))
            })?;
            Ok::<usize, Failure>(orders.iter().filter(|o| o.standing).count())
        };
        let deadline = Instant::now() + PATIENCE;
        let cancel = || ask(address, "DELETE", &signed(CANCEL_ALL), CANCEL_ALL, &headers);
        // What stands is asked for and not waited for: everything is cancelled first.
        let mut listing = handshake::begin(address, "GET", &signed(OPEN), &headers).ok();
        cancel()?;
        let mut swept = Swept { requests: 1, ..Swept::default() };
        while let Some(exchange) = &mut listing {
            match exchange.poll() {
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Ok(Some(response)) => {
                    let orders = read_orders(&instrument, &response.body).unwrap_or_default();
                    swept.stood = orders.iter().filter(|o| o.standing).count();
                    listing = None;
                }
                Err(_) => listing = None,
            }
        }
        loop {
            swept.left = standing()?;
            swept.stood = swept.stood.max(swept.left);
            if swept.left == 0 || Instant::now() > deadline {
                return Ok(swept);
            }
            // One that was on its way when everything was cancelled.
            std::thread::sleep(LOOK);
            cancel()?;
            swept.requests += 1;
        }
    }
}
