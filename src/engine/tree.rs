//! The supervision tree inside the engine, as the configuration declares it: groups of seats, how a seat of each comes back,
//! how often, and who goes with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::Seq;
use kimera_runtime::health::{SeatState, Wish};
use kimera_runtime::{Frontier, Health, Topology};
use serde_json::{Value, json};

use crate::config::{GroupSection, Strategy, SupervisionSection, WayBack};
use crate::control::RpcError;
use crate::log;
use crate::log::Category::System;

/// Health of every seat, by name.
pub type Healths = BTreeMap<String, Arc<Health>>;

/// Everybody is well.
#[must_use]
pub fn healths(topology: &Topology) -> Healths {
    let seats = topology.seats.iter().filter(|s| s.is_placed());
    seats.map(|s| (s.name.clone(), Arc::default())).collect()
}

struct Child {
    name: String,
    health: Arc<Health>,
    /// Of a member: its absences.
    frontier: Option<Arc<Frontier>>,
}

struct Group {
    section: GroupSection,
    children: Vec<Child>,
}

/// The tree.
pub struct Tree {
    groups: Vec<Group>,
    gateway: String,
    /// Falls that were seen, child by child.
    seen: Mutex<BTreeMap<String, u64>>,
}

impl Tree {
    /// The tree of a configuration; seats that it does not name are in a group of their own that ends with the engine.
    #[must_use]
    pub fn new(
        section: &SupervisionSection,
        topology: &Topology,
        healths: &Healths,
        members: &BTreeMap<String, Arc<Frontier>>,
        gateway: &str,
    ) -> Self {
        let child = |name: &String| {
            let frontier = members.get(name).cloned();
            Some(Child { name: name.clone(), health: healths.get(name)?.clone(), frontier })
        };
        let mut groups: Vec<Group> = Vec::new();
        for section in &section.groups {
            let children = section.children.iter().filter_map(child).collect();
            groups.push(Group { section: section.clone(), children });
        }
        let named = |name: &String| section.groups.iter().any(|g| g.children.contains(name));
        let seats = topology.seats.iter().filter(|s| s.is_placed()).map(|s| &s.name);
        let others: Vec<String> = seats.filter(|n| !named(n)).cloned().collect();
        if !others.is_empty() {
            let children = others.iter().filter_map(child).collect();
            groups.push(Group { section: GroupSection::with_the_engine("others", others), children });
        }
        Self { groups, gateway: gateway.into(), seen: Mutex::default() }
    }

    /// Sends who goes with somebody that has fallen on the same way.
    pub fn follow(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for group in self.groups.iter().filter(|g| g.section.way_back != WayBack::Engine) {
            let mut fallen = None;
            for (at, child) in group.children.iter().enumerate() {
                let falls = child.health.falls();
                if seen.insert(child.name.clone(), falls).unwrap_or(0) < falls {
                    if group.section.way_back == WayBack::InPlace {
                        let why = child.health.last_failure();
                        log::warn(System, &format!("{} {why}; made anew in its place", child.name));
                    }
                    fallen = fallen.or(Some(at));
                }
            }
            let Some(first) = fallen else { continue };
            let from = match group.section.strategy {
                Strategy::OneForOne => continue,
                Strategy::RestForOne => first,
                Strategy::OneForAll => 0,
            };
            for child in group.children.iter().skip(from) {
                if child.health.state() == SeatState::Running {
                    child.health.ask(Wish::Restart);
                }
            }
        }
    }

    /// Passes a wish on to a seat.
    ///
    /// # Errors
    /// Where there is no such seat, or it cannot do that alone.
    pub fn ask(&self, name: &str, wish: Wish) -> Result<Value, RpcError> {
        let all = || self.groups.iter().flat_map(|g| g.children.iter().map(move |c| (g, c)));
        let Some((group, child)) = all().find(|(_, c)| c.name == name) else {
            let known: Vec<_> = all().map(|(_, c)| c.name.as_str()).collect();
            return Err(RpcError::parameters(format!("\"actor\" must be one of {}", known.join(", "))));
        };
        if group.section.way_back == WayBack::Engine {
            return Err(RpcError::refused(format!(
                "{name} goes with the engine: nothing leaves the line without it; actor.restart of \"engine\" makes it anew"
            )));
        }
        if wish == Wish::Stop && name == self.gateway {
            return Err(RpcError::refused(format!(
                "{name} takes orders back, also while nothing else leaves; trading.halt stops everything else"
            )));
        }
        if group.section.way_back == WayBack::FromJournal && child.frontier.is_none() {
            return Err(RpcError::refused(format!(
                "{name} comes back by itself where it falls, and the line does not go on without it; actor.restart of \"engine\" makes everybody anew"
            )));
        }
        child.health.ask(wish);
        Ok(json!({"actor": name, "asked": wish_name(wish)}))
    }

    /// The tree as it is.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.groups.iter().map(|g| group_json(&g.section, &g.children)).collect()
    }
}

fn wish_name(wish: Wish) -> &'static str {
    match wish {
        Wish::None => "nothing",
        Wish::Stop => "stop",
        Wish::Start => "start",
        Wish::Restart => "restart",
    }
}

fn group_json(section: &GroupSection, children: &[Child]) -> Value {
    let children: Vec<Value> = children.iter().map(child_json).collect();
    json!({
        "group": section.name, "strategy": section.strategy, "way_back": section.way_back,
        "restarts": section.restarts, "within_ms": section.within_ms, "children": children,
    })
}

fn child_json(child: &Child) -> Value {
    let health = &child.health;
    let last = Some(health.last_failure()).filter(|text| !text.is_empty());
    let range = |(from, back_at): (Seq, Seq)| json!([from, (back_at != Seq::MAX).then(|| back_at - 1)]);
    let absences: Vec<Value> =
        child.frontier.iter().flat_map(|f| f.absences().all().into_iter().map(range)).collect();
    json!({
        "name": child.name, "state": health.state().name(), "falls": health.falls(),
        "restarts": health.restarts(), "last_failure": last, "absences": absences,
    })
}
