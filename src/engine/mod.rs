//! A live run: builds the line, agrees on the clock, runs until its end, closes everything in order.
//!
//! * [`build`]: seats, rings, agents; [`recovery`]: what an earlier start has left
//! * [`rejoin`]: members that are out, and how they come back; [`mend`]: stages of the line; [`takeover`]: gateways;
//!   [`workshop`]: what is computed for them beside the line
//! * [`live`]: the engine's own loop; [`commands`]: what is asked of it; [`closing`]: its end in order
//! * [`opinions`]: slow estimators beside the line
//! * [`control`]: its control socket; [`tree`]: the supervision tree inside
//! * [`venue_account`]: what the venue itself says of our account
//! * [`endpoints`]: the venue's addresses
//! * [`poison`]: inputs that a stage of the line does not survive
//! * [`orphan`]: an engine without a supervisor
//! * [`watchdog`]: notices what is stuck; [`faults`]: faults put in on purpose

pub mod build;
pub mod closing;
pub mod commands;
pub mod control;
mod definitions;
mod disk;
pub mod endpoints;
pub mod faults;
pub mod live;
pub mod mend;
mod news;
pub mod opinions;
pub mod orphan;
pub mod pattern_desk;
pub mod poison;
pub mod recovery;
pub mod rejoin;
mod sessions;
pub mod takeover;
pub mod tree;
pub mod venue_account;
pub mod watchdog;
pub mod workshop;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

use endpoints::Endpoints;
use kimera_journal::format::CODE_EPOCH;
use kimera_journal::{Blobs, JournalFailure};
use kimera_protocol::{Header, Message, Started};
use kimera_runtime::errors;
use kimera_runtime::failpoint;
use kimera_runtime::memory::{ArenaReport, in_arena, init_arena, lock_arena};
use kimera_runtime::plan::available_cores;
use kimera_runtime::seat::{Cell, Ports};
use kimera_runtime::topology::Frontiers;
use kimera_runtime::world;
use kimera_runtime::{AbsenceGate, Counters, Durability, Frontier, Inlet, KillWord, MarketClock, Port};
use kimera_venues::binance::signing::Signer;

use crate::config::{Config, MarketName, WayBack, chosen};
use crate::credentials::signer;
use crate::exit::Failure;
use crate::handshake::{agree, check};
use crate::line;
use crate::log;
use crate::log::Category::System;
use crate::log::line::Names;
use crate::log::thread::Followed;
use crate::machine::Machine;
use crate::machine::cores::Chosen;
use crate::machine::memory;
use crate::report::EngineSummary;
use crate::shelf::Ready;
use crate::state::{Layout, State};
use build::{Parts, build};
use control::Ask;
use faults::{Canary, Faults, Held};
use kimera_protocol::ErrorKind;
use opinions::{Estimators, History, OpinionDesk};
use poison::Deaths;
use recovery::{Earlier, RecoveryReport};
use rejoin::MemberSeat;
use tree::Tree;
use venue_account::VenueAccount;

/// Time between the agreement on the clock and its start: the feeds connect in it.
const START_DELAY_MS: u64 = 300;

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
    /// Somebody supervises it, and says so in the state directory.
    pub supervised: bool,
    /// Allocates once inside a sealed seat, and elsewhere gives nothing back: to show that it is noticed.
    pub canary: bool,
    /// The control socket may put faults in.
    pub faults: bool,
}

/// Everything a run owns before its threads start.
pub struct Built {
    /// Seats.
    pub cells: Vec<Box<dyn Cell>>,
    /// The engine's own seat at the sequencer.
    pub control: Ports,
    /// Counters.
    pub counters: Counters,
    /// Where inputs end.
    pub sinks: Vec<Arc<Frontier>>,
    /// How far the journal is on disk.
    pub durability: Arc<Durability>,
    /// Why the journal stopped, if it did.
    pub failure: JournalFailure,
    /// What the machine refused.
    pub degraded: Vec<String>,
    /// Members of the ensemble.
    pub members: Vec<MemberSeat>,
    /// The supervision tree.
    pub tree: Arc<Tree>,
    /// Who has died on what.
    pub deaths: Deaths,
    /// Records about that which this start has sent to the sequencer.
    pub skips_told: u64,
    /// Stages that can be made anew in their place.
    pub stages: Vec<mend::StageSeat>,
    /// The gateway's seat.
    pub gateway: takeover::GatewaySeat,
    /// Progress and absences of every seat.
    pub frontiers: Frontiers,
    /// Holds orders back while an absence is not durable.
    pub gate: Arc<AbsenceGate>,
    /// Set once the venue's dead man's switch is to be switched off.
    pub dead_man_off: Arc<AtomicBool>,
    /// Patterns that are ready to be loaded.
    pub patterns: Ready,
    /// What was taken up from an earlier start.
    pub recovery: Option<RecoveryReport>,
    /// What is worth a line in the log.
    pub log: Option<Inlet>,
    /// Where slow estimators hear and speak.
    pub opinions: Option<opinions::Ends>,
}

