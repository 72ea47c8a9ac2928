//! What a topology promises, shown from its own data: no ring behind the door fills, nobody waits for himself, memory has a
//! bound, and a kill has one.

use std::collections::BTreeSet;
use std::time::Instant;

use kimera_protocol::{Message, OrderId};
use kimera_runtime::Port;
use kimera_runtime::credit::WINDOW_MAX;
use kimera_runtime::plan::Plan;
use kimera_runtime::topology::{EdgeSpec, SEQUENCER, Topology};
use kimera_venues::binance::orders::OrderWriter;
use kimera_venues::binance::signing::Signer;
use serde::Serialize;

use crate::config::{Config, WayBack};

/// One thing that has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What.
    pub name: &'static str,
    /// True where it does.
    pub good: bool,
    /// With which numbers, or where it does not.
    pub because: String,
}

fn claim(name: &'static str, wrong: &[String], because: String) -> Claim {
    let good = wrong.is_empty();
    Claim { name, good, because: if good { because } else { wrong.join("; ") } }
}

/// Everything that has to hold of a topology and the plans it runs on.
#[must_use]
pub fn prove(config: &Config, topology: &Topology, plans: &[Plan]) -> Vec<Claim> {
    let mut claims = vec![
        rings(topology),
        credit(topology),
        order(topology),
        joins(config, topology),
        memory(config, topology),
        kill_has_its_thread(config, plans),
    ];
    claims.extend(last_cancel(config));
    claims
}

fn behind_the_door(topology: &Topology) -> impl Iterator<Item = &EdgeSpec> {
    topology.edges.iter().filter(|e| e.port != Port::Input)
}

/// In flight are at most as many inputs as the largest window admits; each causes at most `per_input` messages on an edge.
fn rings(topology: &Topology) -> Claim {
    let needed = |e: &EdgeSpec| WINDOW_MAX as usize * e.per_input;
    let wrong = |e: &EdgeSpec| {
        (e.per_input == 0 || e.capacity < needed(e))
            .then(|| format!("{} -> {} holds {} of {}", e.from, e.to, e.capacity, needed(e)))
    };
    let wrong: Vec<_> = behind_the_door(topology).filter_map(wrong).collect();
    let largest = behind_the_door(topology).map(needed).max().unwrap_or(0);
    let edges = behind_the_door(topology).count();
    let text =
        format!("{edges} edges, each at least window {WINDOW_MAX} × its messages an input (most: {largest})");
    claim("no ring behind the door can fill", &wrong, text)
}

/// Seats that lead to a sink by edges whose messages are read in order.
fn leads_to_a_sink(topology: &Topology, from: &str) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if topology.seat(name).is_some_and(|s| s.sink) {
            return true;
        }
        if seen.insert(name) {
            let next = topology.edges.iter().filter(|e| e.from == name && e.port == Port::Line);
            open.extend(next.map(|e| e.to.as_str()));
        }
    }
    false
}

/// A seat is never further than those before it: who waits for the sinks waits for every reader.
fn credit(topology: &Topology) -> Claim {
    let readers: BTreeSet<&str> =
        behind_the_door(topology).map(|e| e.to.as_str()).filter(|n| *n != SEQUENCER).collect();
    let wrong: Vec<_> = readers
        .iter()
        .filter(|name| !leads_to_a_sink(topology, name))
        .map(|name| format!("{name} reads, and leads to no sink: admission does not wait for it"))
        .collect();
    let sinks: Vec<_> = topology.seats.iter().filter(|s| s.sink).map(|s| s.name.as_str()).collect();
    claim("admission waits for every reader", &wrong, format!("sinks: {}", sinks.join(", ")))
}

/// Seats behind the door in an order in which each waits only for those before it.
fn order(topology: &Topology) -> Claim {
    let mut left: Vec<&str> = topology.seats.iter().map(|s| s.name.as_str()).collect();
    let mut ordered: Vec<&str> = Vec::new();
    loop {
        let ready = left.iter().position(|name| {
            let mut before = topology.edges.iter().filter(|e| e.to == **name && e.to != SEQUENCER);
            before.all(|e| ordered.contains(&e.from.as_str()))
        });
        match ready {
            Some(at) => ordered.push(left.remove(at)),
            None => break,
        }
    }
    let wrong: Vec<_> = left.iter().map(|name| format!("{name} waits for itself")).collect();
    let from = ordered.iter().position(|n| *n == SEQUENCER).unwrap_or(0);
    claim("nobody behind the door waits for himself", &wrong, ordered[from..].join(" < "))
}

/// A join goes on without who is absent; whoever else falls ends the engine.
fn joins(config: &Config, topology: &Topology) -> Claim {
    let voters = topology.edges.iter().filter(|e| e.port == Port::Vote);
    let can_be_out =
        |name: &str| config.supervision.group_of(name).is_some_and(|g| g.way_back == WayBack::FromJournal);
    let wrong: Vec<_> = voters
        .clone()
        .filter(|e| !can_be_out(&e.from))
        .map(|e| format!("{} waits for {}, which has no way to be out", e.to, e.from))
        .collect();
    claim("nobody waits for who has fallen", &wrong, format!("{} voters, each may be absent", voters.count()))
}

