//! Core plans: which seat runs on which thread, on which core, with which idle strategy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::actor::Port;
use crate::idle::Idle;
use crate::topology::{Plane, SEQUENCER, Topology};

/// A core plan as `config/plans/*.toml` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name for reports.
    pub name: String,
    /// Threads, in order of start.
    #[serde(rename = "thread")]
    pub threads: Vec<ThreadPlan>,
}

/// One thread of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadPlan {
    /// Name of the thread.
    pub name: String,
    /// Core it is pinned to; none leaves it to the scheduler.
    pub core: Option<usize>,
    /// What it does without work.
    #[serde(default)]
    pub idle: Idle,
    /// Seats, in the order they are polled.
    pub seats: Vec<String>,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A seat the topology does not have.
    #[error("plan \"{plan}\", thread \"{thread}\": there is no seat \"{seat}\"")]
    UnknownSeat {
        /// Plan.
        plan: String,
        /// Thread.
        thread: String,
        /// The name.
        seat: String,
    },
    /// A seat on two threads.
    #[error("plan \"{plan}\": seat \"{seat}\" is placed on \"{first}\" and on \"{second}\"")]
    PlacedTwice {
        /// Plan.
        plan: String,
        /// Seat.
        seat: String,
        /// First thread.
        first: String,
        /// Second thread.
        second: String,
    },
    /// A seat on no thread.
    #[error("plan \"{plan}\" places no thread for seat \"{seat}\"")]
    NotPlaced {
        /// Plan.
        plan: String,
        /// Seat.
        seat: String,
    },
    /// A gateway that a stuck neighbour could hold up.
    #[error(
        "plan \"{plan}\", thread \"{thread}\": gateway \"{seat}\" shares its thread with \"{other}\"; a gateway has a thread of its own, so that nothing can hold up a kill"
    )]
    GatewayShared {
        /// Plan.
        plan: String,
        /// Thread.
        thread: String,
        /// The gateway.
        seat: String,
        /// Who else is there.
        other: String,
    },
    /// A core the machine does not have.
    #[error(
        "plan \"{plan}\", thread \"{thread}\" wants core {core}, but this process may use cores {available:?}; choose a smaller plan"
    )]
    AbsentCore {
        /// Plan.
        plan: String,
        /// Thread.
        thread: String,
        /// Core asked for.
        core: usize,
        /// Cores there are.
        available: Vec<usize>,
    },
    /// A spinning thread where the kernel must work for its own files or sockets.
    #[error(
        "plan \"{plan}\", thread \"{thread}\" spins on a core that serves its own I/O (seat \"{seat}\"); use idle = \"spin-yield\""
    )]
    SpinsOverOwnIo {
        /// Plan.
        plan: String,
        /// Thread.
        thread: String,
        /// The I/O seat.
        seat: String,
    },
    /// More busy threads than cores.
    #[error("plan \"{plan}\" has {spinning} spinning threads for {cores} cores")]
    TooManySpinning {
        /// Plan.
        plan: String,
        /// Threads that never sleep.
        spinning: usize,
        /// Cores.
        cores: usize,
    },
}

/// Cores this process may run on.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for the size given; pid 0 is this thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return vec![0];
    }
    // SAFETY: every index is below the set's size.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Pins the calling thread to `core`; false where the kernel refuses.
#[must_use]
pub fn pin_to_core(core: usize) -> bool {
    keep_to_cores(&[core])
}

