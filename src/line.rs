//! Who is wired to whom, and who sits there: the same for a live run and a replay.

use std::collections::BTreeMap;

use kimera_market::{Market, actor as market_stage};
use kimera_runtime::counters::Counters;
use kimera_runtime::credit::{FRAME_MESSAGES_MAX, InputClass, WINDOW_MAX};
use kimera_runtime::seat::{Cell, Seat, SeatMeters, Tap};
use kimera_runtime::topology::{EdgeSpec, Plane, SEQUENCER, SeatSpec, Topology, Wiring};
use kimera_runtime::{Port, Tsc};

use crate::config::Config;
use crate::exit::Failure;

/// Seat through which the engine's own process speaks to the sequencer.
pub const CONTROL: &str = "control";
/// The market stage.
pub const MARKET: &str = "market";
/// The journal.
pub const JOURNAL: &str = "journal";

fn seat(name: &str, plane: Plane, purpose: &str, sink: bool, outputs_max: usize) -> SeatSpec {
    SeatSpec { name: name.into(), plane, purpose: purpose.into(), sink, outputs_max }
}

fn edge(from: &str, to: &str, port: Port, per_input: usize, capacity: usize) -> EdgeSpec {
    EdgeSpec { from: from.into(), to: to.into(), port, per_input, capacity }
}

/// Seats and edges of an engine with this configuration.
#[must_use]
pub fn topology(config: &Config) -> Topology {
    let window = WINDOW_MAX as usize;
    let mut seats = vec![seat(CONTROL, Plane::Control, "start, stop and commands as inputs", false, 1)];
    let mut edges = vec![edge(CONTROL, SEQUENCER, Port::Input, 1, 64)];
    for instrument in &config.instruments {
        let purpose = format!("{} {} market data", instrument.market.name(), instrument.symbol);
        seats.push(seat(&instrument.feed, Plane::Io, &purpose, false, FRAME_MESSAGES_MAX));
        edges.push(edge(&instrument.feed, SEQUENCER, Port::Input, FRAME_MESSAGES_MAX, 4_096));
    }
    seats.push(seat(SEQUENCER, Plane::Hot, "the one door: order, time, marks, credit", false, 1));
    seats.push(seat(
        MARKET,
        Plane::Hot,
        "books and microstructure features",
        true,
        market_stage::OUTPUTS_MAX,
    ));
    seats.push(seat(JOURNAL, Plane::Io, "input and output log", true, 0));
    edges.push(edge(SEQUENCER, MARKET, Port::Line, 1, window));
    edges.push(edge(SEQUENCER, JOURNAL, Port::Record, 1, 4 * window));
    edges.push(edge(MARKET, JOURNAL, Port::Record, 1, window));
    Topology { seats, edges }
}

/// Seats whose outputs a replay compares.
#[must_use]
pub fn compared_seats(topology: &Topology) -> Vec<String> {
    let hot = topology.seats.iter().filter(|s| s.plane == Plane::Hot && s.name != SEQUENCER);
    hot.map(|s| s.name.clone()).collect()
}

/// Classes of the sequencer's inlets, in the topology's order.
#[must_use]
pub fn input_classes(topology: &Topology) -> Vec<InputClass> {
    let inputs = topology.edges.iter().filter(|e| e.to == SEQUENCER);
    inputs.map(|e| if e.from == CONTROL { InputClass::Command } else { InputClass::Market }).collect()
}

/// What a seat measures, under its name.
#[must_use]
pub fn meters(counters: &Counters, name: &str) -> SeatMeters {
    SeatMeters {
        inputs: counters.counter(&format!("{name}.inputs")),
        outputs: counters.counter(&format!("{name}.outputs")),
        blocked: counters.counter(&format!("{name}.blocked")),
        residence: counters.histogram(&format!("{name}.residence_ns")),
        mark_age: counters.histogram(&format!("{name}.mark_age_ns")),
    }
}

/// The deterministic seats behind the door; `taps` names those whose outputs are noted input by input.
///
/// # Errors
/// Where the topology lacks one of them.
pub fn cells(
    config: &Config,
    topology: &Topology,
    wiring: &mut Wiring,
    counters: &Counters,
    tsc: Tsc,
    taps: &BTreeMap<String, Tap>,
) -> Result<Vec<Box<dyn Cell>>, Failure> {
    let ports = wiring.take(MARKET).ok_or_else(|| Failure::run("the topology has no market seat"))?;
    let outputs = topology.seat(MARKET).map_or(0, |s| s.outputs_max);
    let market =
        Seat::new(Market::new(&config.market_config()), ports, outputs, meters(counters, MARKET), tsc)
            .with_tap(taps.get(MARKET).cloned());
    Ok(vec![Box::new(market)])
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
        for name in ["cores-2", "cores-4"] {
            assert_eq!(plan(name, 64).unwrap().check(&topology, Some(&[0, 1, 2, 3])), Ok(()));
        }
        assert_eq!(compared_seats(&topology), [MARKET]);
    }
}
