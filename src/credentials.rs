//! The account's credentials: from the environment, or the paper account's own, made for a run and kept in its directory.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use kimera_venues::binance::signing::Signer;

use crate::exit::Failure;
use crate::state::Layout;

/// Environment variables with the credentials of the simulated venue.
pub const CREDENTIALS: [&str; 2] = ["KIMERA_PAPER_KEY", "KIMERA_PAPER_SECRET"];

fn given() -> Option<[String; 2]> {
    match CREDENTIALS.map(|name| std::env::var(name).ok().filter(|v| !v.is_empty())) {
        [Some(key), Some(secret)] => Some([key, secret]),
        _ => None,
    }
}

fn signer_of([key, secret]: [String; 2]) -> Result<Signer, Failure> {
    Signer::new(&key, secret.as_bytes())
        .ok_or_else(|| Failure::configuration(format!("{} must be letters and digits", CREDENTIALS[0])))
}

/// The account's credentials, from the environment and from nowhere else.
///
/// # Errors
/// Where they are not set, or the key holds what no key holds. Neither is ever shown.
pub fn signer() -> Result<Signer, Failure> {
    let pair = given().ok_or_else(|| {
        Failure::configuration(format!(
            "{} and {} are not set: there are no credentials for the paper account",
            CREDENTIALS[0], CREDENTIALS[1]
        ))
    })?;
    signer_of(pair)
}

/// The environment's, else those that a run's supervisor has made.
///
/// # Errors
/// Where there are none.
pub fn of(layout: &Layout) -> Result<Signer, Failure> {
    match given().map_or_else(|| kept(layout), |pair| Ok(Some(pair)))? {
        Some(pair) => signer_of(pair),
        None => signer(),
    }
}

/// Those of the run's directory, if it has any.
fn kept(layout: &Layout) -> Result<Option<[String; 2]>, Failure> {
    let path = layout.paper_credentials();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::machine(format!("cannot read {}: {e}", path.display()))),
    };
    let mut lines = text.lines().map(str::to_owned);
    match (lines.next(), lines.next()) {
        (Some(key), Some(secret)) if !key.is_empty() && !secret.is_empty() => Ok(Some([key, secret])),
        _ => Err(Failure::data(format!("{} does not hold two lines; remove it", path.display()))),
    }
}

/// The environment's, the run's own from an earlier start, or fresh ones that are kept for its next start.
///
/// # Errors
/// Where none can be made or kept.
pub fn for_run(layout: &Layout) -> Result<[String; 2], Failure> {
    if let Some(pair) = given().map_or_else(|| kept(layout), |pair| Ok(Some(pair)))? {
        return Ok(pair);
    }
    let mut bytes = [0u8; 48];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Failure::machine(format!("cannot make credentials from /dev/urandom: {e}")))?;
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let pair = [hex(&bytes[..16]), hex(&bytes[16..])];
    let path = layout.paper_credentials();
    let written = File::options().write(true).create_new(true).mode(0o600).open(&path);
    written
        .and_then(|mut file| file.write_all(format!("{}\n{}\n", pair[0], pair[1]).as_bytes()))
        .map_err(|e| Failure::machine(format!("cannot keep the credentials in {}: {e}", path.display())))?;
    Ok(pair)
}
