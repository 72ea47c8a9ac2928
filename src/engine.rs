//! A live run: builds the line, agrees on the clock, runs until its end, closes everything in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kimera_feed::{Feed, FeedConfig};
use kimera_journal::format::CODE_EPOCH;
use kimera_journal::{Blobs, Journal, JournalConfig, JournalFailure};
use kimera_protocol::{Command, CommandCode, Flags, Header, Message, Started};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::executor::ThreadedExecutor;
use kimera_runtime::memory::{ArenaReport, in_arena, init_arena, lock_arena};
use kimera_runtime::plan::{Plan, available_cores};
use kimera_runtime::seat::{AgentSeat, Cell, Ports};
use kimera_runtime::topology::{SEQUENCER, Topology, Wiring};
use kimera_runtime::{Counters, Frontier, MarketClock, Port, Tsc, Work};
use kimera_sequencer::{Door, Sequencer};
use kimera_simulator_endpoints::Endpoints;
use kimera_venues::binance::MarketDecoder;

use crate::config::{Config, MarketName, plan};
use crate::exit::Failure;
use crate::handshake::{VenueClock, agree, check};
use crate::line;
use crate::report::{EndReason, EngineSummary};
use crate::state::State;

/// The addresses the venue wrote down. The engine knows their form and nothing else of the simulator.
mod kimera_simulator_endpoints {
    use std::net::SocketAddr;

    /// Market name and address.
    #[derive(serde::Deserialize)]
    pub struct Endpoints {
        pub markets: Vec<(String, SocketAddr)>,
    }
}

/// Time between the agreement on the clock and its start: the feeds connect in it.
const START_DELAY_MS: u64 = 300;
/// A duty cycle longer than this ends the engine.
const STUCK: Duration = Duration::from_secs(5);
/// Time until a cycle that was found too long is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// Longest wait for the line to finish what is in flight.
const DRAIN: Duration = Duration::from_secs(10);
/// Wall time left to the last frames of a tape, ns.
const TAPE_GRACE: u64 = 50_000_000;
/// Poll with work at which the canary allocates.
const CANARY_POLL: u64 = 50;
const HOUSEKEEPING: Duration = Duration::from_millis(5);

/// Arguments of a run.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Configuration file.
    pub config: PathBuf,
    /// State directory.
    pub state: PathBuf,
    /// File with the venue's addresses.
    pub endpoints: PathBuf,
    /// Market time after which the run ends; the tape's end where none.
    pub market_ns: Option<i64>,
    /// Core plan instead of the configuration's.
    pub plan: Option<String>,
    /// Ends when this is not the parent process any more.
    pub parent: Option<u32>,
    /// Allocates once inside a sealed seat, to show that the count would notice.
    pub canary: bool,
}

struct Built {
    cells: Vec<Box<dyn Cell>>,
    control: Ports,
    counters: Counters,
    sinks: Vec<Arc<Frontier>>,
    failure: JournalFailure,
    degraded: Vec<String>,
}

/// Runs an engine to its end.
///
/// # Errors
/// A [`Failure`]: what could not be had, or what broke.
pub fn run(options: &EngineOptions, interrupted: &AtomicBool) -> Result<EngineSummary, Failure> {
    let config = Config::load(&options.config)?;
    let topology = line::topology(&config);
    let cores = available_cores();
    let plan = plan(options.plan.as_deref().unwrap_or(&config.plan), cores.len())?;
    plan.check(&topology, None).map_err(Failure::configuration)?;
    let pin = match plan.check(&topology, Some(&cores)) {
        Ok(()) => true,
        // One core is less than the smallest plan has: it runs there unpinned, and says so.
        Err(_) if config.plan == "auto" && options.plan.is_none() && cores.len() < 2 => false,
        Err(e) => return Err(Failure::configuration(e)),
    };
    let endpoints = read_endpoints(&options.endpoints)?;
    let state = State::take(&options.state)?;
    if state.layout().journal().exists() {
        return Err(Failure::run(format!(
            "{} holds the journal of an earlier run; give this run a directory of its own with --state",
            state.root().display()
        )));
    }
    let blob = config.to_text().map_err(Failure::configuration)?;
    let configuration = Blobs::of(state.root()).put(blob.as_bytes()).map_err(|e| {
        Failure::run(format!("cannot keep the configuration in {}: {e}", state.root().display()))
    })?;
    let first = address(&endpoints, config.instruments[0].market)?;
    let venue = agree(first, START_DELAY_MS)?;
    let mut built = in_arena_of(&config, || build(&config, &topology, &state, &endpoints, &venue.clock))??;
    if !pin {
        built.degraded.push("fewer than two cores: threads run unpinned".into());
    }
    if options.canary {
        built.cells = built.cells.into_iter().map(Canary::wrap).collect();
    }
    let arena = lock_arena();
    built.degraded.extend(arena.degraded.iter().cloned());
    let started = Started {
        incarnation: state.incarnation(),
        code_epoch: CODE_EPOCH,
        configuration,
        build: build_hash(),
        origin: venue.clock.origin,
        speed: u64::from(venue.clock.speed),
    };
    if !built.control.send(Port::Input, Message::new(Header::default(), started)) {
        return Err(Failure::run("the sequencer's control ring is full before the start"));
    }
    check(first, time_path(config.instruments[0].market), &venue.clock)?;
    live(options, &plan, built, &venue, &state, &arena, pin, interrupted)
}

