//! One simulated firm: the real engine, its supervisor's rules, the real venue, on one thread in virtual time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use kimera_protocol::TradingState;
use kimera_runtime::clock::{self, monotonic_ns};
use kimera_runtime::failpoint::{self, Dies};
use kimera_runtime::memory::sealed_allocations;
use kimera_runtime::world::disk::Disk;
use kimera_runtime::world::network::Network;
use kimera_runtime::world::{self, Killed, ProcessId, Random, Resident};
use kimera_runtime::{Counters, KillWord};
use kimera_simulator::{Server, ServerConfig, Tape};
use kimera_venues::binance::signing::Signer;

use super::checks::{self, Facts, Gauges, Held};
use super::script::{Event, Fault, Script};
use crate::config::{Config, NewsSection};
use crate::engine::control::{Ask, Wish};
use crate::engine::endpoints::Endpoints;
use crate::engine::faults::Faults;
use crate::engine::{EngineOptions, Surroundings, run_in};
use crate::exit::{Exit, Failure};
use crate::line;
use crate::line::Probes;
use crate::report::EngineSummary;
use crate::shadow;
use crate::supervise::restarts::Restarts;

const ENGINE: ProcessId = 1;
const VENUE: ProcessId = 2;
const SHADOW: ProcessId = 3;
/// The engine's disk and the venue's.
const ENGINE_ROOT: &str = "/engine";
const STATE: &str = "/engine/state";
const ACCOUNT: &str = "/venue/account.jsonl";
/// Market time runs ten times as fast as the firm's wall clock.
const SPEED: u32 = 10;
const CREDENTIALS: (&str, &str) = ("simulatedkey", "simulatedsecret");
/// By then what stood when the disk went silent is taken back: the profile's patience, and the way to the venue.
const TAKEN_BACK_IN_MS: u64 = 2_500;
/// Starts of a supervisor by its operator.
const OPERATOR_PATIENCE: usize = 4;

/// What is put over the shipped profile: an account that trades often, and a journal of small segments.
const PATCH: &str = "
[strategy]
maker_fee_bps = 0.0
fill_decay_per_tick = 0.2
volatility_bars_min = 3
[execution]
requote_interval_ms = 200
[compliance]
orders_free = 1000000
messages_max = 100000
[journal]
segment_mib = 1
[supervision]
dead_man_ms = 5000
";

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides the market, the network, the disk, and who runs when.
    pub seed: u64,
    /// Market events.
    pub steps: u32,
    /// What goes wrong.
    pub script: Script,
    /// The venue tells nobody of this fill.
    pub drop_fill: Option<u64>,
    /// What is put over the firm's configuration, as TOML; mostly nothing.
    pub patch: String,
}

/// What one firm came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What must never be, and was.
    pub violation: Option<String>,
    /// Sequenced inputs.
    pub inputs: u64,
    /// Messages that seats have handled.
    pub handled: u64,
    /// Pieces that the network has delivered.
    pub delivered: u64,
    /// Writes to disks.
    pub writes: u64,
    /// Orders the venue has accepted.
    pub orders: u64,
    /// When the venue accepted each of them, s from the beginning, and whether it could only reduce.
    pub accepted: Vec<(f64, bool)>,
    /// Fills.
    pub fills: u64,
    /// Decisions at marks.
    pub decisions: u64,
    /// Starts of an engine.
    pub starts: u64,
    /// Snapshots among the starts: what the next start began with.
    pub snapshots: u64,
    /// One number for all that happened: equal for equal plans.
    pub trace: u64,
    /// What was said on the way.
    pub said: Vec<String>,
}

/// What venue, director and supervisor share.
pub struct Shared {
    /// The venue, which goes on through everything.
    pub server: Server,
    /// Who asks the engine for something.
    asks: Option<Sender<Ask>>,
    /// What the engine publishes.
    pub counters: Option<Counters>,
    /// What is read of it after every step.
    pub gauges: Gauges,
    faults: Faults,
    /// The power is gone: the disk is looked at before the next start.
    power: bool,
    /// When each order was accepted, s from the beginning, and whether it could only reduce.
    accepted: Vec<(f64, bool)>,
    /// Newest input over all starts.
    pub newest: u64,
    /// What must not be, and is.
    pub violation: Option<String>,
    /// Since a halt, how much the gateway had sent.
    pub held: Option<Held>,
}

