//! Who is wired to whom, as data: checked before anything is built, printed by the program, built by [`Wiring`].

use std::collections::BTreeSet;
use std::sync::Arc;

use kimera_protocol::{Absent, Seq};

use crate::actor::Port;
use crate::credit::{FRAME_MESSAGES_MAX, Frontier, WINDOW_MAX};
use crate::ring::{Inlet, Outlet, broadcast};
use crate::seat::{PortInlet, PortOutlet, Ports};

/// Which plane a seat belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plane {
    /// Pure computation on preallocated memory.
    Hot,
    /// Sockets and files on pinned threads.
    Io,
    /// The supervisor's reach into the engine.
    Control,
    /// Slow models: what they think enters by the sequencer, and nothing waits for it.
    Slow,
}

/// A seat.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SeatSpec {
    /// Unique name, dotted: `feed.spot`.
    pub name: String,
    /// Its plane.
    pub plane: Plane,
    /// One line: what it does.
    pub purpose: String,
    /// True where inputs end: admission waits for it.
    pub sink: bool,
    /// Most outputs of one input, over all ports.
    pub outputs_max: usize,
}

impl SeatSpec {
    /// True where a plan gives it a thread: not the engine's own seats, whose ends its process holds itself.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        !matches!(self.plane, Plane::Control | Plane::Slow)
    }
}

/// A ring between two seats.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EdgeSpec {
    /// Writing seat.
    pub from: String,
    /// Reading seat.
    pub to: String,
    /// The writer's port that feeds it.
    pub port: Port,
    /// Most messages of one input of the writer; for inputs to the sequencer the largest frame.
    pub per_input: usize,
    /// Messages the ring holds.
    pub capacity: usize,
}

/// Seats and edges of one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Topology {
    /// Seats, upstream first.
    pub seats: Vec<SeatSpec>,
    /// Edges; a seat's inlets and outlets are in this order.
    pub edges: Vec<EdgeSpec>,
}

/// Name of the seat that is the one door.
pub const SEQUENCER: &str = "sequencer";

/// What is wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Two seats of one name.
    #[error("seat \"{0}\" is declared twice")]
    DuplicateSeat(String),
    /// An edge names a seat that is not declared.
    #[error("edge {from} -> {to} names the unknown seat \"{seat}\"")]
    UnknownSeat {
        /// Writer.
        from: String,
        /// Reader.
        to: String,
        /// The missing one.
        seat: String,
    },
    /// A ring that could fill.
    #[error("edge {from} -> {to} holds {capacity} messages and needs {needed}: {why}")]
    TooSmall {
        /// Writer.
        from: String,
        /// Reader.
        to: String,
        /// Declared.
        capacity: usize,
        /// Least that is safe.
        needed: usize,
        /// The rule.
        why: &'static str,
    },
    /// Seats behind the door that wait for each other.
    #[error("seat \"{0}\" waits for itself through line edges")]
    Cycle(String),
    /// No seat is a sink: nothing would limit admission.
    #[error("no seat is a sink, so nothing limits admission")]
    NoSink,
}

impl Topology {
    /// Checks names, capacities against the credit window, and the absence of cycles behind the door.
    ///
    /// # Errors
    /// The first [`TopologyError`] found.
    pub fn check(&self) -> Result<(), TopologyError> {
        let mut names = BTreeSet::new();
        for seat in &self.seats {
            if !names.insert(seat.name.as_str()) {
                return Err(TopologyError::DuplicateSeat(seat.name.clone()));
            }
        }
        for edge in &self.edges {
            for seat in [&edge.from, &edge.to] {
                if !names.contains(seat.as_str()) {
                    return Err(TopologyError::UnknownSeat {
                        from: edge.from.clone(),
                        to: edge.to.clone(),
                        seat: seat.clone(),
                    });
                }
            }
            self.check_capacity(edge)?;
        }
        if !self.seats.iter().any(|s| s.sink) {
            return Err(TopologyError::NoSink);
        }
        self.check_cycles()
    }