fn in_arena_of<T>(config: &Config, build: impl FnOnce() -> T) -> Result<T, Failure> {
    init_arena((config.memory.arena_mib as usize) << 20).map_err(|e| {
        Failure::run(format!("cannot reserve the arena of {} MiB: {e}", config.memory.arena_mib))
    })?;
    Ok(in_arena(build))
}

fn read_endpoints(path: &Path) -> Result<Endpoints, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::run(format!("cannot read the venue's addresses from {}: {e}", path.display()))
    })?;
    serde_json::from_str(&text)
        .map_err(|e| Failure::run(format!("{}: not the addresses of a venue: {e}", path.display())))
}

fn address(endpoints: &Endpoints, market: MarketName) -> Result<SocketAddr, Failure> {
    let found = endpoints.markets.iter().find(|(name, _)| name == market.name());
    found
        .map(|(_, address)| *address)
        .ok_or_else(|| Failure::configuration(format!("the venue has no market \"{}\"", market.name())))
}

fn time_path(market: MarketName) -> &'static str {
    match market {
        MarketName::Spot => "/api/v3/time",
        MarketName::UsdM => "/fapi/v1/time",
    }
}

/// BLAKE3 of the running program; zeros where it cannot be read.
fn build_hash() -> [u8; 32] {
    std::fs::read("/proc/self/exe").map_or([0; 32], |bytes| *blake3::hash(&bytes).as_bytes())
}

fn build(
    config: &Config,
    topology: &Topology,
    state: &State,
    endpoints: &Endpoints,
    clock: &MarketClock,
) -> Result<Built, Failure> {
    let layout = state.layout();
    let counters = Counters::create(&layout.counters(), state.incarnation())
        .map_err(|e| Failure::run(format!("cannot make {}: {e}", layout.counters().display())))?;
    let tsc = Tsc::calibrate();
    let mut wiring = Wiring::build(topology).map_err(Failure::configuration)?;
    let mut cells = line::cells(config, topology, &mut wiring, &counters, tsc, &BTreeMap::new())?;
    let mut take = |name: &str| {
        wiring.take(name).ok_or_else(|| Failure::run(format!("the topology has no seat \"{name}\"")))
    };
    let instruments = config.instruments().map_err(Failure::configuration)?;
    for (section, instrument) in config.instruments.iter().zip(instruments) {
        let market = address(endpoints, section.market)?;
        let feed = FeedConfig {
            name: section.feed.clone(),
            stream: market,
            rest: market,
            snapshot_levels: section.snapshot_levels,
        };
        let decoder = MarketDecoder::new(section.market.dialect(), instrument);
        // Connecting and snapshots allocate: an agent with sockets is not held to the seal.
        cells.push(Box::new(AgentSeat::new(
            Feed::new(feed, decoder, &counters),
            take(&section.feed)?,
            false,
        )));
    }
    let control = take(line::CONTROL)?;
    let (sequencer_ports, journal_ports) = (take(SEQUENCER)?, take(line::JOURNAL)?);
    let sinks = wiring.sinks();
    let door = Door::new(sinks.clone());
    let classes = line::input_classes(topology);
    let sequencer = Sequencer::new(door, *clock, classes, config.instruments.len(), &counters);
    cells.push(Box::new(AgentSeat::new(sequencer, sequencer_ports, true)));
    let failure = JournalFailure::default();
    let journal = JournalConfig {
        folder: layout.journal(),
        segment_bytes: u64::from(config.journal.segment_mib) << 20,
        commit_interval: u64::from(config.journal.commit_interval_us) * 1_000,
        incarnation: state.incarnation(),
    };
    let (journal, degraded) = Journal::create(journal, &counters, failure.clone()).map_err(|e| {
        Failure::run(format!("cannot make the journal in {}: {e}", layout.journal().display()))
    })?;
    cells.push(Box::new(AgentSeat::new(journal, journal_ports, false)));
    Ok(Built { cells, control, counters, sinks, failure, degraded: degraded.into_iter().collect() })
}

