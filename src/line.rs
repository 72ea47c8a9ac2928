//! Who is wired to whom, and who sits there: the same for a live run and a replay.
//!
//! The main line is one chain. Each stage gets one ordered stream: the inputs that later stages need and what the
//! stages before have said. Decisions and orders also go to the journal in full; refusals and requests for a deadline go
//! back to the sequencer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use kimera_cep::{
    Detectors, DetectorsMeters, PatternSet, Patterns, PatternsMeters, actor as cep_stage,
    patterns as patterns_stage,
};
use kimera_compliance::{Compliance, ComplianceMeters, Conduct, Rules, actor as compliance_stage};
use kimera_ensemble::{
    Contradiction, Ensemble, EnsembleMeters, Macro, Pattern, Sentiment, Thermodynamic,
    actor as ensemble_stage, members as members_stage,
};
use kimera_execution::{Execution, ExecutionMeters, actor as execution_stage};
use kimera_ledger::{Books, Ledger, LedgerMeters};
use kimera_market::{Market, actor as market_stage};
use kimera_protocol::Seq;
use kimera_risk::{Gate, Risk, RiskMeters, actor as risk_stage};
use kimera_runtime::counters::{Counters, Histogram};
use kimera_runtime::credit::{FRAME_MESSAGES_MAX, InputClass, WINDOW_MAX};
use kimera_runtime::mend::Mend;
use kimera_runtime::plan::Plan;
use kimera_runtime::seat::{Cell, Seat, SeatMeters, Tap, Watch};
use kimera_runtime::topology::{EdgeSpec, Plane, SEQUENCER, SeatSpec, Topology, Wiring};
use kimera_runtime::{AbsenceGate, Actor, Health, Port, Rejoin, Tsc};
use kimera_strategy::{Strategies, StrategyMeters, stage as strategy_stage};

use crate::config::Config;
use crate::counterfactual::{StandIn, Swap};
use crate::engine::faults::{Faults, Faulty};
use crate::exit::Failure;
use crate::extensions;
use crate::shelf::{Ready, Shelf};

/// Seat through which the engine's own process speaks to the sequencer.
pub const CONTROL: &str = "control";
/// Slow estimators, by which the engine's own process speaks to the sequencer too.
pub const OPINIONS: &str = "opinions";
/// Books and features.
pub const MARKET: &str = "market";
/// Votes into one forecast.
pub const ENSEMBLE: &str = "ensemble";
/// Decisions.
pub const STRATEGY: &str = "strategy";
/// Children and cancels.
pub const EXECUTION: &str = "execution";
/// The last gate.
pub const RISK: &str = "risk";
/// Rules.
pub const COMPLIANCE: &str = "compliance";
/// Detectors: beside the line, heard by strategy and risk ahead of everything else about an input.
pub const DETECTORS: &str = "member.detectors";
/// Patterns, where there are some: behind the line, so that nothing waits for them.
pub const PATTERNS: &str = "member.patterns";
/// Double entry.
pub const LEDGER: &str = "ledger";
/// The journal.
pub const JOURNAL: &str = "journal";

/// Members of the ensemble that come with the project by number, with what they do.
pub const MEMBERS: [(&str, &str); 5] = [
    ("contradiction", "do independent estimates of the price agree?"),
    ("thermodynamic", "temperature, entropy, energy flow, free energy"),
    ("pattern", "what followed windows like this one"),
    ("sentiment", "headlines, each once, worth less the older they are; an index of fear and greed"),
    ("macro", "what dollar, yields, inflation and shares say the asset should have done"),
];

/// Members of a configuration by number: ours, then those from outside that it names.
#[must_use]
pub fn members_of(config: &Config) -> Vec<(&'static str, &'static str)> {
    let further = config.ensemble.further.iter().filter_map(|name| extensions::member(name));
    MEMBERS.into_iter().chain(further.map(|(name, purpose, _)| (*name, *purpose))).collect()
}

/// Names of all members there are, whether or not a configuration has them.
pub fn known_members() -> impl Iterator<Item = &'static str> {
    MEMBERS.into_iter().map(|(name, _)| name).chain(extensions::MEMBERS.iter().map(|(name, ..)| *name))
}

/// Seat of a member.
#[must_use]
pub fn member_seat(name: &str) -> String {
    format!("member.{name}")
}

