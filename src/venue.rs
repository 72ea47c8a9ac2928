//! `kimera venue`: the simulated venue in a process of its own, with its own durable truth. The one place outside the
//! simulation that names the simulator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use kimera_runtime::plan::keep_to_cores;
use kimera_runtime::{Listener, Pulse};
use kimera_simulator::kept_clock::KeptClock;
use kimera_simulator::{Endpoints, Server, ServerConfig, Tape, TapeError};

use crate::claim::Claim;
use crate::config::LogSection;
use crate::engine::interrupt_flag;
use crate::exit::{Exit, Failure};
use crate::log;
use crate::log::Category::System;
use crate::state;

/// Arguments of `kimera venue`.
#[derive(Debug, Args)]
pub struct VenueArgs {
    /// Folder of the tape.
    #[arg(long, default_value = "data/binance-20240808")]
    data: PathBuf,
    /// Market seconds a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: u32,
    /// Port of the first market, the next ones follow; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// File to write the addresses to.
    #[arg(long)]
    endpoints: PathBuf,
    /// File of the account [default: in memory]. Orders are taken where KIMERA_PAPER_KEY and KIMERA_PAPER_SECRET are set.
    #[arg(long)]
    account: Option<PathBuf>,
    /// File of the clock: where it holds one, the venue goes on there, on the addresses it had [default: begins anew].
    #[arg(long)]
    clock: Option<PathBuf>,
    /// File that one venue at a time holds.
    #[arg(long)]
    lock: Option<PathBuf>,
    /// Cores it keeps to, so that the line has its own: 0,1.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Do not tell this fill, counted from 1, on the private stream.
    #[arg(long, hide = true)]
    drop_fill: Option<u64>,
    /// A supervisor's pulse: the venue ends where it is silent for --linger-ms.
    #[arg(long)]
    pulse: Option<PathBuf>,
    /// How long it plays on without a supervisor.
    #[arg(long, default_value_t = 75_000, requires = "pulse")]
    linger_ms: u64,
}

/// Runs the venue until it is told to stop.
///
/// # Errors
/// What could not be had, or what broke.
pub fn run(a: &VenueArgs) -> Result<Exit, Failure> {
    let stop = interrupt_flag()?;
    let _claim = a.lock.as_deref().map(|path| Claim::take(path, "venue")).transpose()?;
    // Its log lies beside its lock, in a run's directory.
    let log = a.lock.as_deref().map(|lock| lock.with_extension("log")).unwrap_or_default();
    let _log = log::thread::begin("venue", &LogSection::default(), &log)?;
    if !a.cores.is_empty() && !keep_to_cores(&a.cores) {
        return Err(Failure::usage(format!("--cores: this process may not use cores {:?}", a.cores)));
    }
    if let Some(path) = &a.pulse {
        let pulse = Pulse::open(path)
            .map_err(|e| Failure::machine(format!("cannot use the pulse {}: {e}", path.display())))?;
        follow(pulse, Duration::from_millis(a.linger_ms), stop.clone())?;
    }
    let tape = Tape::load(&a.data).map_err(|e| match e {
        TapeError::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::missing(e)
        }
        _ => Failure::data(e),
    })?;
    let secret = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let credentials = secret("KIMERA_PAPER_KEY").zip(secret("KIMERA_PAPER_SECRET").map(String::into_bytes));
    let config = ServerConfig {
        bind: addresses(a, tape.recordings.len())?,
        speed: a.speed,
        credentials,
        account: a.account.clone(),
        clock: a.clock.clone(),
        drop_fill: a.drop_fill,
    };
    let mut server = Server::bind(tape, &config).map_err(Failure::machine)?;
    let endpoints = server.endpoints().map_err(Failure::machine)?;
    let text = serde_json::to_string(&endpoints).map_err(Failure::defect)?;
    state::replace(&a.endpoints, text.as_bytes())
        .map_err(|e| Failure::machine(format!("cannot write {}: {e}", a.endpoints.display())))?;
    server.run(&stop);
    server.failed().map_or(Ok(Exit::Ok), |reason| Err(Failure::machine(reason)))
}

/// Where to listen: where it listened before it was killed, else as the arguments say.
fn addresses(a: &VenueArgs, markets: usize) -> Result<Vec<SocketAddr>, Failure> {
    if goes_on(a)?
        && let Ok(text) = std::fs::read_to_string(&a.endpoints)
        && let Ok(known) = serde_json::from_str::<Endpoints>(&text)
        && known.markets.len() == markets
    {
        return Ok(known.markets.into_iter().map(|(_, address)| address).collect());
    }
    let port = |i: usize| if a.port == 0 { Some(0) } else { a.port.checked_add(u16::try_from(i).ok()?) };
    let ports: Option<Vec<u16>> = (0..markets).map(port).collect();
    let ports = ports
        .ok_or_else(|| Failure::usage(format!("--port {} leaves no port for the next market", a.port)))?;
    Ok(ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect())
}

fn goes_on(a: &VenueArgs) -> Result<bool, Failure> {
    let kept = a.clock.as_deref().map(KeptClock::load).transpose().map_err(Failure::data)?;
    Ok(kept.flatten().is_some())
}

/// Sets `stop` once a supervisor has been silent for too long.
fn follow(pulse: Pulse, linger: Duration, stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let watch = move || {
        let mut supervisor = Listener::new(pulse);
        while supervisor.silence().is_none_or(|silence| silence < linger) {
            std::thread::sleep(Duration::from_millis(200));
        }
        log::warn(System, "no supervisor has come back: the venue ends");
        stop.store(true, Ordering::Release);
    };
    let spawned = std::thread::Builder::new().name("pulse".into()).spawn(watch);
    spawned.map(|_| ()).map_err(|e| Failure::machine(format!("cannot start a thread: {e}")))
}