#[allow(clippy::too_many_arguments)] // Everything a run owns, once.
fn live(
    options: &EngineOptions,
    plan: &Plan,
    mut built: Built,
    venue: &VenueClock,
    state: &State,
    arena: &ArenaReport,
    pin: bool,
    interrupted: &AtomicBool,
) -> Result<EngineSummary, Failure> {
    let clock = venue.clock;
    let end = options.market_ns.map_or(venue.end, |ns| venue.end.min(clock.origin.saturating_add(ns)));
    let executor = ThreadedExecutor::start(plan, std::mem::take(&mut built.cells), &built.counters, pin)
        .map_err(|e| Failure::run(format!("cannot start a thread: {e}")))?;
    executor.seal();
    let mut watchdog = Watchdog::new(STUCK, SECOND_LOOK);
    let reason = loop {
        std::thread::sleep(HOUSEKEEPING);
        built.counters.heartbeat(monotonic_ns());
        if let Some(broken) = broken(&executor, &built.failure) {
            return Err(abort(executor, &broken));
        }
        if let Some(thread) = watchdog.stuck(&executor) {
            // It cannot be stopped: the process ends with it, and the journal with what is on disk.
            std::mem::forget(executor);
            let seconds = STUCK.as_secs();
            return Err(Failure::run(format!(
                "the engine was ended: thread {thread} has not come back from its duty cycle for {seconds} s"
            )));
        }
        if interrupted.load(Ordering::Acquire) {
            break EndReason::Interrupted;
        }
        if options.parent.is_some_and(|parent| std::os::unix::process::parent_id() != parent) {
            break EndReason::ParentGone;
        }
        // The tape's last frames are still on their way when its time is over.
        let grace = if end == venue.end { TAPE_GRACE } else { 0 };
        if monotonic_ns() >= clock.instant_of(end).saturating_add(grace) {
            break if end == venue.end { EndReason::TapeEnded } else { EndReason::TimeReached };
        }
    };
    let market_end = clock.now().min(end);
    let stopped = stop_line(&mut built, &executor);
    for thread in executor.reports() {
        if thread.pin_refused.load(Ordering::Acquire) {
            built.degraded.push(format!("thread {} could not be pinned", thread.name));
        }
    }
    // Whatever went wrong, the journal is closed first.
    let (cells, failures) = executor.finish();
    drop(cells);
    if let Some(seat) = failures.into_iter().next() {
        return Err(Failure::run(format!("seat {} panicked: {}", seat.seat, seat.message)));
    }
    if let Some(text) = built.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Failure::run(text));
    }
    stopped?;
    let snapshot = built.counters.snapshot();
    Ok(EngineSummary::new(&snapshot, plan, &clock, market_end, reason, state, arena, built.degraded))
}

/// A seat that allocates once, after some work under the seal.
struct Canary {
    inner: Box<dyn Cell>,
    worked: u64,
}

impl Canary {
    fn wrap(inner: Box<dyn Cell>) -> Box<dyn Cell> {
        if inner.name() == line::MARKET { Box::new(Self { inner, worked: 0 }) } else { inner }
    }
}