/// Seats beside the line, which it goes on without: detectors, patterns, members.
pub fn branches() -> impl Iterator<Item = String> {
    [DETECTORS, PATTERNS].map(str::to_owned).into_iter().chain(known_members().map(member_seat))
}

/// Most messages of one input from one stage to the next. The market stage says two at a mark, the ensemble adds one,
/// strategy passes one on, and every session decides.
const FROM_MARKET: usize = market_stage::OUTPUTS_MAX;
const FROM_ENSEMBLE: usize = FROM_MARKET + 1;
const FROM_STRATEGY: usize = 1 + strategy_stage::DECISIONS_MAX;
/// One input reaches execution as at most an input passed on and a decision of each session: what they may cause together is bounded.
const FROM_EXECUTION: usize = 2 + execution_stage::EFFECTS_PER_INPUT;

fn seat(name: &str, plane: Plane, purpose: &str, sink: bool, outputs_max: usize) -> SeatSpec {
    SeatSpec { name: name.into(), plane, purpose: purpose.into(), sink, outputs_max }
}

/// An edge behind the door: it holds what a whole window of inputs can cause.
fn edge(from: &str, to: &str, port: Port, per_input: usize) -> EdgeSpec {
    EdgeSpec { from: from.into(), to: to.into(), port, per_input, capacity: per_input * WINDOW_MAX as usize }
}

/// An edge to the door.
fn input(from: &str, per_input: usize, capacity: usize) -> EdgeSpec {
    EdgeSpec { from: from.into(), to: SEQUENCER.into(), port: Port::Input, per_input, capacity }
}