fn memory(config: &Config, topology: &Topology) -> Claim {
    // A ring a port, as long as the longest of its edges asks for.
    let edges = &topology.edges;
    let of_port =
        |first: usize| edges.iter().filter(move |e| e.is_of_port_of(&edges[first])).map(|e| e.capacity);
    let firsts = (0..edges.len()).filter(|i| topology.is_first_of_port(*i));
    let messages: usize = firsts.map(|i| of_port(i).max().unwrap_or_default()).sum();
    let bytes = messages * size_of::<Message>();
    let budget = (config.memory.arena_mib as usize) << 20;
    let text = format!(
        "{:.1} MiB of rings, budget {} MiB",
        bytes as f64 / f64::from(1 << 20),
        config.memory.arena_mib
    );
    let wrong = if bytes > budget { vec![text.clone()] } else { Vec::new() };
    claim("rings fit the locked memory", &wrong, text)
}

/// A line that stands still must not stop a kill.
fn kill_has_its_thread(config: &Config, plans: &[Plan]) -> Claim {
    let gateway = &config.account.gateway;
    let shares = |plan: &Plan| {
        let thread = plan.threads.iter().find(|t| t.seats.contains(gateway));
        thread.is_none_or(|t| t.seats.len() != 1)
    };
    let wrong: Vec<_> = plans
        .iter()
        .filter(|p| shares(p))
        .map(|p| format!("in {} {gateway} shares its thread", p.name))
        .collect();
    let names: Vec<_> = plans.iter().map(|p| p.name.as_str()).collect();
    claim("the gateway has a thread of its own", &wrong, format!("in {}", names.join(", ")))
}

/// What lies between the kill word and the last cancel.
fn last_cancel(config: &Config) -> Option<Claim> {
    const ROUNDS: u32 = 2_000;
    let orders = config.risk.working_max;
    let instrument = config.traded().ok()?;
    let mut writer = OrderWriter::new(instrument, &Signer::new("key", b"secret")?);
    let mut text = Vec::with_capacity(4_096);
    let begun = Instant::now();
    for i in 0..ROUNDS {
        text.clear();
        writer.cancel(OrderId { seq: u64::from(i), incarnation: 1, child: 0 }, 1_723_161_257_000, &mut text);
    }
    let each_ns = begun.elapsed().as_nanos() / u128::from(ROUNDS);
    let text = format!(
        "one duty cycle of its own thread, at most one order that is being written, then {orders} cancels of {each_ns} ns each here ({:.0} µs) and one write to the socket",
        each_ns as f64 * f64::from(orders) / 1e3
    );
    Some(claim("from the kill word to the last cancel", &[], text))
}

/// The claims as people read them.
#[must_use]
pub fn text(claims: &[Claim]) -> String {
    let row = |c: &Claim| format!("{:<5} {:<42} {}", if c.good { "good" } else { "BAD" }, c.name, c.because);
    claims.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan;
    use crate::line;

    fn broken(change: impl FnOnce(&mut Topology, &mut Vec<Plan>, &mut Config)) -> Vec<&'static str> {
        let mut config = Config::parse(include_str!("../config/profiles/paper.toml")).unwrap();
        let mut topology = line::topology(&config);
        let mut plans = vec![plan("cores-2").unwrap(), plan("cores-4").unwrap()];
        change(&mut topology, &mut plans, &mut config);
        prove(&config, &topology, &plans).into_iter().filter(|c| !c.good).map(|c| c.name).collect()
    }

    #[test]
    fn the_shipped_topology_holds_and_every_claim_can_fail() {
        assert!(broken(|_, _, _| {}).is_empty());
        let edge = |t: &Topology, from: &str, to: &str| {
            t.edges.iter().position(|e| e.from == from && e.to == to).unwrap()
        };
        let rings = broken(|t, _, _| {
            let at = edge(t, "risk", "compliance");
            t.edges[at].capacity -= 1;
        });
        assert_eq!(rings, ["no ring behind the door can fill"]);
        let credit = broken(|t, _, _| {
            t.seats.iter_mut().filter(|s| s.name == "member.macro").for_each(|s| s.sink = false);
        });
        assert_eq!(credit, ["admission waits for every reader"]);
        let order = broken(|t, _, _| {
            let back = EdgeSpec {
                from: "ledger".into(),
                to: "strategy".into(),
                ..t.edges[edge(t, "risk", "compliance")].clone()
            };
            t.edges.push(back);
        });
        assert_eq!(order, ["nobody behind the door waits for himself"]);
        let joins = broken(|_, _, c| c.supervision.groups.retain(|g| g.name != "members"));
        assert_eq!(joins, ["nobody waits for who has fallen"]);
        assert_eq!(broken(|_, _, c| c.memory.arena_mib = 8), ["rings fit the locked memory"]);
        let thread = broken(|_, plans, _| {
            let gateway = plans[0].threads.pop().unwrap();
            plans[0].threads[0].seats.extend(gateway.seats);
        });
        assert_eq!(thread, ["the gateway has a thread of its own"]);
    }
}
