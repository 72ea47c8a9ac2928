//! Stages of the line that have panicked: the state that one had before the message it died on is computed beside the line,
//! and another takes its seat. Where that takes too long the engine ends, and comes back with everything it knew.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use kimera_protocol::{Absent, Seq};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::mend::Mend;

use super::live::Live;
use super::workshop::{Workshop, beside};
use crate::exit::Failure;
use crate::line::Probes;
use crate::log;
use crate::log::Category::System;
use crate::replay;

/// Longest time that the line waits for a stage, ns.
const BUDGET: u64 = 500_000_000;
/// A disk that takes longer withholds what a stage is made from.
const WITHHELD: Duration = Duration::from_millis(100);

/// A stage's seat, as the engine's own loop sees it.
pub struct StageSeat {
    /// Name in the topology.
    pub name: String,
    /// Where it says that it needs somebody.
    pub mend: Arc<Mend>,
    /// Since when, and who makes it.
    job: Option<Job>,
}

struct Job {
    since: u64,
    at: (Seq, u64),
    made: Option<Receiver<Result<Vec<u8>, Failure>>>,
    delivered: bool,
}

impl StageSeat {
    /// A seat where all is well, and where from now on another can be made.
    #[must_use]
    pub fn new(name: String, mend: Arc<Mend>) -> Self {
        mend.arm();
        Self { name, mend, job: None }
    }

    fn is_well(&self) -> bool {
        self.job.is_none() && self.mend.wanted().is_none()
    }

    /// Makes progress; `durable` is the last input on disk, and for how long the disk has not answered, `absences` is who is
    /// out.
    fn poll(
        &mut self,
        workshop: &Workshop,
        (durable, silence): (Seq, Duration),
        absences: &[Absent],
    ) -> Result<(), Failure> {
        let Some(at) = self.mend.wanted() else {
            if let Some(job) = self.job.take() {
                let ms = monotonic_ns().saturating_sub(job.since) / 1_000_000;
                log::say(
                    System,
                    &format!(
                        "{} made anew in its place after {ms} ms: it had died on input {}",
                        self.name, job.at.0
                    ),
                );
            }
            return Ok(());
        };
        let now = monotonic_ns();
        let job = self.job.get_or_insert_with(|| {
            log::warn(System, &format!("{} died on input {}: the line waits for another", self.name, at.0));
            Job { since: now, at, made: None, delivered: false }
        });
        if durable < at.0 && silence > WITHHELD {
            job.since = now; // nobody can be made before the disk answers
        }
        if now.saturating_sub(job.since) > BUDGET {
            return Err(Failure::defect(format!(
                "{} died on input {}, and another was not there in time",
                self.name, at.0
            )));
        }
        if job.delivered {
            return Ok(());
        }
        match &job.made {
            None if durable >= at.0 => {
                let (workshop, name, absences) = (workshop.clone(), self.name.clone(), absences.to_vec());
                job.made = Some(beside(move || state_before(&workshop, &name, at, &absences))?);
            }
            None => {}
            Some(made) => match made.try_recv() {
                Ok(state) => {
                    self.mend.deliver(state?);
                    job.delivered = true;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::defect(format!(
                        "{} cannot be made anew: its maker panicked",
                        self.name
                    )));
                }
            },
        }
        Ok(())
    }
}

/// The state of a stage before a message about an input, from the newest snapshot and the journal.
fn state_before(
    workshop: &Workshop,
    stage: &str,
    at: (Seq, u64),
    absences: &[Absent],
) -> Result<Vec<u8>, Failure> {
    let (recorded, _) = replay::load_latest(workshop.layout.root())?;
    let probes =
        Probes { faults: workshop.faults.clone(), stop: Some((stage.to_owned(), at)), ..Probes::default() };
    let (replica, _) = workshop.replica(&recorded, at.0, absences, &probes)?;
    replica.actor_state(stage).ok_or_else(|| Failure::defect(format!("nobody sits in {stage}")))
}

impl Live<'_> {
    /// Stages that have fallen get somebody to take their seat.
    ///
    /// # Errors
    /// Where one does not come back in time: the engine has to end.
    pub(super) fn mend_stages(&mut self) -> Result<(), Failure> {
        if self.built.stages.iter().all(StageSeat::is_well) {
            return Ok(());
        }
        let durable = (self.counter("journal.durable_seq"), self.built.durability.silence());
        let absences = self.built.frontiers.absences();
        self.built.stages.iter_mut().try_for_each(|stage| stage.poll(&self.workshop, durable, &absences))
    }
}