/// Seats and edges of an engine with this configuration.
#[must_use]
pub fn topology(config: &Config) -> Topology {
    let gateway = config.account.gateway.as_str();
    let mut seats = vec![seat(CONTROL, Plane::Control, "start, stop and commands as inputs", false, 1)];
    let mut edges = vec![input(CONTROL, 1, 64)];
    for instrument in &config.instruments {
        let purpose = format!("{} {} market data", instrument.market.name(), instrument.symbol);
        seats.push(seat(&instrument.feed, Plane::Io, &purpose, false, FRAME_MESSAGES_MAX));
        edges.push(input(&instrument.feed, FRAME_MESSAGES_MAX, 4_096));
    }
    seats.push(seat(SEQUENCER, Plane::Hot, "the one door: order, time, marks, credit", false, 1));
    let stages = [
        (MARKET, "books and microstructure features", market_stage::OUTPUTS_MAX),
        (ENSEMBLE, "votes joined at the mark, pooled, judged by what came", ensemble_stage::OUTPUTS_MAX),
        (STRATEGY, "what should stand: a decision at every mark", strategy_stage::OUTPUTS_MAX),
        (EXECUTION, "parents into children, replacements", execution_stage::OUTPUTS_MAX),
        (RISK, "the last gate: every check on every child", risk_stage::OUTPUTS_MAX),
        (COMPLIANCE, "rules of venue and law", compliance_stage::OUTPUTS_MAX),
    ];
    let mut stages =
        stages.map(|(name, purpose, outputs)| seat(name, Plane::Hot, purpose, false, outputs)).to_vec();
    let main_line = stages.split_off(1);
    seats.append(&mut stages);
    seats.push(seat(DETECTORS, Plane::Hot, "what looks out of the ordinary", true, cep_stage::OUTPUTS_MAX));
    let members = members_of(config);
    let (own, guests) = members.split_at(MEMBERS.len());
    let member = |(name, purpose): &(&str, &str)| {
        seat(&member_seat(name), Plane::Hot, purpose, true, members_stage::OUTPUTS_MAX)
    };
    seats.extend(own.iter().map(member));
    seats.extend(main_line);
    seats.push(seat(LEDGER, Plane::Hot, "double entry: each fill once", true, 0));
    if config.patterns.is_used() {
        seats.push(seat(
            PATTERNS,
            Plane::Hot,
            "patterns over events and orders",
            true,
            patterns_stage::OUTPUTS_MAX,
        ));
        // What was sent is heard behind what was heard because of which it was sent.
        edges.push(edge(COMPLIANCE, PATTERNS, Port::Line, FROM_EXECUTION));
        edges.push(edge(SEQUENCER, PATTERNS, Port::Line, 1));
        edges.push(edge(PATTERNS, JOURNAL, Port::Record, patterns_stage::OUTPUTS_MAX + 1));
    }
    seats.push(seat(gateway, Plane::Io, "orders to the venue, its reports back", true, 1));
    seats.push(seat(JOURNAL, Plane::Io, "input and output log", true, 0));
    edges.push(input(gateway, 1, 4_096));
    edges.push(edge(SEQUENCER, MARKET, Port::Line, 1));
    edges.push(edge(SEQUENCER, DETECTORS, Port::Line, 1));
    edges.push(edge(DETECTORS, JOURNAL, Port::Record, 1));
    // The primary stream first: votes are joined to it.
    edges.push(edge(MARKET, ENSEMBLE, Port::Line, FROM_MARKET));
    for (name, _) in &members {
        edges.push(edge(MARKET, &member_seat(name), Port::Line, FROM_MARKET));
        edges.push(edge(&member_seat(name), ENSEMBLE, Port::Vote, 1));
        edges.push(edge(&member_seat(name), JOURNAL, Port::Record, 1));
    }
    edges.push(edge(ENSEMBLE, STRATEGY, Port::Line, FROM_ENSEMBLE));
    edges.push(edge(STRATEGY, EXECUTION, Port::Line, FROM_STRATEGY));
    edges.push(edge(EXECUTION, RISK, Port::Line, FROM_EXECUTION));
    for reader in [STRATEGY, RISK, JOURNAL] {
        edges.push(edge(DETECTORS, reader, Port::Alert, cep_stage::OUTPUTS_MAX));
    }
    edges.push(edge(RISK, COMPLIANCE, Port::Line, FROM_EXECUTION));
    edges.push(edge(COMPLIANCE, LEDGER, Port::Line, FROM_EXECUTION));
    edges.push(edge(COMPLIANCE, gateway, Port::Orders, FROM_EXECUTION));
    edges.push(edge(SEQUENCER, JOURNAL, Port::Record, 4));
    for (name, per_input) in [
        (MARKET, 1),
        (ENSEMBLE, 1),
        (STRATEGY, strategy_stage::DECISIONS_MAX + 1),
        (EXECUTION, 1),
        (RISK, 1),
        (COMPLIANCE, FROM_EXECUTION),
        (LEDGER, 1),
    ] {
        edges.push(edge(name, JOURNAL, Port::Record, per_input));
    }
    for (name, per_input) in [(STRATEGY, FROM_MARKET), (RISK, FROM_EXECUTION), (COMPLIANCE, FROM_EXECUTION)] {
        edges.push(edge(name, SEQUENCER, Port::Feedback, per_input));
    }
    // The last seats and inlet: numbers that journals without them hold stay as they are.
    if config.opinions.enabled {
        seats.push(seat(OPINIONS, Plane::Slow, "what is fitted, or judged by what comes later", false, 1));
        edges.push(input(OPINIONS, 1, 1_024));
    }
    seats.extend(guests.iter().map(member));
    Topology { seats, edges }
}

/// The plan with seats that it does not know of, where a configuration has them: the patterns' behind the ledger's, members from outside behind the last
/// of ours.
#[must_use]
pub fn with_guests(mut plan: Plan, topology: &Topology) -> Plan {
    let last = member_seat(MEMBERS[MEMBERS.len() - 1].0);
    for seat in extensions::MEMBERS.iter().rev().map(|(name, ..)| member_seat(name)) {
        let is_placed = plan.threads.iter().any(|t| t.seats.contains(&seat));
        let thread = plan.threads.iter_mut().find_map(|t| {
            let at = t.seats.iter().position(|s| *s == last)?;
            Some((t, at))
        });
        if let Some((thread, at)) = thread.filter(|_| topology.seat(&seat).is_some() && !is_placed) {
            thread.seats.insert(at + 1, seat);
        }
    }
    let is_placed = plan.threads.iter().any(|t| t.seats.iter().any(|seat| seat == PATTERNS));
    if topology.seat(PATTERNS).is_some() && !is_placed {
        let thread = plan.threads.iter_mut().find(|t| t.seats.iter().any(|seat| seat == LEDGER));
        if let Some(thread) = thread {
            thread.seats.push(PATTERNS.to_owned());
        }
    }
    plan
}

/// Seats whose outputs a replay compares.
#[must_use]
pub fn compared_seats(topology: &Topology) -> Vec<String> {
    let hot = topology.seats.iter().filter(|s| s.plane == Plane::Hot && s.name != SEQUENCER);
    hot.map(|s| s.name.clone()).collect()
}