/// What an engine finds around it; a simulated firm brings its own.
pub struct Surroundings {
    /// Configuration.
    pub config: Config,
    /// The venue's addresses.
    pub endpoints: Endpoints,
    /// Credentials of the account.
    pub signer: Signer,
    /// Who asks things of the loop, where it is not the control socket.
    pub asks: Option<Receiver<Ask>>,
    /// Faults, where they are allowed.
    pub faults: Option<Faults>,
    /// Where it counts, where that is not its file.
    pub counters: Option<Counters>,
    /// The log, where what the line does is to be said.
    pub log: Option<log::thread::Running>,
}

/// Runs an engine to its end.
///
/// # Errors
/// A [`Failure`]: what could not be had, or what broke.
pub fn run(options: &EngineOptions, interrupted: &AtomicBool) -> Result<EngineSummary, Failure> {
    let config = Config::load(&options.config)?;
    let faults = options.faults.then(|| Faults::of(&line::topology(&config)));
    let endpoints = Endpoints::read(&options.endpoints)?;
    let log = log::thread::begin("engine", &config.log, &Layout::of(&options.state).log("engine"))?;
    let (asks, counters) = (None, None);
    let around =
        Surroundings { config, endpoints, signer: signer()?, asks, faults, counters, log: Some(log) };
    run_in(around, options, interrupted)
}

/// Runs an engine to its end in these surroundings.
///
/// # Errors
/// As [`run`].
pub fn run_in(
    around: Surroundings,
    options: &EngineOptions,
    interrupted: &AtomicBool,
) -> Result<EngineSummary, Failure> {
    let Surroundings { mut config, endpoints, signer, asks, faults, counters, log } = around;
    let topology = line::topology(&config);
    let cores = if world::active() { vec![0, 1] } else { available_cores() };
    let machine = if world::active() { Machine::at("/nowhere".as_ref()) } else { Machine::default() };
    let Chosen { plan, why } = chosen(options.plan.as_deref().unwrap_or(&config.plan), &machine, &cores)?;
    why.iter().for_each(|why| log::say(System, &format!("plan: {why}")));
    let plan = line::with_guests(plan, &topology);
    plan.check(&topology, None).map_err(Failure::configuration)?;
    let pin = match plan.check(&topology, Some(&cores)) {
        Ok(()) => true,
        // One core is less than the smallest plan has: it runs there unpinned, and says so.
        Err(_) if config.plan == "auto" && options.plan.is_none() && cores.len() < 2 => false,
        Err(e) => return Err(Failure::configuration(e)),
    };
    let state = State::take(&options.state)?;
    config.state = Some(state.root().to_owned());
    if !world::active() {
        let path = state.layout().errors("engine");
        errors::keep_in(&path)
            .map_err(|e| Failure::machine(format!("cannot use {}: {e}", path.display())))?;
    }
    failpoint::arm(state.incarnation()).map_err(Failure::configuration)?;
    let blob = config.to_text().map_err(Failure::configuration)?;
    let configuration = Blobs::of(state.root()).put(blob.as_bytes()).map_err(|e| {
        Failure::machine(format!("cannot keep the configuration in {}: {e}", state.root().display()))
    })?;
    let news = news::Desks::open(&config, &state.layout())?;
    let word = KillWord::open(&state.layout().kill_word())
        .map_err(|e| Failure::machine(format!("cannot use the kill word: {e}")))?;
    let first = endpoints.address(config.instruments[0].market)?;
    let venue = agree(first, START_DELAY_MS)?;
    let account = account(&config, &endpoints, signer, venue.clock)?;
    let earlier = Earlier::load(&state, &configuration, venue.clock.now())?;
    if earlier.is_none() {
        account.check_untouched(config.capital().map_err(Failure::configuration)?)?;
    }
    for passed_over in earlier.iter().flat_map(|e| &e.passed_over) {
        log::fault(ErrorKind::Data, "recovery", passed_over);
    }
    let parts = Parts {
        config: &config,
        topology: &topology,
        state: &state,
        endpoints: &endpoints,
        earlier: earlier.as_ref(),
        faults: faults.as_ref(),
        counters,
    };
    let mut built = in_arena_of(&config, || build(parts, &account))??;
    if let (Some(log), Some(inlet)) = (&log, built.log.take()) {
        log.follow(Followed {
            inlet,
            names: Names::of(&config, &topology)?,
            shed: built.counters.counter_of("log.shed"),
            lines_shed: built.counters.counter("log.lines_shed"),
            cores: if pin { plan.cores_for_others(&cores) } else { Vec::new() },
        });
    }
    if !pin {
        built.degraded.push("fewer than two cores: threads run unpinned".into());
    }
    if options.canary {
        built.cells = built.cells.into_iter().map(Canary::wrap).collect();
    }
    if let Some(faults) = &faults {
        let agents = line::agents(&topology);
        let held = |cell: Box<dyn Cell>| {
            // One that is made anew in its place panics within its seat.
            let group = config.supervision.group_of(cell.name());
            let in_place = group.is_some_and(|g| g.way_back == WayBack::InPlace);
            let gateway = cell.name() == config.account.gateway;
            let agent = !in_place && !gateway && agents.iter().any(|name| name == cell.name());
            Held::wrap(cell, agent, faults)
        };
        built.cells = built.cells.into_iter().map(held).collect();
    }
    let arena = if world::active() { ArenaReport::default() } else { lock_arena() };
    built.degraded.extend(arena.degraded.iter().cloned());
    memory::count_arena(&arena, &built.counters);
    let started = Started {
        incarnation: state.incarnation(),
        code_epoch: CODE_EPOCH,
        configuration,
        build: build_hash(),
        origin: venue.clock.origin,
        speed: u64::from(venue.clock.speed),
    };
    if !built.control.send(Port::Input, &Message::new(Header::default(), started)) {
        return Err(Failure::defect("the sequencer's control ring is full before the start"));
    }
    let untold = built.deaths.untold(&earlier.as_ref().map_or_else(Vec::new, |e| e.recorded.absences()));
    for absent in &untold {
        let seat = topology.seats.get(absent.seat as usize).map_or("", |s| s.name.as_str());
        let text = format!("{seat} does not survive input {}: left out, and halted", absent.from);
        log::fault(ErrorKind::Defect, seat, &text);
        built.degraded.push(text);
        word.halt().map_err(|e| Failure::machine(format!("cannot halt: {e}")))?;
        if !built.control.send(Port::Input, &Message::new(Header::default(), *absent)) {
            return Err(Failure::defect("the sequencer's control ring is full before the start"));
        }
    }
    built.skips_told = untold.len() as u64;
    check(first, time_path(config.instruments[0].market), &venue.clock)?;
    let mut opinions = None;
    if let Some(ends) = built.opinions.take() {
        let history = |e: &Earlier| {
            let newest = e.recorded.inputs.iter().last().map_or(0, |m| m.header.time);
            let from = newest.saturating_sub(config.slow_config().reach());
            History::new(state.layout().journal(), e.recorded.at.seq, from)
        };
        let before = earlier.as_ref().map(history);
        opinions = Some(OpinionDesk::new(before, ends, &built.counters));
    }
    drop(earlier); // the whole journal: nobody needs it any more
    // A world has one thread: there the engine's own loop asks them.
    let cores = if pin { plan.cores_for_others(&cores) } else { Vec::new() };
    let opinions = match opinions {
        Some(desk) if !world::active() => Some(Estimators::Beside(desk.start(cores)?)),
        desk => desk.map(|desk| Estimators::Here(Box::new(desk))),
    };
    let run =
        live::Run { options, config: &config, plan: &plan, pin, venue, account, word, state, arena, faults };
    live::run(&run, built, (opinions, news), asks, interrupted)
}

