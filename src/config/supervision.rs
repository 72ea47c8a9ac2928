//! Who is taken for dead when, and what is done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, within};
use crate::line;

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
    /// Falls of one seat within `within_ms`, 0 to 100: more, and a member stays out, anybody else ends the engine.
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
            let name = &group.name;
            within(&format!("supervision group {name}: restarts"), group.restarts.into(), 0.0, 100.0)?;
            within(&format!("supervision group {name}: within_ms"), group.within_ms.into(), 1e3, 3.6e6)?;
            for child in &group.children {
                if topology.seat(child).is_none() || child == line::CONTROL {
                    return Err(format!("supervision group {name}: there is no seat \"{child}\""));
                }
                if seen.contains(&child.as_str()) {
                    return Err(format!("supervision group {name}: \"{child}\" is in two groups"));
                }
                seen.push(child);
                let possible = match group.way_back {
                    WayBack::Engine => true,
                    WayBack::InPlace => config.instruments.iter().any(|i| i.feed == *child),
                    WayBack::FromJournal => {
                        line::MEMBERS.iter().any(|(member, _)| line::member_seat(member) == *child)
                            || line::stages(&topology).contains(child)
                    }
                };
                if !possible {
                    return Err(format!(
                        "supervision group {name}: \"{child}\" cannot come back so: feeds do in-place, members and stages from-journal, everybody else with the engine"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The group of a seat; none for one that ends with the engine unnamed.
    #[must_use]
    pub fn group_of(&self, seat: &str) -> Option<&GroupSection> {
        self.groups.iter().find(|group| group.children.iter().any(|child| child == seat))
    }

    /// How long a venue plays on after the last word of a supervisor: longer than an orphaned engine needs for its end.
    #[must_use]
    pub fn venue_linger(&self) -> Duration {
        Duration::from_millis(u64::from(self.orphan_end_ms)) + Duration::from_secs(15)
    }
}
