//! Builds what a run is made of: seats, rings, agents; where an earlier start has left a journal, the line goes through it
//! before anything live takes a seat.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kimera_feed::{Feed, FeedConfig};
use kimera_gateway::{DeadManSwitch, Gateway, GatewayConfig, Meters, Takeover};
use kimera_journal::{Journal, JournalConfig, JournalFailure};
use kimera_protocol::{InstrumentId, Kind, OrderId, OrderRecord};
use kimera_runtime::agent_seat::{AgentSeat, Remake};
use kimera_runtime::mend::Mend;
use kimera_runtime::seat::Ports;
use kimera_runtime::topology::{Plane, SEQUENCER, Topology, Wiring};
use kimera_runtime::world::{self, Killed};
use kimera_runtime::{AbsenceGate, Counters, Durability, Health, KillWord, Rejoin, Tsc, observer};
use kimera_sequencer::{Door, Sequencer};
use kimera_venues::binance::MarketDecoder;

use super::Built;
use super::endpoints::Endpoints;
use super::faults::{Faults, FaultyAgent};
use super::mend::StageSeat;
use super::opinions;
use super::poison::Deaths;
use super::recovery::{Earlier, Ends, catch_up};
use super::rejoin::MemberSeat;
use super::takeover::GatewaySeat;
use super::tree::{Tree, healths};
use super::venue_account::VenueAccount;
use crate::config::{Config, WayBack};
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::shelf::Ready;
use crate::slow::Slow;
use crate::state::State;

/// Messages that may wait to be said in the log; what comes then is not said, and counted.
const LOG_MESSAGES: usize = 2_048;

/// What a line is built from.
pub struct Parts<'a> {
    /// Configuration.
    pub config: &'a Config,
    /// Seats and edges.
    pub topology: &'a Topology,
    /// State directory.
    pub state: &'a State,
    /// The venue's addresses.
    pub endpoints: &'a Endpoints,
    /// What an earlier start has left.
    pub earlier: Option<&'a Earlier>,
    /// Faults, where they are allowed.
    pub faults: Option<&'a Faults>,
    /// Where it counts, where that is not its file.
    pub counters: Option<Counters>,
}