/// Keeps the calling thread, and those it starts, to `cores`; false where the kernel refuses or there is none.
#[must_use]
pub fn keep_to_cores(cores: &[usize]) -> bool {
    if cores.is_empty() || cores.iter().any(|&core| core >= libc::CPU_SETSIZE as usize) {
        return false;
    }
    // SAFETY: an all-zero set is valid, and every core lies inside it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cores.iter().for_each(|&core| libc::CPU_SET(core, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

impl Plan {
    /// Cores among `available` that other processes may have: those where no thread of this plan spins, or, where that
    /// leaves none, those that are not the sequencer's. A process that shares the line's core is served first for as
    /// long as the line gives way.
    #[must_use]
    pub fn cores_for_others(&self, available: &[usize]) -> Vec<usize> {
        let without = |taken: &dyn Fn(&ThreadPlan) -> bool| -> Vec<usize> {
            let taken: Vec<_> = self.threads.iter().filter(|t| taken(t)).filter_map(|t| t.core).collect();
            available.iter().copied().filter(|core| !taken.contains(core)).collect()
        };
        let quiet = without(&|t| t.idle != Idle::Backoff);
        if quiet.is_empty() { without(&|t| t.seats.iter().any(|s| s == SEQUENCER)) } else { quiet }
    }

    /// Checks the plan against the topology, and against the machine where `cores` are given (a replay pins nothing).
    ///
    /// # Errors
    /// The first [`PlanError`] found.
    pub fn check(&self, topology: &Topology, cores: Option<&[usize]>) -> Result<(), PlanError> {
        let mut placed: BTreeMap<&str, &str> = BTreeMap::new();
        for thread in &self.threads {
            for seat in &thread.seats {
                let Some(spec) = topology.seat(seat) else {
                    return Err(PlanError::UnknownSeat {
                        plan: self.name.clone(),
                        thread: thread.name.clone(),
                        seat: seat.clone(),
                    });
                };
                if let Some(first) = placed.insert(seat, &thread.name) {
                    return Err(PlanError::PlacedTwice {
                        plan: self.name.clone(),
                        seat: seat.clone(),
                        first: first.to_owned(),
                        second: thread.name.clone(),
                    });
                }
                if thread.idle == Idle::Spin && spec.plane == Plane::Io {
                    return Err(PlanError::SpinsOverOwnIo {
                        plan: self.name.clone(),
                        thread: thread.name.clone(),
                        seat: seat.clone(),
                    });
                }
            }
        }
        let on_threads = |s: &&crate::topology::SeatSpec| s.is_placed();
        if let Some(seat) =
            topology.seats.iter().filter(on_threads).find(|s| !placed.contains_key(s.name.as_str()))
        {
            return Err(PlanError::NotPlaced { plan: self.name.clone(), seat: seat.name.clone() });
        }
        self.check_gateways(topology)?;
        cores.map_or(Ok(()), |cores| self.check_machine(cores))
    }

    /// Whoever takes orders from the line has a thread of its own in every plan.
    fn check_gateways(&self, topology: &Topology) -> Result<(), PlanError> {
        let takes_orders = |seat: &str| topology.edges.iter().any(|e| e.to == seat && e.port == Port::Orders);
        for thread in &self.threads {
            let Some(gateway) = thread.seats.iter().find(|s| takes_orders(s)) else { continue };
            if let Some(other) = thread.seats.iter().find(|s| *s != gateway) {
                return Err(PlanError::GatewayShared {
                    plan: self.name.clone(),
                    thread: thread.name.clone(),
                    seat: gateway.clone(),
                    other: other.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_machine(&self, cores: &[usize]) -> Result<(), PlanError> {
        for thread in &self.threads {
            if let Some(core) = thread.core.filter(|c| !cores.contains(c)) {
                return Err(PlanError::AbsentCore {
                    plan: self.name.clone(),
                    thread: thread.name.clone(),
                    core,
                    available: cores.to_vec(),
                });
            }
        }
        let spinning = self.threads.iter().filter(|t| t.idle == Idle::Spin).count();
        if spinning > cores.len() {
            return Err(PlanError::TooManySpinning { plan: self.name.clone(), spinning, cores: cores.len() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{EdgeSpec, SeatSpec};

    fn topology() -> Topology {
        let seat = |name: &str, plane| SeatSpec {
            name: name.into(),
            plane,
            purpose: String::new(),
            sink: true,
            outputs_max: 0,
        };
        Topology { seats: vec![seat("market", Plane::Hot), seat("journal", Plane::Io)], edges: vec![] }
    }

    fn plan(text: &str) -> Plan {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_mistake_is_named() {
        let base = "name = 'p'\n[[thread]]\nname = 'a'\ncore = 0\nseats = ['market', 'journal']\n";
        assert_eq!(plan(base).check(&topology(), Some(&[0, 1])), Ok(()));
        assert!(matches!(
            plan(base).check(&topology(), Some(&[1])),
            Err(PlanError::AbsentCore { core: 0, .. })
        ));
        assert_eq!(plan(base).check(&topology(), None), Ok(()));
        let missing = "name = 'p'\n[[thread]]\nname = 'a'\nseats = ['market']\n";
        assert!(
            matches!(plan(missing).check(&topology(), None), Err(PlanError::NotPlaced { seat, .. }) if seat == "journal")
        );
        let twice = format!("{base}[[thread]]\nname = 'b'\nseats = ['market']\n");
        assert!(matches!(plan(&twice).check(&topology(), None), Err(PlanError::PlacedTwice { .. })));
        let ghost = base.replace("market", "ghost");
        assert!(matches!(plan(&ghost).check(&topology(), None), Err(PlanError::UnknownSeat { .. })));
        let spin = base.replace("core = 0", "core = 0\nidle = 'spin'");
        assert!(matches!(plan(&spin).check(&topology(), None), Err(PlanError::SpinsOverOwnIo { .. })));
        let hot = "name='p'\n[[thread]]\nname='a'\nidle='spin'\nseats=['market']\n[[thread]]\nname='b'\nidle='spin'\nseats=[]\n[[thread]]\nname='c'\nseats=['journal']\n";
        assert!(matches!(plan(hot).check(&topology(), Some(&[0])), Err(PlanError::TooManySpinning { .. })));
        let mut orders = topology();
        orders.edges.push(EdgeSpec {
            from: "market".into(),
            to: "journal".into(),
            port: Port::Orders,
            per_input: 1,
            capacity: 1,
        });
        let shared = plan(base).check(&orders, None).unwrap_err();
        assert!(shared.to_string().contains("\"journal\" shares its thread with \"market\""), "{shared}");
    }
}