struct Venue(Rc<RefCell<Shared>>);

impl Resident for Venue {
    fn turn(&mut self) -> bool {
        let mut shared = self.0.borrow_mut();
        let worked = shared.server.turn();
        if let Some(reason) = shared.server.failed().map(str::to_owned) {
            shared.violation.get_or_insert(format!("the venue failed: {reason}"));
        }
        worked
    }
}

/// Makes what the script says, and looks whether what must hold does.
struct Director {
    shared: Rc<RefCell<Shared>>,
    begun: u64,
    script: std::vec::IntoIter<Event>,
    next: Option<Event>,
    /// When the disk has room again.
    full_until: Option<u64>,
    /// The disk answers nobody between these, and nothing else goes wrong that would excuse what stands.
    silence: Option<(u64, u64)>,
    /// Nothing goes wrong but that.
    alone: bool,
}

impl Resident for Director {
    fn turn(&mut self) -> bool {
        let now = monotonic_ns();
        if self.full_until.is_some_and(|at| now >= at) {
            self.full_until = None;
            disk(|disk| disk.set_full(None));
        }
        let due = |e: &Event| now.saturating_sub(self.begun) >= e.at_ms * 1_000_000;
        if let Some(event) = self.next.take_if(|e| due(e)) {
            world::say(&format!("fault: {}", event.fault));
            self.cause(event.fault, now);
            self.next = self.script.next();
        }
        let mut shared = self.shared.borrow_mut();
        let accepted = shared.server.account().map_or(0, |account| account.orders().len());
        if accepted > shared.accepted.len() {
            let known = shared.accepted.len();
            let new: Vec<_> = shared.server.account().map_or_else(Vec::new, |account| {
                account.orders().skip(known).map(|o| (world::seconds(), o.placement.reduce_only)).collect()
            });
            shared.accepted.extend(new);
        }
        checks::always(&mut shared);
        if let Some((from, until)) = self.silence.filter(|(from, _)| now > from + ms(TAKEN_BACK_IN_MS))
            && now < until
        {
            checks::nothing_stands(&mut shared, now - from);
        }
        if shared.violation.is_some() {
            world::kill(ENGINE);
        }
        false
    }
}

fn network(change: impl FnOnce(&mut Network)) {
    world::with_network(|network, _, _| change(network));
}

fn disk(change: impl FnOnce(&mut Disk)) {
    world::with_disk(|disk, _, _| change(disk));
}

fn ms(n: u64) -> u64 {
    n * 1_000_000
}

impl Director {
    fn cause(&mut self, fault: Fault, now: u64) {
        match fault {
            Fault::Kill => world::kill(ENGINE),
            Fault::Power => {
                self.shared.borrow_mut().power = true;
                world::kill(ENGINE);
            }
            Fault::Place(name, count) => failpoint::arm_in_world(Some((name, count, Dies::Process))),
            Fault::Fall(name, count) => failpoint::arm_in_world(Some((name, count, Dies::Seat))),
            Fault::Cut(label) => network(|net| {
                net.cut(&label);
            }),
            Fault::Stall(label, n) => network(|net| {
                net.stall(&label, now + ms(n));
            }),
            Fault::Slow(low, high, n) => network(|net| net.slow((low * 1_000, high * 1_000), now + ms(n))),
            Fault::Refuse(n) => network(|net| net.refuse(now + ms(n))),
            Fault::Hold(thread, n) => {
                let threads = world::residents_of(ENGINE);
                if let Some(id) = threads.get(thread as usize % threads.len().max(1)) {
                    world::hold(*id, Duration::from_millis(n));
                }
            }
            Fault::Away(n) => world::skip(Duration::from_millis(n)),
            Fault::DiskSlow(n) => disk(|disk| disk.slow(now + ms(n))),
            Fault::DiskStops(n) => {
                disk(|disk| disk.stop(now + ms(n)));
                self.silence = self.alone.then_some((now, now + ms(n)));
            }
            Fault::DiskFull(n) => {
                self.full_until = Some(now + ms(n));
                disk(|disk| disk.set_full(Some(Path::new(ENGINE_ROOT))));
            }
            Fault::DiskFails(n) => disk(|disk| disk.fail_syncs(Path::new(ENGINE_ROOT), n)),
            Fault::Halt => self.halt(),
            Fault::Resume => {
                let epoch = word().map_or(0, |w| w.get().epoch);
                self.ask(Wish::Resume { epoch });
                self.shared.borrow_mut().held = None;
            }
            Fault::Reduce => self.ask(Wish::Reduce),
            Fault::CancelAll => self.ask(Wish::CancelAll),
            other => self.cause_at_venue(&other),
        }
    }