/// Stages of the main line: whoever they fall for, nobody votes in their place.
#[must_use]
pub fn stages(topology: &Topology) -> Vec<String> {
    let branches: Vec<_> = branches().collect();
    compared_seats(topology).into_iter().filter(|name| !branches.contains(name)).collect()
}

/// Seats where an agent sits: the sequencer, and whoever touches the outside.
#[must_use]
pub fn agents(topology: &Topology) -> Vec<String> {
    let agents = topology.seats.iter().filter(|s| s.plane != Plane::Hot || s.name == SEQUENCER);
    agents.map(|s| s.name.clone()).collect()
}

/// Classes of the sequencer's inlets, in the topology's order.
#[must_use]
pub fn input_classes(config: &Config, topology: &Topology) -> Vec<InputClass> {
    let class = |e: &EdgeSpec| match e.from.as_str() {
        CONTROL => InputClass::Command,
        OPINIONS => InputClass::Opinion,
        gateway if gateway == config.account.gateway => InputClass::Execution,
        _ if e.port == Port::Feedback => InputClass::Execution,
        _ => InputClass::Market,
    };
    topology.edges.iter().filter(|e| e.to == SEQUENCER).map(class).collect()
}

/// Seats that say how old a mark is when they have answered it: the beginning of what is decided, and its end. A look at the
/// clock in every seat would cost a third of what they do.
const TELL_AGE: [&str; 2] = ["market", "strategy"];

/// What a seat measures, under its name.
#[must_use]
pub fn meters(counters: &Counters, name: &str) -> SeatMeters {
    SeatMeters {
        inputs: counters.counter(&format!("{name}.inputs")),
        outputs: counters.counter(&format!("{name}.outputs")),
        blocked: counters.counter(&format!("{name}.blocked")),
        residence: counters.histogram(&format!("{name}.residence_ns")),
        mark_age: if TELL_AGE.contains(&name) {
            counters.histogram(&format!("{name}.mark_age_ns"))
        } else {
            Histogram::default()
        },
    }
}

/// What a replay looks into.
#[derive(Clone, Default)]
pub struct Probes {
    /// Seats whose outputs are noted input by input.
    pub taps: BTreeMap<String, Tap>,
    /// The input about which everything that is said is kept.
    pub watch: Option<Watch>,
    /// The seat that says one bit of something else, from this input on.
    pub flip: Option<(String, Seq)>,
    /// Who sits in a member's seat instead of it.
    pub swaps: Vec<Swap>,
    /// Faults, where they are allowed.
    pub faults: Option<Faults>,
    /// Where a member's death is noted: the input it died on.
    pub deaths: Option<(String, Arc<AtomicU64>)>,
    /// How stages are made anew in their place, by seat.
    pub mends: BTreeMap<String, Arc<Mend>>,
    /// A stage that takes nothing from a message of an input on.
    pub stop: Option<(String, (Seq, u64))>,
    /// How members come back, by seat.
    pub rejoins: BTreeMap<String, Arc<Rejoin>>,
    /// How everybody is, by seat.
    pub healths: BTreeMap<String, Arc<Health>>,
    /// Patterns that are ready to be loaded.
    pub patterns: Ready,
    /// Those that are ready for the line that runs, for a seat that is made beside it.
    pub patterns_of_line: Ready,
}

/// Seats one stage after the other.
struct Seats<'a> {
    topology: &'a Topology,
    wiring: &'a mut Wiring,
    counters: &'a Counters,
    tsc: Tsc,
    probes: &'a Probes,
    gate: Arc<AbsenceGate>,
    cells: Vec<Box<dyn Cell>>,
}