/// Builds seats and rings; where there is a journal, the line goes through it first.
///
/// # Errors
/// What could not be had.
pub fn build(parts: Parts<'_>, account: &VenueAccount) -> Result<Built, Failure> {
    let Parts { config, topology, state, endpoints, earlier, faults, counters } = parts;
    let layout = state.layout();
    let counters = counters.map_or_else(|| create_counters(&layout.counters(), state.incarnation()), Ok)?;
    let tsc = Tsc::calibrate();
    let gate = AbsenceGate::new();
    let rejoins: BTreeMap<String, Arc<Rejoin>> =
        line::branches().map(|seat| (seat, Arc::default())).collect();
    let healths = healths(topology);
    let stages = line::stages(topology).into_iter().filter(|name| config.supervision.mends(name));
    let mends: BTreeMap<String, Arc<Mend>> = stages.map(|name| (name, Arc::default())).collect();
    let ready = Ready::default();
    let probes = Probes {
        mends: mends.clone(),
        faults: faults.cloned(),
        rejoins: rejoins.clone(),
        healths: healths.clone(),
        patterns: ready.clone(),
        patterns_of_line: ready,
        ..Probes::default()
    };
    let mut wiring = Wiring::build(topology).map_err(Failure::configuration)?;
    let mut cells = line::cells(config, topology, &mut wiring, &counters, tsc, &probes, &gate)?;
    let mut take = |name: &str| {
        wiring.take(name).ok_or_else(|| Failure::defect(format!("the topology has no seat \"{name}\"")))
    };
    let instruments = config.instruments().map_err(Failure::configuration)?;
    for (section, instrument) in config.instruments.iter().zip(instruments) {
        let market = endpoints.address(section.market)?;
        let feed = FeedConfig {
            name: section.feed.clone(),
            stream: market,
            rest: market,
            snapshot_levels: section.snapshot_levels,
            definition_interval: Duration::from_secs(section.definition_interval_s.into()),
            gateway: (section.feed == config.strategy.trades).then(|| config.account.gateway.clone()),
        };
        let decoder = MarketDecoder::new(section.market.dialect(), instrument);
        let faulty = |feed| FaultyAgent::new(feed, &section.feed, faults);
        let agent = faulty(Feed::new(feed.clone(), decoder.clone(), &counters));
        // Connecting and snapshots allocate: an agent with sockets is not held to the seal.
        let mut seat = AgentSeat::new(agent, take(&section.feed)?, false);
        let group = config.supervision.group_of(&section.feed);
        if let Some(group) = group.filter(|group| group.way_back == WayBack::InPlace) {
            let (counters, faults, name) = (counters.clone(), faults.cloned(), section.feed.clone());
            let make = move || {
                let instead = Feed::instead(feed.clone(), decoder.clone(), &counters);
                FaultyAgent::new(instead, &name, faults.as_ref())
            };
            seat = seat.with_remake(Remake {
                make: Box::new(make),
                most: group.restarts as usize,
                within: Duration::from_millis(group.within_ms.into()),
                health: healths.get(&section.feed).cloned().unwrap_or_default(),
            });
        }
        cells.push(Box::new(seat));
    }
    let control = take(line::CONTROL)?;
    let mut ends = Ends {
        sequencer: take(SEQUENCER)?,
        gateway: take(&config.account.gateway)?,
        journal: take(line::JOURNAL)?,
    };
    let sinks = wiring.sinks();
    let members = line::branches().filter_map(|seat| {
        let (index, frontier) = (u64::from(topology.index_of(&seat)?), wiring.frontier(&seat)?);
        let rejoin = rejoins.get(&seat)?.clone();
        let health = healths.get(&seat)?.clone();
        Some(MemberSeat { rejoin, health, name: seat, index, frontier, recorded: Default::default() })
    });
    let mut members: Vec<_> = members.collect();
    let hot = topology.seats.iter().enumerate().filter(|(_, s)| s.plane == Plane::Hot && s.name != SEQUENCER);
    let hot = hot.filter_map(|(i, s)| Some((s.name.clone(), i as u64, wiring.frontier(&s.name)?)));
    let mut deaths = Deaths::load(layout.deaths(), hot.collect())?;
    let recovered = match earlier {
        None => None,
        Some(earlier) => {
            earlier.recorded.absences().iter().for_each(|absent| wiring.frontiers().note_absence(absent));
            for member in &mut members {
                let absences = member.frontier.absences();
                member.recorded = (absences.all(), absences.skips());
            }
            let (line, frontiers) = (&mut cells, wiring.frontiers());
            let caught_up = apart(|| catch_up(earlier, line, ends, (&sinks, &frontiers)));
            let (given_back, recovered) = caught_up.inspect_err(|_| deaths.record())?;
            let fallen = members.iter().any(|m| m.frontier.absences().all() != m.recorded.0);
            if fallen && recovered.report.diverged.is_some() {
                // It has not fallen there in the run: its votes are in what was decided then, and have to be again.
                return Err(Failure::defect(
                    "a member panicked while the journal went through the line again",
                ));
            }
            ends = given_back;
            Some(recovered)
        }
    };
    let durability = Durability::new(config.journal.wait(), config.journal.patience());
    let after = Duration::from_millis(config.supervision.dead_man_ms.into());
    let dead_man = DeadManSwitch { after, ..DeadManSwitch::default() };
    let gates = (gate.clone(), durability.clone(), &dead_man);
    let orders = recovered.as_ref().map(|r| r.orders.clone().into_parts());
    let takeover = Arc::<Takeover>::default();
    let gateway = gateway(config, state, account, gates, orders, takeover.clone())?;
    let falls = (faults, healths.get(&config.account.gateway).cloned().unwrap_or_default());
    cells.push(Box::new(gateway_seat(config, gateway, &counters, falls, ends.gateway)));
    let classes = line::input_classes(config, topology);
    let sequencer = |door| Sequencer::new(door, account.clock, classes, config.instruments.len(), &counters);
    let (sequencer, missing, report) = match recovered {
        None => (sequencer(Door::new(sinks.clone())), Vec::new(), None),
        Some(r) => {
            let door = Door::resume(r.resumed.seq, r.resumed.time, sinks.clone());
            (sequencer(door).resumed(r.resumed), r.missing, Some(r.report))
        }
    };
    cells.push(Box::new(AgentSeat::new(sequencer, ends.sequencer, true)));
    let failure = JournalFailure::default();
    let journal = JournalConfig {
        folder: layout.journal(),
        segment_bytes: u64::from(config.journal.segment_mib) << 20,
        commit_interval: u64::from(config.journal.commit_interval_us) * 1_000,
        reserve_bytes: u64::from(config.journal.reserve_mib) << 20,
        incarnation: state.incarnation(),
        durability: durability.clone(),
    };
    let opened = match earlier {
        None => Journal::create(journal, &counters, failure.clone()),
        Some(earlier) => Journal::resume(journal, &earlier.recorded.at, &missing, &counters, failure.clone()),
    };
    let (journal, degraded) = opened.map_err(|e| {
        Failure::machine(format!("cannot write the journal in {}: {e}", layout.journal().display()))
    })?;
    let (shown, log) = observer(LOG_MESSAGES, counters.counter("log.shed"));
    let mut journal = if world::active() { journal } else { journal.with_observer(shown, Kind::is_logged) };
    let mut opinions = None;
    if let Some(ports) = wiring.take(line::OPINIONS) {
        let (shown, heard) = observer(opinions::MESSAGES, counters.counter("opinions.shed"));
        journal = journal.with_observer(shown, Slow::listens_to);
        let slow = Slow::new(config).map_err(Failure::configuration)?;
        opinions = Some(opinions::Ends { heard, ports, slow });
    }
    cells.push(Box::new(AgentSeat::new(journal, ends.journal, false)));
    let frontiers = members.iter().map(|m| (m.name.clone(), m.frontier.clone())).collect();
    let tree = Tree::new(&config.supervision, topology, &healths, &frontiers, &config.account.gateway);
    Ok(Built {
        tree: Arc::new(tree),
        deaths,
        skips_told: 0,
        cells,
        control,
        counters,
        sinks,
        durability,
        failure,
        degraded: degraded.into_iter().collect(),
        members,
        gate,
        gateway: GatewaySeat::new(account.instrument.venue.0, takeover),
        frontiers: wiring.frontiers(),
        stages: mends.into_iter().map(|(name, mend)| StageSeat::new(name, mend)).collect(),
        dead_man_off: dead_man.off,
        patterns: probes.patterns,
        recovery: report,
        log: Some(log),
        opinions,
    })
}