/// The account that is traded, at its venue.
fn account(
    config: &Config,
    endpoints: &Endpoints,
    signer: Signer,
    clock: MarketClock,
) -> Result<VenueAccount, Failure> {
    let traded = config.instruments.iter().find(|s| s.feed == config.strategy.trades);
    let market =
        traded.map(|s| s.market).ok_or_else(|| Failure::configuration("strategy.trades is no feed"))?;
    Ok(VenueAccount {
        address: endpoints.address(market)?,
        signer,
        instrument: config.traded().map_err(Failure::configuration)?,
        clock,
    })
}

fn in_arena_of<T>(config: &Config, build: impl FnOnce() -> T) -> Result<T, Failure> {
    if world::active() {
        return Ok(build()); // nothing is measured there, and starts come by the thousand
    }
    init_arena((config.memory.arena_mib as usize) << 20).map_err(|e| {
        Failure::machine(format!("cannot reserve the arena of {} MiB: {e}", config.memory.arena_mib))
    })?;
    Ok(in_arena(build))
}

fn time_path(market: MarketName) -> &'static str {
    match market {
        MarketName::Spot => "/api/v3/time",
        MarketName::UsdM => "/fapi/v1/time",
    }
}

/// BLAKE3 of the running program; zeros where it cannot be read.
fn build_hash() -> [u8; 32] {
    if world::active() {
        return [0; 32];
    }
    std::fs::read("/proc/self/exe").map_or([0; 32], |bytes| *blake3::hash(&bytes).as_bytes())
}

/// A flag that SIGINT and SIGTERM set.
///
/// # Errors
/// Where the system refuses a handler.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, flag.clone())
            .map_err(|e| Failure::machine(format!("cannot take signal {signal}: {e}")))?;
    }
    Ok(flag)
}