impl Seats<'_> {
    /// A stage of the line; where it can be made anew in its place, a spare one is made with it.
    fn add<A: Actor + 'static>(&mut self, name: &str, make: impl Fn() -> A) -> Result<(), Failure> {
        match self.probes.faults.clone() {
            Some(faults) => self.add_made(name, || Faulty::new(make(), name, &faults)),
            None => self.add_made(name, make),
        }
    }

    fn add_made<A: Actor + 'static>(&mut self, name: &str, make: impl Fn() -> A) -> Result<(), Failure> {
        let mut seat = self.seat(name, make())?;
        if let Some(mend) = self.probes.mends.get(name) {
            let health = self.probes.healths.get(name).cloned().unwrap_or_default();
            seat = seat.as_stage(make(), mend.clone(), health);
        }
        let stop = self.probes.stop.as_ref().filter(|(seat, _)| seat == name).map(|(_, at)| *at);
        self.cells.push(Box::new(seat.with_stop(stop)));
        Ok(())
    }

    /// A member, or who sits in its seat instead of it.
    fn member<A: Actor + 'static>(&mut self, name: &str, number: usize, actor: A) -> Result<(), Failure> {
        let seat = member_seat(name);
        match self.probes.swaps.iter().find(|swap| swap.member == name) {
            Some(swap) => self.sit(&seat, StandIn::new(number, swap.forecasts.clone())),
            None => self.sit(&seat, actor),
        }
    }

    /// Somebody whom the line goes on without.
    fn sit<A: Actor + 'static>(&mut self, name: &str, actor: A) -> Result<(), Failure> {
        let name = name.to_owned();
        let gate = self.gate.clone();
        let rejoin = self.probes.rejoins.get(&name).cloned().unwrap_or_default();
        let health = self.probes.healths.get(&name).cloned();
        let deaths = self.probes.deaths.as_ref().filter(|(seat, _)| *seat == name).map(|(_, at)| at.clone());
        match self.probes.faults.clone() {
            Some(faults) => {
                let seat = self.seat(&name, Faulty::new(actor, &name, &faults))?;
                let seat = seat.as_member(gate, rejoin).with_deaths(deaths).with_health(health);
                self.cells.push(Box::new(seat));
            }
            None => {
                let seat =
                    self.seat(&name, actor)?.as_member(gate, rejoin).with_deaths(deaths).with_health(health);
                self.cells.push(Box::new(seat));
            }
        }
        Ok(())
    }

    fn seat<A: Actor + 'static>(&mut self, name: &str, actor: A) -> Result<Seat<A>, Failure> {
        let missing = || Failure::defect(format!("the topology has no {name} seat"));
        let ports = self.wiring.take(name).ok_or_else(missing)?;
        let outputs = self.topology.seat(name).map_or(0, |s| s.outputs_max);
        let seat = Seat::new(actor, ports, outputs, meters(self.counters, name), self.tsc);
        let flip = self.probes.flip.as_ref().filter(|(seat, _)| seat == name).map(|(_, seq)| *seq);
        let seat = seat.with_watch(self.probes.watch.clone());
        Ok(seat.with_tap(self.probes.taps.get(name).cloned()).with_flip(flip))
    }
}

/// The members of a configuration by number, without seats: for whoever looks at forecasts alone.
///
/// # Errors
/// Where the configuration is wrong.
pub fn boxed_members(config: &Config) -> Result<Vec<Box<dyn Actor>>, String> {
    let mut members: Vec<Box<dyn Actor>> = vec![
        Box::new(Contradiction::new(config.contradiction_config(0)?)),
        Box::new(Thermodynamic::new(config.thermodynamic_config(1))),
        Box::new(Pattern::new(2, config.traded_id())),
        Box::new(Sentiment::new(config.sentiment_config(3))),
        Box::new(Macro::new(config.macro_config(4)?)),
    ];
    members.extend(guests(config).map(|(_, member)| member));
    Ok(members)
}

/// Members from outside that a configuration names, made.
fn guests(config: &Config) -> impl Iterator<Item = (&'static str, Box<dyn Actor>)> {
    let members = config.ensemble.further.iter().filter_map(|name| extensions::member(name));
    members.enumerate().map(|(i, (name, _, make))| (*name, make(&config.member_roles(MEMBERS.len() + i))))
}