impl Cell for Canary {
    fn poll(&mut self) -> Work {
        let work = self.inner.poll();
        self.worked += u64::from(work == Work::Done);
        if work == Work::Done && self.worked == CANARY_POLL {
            kimera_runtime::memory::canary();
        }
        work
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

/// What has broken, if anything: a seat or the disk.
fn broken(executor: &ThreadedExecutor, failure: &JournalFailure) -> Option<String> {
    if let Some(seat) = executor.failures().into_iter().next() {
        return Some(format!("seat {} panicked: {}", seat.seat, seat.message));
    }
    failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Notices a thread that does not come back from its duty cycle.
struct Watchdog {
    limit: Duration,
    second_look: Duration,
    /// The start of the cycle that was found too long, and when it was.
    suspect: Option<(u64, u64)>,
}

impl Watchdog {
    fn new(limit: Duration, second_look: Duration) -> Self {
        Self { limit, second_look, suspect: None }
    }

    /// The thread's name once it is stuck. A cycle that is too long is looked at again after a while: when the whole
    /// machine has been away, every thread gets the chance to say that it is back.
    fn stuck(&mut self, executor: &ThreadedExecutor) -> Option<String> {
        let now = monotonic_ns();
        let long = executor.reports().iter().find_map(|t| {
            let started = t.cycle_started.load(Ordering::Acquire);
            (started != 0 && now.saturating_sub(started) > self.limit.as_nanos() as u64)
                .then(|| (started, t.name.clone()))
        });
        let Some((started, name)) = long else {
            self.suspect = None;
            return None;
        };
        match self.suspect {
            Some((same, noticed)) if same == started => {
                (now.saturating_sub(noticed) > self.second_look.as_nanos() as u64).then_some(name)
            }
            _ => {
                self.suspect = Some((started, now));
                None
            }
        }
    }
}

/// Ends a run that is broken: the threads are stopped, the journal keeps what it has.
fn abort(executor: ThreadedExecutor, reason: &str) -> Failure {
    drop(executor.finish());
    Failure::run(format!("the engine was ended: {reason}"))
}

/// Sequences the end of the run and waits until every stage is done with it.
fn stop_line(built: &mut Built, executor: &ThreadedExecutor) -> Result<(), Failure> {
    let body = Command { code: CommandCode::Stop as u64, ..Command::default() };
    let mut stop = Message::new(Header::default(), body);
    stop.header.flags |= Flags::STOP;
    let deadline = monotonic_ns() + DRAIN.as_nanos() as u64;
    while !built.control.send(Port::Input, stop) {
        wait_until(deadline)?;
    }
    let (stopped, seq) =
        (built.counters.counter_of("sequencer.stopped"), built.counters.counter_of("sequencer.seq"));
    while stopped.get() == 0 || built.sinks.iter().any(|sink| sink.get() < seq.get()) {
        if let Some(broken) = broken(executor, &built.failure) {
            return Err(Failure::run(broken));
        }
        wait_until(deadline)?;
    }
    Ok(())
}

fn wait_until(deadline: u64) -> Result<(), Failure> {
    if monotonic_ns() > deadline {
        return Err(Failure::run(format!("the line did not finish within {} s", DRAIN.as_secs())));
    }
    std::thread::sleep(HOUSEKEEPING);
    Ok(())
}

/// A flag that SIGINT and SIGTERM set.
///
/// # Errors
/// Where the system refuses a handler.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, flag.clone())
            .map_err(|e| Failure::run(format!("cannot take signal {signal}: {e}")))?;
    }
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_runtime::idle::Idle;
    use kimera_runtime::plan::ThreadPlan;

    /// Does not come back from its poll until it is let go.
    struct Held(Arc<AtomicBool>);

    impl Cell for Held {
        fn poll(&mut self) -> Work {
            while self.0.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            Work::Idle
        }

        fn name(&self) -> &str {
            "held"
        }

        fn is_sealed(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_thread_that_does_not_come_back_is_named_and_one_that_does_is_not() {
        let thread =
            ThreadPlan { name: "line".into(), core: None, idle: Idle::SpinYield, seats: vec!["held".into()] };
        let plan = Plan { name: "test".into(), threads: vec![thread] };
        let held = Arc::new(AtomicBool::new(true));
        let cells: Vec<Box<dyn Cell>> = vec![Box::new(Held(held.clone()))];
        let executor = ThreadedExecutor::start(&plan, cells, &Counters::detached(), false).unwrap();
        let mut watchdog = Watchdog::new(Duration::from_millis(20), Duration::from_millis(20));
        let named = loop {
            if let Some(name) = watchdog.stuck(&executor) {
                break name;
            }
            std::thread::yield_now();
        };
        assert_eq!(named, "line");
        held.store(false, Ordering::Release);
        let mut patient = Watchdog::new(Duration::from_secs(600), Duration::ZERO);
        let cycles = || executor.reports()[0].cycles.load(Ordering::Acquire);
        while cycles() < 100 {
            assert_eq!(patient.stuck(&executor), None);
        }
        drop(executor.finish());
    }
}
