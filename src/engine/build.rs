//! Builds what a run is made of: seats, rings, agents; where an earlier start has left a journal, the line goes through it
//! before anything live takes a seat.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kimera_feed::{Feed, FeedConfig};
use kimera_gateway::{Gateway, GatewayConfig};
use kimera_journal::{Journal, JournalConfig, JournalFailure};
use kimera_protocol::{Absent, InstrumentId, OrderRecord};
use kimera_runtime::seat::AgentSeat;
use kimera_runtime::topology::{SEQUENCER, Topology, Wiring};
use kimera_runtime::{AbsenceGate, Counters, KillWord, Tsc};
use kimera_sequencer::{Door, Sequencer};
use kimera_venues::binance::MarketDecoder;

use super::endpoints::Endpoints;
use super::recovery::{Earlier, Ends, catch_up};
use super::venue_account::VenueAccount;
use super::{Built, address};
use crate::config::Config;
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::state::State;

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
    /// Makes a member panic, where faults are allowed.
    pub panic: Option<&'a Arc<AtomicBool>>,
}

/// Builds seats and rings; where there is a journal, the line goes through it first.
///
/// # Errors
/// What could not be had.
pub fn build(parts: &Parts<'_>, account: &VenueAccount) -> Result<Built, Failure> {
    let Parts { config, topology, state, endpoints, earlier, panic } = *parts;
    let layout = state.layout();
    let counters = Counters::create(&layout.counters(), state.incarnation())
        .map_err(|e| Failure::run(format!("cannot make {}: {e}", layout.counters().display())))?;
    let tsc = Tsc::calibrate();
    let gate = AbsenceGate::new();
    let panic = panic.map(|flag| (line::member_seat(line::MEMBERS[1].0), flag.clone()));
    let probes = Probes { panic, ..Probes::default() };
    let mut wiring = Wiring::build(topology).map_err(Failure::configuration)?;
    let mut cells = line::cells(config, topology, &mut wiring, &counters, tsc, &probes, &gate)?;
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
    let mut ends = Ends {
        sequencer: take(SEQUENCER)?,
        gateway: take(&config.account.gateway)?,
        journal: take(line::JOURNAL)?,
    };
    let sinks = wiring.sinks();
    let members = line::MEMBERS.iter().filter_map(|(name, _)| {
        let seat = line::member_seat(name);
        Some((seat.clone(), u64::from(topology.index_of(&seat)?), wiring.frontier(&seat)?))
    });
    let members = members.collect();
    let recovered = match earlier {
        None => None,
        Some(earlier) => {
            for absent in earlier.recorded.inputs.iter().filter_map(|m| m.body::<Absent>()) {
                wiring.set_absent(absent.seat, absent.from);
            }
            // On a thread of its own: what it collects is not for the arena.
            let line = &mut cells;
            let caught_up =
                std::thread::scope(|scope| scope.spawn(|| catch_up(earlier, line, ends, &sinks)).join());
            let (given_back, recovered) = caught_up
                .map_err(|_| Failure::run("the journal's replay panicked: replay it with kimera replay"))??;
            ends = given_back;
            Some(recovered)
        }
    };
    let orders = recovered.as_ref().map(|r| r.orders.clone());
    let gateway = gateway(config, state, account, &counters, &gate, orders)?;
    cells.push(Box::new(AgentSeat::new(gateway, ends.gateway, false)));
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
        incarnation: state.incarnation(),
    };
    let opened = match earlier {
        None => Journal::create(journal, &counters, failure.clone()),
        Some(earlier) => Journal::resume(journal, &earlier.at, &missing, &counters, failure.clone()),
    };
    let (journal, degraded) = opened.map_err(|e| {
        Failure::run(format!("cannot write the journal in {}: {e}", layout.journal().display()))
    })?;
    cells.push(Box::new(AgentSeat::new(journal, ends.journal, false)));
    Ok(Built {
        cells,
        control,
        counters,
        sinks,
        failure,
        degraded: degraded.into_iter().collect(),
        members,
        gate,
        recovery: report,
    })
}

fn gateway(
    config: &Config,
    state: &State,
    account: &VenueAccount,
    counters: &Counters,
    gate: &Arc<AbsenceGate>,
    recovered: Option<Vec<(InstrumentId, OrderRecord)>>,
) -> Result<Gateway, Failure> {
    let word = KillWord::open(&state.layout().kill_word())
        .map_err(|e| Failure::run(format!("cannot use the kill word: {e}")))?;
    let gateway = GatewayConfig {
        name: config.account.gateway.clone(),
        venue: account.instrument.venue.0,
        instrument: account.instrument.clone(),
        address: account.address,
        signer: account.signer.clone(),
        clock: account.clock,
        gate: gate.clone(),
        recovered,
    };
    Ok(Gateway::new(gateway, word, counters))
}