    fn check_capacity(&self, edge: &EdgeSpec) -> Result<(), TopologyError> {
        let (needed, why) = if edge.port == Port::Input {
            (edge.per_input.max(1), "the largest frame is admitted whole")
        } else {
            (WINDOW_MAX as usize * edge.per_input, "credit window times the writer's outputs an input")
        };
        if edge.capacity < needed || (edge.port == Port::Input && edge.per_input > FRAME_MESSAGES_MAX) {
            return Err(TopologyError::TooSmall {
                from: edge.from.clone(),
                to: edge.to.clone(),
                capacity: edge.capacity,
                needed,
                why,
            });
        }
        Ok(())
    }

    /// Line and vote edges must form no cycle; feedback goes through the door and is not waited for.
    fn check_cycles(&self) -> Result<(), TopologyError> {
        let waits = |name: &str| -> Vec<&str> {
            self.edges
                .iter()
                .filter(|e| e.from == name && matches!(e.port, Port::Line | Port::Vote | Port::Alert))
                .map(|e| e.to.as_str())
                .collect()
        };
        for seat in &self.seats {
            let mut open = waits(&seat.name);
            let mut seen = BTreeSet::new();
            while let Some(next) = open.pop() {
                if next == seat.name {
                    return Err(TopologyError::Cycle(seat.name.clone()));
                }
                if seen.insert(next) {
                    open.extend(waits(next));
                }
            }
        }
        Ok(())
    }

    /// A seat's index, which the journal uses for its name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<u16> {
        self.seats.iter().position(|s| s.name == name).and_then(|i| u16::try_from(i).ok())
    }

    /// True for the first of the edges that one port of a seat feeds: they share a ring.
    #[must_use]
    pub fn is_first_of_port(&self, edge: usize) -> bool {
        !self.edges[..edge].iter().any(|before| before.is_of_port_of(&self.edges[edge]))
    }

    /// A seat by name.
    #[must_use]
    pub fn seat(&self, name: &str) -> Option<&SeatSpec> {
        self.seats.iter().find(|s| s.name == name)
    }
}

/// Progress and absences of every seat, by index.
#[derive(Clone)]
pub struct Frontiers(Vec<Arc<Frontier>>);

impl Frontiers {
    /// A seat by index is out, or leaves an input out, as a journal says.
    pub fn note_absence(&self, absent: &Absent) {
        let Some(frontier) = usize::try_from(absent.seat).ok().and_then(|i| self.0.get(i)) else {
            return;
        };
        if absent.skipped != 0 {
            frontier.absences().skip(absent.from);
        } else {
            frontier.absences().note(absent.from, absent.to.saturating_add(1));
        }
    }

    /// Every absence that is known, and every input that is left out, as records.
    #[must_use]
    pub fn absences(&self) -> Vec<Absent> {
        let mut all = Vec::new();
        for (seat, frontier) in (0u64..).zip(&self.0) {
            for (from, back_at) in frontier.absences().all() {
                let to = if back_at == Seq::MAX { Seq::MAX } else { back_at - 1 };
                all.push(Absent { seat, from, to, ..Absent::default() });
            }
            let skipped = |from| Absent { seat, from, to: from, skipped: 1, ..Absent::default() };
            all.extend(frontier.absences().skips().into_iter().map(skipped));
        }
        all
    }

    /// Everybody is done with every input up to `seq`: behind a snapshot.
    pub fn resume_at(&self, seq: Seq) {
        self.0.iter().for_each(|frontier| frontier.advance(seq));
    }
}

impl EdgeSpec {
    /// True where the same port of the same seat feeds it.
    #[must_use]
    pub fn is_of_port_of(&self, other: &Self) -> bool {
        self.from == other.from && self.port == other.port
    }
}

/// The rings of a topology, handed out seat by seat.
pub struct Wiring {
    topology: Topology,
    outlets: Vec<Option<Outlet>>,
    inlets: Vec<Option<Inlet>>,
    frontiers: Vec<Arc<Frontier>>,
}