fn create_counters(path: &Path, incarnation: u64) -> Result<Counters, Failure> {
    let failed = |e| Failure::machine(format!("cannot make {}: {e}", path.display()));
    Counters::create(path, incarnation).map_err(failed)
}

/// Runs the recovery on a thread of its own: what it collects is not for the arena. A world has one thread.
fn apart<T: Send>(recover: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    let done = if world::active() {
        catch_unwind(AssertUnwindSafe(recover))
    } else {
        std::thread::scope(|scope| scope.spawn(recover).join())
    };
    match done {
        Ok(result) => result,
        Err(killed) if killed.is::<Killed>() => resume_unwind(killed),
        Err(_) => {
            Err(Failure::defect("a stage of the line panicked while the journal went through it again"))
        }
    }
}

fn gateway(
    config: &Config,
    state: &State,
    account: &VenueAccount,
    (gate, durability, dead_man): (Arc<AbsenceGate>, Arc<Durability>, &DeadManSwitch),
    recovered: Option<(Vec<(InstrumentId, OrderRecord)>, OrderId)>,
    takeover: Arc<Takeover>,
) -> Result<GatewayConfig, Failure> {
    let word = KillWord::open(&state.layout().kill_word())
        .map_err(|e| Failure::machine(format!("cannot use the kill word: {e}")))?;
    Ok(GatewayConfig {
        name: config.account.gateway.clone(),
        venue: account.instrument.venue.0,
        instrument: account.instrument.clone(),
        address: account.address,
        signer: account.signer.clone(),
        clock: account.clock,
        gate,
        durability,
        recovered,
        dead_man: dead_man.clone(),
        takeover,
        word: Arc::new(word),
        tsc: Tsc::calibrate(),
    })
}

/// The gateway in its seat; where the configuration says so, another one takes its place when it falls.
fn gateway_seat(
    config: &Config,
    gateway: GatewayConfig,
    counters: &Counters,
    (faults, health): (Option<&Faults>, Arc<Health>),
    ports: Ports,
) -> AgentSeat<FaultyAgent<Gateway>> {
    let name = gateway.name.clone();
    let meters = Meters::new(&name, counters);
    let faults = faults.cloned();
    let faulty = move |gateway| FaultyAgent::new(gateway, &name, faults.as_ref());
    let seat = AgentSeat::new(faulty(Gateway::new(gateway.clone(), meters.clone())), ports, false);
    let gateway = GatewayConfig { recovered: None, ..gateway }; // another one gets to know later orders too
    let group = config.supervision.group_of(&gateway.name);
    let Some(group) = group.filter(|group| group.way_back == WayBack::InPlace) else { return seat };
    let make = move || faulty(Gateway::instead(gateway.clone(), meters.clone()));
    seat.with_remake(Remake {
        make: Box::new(make),
        most: group.restarts as usize,
        within: Duration::from_millis(group.within_ms.into()),
        health,
    })
}