    fn cause_at_venue(&mut self, fault: &Fault) {
        let mut shared = self.shared.borrow_mut();
        match fault {
            Fault::Reject(n) => shared.server.mischief.refuse += n,
            Fault::Unanswered(n) => shared.server.mischief.unanswered += n,
            Fault::Unknown(n) => shared.server.mischief.unknown += n,
            Fault::Twice(n) => shared.server.mischief.twice += n,
            Fault::Rules(rules) => {
                if let Err(e) = shared.server.change_rules("usdm", rules) {
                    shared.violation.get_or_insert(format!("rules={rules}: {e}"));
                }
            }
            Fault::Panic(name) => {
                if let Some(seat) = shared.faults.seat(name) {
                    seat.panics.store(true, Ordering::Release);
                }
            }
            Fault::Poison(name) => {
                // Of what has been handled once already an actor cannot die the second time.
                let seq = shared.newest;
                if let Some(seat) = shared.faults.seat(name) {
                    seat.poison.store(seq + 20, Ordering::Release);
                }
            }
            Fault::Venue => {
                if let Err(e) = world::as_process(VENUE, || shared.server.come_back()) {
                    shared.violation.get_or_insert(format!("the venue does not come back: {e}"));
                }
            }
            _ => {}
        }
    }

    /// As `kimera kill` does: the word, and nobody is asked.
    fn halt(&self) {
        let Some(Ok(_)) = word().map(|w| w.halt()) else { return };
        let mut shared = self.shared.borrow_mut();
        let sent = checks::sent(&shared);
        shared.held = Some(Held { sent, at: monotonic_ns() });
    }

    fn ask(&self, wish: Wish) {
        let shared = self.shared.borrow();
        let (answer, _) = channel();
        if let Some(asks) = &shared.asks {
            let _ = asks.send(Ask { wish, asked: monotonic_ns(), answer });
        }
    }
}

fn word() -> Option<KillWord> {
    KillWord::open(&Path::new(STATE).join("kill")).ok()
}

/// The configuration of a simulated firm.
///
/// # Errors
/// Where the shipped profile does not parse.
pub fn config() -> Result<Config, Failure> {
    let shipped = Config::parse(include_str!("../../config/profiles/paper.toml"));
    let mut config = shipped.and_then(|c| c.patched(PATCH)).map_err(Failure::configuration)?;
    // A change of the venue's rules is to be known while the firm still runs.
    config.instruments.iter_mut().for_each(|section| section.definition_interval_s = 1);
    // Files of this machine are none of a world's.
    config.news = NewsSection::default();
    Ok(config)
}