impl Wiring {
    /// Builds every ring.
    ///
    /// # Errors
    /// Where [`Topology::check`] refuses.
    pub fn build(topology: &Topology) -> Result<Self, TopologyError> {
        topology.check()?;
        // Everyone whom a seat's port feeds reads the same ring; it is kept with the first of these edges.
        let edges = &topology.edges;
        let mut outlets: Vec<Option<Outlet>> = edges.iter().map(|_| None).collect();
        let mut inlets: Vec<Option<Inlet>> = edges.iter().map(|_| None).collect();
        for (first, edge) in edges.iter().enumerate().filter(|(i, _)| topology.is_first_of_port(*i)) {
            let readers = || (first..edges.len()).filter(|i| edges[*i].is_of_port_of(edge));
            let capacity = readers().map(|i| edges[i].capacity).max().unwrap_or(edge.capacity);
            let (outlet, read) = broadcast(capacity, readers().count());
            outlets[first] = Some(outlet);
            readers().zip(read).for_each(|(i, inlet)| inlets[i] = Some(inlet));
        }
        let frontiers = topology.seats.iter().map(|_| Frontier::new()).collect();
        Ok(Self { topology: topology.clone(), outlets, inlets, frontiers })
    }

    /// The ends of a seat's edges. Once a seat: the seat owns them from then on.
    #[must_use]
    pub fn take(&mut self, name: &str) -> Option<Ports> {
        let seat = self.topology.index_of(name)?;
        let mut ports = Ports {
            name: name.to_owned(),
            seat,
            inlets: Vec::new(),
            outlets: Vec::new(),
            frontier: self.frontiers[usize::from(seat)].clone(),
        };
        for (i, edge) in self.topology.edges.iter().enumerate() {
            if edge.from == name && self.topology.is_first_of_port(i) {
                let outlet = self.outlets[i].take()?;
                let of_port = self.topology.edges.iter().filter(|other| other.is_of_port_of(edge));
                let per_input = of_port.map(|other| other.per_input).max().unwrap_or(edge.per_input);
                ports.outlets.push(PortOutlet { port: edge.port, per_input, outlet });
            }
            if edge.to == name {
                let writer = self.frontiers[usize::from(self.topology.index_of(&edge.from)?)].clone();
                let inlet = self.inlets[i].take()?;
                ports.inlets.push(PortInlet { from: edge.from.clone(), port: edge.port, inlet, writer });
            }
        }
        Some(ports)
    }

    /// Progress of a seat, for those who watch it.
    #[must_use]
    pub fn frontier(&self, name: &str) -> Option<Arc<Frontier>> {
        self.topology.index_of(name).map(|i| self.frontiers[usize::from(i)].clone())
    }

    /// Progress of every seat.
    #[must_use]
    pub fn frontiers(&self) -> Frontiers {
        Frontiers(self.frontiers.clone())
    }

    /// Progress of every sink, for the credit window.
    #[must_use]
    pub fn sinks(&self) -> Vec<Arc<Frontier>> {
        let seats = self.topology.seats.iter().zip(&self.frontiers);
        seats.filter(|(seat, _)| seat.sink).map(|(_, frontier)| frontier.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(name: &str, sink: bool) -> SeatSpec {
        SeatSpec { name: name.into(), plane: Plane::Hot, purpose: String::new(), sink, outputs_max: 2 }
    }

    fn edge(from: &str, to: &str, capacity: usize) -> EdgeSpec {
        EdgeSpec { from: from.into(), to: to.into(), port: Port::Line, per_input: 2, capacity }
    }

    #[test]
    fn each_mistake_is_named() {
        let good = Topology {
            seats: vec![seat("sequencer", false), seat("market", true)],
            edges: vec![edge("sequencer", "market", 2048)],
        };
        assert_eq!(good.check(), Ok(()));
        let mut small = good.clone();
        small.edges[0].capacity = 2047;
        assert!(matches!(small.check(), Err(TopologyError::TooSmall { needed: 2048, .. })));
        let mut unknown = good.clone();
        unknown.edges[0].to = "ghost".into();
        assert!(matches!(unknown.check(), Err(TopologyError::UnknownSeat { seat, .. }) if seat == "ghost"));
        let mut cycle = good.clone();
        cycle.edges.push(edge("market", "sequencer", 2048));
        assert!(matches!(cycle.check(), Err(TopologyError::Cycle(_))));
        let mut twice = good.clone();
        twice.seats.push(seat("market", false));
        assert!(matches!(twice.check(), Err(TopologyError::DuplicateSeat(_))));
        let mut endless = good;
        endless.seats[1].sink = false;
        assert_eq!(endless.check(), Err(TopologyError::NoSink));
    }
}
