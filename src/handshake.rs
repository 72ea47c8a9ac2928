//! The clock that venue and engine share: agreed before the first frame, checked against the venue's own time.

use std::net::SocketAddr;
use std::time::Duration;

use kimera_runtime::net::http::Exchange;
use kimera_runtime::{MarketClock, clock};
use serde::Deserialize;

use crate::exit::Failure;

/// What the venue says of its clock.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct VenueClock {
    /// The clock.
    pub clock: MarketClock,
    /// True once started.
    pub running: bool,
    /// Market time at which the tape ends.
    pub end: i64,
}

#[derive(Deserialize)]
struct ServerTime {
    #[serde(rename = "serverTime")]
    server_time: i64,
}

const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer: some ten thousand open orders.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Wall time the two readings of the clock may be apart.
const TOLERANCE_MS: i64 = 250;

/// Begins an exchange that is polled.
///
/// # Errors
/// Where there is no way to the venue.
pub fn begin(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> std::io::Result<Exchange> {
    let mut exchange = Exchange::start(address, method, path, headers, b"", ANSWER_BYTES_MAX, TIMEOUT)
        .map_err(std::io::Error::other)?;
    exchange.poll().map_err(std::io::Error::other)?;
    Ok(exchange)
}

/// One exchange, waited for. `shown` names the path in errors: a signed one is not for anybody's log.
///
/// # Errors
/// Where the venue does not answer, or answers with another status than 200.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    shown: &str,
    headers: &[(&str, &str)],
) -> Result<Vec<u8>, Failure> {
    let fail =
        |e: &dyn std::fmt::Display| Failure::network(format!("venue at {address}: {method} {shown}: {e}"));
    let mut exchange = Exchange::start(address, method, path, headers, b"", ANSWER_BYTES_MAX, TIMEOUT)
        .map_err(|e| fail(&e))?;
    loop {
        match exchange.poll() {
            Ok(Some(response)) if response.status == 200 => return Ok(response.body),
            Ok(Some(response)) => {
                return Err(fail(&format!(
                    "status {}: {}",
                    response.status,
                    String::from_utf8_lossy(&response.body)
                )));
            }
            Ok(None) => clock::sleep(Duration::from_micros(200)),
            Err(e) => return Err(fail(&e)),
        }
    }
}

/// Starts the venue's clock `delay_ms` from now, or learns the one that runs.
///
/// # Errors
/// Where the venue does not answer or answers nonsense.
pub fn agree(address: SocketAddr, delay_ms: u64) -> Result<VenueClock, Failure> {
    let path = format!("/kimera/v1/clock/start?delay_ms={delay_ms}");
    let body = ask(address, "POST", &path, &path, &[])?;
    let state: VenueClock = serde_json::from_slice(&body)
        .map_err(|e| Failure::venue(format!("venue at {address}: its clock is unreadable: {e}")))?;
    let sane = state.running && (1..=100).contains(&state.clock.speed) && state.clock.start != u64::MAX;
    if !sane || state.end <= state.clock.origin {
        return Err(Failure::venue(format!("venue at {address}: its clock makes no sense: {state:?}")));
    }
    Ok(state)
}

/// The clock of a venue, running or not.
///
/// # Errors
/// Where the venue does not answer or answers nonsense.
pub fn learn(address: SocketAddr) -> Result<MarketClock, Failure> {
    let path = "/kimera/v1/clock";
    let body = ask(address, "GET", path, path, &[])?;
    let state: VenueClock = serde_json::from_slice(&body)
        .map_err(|e| Failure::venue(format!("venue at {address}: its clock is unreadable: {e}")))?;
    Ok(state.clock)
}

/// Compares our reading of the shared clock with the venue's.
///
/// # Errors
/// Where they are apart, or the venue does not answer.
pub fn check(address: SocketAddr, time_path: &str, clock: &MarketClock) -> Result<(), Failure> {
    let before = clock.now();
    let body = ask(address, "GET", time_path, time_path, &[])?;
    let after = clock.now();
    let said: ServerTime = serde_json::from_slice(&body)
        .map_err(|e| Failure::venue(format!("venue at {address}: its time is unreadable: {e}")))?;
    let slack = TOLERANCE_MS * i64::from(clock.speed);
    let (low, high) = (before / 1_000_000 - slack, after / 1_000_000 + slack);
    if !(low..=high).contains(&said.server_time) {
        return Err(Failure::venue(format!(
            "venue at {address} says {} ms where our clock is between {low} and {high}: are both on this machine?",
            said.server_time
        )));
    }
    Ok(())
}