/// Runs one firm to its end.
///
/// # Errors
/// Where it cannot be built at all.
pub fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let _entered = world::enter(plan.seed);
    let config = config()?.patched(&plan.patch).map_err(Failure::configuration)?;
    let mut random = Random::new(plan.seed, 3);
    let capital = config.account.capital.clone();
    let tape = Tape::synthetic(plan.steps, &capital, &mut || random.next_word());
    let length = tape.end - tape.start;
    let bind: Vec<SocketAddr> = (0..2).map(|_| SocketAddr::from(([10, 0, 0, 2], 0))).collect();
    let server_config = ServerConfig {
        clock: None,
        bind,
        speed: SPEED,
        credentials: Some((CREDENTIALS.0.into(), CREDENTIALS.1.as_bytes().to_vec())),
        account: Some(PathBuf::from(ACCOUNT)),
        drop_fill: plan.drop_fill,
    };
    let server = world::as_process(VENUE, || Server::bind(tape, &server_config)).map_err(Failure::machine)?;
    let endpoints = server.endpoints().map_err(Failure::machine)?;
    let shared = Rc::new(RefCell::new(Shared {
        server,
        asks: None,
        counters: None,
        gauges: Gauges::default(),
        faults: Faults::of(&line::topology(&config)),
        power: false,
        accepted: Vec::new(),
        newest: 0,
        violation: None,
        held: None,
    }));
    world::as_process(VENUE, || world::settle(Box::new(Venue(shared.clone()))));
    let mut script = plan.script.0.clone().into_iter();
    let next = script.next();
    let alone = plan.script.0.iter().all(|e| matches!(e.fault, Fault::DiskStops(_)));
    let director = Director {
        shared: shared.clone(),
        begun: monotonic_ns(),
        script,
        next,
        full_until: None,
        silence: None,
        alone,
    };
    world::settle(Box::new(director));
    let firm = Firm { config, endpoints: endpoints.markets, shared: shared.clone(), market_ns: length };
    let mut outcome = Outcome::default();
    let allocations = sealed_allocations();
    let ended = firm.operate(&mut outcome);
    let panics = |e: &Event| matches!(e.fault, Fault::Panic(_) | Fault::Poison(_));
    let allocations = (!plan.script.0.iter().any(panics)).then(|| sealed_allocations() - allocations);
    failpoint::arm_in_world(None);
    let mut shared = shared.borrow_mut();
    let facts = Facts { state: Path::new(STATE), account: Path::new(ACCOUNT), ended: &ended, allocations };
    checks::at_the_end(&mut shared, &facts, &mut outcome);
    outcome.delivered = world::with_network(|net, _, _| net.delivered()).unwrap_or(0);
    outcome.writes = world::with_disk(|disk, _, _| disk.writes()).unwrap_or(0);
    outcome.accepted = std::mem::take(&mut shared.accepted);
    outcome.violation = shared.violation.take();
    outcome.said = world::said();
    Ok(outcome)
}

struct Firm {
    config: Config,
    endpoints: Vec<(String, SocketAddr)>,
    shared: Rc<RefCell<Shared>>,
    market_ns: i64,
}

impl Firm {
    /// The operator: starts a supervisor, and another one where it has given up, until the run is over.
    fn operate(&self, outcome: &mut Outcome) -> Option<EngineSummary> {
        for _ in 0..OPERATOR_PATIENCE {
            match self.supervise(outcome) {
                Ok(summary) => return Some(summary),
                Err(_) if self.shared.borrow().violation.is_some() => return None,
                Err(failure) => {
                    world::say(&format!("given up: {failure}"));
                    clock::sleep(Duration::from_secs(2));
                }
            }
        }
        let mut shared = self.shared.borrow_mut();
        shared.violation.get_or_insert("no start of the engine came to its end".into());
        None
    }

    /// The supervisor: starts the engine again when it has fallen, a few times in a while.
    fn supervise(&self, outcome: &mut Outcome) -> Result<EngineSummary, Failure> {
        let mut restarts = Restarts::default();
        loop {
            outcome.starts += 1;
            let failure = match self.start(outcome) {
                Ok(summary) => return Ok(summary),
                Err(failure) => failure,
            };
            world::say(&format!("engine: {failure}"));
            let violated = self.shared.borrow().violation.is_some();
            if violated || !restarts.allow(failure.code == Exit::Failed) {
                return Err(failure);
            }
            clock::sleep(restarts.pause() + Duration::from_millis(50));
            // Every other restart begins with a snapshot.
            if outcome.starts % 2 == 1 {
                outcome.snapshots += u64::from(self.shadow());
            }
        }
    }

