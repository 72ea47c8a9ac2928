//! Who is taken for dead when, and what is done about it.

use std::time::Duration;

use kimera_runtime::topology::Topology;
use serde::{Deserialize, Serialize};

use super::{Config, within};
use crate::{extensions, line};

/// Who goes with a seat that has fallen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// Whoever comes after it in its group.
    RestForOne,
    /// Its whole group.
    OneForAll,
}

/// How a seat comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// A new one takes its place at once: its state comes from outside.
    InPlace,
    /// A new one is made from the journal beside the line.
    FromJournal,
    /// The engine ends, and its supervisor starts it again.
    Engine,
}

/// A group of seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// Its name.
    pub name: String,
    /// Its seats, in the order in which they need each other.
    pub children: Vec<String>,
    /// Who goes with one that has fallen.
    pub strategy: Strategy,
    /// How they come back.
    pub way_back: WayBack,
    /// Falls of one seat within `within_ms`, 0 to 100: more, and a member stays out, anybody else ends the engine. A stage
    /// of the line comes back once in a start (1) or never (0).
    #[serde(default)]
    pub restarts: u32,
    /// The while in which they are counted, 1,000 to 3,600,000 ms.
    #[serde(default = "a_minute")]
    pub within_ms: u32,
}

fn a_minute() -> u32 {
    60_000
}

impl GroupSection {
    /// Seats that end with the engine.
    #[must_use]
    pub fn with_the_engine(name: &str, children: Vec<String>) -> Self {
        Self {
            name: name.into(),
            children,
            strategy: Strategy::OneForAll,
            way_back: WayBack::Engine,
            restarts: 0,
            within_ms: a_minute(),
        }
    }
}

impl GroupSection {
    fn check(&self, config: &Config, topology: &Topology) -> Result<(), String> {
        within("restarts", self.restarts.into(), 0.0, 100.0)?;
        within("within_ms", self.within_ms.into(), 1e3, 3.6e6)?;
        let stages = line::stages(topology);
        for child in &self.children {
            if topology.seat(child).is_none_or(|seat| !seat.is_placed()) {
                return Err(format!("there is no seat \"{child}\""));
            }
            let is_stage = stages.contains(child);
            let possible = match self.way_back {
                WayBack::Engine => true,
                WayBack::InPlace => {
                    *child == config.account.gateway || config.instruments.iter().any(|i| i.feed == *child)
                }
                WayBack::FromJournal => is_stage || line::branches().any(|seat| seat == *child),
            };
            if !possible {
                return Err(format!(
                    "\"{child}\" cannot come back so: feeds and gateways do in-place, members and stages from-journal, everybody else with the engine"
                ));
            }
            // The line waits for a stage: a second fall in a start is the engine's.
            if is_stage && self.way_back == WayBack::FromJournal {
                if self.strategy != Strategy::OneForOne {
                    return Err(format!(
                        "\"{child}\" is a stage of the line: it comes back one-for-one or with the engine"
                    ));
                }
                within(
                    &format!("restarts of \"{child}\", a stage of the line,"),
                    self.restarts.into(),
                    0.0,
                    1.0,
                )?;
            }
        }
        Ok(())
    }
}

impl Config {
    /// The seats of members from outside come back as those of ours do, where nobody says otherwise.
    pub(super) fn seat_members(&mut self) {
        let [.., (last, _)] = line::MEMBERS;
        let (last, groups) = (line::member_seat(last), &mut self.supervision.groups);
        // As a patch may leave them.
        let gone = |seat: &String| {
            let further = extensions::MEMBERS
                .iter()
                .filter(|(name, ..)| !self.ensemble.further.iter().any(|f| f == name));
            further.map(|(name, ..)| line::member_seat(name)).any(|s| s == *seat)
        };
        groups.iter_mut().for_each(|g| g.children.retain(|c| !gone(c)));
        for seat in self.ensemble.further.iter().map(|name| line::member_seat(name)) {
            if !groups.iter().any(|g| g.children.contains(&seat))
                && let Some(group) = groups.iter_mut().find(|g| g.children.contains(&last))
            {
                group.children.push(seat);
            }
        }
    }
}

/// The supervision part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisionSection {
    /// Restarts of one process within `within_ms`, 0 to 100: more, and it is given up.
    pub restarts: u32,
    /// The while in which they are counted, 1,000 to 3,600,000 ms.
    pub within_ms: u32,
    /// An engine whose supervisor has been silent for this long lets only ways out leave, 500 to 600,000 ms.
    pub orphan_reduce_ms: u32,
    /// And after this long it takes its orders back and ends, up to 3,600,000 ms.
    pub orphan_end_ms: u32,
    /// An engine that has been silent for this long is ended and started again, 6,000 to 600,000 ms.
    pub engine_silence_ms: u32,
    /// Engine and supervisor both silent for this long: the guard halts and cancels everything, 500 to 600,000 ms.
    pub guard_silence_ms: u32,
    /// The venue cancels everything by itself so long after the gateway's last word, 5,000 to 600,000 ms; 0: never.
    pub dead_man_ms: u32,
    /// The tree inside the engine; a seat that no group names ends with the engine.
    #[serde(rename = "group")]
    pub groups: Vec<GroupSection>,
}