/// The deterministic seats behind the door.
///
/// # Errors
/// Where the topology lacks one of them, or the configuration is wrong.
pub fn cells(
    config: &Config,
    topology: &Topology,
    wiring: &mut Wiring,
    counters: &Counters,
    tsc: Tsc,
    probes: &Probes,
    gate: &Arc<AbsenceGate>,
) -> Result<Vec<Box<dyn Cell>>, Failure> {
    let wrong = |e: String| Failure::configuration(e);
    let (limits, rules) = config.risk_config().map_err(wrong)?;
    let books = Books::new(config.capital().map_err(wrong)?, &config.tick_units().map_err(wrong)?);
    let strategy = config.strategy_config().map_err(wrong)?;
    let execution = config.execution_config().map_err(wrong)?;
    let mut seats = Seats { topology, wiring, counters, tsc, probes, gate: gate.clone(), cells: Vec::new() };
    seats.add(MARKET, || Market::new(&config.market_config()))?;
    seats.sit(DETECTORS, Detectors::new(&config.detectors_config(), DetectorsMeters::new(counters)))?;
    seats.member("contradiction", 0, Contradiction::new(config.contradiction_config(0).map_err(wrong)?))?;
    seats.member("thermodynamic", 1, Thermodynamic::new(config.thermodynamic_config(1)))?;
    seats.member("pattern", 2, Pattern::new(2, config.traded_id()))?;
    seats.member("sentiment", 3, Sentiment::new(config.sentiment_config(3)))?;
    seats.member("macro", 4, Macro::new(config.macro_config(4).map_err(wrong)?))?;
    for (i, (name, member)) in guests(config).enumerate() {
        seats.member(name, MEMBERS.len() + i, member)?;
    }
    let ensemble = config.ensemble_config();
    let ensemble_meters = EnsembleMeters::new(counters, &ensemble.members);
    seats.add(ENSEMBLE, || Ensemble::new(ensemble.clone(), ensemble_meters.clone()))?;
    let meters = StrategyMeters::new(counters);
    seats
        .add(STRATEGY, || Strategies::with_kinds(strategy.clone(), meters.clone(), extensions::STRATEGIES))?;
    let meters = ExecutionMeters::new(counters);
    seats.add(EXECUTION, || Execution::new(execution.clone(), meters.clone()))?;
    let meters = RiskMeters::new(counters);
    let terms = config.session_terms().map_err(wrong)?;
    seats.add(RISK, || {
        Risk::new(Gate::with_sessions(limits.clone(), rules.clone(), &terms), meters.clone())
    })?;
    let meters = ComplianceMeters::new(counters);
    seats.add(COMPLIANCE, || {
        let conduct = Conduct::new(config.conduct_config(), config.instruments.len());
        Compliance::new(Rules::new(config.compliance_config()), conduct, meters.clone())
    })?;
    let meters = LedgerMeters::new(counters, config.instruments.len());
    seats.add(LEDGER, || Ledger::new(books.clone(), meters.clone()))?;
    if config.patterns.is_used() {
        let (events, programs) = (config.events().map_err(wrong)?, config.patterns().map_err(wrong)?);
        let own = PatternSet::new([0; 32], programs, counters);
        let meters = PatternsMeters::new(counters);
        let shelf = Shelf {
            config: config.clone(),
            counters: counters.clone(),
            ready: probes.patterns.clone(),
            of_line: probes.patterns_of_line.clone(),
        };
        seats.sit(PATTERNS, Patterns::new(events, own, Box::new(shelf), meters))?;
    }
    Ok(seats.cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan;

    #[test]
    fn the_shipped_profile_fits_every_shipped_plan() {
        let config = Config::parse(include_str!("../config/profiles/paper.toml")).unwrap();
        let topology = topology(&config);
        assert_eq!(topology.check(), Ok(()));
        for cores in [2, 4, 8, 16, 32] {
            let there: Vec<_> = (0..cores).collect();
            let plan = plan(&format!("cores-{cores}")).unwrap();
            assert_eq!(plan.check(&topology, Some(&there)), Ok(()));
            assert!(plan.cores_for_others(&there).contains(&0), "{}", plan.name);
        }
        let text = "[patterns]\ntext = [\"pattern p on trade: t:Trade\"]";
        let with = config.patched(text).unwrap();
        let its = super::topology(&with);
        assert!(its.check() == Ok(()) && its.seat(PATTERNS).is_some());
        for cores in [2, 4, 8, 16, 32] {
            let plan = with_guests(plan(&format!("cores-{cores}")).unwrap(), &its);
            assert_eq!(plan.check(&its, None), Ok(()));
        }
        let of = |config: &Config| config.supervision.group_of(PATTERNS).map(|g| g.name.clone());
        assert_eq!((of(&config), of(&with)), (None, Some("members".into())));
        let mut stages = vec![MARKET.to_owned()];
        stages.extend(branches().filter(|seat| topology.seat(seat).is_some()));
        stages.extend([ENSEMBLE, STRATEGY, EXECUTION, RISK, COMPLIANCE, LEDGER].map(str::to_owned));
        assert_eq!(compared_seats(&topology), stages);
    }
}