    /// The shadow keeps a state of where the journal ends; true where it did. One that has to fall on an input falls here too.
    fn shadow(&self) -> bool {
        let faults = Some(self.shared.borrow().faults.clone());
        let probes = Probes { faults, ..Probes::default() };
        let kept = world::as_process(SHADOW, || shadow::once(Path::new(STATE), probes, false));
        world::end_process(SHADOW);
        match kept {
            Ok(status) => {
                if let Some(difference) = &status.difference {
                    world::say(&format!("the shadow differs: {difference:?}"));
                }
                status.snapshots > 0
            }
            Err(e) => {
                world::say(&format!("the shadow: {e}"));
                false
            }
        }
    }

    /// One start of the engine, in a process of its own.
    fn start(&self, outcome: &mut Outcome) -> Result<EngineSummary, Failure> {
        let (asks, receiver) = channel();
        let counters = Counters::detached();
        let faults = {
            let mut shared = self.shared.borrow_mut();
            (shared.asks, shared.counters) = (Some(asks), Some(counters.clone()));
            shared.gauges = Gauges::default();
            shared.held = shared.held.take().map(|h| Held { sent: 0, ..h });
            shared.faults.clone()
        };
        let signer = Signer::new(CREDENTIALS.0, CREDENTIALS.1.as_bytes())
            .ok_or_else(|| Failure::configuration("the simulated key is no key"))?;
        let around = Surroundings {
            log: None,
            config: self.config.clone(),
            endpoints: Endpoints { markets: self.endpoints.clone() },
            signer,
            asks: Some(receiver),
            faults: Some(faults),
            counters: Some(counters.clone()),
        };
        let options = EngineOptions {
            config: PathBuf::new(),
            state: PathBuf::from(STATE),
            endpoints: PathBuf::new(),
            market_ns: Some(self.market_ns),
            plan: Some("cores-2".into()),
            supervised: false,
            canary: false,
            faults: true,
        };
        let never = AtomicBool::new(false);
        let ended =
            catch_unwind(AssertUnwindSafe(|| world::as_process(ENGINE, || run_in(around, &options, &never))));
        world::end_process(ENGINE);
        failpoint::arm_in_world(None);
        outcome.handled += checks::handled(&counters);
        let mut shared = self.shared.borrow_mut();
        shared.asks = None;
        if shared.violation.is_none() {
            shared.violation = checks::own_faults(&counters);
        }
        if std::mem::take(&mut shared.power) {
            world::with_disk(|disk, _, _| disk.power_failure(Path::new(ENGINE_ROOT)));
        }
        match ended {
            Ok(result) => result,
            Err(killed) if killed.is::<Killed>() => Err(Failure::defect("killed")),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                let text = format!("the engine's own thread panicked: {}", said.unwrap_or_default());
                shared.violation.get_or_insert(text.clone());
                Err(Failure::defect(text))
            }
        }
    }
}

/// True while the kill word says halted.
#[must_use]
pub fn halted() -> bool {
    word().is_some_and(|w| w.get().state == TradingState::Halted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quotes that lie far from the market and stay where they are: the line has no reason to take them back.
    #[test]
    fn what_stands_is_taken_back_while_the_disk_says_nothing() {
        let patch = "[strategy]\nfill_decay_per_tick = 0.01\n\
                     [execution]\nrequote_ticks = 1000000\nrequote_interval_ms = 60000\n";
        for seed in 1..4 {
            let script = "1500:disk-stops=20000".parse().unwrap();
            let plan = Plan { seed, steps: 4_000, script, drop_fill: None, patch: patch.to_owned() };
            let found = run(&plan).unwrap();
            assert_eq!((found.violation, found.starts), (None, 1));
            let place =
                |what: &str| found.said.iter().position(|line| line.contains(what)).expect("it is said");
            assert!(place("has said nothing for 20") < place("is heard again"));
            let left = |from: f64, to: f64| found.accepted.iter().any(|(at, _)| (from..to).contains(at));
            assert!(left(0.0, 1.5) && !left(2.0, 21.5) && left(21.5, 60.0), "{:?}", found.accepted);
        }
    }
}