impl Default for SupervisionSection {
    fn default() -> Self {
        Self {
            restarts: 3,
            within_ms: 60_000,
            orphan_reduce_ms: 3_000,
            orphan_end_ms: 60_000,
            engine_silence_ms: 15_000,
            guard_silence_ms: 5_000,
            dead_man_ms: 60_000,
            groups: Vec::new(),
        }
    }
}

impl SupervisionSection {
    /// # Errors
    /// What is out of range.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        let ranges = [
            ("restarts", self.restarts, 0, 100),
            ("within_ms", self.within_ms, 1_000, 3_600_000),
            ("orphan_reduce_ms", self.orphan_reduce_ms, 500, 600_000),
            ("orphan_end_ms", self.orphan_end_ms, self.orphan_reduce_ms, 3_600_000),
            ("engine_silence_ms", self.engine_silence_ms, 6_000, 600_000),
            ("guard_silence_ms", self.guard_silence_ms, 500, 600_000),
        ];
        ranges.into_iter().try_for_each(|(name, value, low, high)| {
            within(&format!("supervision.{name}"), value.into(), low.into(), high.into())
        })?;
        if self.dead_man_ms > 0 {
            within("supervision.dead_man_ms", self.dead_man_ms.into(), 5e3, 6e5)?;
        }
        let topology = line::topology(config);
        let mut seen: Vec<&str> = Vec::new();
        for group in &self.groups {
            let failed = |why: String| format!("supervision group {}: {why}", group.name);
            group.check(config, &topology).map_err(failed)?;
            for child in &group.children {
                if seen.contains(&child.as_str()) {
                    return Err(failed(format!("\"{child}\" is in two groups")));
                }
                seen.push(child);
            }
        }
        Ok(())
    }

    /// The group of a seat; none for one that ends with the engine unnamed.
    #[must_use]
    pub fn group_of(&self, seat: &str) -> Option<&GroupSection> {
        self.groups.iter().find(|group| group.children.iter().any(|child| child == seat))
    }

    /// True for a stage of the line that comes back while the line waits for it, not with the engine.
    #[must_use]
    pub fn mends(&self, stage: &str) -> bool {
        self.group_of(stage).is_some_and(|g| g.way_back == WayBack::FromJournal && g.restarts > 0)
    }

    /// How long a venue plays on after the last word of a supervisor: longer than an orphaned engine needs for its end
    /// where its disk answers.
    #[must_use]
    pub fn venue_linger(&self) -> Duration {
        Duration::from_millis(u64::from(self.orphan_end_ms)) + Duration::from_secs(15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: &str = include_str!("../../config/profiles/paper.toml");

    fn changed(from: &str, to: &str) -> Result<Config, String> {
        assert!(PAPER.contains(from), "the profile has no {from}");
        Config::parse(&PAPER.replacen(from, to, 1))
    }

    const LINE: &str = "strategy = \"one-for-one\"\nway_back = \"from-journal\"\nrestarts = 1\n";

    #[test]
    fn mistakes_of_groups_are_named() {
        let wrong = |from: &str, to: &str, why: &str| {
            let said = changed(from, to).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        wrong("[\"sequencer\"]", "[\"sequences\"]", "group door: there is no seat \"sequences\"");
        wrong("[\"sequencer\"]", "[\"sequencer\", \"journal\"]", "group door: \"journal\" is in two groups");
        wrong("[\"gateway.usdm\"]", "[\"gateway.usdm\", \"feed.spot\"]", "\"feed.spot\" is in two groups");
        wrong(LINE, &LINE.replace("from-journal", "in-place"), "\"market\" cannot come back so");
        wrong(
            LINE,
            &LINE.replace("restarts = 1", "restarts = 2"),
            "restarts of \"market\", a stage of the line, = 2",
        );
        wrong(LINE, &LINE.replace("one-for-one", "one-for-all"), "\"market\" is a stage of the line");
    }

    #[test]
    fn stages_come_back_in_their_place_where_the_configuration_says_so() {
        let mends = |to: &str, seat: &str| changed(LINE, to).unwrap().supervision.mends(seat);
        assert!(mends(LINE, "risk") && !mends(LINE, "journal"));
        assert!(!mends(&LINE.replace("restarts = 1", "restarts = 0"), "risk"));
        assert!(!mends(&LINE.replace("from-journal", "engine"), "risk"));
    }
}
